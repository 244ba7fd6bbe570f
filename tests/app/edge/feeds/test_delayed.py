"""Events that wait for their time: kept whatever happens, published once, cancelled, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from subscribers import NdjsonStream, ndjson, publish, receive, session, socket
from worlds import World, running_gateway

from app.errors import StorageFull

RELAYS = [{"name": "plain"}, {"name": "kept", "history": {"keep": "durable"}}, {"name": "none", "dedupSeconds": 0}]
LINES = {"Content-Type": "application/x-ndjson"}
BOTH = pytest.mark.parametrize("relay", ["plain", "kept"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, limits={"delayed_events": 20}) as running:
        yield running


def advance(world: World, seconds: float) -> None:
    world.clock.offset += seconds
    world.gateway.context.wheel.advance(seconds)


async def post(world: World, path: str, body: str, **headers: str) -> tuple[int, Any]:
    answer = await world.client.post(f"/-/events/{path}", content=body, headers={**world.auth(), **headers})
    return answer.status_code, answer.json()


async def waiting(world: World, relay: str) -> list[dict[str, Any]]:
    answer = await world.client.get("/-/api/delayed", params={"relay": relay}, headers=world.auth())
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["delayed"]
    return found


async def none_waits(world: World, relay: str) -> None:
    """Return when all of a relay was published."""
    async with asyncio.timeout(10):
        while await waiting(world, relay):
            pass


async def next_of(stream: NdjsonStream) -> dict[str, Any]:
    """The next that is no notice."""
    while (event := await stream.event())["type"].startswith("fanway.") and event["type"] != "fanway.event":
        pass
    return event


async def seen(world: World, path: str, count: int) -> list[str]:
    """The first events of all that its history holds."""
    async with ndjson(world, f"{path}?from=start") as stream:
        await stream.event()
        return [str((await next_of(stream))["data"]) for _ in range(count)]


@BOTH
async def test_an_event_comes_when_it_is_due_and_not_before(world: World, relay: str) -> None:
    async with socket(world, f"{relay}/**") as subscriber:
        told = await publish(world, f"{relay}/a?not-before=60", "later")
        assert "cursor" not in told
        assert datetime.fromisoformat(told["due"]) > datetime.now(UTC) + timedelta(seconds=50)
        await publish(world, f"{relay}/a", "now")
        assert await receive(subscriber) == "now"
        advance(world, 59)
        await publish(world, f"{relay}/a", "soon")
        assert await receive(subscriber) == "soon"
        advance(world, 1.5)
        assert await receive(subscriber) == "later"
    assert await waiting(world, relay) == []


@BOTH
async def test_what_is_due_comes_by_its_time_and_then_as_it_was_accepted(world: World, relay: str) -> None:
    def line(n: int, seconds: float) -> str:
        at = datetime.fromtimestamp(start + seconds, UTC).isoformat()
        about = {"specversion": "1.0", "id": f"{n}", "source": "/s", "type": "t", "fanwaynotbefore": at}
        return json.dumps({**about, "data": n}) + "\n"

    start = world.clock()
    lines = "".join(line(n, seconds) for n, seconds in enumerate((5, 3, 3, 4, 3), 1))
    status, receipts = await post(world, f"{relay}/a", lines, **LINES)
    assert (status, [receipt["id"] for receipt in receipts]) == (202, ["1", "2", "3", "4", "5"])
    advance(world, 10)
    assert await seen(world, f"{relay}/a", 5) == ["2", "3", "5", "4", "1"]


@BOTH
async def test_many_that_are_due_at_once_all_come(world: World, relay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.feeds.delayed.SLICE_EVENTS", 3)
    status, _ = await post(world, f"{relay}/a?not-before=30", "".join(f"{n}\n" for n in range(20)), **LINES)
    assert status == 202
    advance(world, 31)
    assert await seen(world, f"{relay}/a", 20) == [str(n) for n in range(20)]


async def test_a_restart_forgets_nothing_and_overdue_events_come_at_once(tmp_path: Path) -> None:
    for relay in ("plain", "kept"):
        data = tmp_path / relay
        async with running_gateway(data, relays=RELAYS) as world:
            await publish(world, f"{relay}/a?not-before=1", "overdue", ce_id="e1")
            await publish(world, f"{relay}/a?not-before=1h", "later", ce_subject="x", **{"Content-Type": "text/plain"})
        async with running_gateway(data, relays=RELAYS) as world:
            advance(world, 2)
            assert await seen(world, f"{relay}/a", 1) == ["overdue"]
            again = await publish(world, f"{relay}/a", "again", ce_id="e1")
            assert again["duplicate"] is True
            async with ndjson(world, f"{relay}/**") as stream:
                await stream.event()
                advance(world, 3600)
                event = await next_of(stream)
                assert (event["data"], event["subject"], event["datacontenttype"]) == ("later", "x", "text/plain")


async def test_a_relay_that_came_by_use_is_kept_by_what_waits_there(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=[]) as world:
        await publish(world, "fresh/a?not-before=1h", "x")
        world.clock.offset += 600
        for realm in world.gateway.context.realms.values():
            realm.sweep()
        assert "fresh" in world.namespace.relays
    async with running_gateway(tmp_path, relays=[]) as world:
        async with socket(world, "fresh/a") as subscriber:
            advance(world, 3700)
            assert await receive(subscriber) == "x"


@BOTH
async def test_a_deleted_relay_takes_along_what_waits_there(world: World, relay: str) -> None:
    await publish(world, f"{relay}/a?not-before=30", "old")
    assert len(await waiting(world, relay)) == 1
    auth = world.auth()
    assert (await world.client.delete(f"/-/api/relays/{relay}", headers=auth)).status_code == 204
    assert (await world.client.put(f"/-/api/relays/{relay}", json={}, headers=auth)).status_code == 201
    assert await waiting(world, relay) == []
    await publish(world, f"{relay}/a?not-before=31", "new")
    advance(world, 40)
    assert await seen(world, f"{relay}/a", 1) == ["new"]


async def test_an_address_that_is_anothers_by_then_gets_nothing(world: World) -> None:
    """S03: the right to publish there was never asked."""
    await publish(world, "plain/sub/a?not-before=30", "x")
    await world.client.put("/-/api/relays/plain/sub", json={}, headers=world.auth())
    async with socket(world, "plain/sub/a") as subscriber:
        advance(world, 31)
        await publish(world, "plain/sub/a", "own")
        assert await receive(subscriber) == "own"
        await none_waits(world, "plain")
        await publish(world, "plain/sub/a", "own too")
        assert await receive(subscriber) == "own too"


async def test_what_waits_is_listed_and_cancelled(world: World) -> None:
    first = await publish(world, "plain/a?not-before=60", "12345", ce_id="e1")
    second = await publish(world, "plain/b?not-before=30", "1")
    await publish(world, "kept/b?not-before=30", "1")
    listed = await waiting(world, "plain")
    assert [item["number"] for item in listed] == [second["number"], first["number"]]
    assert (listed[1]["address"], listed[1]["id"], listed[1]["size"]) == ("plain/a", "e1", 5)
    path, auth = f"/-/api/delayed/{second['number']}", world.auth()
    assert (await world.client.get(path, headers=auth)).json()["address"] == "plain/b"
    other = world.auth("kept")
    assert (await world.client.delete(path, headers=other)).status_code in (401, 403)
    assert (await world.client.delete(path, headers=auth)).status_code == 204
    assert (await world.client.delete(path, headers=auth)).status_code == 404
    assert "duplicate" not in await publish(world, "plain/b?not-before=1h", ce_id=second["id"])
    advance(world, 61)
    assert await seen(world, "plain/**", 1) == ["12345"]


async def test_all_that_waits_at_a_relay_is_cancelled_at_once(world: World) -> None:
    for _ in range(3):
        await publish(world, "plain/a?not-before=60", "x")
    await publish(world, "kept/a?not-before=60", "x")
    answer = await world.client.delete("/-/api/delayed", params={"relay": "plain"}, headers=world.auth())
    assert answer.status_code == 204
    assert (await waiting(world, "plain"), len(await waiting(world, "kept"))) == ([], 1)
    assert (await world.client.delete("/-/api/delayed", headers=world.auth())).status_code == 400


async def test_no_more_wait_than_may(world: World) -> None:
    status, _ = await post(world, "plain/a?not-before=60", "1\n" * 15, **LINES)
    assert status == 202
    assert (await post(world, "plain/a?not-before=60", "1\n" * 6, **LINES))[0] == 429
    assert len(await waiting(world, "plain")) == 15
    assert (await post(world, "plain/a?not-before=60", "1\n" * 5, **LINES))[0] == 202
    async with session(world) as peer:
        assert (await peer.publish("plain/a", not_before=5))["status"] == 429
        assert (await peer.publish("plain/a"))["t"] == "ok"


@pytest.mark.parametrize(("not_before", "status"), [("7d", 202), ("8d", 400), ("2001-01-01T00:00:00Z", 202)])
async def test_an_event_waits_for_a_week_and_no_longer(world: World, not_before: str, status: int) -> None:
    assert (await post(world, f"plain/a?not-before={not_before}", "x"))[0] == status


async def test_what_is_due_in_the_past_goes_at_once(world: World) -> None:
    async with session(world) as peer:
        told = await peer.publish("plain/a", not_before="2001-01-01T00:00:00Z")
        assert "due" not in told
        assert told["cursor"].endswith(":1")
        told = await peer.publish("plain/a", not_before=30)
        assert (told["t"], "due" in told, "cursor" in told) == ("ok", True, False)


async def test_the_time_to_live_of_what_waits_counts_from_when_it_is_due(world: World) -> None:
    await publish(world, "plain/a?not-before=40&ttl=30", "x")
    async with ndjson(world, "plain/**") as stream:
        await stream.event()
        advance(world, 41)
        assert (await next_of(stream))["data"] == "x"
    advance(world, 30)
    answer = await world.client.get("/-/events/plain/a?wait=0&from=start", headers=world.auth())
    assert answer.json() == []


@BOTH
async def test_a_full_disk_delays_what_is_due_and_loses_nothing(
    world: World, relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(world, f"{relay}/a?not-before=30", "x")
    journal = world.gateway.context.journal
    write = journal.write
    refused = asyncio.Event()

    def full(prepare: Any, done: Any) -> None:
        prepare()
        refused.set()
        done(StorageFull("full"))

    monkeypatch.setattr(type(journal), "write", lambda self, prepare, done: full(prepare, done))
    advance(world, 31)
    async with asyncio.timeout(10):
        await refused.wait()
    assert (await post(world, f"{relay}/b?not-before=30", "y"))[0] == 507
    monkeypatch.setattr(type(journal), "write", lambda self, prepare, done: write(prepare, done))
    advance(world, 10)
    assert await seen(world, f"{relay}/**", 1) == ["x"]
    assert await waiting(world, relay) == []
