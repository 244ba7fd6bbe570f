// What a page does with the browser's own WebSocket, EventSource and fetch. Everything heard is shown in the page too.
'use strict';

// A queue of what was heard; `next` waits.
class Inbox {
  #items = [];
  #waiting = [];

  put(item) {
    const line = document.createElement('li');
    line.textContent = JSON.stringify(item);
    document.getElementById('heard').append(line);
    const wake = this.#waiting.shift();
    if (wake) wake(item);
    else this.#items.push(item);
  }

  next() {
    return this.#items.length ? this.#items.shift() : new Promise(resolve => this.#waiting.push(resolve));
  }
}

const inboxes = {};
const sources = {};

// An EventSource under a name; what it hears is read with `hear(name)`.
function subscribe(name, url) {
  const inbox = (inboxes[name] = new Inbox());
  const source = (sources[name] = new EventSource(url));
  source.onmessage = event => inbox.put({ event: 'message', data: event.data, id: event.lastEventId });
  for (const kind of ['ready', 'gap', 'bye', 'binary', 'answer', 'failure', 'summary']) {
    source.addEventListener(kind, event => inbox.put({ event: kind, data: event.data, id: event.lastEventId }));
  }
  source.onerror = () => inbox.put({ event: 'error', state: source.readyState });
}

// A WebSocket under a name; it tells when it is open, and ArrayBuffers as lists of numbers.
function open(name, url, protocols) {
  const inbox = (inboxes[name] = new Inbox());
  const socket = (sources[name] = new WebSocket(url, protocols));
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => inbox.put({ event: 'open', protocol: socket.protocol });
  socket.onmessage = ({ data }) =>
    inbox.put(
      typeof data === 'string' ? { event: 'text', data } : { event: 'binary', data: [...new Uint8Array(data)] },
    );
  socket.onclose = ({ code, reason, wasClean }) => inbox.put({ event: 'close', code, reason, wasClean });
  return hear(name);
}

function hear(name) {
  return inboxes[name].next();
}

function say(name, data) {
  sources[name].send(typeof data === 'string' ? data : new Uint8Array(data));
}

function close(name, ...why) {
  sources[name].close(...why);
}

async function request(url, options) {
  const answer = await fetch(url, options);
  return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
}

// The pieces of a streamed answer, as they come.
async function stream(name, url, options) {
  const inbox = (inboxes[name] = new Inbox());
  const answer = await fetch(url, options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  (async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) inbox.put(part.value);
    inbox.put(null);
  })();
  return { status: answer.status, headers: Object.fromEntries(answer.headers) };
}
