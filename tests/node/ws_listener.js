// hyco-ws as a listener that echoes. Options: uri, rule, keys, hour, seconds.
'use strict';

const { options, report, tokens, watch } = require('./peer');
const hyco = require('hyco-ws');

const server = hyco.createRelayedServer(
  { server: options.uri, token: tokens(hyco.createRelayToken) },
  socket => {
    report('connection', { protocol: socket.protocol });
    socket.on('message', (data, flags) => socket.send(data, { binary: Boolean(flags.binary) }));
    socket.on('close', (code, reason) => report('closed', { code, reason: String(reason) }));
  },
);
watch(server);
