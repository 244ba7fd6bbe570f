"""What is known of a stream on disk without reading it: where it begins, how large it is, when its events came.

Theory. Where the limits cut a stream depends on the sizes and times of its events, and to remember those of each would
take memory in proportion to the disk. So only some have a mark: all of the latest ones, and the longer the stream, the
fewer of the older ones. Whatever is cut between two marks is cut a little late, never early.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from fanout.event import Event

MARKS = 512  # about so many, for however long a stream


class OnDisk(LookupError):
    """The events asked for are kept, but not in memory."""


class Mark(NamedTuple):
    """An event's place: its offset, the bytes of all payloads before it, when it was received."""

    offset: int
    size_before: int
    received_at: float


class Log:
    """The part of a stream that is on disk. `number` names it there; `size` counts the bytes of all payloads ever.

    `floor` is the last offset that is gone, `cut_at` the time by which all up to there had been received.
    """

    __slots__ = ("_marks", "_next_mark", "cut_at", "floor", "number", "size")

    def __init__(
        self, number: int, *, floor: int = 0, cut_at: float = -inf, size: int = 0, marks: Iterable[Mark] = ()
    ) -> None:
        self.number = number
        self.floor = floor
        self.cut_at = cut_at
        self.size = size
        self._marks = deque(marks)
        self._next_mark = 0

    def extend(self, events: Sequence[Event]) -> None:
        """The next events of the stream are on disk."""
        size, next_mark = self.size, self._next_mark
        for event in events:
            if event.offset >= next_mark:
                self._marks.append(Mark(event.offset, size, event.received_at))
                next_mark = event.offset + step_of(event.offset - self.floor)
            size += len(event.payload)
        self.size, self._next_mark = size, next_mark

    def prune(self, head: int, now: float, keep_events: int, keep_seconds: float, keep_bytes: int) -> None:
        """Let go what the limits no longer allow at Unix time `now`, of a stream whose last offset is `head`."""
        marks, earliest = self._marks, now - keep_seconds
        floor = max(self.floor, head - keep_events)
        while marks:
            offset, size_before, received_at = marks[0]
            if offset > floor:
                if received_at >= earliest and self.size - size_before <= keep_bytes:
                    break
                floor = offset
            self.floor, self.cut_at = offset, received_at
            marks.popleft()
        if floor > self.floor:
            self.floor = floor
            self.cut_at = marks[0].received_at if marks else now  # of what lies between two marks the time is not known

    def at(self, unix_time: float) -> int:
        """An offset after which lie all kept events received at `unix_time` or later, and few earlier ones."""
        found = self.floor
        for mark in self._marks:
            if mark.received_at >= unix_time:
                break
            found = mark.offset
        return found


def step_of(count: int) -> int:
    """Every how many events there is a mark in a stream of that length."""
    return max(1, count // MARKS)
