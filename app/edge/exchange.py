"""One HTTP request and its answer, as a connection's queue sees them.

Theory. A connection (`app.edge.seam.Seam`) holds a queue of exchanges in the order their heads came. Only
the first is started; it alone writes. Those behind wait with whatever of their body has arrived. An exchange
ends by `finish` (or `respond`), after which the connection starts the next, or by `abort`, which cuts the
connection where an answer cannot be finished honestly.

Subclasses override `start`, `on_body`, `on_end`, `on_lost` and `on_writable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from app.edge.refusal import Door, refusal
from app.errors import RelayError
from app.wire.http import Head, Headers, encode_head
from app.wire.native.chunks import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from app.edge.context import Context
    from app.edge.seam import Seam

BODILESS = frozenset((204, 205, 304))


class Exchange:
    """Base of all exchanges: framing of the answer, keep-alive, back-pressure."""

    door = Door.OURS
    is_endless = False  # a feed, which a drain does not wait for
    has_timed_body = True  # the connection watches that the body comes; False where the exchange does

    is_started = False
    is_answering = False
    is_streaming = False
    is_over = False
    _is_chunked = False
    _is_mute = False

    def __init__(self, seam: Seam, head: Head) -> None:
        self.seam = seam
        self.context: Context = seam.context
        self.head = head  # which other exchanges may share
        self.is_keep_alive = head.is_keep_alive
        self.is_body_complete = not head.has_body
        self.early: list[bytes] = []  # body that came before the exchange was started

    # --- overridden by subclasses ---

    def start(self) -> None:
        """The exchange is first in the queue: it may read its body and answer."""

    def on_body(self, data: bytes) -> None:
        """Some of the body came."""

    def on_end(self) -> None:
        """The body is complete."""

    def on_lost(self) -> None:
        """The connection is gone before the answer was finished."""

    def on_writable(self, is_writable: bool) -> None:
        """The client reads too slowly (False), or has caught up (True)."""

    # --- offered to subclasses ---

    def welcome_body(self) -> None:
        """Answer `Expect: 100-continue`; call it once the request is found acceptable."""
        if self.head.expects_continue and not self.is_body_complete and not self.is_answering:
            self.head.expects_continue = False
            self.seam.outflow.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pause_body(self) -> None:
        self.seam.flow.pause_reading()

    def resume_body(self) -> None:
        self.seam.flow.resume_reading()

    def respond(self, status: int, headers: Headers, body: bytes = b"", reason: str | None = None) -> None:
        """The whole answer in one write."""
        head = self._answer_head(status, headers, len(body), reason)
        self.seam.outflow.write(head if self._is_mute else head + body)
        self.finish()

    def start_answer(self, status: int, headers: Headers, length: int | None, reason: str | None = None) -> None:
        """The answer's head; `length` None means that the body ends when `finish` is called."""
        self.is_streaming = True
        self.seam.outflow.write(self._answer_head(status, headers, length, reason))

    def send(self, data: bytes) -> None:
        """Some of the answer's body, at once on its way."""
        if self._is_mute or not data:
            return
        self.seam.outflow.write(chunk(data) if self._is_chunked else data)

    def send_chunks(self, data: bytes) -> None:
        """Body that is already framed as HTTP/1.1 chunks."""
        if not self._is_mute:
            self.seam.outflow.write(data)

    def finish(self) -> None:
        """The answer is complete; the connection goes on to its next exchange."""
        if self.is_over:
            return
        if self._is_chunked and not self._is_mute:
            self.seam.outflow.write(LAST_CHUNK)
        self.is_over = True
        self.seam.exchange_done(self)

    def refuse(self, error: RelayError, *, tracking_id: str | None = None) -> None:
        """Answer with an error; if an answer has begun, cut the connection instead of ending it cleanly."""
        if self.is_over:
            return
        if self.is_answering:
            self.abort()
            return
        status, reason, headers, body = refusal(self.context, self.head, error, self.door, tracking_id)
        self.respond(status, headers, body, reason)

    def abort(self) -> None:
        """Cut the connection, so that the client cannot take what it has for the whole."""
        self.is_over = True
        self.seam.transport.abort()

    def _will_drain(self) -> bool:
        """Whether the rest of a refused body is small enough to read past, keeping the connection."""
        length = self.head.content_length
        return length is not None and length <= HIGH_WATER_LIMIT and not self.head.expects_continue

    def _answer_head(self, status: int, headers: Headers, length: int | None, reason: str | None) -> bytes:
        self.is_answering = True
        headers = list(headers)
        if self.head.method == "HEAD" or status in BODILESS:
            self._is_mute = True
            if status == 205:
                headers.append(("Content-Length", "0"))
            elif status != 204 and length:
                headers.append(("Content-Length", str(length)))
        elif length is not None:
            headers.append(("Content-Length", str(length)))
        elif self.head.version == "1.1":
            self._is_chunked = True
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            self.is_keep_alive = False
        if not self.is_body_complete and not self._will_drain():
            self.is_keep_alive = False
        if not self.is_keep_alive or self.context.is_draining:
            self.is_keep_alive = False
            headers.append(("Connection", "close"))
        elif self.head.version == "1.0":
            headers.append(("Connection", "keep-alive"))
        return encode_head(status, reason, headers)


class Refused(Exchange):
    """An exchange that was over before it began: its head was bad. The connection closes after it."""

    def __init__(self, seam: Seam, head: Head, error: RelayError, door: Door) -> None:
        super().__init__(seam, head)
        self.door = door
        self.is_keep_alive = False
        self._error = error

    def start(self) -> None:
        self.refuse(self._error)
