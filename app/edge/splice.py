"""Two sockets joined: frames pass both ways, unbuffered, throttled like TCP (protocol guide, "Sender").

Theory. Each side reads, takes frames apart just far enough to change their masking, and writes them to its
mate within the same turn. A side whose mate's buffer is above the high mark stops reading. Frames of up to
64 KiB pass whole; larger ones are re-cut, so at most one read per direction is in memory, whatever the
size of a message. Message types and boundaries stay. A read is as large as can be and leaves in one write: what
each costs, here and in waking the peer, outweighs what its bytes cost.

A Close is forwarded, not answered: that side has finished writing but still receives (half-close). When
both have sent theirs, both transports close. A side lost without a Close takes its mate with it, without a
Close frame, so that a cut never looks like an end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.closes import ENTITY_GONE, REVOCATIONS, TOKEN_EXPIRED, Close
from app.edge.realm import Realm
from app.edge.refusal import explain, told
from app.edge.websocket import Socket
from app.edge.wheel import Deadline
from app.errors import PeerWireError
from app.namespace import Relay
from app.telemetry import new_tracking_id
from app.wire.frames import CLOSE, PING, PONG, FrameParser, encode_close, encode_frame, frame_head, parse_close
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context


LARGE_READS_WHILE_STALLED = 64  # sides: all larger reads together stay below 32 MiB
SMALL_READ_BYTES = 72 * 1024  # one whole frame of 64 KiB with its head


class SplicedSocket(Socket):
    """One side of a splice; it lives on a grant and a relay."""

    __slots__ = ("_half_close", "_has_closed", "_is_stalled", "_parser", "expiry", "grant", "mate", "realm", "relay")

    is_patient = True  # a paused reader is no vanished peer

    def __init__(
        self, context: Context, transport: asyncio.Transport, head: Head, realm: Realm, relay: Relay, grant: Grant
    ) -> None:
        super().__init__(context, transport, head)
        self.realm, self.relay, self.grant = realm, relay, grant
        self.mate: SplicedSocket | None = None
        self._parser: FrameParser | None = FrameParser()
        self._has_closed = False  # its Close came; it still receives
        self._half_close: Deadline | None = None
        self._is_stalled = False
        self.expiry: Deadline | None = None  # of what a ticket opened

    def get_buffer(self, sizehint: int) -> memoryview:
        """Large reads as long as few peers stall: what one has read for a stalled mate stays in memory."""
        context = self.context
        if self._held is None and context.stalled <= LARGE_READS_WHILE_STALLED:
            return context.read_buffer
        return context.read_buffer[:SMALL_READ_BYTES] if self._held is None else super().get_buffer(sizehint)

    def receive(self, data: bytes | memoryview) -> None:
        parser, mate = self._parser, self.mate
        if parser is None or mate is None:
            return
        passed: list[bytes] = []
        kind, size, is_last, head = -1, -1, True, b""
        try:
            for opcode, fin, payload in parser.feed(data):
                if opcode < CLOSE:
                    if len(payload) != size or opcode != kind or fin is not is_last:  # bulk comes in like frames
                        kind, size, is_last = opcode, len(payload), fin
                        head = frame_head(kind, size, is_last)
                    passed.append(head)
                    passed.append(payload)
                elif opcode == PING:
                    if not mate._has_closed and not self.outflow.is_paused:
                        self.outflow.write(encode_frame(PONG, payload))
                elif opcode == CLOSE:
                    code, reason = parse_close(payload)
                    passed.append(encode_close(code, reason))
                    self._parser = None
                    self._has_closed = True
                    break
        except PeerWireError as error:
            self._break(error)
            return
        if passed and not mate.is_lost:
            self.context.counters["spliced_bytes"] += len(data)
            mate.outflow.write_all(passed, len(data))
        if self._has_closed:
            self._on_closed(mate)

    def on_writable(self, is_writable: bool) -> None:
        self._note_stalled(not is_writable)
        mate = self.mate
        if mate is None or mate.is_lost:
            return
        if is_writable:
            mate.transport.resume_reading()
        else:
            mate.transport.pause_reading()

    def on_lost(self) -> None:
        self._note_stalled(False)
        self.context.lives.discard(self)
        if self.expiry is not None:
            self.expiry.cancel()
        mate = self.mate
        if mate is not None:
            self.realm.release(self.relay)
        if mate is None or mate.is_lost or mate.is_ending:
            for side in (self, mate):
                if side is not None and side._half_close is not None:
                    side._half_close.cancel()
            if mate is not None and mate.is_lost:
                self.mate = mate.mate = None  # two that hold each other wait for the collector
            return
        if self._has_closed:  # it had said goodbye; its mate may still say its own, until the deadline
            mate.transport.resume_reading()
            return
        mate.cut()

    def cut(self) -> None:
        """Its mate was lost: the end comes without a Close frame, so that a cut never looks like an end."""
        self.is_ending = True
        self.finish()

    def _note_stalled(self, is_stalled: bool) -> None:
        self.context.stalled += is_stalled - self._is_stalled
        self._is_stalled = is_stalled

    def review(self) -> None:
        """End if the relay or the key is gone. A token's expiry ends no established socket."""
        if self.realm.namespace.relays.get(self.relay.key) is not self.relay:
            self.end(ENTITY_GONE)
        elif not self.context.authorizer.is_live(self.grant, 0.0):
            self.end(self.context.authorizer.close_of(self.grant))

    def end(self, close: Close) -> None:
        """The gateway ends both sides."""
        is_abrupt = close in REVOCATIONS and any(side.outflow.backlog() > 0 for side in (self, self.mate) if side)
        close = told(self.context, close, new_tracking_id(None, self.context.node))
        for side in (self, self.mate):
            if side is not None and not side.is_ending and not side.is_lost:
                side.is_ending = True
                side._parser = None
                if is_abrupt:
                    side.abort()
                    continue
                if side.is_open:
                    side.send_close(close.code, close.reason)
                    side.transport.resume_reading()  # and read past what comes
                side.linger()

    def _on_closed(self, mate: SplicedSocket) -> None:
        if mate._has_closed or mate.is_lost:
            for side in (self, mate):
                side.is_ending = True
                side.finish()
            return
        seconds = self.context.settings.deadlines.half_close_seconds
        self._half_close = self.context.wheel.after(seconds, self._on_half_closed)

    def _on_half_closed(self) -> None:
        for side in (self, self.mate):
            if side is not None:
                side.abort()

    def _break(self, error: PeerWireError) -> None:
        """This side broke the protocol: it is told so, its mate is cut."""
        self._parser = None
        self.is_ending = True
        self.send_close(error.close, explain(None, error.message, new_tracking_id(None, self.context.node)))
        self.linger()
        if self.mate is not None and not self.mate.is_lost:
            self.mate.cut()


def join(sender: SplicedSocket, listener: SplicedSocket, sub_protocol: str | None) -> None:
    """Answer both upgrades, the listener's first, and let frames flow: if all still stands that the sender was
    admitted on when its upgrade began to wait."""
    sender.mate, listener.mate = listener, sender
    listener.answer(sub_protocol)
    sender.answer(sub_protocol)
    for side in (listener, sender):
        side.context.lives.add(side)
        side.realm.hold(side.relay)
    listener.start_reading()
    sender.start_reading()
    for side in (listener, sender):
        side.review()
    if sender.grant.by_ticket:
        left = sender.grant.expires_at - sender.context.clock()
        sender.expiry = sender.context.wheel.after(max(left, 0.0), lambda: sender.end(TOKEN_EXPIRED))
