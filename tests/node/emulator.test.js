// The Node helper starts an emulator, and the unmodified hyco-ws meets what it is told to do.
'use strict';

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const { setTimeout: delay } = require('node:timers/promises');
const { after, before, test } = require('node:test');
const { startEmulator } = require('../../clients/node/emulator.js');
const hyco = require('hyco-ws');

let emulator;
before(async () => { emulator = await startEmulator({ args: ['--no-tls'] }); });
after(() => emulator.stop());

function uri(path) {
  return `${emulator.url.replace('http', 'ws')}/$hc/${path}`;
}

function listen(path) {
  const token = () => hyco.createRelayToken(uri(path), emulator.keyName, emulator.key);
  const server = hyco.createRelayedServer({ server: `${uri(path)}?sb-hc-action=listen`, token }, socket => {
    socket.on('message', text => socket.send(`echo: ${text}`));
  });
  return new Promise(resolve => server.once('listening', () => resolve(server)));
}

function send(path) {
  const token = hyco.createRelayToken(uri(path), emulator.keyName, emulator.key);
  const socket = hyco.relayedConnect(`${uri(path)}?sb-hc-action=connect`, token);
  return new Promise((resolve, reject) => {
    socket.on('open', () => socket.send('hello'));
    socket.on('message', text => { socket.close(); resolve(text); });
    socket.on('error', reject);
  });
}

test('an echo, a refusal, an echo again', async () => {
  const server = await listen('echo');
  assert.strictEqual(await send('echo'), 'echo: hello');
  await emulator.refuse('echo', 'connect', { status: 503 });
  await assert.rejects(send('echo'), /503/);
  assert.strictEqual(await send('echo'), 'echo: hello');
  server.close();
});

test('a cable that is pulled, and a listener that comes back', async () => {
  const server = await listen('back');
  const again = new Promise(resolve => server.once('listening', resolve));
  assert.strictEqual(await emulator.drop('back'), 1);
  await again;
  assert.strictEqual(await send('back'), 'echo: hello');
  server.close();
});

test('a fault that makes no sense is refused with the reason', async () => {
  await assert.rejects(emulator.delay('echo', 'connect', 1), /nothing to delay/);
});

test('a command that does not exist', async () => {
  await assert.rejects(startEmulator({ command: 'no-such-fanway' }), /no command 'no-such-fanway'/);
});

test('a test run that ends without stop() leaves no emulator behind', async () => {
  const program = `require(${JSON.stringify(require.resolve('../../clients/node/emulator.js'))})
    .startEmulator({ args: ['--no-tls'] }).then(one => { console.log(one.url); process.exitCode = 1; process.exit(); })`;
  const url = await new Promise((resolve, reject) => execFile(process.execPath, ['-e', program], (error, output) => (
    error.code === 1 ? resolve(output.trim()) : reject(error))));
  for (;;) { // it drains first; the runner's own limit ends this
    try { await fetch(`${url}/-/health/live`); } catch { return; }
    await delay(50);
  }
});
