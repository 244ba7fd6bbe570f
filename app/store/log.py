"""The events of durable relays, in the journal: appended in order, read in slices, cut step by step.

A stream is one relay's. It has a number, which begins the place of each of its events, so that a stream's events lie
beside each other in the file and are found without an index. What is known of a stream without reading it is kept in
memory (`fanout.log`); what the limits let go is told as gone at once, and deleted a little at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import orjson

from app.errors import RelayError, StorageFull
from app.namespace import Relay
from app.store.event_rows import COLUMNS, columns_of, event_of, micros
from app.store.journal import Journal, Row, Statement
from fanout.event import EVENT_BYTES, Event
from fanout.history import History
from fanout.log import Log, Mark, step_of

OFFSET_BITS = 36
LAST_NUMBER = (1 << (63 - OFFSET_BITS)) - 1
SLICE_EVENTS = 1000
CUT_BYTES = 8 << 20  # deleted in one commit, about
CUT_EVENTS = 4096
LAG = 64  # events that may wait to be deleted, or an eighth of what is kept

_LAST_OFFSET = (1 << OFFSET_BITS) - 1

_PUT_STREAM = (
    "INSERT INTO streams (number, namespace, relay, made_at, epoch, floor, cut_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (number) DO UPDATE SET"
    " relay = excluded.relay, made_at = excluded.made_at, floor = excluded.floor, cut_at = excluded.cut_at"
)
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_EVENT = f"INSERT INTO events (place, size_before, {COLUMNS}) VALUES {_VALUES}"
_PUT_LAST = f"REPLACE INTO retained (stream, offset, {COLUMNS}) VALUES {_VALUES}"
_CLEAR_LAST = "DELETE FROM retained WHERE stream = ? AND address = ?"
_DELETE_LAST = "DELETE FROM retained WHERE stream = ?"
_LAST = f"SELECT stream, offset, {COLUMNS} FROM retained ORDER BY stream, offset"
_PUT_BACKLOG = _PUT_EVENT.replace("INSERT", "INSERT OR IGNORE", 1)
_DELETE_EVENTS = "DELETE FROM events WHERE place > ? AND place <= ?"
_DELETE_STREAM = "DELETE FROM streams WHERE number = ?"
_STREAMS = f"""
WITH starts AS (SELECT *, number << {OFFSET_BITS} AS first FROM streams),
    ranges AS (SELECT *, first + {_LAST_OFFSET} AS last FROM starts)
SELECT number, namespace, relay, made_at, epoch, floor, cut_at,
    (SELECT min(place) FROM events WHERE place BETWEEN first AND last) - first,
    (SELECT max(place) FROM events WHERE place BETWEEN first AND last) - first,
    (SELECT size_before + length(payload) FROM events WHERE place BETWEEN first AND last ORDER BY place DESC LIMIT 1)
FROM ranges ORDER BY number"""
_MARKS = """
WITH RECURSIVE sample (place) AS (SELECT ?1 UNION ALL SELECT place + ?2 FROM sample WHERE place + ?2 <= ?3)
SELECT place - ?4, size_before, received_at FROM sample JOIN events USING (place) ORDER BY place"""
# One row for a whole slice: each row that is fetched may cost a turn of the interpreter's lock. Text that is cast to a
# blob and back stays as it is, byte for byte.
_SLICE = f"""
SELECT json_group_array(json_array(place, address, id, length(payload), is_text, content_type, type, source, time,
        received_at, attributes, expires_at)),
    CAST(group_concat(CAST(payload AS TEXT), '') AS BLOB)
FROM (SELECT * FROM events WHERE place > ?1 AND place <= ?2
    AND size_before + (place - ?1 - 1) * {EVENT_BYTES}
        <= (SELECT size_before FROM events WHERE place > ?1 ORDER BY place LIMIT 1) + ?3
    ORDER BY place LIMIT ?4)"""
_IDS = """
SELECT place - ?, address, id, source, received_at FROM events WHERE place > ? AND place <= ? AND id <> ''
    ORDER BY place DESC LIMIT ?"""


@dataclass(slots=True, eq=False)
class _Stream:
    """One stream. `cleared` is the last offset that is deleted, `head` the last given when it was read or dropped."""

    log: Log
    namespace: str
    relay: str | None  # None: it is dropped, and being deleted
    made_at: int
    epoch: str
    head: int = 0
    cleared: int = 0
    is_stored: bool = False
    is_clearing: bool = False
    backlog: Sequence[Event] = ()  # of a stream that was in memory before
    last: Sequence[Event] = ()  # of each address: as read, until somebody takes them; or to be written with the backlog

    @property
    def base(self) -> int:
        return self.log.number << OFFSET_BITS

    @property
    def row(self) -> Row:
        cut_at = None if self.log.cut_at in (inf, -inf) else micros(self.log.cut_at)
        floor = self.log.floor
        return self.log.number, self.namespace, self.relay, self.made_at, self.epoch, floor, cut_at

    @property
    def beginning(self) -> list[Statement]:
        """What comes before its first events."""
        size = self.log.size - sum([len(event.payload) for event in self.backlog])
        found: list[Statement] = [(_PUT_STREAM, [self.row]), (_PUT_BACKLOG, _rows(self.base, self.backlog, size))]
        return [*found, *_last(self.log.number, self.last)] if self.last else found


class EventLog:
    """All streams of a gateway. `load` first; a stream that no relay takes up is dropped by `drop_unclaimed`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._streams: dict[int, _Stream] = {}
        self._unclaimed: dict[tuple[str, str], _Stream] = {}
        self._last = 0  # number given

    async def load(self) -> None:
        """Learn which streams there are. Raises StoreUnavailable."""
        for number, namespace, relay, made_at, epoch, floor, cut_at, first, last, size in await self._journal.rows(
            _STREAMS
        ):
            head = floor if last is None else last
            log = Log(number, floor=floor, cut_at=-inf if cut_at is None else cut_at / 1e6, size=size or 0)
            cleared = head if first is None else first - 1
            stream = _Stream(log, namespace, relay, made_at, epoch, head, cleared, is_stored=True)
            self._last = max(self._last, number)
            self._streams[number] = stream
            if relay is None:
                self._drop(stream)
                continue
            if (other := self._unclaimed.get((namespace, relay))) is not None:  # its relay is gone, which was not noted
                self._drop(other)
            self._unclaimed[namespace, relay] = stream
            if head > floor:
                places = stream.base + floor + 1, step_of(head - floor), stream.base + head, stream.base
                marks = [Mark(at, before, time / 1e6) for at, before, time in await self._journal.rows(_MARKS, places)]
                stream.log = Log(number, floor=floor, cut_at=log.cut_at, size=log.size, marks=marks)

        kept_last: dict[int, list[Event]] = {}
        for number, offset, *fields in await self._journal.rows(_LAST):
            kept_last.setdefault(number, []).append(event_of(offset, *fields))
        for number, events in kept_last.items():
            if (kept := self._streams.get(number)) is not None:
                kept.last = events

    def open(self, namespace: str, relay: Relay, new_epoch: Callable[[], str]) -> History:
        """The relay's stream, gone on with if it is still there, else begun. Raises StorageFull."""
        stream = self._unclaimed.pop((namespace, relay.key), None)
        if stream is not None and stream.made_at not in (0, _made_at(relay)):  # of another relay of that name
            self._drop(stream)
            stream = None
        if stream is None:
            stream = self._begin(namespace, relay, new_epoch())
        self.settle(relay, stream.log)
        kept = relay.history
        return History(stream.epoch, kept.events, kept.seconds, kept.bytes, head=stream.head, log=stream.log)

    def forget(self, log: Log, addresses: Sequence[str]) -> None:
        """Keep no last event of these addresses."""
        rows = [(log.number, address) for address in addresses]
        self._journal.write(lambda: [(_CLEAR_LAST, rows)], _tell_nobody)

    def take(self, namespace: str, relay: Relay, history: History) -> None:
        """A stream that is in memory goes on here, with what is left of it. Raises StorageFull."""
        unclaimed = self._unclaimed.pop((namespace, relay.key), None)
        if unclaimed is not None:
            self._drop(unclaimed)
        stream = self._begin(namespace, relay, history.epoch)
        stream.backlog = history.move_to(stream.log)
        stream.last = () if history.retained is None else tuple(history.retained)
        stream.cleared = stream.log.floor
        self._store(stream)

    def settle(self, relay: Relay, log: Log) -> None:
        """Note what its relay is now: one that came into being by use may have been provisioned."""
        stream, made_at = self._streams[log.number], _made_at(relay)
        if stream.made_at != made_at or not stream.is_stored:
            stream.made_at = made_at
            self._store(stream)

    def take_retained(self, log: Log) -> Sequence[Event]:
        """The last event of each address, as they were kept before the start; once."""
        stream = self._streams[log.number]
        found, stream.last = stream.last, ()
        return found

    def drop_retained(self, log: Log) -> None:
        """Keep them no longer."""
        self._streams[log.number].last = ()
        self._journal.write(lambda: [(_DELETE_LAST, [(log.number,)])], _tell_nobody)

    def drop(self, log: Log, head: int) -> None:
        """Forget a stream whose relay is gone, or keeps it in memory from now."""
        stream = self._streams[log.number]
        stream.head = head
        self._drop(stream)

    def drop_unclaimed(self) -> None:
        """Forget the streams that no relay has taken up since the start."""
        for stream in self._unclaimed.values():
            self._drop(stream)
        self._unclaimed = {}

    # --- appending ---

    def statements(self, parts: Mapping[History, Sequence[Event]]) -> list[Statement]:
        """What to commit to append these, which follow the heads of their streams."""
        rows: list[Row] = []
        found: list[Statement] = []
        for history, events in parts.items():
            assert history.log is not None
            stream = self._streams[history.log.number]
            if not stream.is_stored:
                found += stream.beginning
            rows += _rows(stream.base, events, history.log.size)
            if history.retained is not None:
                found += _last(history.log.number, events)
        return [*found, (_PUT_EVENT, rows)]

    def appended(self, parts: Mapping[History, Sequence[Event]]) -> None:
        """They are on disk, and in their histories."""
        for history in parts:
            if history.log is not None:
                stream = self._streams[history.log.number]
                stream.is_stored, stream.backlog, stream.last = True, (), ()
                stream.head = history.head
                due = history.log.floor - stream.cleared
                if due >= max(LAG, (stream.head - history.log.floor) >> 3):
                    self._clear(stream)

    def sweep(self) -> None:
        """Delete what is gone of streams where little happens."""
        for stream in list(self._streams.values()):
            if stream.relay is None or stream.log.floor > stream.cleared:
                self._clear(stream)

    # --- reading ---

    def read(
        self, log: Log, after: int, to: int, limit_bytes: int, then: Callable[[list[Event], RelayError | None], None]
    ) -> None:
        """The next events after an offset, none after `to`: of about so many bytes, at least one if there is any."""
        base = log.number << OFFSET_BITS

        def parse(rows: list[Row], error: RelayError | None) -> None:
            then([] if error is not None else _events(base, *rows[0]), error)

        self._journal.read(_SLICE, (base + after, base + to, limit_bytes, SLICE_EVENTS), parse)

    async def ids(self, log: Log, after: int, limit: int) -> list[Row]:
        """Of the last events after an offset that have an id: offset, address, id, source, when received; in order.

        Raises StoreUnavailable.
        """
        base = log.number << OFFSET_BITS
        rows = await self._journal.rows(_IDS, (base, base + after, base + _LAST_OFFSET, limit))
        return [(*row[:4], row[4] / 1e6) for row in reversed(rows)]

    # --- inside ---

    def _begin(self, namespace: str, relay: Relay, epoch: str) -> _Stream:
        if self._last >= LAST_NUMBER:
            raise StorageFull("The journal has no number left for another stream.")
        self._last += 1
        stream = _Stream(Log(self._last), namespace, relay.key, _made_at(relay), epoch)
        self._streams[self._last] = stream
        return stream

    def _store(self, stream: _Stream) -> None:
        """Write what it is called; where that fails, its first events bring it along."""
        stream.is_stored = False

        def prepare() -> list[Statement]:
            return [] if stream.relay is None else stream.beginning

        def done(error: RelayError | None) -> None:
            if error is None:
                stream.is_stored, stream.backlog, stream.last = True, (), ()

        self._journal.write(prepare, done)

    def _drop(self, stream: _Stream) -> None:
        stream.relay, stream.backlog, stream.last = None, (), ()
        stream.log.floor = stream.head
        self._clear(stream)

    def _clear(self, stream: _Stream) -> None:
        """Delete what is gone, a step in each commit: one of its own, so that it can succeed where there is no room."""
        if stream.is_clearing:
            return
        stream.is_clearing = True
        average = stream.log.size // max(1, stream.head)
        step = max(1, min(CUT_EVENTS, CUT_BYTES // max(1, average)))
        reached, is_all = stream.cleared, False

        def prepare() -> list[Statement]:
            nonlocal reached, is_all
            reached = min(stream.log.floor, stream.cleared + step)
            start = stream.base + stream.cleared
            is_all = stream.relay is None and reached == stream.head
            if is_all:  # and what was on its way when it was dropped
                end = stream.base + _LAST_OFFSET
                number = [(stream.log.number,)]
                return [(_DELETE_EVENTS, [(start, end)]), (_DELETE_LAST, number), (_DELETE_STREAM, number)]
            return [(_PUT_STREAM, [stream.row]), (_DELETE_EVENTS, [(start, stream.base + reached)])]

        def done(error: RelayError | None) -> None:
            stream.is_clearing = False
            if error is not None:
                return  # the next sweep tries again
            stream.cleared = reached
            if is_all:
                self._streams.pop(stream.log.number, None)
            elif stream.relay is None or reached < stream.log.floor:
                self._clear(stream)

        self._journal.write(prepare, done)


def _made_at(relay: Relay) -> int:
    return 0 if relay.is_dynamic else micros(relay.created_at)


def _rows(base: int, events: Sequence[Event], size: int) -> list[Row]:
    rows: list[Row] = []
    for event in events:
        rows.append((base + event.offset, size, *columns_of(event)))
        size += len(event.payload)
    return rows


def _last(number: int, events: Sequence[Event]) -> list[Statement]:
    """What these change of the last events of a stream's addresses."""
    last = {event.address: event for event in events if event.is_retained}
    kept = [(number, event.offset, *columns_of(event)) for event in last.values() if event.payload]
    cleared = [(number, event.address) for event in last.values() if not event.payload]
    return [(_PUT_LAST, kept), (_CLEAR_LAST, cleared)]


def _events(base: int, about: str, payloads: bytes | None) -> list[Event]:
    """The events of a slice: what each is, and all payloads one behind the other."""
    events: list[Event] = []
    at = 0
    for place, address, id, size, *rest in orjson.loads(about):
        events.append(event_of(place - base, address, id, (payloads or b"")[at : at + size], *rest))
        at += size
    return events


def _tell_nobody(error: RelayError | None) -> None:
    """What could not be deleted is deleted with its stream."""
