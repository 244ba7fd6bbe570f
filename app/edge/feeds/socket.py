"""What all WebSockets of the events door share: a lease, heartbeats, the peer's pace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.edge.feeds.feed import HEARTBEAT_SECONDS
from app.edge.feeds.lease import Lease
from app.edge.realm import Realm
from app.edge.refusal import Door
from app.edge.websocket import MessageSocket
from app.edge.wheel import Deadline
from app.errors import SLOW_CONSUMER, Close
from app.namespace import Relay
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

REPLY_BYTES = 256 * 1024  # what a client may be owed before it is read no further
SILENT_BEATS = 3  # heartbeats without any sign of life after which a peer is gone


class FeedSocket(MessageSocket):
    """What all sockets of this door share: a lease, heartbeats, back-pressure."""

    __slots__ = ("_heartbeat", "lease", "realm")

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

    def on_slow(self) -> None:
        self.context.counters["slow_consumers"] += 1
        self.end(SLOW_CONSUMER)

    def end(self, close: Close) -> None:
        self.release()
        super().end(close)

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
        self.on_release()

    # --- the peer's pace ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.context.publish_buffer

    def receive(self, data: bytes | memoryview) -> None:
        super().receive(data)
        if self.outflow.is_paused and self.outflow.backlog() > REPLY_BYTES:
            self.transport.pause_reading()  # it asks for more than it takes

    def on_writable(self, is_writable: bool) -> None:
        if not is_writable:
            self.context.owed.add(self.outflow)
            return
        self.context.owed.discard(self.outflow)
        self.transport.resume_reading()
        if not self.is_ending:
            self.on_caught_up()

    def _beat(self) -> None:
        self.check_life(HEARTBEAT_SECONDS, SILENT_BEATS)
        if self.is_ending:
            return
        self.on_heartbeat()
        self._heartbeat = self.context.wheel.after(HEARTBEAT_SECONDS, self._beat)
