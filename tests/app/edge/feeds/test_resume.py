"""Coming back: exactly what was missed, then live, or a gap that says what is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import NdjsonStream, ndjson, publish, receive, session, socket, sse
from worlds import World, running_gateway

from fanout.event import rfc3339

RELAYS: list[dict[str, Any]] = [
    {"name": "short", "history": {"keep": "memory", "events": 5, "seconds": 3600, "bytes": 1 << 20}},
    {"name": "none", "history": {"keep": "none"}},
    {"name": "long", "history": {"keep": "memory", "events": 100_000, "seconds": 3600, "bytes": 64 << 20}},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def publish_many(world: World, address: str, count: int, start: int = 0, size: int = 0) -> list[str]:
    """Publish numbers in batches; their cursors."""
    cursors: list[str] = []
    filler = "x" * size
    for first in range(start, start + count, 100):
        lines = [json.dumps([number, filler]) for number in range(first, min(first + 100, start + count))]
        headers = {**world.auth(), "Content-Type": "application/x-ndjson"}
        answer = await world.client.post(f"/-/events/{address}", content="\n".join(lines), headers=headers)
        cursors += [receipt["cursor"] for receipt in answer.json()]
    return cursors


async def numbers(stream: NdjsonStream, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        event = await stream.event()
        if not event["type"].startswith("fanway.cursor"):
            found.append(event["data"][0])
    return found


@pytest.mark.parametrize("transport", ["ndjson", "sse", "session", "cloudevents"])
async def test_a_subscriber_that_drops_gets_exactly_what_it_missed_and_then_what_comes(
    world: World, transport: str
) -> None:
    """R01: 1,000 events missed, and others published while it catches up."""
    seen = (await publish(world, "long/a"))["cursor"]
    await publish_many(world, "long/a", 1000)
    live = asyncio.create_task(publish_many(world, "long/a", 1000, start=1000))
    got: list[int] = []
    if transport == "ndjson":
        async with ndjson(world, f"long/**?from={seen}") as lines:
            await lines.event()
            got = await numbers(lines, 2000)
    elif transport == "sse":
        async with sse(world, "long/a", Last_Event_ID=seen) as stream:
            await stream.block()
            got = [json.loads((await stream.block()).data)[0] for _ in range(2000)]
    elif transport == "session":
        async with session(world) as peer:
            await peer.subscribe(1, "long/**", from_=seen)
            got = [json.loads((await peer.event())[1])[0] for _ in range(2000)]
    else:
        async with socket(world, f"long/**?from={seen}", subprotocols=["cloudevents.json"]) as peer_socket:
            await receive(peer_socket)
            got = [json.loads(await receive(peer_socket))["data"][0] for _ in range(2000)]
    await live
    assert got == list(range(2000))


async def test_a_subscriber_that_dropped_before_any_event_recovers(world: World) -> None:
    """R02: the cursor is known before anything is published."""
    async with sse(world, "long/a") as stream:
        seen = (await stream.block()).id
    await publish(world, "long/a", "missed")
    async with sse(world, "long/a", Last_Event_ID=seen) as stream:
        assert (await stream.block()).id == seen
        assert (await stream.block()).data == "missed"


async def test_a_cursor_older_than_history_is_told_a_gap_before_any_event(world: World) -> None:
    """R03."""
    cursors = [(await publish(world, "short/a", str(number)))["cursor"] for number in range(9)]
    async with sse(world, "short/a", Last_Event_ID=cursors[0]) as stream:
        assert (await stream.block()).event == "ready"
        gap = await stream.block()
        assert (gap.event, gap.id) == ("gap", cursors[3])
        assert json.loads(gap.data) == {"relay": "short", "from": cursors[0], "to": cursors[3], "why": "history"}
        assert [(await stream.block()).data for _ in range(5)] == ["4", "5", "6", "7", "8"]


async def test_a_relay_without_history_tells_every_absence(world: World) -> None:
    cursors = [(await publish(world, "none/a", str(number)))["cursor"] for number in range(3)]
    async with session(world) as peer:
        await peer.subscribe(1, "none/a", from_=cursors[0])
        gap = await peer.header()
        assert (gap["t"], gap["sub"], gap["from"], gap["to"]) == ("gap", 1, cursors[0], cursors[2])
        await publish(world, "none/a", "live")
        assert (await peer.next())[1] == b"live"


async def test_a_gateway_that_lost_its_store_answers_old_cursors_with_a_gap(tmp_path: Path) -> None:
    """R04: a new life is a new epoch."""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        old = (await publish(world, "long/a", "before"))["cursor"]
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        now = (await publish(world, "long/a", "after"))["cursor"]
        assert old.partition(":")[0] != now.partition(":")[0]
        async with ndjson(world, f"long/a?from={old}") as lines:
            assert (await lines.event())["data"]["cursor"] == old
            gap = (await lines.event())["data"]
            assert (gap["from"], gap["to"], gap["why"]) == (old, f"{now.partition(':')[0]}:0", "epoch")
            assert (await lines.event())["data"] == "after"


async def test_a_cursor_ahead_of_the_stream_is_told_a_gap(world: World) -> None:
    now = (await publish(world, "long/a"))["cursor"]
    async with ndjson(world, f"long/a?from={now}000") as lines:
        await lines.event()
        assert (await lines.event())["data"] == {"relay": "long", "from": f"{now}000", "to": now, "why": "ahead"}
        await publish(world, "long/a", "next")
        assert (await lines.event())["data"] == "next"


async def test_a_time_finds_the_first_event_since(world: World) -> None:
    await publish(world, "long/a", "old", Content_Type="text/plain")
    world.clock.offset += 600
    moment = rfc3339(world.clock())
    await publish(world, "long/a", "new", Content_Type="text/plain")
    async with ndjson(world, f"long/a?from={moment}") as lines:
        assert (await lines.event())["type"] == "fanway.ready"
        assert (await lines.event())["data"] == "new"


async def test_a_time_whose_events_are_partly_gone_is_told_a_gap(world: World) -> None:
    moment = rfc3339(world.clock())
    cursors = [(await publish(world, "short/a", str(number)))["cursor"] for number in range(9)]
    async with ndjson(world, f"short/a?from={moment}") as lines:
        await lines.event()
        gap = (await lines.event())["data"]
        assert (gap["to"], gap["why"]) == (cursors[3], "history")
        assert (await lines.event())["data"] == "4"


async def test_a_subscription_that_is_behind_is_counted_as_behind(world: World) -> None:
    """W11: nobody who will get the event is left out of the receipt."""
    await publish_many(world, "long/a", 2000, size=3000)
    async with contextlib.AsyncExitStack() as stack:
        stalled = await stack.enter_async_context(ndjson(world, "long/a?from=start"))
        assert stalled.response.status_code == 200
        receipt = await publish(world, "long/a")
        assert (receipt["matched"], receipt["behind"]) == (1, 1)


async def test_a_replay_never_owes_more_than_its_peer_takes_and_joins_without_a_seam(world: World) -> None:
    """A reader that pauses: 12 MB of history wait in the history, not in its connection."""
    await publish_many(world, "long/a", 4000, size=3000)
    async with ndjson(world, "long/a?from=start") as lines:
        await publish_many(world, "long/a", 1000, start=4000, size=3000)
        [live] = world.gateway.context.lives
        assert live.seam.outflow.backlog() < 1 << 20  # type: ignore[attr-defined]
        assert (await lines.event())["type"] == "fanway.ready"
        reading = asyncio.create_task(numbers(lines, 5500))
        await publish_many(world, "long/a", 500, start=5000, size=3000)
        assert await reading == list(range(5500))
        receipt = await publish(world, "long/a", "x", Content_Type="text/plain")
        assert receipt["queued"] == 1


async def test_history_that_is_cut_under_a_slow_reader_is_told_as_a_gap(world: World) -> None:
    """The seam holds even when the log moves on: what is missing is exactly what the gap says."""
    limits = {"keep": "memory", "events": 1500, "seconds": 3600, "bytes": 64 << 20}
    changed = await world.client.patch("/-/api/relays/long", json={"history": limits}, headers=world.auth())
    assert changed.status_code == 200, changed.text
    await publish_many(world, "long/a", 1500, size=8000)
    async with ndjson(world, "long/a?from=start") as lines:
        await publish_many(world, "long/a", 3000, start=1500, size=8000)
        reached, gaps = 0, 0
        while reached < 4500:
            event = await lines.event()
            if event["type"] == "fanway.gap":
                gaps += 1
                assert int(event["data"]["from"].partition(":")[2]) == reached
                reached = int(event["data"]["to"].partition(":")[2])
            elif event["type"] == "fanway.event":
                reached += 1
                assert int(event["fanwaycursor"].partition(":")[2]) == reached
                assert event["data"][0] == reached - 1
        assert gaps
