"""Events that wait, in the journal: all of what they are comes back, in the order in which they are due."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.delayed import DelayedEvents, _read
from app.store.journal import open_journal
from app.store.migrator import JOURNAL, find_migrations, migrate
from fanout.event import DelayedEvent, Event


@pytest.fixture
async def table() -> AsyncIterator[DelayedEvents]:
    journal = await open_journal(None)
    await migrate(journal, find_migrations(JOURNAL))
    yield DelayedEvents(journal)
    await journal.close()


def waiting(number: int, due: float, size: int = 3, relay: str = "orders", **fields: Any) -> DelayedEvent:
    event = Event(f"{relay}/a", 0, f"e{number}", b"x" * size, received_at=number, **fields)
    return DelayedEvent(number, "main", relay, 0.0, due, event, size)


async def put(table: DelayedEvents, *events: DelayedEvent) -> None:
    await table._journal.commit(*[table.put(event) for event in events])


async def due(table: DelayedEvents, now: float, limit: int = 100) -> list[int]:
    found: list[int] = []
    table.due(now, limit, lambda events, error: found.extend(event.number for event in events))
    await table._journal.commit()
    return found


async def test_those_that_are_due_come_in_their_order_and_no_others(table: DelayedEvents) -> None:
    await put(table, waiting(1, 30.0), waiting(2, 10.0), waiting(3, 10.0), waiting(4, 50.0))
    assert await due(table, 40.0) == [2, 3, 1]
    assert await due(table, 40.0, limit=2) == [2, 3]
    assert await due(table, 9.0) == []
    await table._journal.commit(table.remove([2, 1]))
    assert await due(table, 99.0) == [3, 4]


async def test_a_slice_is_bounded_in_bytes_but_never_empty(
    table: DelayedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(table, *[waiting(number, 1.0, size=3 << 20) for number in range(1, 5)])
    assert await due(table, 2.0) == [1, 2]
    await table._journal.commit(table.remove([1, 2, 3]))
    assert await due(table, 2.0) == [4]


async def test_what_waits_is_counted_listed_and_dropped_by_relay(table: DelayedEvents) -> None:
    await put(table, waiting(1, 30.0), waiting(2, 10.0), waiting(3, 10.0, relay="other"))
    assert sorted(await table.counts()) == [
        ("main", "orders", 0.0, "orders/a", 2),
        ("main", "other", 0.0, "other/a", 1),
    ]
    listed = await table.of("main", "orders", 10)
    assert [(each.number, each.size, each.event.payload) for each in listed] == [(2, 3, b""), (1, 3, b"")]
    assert [each.number for each in await table.since(2.0)] == [2, 3]
    assert (await table.one("main", 3)) is not None
    assert (await table.one("elsewhere", 3)) is None
    assert await table.last_number() == 3
    await table._journal.commit(table.remove_of("main", "orders", 5.0))
    assert len(await table.of("main", "orders", 10)) == 2
    await table._journal.commit(table.remove_of("main", "orders"))
    assert await table.of("main", "orders", 10) == []


TIMES = st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6)  # as finely as the journal keeps them
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)


@given(
    st.builds(
        Event,
        TEXT,
        st.just(0),
        TEXT,
        st.binary(max_size=20),
        st.booleans(),
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        TIMES,
        st.dictionaries(TEXT, TEXT, max_size=3),
        TIMES | st.just(float("inf")),
        st.booleans(),
    )
)
def test_all_of_an_event_comes_back(event: Event) -> None:
    given_ = DelayedEvent(7, "main", "orders", 1.5, 2.5, event, len(event.payload))
    [row] = DelayedEvents(None).put(given_)[1]  # type: ignore[arg-type]
    back = _read((*row, len(event.payload)))
    assert tuple(back[:5]) == tuple(given_[:5])
    assert [*back.event] == [*event]
