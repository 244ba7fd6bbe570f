// hyco-ws as senders, each of which has its messages echoed one by one and then closes.
// Options: uri, rule, key, senders, messages: [{type, bytes}], close: [code, reason], protocol.
'use strict';

const { options, report, payload, text } = require('./peer');
const hyco = require('hyco-ws');

const messages = options.messages.map(({ type, bytes }) => (type === 'text' ? text(bytes) : payload(bytes)));
const token = hyco.createRelayToken(options.uri, options.rule, options.key);

function send(sender) {
  const socket = options.protocol
    ? new hyco(options.uri, options.protocol, { headers: { ServiceBusAuthorization: token } })
    : hyco.relayedConnect(options.uri, token);
  let next = 0;

  const step = () => {
    if (next < messages.length) socket.send(messages[next], { binary: typeof messages[next] !== 'string' });
    else socket.close(...options.close);
  };
  socket.on('open', () => {
    report('opened', { sender, protocol: socket.protocol });
    step();
  });
  socket.on('message', (data, flags) => {
    const sent = messages[next];
    const same = typeof sent === 'string' ? data === sent : Boolean(flags.binary) && sent.equals(data);
    report('echoed', { sender, bytes: sent.length, same });
    next += 1;
    step();
  });
  socket.on('close', (code, reason) => report('closed', { sender, code, reason: String(reason) }));
  socket.on('unexpected-response', (_, response) => {
    report('refused', { sender, status: response.statusCode, reason: response.statusMessage });
    response.resume();
  });
  socket.on('error', error => report('error', { sender, message: error.message }));
}

for (let sender = 0; sender < options.senders; sender += 1) send(sender);
