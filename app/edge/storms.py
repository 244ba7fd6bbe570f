"""Listeners that come back the faster the more they are refused: their refusals wait (protocol guide, "Reconnect").

Theory. One SDK opens two new control channels, at once, for each that is refused: answered at once, a single
listener with a bad token is a flood within a second. So the refusals of one *source* (the peer's address, and the
path) are answered at once only the first few times; from then on one at a time, and the time between two grows up to
a bound. The others wait with their upgrade held. How many wait is bounded, for a source and in all; beyond it a
connection is closed without an answer. A source that is quiet for a while is forgotten.

Only refusals wait. Who may listen is registered at once, wherever he comes from and whatever others do there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.closes import Close
from app.edge.origin import remote_endpoint
from app.edge.websocket import Socket
from app.edge.wheel import Timer
from app.errors import RelayError
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

FIRST_SECONDS = 1.0  # between two refusals, when they begin to wait; it doubles
FORGET_SECONDS = 60.0
HELD_OF_A_SOURCE = 256
HELD_SHARE = 8  # in all: this part of the connections that the gateway can hold
SOURCES = 8192  # beyond which a new one is not told from others, and answered at once
PATH_CHARACTERS = 256  # of a path that count


class Source:
    """Who is refused again and again. Times are the wheel's."""

    __slots__ = ("answered_at", "held", "interval", "refused", "timer")

    def __init__(self, timer: Timer) -> None:
        self.refused = 0
        self.held: dict[HeldRefusal, None] = {}  # in the order they came
        self.interval = 0.0
        self.answered_at = 0.0
        self.timer = timer


class Storms:
    """The sources that were refused lately."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sources: dict[tuple[str, str], Source] = {}
        self.held = 0

    def __len__(self) -> int:
        return len(self._sources)

    def shelter(self, transport: asyncio.Transport, head: Head, error: RelayError) -> Socket | None:
        """The socket in which a refused listen waits for its answer; None when it is due at once."""
        context = self._context
        limits, longest = context.settings.limits, context.settings.deadlines.refusal_seconds
        context.counters["listens_refused"] += 1
        if not longest:
            return None
        key = remote_endpoint(context, transport, head)[0], head.path[:PATH_CHARACTERS].lower()
        source = self._sources.get(key)
        if source is None:
            if len(self._sources) >= SOURCES:
                return None
            source = self._sources[key] = Source(Timer(context.wheel))
        source.refused += 1
        is_due = not source.held and context.wheel.now() >= source.answered_at + source.interval
        if source.refused <= limits.refused_listens or is_due:
            self._answered(key, source)
            return None
        if len(source.held) >= HELD_OF_A_SOURCE or self.held >= context.max_connections // HELD_SHARE:
            context.counters["listens_dismissed"] += 1
            return Dismissed(context, transport, head)
        held = HeldRefusal(context, transport, head, error, self, source)
        source.held[held] = None
        self.held += 1
        if len(source.held) == 1:
            self._await_turn(key, source)
        return held

    def discard(self, source: Source, held: HeldRefusal) -> None:
        """One does not wait any more."""
        if held in source.held:
            del source.held[held]
            self.held -= 1

    def _answered(self, key: tuple[str, str], source: Source) -> None:
        """A refusal goes out now: the next one has to wait longer, and in a while all is forgotten."""
        source.answered_at = self._context.wheel.now()
        if source.refused >= self._context.settings.limits.refused_listens:
            longest = self._context.settings.deadlines.refusal_seconds
            source.interval = min(max(2 * source.interval, FIRST_SECONDS), longest)
        if source.held:
            self._await_turn(key, source)
        else:
            source.timer.set(max(FORGET_SECONDS, 2 * source.interval), lambda: self._forget(key, source))

    def _await_turn(self, key: tuple[str, str], source: Source) -> None:
        seconds = source.answered_at + source.interval - self._context.wheel.now()
        source.timer.set(max(seconds, 0), lambda: self._release(key, source))

    def _release(self, key: tuple[str, str], source: Source) -> None:
        first = next(iter(source.held), None)
        if first is not None:
            self.discard(source, first)
        self._answered(key, source)
        if first is not None:
            first.release()

    def _forget(self, key: tuple[str, str], source: Source) -> None:
        source.timer.close()
        if self._sources.get(key) is source:
            del self._sources[key]


class HeldRefusal(Socket):
    """A refused listen whose answer waits."""

    __slots__ = ("_error", "_source", "_storms")

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        error: RelayError,
        storms: Storms,
        source: Source,
    ) -> None:
        super().__init__(context, transport, head)
        self._error = error
        self._storms, self._source = storms, source

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.context.lives.add(self)

    def release(self) -> None:
        """Say at last why not."""
        self.refuse(self._error)

    def review(self) -> None:
        """Nothing that is provisioned makes its refusal undone: it comes back and asks again."""

    def end(self, close: Close) -> None:
        self.release()

    def on_lost(self) -> None:
        self.context.lives.discard(self)
        self._storms.discard(self._source, self)


class Dismissed(Socket):
    """One too many: closed without an answer."""

    def begin(self, rest: bytes) -> None:
        self.abort()
