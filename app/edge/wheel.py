"""One timer for everybody: deadlines in buckets, because an event-loop timer costs 550 bytes each.

A deadline fires at most one resolution late and never early.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

_log = logging.getLogger("fanway.edge")


class Deadline:
    """A pending call; `cancel()` it when what it waits for has happened."""

    __slots__ = ("_bucket", "_buckets", "_callback")

    def __init__(self, callback: Callable[[], None], buckets: dict[int, set[Deadline]], bucket: int) -> None:
        self._callback: Callable[[], None] | None = callback
        self._buckets = buckets
        self._bucket = bucket

    def cancel(self) -> None:
        self._callback = None
        due = self._buckets.get(self._bucket)
        if due is not None:  # most deadlines are cancelled; nothing of them must stay until their time
            due.discard(self)
            if not due:
                del self._buckets[self._bucket]

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Wheel:
    """Deadlines on `loop`'s monotonic clock, `resolution_seconds` coarse. It ticks only while some are pending."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolution_seconds: float = 0.25) -> None:
        self._loop = loop
        self.now: Callable[[], float] = loop.time
        self._ahead = 0.0
        self._resolution = resolution_seconds
        self._buckets: dict[int, set[Deadline]] = {}
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, callback: Callable[[], None]) -> Deadline:
        """Call `callback` in `seconds`, unless cancelled."""
        now = self.now()
        bucket = int((now + seconds) / self._resolution) + 1
        if self._timer is None:
            self._last = int(now / self._resolution)
            self._timer = self._loop.call_later(self._resolution, self._turn)
        deadline = Deadline(callback, self._buckets, bucket)
        self._buckets.setdefault(bucket, set()).add(deadline)
        return deadline

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once for whoever waits here: the emulator's clock was moved on."""
        self._ahead += seconds
        loop_time, ahead = self._loop.time, self._ahead
        self.now = lambda: loop_time() + ahead
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def stop(self) -> None:
        """Drop all deadlines and the timer."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        now = int(self.now() / self._resolution)
        passed: Iterable[int] = range(self._last + 1, now + 1)
        if now - self._last > len(self._buckets):  # a leap
            passed = sorted(bucket for bucket in self._buckets if bucket <= now)
        due = [self._buckets.pop(bucket) for bucket in passed if bucket in self._buckets]
        self._last = now
        for deadlines in due:
            for deadline in list(deadlines):
                try:
                    deadline.fire()
                except Exception:
                    _log.exception("a deadline's callback failed")
        self._timer = self._loop.call_later(self._resolution, self._turn) if self._buckets else None


class Timer:
    """What one owner waits for now: a deadline that is set anew far more often than it passes.

    Setting it to a later time, and stopping it, costs an assignment: its place on the wheel stays, and looks
    again when its turn comes. Whoever owns it must `close` it at the end, for the wheel holds it until then.
    """

    __slots__ = ("_callback", "_deadline", "_due", "_placed", "_wheel")

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._callback: Callable[[], None] | None = None
        self._deadline: Deadline | None = None
        self._due = self._placed = 0.0  # the time that counts, and the one the wheel knows

    @property
    def is_set(self) -> bool:
        return self._callback is not None

    def set(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `seconds`, and forget what was set before."""
        self._callback = callback
        self._due = self._wheel.now() + seconds
        if self._deadline is None or self._due < self._placed:
            self._place(seconds)

    def stop(self) -> None:
        """Call nothing."""
        self._callback = None

    def close(self) -> None:
        """Call nothing, and leave the wheel."""
        self._callback = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _place(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._placed = self._due
        self._deadline = self._wheel.after(seconds, self._look)

    def _look(self) -> None:
        self._deadline = None
        callback = self._callback
        if callback is None:
            return
        left = self._due - self._wheel.now()
        if left > 0:
            self._place(left)
            return
        self._callback = None
        callback()
