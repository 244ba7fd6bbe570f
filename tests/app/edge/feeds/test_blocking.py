"""The policy `block`: a subscriber that stalls holds up its relay's publishers; nothing is lost, and not for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import Stalled, crowd, publish, receive, session, socket, unchunked
from worlds import World, running_gateway

from app.edge.feeds.mouth import Mouth

BUDGET = 64 * 1024
TICK_BYTES = 512 * 1024  # what the tick may hold
RELAYS: list[dict[str, Any]] = [
    {"name": "pressed", "budget": BUDGET, "slow": "block", "history": {"keep": "none"}},
    {"name": "free", "budget": BUDGET},
]
PIECE = "x" * 16_384
READ_BYTES = 64 * 1024  # what one client sends at once; envelopes are less
MOST_BYTES = BUDGET + 2 * (TICK_BYTES + READ_BYTES)  # a tick ends with the read that fills it


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, deadlines={"block_seconds": 0.5}) as running:
        yield running


def is_held(world: World) -> bool:
    realm = world.gateway.context.realms[world.namespace]
    return realm.backpressure.holds(world.namespace.relays["pressed"])


async def until_held(world: World, address: str = "pressed/a") -> int:
    """Publish until the relay is held up; how many events that took."""
    count = 0
    while not is_held(world):
        await publish(world, address, f"{count} {PIECE}", Content_Type="text/plain")
        count += 1
    return count


async def read_texts(stalled: Stalled, count: int) -> list[int]:
    """The numbers of the next so many events."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(30):
        while data.count(b'"type":"fanway.event"') < count or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    events = [json.loads(line) for line in unchunked(data).splitlines()]
    assert not [event for event in events if event["type"] == "fanway.gap"]
    return [int(event["data"].partition(" ")[0]) for event in events if event["type"] == "fanway.event"]


async def test_one_stalled_subscriber_among_a_thousand_holds_up_the_publishers_and_loses_nothing(world: World) -> None:
    """W07: the others get at once what was let in, and everything in order in the end; memory stays bounded."""
    async with crowd(world, "pressed/**", 999) as others:
        stalled = Stalled(world)
        await stalled.ask("pressed/**", Accept="application/x-ndjson")
        published = await until_held(world)
        for messages in await others.messages(published):
            assert [int(message.partition(b" ")[0]) for message in messages] == [*range(published)]
        assert stalled.transport.get_write_buffer_size() < MOST_BYTES
        more = [
            asyncio.create_task(publish(world, "pressed/a", f"{n} {PIECE}", Content_Type="text/plain"))
            for n in range(published, published + 20)
        ]
        done, _ = await asyncio.wait(more, timeout=0.2)
        assert not done
        got = await read_texts(stalled, published + 20)
        receipts = await asyncio.gather(*more)
        assert got[:published] == [*range(published)]
        assert sorted(got) == [*range(published + 20)]
        assert all((r["matched"], r["queued"], r["dropped"]) == (1000, 1000, 0) for r in receipts)
        for messages in await others.messages(published + 20):
            assert [int(message.partition(b" ")[0]) for message in messages] == got
    counters = world.gateway.context.counters
    assert counters["slow_blocked"] > 0
    assert counters["slow_closed"] == 0


@pytest.mark.parametrize("kind", ["session", "bare", "cloudevents"])
async def test_sockets_that_publish_are_held_and_keep_their_order(world: World, kind: str) -> None:
    stalled = Stalled(world)
    await stalled.ask("pressed/**", Accept="application/x-ndjson")
    count = 200
    if kind == "session":
        opening = socket(world, "", subprotocols=["fanway.v1"])
    else:
        opening = socket(world, "pressed/a?mode=publish", subprotocols=None if kind == "bare" else ["cloudevents.json"])
    async with opening as publisher:

        async def go_on() -> None:
            for number in range(count):
                text = f"{number} {PIECE}"
                if kind == "session":
                    await publisher.send('{"t":"pub","address":"pressed/a"}\n' + text)
                elif kind == "bare":
                    await publisher.send(text)
                else:
                    envelope = {"specversion": "1.0", "id": str(number), "source": "/x", "type": "fanway.event"}
                    await publisher.send(json.dumps({**envelope, "datacontenttype": "text/plain", "data": text}))
            await publisher.close()  # nothing that came before it is lost

        publishing = asyncio.create_task(go_on())
        async with asyncio.timeout(20):
            while not is_held(world):
                await publish(world, "free/a")
        free = await publish(world, "free/a")
        assert free["dropped"] == 0
        assert stalled.transport.get_write_buffer_size() < MOST_BYTES
        assert await read_texts(stalled, count) == [*range(count)]
        await publishing


async def test_a_held_session_is_answered_all_else(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("pressed/**", Accept="application/x-ndjson")
    await until_held(world)
    async with session(world) as peer:
        pub = await peer.send("pub", "0", address="pressed/a")
        later = await peer.send("pub", "1", address="free/a")
        ping = await peer.send("ping")
        assert await peer.header() == {"t": "pong", "r": ping}
        assert (await peer.subscribe(1, "free/**"))["t"] == "ok"
        await publish(world, "free/a", "here")
        assert (await peer.next())[1] == b"here"
        stalled.socket.close()  # the publishers are let in at once
        answers = [await peer.header() for _ in range(3)]
        assert [answer["r"] for answer in answers if answer["t"] == "ok"] == [pub, later]
    assert not is_held(world)


async def test_a_session_that_blocks_itself_gets_all_it_publishes_if_it_reads(world: World) -> None:
    async with session(world, max_queue=4) as peer:
        await peer.subscribe(1, "pressed/**", policy="block", budget=16_384)

        async def go_on() -> None:
            for number in range(300):
                await peer.websocket.send('{"t":"pub","address":"pressed/a"}\n' + f"{number} {PIECE}")

        publishing = asyncio.create_task(go_on())
        for number in range(300):
            assert (await peer.next())[1].startswith(b"%d " % number)
        await publishing


async def test_a_session_that_blocks_itself_and_does_not_read_is_closed_in_time(hasty: World) -> None:
    async with session(hasty) as peer:
        await peer.subscribe(1, "pressed/**", budget=16_384)
        peer.websocket.transport.pause_reading()

        async def go_on() -> None:
            while True:
                await peer.websocket.send('{"t":"pub","address":"pressed/a"}\n' + PIECE)

        publishing = asyncio.create_task(go_on())
        async with asyncio.timeout(20):
            while not hasty.gateway.context.counters["slow_closed"]:
                await publish(hasty, "free/a")
        assert not is_held(hasty)
        publishing.cancel()
        peer.websocket.transport.abort()
        await asyncio.gather(publishing, return_exceptions=True)


async def test_who_takes_nothing_is_closed_with_1013_and_lets_the_publishers_go_on(hasty: World) -> None:
    stalled = Stalled(hasty)
    await stalled.ask("pressed/**", Accept="application/x-ndjson")
    await until_held(hasty)
    async with asyncio.timeout(20):
        while (  # the kernel may take a little of it yet
            answer := await hasty.client.post("/-/events/pressed/a", content=b"x", headers=hasty.auth())
        ).status_code == 503:
            pass
    body = unchunked(await stalled.rest()).splitlines()
    bye = json.loads(body[-1])
    assert (bye["type"], bye["data"]["code"], "held up" in bye["data"]["reason"]) == ("fanway.bye", 1013, True)
    assert answer.json()["matched"] == 0
    assert hasty.gateway.context.counters["slow_closed"] == 1


async def test_a_publish_that_waits_too_long_is_503_with_the_reason(
    hasty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mouth, "_on_deadline", Mouth._await_progress)  # it is given more time than the publisher
    stalled = Stalled(hasty)
    await stalled.ask("pressed/**", Accept="application/x-ndjson")
    count = await until_held(hasty)
    answer = await hasty.client.post("/-/events/pressed/a", content=b"x", headers=hasty.auth())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "holds up" in answer.json()["error"]["message"]
    assert await read_texts(stalled, count) == [*range(count)]  # and it was not published
    assert (await publish(hasty, "pressed/a"))["queued"] == 1


async def test_only_the_relay_allows_it_and_a_bare_socket_may_have_it(world: World) -> None:
    async with socket(world, "pressed/a?policy=block") as bare, socket(world, "pressed/a") as other:
        await publish(world, "pressed/a", "x")
        assert await receive(bare) == await receive(other) == "x"
    answer = await world.client.get(
        "/-/events/free/a?policy=block", headers={**world.auth(), "Accept": "text/event-stream"}
    )
    assert (answer.status_code, "'slow' is 'close'" in answer.json()["error"]["message"]) == (400, True)


async def test_a_subscriber_may_choose_not_to_block(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("pressed/**?policy=drop", Accept="application/x-ndjson")
    while not (await publish(world, "pressed/a", PIECE))["dropped"]:
        assert not is_held(world)
    assert not is_held(world)


async def test_a_relay_that_blocks_no_more_closes_who_stalls(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("pressed/**", Accept="application/x-ndjson")
    headers = world.auth()
    answer = await world.client.patch("/-/api/relays/pressed", json={"slow": "close"}, headers=headers)
    assert answer.status_code == 200
    while (await publish(world, "pressed/a", PIECE))["matched"]:
        assert not is_held(world)
