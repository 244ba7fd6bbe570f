"""A receiver of pushed events in Python, with nothing but the standard library.

    FANWAY_PUSH_SECRET=whsec_… python receiver.py 3000

Give it several secrets, separated by blanks, while they are being changed.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300


class Refused(Exception):
    """The delivery is not genuine, or not fresh."""


class Verifier:
    """Keeps what lets it tell genuine deliveries from others. `clock` gives unix seconds."""

    def __init__(self, secrets, clock=time.time):
        self._keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
        self._clock = clock
        self._seen = {}  # ids of deliveries that were handled, until their timestamps are too old anyway

    def check(self, headers, body):
        """The delivery's id. Raises Refused. `headers` has names in lower case, `body` is bytes as they came."""
        id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        now = self._clock()
        if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
            raise Refused("the timestamp is too old, too new or none")
        signed = f"{id}.{timestamp}.".encode() + body
        wanted = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in self._keys]
        values = headers.get("webhook-signature", "").encode().split(b" ")
        given = [each.removeprefix(b"v1,") for each in values if each.startswith(b"v1,")]
        if not any(hmac.compare_digest(one, other) for one in wanted for other in given):
            raise Refused("the signature is wrong")
        return id

    def is_new(self, id):
        """Whether this delivery was not handled yet; call `handled` once it was."""
        now = self._clock()
        self._seen = {old: until for old, until in self._seen.items() if until > now}
        return id not in self._seen

    def handled(self, id):
        self._seen[id] = self._clock() + 2 * TOLERANCE_SECONDS


def handle(id, headers, body):
    """What your program does with an event. An exception here makes the relay deliver it again."""
    if "ce-type" in headers:
        print(id, headers["ce-type"], headers.get("ce-fanwayaddress"), body, flush=True)
    else:  # structured or in a batch: the body says it all
        print(id, body, flush=True)


def serve(port, verifier):
    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_OPTIONS(self):  # the relay asks whether we want events; say so, and to whom
            self.answer(
                200,
                {
                    "WebHook-Allowed-Origin": self.headers.get("WebHook-Request-Origin", ""),
                    "WebHook-Allowed-Rate": "*",
                    "Allow": "POST",
                },
            )

        def do_POST(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            try:
                id = verifier.check(headers, body)
            except Refused as error:
                return self.answer(401, {"Reason": str(error)})
            if verifier.is_new(id):
                handle(id, headers, body)
                verifier.handled(id)
            self.answer(204)  # also for what was handled before: then our first answer got lost

        def answer(self, status, headers=None):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Verifier(os.environ["FANWAY_PUSH_SECRET"].split()))
