"""Slow subscribers, and what they lost, as it is told of them: by episodes, however long they stall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import NdjsonStream, Stalled, ndjson, publish, session, socket
from wires import until
from worlds import KEY_NAME, World, running_gateway

BUDGET = 64 * 1024
RELAYS: list[dict[str, Any]] = [
    {"name": "news", "budget": BUDGET},
    {"name": "kept", "budget": BUDGET, "slow": "catch-up", "history": {"keep": "memory", "bytes": 1 << 26}},
    {"name": "brief", "budget": BUDGET, "slow": "catch-up", "history": {"keep": "memory", "events": 2}},
]
LARGE = "x" * 4 * BUDGET


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def told(stream: NdjsonStream) -> tuple[str, dict[str, Any]]:
    """The next status event: its type and data."""
    while (event := await stream.event())["type"] in ("fanway.ready", "fanway.cursor"):
        pass
    assert event["fanwayaddress"] == f"-/sys/status/{event['data']['relay']}"
    return event["type"].removeprefix("fanway.subscriber."), event["data"]


def sweep(world: World) -> None:
    world.gateway.context.realms[world.namespace].sweep()


async def overfill(world: World, address: str, verdict: str) -> None:
    while not (await publish(world, address, LARGE))[verdict]:
        pass


async def read_until(stalled: Stalled, end: bytes) -> None:
    """Let it read again, up to what it waits for."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(20):
        while end not in data:
            data = data[-len(end) :] + await loop.sock_recv(stalled.socket, 65536)


async def settle(world: World, stalled: Stalled) -> None:
    """Let it read until it owes nothing and gets what comes as it comes."""
    last = await publish(world, f"{stalled.live.relay.name}/end")  # type: ignore[attr-defined]
    await read_until(stalled, last["cursor"].encode())
    await until(lambda: stalled.live.feed.is_live)  # type: ignore[attr-defined]


async def test_one_that_is_closed_is_told_once(world: World) -> None:
    async with ndjson(world, "-/sys/status/**") as stream:
        stalled = Stalled(world)
        await stalled.ask("news/*", Accept="application/x-ndjson")
        await overfill(world, "news/a", "dropped")
        kind, about = await told(stream)
        assert about.pop("owed") > BUDGET
        assert about.pop("id").isdecimal()
        assert (kind, about) == ("slow", {
            "state": "closed", "policy": "close", "budget": BUDGET, "relay": "news", "pattern": "news/*",
            "transport": "ndjson", "holder": f"rule {KEY_NAME.lower()}", "remoteAddress": "127.0.0.1",
            "subscriptions": 1,
        })  # fmt: skip
        sweep(world)
        async with socket(world, "news/a?mode=publish"), ndjson(world, "news/a?from=00000000:7") as late:
            kind, about = await told(stream)
            assert (kind, about["why"], about["from"]) == ("gap", "epoch", "00000000:7")
            assert (await late.event())["type"] == "fanway.ready"


async def test_a_stalled_one_that_drops_cannot_flood(world: World) -> None:
    """One event when it begins, one when something is lost, one with the totals when it is over."""
    async with ndjson(world, "-/sys/status/news") as stream:
        stalled = Stalled(world)
        await stalled.ask("news/**?policy=drop", Accept="application/x-ndjson")
        for _ in range(3):  # it takes everything, and stalls again
            await overfill(world, "news/a", "dropped")
            for _ in range(20):
                await publish(world, "news/b", LARGE)
            sweep(world)
            await read_until(stalled, b'"why":"slow"')
        kinds = [await told(stream) for _ in range(2)]
        assert [(kind, about.get("state", about.get("why"))) for kind, about in kinds] == [
            ("slow", "dropped"),
            ("gap", "slow"),
        ]
        await settle(world, stalled)
        sweep(world)
        kind, about = await told(stream)
        assert (kind, about["state"], about["gaps"], about["subscriptions"]) == ("slow", "recovered", 3, 1)
        assert about["seconds"] >= 0
        first, last = (int(about[name].partition(":")[2]) for name in ("from", "to"))
        assert last - first > 60
        assert kinds[1][1]["from"] == about["from"]
        assert kinds[0][1]["id"] == about["id"]


async def test_one_that_catches_up_is_told_to_have_recovered(world: World) -> None:
    async with ndjson(world, "-/sys/status/*") as stream:
        stalled = Stalled(world)
        await stalled.ask("kept/**", Accept="application/x-ndjson")
        await overfill(world, "kept/a", "behind")
        kind, about = await told(stream)
        assert (kind, about["state"], about["policy"]) == ("slow", "behind", "catch-up")
        sweep(world)
        await settle(world, stalled)
        sweep(world)
        kind, about = await told(stream)
        assert (kind, about["state"], about["gaps"]) == ("slow", "recovered", 0)


async def test_what_one_that_catches_up_has_lost_is_told(world: World) -> None:
    async with ndjson(world, "-/sys/status/*") as stream:
        stalled = Stalled(world)
        await stalled.ask("brief/**", Accept="application/x-ndjson")
        await overfill(world, "brief/a", "behind")
        for _ in range(5):
            await publish(world, "brief/a", "small")
        assert (await told(stream))[1]["state"] == "behind"
        await read_until(stalled, b'"why":"history"')
        kind, about = await told(stream)
        assert (kind, about["why"], about["pattern"]) == ("gap", "history", "brief/**")


async def test_one_that_goes_while_it_is_slow_is_told_to_be_gone(world: World) -> None:
    async with ndjson(world, "-/sys/status/*") as stream, session(world) as peer:
        await peer.subscribe(1, "news/other")
        stalled = Stalled(world)
        await stalled.ask("news/a?policy=drop", Accept="application/x-ndjson")
        await overfill(world, "news/a", "dropped")
        assert (await told(stream))[1]["state"] == "dropped"
        stalled.live.abort()
        sweep(world)
        kind, about = await told(stream)
        assert (kind, about["state"], about["pattern"], "holder" in about) == ("slow", "gone", "news/a", False)


async def test_who_follows_and_stalls_is_not_told_of(world: World) -> None:
    """It would be told of itself, for ever."""
    stalled = Stalled(world)
    await stalled.ask("-/sys/**?policy=drop&budget=1024", Accept="application/x-ndjson")
    realm = world.gateway.context.realms[world.namespace]
    while not world.gateway.context.counters["slow_behind"]:  # at system addresses nothing is just dropped
        async with socket(world, "news/**"):
            pass
    before = realm.history(realm.system).head
    sweep(world)
    assert realm.history(realm.system).head == before
    assert not realm.slowness._episodes


async def test_nothing_is_noted_while_nobody_follows(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("news/a?policy=drop", Accept="application/x-ndjson")
    await overfill(world, "news/a", "dropped")
    realm = world.gateway.context.realms[world.namespace]
    assert not realm.slowness._episodes
    assert not realm.remembers(realm.system)
