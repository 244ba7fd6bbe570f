"""A WebSocket that the gateway ends itself: control channels, rendezvous for requests, feeds, sessions.

Theory. A socket is made by a door while its upgrade is still unanswered. `begin` is called once it is the
transport's protocol: it either calls `open` (the 101 goes out, frames flow) or holds the upgrade and opens or
refuses later. Bytes that came early are kept, never interpreted, until `open`; while held at most
`HELD_BYTES` are read, so that a peer that leaves is noticed and one that floods is not stored.

It ends in one of three ways: `end` (our Close, then the peer's, then the transport), the peer's Close
(echoed), or `abort`. Every end starts a deadline, since a stalled peer would otherwise keep it for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.closes import REVOCATIONS, UNRESPONSIVE, Close
from app.edge.origin import remote_endpoint
from app.edge.outflow import Outflow, be_patient
from app.edge.refusal import Door, explain, refused_handshake
from app.edge.wheel import Deadline
from app.errors import PayloadTooLarge, PeerWireError, RelayError
from app.telemetry import new_tracking_id
from app.wire.azure.commands import CONTROL_TEXT_LIMIT
from app.wire.frames import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameParser,
    MessageReader,
    accept_key,
    encode_close,
    encode_frame,
    is_utf8,
    parse_close,
)
from app.wire.http import Head, Headers, encode_head

if TYPE_CHECKING:
    from app.edge.context import Context

HELD_BYTES = 4096
LINGER_SECONDS = 0.5


class Socket(asyncio.BufferedProtocol):
    """An upgraded connection: the held handshake, the transport's callbacks, ends. Subclasses read the bytes."""

    __slots__ = (
        "_deadline",
        "_held",
        "context",
        "head",
        "is_ending",
        "is_lost",
        "is_open",
        "origin",
        "outflow",
        "transport",
    )

    data_received = None  # uvloop asks for it, and would keep that of the protocol before, and so its seam, for good

    door = Door.AZURE
    is_patient = False  # with a peer that acknowledges nothing for minutes

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head) -> None:
        self.context = context
        self.transport = transport
        self.head: Head | None = head
        self.outflow = Outflow(transport)
        self.origin = remote_endpoint(context, transport, head)[0] if context.settings.trusted_proxies else ""
        self.is_open = False
        self.is_ending = False  # a Close was sent, or received, or the upgrade was refused
        self.is_lost = False
        self._held: bytes | None = b""
        self._deadline: Deadline | None = None
        if self.is_patient:
            be_patient(transport)

    # --- overridden by subclasses ---

    def begin(self, rest: bytes) -> None:
        """The socket is the transport's protocol now; `rest` followed the head. Call `open`, or hold."""
        self.hold(rest)
        self.open()

    def receive(self, data: bytes | memoryview) -> None:
        """Bytes of frames came; `data` is only good until this returns."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """The connection is gone; called once."""

    def on_writable(self, is_writable: bool) -> None:
        """The peer reads too slowly (False), or has caught up (True)."""

    def peer_address(self) -> str:
        """Where it comes from; behind a trusted proxy what that says."""
        peer = self.transport.get_extra_info("peername")
        return self.origin or (str(peer[0]) if isinstance(peer, tuple) else "")

    # --- offered to subclasses and their friends ---

    def hold(self, rest: bytes) -> None:
        """Keep early bytes until `open`."""
        self._held = (self._held or b"") + rest
        if len(self._held) > HELD_BYTES:
            self.transport.pause_reading()

    def open(self, sub_protocol: str | None = None) -> None:
        """Answer the upgrade and read on."""
        self.answer(sub_protocol)
        self.start_reading()

    def answer(self, sub_protocol: str | None = None) -> None:
        """Answer the upgrade with 101; nothing is read before `start_reading`."""
        head = self.head
        assert head is not None
        headers: Headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key((head.get("sec-websocket-key") or "").strip())),
        ]
        if sub_protocol is not None:
            headers.append(("Sec-WebSocket-Protocol", sub_protocol))
        self.outflow.write(encode_head(101, None, headers))
        self.is_open = True

    def start_reading(self) -> None:
        """Begin with the bytes that came early."""
        held, self._held, self.head = self._held or b"", None, None
        if len(held) > HELD_BYTES:
            self.transport.resume_reading()
        if held and not self.is_lost:
            self.receive(held)

    def refuse(self, error: RelayError, tracking_id: str | None = None, extra: Headers | None = None) -> None:
        """Answer the held upgrade with an error; early bytes are dropped unread."""
        if self.is_open or self.is_ending or self.is_lost:
            return
        self.outflow.write(refused_handshake(self.context, self.head, error, self.door, tracking_id, extra))
        self.is_ending = True
        self.finish()

    def send_close(self, code: int, reason: str) -> None:
        self.outflow.write(encode_close(code, reason))

    def finish(self) -> None:
        """Close the transport once all is written, or cut it at the deadline."""
        if not self.is_lost:
            self.transport.close()
            self._start_deadline()

    def linger(self) -> None:
        """Finish once the peer had a moment to read our Close: closing with unread bytes would reset, and lose it."""
        self.context.wheel.after(LINGER_SECONDS, self.finish)

    def cuts(self, close: Close) -> bool:
        """Whether this end is abrupt: what waits for a peer whose right was taken back is not for it any more."""
        return close in REVOCATIONS and self.outflow.backlog() > 0

    def abort(self) -> None:
        if not self.is_lost:
            self.transport.abort()

    # --- the transport's calls ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.context.read_buffer if self._held is None else self.context.read_buffer[:HELD_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        data = self.context.read_buffer[:nbytes]
        if self._held is not None:
            self.hold(bytes(data))
        elif not self.is_lost:
            self.receive(data)

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.context.connections -= 1
        if self._deadline is not None:
            self._deadline.cancel()
        self.on_lost()

    def pause_writing(self) -> None:
        self.outflow.pause()
        self.on_writable(False)

    def resume_writing(self) -> None:
        self.outflow.resume()
        self.on_writable(True)

    # --- inside ---

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.context.wheel.after(self.context.settings.deadlines.close_seconds, self.abort)


class WebSocket(Socket):
    """A socket whose frames the gateway reads itself: pings answered, Close echoed, broken frames refused."""

    __slots__ = ("_is_broken", "_pinged_at", "_unanswered", "last_heard")

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head) -> None:
        super().__init__(context, transport, head)
        self._is_broken = False
        self.last_heard = context.loop.time()
        self._pinged_at = 0.0
        self._unanswered = 0  # pings in a row after which nothing at all was heard

    # --- overridden by subclasses ---

    def read(self, data: bytes | memoryview) -> None:
        """Take frames apart; pass control frames to `on_control`. May raise RelayError, which ends the socket."""
        raise NotImplementedError

    def on_close(self, code: int, reason: str) -> None:
        """The peer's Close came (it has been echoed)."""

    # --- offered ---

    def send(self, opcode: int, payload: bytes) -> None:
        self.outflow.write(encode_frame(opcode, payload))

    def end(self, close: Close) -> None:
        """Send a Close and wait for the peer's, within the deadline."""
        if self.is_ending or self.is_lost:
            return
        if not self.is_open or self.cuts(close):
            self.abort()
            return
        self.is_ending = True
        self.send_close(close.code, close.reason)
        self.transport.resume_reading()  # whatever it waited for: now it is for the peer's Close
        self._start_deadline()

    def check_life(self, quiet_seconds: float, most_pings: int) -> None:
        """To be called at each heartbeat: ping who was quiet for so long; end who left that many pings unanswered."""
        now = self.context.loop.time()
        if self.last_heard >= self._pinged_at:  # the clock counts milliseconds
            self._unanswered = 0
        if now - self.last_heard < quiet_seconds:
            return
        if self._unanswered >= most_pings:
            self.end(UNRESPONSIVE)
            return
        self._unanswered += 1
        self._pinged_at = now
        self.send(PING, b"")

    def fail(self, error: RelayError) -> None:
        """End because of an error: its close code, its sentence."""
        self.context.counters["failures"] += 1
        text = explain(self.head, error.message, new_tracking_id(None, self.context.node))
        self.end(Close(error.close, text, error.is_transient))

    def give_up(self, error: Exception) -> None:
        """End because of any exception; of broken frames nothing more is read."""
        self.fail(self.context.shown(error))
        if isinstance(error, PeerWireError | PayloadTooLarge):
            self._is_broken = True
            self.linger()

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer a ping; echo a Close and finish. Nothing after a Close is read."""
        if opcode == PING:
            if not self.is_ending and not self.outflow.is_paused:  # who does not read gets no pongs to pile up
                self.send(PONG, payload)
        elif opcode == CLOSE:
            code, reason = parse_close(payload)
            self._is_broken = True
            if not self.is_ending:
                self.is_ending = True
                self.send_close(code, "")
                self.on_close(code, reason)
            self.finish()

    # --- inside ---

    def receive(self, data: bytes | memoryview) -> None:
        self.last_heard = self.context.loop.time()
        if self._is_broken:  # nothing sensible can follow; it is read so that the peer gets our Close
            return
        try:
            self.read(data)
        except Exception as error:
            self.give_up(error)


class MessageSocket(WebSocket):
    """A WebSocket read as whole messages of at most `max_message_bytes`."""

    __slots__ = ("_reader",)

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head, max_message_bytes: int) -> None:
        super().__init__(context, transport, head)
        self._reader = MessageReader(max_message_bytes)

    def on_message(self, opcode: int, payload: bytes) -> None:
        """A whole TEXT or BINARY message. May raise RelayError, which ends the socket with its code."""

    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        """The messages of one read, one or more, up to the next control frame."""
        for opcode, payload in messages:
            if not self.is_ending:
                self.on_message(opcode, payload)

    def read(self, data: bytes | memoryview) -> None:
        messages: list[tuple[int, bytes]] = []
        for message in self._reader.feed(data):
            if message[0] < CLOSE:
                messages.append(message)
                continue
            if messages and not self.is_ending:
                self.on_messages(messages)
                messages = []
            self.on_control(*message)
        if messages and not self.is_ending:
            self.on_messages(messages)


class CommandSocket(WebSocket):
    """A WebSocket of commands and bodies: text is read as whole messages, binary piece by piece, of any size."""

    __slots__ = ("_parser", "_text")

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head) -> None:
        super().__init__(context, transport, head)
        self._parser = FrameParser()
        self._text: bytearray | None = None  # of a text message that is not complete

    def on_command(self, text: bytes) -> None:
        """A whole TEXT message. May raise RelayError, which ends the socket with its code."""

    def on_body(self, data: bytes, is_end: bool) -> None:
        """Some of a BINARY message. May raise RelayError, which ends the socket with its code."""

    def read(self, data: bytes | memoryview) -> None:
        for opcode, fin, payload in self._parser.feed(data):
            if opcode >= CLOSE:
                self.on_control(opcode, payload)
            elif self.is_ending:
                continue
            elif opcode == TEXT or self._text is not None:
                self._on_text(payload, fin)
            else:
                self.on_body(payload, fin)

    def _on_text(self, payload: bytes, fin: bool) -> None:
        if self._text is not None:
            self._text += payload
        elif not fin:
            self._text = bytearray(payload)
        if len(payload if self._text is None else self._text) >= CONTROL_TEXT_LIMIT:
            raise PayloadTooLarge("A command must stay below 64 KiB.")
        if not fin:
            return
        if self._text is not None:
            payload, self._text = bytes(self._text), None
        if not is_utf8(payload):
            raise PeerWireError("A text message is not UTF-8.", close=1007)
        self.on_command(payload)
