"""Refused listeners that hammer are made to wait; nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wires import KEY_LINES, until, upgraded
from worlds import Wire, World, running_gateway

from app.config import Deadlines, Limits
from app.edge import storms

HYCO = "/$hc/hyco?sb-hc-action=listen"
FREE = 3


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[World]:
    """The first three refusals go out at once, the others half a second apart at most."""
    deadlines, limits = Deadlines(refusal_seconds=0.5), Limits(refused_listens=FREE)
    async with running_gateway(tmp_path, deadlines=deadlines, limits=limits) as world:
        yield world


async def attempt(world: World, path: str = HYCO, token: str = "wrong") -> Wire:
    """A listener's handshake with a bad token, sent."""
    wire = await world.raw()
    head = f"GET {path} HTTP/1.1\r\nHost: {world.host}\r\nServiceBusAuthorization: {token}\r\n"
    await wire.send(head + f"Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY_LINES}\r\n")
    return wire


def guards(world: World) -> storms.Storms:
    return world.gateway.context.storms


async def test_the_first_refusals_are_told_at_once_and_the_rest_one_by_one(guarded: World) -> None:
    for _ in range(FREE):
        assert (await (await attempt(guarded)).head()).startswith("HTTP/1.1 401 ")
    begun = asyncio.get_running_loop().time()
    wires = [await attempt(guarded) for _ in range(3)]
    await until(lambda: guards(guarded).held == 3)
    for left, wire in zip((2, 1, 0), wires, strict=True):
        head = await wire.head()
        assert head.startswith("HTTP/1.1 401 MalformedToken")
        assert "\r\nTrackingId: " in head
        assert guards(guarded).held == left
    assert asyncio.get_running_loop().time() - begun >= 1.5


async def test_while_some_wait_others_are_served_and_refused_as_ever(guarded: World) -> None:
    """A good listener from the same address at the same path; a bad one at another path; a sender."""
    for _ in range(FREE):
        await (await attempt(guarded)).head()
    await attempt(guarded)
    await until(lambda: guards(guarded).held == 1)
    await guarded.listen("hyco")
    assert (await guarded.client.get("/hyco", headers=guarded.auth())).status_code == 200
    assert (await (await attempt(guarded, "/$hc/open?sb-hc-action=listen")).head()).startswith("HTTP/1.1 401 ")
    assert (await (await attempt(guarded, "/$hc/hyco?sb-hc-action=connect")).head()).startswith("HTTP/1.1 401 ")
    assert guards(guarded).held == 1


async def test_one_that_leaves_while_it_waits_is_forgotten(guarded: World) -> None:
    for _ in range(FREE):
        await (await attempt(guarded)).head()
    for wire in [await attempt(guarded) for _ in range(5)]:
        wire.abort()
    await until(lambda: not guards(guarded).held and not guarded.gateway.context.connections)
    assert not guarded.gateway.context.lives


async def test_a_source_that_is_quiet_begins_anew(guarded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storms, "FORGET_SECONDS", 0.0)
    for _ in range(FREE + 1):
        await (await attempt(guarded)).head()
    assert len(guards(guarded)) == 1
    await until(lambda: not len(guards(guarded)))
    for _ in range(FREE):
        await (await attempt(guarded)).head()
        assert not guards(guarded).held


async def test_more_than_may_wait_are_closed_without_an_answer(guarded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one source, and of all."""
    monkeypatch.setattr(storms, "HELD_OF_A_SOURCE", 2)
    for path in (HYCO, "/$hc/open?sb-hc-action=listen"):
        for _ in range(FREE):
            await (await attempt(guarded, path)).head()
    for _ in range(2):
        await attempt(guarded)
    await until(lambda: guards(guarded).held == 2)
    assert await (await attempt(guarded)).rest() == b""
    guarded.gateway.context.max_connections = 3 * storms.HELD_SHARE
    await attempt(guarded, "/$hc/open?sb-hc-action=listen")
    await until(lambda: guards(guarded).held == 3)
    assert await (await attempt(guarded, "/$hc/open?sb-hc-action=listen")).rest() == b""
    assert guarded.gateway.context.counters["listens_dismissed"] == 2


async def test_a_flood_of_sources_takes_bounded_memory(guarded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storms, "SOURCES", 5)
    for number in range(10):
        await (await attempt(guarded, f"/$hc/hyco/{number}?sb-hc-action=listen")).head()
    assert len(guards(guarded)) == 5


async def test_a_trusted_proxys_word_tells_sources_apart(tmp_path: Path) -> None:
    limits, deadlines = Limits(refused_listens=1), Deadlines(refusal_seconds=30)
    async with running_gateway(tmp_path, limits=limits, deadlines=deadlines, trusted_proxies=["127.0.0.1"]) as world:
        for client in ("192.0.2.1", "192.0.2.2"):
            wire = await attempt(world, HYCO, f"wrong\r\nX-Forwarded-For: {client}")
            assert (await wire.head()).startswith("HTTP/1.1 401 ")
        await attempt(world, HYCO, "wrong\r\nX-Forwarded-For: 192.0.2.1")
        await until(lambda: guards(world).held == 1)


async def test_a_drain_answers_those_who_wait(guarded: World) -> None:
    for _ in range(FREE):
        await (await attempt(guarded)).head()
    waiting = [await attempt(guarded) for _ in range(2)]
    await until(lambda: guards(guarded).held == 2)
    await guarded.gateway.stop()
    for wire in waiting:
        assert (await wire.head()).startswith("HTTP/1.1 401 ")


async def test_nobody_waits_where_that_is_not_wanted(tmp_path: Path) -> None:
    deadlines, limits = Deadlines(refusal_seconds=0), Limits(refused_listens=1)
    async with running_gateway(tmp_path, deadlines=deadlines, limits=limits) as world:
        for _ in range(10):
            assert (await (await attempt(world)).head()).startswith("HTTP/1.1 401 ")
        assert not len(guards(world))


async def test_the_quotas_refusal_waits_too_and_the_place_that_becomes_free_is_taken(tmp_path: Path) -> None:
    limits = Limits(listeners=1, refused_listens=1)
    async with running_gateway(tmp_path, limits=limits, deadlines=Deadlines(refusal_seconds=0.5)) as world:
        first = await upgraded(world, HYCO)
        good = world.token()
        assert (await (await attempt(world, HYCO, good)).head()).startswith("HTTP/1.1 403 ")
        waiting = await attempt(world, HYCO, good)
        first.abort()
        await until(lambda: not world.gateway.context.realms[world.namespace].roster.count("hyco"))
        await upgraded(world, HYCO)
        assert (await waiting.head()).startswith("HTTP/1.1 403 ")
