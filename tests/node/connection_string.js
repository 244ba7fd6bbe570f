// A listener and a sender of hyco-https or hyco-ws, made from nothing but a connection string.
// Options: text (the connection string), entity, module ('https' or 'ws').
'use strict';

const { options, report } = require('./peer');

const parts = Object.fromEntries(
  options.text.split(';').map(piece => [piece.slice(0, piece.indexOf('=')), piece.slice(piece.indexOf('=') + 1)]),
);
const base = parts.Endpoint.replace('sb://', 'wss://');
const entity = parts.EntityPath || options.entity;
const module_ = require(`hyco-${options.module}`);
const words = 'through the relay';

function token(uri) {
  return module_.createRelayToken(uri, parts.SharedAccessKeyName, parts.SharedAccessKey);
}

const listen = `${base}$hc/${entity}?sb-hc-action=listen`;
const settings = { server: listen, token: () => token(listen) };

if (options.module === 'https') {
  const server = module_.createRelayedServer(settings, (request, response) => response.end(words));
  server.on('error', error => report('error', { message: error.message }));
  server.on('listening', () => {
    const uri = `${base.replace('wss:', 'https:')}${entity}`;
    module_.get(uri, { headers: { ServiceBusAuthorization: token(uri) } }, response => {
      let text = '';
      response.on('data', piece => (text += piece));
      response.on('end', () => report('heard', { text }));
    });
  });
  server.listen();
} else {
  const server = module_.createRelayedServer(settings, socket => socket.on('message', text => socket.send(text)));
  server.on('error', error => report('error', { message: error.message }));
  server.on('listening', () => {
    const uri = `${base}$hc/${entity}?sb-hc-action=connect`;
    const socket = module_.relayedConnect(uri, token(uri));
    socket.on('open', () => socket.send(words));
    socket.on('message', text => report('heard', { text }));
  });
}
