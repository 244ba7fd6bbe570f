"""What a relay remembers of its events, and the cursors that point into it.

Offsets count every accepted event, also when none is kept. A cursor that cannot be honoured exactly
is answered with a gap that says what is missing, never with silence. Of a stream on disk the latest events
are here too, so that whoever is hardly behind need not read there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

from fanout.errors import InvalidCursor
from fanout.event import EVENT_BYTES, Event
from fanout.log import Log, OnDisk
from fanout.retained import Retained

TAIL_EVENTS = 4096  # of a stream on disk that are in memory too, at most
TAIL_BYTES = 1 << 20

_EPOCH = re.compile(r"[0-9a-f]{8}")
_CURSOR = re.compile(r"([0-9a-f]{8}):(0|[1-9][0-9]{0,17})")


_GONE = Event("", 0, "", b"")
_received_at = attrgetter("received_at")


class Cursor(NamedTuple):
    """A place in a relay's stream: just after the event `offset` of `epoch` (8 hex digits)."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def parse_cursor(text: str) -> Cursor:
    """The cursor spelled `epoch:offset`. Raises `InvalidCursor`."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidCursor("Not a cursor: it reads EPOCH:OFFSET, as received with an event, e.g. 5f0c92ab:17.")
    return Cursor(match[1], int(match[2]))


class Gap(NamedTuple):
    """Events after `from_` up to and including `to` are missing; the stream goes on after `to`."""

    from_: Cursor
    to: Cursor
    why: Literal["history", "epoch", "ahead"]


class Resume(NamedTuple):
    """Where reading goes on: with the events after offset `events_from`, once `gap` has been told."""

    events_from: int
    gap: Gap | None


class History:
    """The stream of one relay; whichever limit is reached first cuts, `keep_events` 0 keeps nothing.

    To accept an event: make it with `next_offset()`, then `append` it. To replay: `resume(cursor)`, then
    `events_after` slice by slice; between slices the stream may be cut, so `resume` again before each.
    With a `log` it lies on disk, where somebody else writes and reads it; what is appended has been written.
    """

    def __init__(
        self,
        epoch: str,
        keep_events: int,
        keep_seconds: float,
        keep_bytes: int,
        *,
        head: int = 0,
        log: Log | None = None,
    ) -> None:
        if not _EPOCH.fullmatch(epoch):
            raise ValueError(f"an epoch is 8 lower-case hexadecimal digits, not {epoch!r}")
        self.epoch = epoch
        self.head = head  # the last offset given
        self.log = log
        self.retained: Retained | None = None  # the last event of each address, where those are kept
        self._cut_at = float("-inf")  # when the last event that is gone from memory was received
        self._floor = head  # the last offset that is gone from memory
        self._events: list[Event] = []  # from `_first` on, every offset of _floor + 1 … head
        self._first = 0  # what stands before it is gone; moving the others up waits until that is half of all
        self._bytes = 0
        self._set_limits(keep_events, keep_seconds, keep_bytes)

    def __len__(self) -> int:
        return len(self._events) - self._first

    @property
    def cursor(self) -> Cursor:
        """The end of the stream: what a subscription that begins now has seen."""
        return Cursor(self.epoch, self.head)

    @property
    def oldest(self) -> int:
        """The first offset still kept; `head` + 1 when there is none. `from=start` reads after `oldest` - 1."""
        return (self._floor if self.log is None else self.log.floor) + 1

    @property
    def tail(self) -> int:
        """The offset after which all events are in memory."""
        return self._floor

    @property
    def cut_at(self) -> float:
        """When the last event that is gone was received, Unix seconds."""
        return self._cut_at if self.log is None else self.log.cut_at

    def next_offset(self) -> int:
        """The offset the next appended event must carry."""
        return self.head + 1

    def append(self, event: Event, now: float) -> None:
        """Take the event of the next offset into the stream, and cut what the limits no longer allow."""
        self.extend((event,), now)

    def extend(self, events: Sequence[Event], now: float) -> None:
        """The same for a run of events, whose offsets follow each other."""
        offsets = [event.offset for event in events]
        if offsets != list(range(self.head + 1, self.head + 1 + len(offsets))):
            raise ValueError(f"a run of {len(offsets)} from offset {offsets[0]} does not follow {self.head}")
        self.head += len(offsets)
        if self.log is not None:
            self.log.extend(events)
        self._events += events
        self._bytes += sum([len(event.payload) for event in events])
        if self.retained is not None:
            self.retained.take(events)
        self.prune(now)

    def prune(self, now: float) -> None:
        """Cut what the limits no longer allow at Unix time `now`; `append` does this too."""
        if self.log is not None:
            self.log.prune(self.head, now, self._keep_events, self._keep_seconds, self._keep_bytes)
        events, first = self._events, self._first
        end = max(first, len(events) - self._most_events)
        size = self._bytes - sum([len(event.payload) for event in events[first:end]])
        earliest = now - self._keep_seconds
        while end < len(events) and (size > self._most_bytes or events[end].received_at < earliest):
            size -= len(events[end].payload)
            end += 1
        if end == first:
            return
        self._cut_at = events[end - 1].received_at
        self._floor += end - first
        self._bytes = size
        events[first:end] = [_GONE] * (end - first)
        if end * 2 > len(events):
            del events[:end]
            end = 0
        self._first = end

    def limit(self, keep_events: int, keep_seconds: float, keep_bytes: int, now: float) -> None:
        """Change the limits and cut accordingly; the epoch and the offsets go on."""
        self._set_limits(keep_events, keep_seconds, keep_bytes)
        self.prune(now)

    def move_to(self, log: Log | None) -> list[Event]:
        """From now the stream lies on disk, or no longer. What is not in memory is gone; what is, is returned.

        Limits must be set anew.
        """
        events = self._events[self._first :]
        if log is not None:
            log.floor, log.cut_at = self._floor, self._cut_at
            log.extend(events)
        elif self.log is not None:
            self._cut_at = events[0].received_at if events else float("inf")  # or earlier
        self.log = log
        return events

    def resume(self, cursor: Cursor) -> Resume:
        """Where a reader that has seen everything up to `cursor` goes on, and what it has missed for good."""
        floor = self.oldest - 1
        if cursor.epoch != self.epoch:
            return self._after_gap(cursor, floor, "epoch")
        if cursor.offset > self.head:
            return self._after_gap(cursor, self.head, "ahead")
        if cursor.offset < floor:
            return self._after_gap(cursor, floor, "history")
        return Resume(cursor.offset, None)

    def events_after(self, offset: int, limit_bytes: int) -> list[Event]:
        """The next events after `offset`, up to `limit_bytes` as they are written, at least one unless at the end.

        Raises OnDisk if they are to be read there, LookupError if they are already gone: `resume` tells the gap.
        """
        if offset < self._floor:
            if self.log is not None and offset >= self.log.floor:
                raise OnDisk
            raise LookupError(f"the history after offset {offset} has been cut; resume first")
        found: list[Event] = []
        for place in range(self._first + offset - self._floor, len(self._events)):
            event = self._events[place]
            limit_bytes -= len(event.payload) + EVENT_BYTES
            if found and limit_bytes < 0:
                break
            found.append(event)
        return found

    def at(self, unix_time: float) -> int:
        """The offset after which lie the kept events received at `unix_time` or later; see `cut_at` for the others.

        On disk few earlier ones may lie there too.
        """
        events, first = self._events, self._first
        if self.log is not None and (first == len(events) or events[first].received_at >= unix_time):
            return self.log.at(unix_time)
        return self._floor + bisect_left(events, unix_time, first, key=_received_at) - first

    def _set_limits(self, keep_events: int, keep_seconds: float, keep_bytes: int) -> None:
        self._keep_events, self._keep_seconds, self._keep_bytes = keep_events, keep_seconds, keep_bytes
        is_tail = self.log is not None
        self._most_events = min(keep_events, TAIL_EVENTS) if is_tail else keep_events
        self._most_bytes = min(keep_bytes, TAIL_BYTES) if is_tail else keep_bytes

    def _after_gap(self, cursor: Cursor, to: int, why: Literal["history", "epoch", "ahead"]) -> Resume:
        return Resume(to, Gap(cursor, Cursor(self.epoch, to), why))
