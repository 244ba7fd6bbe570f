// hyco-https as a listener. Options: uri, rule, keys, hour, seconds.
// What it answers depends on the query: ?bytes=N sends N bytes down, ?status=N answers with that status,
// ?pieces streams what the commands {"piece": text} bring until {"end": true}; anything else is reflected.
'use strict';

const { options, report, onCommand, payload, sha256, tokens, watch } = require('./peer');
const https = require('hyco-https');

const streams = [];
onCommand(command => {
  for (const answer of streams) {
    if (command.end) answer.end();
    else answer.write(command.piece);
  }
});

function answer(request, body, response) {
  const query = new URL(request.url, 'http://relay').searchParams;
  report('request', { method: request.method, url: request.url, headers: request.headers, bytes: body.length });
  if (query.has('pieces')) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    streams.push(response);
    report('streaming');
  } else if (query.has('status')) {
    response.writeHead(Number(query.get('status')));
    response.end();
  } else {
    const down = query.has('bytes') ? payload(Number(query.get('bytes'))) : body;
    response.writeHead(200, { 'X-Method': request.method, 'X-Received': sha256(body), 'X-Sent': sha256(down) });
    if (down.length) response.end(down);
    else response.end(); // end() with an empty buffer sends nothing at all
  }
}

const server = https.createRelayedServer(
  { server: options.uri, token: tokens(https.createRelayToken) },
  (request, response) => {
    const chunks = [];
    request.on('data', chunk => chunks.push(Buffer.from(chunk)));
    request.on('end', () => answer(request, Buffer.concat(chunks), response));
  },
);
watch(server);
server.listen();
