"""One subscription as the application sees it, and its place in the relay's events.

The rule it upholds: every event once and in order, across reconnects and however slow the
application is; what could not be had is told by `Event.missed`, never passed over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fanway.address import matches
from fanway.event import Event
from fanway.session_wire import Header, Message, Position, count_missing, event_of, parse_position
from fanway.status import ConnectionState, ConnectionStatus

MAX_WAITING_BYTES = 8 << 20
MAX_WAITING_EVENTS = 10_000


class Subscription(ConnectionStatus):
    """An asynchronous iterator of events; made by `Relay.subscribe`.

    Ends when closed; raises a RelayError when the gateway refuses it for good. Leaving the
    `async for` early keeps the subscription: call `close()` or use `async with`.
    """

    def __init__(self, pattern: str, start: str, options: Header, close: Callable[[Subscription], Any]) -> None:
        super().__init__()
        self.pattern = pattern
        self._spelled = pattern
        self.options = options
        self.number = 0
        self.relay = ""
        self.is_live = False
        self.is_behind = False
        self.is_replaying = False  # what comes from history is marked as its own, and live events are not for it yet
        self.position: Position | None = parse_position(start) if is_cursor(start) else None
        self._start = start
        self._close = close
        self._missed = 0
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: BaseException | None = None
        self._is_closed = False
        self.on_drained: Callable[[Subscription], None] = lambda _: None

    @property
    def is_marked(self) -> bool:
        """Whether all that is for it bears its number, so that what bears none is not for it."""
        return "filter" in self.options

    def as_header(self) -> Header:
        """What is asked of the gateway, now."""
        return {"t": "sub", "sub": self.number, "pattern": self.pattern, **self.options, "from": self.start}

    @property
    def start(self) -> str:
        """What to ask the gateway for (`from`): where this subscription stands, or where it was told to begin."""
        return str(self.position) if self.position else self._start

    @property
    def cursor(self) -> str | None:
        """The position reached on the wire; events still waiting here lie before it."""
        return str(self.position) if self.position else None

    async def ready(self) -> Self:
        """Wait until the gateway has accepted it: what is published from now on arrives. Raises RelayError."""
        await asyncio.shield(self._ready)
        return self

    async def close(self) -> None:
        """Unsubscribe; the iteration ends."""
        if not self._is_closed:
            self.end(None)
            await self._close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            if self.is_behind:
                self.is_behind = False
                self.on_drained(self)
            await self._wake.wait()
        event = self._waiting.popleft()
        self._waiting_bytes -= len(event.data)
        return event

    # What follows is for the session.

    def accepted(self, header: Header) -> None:
        """The gateway's `ok`: live from `cursor` on."""
        self.relay = str(header.get("relay", ""))
        if self.pattern[: len(self.relay)].lower() == self.relay.lower():
            self._spelled = self.relay + self.pattern[len(self.relay) :]  # relay paths ignore case, events carry theirs
        self.is_live = True
        self.is_replaying = bool(header.get("behind"))
        self._become(ConnectionState.ONLINE)
        if self.position is None and self._start == "now":
            self.position = parse_position(header["cursor"])
        if not self._ready.done():
            self._ready.set_result(None)

    def wants(self, address: str) -> bool:
        """Whether an event of this address is for it."""
        return matches(self._spelled, address)

    def offer(self, message: Message) -> bool:
        """Take an event unless it was had before. False: too many wait here, the session must unsubscribe."""
        position = parse_position(message.header["c"])
        if not self.is_live or self._has_passed(position) or (self.is_replaying and "sub" not in message.header):
            return True
        if self._waiting_bytes >= MAX_WAITING_BYTES or len(self._waiting) >= MAX_WAITING_EVENTS:
            self.is_live, self.is_behind = False, True
            return False
        event = event_of(message, self._missed)
        self._missed = 0
        if not self._is_told_retained:
            self.position = position
        self._waiting.append(event)
        self._waiting_bytes += len(event.data)
        self._wake.set()
        return True

    def skipped(self, gap: Header) -> None:
        """The gateway's `gap`: events after `from` up to and including `to` are missing."""
        if self.is_replaying and "sub" not in gap:
            return
        from_, to = parse_position(gap["from"]), parse_position(gap["to"])
        if gap.get("why") not in ("epoch", "ahead") and self._has_passed(to):
            return
        self._missed += count_missing(gap, from_, to)
        self.position = to

    def fell_behind(self) -> None:
        """The gateway's `behind`: it was too slow, and what it missed comes from history."""
        self.is_replaying = True

    def reached(self, position: Position, *, alone: bool) -> None:
        """The gateway's `cur`: nothing up to here is still to come; if it is for this one `alone`, it is live again."""
        if alone:
            self.is_replaying = False
        if self.is_live and not self._has_passed(position):
            self.position = position

    async def settle(self) -> None:
        """Return when the gateway has heard what was acknowledged so far."""

    def interrupted(self) -> None:
        """The connection is gone: nothing comes before it is accepted again."""
        self.is_live = False

    def lost(self, error: Exception) -> None:
        """The session is gone, and comes back or does not."""
        self._become(ConnectionState.CONNECTING, error)

    def end(self, error: BaseException | None) -> None:
        """No more events: normally, or with the error that the application shall see."""
        self._is_closed = True
        self.is_live = False
        self._error = error
        self._become(ConnectionState.OFFLINE, error if isinstance(error, Exception) else None)
        if not self._ready.done():
            if error is None:
                self._ready.set_result(None)
            else:
                self._ready.set_exception(error)
                self._ready.exception()  # seen by the iteration; nobody need await ready()
        self._wake.set()

    @property
    def _is_told_retained(self) -> bool:
        """Whether what comes are last events, of older places: whoever returns must be told them all anew."""
        return self.is_replaying and self._start == "retained" and self.position is None

    def _has_passed(self, position: Position) -> bool:
        mine = self.position
        return mine is not None and mine.epoch == position.epoch and position.offset <= mine.offset


def is_cursor(text: str) -> bool:
    """Whether `text` has the form `epoch:offset`."""
    epoch, colon, offset = text.partition(":")
    return bool(colon) and len(epoch) == 8 and all(c in "0123456789abcdef" for c in epoch) and offset.isdecimal()
