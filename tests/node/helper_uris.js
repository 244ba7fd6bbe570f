// The URIs and tokens that the modules' helpers make. Options: host, path, id, rule, key.
'use strict';

const { options, report } = require('./peer');
const ws = require('hyco-ws');
const https = require('hyco-https');

const { host, path, id, rule, key } = options;
const token = ws.createRelayToken(ws.createRelayListenUri(host, path), rule, key);

report('uris', {
  listen: ws.createRelayListenUri(host, path, token, id),
  send: ws.createRelaySendUri(host, path, token, id),
  appended: ws.appendRelayToken(ws.createRelaySendUri(host, path), rule, key),
  bare: ws.appendRelayToken(ws.createRelayBaseUri(host, path), rule, key),
  request: https.createRelayHttpsUri(host, path, token),
  broken: https.appendRelayToken(https.createRelayHttpsUri(host, path), rule, key),
  namespace: ws.createRelayToken(`http://${host}`, rule, key),
});
