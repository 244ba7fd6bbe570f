// A gateway for tests in Node: `fanway serve --emulator` in a process of its own, on free ports, told what to do by calls.
'use strict';

const { spawn } = require('node:child_process');
const { mkdtemp, rm } = require('node:fs/promises');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { createInterface } = require('node:readline');

const STOP_MILLISECONDS = 15000;

class Emulator {
  /** `url` and `tlsUrl` are its doors, `ca` a PEM file to trust, `connectionString` what Azure's SDKs take. */
  constructor(ready, stop) {
    this.url = ready.url;
    this.tlsUrl = ready.tls_url;
    this.ca = ready.ca;
    this.keyName = ready.key_name;
    this.key = ready.key;
    this.connectionString = ready.connection_string;
    this.stop = stop; // ends the process; a promise
  }

  /** Move its clock by so many seconds: tokens expire, deadlines pass. */
  advance(seconds) {
    return this.call('POST', 'clock', { advance: seconds });
  }

  /** Refuse the next `times` calls (0: all) at a relay; `action` is listen, connect or request. */
  refuse(relay, action, { status = 503, message = '', times = 1 } = {}) {
    return this.call('POST', 'faults', { kind: 'refuse', relay, action, status, message, times });
  }

  /** Hold up the next `times` commands (0: all) to listeners of a relay; `action` is accept or request. */
  delay(relay, action, seconds, { times = 1 } = {}) {
    return this.call('POST', 'faults', { kind: 'delay', relay, action, seconds, times });
  }

  /** Let everything go as it should again. */
  clearFaults() {
    return this.call('DELETE', 'faults');
  }

  /** Cut the control channels of a relay, without `code` as if the cable were pulled; how many there were. */
  async drop(relay, { listener = null, code = null, reason = '' } = {}) {
    return (await this.call('POST', 'drop', { relay, listener, code, reason })).dropped;
  }

  /** Let a token be expired from now; how many connections ended by it. */
  async expire(token) {
    return (await this.call('POST', 'expire', { token })).ended;
  }

  /** As after a start: nothing provisioned, nobody connected, the real time, no faults. */
  reset() {
    return this.call('POST', 'reset');
  }

  async call(method, path, body) {
    const answer = await fetch(`${this.url}/-/emulator/${path}`, {
      method,
      headers: { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(text ? JSON.parse(text).error.message : `${answer.status} ${answer.statusText}`);
    return text ? JSON.parse(text) : undefined;
  }
}

/**
 * Start an emulator. `command` is how to call `fanway` (FANWAY_COMMAND, or the one on the path), `args` are further
 * arguments of `fanway serve`. Rejects with the gateway's own words when it does not start.
 */
async function startEmulator({ command = process.env.FANWAY_COMMAND || 'fanway', args = [] } = {}) {
  const data = await mkdtemp(join(tmpdir(), 'fanway-'));
  const flags = ['serve', '--emulator', '--json', '--listen', '127.0.0.1:0', '--data', data, ...args];
  const child = spawn(command, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill();
  process.once('exit', kill); // of a test run that ends without stop()
  let words = '';
  child.stderr.on('data', chunk => { words = (words + chunk).slice(-4096); });
  const ended = new Promise(resolve => child.once('close', resolve));
  ended.then(() => process.removeListener('exit', kill));
  const clean = () => rm(data, { recursive: true, force: true });

  async function stop() {
    const impatient = setTimeout(() => child.kill('SIGKILL'), STOP_MILLISECONDS);
    child.kill('SIGTERM');
    await ended;
    clearTimeout(impatient);
    await clean();
  }

  try {
    const ready = await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', line => resolve(JSON.parse(line)));
      child.once('error', error => reject(error.code !== 'ENOENT' ? error : new Error(
        `There is no command '${command}' (ENOENT): put fanway on the PATH, or name it by FANWAY_COMMAND or { command }`)));
      ended.then(() => reject(new Error(`The emulator did not start: ${words.trim()}`)));
    });
    return new Emulator(ready, stop);
  } catch (error) {
    await clean();
    throw error;
  }
}

module.exports = { Emulator, startEmulator };
