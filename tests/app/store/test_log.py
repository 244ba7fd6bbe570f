"""The log of durable relays: what was appended is read again, after a restart too, until the limits let it go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from app.errors import RelayError
from app.namespace import HistoryLimits, Relay
from app.store.journal import Journal, open_journal
from app.store.log import EventLog
from app.store.migrator import JOURNAL, find_migrations, migrate
from fanout.event import Event
from fanout.history import History
from fanout.log import Mark, OnDisk
from fanout.retained import Retained

WIDE = HistoryLimits("durable", 1 << 40, 1e12, 1 << 40)
_EPOCHS = count(1)


def new_epoch() -> str:
    return f"{next(_EPOCHS):08x}"


class Opened:
    """A log on a journal, and a relay in it."""

    def __init__(self, journal: Journal, log: EventLog) -> None:
        self.journal = journal
        self.log = log

    def relay(self, limits: HistoryLimits = WIDE, name: str = "orders", made_at: float = 5.0) -> tuple[Relay, History]:
        relay = Relay(name, history=limits, created_at=made_at)
        return relay, self.log.open("default", relay, new_epoch)

    async def append(self, history: History, events: list[Event]) -> None:
        parts = {history: events}
        await self.journal.commit(*self.log.statements(parts))
        history.extend(events, events[-1].received_at)
        self.log.appended(parts)

    async def read(self, history: History, after: int = 0, limit: int = 1 << 20) -> list[Event]:
        answer: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()

        def then(events: list[Event], error: RelayError | None) -> None:
            assert error is None
            answer.set_result(events)

        assert history.log is not None
        self.log.read(history.log, after, history.head, limit, then)
        return await answer

    async def rows(self, table: str) -> int:
        return int((await self.journal.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def settled(self) -> None:
        """Whatever is being deleted is gone."""
        while any(stream.is_clearing for stream in self.log._streams.values()):
            await self.journal.commit()


Open = Callable[[], Opened]


@asynccontextmanager
async def opened(path: Path | None) -> AsyncIterator[Opened]:
    journal = await open_journal(path)
    await migrate(journal, find_migrations(JOURNAL))
    log = EventLog(journal)
    await log.load()
    try:
        yield Opened(journal, log)
    finally:
        await journal.close()


def events_from(first: int, number: int, size: int = 10) -> list[Event]:
    return [Event("orders/a", n, str(n), b"%d" % n * size, received_at=float(n)) for n in range(first, first + number)]


def fields(events: list[Event]) -> list[tuple[object, ...]]:
    return [(*event[:10], dict(event.attributes), event.expires_at) for event in events]


async def test_an_event_comes_back_as_it_was(tmp_path: Path) -> None:
    attributes = {"subject": "ü\N{SNOWMAN}", "partitionkey": "7"}
    events = [
        Event("orders/ü", 1, "", b""),
        Event("orders/a", 2, 'q"\\', bytes(range(256)), False, "x/y", "t", "/s", "2026-01-01T00:00:00Z", 1.25),
        Event("orders/a", 3, "i", b"\x00\xff\x00", True, received_at=1795779198.859713, attributes=attributes),
        Event("orders/a", 4, "i", "\N{SNOWMAN}".encode(), True, received_at=2.0, expires_at=1795779198.5),
    ]
    for path in (tmp_path / "journal.db", None):
        async with opened(path) as here:
            _, history = here.relay()
            await here.append(history, events)
            assert fields(await here.read(history)) == fields(events)


async def test_slices_are_about_as_large_as_asked_for_and_end_where_asked(tmp_path: Path) -> None:
    async with opened(tmp_path / "journal.db") as here:
        _, history = here.relay()
        _, other = here.relay(name="other")
        await here.append(history, events_from(1, 50))
        await here.append(other, events_from(1, 5))
        assert [event.offset for event in await here.read(history, 3, 2 * 256 + 25)] == [4, 5, 6]
        assert [event.offset for event in await here.read(history, 48, 1)] == [49]
        assert await here.read(history, 50) == []
        assert len(await here.read(other)) == 5
        assert len(await here.read(history)) == 50


async def test_after_a_restart_a_stream_goes_on_with_epoch_offsets_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        await here.append(history, events_from(1, 3000, 1))
        epoch, size = history.epoch, history.log.size if history.log else 0
    async with opened(path) as here:
        _, history = here.relay()
        log = history.log
        assert log is not None
        assert (history.epoch, history.head, history.oldest, log.size) == (epoch, 3000, 1, size)
        assert log._marks[0] == Mark(1, 0, 1.0)
        assert 500 < len(log._marks) < 700
        assert 990 <= history.at(1000.0) <= 999
        with pytest.raises(OnDisk):
            history.events_after(0, 1)
        await here.append(history, events_from(3001, 1))
        assert [event.offset for event in await here.read(history, 2998)] == [2999, 3000, 3001]


async def test_what_the_limits_let_go_is_deleted_and_stays_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    limits = HistoryLimits("durable", 100, 1e12, 1 << 40)
    async with opened(path) as here:
        _, history = here.relay(limits)
        for first in range(1, 10_000, 500):
            await here.append(history, events_from(first, 500))
        await here.settled()
        assert history.oldest == 9901
        assert await here.rows("events") <= 200
        here.log.sweep()
        await here.settled()
        assert await here.rows("events") == 100
    async with opened(path) as here:
        _, history = here.relay(limits)
        assert (history.oldest, history.head) == (9901, 10_000)
        assert history.cut_at >= 9900.0
        history.limit(0, 1e12, 1 << 40, 0.0)
        here.log.sweep()
        await here.settled()
        assert await here.rows("events") == 0
    async with opened(path) as here:
        _, history = here.relay(limits)
        assert (history.oldest, history.head) == (10_001, 10_000)


async def test_a_relay_of_the_same_name_that_is_another_has_another_stream(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        await here.append(history, events_from(1, 3))
    async with opened(path) as here:
        _, again = here.relay(made_at=6.0)
        assert (again.epoch != history.epoch, again.head) == (True, 0)
        await here.settled()
        assert (await here.rows("events"), await here.rows("streams")) == (0, 1)


async def test_a_dropped_stream_is_deleted_with_what_was_on_its_way(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        await here.append(history, events_from(1, 5000))
        late = asyncio.ensure_future(here.journal.commit(*here.log.statements({history: events_from(5001, 3)})))
        await asyncio.sleep(0)
        assert history.log is not None
        here.log.drop(history.log, history.head)
        await late
        await here.settled()
        assert (await here.rows("events"), await here.rows("streams")) == (0, 0)


async def test_of_two_streams_of_one_name_the_later_is_the_relays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        await here.append(history, events_from(1, 3))
        with monkeypatch.context() as patch:
            patch.setattr(here.log, "_clear", lambda stream: None)  # the disk is full, and then the machine stops
            assert history.log is not None
            here.log.drop(history.log, history.head)
        _, history = here.relay(made_at=6.0)
        await here.append(history, events_from(1, 5))
        epoch = history.epoch
    async with opened(path) as here:
        _, history = here.relay(made_at=6.0)
        assert (history.epoch, history.head) == (epoch, 5)
        assert len(await here.read(history)) == 5
        await here.settled()
        assert (await here.rows("streams"), await here.rows("events")) == (1, 5)


async def test_deleting_that_was_cut_short_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        await here.append(history, events_from(1, 10))
        await here.journal.commit(("UPDATE streams SET relay = NULL", [()]))
    async with opened(path) as here:
        _, fresh = here.relay()
        assert fresh.epoch != history.epoch
        await here.settled()
        assert (await here.rows("events"), await here.rows("streams")) == (0, 1)


async def test_streams_that_no_relay_takes_up_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        for name in ("orders", "other"):
            _, history = here.relay(name=name)
            await here.append(history, events_from(1, 3))
    async with opened(path) as here:
        _, history = here.relay()
        here.log.drop_unclaimed()
        await here.settled()
        assert (await here.rows("events"), await here.rows("streams"), history.head) == (3, 1, 3)


async def test_a_relay_that_came_into_being_by_use_goes_on_when_it_is_provisioned(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        relay = Relay("orders", history=WIDE, created_at=5.0, is_dynamic=True)
        history = here.log.open("default", relay, new_epoch)
        await here.append(history, events_from(1, 3))
        relay.is_dynamic = False
        assert history.log is not None
        here.log.settle(relay, history.log)
        await here.journal.commit()
    async with opened(path) as here:
        _, again = here.relay()
        assert (again.epoch, again.head) == (history.epoch, 3)


async def test_what_was_in_memory_moves_to_disk_with_its_epoch_and_offsets(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        history = History("0badcafe", 4, 1e12, 1 << 40)
        history.extend(events_from(1, 6), 6.0)
        relay = Relay("orders", history=WIDE, created_at=5.0)
        here.log.take("default", relay, history)
        history.limit(WIDE.events, WIDE.seconds, WIDE.bytes, 6.0)
        await here.append(history, events_from(7, 2))
        assert [event.offset for event in await here.read(history, 2)] == [3, 4, 5, 6, 7, 8]
    async with opened(path) as here:
        _, again = here.relay()
        assert (again.epoch, again.oldest, again.head, again.cut_at) == ("0badcafe", 3, 8, 2.0)
        assert again.log is not None
        assert again.log.size == sum(len(event.payload) for event in events_from(1, 8)[2:])


@pytest.mark.parametrize("seed", range(4))
async def test_a_write_ahead_log_that_was_torn_ends_between_two_commits(tmp_path: Path, seed: int) -> None:
    """R05: power was lost while something was written; whatever had been synced before is there."""
    chance = random.Random(seed)
    path = tmp_path / "journal.db"
    async with opened(path) as here:
        _, history = here.relay()
        ends = [0]
        for _ in range(20):
            await here.append(history, events_from(history.head + 1, chance.randrange(1, 30)))
            ends.append(history.head)
        database, log = path.read_bytes(), (tmp_path / "journal.db-wal").read_bytes()
    for _ in range(5):
        torn = tmp_path / f"{chance.random()}.db"
        torn.write_bytes(database)
        cut = chance.randrange(len(log) // 2, len(log))
        torn.with_name(f"{torn.name}-wal").write_bytes(log[:cut] + chance.randbytes(chance.randrange(5000)))
        async with opened(torn) as here:
            _, again = here.relay()
            assert again.head in ends
            assert [event.offset for event in await here.read(again)] == list(range(1, again.head + 1))


async def test_the_last_event_of_each_address_outlives_its_place_in_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    limits = HistoryLimits("durable", 1, 1e12, 1 << 40)
    async with opened(path) as here:
        _, history = here.relay(limits)
        history.retained = Retained(100, 1 << 20)
        await here.append(history, [Event("orders/a", 1, "1", b"a", received_at=1.0), Event("orders/b", 2, "", b"b")])
        await here.append(history, [Event("orders/a", 3, "3", b"A"), Event("orders/b", 4, "", b"")])
        await here.append(history, [Event("orders/c", 5, "", b"c"), Event("orders/a", 6, "", b"-", is_retained=False)])
        here.log.sweep()
        await here.settled()
    async with opened(path) as here:
        _, history = here.relay(limits)
        assert history.log is not None
        kept = here.log.take_retained(history.log)
        assert [(event.offset, event.address, event.payload) for event in kept] == [
            (3, "orders/a", b"A"),
            (5, "orders/c", b"c"),
        ]
        assert here.log.take_retained(history.log) == ()
        here.log.drop(history.log, history.head)
        await here.settled()
        assert await here.rows("retained") == 0


async def test_an_append_that_fails_uses_up_nothing(tmp_path: Path) -> None:
    """Whatever fails between two that succeed, what is there follows each other and is what was acknowledged."""
    chance = random.Random(7)
    async with opened(tmp_path / "journal.db") as here:
        _, history = here.relay()
        for _ in range(30):
            events = events_from(history.head + 1, chance.randrange(1, 20))
            if chance.random() < 0.5:
                bad = ("INSERT INTO nowhere VALUES (1)", [()])
                with pytest.raises(RelayError):
                    await here.journal.commit(*here.log.statements({history: events}), bad)
            else:
                await here.append(history, events)
        found = await here.read(history)
        assert [event.id for event in found] == [str(n) for n in range(1, history.head + 1)]
