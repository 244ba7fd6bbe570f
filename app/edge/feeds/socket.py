"""What all WebSockets of the events door share: a lease, heartbeats, the peer's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.closes import Close
from app.edge.context import PUBLISH_READ_BYTES
from app.edge.feeds.feed import HEARTBEAT_SECONDS
from app.edge.feeds.lease import Lease
from app.edge.feeds.turns import FIRST_STEP_BYTES, next_step
from app.edge.feeds.waiting import Waiting
from app.edge.realm import Realm
from app.edge.refusal import Door
from app.edge.websocket import MessageSocket
from app.edge.wheel import Deadline
from app.errors import RelayError
from app.namespace import Relay
from app.wire.frames import CLOSE
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

REPLY_BYTES = 256 * 1024  # what a client may be owed before it is read no further
UNSAVED_BYTES = 1024 * 1024  # that a client published and are not on disk yet, before it is read no further
SILENT_BEATS = 3  # heartbeats without any sign of life after which a peer is gone


class FeedSocket(MessageSocket):
    """What all sockets of this door share: a lease, heartbeats, back-pressure."""

    __slots__ = ("_heartbeat", "_step", "_turn_ends", "_unread", "_waiting", "lease", "realm", "unsaved")

    door = Door.OURS

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        realm: Realm,
        relay: Relay | None,
        grant: Grant,
        max_message_bytes: int,
        place: str = "",
    ) -> None:
        super().__init__(context, transport, head, max_message_bytes)
        self.realm = realm
        self._heartbeat: Deadline | None = None
        self._step = FIRST_STEP_BYTES
        self._turn_ends = 0.0  # when, if uvloop reads on in this turn
        self._unread: bytes | None = None  # what waits for the next turn, while reading is paused
        self._waiting: Waiting | None = None  # what waits for room in a relay
        self.unsaved = 0
        self.lease = Lease(context, realm, relay, grant, self.end, place)

    # --- overridden by subclasses ---

    def on_heartbeat(self) -> None:
        """Fifteen seconds have passed."""

    def on_caught_up(self) -> None:
        """The peer has taken what it was owed."""

    def on_release(self) -> None:
        """The socket ends: nothing is fed to it any more."""

    # --- life and end ---

    def start_life(self) -> None:
        """From the 101 until `release`."""
        self.context.lives.add(self)
        self._heartbeat = self.context.wheel.after(HEARTBEAT_SECONDS, self._beat)

    def review(self) -> None:
        self.lease.review()

    def end(self, close: Close) -> None:
        self.finish_unread()
        self.release()
        super().end(close)

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish_unread()
        super().connection_lost(exc)

    def on_close(self, code: int, reason: str) -> None:
        self.release()

    def on_lost(self) -> None:
        self.release()

    def release(self) -> None:
        self.lease.release()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self.context.lives.discard(self)
        self.context.owed.discard(self.outflow)
        self.context.turns.leave(self)
        self.on_release()

    # --- the peer's pace ---

    def note_work(self) -> None:
        """The client published or subscribed: if others do so at the same time, all have short turns."""
        self.context.turns.note(self, perf_counter())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.context.publish_buffer

    def receive(self, data: bytes | memoryview) -> None:
        """Work on what came until this turn is over. After a full read uvloop reads on at once, in the same turn."""
        size, at = len(data), 0
        now = perf_counter()
        turn = self.context.turns.length(now)
        end = self._turn_ends or now + turn
        while at < size and (now < end or not at) and not self._waits_with_much:
            super().receive(data[at : at + self._step])
            at += self._step
            earlier, now = now, perf_counter()
            if at <= size:
                self._step = next_step(self._step, now - earlier, turn)
        is_full = size >= PUBLISH_READ_BYTES
        self._turn_ends = end if is_full and at >= size and now < end else 0.0
        if self._waits_with_much:
            self._unread = bytes(data[at:])
            self.transport.pause_reading()
            return
        waits = at < size or (is_full and not (self._turn_ends or self.outflow.is_tls))  # TLS yields by itself
        if waits and not self.is_lost:
            self._unread = bytes(data[at:])
            self.transport.pause_reading()
            self.context.loop.call_soon(self._go_on)
            return
        if self._asks_too_much:
            self.transport.pause_reading()

    def must_wait(self, relay: Relay) -> bool:
        """Whether a publish there must wait: the relay is held up, or what the client published before waits."""
        return self._waiting is not None or self.realm.backpressure.holds(relay)

    def wait_for_room(self, relay: Relay, messages: Sequence[tuple[int, bytes]]) -> None:
        """These publishes come to `on_messages` again when the relay has room."""
        if self._waiting is None:
            self._waiting = Waiting(relay)
            self.realm.backpressure.wait(relay, self._on_room)
        self._waiting.add(messages)

    def on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE and self._waiting is not None:
            self._waiting.close = payload  # what it published before comes first
        else:
            super().on_control(opcode, payload)

    def on_writable(self, is_writable: bool) -> None:
        if not is_writable:
            self.context.owed.add(self.outflow)
            return
        self.context.owed.discard(self.outflow)
        self._resume()
        if not self.is_ending:
            self.on_caught_up()

    def on_unreadable(self, error: RelayError) -> None:
        self.fail(error)

    def on_saved(self) -> None:
        if not self.is_lost:
            self._resume()

    def _go_on(self) -> None:
        """The next turn: what was left, then the transport again."""
        unread, self._unread = self._unread, None
        if self.is_lost:
            return
        if unread:
            self.receive(unread)
        self._resume()

    def _resume(self) -> None:
        if self._unread is None and (self.is_ending or not self._asks_too_much):  # its Close is always waited for
            self.transport.resume_reading()

    def _on_room(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or self.is_ending:
            return
        try:
            self.on_messages(waiting.messages)
        except Exception as error:
            self.give_up(error)
            return
        if waiting.close is not None:
            self.on_control(CLOSE, waiting.close)
        else:
            self._go_on()

    def finish_unread(self) -> None:
        """What was read is not lost because its turn never came."""
        unread, self._unread = self._unread, None
        if self._waiting is not None:  # what waited for room goes with its connection
            self.realm.backpressure.leave(self._waiting.relay, self._on_room)
            self._waiting = None
        elif unread and not self.is_ending:
            super().receive(unread)

    @property
    def _waits_with_much(self) -> bool:
        return self._waiting is not None and self._waiting.is_much

    @property
    def _asks_too_much(self) -> bool:
        """It is read no further: its answers pile up, or what it publishes waits for the disk."""
        if self.unsaved and (self.unsaved > UNSAVED_BYTES or self.context.appender.is_crowded):
            self.context.appender.hold(self)
            return True
        return self.outflow.is_paused and self.outflow.backlog() > REPLY_BYTES

    def _beat(self) -> None:
        if self._waits_with_much:
            self.last_heard = self.context.loop.time()  # it is not read
        self.check_life(HEARTBEAT_SECONDS, SILENT_BEATS)
        if self.is_ending:
            return
        self.on_heartbeat()
        self._heartbeat = self.context.wheel.after(HEARTBEAT_SECONDS, self._beat)
