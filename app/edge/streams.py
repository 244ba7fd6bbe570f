"""A `net.tcp` session joined to its listener: raw bytes on the sender's side, a WebSocket on the listener's.

Theory. It is a splice (see `splice.py`) whose sender speaks no frames. What a sender writes leaves as binary messages
of at most 64 KiB; what the listener sends, in messages of whatever type and size, leaves as bytes. The end of a
direction is a FIN on one side and a Close on the other. A side that is lost without it resets its mate. When both
directions have passed an End record, or the client begins another session, this one is over and so are the
connections: the next session, on the client's next connection, is admitted and routed anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from app.access.grant import Grant
from app.edge.control import ControlChannel
from app.edge.realm import Realm
from app.edge.refusal import note_refusal
from app.edge.sockets import AcceptingListener, WaitingSender
from app.errors import PeerWireError, RelayError
from app.namespace import Relay
from app.wire.azure.handshake import Handshake
from app.wire.azure.headers import NET_TCP_HEADER
from app.wire.frames import BINARY, CLOSE, PING, PONG, WHOLE_FRAME_BYTES, encode_frame, frame_head, parse_close
from app.wire.http import Head, Headers
from app.wire.nettcp.faults import fault_of
from app.wire.nettcp.records import Kind, Record, encode_record
from app.wire.nettcp.trail import Trail

if TYPE_CHECKING:
    from app.edge.context import Context

ORDERLY = (1000, 1001, 1005)  # close codes of a listener that has said all it had to say
_RESET = struct.pack("ii", 1, 0)  # close(2) sends RST instead of FIN


class StreamSender(WaitingSender):
    """A client's TCP connection: held until its listener comes, then one side of the session."""

    __slots__ = ("has_ended", "trail")

    own_headers: ClassVar[Mapping[str, str]] = {NET_TCP_HEADER: "1.0"}

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        realm: Realm,
        relay: Relay,
        address: str,
        grant: Grant,
        handshake: Handshake,
        listener: ControlChannel,
    ) -> None:
        super().__init__(context, transport, head, realm, relay, address, grant, handshake, listener, False)
        self.trail = Trail()
        self.has_ended = False  # its End record has passed

    def counterpart(
        self, context: Context, transport: asyncio.Transport, head: Head, sub_protocol: str | None
    ) -> AcceptingListener:
        return StreamListener(context, transport, head, self, sub_protocol)

    def answer(self, sub_protocol: str | None = None) -> None:
        """Nothing is said: it is the service that acknowledges the preamble."""
        self.is_open = True

    def refuse(self, error: RelayError, tracking_id: str | None = None, extra: Headers | None = None) -> None:
        if self.is_open or self.is_ending or self.is_lost:
            return
        note_refusal(self.context, self.head, error, tracking_id or self.tracking_id)
        self.outflow.write(encode_record(Record(Kind.FAULT, fault_of(error))))
        self.is_ending = True
        self.send_close(1000, "")
        self.linger()

    def receive(self, data: bytes | memoryview) -> None:
        mate = self.mate
        if mate is None or self.has_ended or self.is_ending:
            return
        ended_at = self.trail.follow(data)
        size = len(data) if ended_at is None else ended_at
        self.context.counters["spliced_bytes"] += size
        if size and not mate.is_lost:
            parts: list[bytes] = []
            for at in range(0, size, WHOLE_FRAME_BYTES):
                piece = bytes(data[at : min(at + WHOLE_FRAME_BYTES, size)])  # the buffer is everybody's
                parts += frame_head(BINARY, len(piece)), piece
            mate.outflow.write_all(parts, size)
        if ended_at is not None:
            self.has_ended = True
            self._on_end()

    def eof_received(self) -> bool | None:
        mate = self.mate
        if mate is None or self.is_ending:
            return False  # it left while it waited: that is what `on_lost` is for
        self._has_closed = True
        if not mate.is_lost:
            mate.send_close(1000, "")
        self._on_closed(mate)
        return self.transport.can_write_eof()  # our half stays open; TLS has no halves

    def pass_on(self, parts: list[bytes], size: int) -> None:
        """What the listener sent."""
        if not self.is_lost and not self.is_ending:
            self.outflow.write_all(parts, size)

    def send_close(self, code: int, reason: str) -> None:
        """No more comes from the other side. It is told by a FIN, which TLS does not have."""
        if not self.is_lost and self.transport.can_write_eof():
            self.transport.write_eof()

    def cut(self) -> None:
        """Its mate was lost: a FIN would look like an end."""
        self.is_ending = True
        self.abort()

    def abort(self) -> None:
        """A reset, so that the client sees a loss."""
        if not self.is_lost:
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def over(self) -> None:
        """Both End records have passed: no more comes of this session."""
        listener = self.mate
        self.is_ending = True
        self.finish()
        if isinstance(listener, StreamListener) and not listener.is_lost and not listener.is_ending:
            listener.conclude()

    def _on_end(self) -> None:
        if self.trail.begins_another or (isinstance(self.mate, StreamListener) and self.mate.has_ended):
            self.over()


class StreamListener(AcceptingListener):
    """The listener's WebSocket of such a session."""

    __slots__ = ("has_ended", "trail")

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        sender: StreamSender,
        sub_protocol: str | None,
    ) -> None:
        super().__init__(context, transport, head, sender, sub_protocol)
        self.trail = Trail()
        self.has_ended = False

    def receive(self, data: bytes | memoryview) -> None:
        parser, stream = self._parser, self.mate
        if parser is None or not isinstance(stream, StreamSender):
            return
        parts: list[bytes] = []
        closed: int | None = None
        try:
            for opcode, _, payload in parser.feed(data):
                if opcode < CLOSE:
                    parts.append(payload)
                elif opcode == PING:
                    if not stream._has_closed and not self.outflow.is_paused:
                        self.outflow.write(encode_frame(PONG, payload))
                elif opcode == CLOSE:
                    closed, _ = parse_close(payload)
                    self._parser = None
                    self._has_closed = True
                    break
        except PeerWireError as error:
            self._break(error)
            return
        if parts:
            self._pass_on(stream, parts)
        if closed is None or self.is_ending:
            return
        if closed not in ORDERLY:
            stream.cut()
            self.is_ending = True
            self.finish()
        elif stream.is_lost or stream.transport.can_write_eof():
            stream.send_close(closed, "")
            self._on_closed(stream)
        else:
            stream.over()

    def conclude(self) -> None:
        """Say Close, and read past what still comes."""
        self.is_ending = True
        self._parser = None
        self.send_close(1000, "")
        self.transport.resume_reading()
        self.linger()

    def _pass_on(self, stream: StreamSender, parts: list[bytes]) -> None:
        self.context.counters["spliced_bytes"] += sum(map(len, parts))
        if not self.has_ended:
            self.has_ended = any(self.trail.follow(part) is not None for part in parts)
        stream.pass_on(parts, sum(map(len, parts)))
        if self.has_ended and stream.has_ended:
            stream.over()
