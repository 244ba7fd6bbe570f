// hyco-https as a sender; its module is Node's https. Over a plain door the same requests go by Node's http.
// Options: uri, rule, key, parallel, requests: [{method, path, bytes, chunked, headers}]. All go at once if `parallel`.
'use strict';

const { options, report, payload, sha256 } = require('./peer');
const hyco = require('hyco-https');
const http = require('http');

const client = options.uri.startsWith('https:') ? hyco : http;
const token = hyco.createRelayToken(options.uri, options.rule, options.key);

function ask(number, { method, path, bytes, chunked, headers }) {
  return new Promise((resolve, reject) => {
    const body = payload(bytes || 0);
    const length = chunked || !bytes ? {} : { 'Content-Length': bytes };
    const request = client.request(options.uri + path, {
      method,
      headers: { ServiceBusAuthorization: token, ...length, ...headers },
    });
    request.on('response', response => {
      const pieces = [];
      response.on('data', piece => {
        pieces.push(piece);
        if (options.pieces) report('piece', { number, text: piece.toString() });
      });
      response.on('error', reject);
      response.on('end', () => {
        const received = Buffer.concat(pieces);
        report('answered', {
          number,
          status: response.statusCode,
          reason: response.statusMessage,
          headers: response.headers,
          bytes: received.length,
          received: sha256(received),
          sent: sha256(body),
        });
        resolve();
      });
    });
    request.on('error', reject);
    if (chunked) for (let at = 0; at < body.length; at += 16384) request.write(body.subarray(at, at + 16384));
    else if (bytes) request.write(body);
    request.end();
  });
}

async function run() {
  if (options.parallel) await Promise.all(options.requests.map((request, number) => ask(number, request)));
  else for (const [number, request] of options.requests.entries()) await ask(number, request);
  report('done');
}

run().catch(error => report('error', { message: error.message }));
