// What these scripts share: options come as JSON in the first argument, what happens goes out as JSON lines,
// commands come in as JSON lines, and the end of the input ends the script.
'use strict';

const crypto = require('crypto');
const readline = require('readline');

const input = readline.createInterface({ input: process.stdin });
input.on('close', () => process.exit(0));

const options = JSON.parse(process.argv[2]);

if (options.hour) {
  // The hyco modules renew their token every hour; here an hour lasts `hour` milliseconds.
  const real = setInterval;
  global.setInterval = (action, delay, ...rest) => real(action, delay === 3600000 ? options.hour : delay, ...rest);
}

module.exports = {
  options,

  report(event, fields) {
    process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
  },

  onCommand(action) {
    input.on('line', line => action(JSON.parse(line)));
  },

  sha256(data) {
    return crypto.createHash('sha256').update(data).digest('hex');
  },

  // Bytes that show any shift, loss or repetition: 251 is prime.
  payload(bytes) {
    return Buffer.alloc(bytes, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
  },

  // The same in ASCII, for text messages.
  text(bytes) {
    return Buffer.alloc(bytes, Buffer.from(Array.from({ length: 89 }, (_, i) => 33 + i))).toString('latin1');
  },

  // A token function for a listener: `keys` are used one after the other, the last one from then on.
  tokens(createRelayToken) {
    let made = 0;
    return () => {
      const key = options.keys[Math.min(made, options.keys.length - 1)];
      made += 1;
      module.exports.report('token', { made });
      return createRelayToken(options.uri, options.rule, key, options.seconds);
    };
  },

  // Report what happens to a listener's control channel. Failed attempts to connect are no error of the test.
  watch(server) {
    const seen = new WeakSet();
    server.on('listening', () => {
      module.exports.report('listening');
      const channel = server.controlChannel;
      if (seen.has(channel)) return; // hyco-ws may have opened several at once
      seen.add(channel);
      channel.on('close', (code, reason) => module.exports.report('channel-closed', { code, reason: String(reason) }));
    });
    server.on('error', error => module.exports.report('unreachable', { message: error.message }));
  },
};
