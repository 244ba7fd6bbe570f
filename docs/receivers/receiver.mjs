// A receiver of pushed events in Node.js, with nothing but its own modules.
//
//     FANWAY_PUSH_SECRET=whsec_… node receiver.mjs 3000
//
// Give it several secrets, separated by blanks, while they are being changed.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOLERANCE_SECONDS = 300;

/** Keeps what lets it tell genuine deliveries from others. */
class Verifier {
  constructor(secrets) {
    this.keys = secrets.map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
    this.seen = new Map(); // ids of deliveries that were handled, until their timestamps are too old anyway
  }

  /** The delivery's id; null where it is not genuine or not fresh. `body` is a Buffer, as it came. */
  check(headers, body) {
    const id = headers["webhook-id"] ?? "";
    const timestamp = headers["webhook-timestamp"] ?? "";
    const age = Math.abs(Date.now() / 1000 - Number(timestamp));
    if (!/^\d+$/.test(timestamp) || age > TOLERANCE_SECONDS) return null;
    const given = (headers["webhook-signature"] ?? "").split(" ").filter((each) => each.startsWith("v1,"));
    const isGenuine = this.keys.some((key) => {
      const digest = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
      const wanted = Buffer.from(`v1,${digest}`);
      return given.map((each) => Buffer.from(each)).some((each) => each.length === wanted.length && timingSafeEqual(each, wanted));
    });
    return isGenuine ? id : null;
  }

  isNew(id) {
    for (const [old, until] of this.seen) if (until < Date.now()) this.seen.delete(old);
    return !this.seen.has(id);
  }

  handled(id) {
    this.seen.set(id, Date.now() + 2 * TOLERANCE_SECONDS * 1000);
  }
}

/** What your program does with an event. An exception here makes the relay deliver it again. */
function handle(id, headers, body) {
  if (headers["ce-type"]) console.log(id, headers["ce-type"], headers["ce-fanwayaddress"], body.toString());
  else console.log(id, body.toString()); // structured or in a batch: the body says it all
}

const verifier = new Verifier(process.env.FANWAY_PUSH_SECRET.split(" "));

const server = createServer(async (request, response) => {
  if (request.method === "OPTIONS") {
    // the relay asks whether we want events; say so, and to whom
    response.setHeader("WebHook-Allowed-Origin", request.headers["webhook-request-origin"] ?? "");
    response.setHeader("WebHook-Allowed-Rate", "*");
    return response.setHeader("Allow", "POST").writeHead(200).end();
  }
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const body = Buffer.concat(pieces);
  const id = verifier.check(request.headers, body);
  if (id === null) return response.writeHead(401).end();
  try {
    if (verifier.isNew(id)) {
      handle(id, request.headers, body);
      verifier.handled(id);
    }
    response.writeHead(204).end(); // also for what was handled before: then our first answer got lost
  } catch {
    response.writeHead(500).end();
  }
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
