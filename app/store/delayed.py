"""Events that wait for their time, in the journal: one row each, until it is published, cancelled or its relay gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.errors import RelayError
from app.store.event_rows import COLUMNS, columns_of, event_of, micros
from app.store.journal import Journal, Row, Statement
from fanout.event import DelayedEvent

SLICE_BYTES = 4 << 20  # of payload that is read at once, about

_COLUMNS = f"number, namespace, relay, made_at, due, is_retained, {COLUMNS}"
_PUT = f"INSERT INTO delayed ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DUE = f"""
WITH next AS (SELECT number, due, length(payload) AS size FROM delayed WHERE due <= ? ORDER BY due, number LIMIT ?),
    measured AS (SELECT number, sum(size) OVER (ORDER BY due, number) - size AS before FROM next)
SELECT {_COLUMNS}, length(payload) FROM measured JOIN delayed USING (number)
WHERE before <= {SLICE_BYTES} ORDER BY due, number"""
_OUTLINE = _COLUMNS.replace("payload", "x''") + ", length(payload)"


class DelayedEvents:
    """The table of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def counts(self) -> list[tuple[str, str, float, str, int]]:
        """How many wait: by namespace, relay and when that was made, with one's address. Raises StoreUnavailable."""
        found = await self._journal.rows(
            "SELECT namespace, relay, made_at, min(address), count(*) FROM delayed GROUP BY namespace, relay, made_at"
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in found]

    async def last_number(self) -> int:
        """The highest in the table. Raises StoreUnavailable."""
        [(number,)] = await self._journal.rows("SELECT coalesce(max(number), 0) FROM delayed")
        return int(number)

    async def since(self, accepted_at: float) -> list[DelayedEvent]:
        """Those with an id that were accepted since then, without their payloads. Raises StoreUnavailable."""
        rows = await self._journal.rows(
            f"SELECT {_OUTLINE} FROM delayed WHERE received_at >= ? AND id <> '' ORDER BY number",
            (micros(accepted_at),),
        )
        return [_read(row) for row in rows]

    async def of(self, namespace: str, relay: str, limit: int) -> list[DelayedEvent]:
        """Those of a relay, the next first, without their payloads. Raises StoreUnavailable."""
        rows = await self._journal.rows(
            f"SELECT {_OUTLINE} FROM delayed WHERE namespace = ? AND relay = ? ORDER BY due, number LIMIT ?",
            (namespace, relay, limit),
        )
        return [_read(row) for row in rows]

    async def one(self, namespace: str, number: int) -> DelayedEvent | None:
        """One of a namespace, as `of` gives them; None if there is none. Raises StoreUnavailable."""
        rows = await self._journal.rows(
            f"SELECT {_OUTLINE} FROM delayed WHERE number = ? AND namespace = ?", (number, namespace)
        )
        return _read(rows[0]) if rows else None

    def due(self, now: float, limit: int, then: Callable[[list[DelayedEvent], RelayError | None], None]) -> None:
        """Some of those that are due at Unix time `now`, in their order; at least one if there is any."""
        self._journal.read(_DUE, (now, limit), lambda rows, error: then([_read(row) for row in rows], error))

    def next_due(self, then: Callable[[float | None, RelayError | None], None]) -> None:
        """When the next of them is due."""
        self._journal.read(
            "SELECT min(due) FROM delayed", (), lambda rows, error: then(rows[0][0] if rows else None, error)
        )

    def put(self, delayed: DelayedEvent) -> Statement:
        """What to commit to keep one."""
        event = delayed.event
        about = delayed.number, delayed.namespace, delayed.relay, delayed.made_at, delayed.due, event.is_retained
        return _PUT, [(*about, *columns_of(event))]

    def remove(self, numbers: Sequence[int]) -> Statement:
        """What to commit to have these no more."""
        return "DELETE FROM delayed WHERE number = ?", [(number,) for number in numbers]

    def remove_of(self, namespace: str, relay: str, made_at: float | None = None) -> Statement:
        """The same for all of a relay, or of one that was made then."""
        if made_at is None:
            return "DELETE FROM delayed WHERE namespace = ? AND relay = ?", [(namespace, relay)]
        return "DELETE FROM delayed WHERE namespace = ? AND relay = ? AND made_at = ?", [(namespace, relay, made_at)]


def _read(row: Row) -> DelayedEvent:
    number, namespace, relay, made_at, due, is_retained, *about, size = row
    event = event_of(0, *about)._replace(is_retained=bool(is_retained))
    return DelayedEvent(number, namespace, relay, made_at, due, event, size)
