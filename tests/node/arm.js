// @azure/arm-relay does what it is told, one command after the other.
// Options: endpoint, subscription, token, version.
// Commands: {group, method, args, list}: `list` gathers all pages; the answer is {event: 'done', value} or
// {event: 'refused', status, code, message}.
'use strict';

const { options, report, onCommand } = require('./peer');
const { RelayAPI } = require('@azure/arm-relay');

const credential = {
  getToken: async () => ({ token: options.token, expiresOnTimestamp: Date.now() + 3600000 }),
};
const client = new RelayAPI(credential, options.subscription, {
  endpoint: options.endpoint,
  ...(options.version ? { apiVersion: options.version } : {}),
  retryOptions: { maxRetries: 0 },
});

async function run({ group, method, args, list }) {
  const answer = client[group][method](...args);
  if (!list) return answer;
  const found = [];
  for await (const each of answer) found.push(each);
  return found;
}

let last = Promise.resolve();
onCommand(command => {
  last = last.then(() =>
    run(command).then(
      value => report('done', { value: value === undefined ? null : value }),
      error => report('refused', { status: error.statusCode, code: error.code, message: error.message }),
    ),
  );
});
report('started');
