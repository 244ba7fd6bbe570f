"""Whose turn it is to be read: how long one publisher may hold the loop before all others get theirs.

A read of 64 KiB may hold a thousand messages, and each may be dear: what a client sends as fast as it can must
not be what everybody else waits for. So a read is worked through in steps, and what is left when its time is over
waits for the next turn of the loop, with reading paused. Alone, a publisher gets long turns, because events that
are read together leave together; as soon as another publishes too, turns are short.
"""

from __future__ import annotations

LONG_SECONDS = 2e-3
SHORT_SECONDS = 2e-4
CONTENDED_SECONDS = 0.5  # after two have taken turns
FIRST_STEP_BYTES = 1024
LEAST_STEP_BYTES = 256
MOST_STEP_BYTES = 16 * 1024
_STEPS = 8  # in a turn, about


class Turns:
    """Knows whether several clients are publishing at the same time. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._last: object | None = None
        self._contended_until = 0.0

    def length(self, now: float) -> float:
        """How long a client may be worked on that has its turn now."""
        return SHORT_SECONDS if now < self._contended_until else LONG_SECONDS

    def note(self, who: object, now: float) -> None:
        """`who` published or subscribed: work that others may be waiting behind, or that waits behind theirs."""
        if who is not self._last:
            if self._last is not None:
                self._contended_until = now + CONTENDED_SECONDS
            self._last = who

    def leave(self, who: object) -> None:
        """`who` is gone."""
        if who is self._last:
            self._last = None


def next_step(step: int, took: float, turn: float) -> int:
    """How many bytes to take at once, after `step` of them took so many seconds of a turn."""
    if took * _STEPS < turn / 2:
        return min(step * 2, MOST_STEP_BYTES)
    if took * _STEPS > turn * 2:
        return max(step // 2, LEAST_STEP_BYTES)
    return step
