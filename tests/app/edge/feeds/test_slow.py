"""Slow consumers: closed, or told what they missed; and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import Stalled, crowd, ndjson, publish, session, socket, unchunked
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.wire.frames import CLOSE, MessageReader

BUDGET = 64 * 1024
RELAYS: list[dict[str, Any]] = [
    {"name": "news", "budget": BUDGET, "history": {"keep": "memory", "events": 10, "seconds": 60, "bytes": 1 << 20}},
    {"name": "lossy", "budget": BUDGET, "slow": "drop"},
    {"name": "kept", "budget": BUDGET, "slow": "catch-up", "history": {"keep": "memory", "bytes": 1 << 26}},
    {"name": "forgetful", "budget": BUDGET, "history": {"keep": "none"}},
]
PIECE = "x" * 4096
SLOWNESS = {"close": "slow_closed", "drop": "slow_dropped", "catch-up": "slow_behind"}


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


def counted(world: World) -> dict[str, int]:
    """The counters of slow subscribers."""
    return {name: n for name, n in world.gateway.context.counters.items() if name.startswith("slow_")}


def adds_up(receipt: dict[str, int]) -> bool:
    return receipt["matched"] == receipt["queued"] + receipt["behind"] + receipt["dropped"]


@pytest.mark.parametrize("policy", ["close", "drop", "catch-up"])
async def test_one_stalled_subscriber_among_a_thousand_hurts_nobody_else(world: World, policy: str) -> None:
    """W07: the others get everything in order, the stalled one is cut or lags, memory stays bounded."""
    async with crowd(world, "news/**", 999) as others:
        stalled = Stalled(world)
        await stalled.ask(f"news/**?policy={policy}", Accept="application/x-ndjson")
        owed, receipts = 0, []
        for number in range(100):
            receipts.append(await publish(world, "news/a", f"{number} {PIECE}", Content_Type="text/plain"))
            owed = max(owed, stalled.transport.get_write_buffer_size())
        for messages in await others.messages(100):
            assert [message.partition(b" ")[0] for message in messages] == [b"%d" % number for number in range(100)]
    assert all(map(adds_up, receipts))
    late = sum(receipt["behind" if policy == "catch-up" else "dropped"] for receipt in receipts)
    assert late == 1 if policy == "close" else late > 1
    assert owed < BUDGET + 2 * len(PIECE) + 1024
    assert receipts[-1]["queued"] == 999
    assert receipts[-1]["matched"] == (999 if policy == "close" else 1000)
    assert counted(world) == {SLOWNESS[policy]: 1}


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


# --- catch-up ---


async def read_until(stalled: Stalled, end: bytes) -> list[dict[str, Any]]:
    """Read NDJSON again, up to the line that holds `end`."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(20):
        while end not in data or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    return [json.loads(line) for line in unchunked(data).splitlines()]


async def test_a_stalled_stream_that_catches_up_gets_all_of_it_from_history_and_then_what_comes(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("kept/**", Accept="application/x-ndjson")
    receipts, owed = [], 0
    while not receipts or receipts[-1]["offset"] < 300:
        receipt = await publish(world, "kept/a", PIECE, Content_Type="text/plain")
        receipts.append({**receipt, "offset": int(receipt["cursor"].partition(":")[2])})
        owed = max(owed, stalled.transport.get_write_buffer_size())
    assert owed < BUDGET + 2 * len(PIECE)
    assert (receipts[-1]["behind"], receipts[-1]["dropped"]) == (1, 0)
    events = await read_until(stalled, receipts[-1]["cursor"].encode())
    offsets = [int(event["fanwaycursor"].partition(":")[2]) for event in events if event["type"] == "fanway.event"]
    assert {event["type"] for event in events} == {"fanway.ready", "fanway.event"}
    assert offsets == list(range(1, 301))
    assert stalled.live.feed.is_live  # type: ignore[attr-defined]
    last = await publish(world, "kept/a", "live")
    assert (last["queued"], last["behind"]) == (1, 0)
    assert [event["fanwaycursor"] for event in await read_until(stalled, last["cursor"].encode())] == [last["cursor"]]
    assert counted(world) == {"slow_behind": 1}


async def test_what_history_lost_while_a_subscriber_was_stalled_is_told_as_a_gap(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("news/**?policy=catch-up", Accept="application/x-ndjson")
    for _ in range(100):  # of which ten are kept
        last = await publish(world, "news/a", PIECE, Content_Type="text/plain")
    events = await read_until(stalled, last["cursor"].encode())
    reached = 0
    for event in events:
        offset = int(event["fanwaycursor"].partition(":")[2])
        if event["type"] == "fanway.gap":
            gap = event["data"]
            assert (gap["why"], gap["from"].partition(":")[2]) == ("history", str(reached))
        elif event["type"] == "fanway.event":
            assert offset == reached + 1
        reached = offset
    assert [event["type"] for event in events].count("fanway.gap") == 1
    assert reached == 100


@pytest.mark.parametrize("transport", ["sse", "cloudevents"])
async def test_other_streams_catch_up_too(world: World, transport: str) -> None:
    stalled = Stalled(world)
    if transport == "sse":
        await stalled.ask("kept/**?as=cloudevent", Accept="text/event-stream")
    else:
        await stalled.upgrade("kept/**?budget=2048", Sec_WebSocket_Protocol="cloudevents.json")
    for _ in range(100):
        last = await publish(world, "kept/a", PIECE, Content_Type="text/plain")
    assert last["behind"] == 1
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(20):
        while last["cursor"].encode() + b'"' not in data:
            data += await loop.sock_recv(stalled.socket, 65536)
    cursors = re.findall(rb'"fanwaycursor":"[0-9a-f]{8}:([0-9]+)"', data)
    assert [int(offset) for offset in cursors if offset != b"0"] == list(range(1, 101))


async def test_each_subscription_of_a_session_goes_on_from_where_the_session_fell_behind(world: World) -> None:
    """By the rule for clients, each gets every event of its own once and in order."""
    async with session(world) as peer:
        for sub, pattern in enumerate(("kept/**", "kept/a", "kept/*")):
            await peer.subscribe(sub, pattern)
        peer.websocket.transport.pause_reading()
        number = 0
        while not (await publish(world, "kept/b", f"{number} " + "x" * BUDGET, Content_Type="text/plain"))["behind"]:
            number += 1
        await publish(world, "kept/a", "in between")
        peer.websocket.transport.resume_reading()
        publishing = asyncio.create_task(publish_many(world, 200))
        told: dict[int, list[int]] = {0: [], 1: [], 2: []}
        behind: set[int] = set()
        while any(offsets[-1:] != [number + 202] for sub, offsets in told.items() if sub != 1):
            header, _ = await peer.next()
            match header["t"]:
                case "behind":
                    behind.add(header["sub"])
                case "cur":
                    behind.discard(header["sub"])
                case "ev" | "dl":
                    offset = int(header["c"].partition(":")[2])
                    matching = [0, 1, 2] if header["a"] == "kept/a" else [0, 2]
                    for sub in [header["sub"]] if "sub" in header else [s for s in matching if s not in behind]:
                        if not told[sub] or offset > told[sub][-1]:
                            told[sub].append(offset)
        await publishing
    assert told[0] == told[2] == list(range(1, number + 203))
    assert told[1] == [number + 2]


async def publish_many(world: World, count: int) -> None:
    for _ in range(count):
        await publish(world, "kept/b")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("forgetful/a?policy=catch-up", "'forgetful' keeps none"),
        ("news/a?policy=block", "'slow' is 'close'"),
        ("kept/a?policy=block", "'slow' is 'catch-up'"),
    ],
)
async def test_a_policy_that_the_relay_cannot_have_is_refused_with_a_sentence(
    world: World, path: str, says: str
) -> None:
    answer = await world.client.get(f"/-/events/{path}", headers={**world.auth(), "Accept": "text/event-stream"})
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (400, True)
    with pytest.raises(InvalidStatus) as refused:
        await socket(world, path, subprotocols=["cloudevents.json"])
    assert refused.value.response.status_code == 400
    async with session(world) as peer:
        pattern, _, policy = path.partition("?policy=")
        answered = await peer.subscribe(1, pattern, policy=policy)
        assert (answered["t"], answered["status"], says in answered["message"]) == ("err", 400, True)
