"""Slow consumers: closed, or told what they missed; and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import Stalled, ndjson, publish, receive, session, socket, unchunked
from worlds import World, running_gateway

from app.wire.frames import CLOSE, MessageReader

BUDGET = 64 * 1024
RELAYS: list[dict[str, Any]] = [
    {"name": "news", "budget": BUDGET, "history": {"keep": "memory", "events": 10, "seconds": 60, "bytes": 1 << 20}},
    {"name": "lossy", "budget": BUDGET, "slow": "drop"},
]
PIECE = "x" * 4096


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def overfill(world: World, address: str) -> None:
    """Publish until a stalled subscriber is far over its budget.

    The kernel takes a little more whenever it likes, so a peer that is hardly over it may be under it a moment later.
    """
    while not (await publish(world, address, "x" * (4 * BUDGET)))["dropped"]:
        pass


def adds_up(receipt: dict[str, int]) -> bool:
    return receipt["matched"] == receipt["queued"] + receipt["behind"] + receipt["dropped"]


@pytest.mark.parametrize("policy", ["close", "drop"])
async def test_one_stalled_subscriber_among_two_hundred_hurts_nobody_else(world: World, policy: str) -> None:
    """W07: the others get everything in order, the stalled one is cut or lags, memory stays bounded."""
    others = [await socket(world, "news/**") for _ in range(199)]
    stalled = Stalled(world)
    await stalled.ask(f"news/**?policy={policy}", Accept="application/x-ndjson")
    owed, receipts = 0, []
    for number in range(100):
        receipts.append(await publish(world, "news/a", f"{number} {PIECE}", Content_Type="text/plain"))
        owed = max(owed, stalled.transport.get_write_buffer_size())
    assert all(map(adds_up, receipts))
    times_dropped = sum(receipt["dropped"] for receipt in receipts)
    assert times_dropped == 1 if policy == "close" else times_dropped > 1
    assert owed < BUDGET + 2 * len(PIECE) + 1024
    assert receipts[-1]["queued"] == 199
    assert receipts[-1]["matched"] == (199 if policy == "close" else 200)
    for each in others:
        got = [str(await receive(each)).partition(" ")[0] for _ in range(100)]
        assert got == [str(number) for number in range(100)]
        each.transport.abort()


async def test_a_stalled_stream_with_the_policy_close_ends_with_a_goodbye(world: World) -> None:
    """S42, on SSE."""
    stalled = Stalled(world)
    await stalled.ask("news/a", Accept="text/event-stream")
    while (receipt := await publish(world, "news/a", PIECE))["matched"]:
        last = receipt
    assert (last["matched"], last["dropped"]) == (1, 1)
    body = unchunked(await stalled.rest())
    blocks = body.decode().split("\n\n")
    assert blocks[-2].startswith("event: bye\n")
    assert json.loads(blocks[-2].partition("data: ")[2])["code"] == 1013


async def test_a_stalled_bare_socket_is_closed_with_1013_whatever_the_relay_says(world: World) -> None:
    stalled = Stalled(world)
    await stalled.upgrade("lossy/a")
    while (receipt := await publish(world, "lossy/a", PIECE))["matched"]:
        last = receipt
    assert last["dropped"] == 1
    reader = MessageReader(1 << 20, masked=False)
    messages: list[tuple[int, bytes]] = []
    while not messages or messages[-1][0] != CLOSE:
        messages += reader.feed(await asyncio.get_running_loop().sock_recv(stalled.socket, 65536))
    assert messages[-1][1][:2] == (1013).to_bytes(2, "big")


async def test_a_peer_that_never_reads_is_aborted_in_the_end(tmp_path: Path) -> None:
    deadlines = {"close_seconds": 0.3}
    async with running_gateway(tmp_path, relays=RELAYS, deadlines=deadlines) as world:
        stalled = Stalled(world)
        await stalled.ask("news/a", Accept="text/event-stream")
        while (await publish(world, "news/a", PIECE))["matched"]:
            pass
        async with asyncio.timeout(10):
            while world.gateway.context.connections > 1:  # the publisher's own stays
                await publish(world, "news/a")


async def test_a_stalled_stream_with_the_policy_drop_is_told_the_gap_when_it_reads_again(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("lossy/**", Accept="application/x-ndjson")
    receipts = [await publish(world, "lossy/a", f"{number} {PIECE}", Content_Type="text/plain") for number in range(60)]
    assert all(map(adds_up, receipts))
    dropped = {receipt["cursor"] for receipt in receipts if receipt["dropped"]}
    assert dropped
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(20):
        while b"fanway.gap" not in data or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    after = await publish(world, "lossy/a", "after", Content_Type="text/plain")
    assert after["queued"] == 1
    async with asyncio.timeout(20):
        while after["cursor"].encode() not in data or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    events = [json.loads(line) for line in unchunked(data).splitlines()]
    reached = 0
    missing: set[str] = set()
    for event in events[1:]:
        offset = int(event["fanwaycursor"].partition(":")[2])
        if event["type"] == "fanway.gap":
            epoch, _, first = event["data"]["from"].partition(":")
            assert (int(first), event["data"]["why"]) == (reached, "slow")
            missing |= {f"{epoch}:{lost}" for lost in range(reached + 1, offset + 1)}
        else:
            assert offset == reached + 1
        reached = offset
    assert missing == dropped


async def test_a_receipt_always_adds_up(world: World) -> None:
    """W11: five match, one of them over its budget; one more is not permitted and so not matched."""
    stalled = Stalled(world)
    await stalled.ask("lossy/a", Accept="text/event-stream")
    await overfill(world, "lossy/a")
    async with (
        socket(world, "lossy/a"),
        socket(world, "lossy/*"),
        socket(world, "lossy/**"),
        ndjson(world, "lossy/a"),
        socket(world, "lossy/b", additional_headers=world.auth("lossy/b")),
    ):
        receipt = await publish(world, "lossy/a", "x")
    assert {name: receipt[name] for name in ("matched", "queued", "behind", "dropped")} == {
        "matched": 5,
        "queued": 4,
        "behind": 0,
        "dropped": 1,
    }


async def test_a_budget_may_be_narrowed_and_not_widened(world: World) -> None:
    for asked, allowed in ((1 << 30, BUDGET), (1024, 1024)):
        stalled = Stalled(world)
        await stalled.ask(f"lossy/a?budget={asked}", Accept="text/event-stream")
        owed = 0
        while not (await publish(world, "lossy/a", "x" * 512))["dropped"]:
            owed = max(owed, stalled.transport.get_write_buffer_size())
        assert allowed - 1024 < owed <= allowed + 1024
        stalled.transport.abort()
        while (await publish(world, "lossy/a"))["matched"]:
            pass


async def test_a_session_that_drops_is_told_the_gap_of_its_relay(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "lossy/**", policy="drop", budget=1024)
        peer.websocket.transport.pause_reading()
        await overfill(world, "lossy/a")
        last = await publish(world, "lossy/a", "x" * 65536)
        peer.websocket.transport.resume_reading()
        reached = 0
        while True:
            header = await peer.header()
            if header["t"] == "gap":
                assert (header["relay"], header["why"], "sub" in header) == ("lossy", "slow", False)
                assert int(header["from"].partition(":")[2]) == reached
                assert header["to"] == last["cursor"]
                break
            reached = int(header["c"].partition(":")[2])


async def test_when_all_slow_peers_together_owe_too_much_the_worst_is_cut(tmp_path: Path) -> None:
    budgets = {"process_bytes": 1 << 20, "connection_bytes": 1 << 30}
    relays = [{"name": "big", "budget": 1 << 30}]
    async with running_gateway(tmp_path, relays=relays, budgets=budgets) as world:
        worse, better = Stalled(world), Stalled(world)
        await worse.ask("big/**", Accept="application/x-ndjson")
        await better.ask("big/a", Accept="application/x-ndjson")
        for _ in range(16):
            await publish(world, "big/a", "x" * 20_000)
            await publish(world, "big/b", "x" * 50_000)
        async with asyncio.timeout(10):
            while (await publish(world, "big/a"))["matched"] == 2:
                pass
        assert worse.transport.is_closing()
        assert not better.transport.is_closing()
