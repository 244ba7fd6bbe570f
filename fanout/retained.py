"""The last event of each address of a relay, kept beside its history, however little that keeps.

Theory. Who reads it all goes slice by slice while it changes. An address that gets another event moves to the end, so
the order is that of offsets, and a place in it is an offset: the events stand in a list in which those that are not
the last of their address any more are passed over, and which is made anew when they are the greater part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf
from operator import attrgetter
from typing import NamedTuple

from fanout.event import EVENT_BYTES, Event

LOOK_AT_ONCE = 512  # events, in a slice

_offset = attrgetter("offset")


class Slice(NamedTuple):
    """Some of what is retained, in increasing offset, and the offset up to which that was all."""

    events: list[Event]
    reached: int


class Retained:
    """At most `max_addresses`, with `max_bytes` of payload; who publishes asks `has_room` first.

    An event with an empty payload clears its address; one that is not to be retained leaves it as it is.
    """

    def __init__(self, max_addresses: int, max_bytes: int, events: Iterable[Event] = ()) -> None:
        self._max_addresses = max_addresses
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last: dict[str, Event] = {}  # by address, in increasing offset
        self._line: list[Event] = []  # the same, and those that have been replaced
        self._expiring = 0  # how many will
        self.take(events)

    def __len__(self) -> int:
        return len(self._last)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._last.values())

    def get(self, address: str) -> Event | None:
        return self._last.get(address)

    def has_room(self, address: str, size: int) -> bool:
        """Whether an event of `size` bytes may become the last of this address."""
        before = self._last.get(address)
        if before is None:
            return not size or (len(self._last) < self._max_addresses and self._bytes + size <= self._max_bytes)
        return size <= len(before.payload) or self._bytes - len(before.payload) + size <= self._max_bytes

    def take(self, events: Iterable[Event]) -> None:
        """These were accepted, in increasing offset."""
        for event in events:
            if not event.is_retained:
                continue
            self.forget(event.address)
            if event.payload:
                self._last[event.address] = event
                self._line.append(event)
                self._bytes += len(event.payload)
                self._expiring += event.expires_at != inf
        if len(self._line) > 2 * len(self._last) + LOOK_AT_ONCE:
            self._line = list(self._last.values())

    def forget(self, address: str) -> bool:
        """Nothing is retained at this address from now; whether something was."""
        event = self._last.pop(address, None)
        if event is None:
            return False
        self._bytes -= len(event.payload)
        self._expiring -= event.expires_at != inf
        return True

    def prune(self, now: float) -> None:
        """Forget those that have expired at Unix time `now`."""
        if self._expiring:
            for address in [event.address for event in self if event.expires_at <= now]:
                self.forget(address)

    def after(self, offset: int, up_to: int, limit_bytes: int) -> Slice:
        """Some with offsets after `offset` up to `up_to`, about `limit_bytes` as they are written."""
        line, reached = self._line, offset
        found: list[Event] = []
        start = bisect_right(line, offset, key=_offset)
        for event in islice(line, start, start + LOOK_AT_ONCE):
            if event.offset > up_to:
                return Slice(found, up_to)
            if self._last.get(event.address) is event:
                limit_bytes -= len(event.payload) + EVENT_BYTES
                if found and limit_bytes < 0:
                    return Slice(found, reached)
                found.append(event)
            reached = event.offset
        return Slice(found, up_to if start + LOOK_AT_ONCE >= len(line) else reached)
