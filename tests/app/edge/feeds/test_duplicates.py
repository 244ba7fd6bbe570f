"""Events that come again are told of the first time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subscribers import ndjson, publish, receive, session, socket
from worlds import World, running_gateway

from app.edge.feeds.duplicates import ID_BYTES, Duplicates
from app.errors import StorageFull
from app.wire.native.receipt import PublishReceipt

RELAYS = [{"name": "plain"}, {"name": "kept", "history": {"keep": "durable"}}, {"name": "off", "dedupSeconds": 0}]
LINES = {"Content-Type": "application/x-ndjson"}
BOTH = pytest.mark.parametrize("relay", ["plain", "kept"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


def receipt(offset: int) -> PublishReceipt:
    return PublishReceipt("id", f"0a1b2c3d:{offset}", 1, 1, 0, 0)


class TestMemory:
    def test_what_is_known_is_told_with_its_place_and_no_more(self) -> None:
        known = Duplicates(1 << 20)
        known.begin("a")
        known.end("a", receipt(7), 1.0)
        assert known.find("a") == PublishReceipt("id", "0a1b2c3d:7", 0, 0, 0, 0, is_duplicate=True)
        assert known.find("b") is None

    def test_who_comes_while_it_is_under_way_is_told_what_became_of_it(self) -> None:
        known = Duplicates(1 << 20)
        told: list[PublishReceipt | None] = []
        assert not known.waits("a", told.append)
        known.begin("a")
        assert known.waits("a", told.append)
        known.end("a", None, 1.0)
        assert told == [None]
        assert not known.waits("a", told.append)

    def test_what_is_too_old_is_forgotten(self) -> None:
        known = Duplicates(1 << 20)
        for at in range(5):
            known.note(f"{at}", receipt(at), float(at))
        known.prune(3.0)
        assert [known.find(f"{at}") is not None for at in range(5)] == [False, False, False, True, True]

    @given(st.lists(st.text(max_size=20), max_size=60))
    def test_the_oldest_are_forgotten_first_where_there_is_no_room(self, keys: list[str]) -> None:
        limit = 5 * (ID_BYTES + 20)
        known = Duplicates(limit)
        for at, key in enumerate(keys):
            known.note(key, receipt(at), float(at))
        latest = list(dict.fromkeys(reversed(keys)))
        assert len(known) <= limit // ID_BYTES
        assert all(known.find(key) for key in latest[: min(5, len(latest))])


@BOTH
async def test_an_id_that_comes_again_is_not_published_again(world: World, relay: str) -> None:
    async with socket(world, f"{relay}/**") as subscriber:
        first = await publish(world, f"{relay}/a", "one", ce_id="e1")
        again = await publish(world, f"{relay}/a", "one", ce_id="e1")
        assert "duplicate" not in first
        assert again == {**first, "matched": 0, "queued": 0, "duplicate": True}
        for path, headers in (
            (f"{relay}/b", {}),
            (f"{relay}/a", {"ce_source": "/other"}),
            (f"{relay}/a", {"ce_id": "e2"}),
        ):
            told = await publish(world, path, "other", **{"ce_id": "e1", **headers})
            assert "duplicate" not in told
        assert [await receive(subscriber) for _ in range(4)] == ["one", "other", "other", "other"]


@BOTH
async def test_what_is_counted_is_what_was_accepted(world: World, relay: str) -> None:
    """By every way in; neither repetitions nor refusals."""
    counters = world.gateway.context.counters
    for _ in range(3):
        await publish(world, f"{relay}/a", "1", ce_id="one")
    lines = {**world.auth(), **LINES}
    await world.client.post(f"/-/events/{relay}/a", content=b"1\n2\n3", headers=lines)
    assert (await world.client.post(f"/-/events/{relay}/a", content=b"1\n{", headers=lines)).status_code == 400
    assert counters["events"] == 4
    async with session(world) as peer, socket(world, f"{relay}/a?mode=both") as bare:
        for number in range(5):
            await peer.websocket.send(f'{{"t":"pub","address":"{relay}/a"}}\n{number}')
        await peer.send("pub", "last", address=f"{relay}/a")
        assert (await peer.header())["t"] == "ok"
        await bare.send("mine")
        while await receive(bare) != "mine":
            pass
    assert counters["events"] == 11


@BOTH
async def test_nobody_keeps_an_event_away_from_an_address_by_its_id_at_another(world: World, relay: str) -> None:
    await publish(world, f"{relay}/evil", "early", ce_id="e1", ce_source="/billing")
    async with socket(world, f"{relay}/bills") as subscriber:
        told = await publish(world, f"{relay}/bills", "bill", ce_id="e1", ce_source="/billing")
        assert (told["matched"], "duplicate" in told) == (1, False)
        assert await receive(subscriber) == "bill"


async def test_a_window_ends_and_may_be_none(world: World) -> None:
    await publish(world, "plain/a", ce_id="e1")
    world.clock.offset += 119
    assert (await publish(world, "plain/a", ce_id="e1"))["duplicate"] is True
    world.clock.offset += 2
    assert "duplicate" not in await publish(world, "plain/a", ce_id="e1")
    await publish(world, "off/a", ce_id="e1")
    assert "duplicate" not in await publish(world, "off/a", ce_id="e1")


@BOTH
async def test_a_request_may_hold_the_same_event_twice(world: World, relay: str) -> None:
    def line(id: str, n: int) -> str:
        return json.dumps({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": n}) + "\n"

    body = line("a", 1) + line("b", 2) + line("a", 3) + "4\n" + line("b", 5)
    for first in (True, False):
        answer = await world.client.post(f"/-/events/{relay}/x", content=body, headers={**world.auth(), **LINES})
        told = answer.json()
        assert [bool(each.get("duplicate")) for each in told] == [not first, not first, True, False, True]
        assert told[2]["cursor"] == told[0]["cursor"]
    async with ndjson(world, f"{relay}/x?from=start") as stream:
        await stream.event()
        assert [(await stream.event())["data"] for _ in range(4)] == [1, 2, 4, 4]


@BOTH
async def test_a_session_is_told_too(world: World, relay: str) -> None:
    async with session(world) as peer:
        first = await peer.publish(f"{relay}/a", id="e1")
        again = await peer.publish(f"{relay}/a", id="e1")
        assert (again["cursor"], again["duplicate"], again["matched"]) == (first["cursor"], True, 0)


async def test_ids_of_durable_relays_are_known_after_a_restart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        first = await publish(world, "kept/a", ce_id="e1")
        sourced = await publish(world, "kept/a", ce_id="e1", ce_source="/s")
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        assert await publish(world, "kept/a", ce_id="e1") == {**first, "duplicate": True}
        assert (await publish(world, "kept/a", ce_id="e1", ce_source="/s"))["cursor"] == sourced["cursor"]
        assert "duplicate" not in await publish(world, "kept/b", ce_id="e1", ce_source="/s")
        world.clock.offset += 130
        assert "duplicate" not in await publish(world, "kept/a", ce_id="e1")


async def test_who_repeats_an_event_that_is_not_on_disk_yet_shares_its_fate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first is lost to a full disk, the second is tried anew."""
    journal: Any = world.gateway.context.journal
    write = type(journal).write
    held: list[tuple[Any, Any]] = []
    is_held = asyncio.Event()

    def hold(self: Any, prepare: Any, done: Any) -> None:
        held.append((prepare, done))
        is_held.set()

    monkeypatch.setattr(type(journal), "write", hold)
    async with session(world) as peer:
        for number in (1, 2, 3):
            await peer.websocket.send(json.dumps({"t": "pub", "r": number, "address": "kept/a", "id": "e1"}))
        await peer.websocket.send(json.dumps({"t": "ping", "r": 9}))
        assert (await peer.header())["t"] == "pong"
        assert len(held) == 1
        monkeypatch.setattr(type(journal), "write", write)
        prepare, done = held[0]
        prepare()
        done(StorageFull("full"))
        told = {header["r"]: header for header in [await peer.header() for _ in range(3)]}
    assert told[1]["status"] == 507
    assert "duplicate" not in told[2]
    assert (told[3]["duplicate"], told[3]["cursor"]) == (True, told[2]["cursor"])
