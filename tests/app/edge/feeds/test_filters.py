"""Filters at every door: they hold live and in replays, bad and costly ones are refused before anything begins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from subscribers import ndjson, publish, receive, session, socket, sse
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.wire.native.query import Transport
from fanout.sieve import MAX_COST

CREATED = {"exact": {"type": "order.created"}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=[{"name": "orders"}]) as running:
        yield running


def option(filter: Any) -> str:
    return "filter=" + quote(filter if isinstance(filter, str) else json.dumps(filter))


async def publish_some(world: World, count: int = 1) -> None:
    """Of each round one is wanted, and the last of them is "end"."""
    for number in range(count):
        for type in ("order.created", "order.paid", ""):
            text = "end" if type == "order.created" and number == count - 1 else f"{type} {number}"
            await publish(world, "orders/eu", text, Content_Type="text/plain", **({"ce_type": type} if type else {}))


# --- the ways: each reads to "end" what passes CREATED of "orders/**", from `start` on ---

Way = Callable[[World, str, Callable[[], Awaitable[None]]], Awaitable[list[str]]]


async def texts(read: Callable[[], Awaitable[str]]) -> list[str]:
    seen: list[str] = []
    while not seen or seen[-1] != "end":
        seen.append(await read())
    return seen


async def by_sse(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    async with sse(world, f"orders/**?as=data&from={start}&{option(CREATED)}") as stream:
        await stream.block()
        await publishing()

        async def read() -> str:
            return (await stream.block()).data

        return await texts(read)


async def by_ndjson(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    async with ndjson(world, f"orders/**?from={start}&{option(CREATED)}") as stream:
        await stream.event()
        await publishing()

        async def read() -> str:
            return str((await stream.event())["data"])

        return await texts(read)


async def by_long_poll(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    seen: list[str] = []
    url = f"/-/events/orders/**?{option(CREATED)}&wait="
    cursor = (await world.client.get(url + "0", headers=world.auth())).headers["fanway-cursor"]
    task = asyncio.ensure_future(publishing())
    at = start if start == "start" else cursor
    while "end" not in seen:
        answer = await world.client.get(f"{url}10&from={at}", headers=world.auth())
        seen += [event["data"] for event in answer.json()]
        at = answer.headers["fanway-cursor"]
    await task
    return seen


async def by_bare_socket(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    async with socket(world, f"orders/**?{option(CREATED)}") as peer:
        await publishing()

        async def read() -> str:
            return str(await receive(peer))

        return await texts(read)


async def by_cloudevents(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    path = f"orders/**?from={start}&{option([CREATED])}"
    async with socket(world, path, subprotocols=["cloudevents.json"]) as peer:
        await receive(peer)
        await publishing()

        async def read() -> str:
            return str(json.loads(await receive(peer))["data"])

        return await texts(read)


async def by_session(world: World, start: str, publishing: Callable[[], Awaitable[None]]) -> list[str]:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**", from_=start, filter=CREATED)
        await publishing()

        async def read() -> str:
            header, payload = await peer.event()
            assert header["sub"] == 1
            return payload.decode()

        return await texts(read)


WAYS: dict[Transport, Way] = {
    Transport.SSE: by_sse,
    Transport.NDJSON: by_ndjson,
    Transport.LONG_POLL: by_long_poll,
    Transport.SOCKET: by_bare_socket,
    Transport.CLOUDEVENTS: by_cloudevents,
    Transport.SESSION: by_session,
}


@pytest.mark.parametrize("start", ["now", "start"])
@pytest.mark.parametrize("transport", WAYS, ids=lambda transport: transport.name)
async def test_a_filter_holds_live_and_in_replays_by_every_transport(
    world: World, transport: Transport, start: str
) -> None:
    assert set(WAYS) == set(Transport) - {Transport.POST}
    await publish(world, "orders/eu", "early", Content_Type="text/plain", ce_type="order.created")
    await publish(world, "orders/eu", "early and unwanted", Content_Type="text/plain")

    async def publishing() -> None:
        await publish_some(world, 3)

    seen = await WAYS[transport](world, start, publishing)
    is_replayed = start == "start" and transport is not Transport.SOCKET
    assert seen == ["early"] * is_replayed + ["order.created 0", "order.created 1", "end"]


async def test_a_receipt_counts_only_those_whose_filter_passes(world: World) -> None:
    """W11: the filtered one is not matched."""
    paid = option({"exact": {"type": "order.paid"}})
    async with sse(world, f"orders/**?{option(CREATED)}") as one, sse(world, f"orders/**?{paid}") as other:
        await one.block()
        await other.block()
        receipt = await publish(world, "orders/eu", ce_type="order.paid")
        assert (receipt["matched"], receipt["queued"]) == (1, 1)
        assert (await publish(world, "orders/eu"))["matched"] == 0


async def test_the_attributes_that_a_publisher_left_out_can_be_filtered_by(world: World) -> None:
    everything = {
        "exact": {
            "type": "fanway.event",
            "source": "/orders/%C3%BC",
            "fanwayaddress": "orders/ü",
            "specversion": "1.0",
        },
    }
    async with ndjson(world, f"orders/**?{option([everything, {'suffix': {'time': 'Z'}}])}") as stream:
        await stream.event()
        await publish(world, "orders/u")
        receipt = await publish(world, "orders/%C3%BC")
        assert (await stream.event())["fanwaycursor"] == receipt["cursor"]


async def test_a_filtered_and_a_plain_subscription_of_one_session_get_each_their_own_once(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.subscribe(2, "orders/*", filter=CREATED)
        await peer.subscribe(3, "orders/eu", filter={"not": CREATED})
        receipts = [await publish(world, "orders/eu", str(n), ce_type=t) for n, t in enumerate(("order.created", "b"))]
        assert [receipt["matched"] for receipt in receipts] == [2, 2]
        got = [await peer.next() for _ in range(4)]
        assert sorted((header.get("sub", 1), payload) for header, payload in got) == [
            *((1, b"0"), (1, b"1"), (2, b"0"), (3, b"1"))
        ]
        await peer.send("unsub", sub=1)
        assert (await peer.header())["sub"] == 1
        assert (await publish(world, "orders/eu", "2", ce_type="order.created"))["matched"] == 1
        assert (await peer.next())[0]["sub"] == 2
        await peer.send("unsub", sub=2)
        assert (await peer.header())["sub"] == 2
        assert (await publish(world, "orders/eu", "3", ce_type="order.created"))["matched"] == 0


async def test_a_filtered_subscription_of_a_session_is_told_its_position(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(5, "orders/**", filter=CREATED)
        receipt = await publish(world, "orders/eu")
        [live] = [each for each in world.gateway.context.lives if hasattr(each, "on_heartbeat")]
        live.on_heartbeat()
        assert await peer.header() == {"t": "cur", "relay": "orders", "sub": 5, "c": receipt["cursor"]}


BAD: list[tuple[str, str]] = [
    ("", "not JSON"),
    ("{", "not JSON"),
    ('{"not":' * 300 + "{}" + "}" * 300, "nested deeper"),
    ("[" * 2_000, "not JSON"),
    ("[" * 500 + "]" * 500, "an object with one dialect"),
    (json.dumps({"any": [CREATED] * 65}), "64 comparisons"),
    (json.dumps({"exact": {"type": "x" * 5000}}), "4096 characters"),
    (json.dumps({"sql": "type = 'a'"}), "'sql' is not one of"),
    (json.dumps({"exact": {"type": 1}}), "not a string"),
    (json.dumps({"exact": {"data": "x"}}), "not its data"),
    ("null", "an object with one dialect"),
    ('"exact"', "an object with one dialect"),
]


@pytest.mark.parametrize(("filter", "words"), BAD, ids=[str(number) for number in range(len(BAD))])
async def test_a_bad_filter_is_refused_before_anything_begins(world: World, filter: str, words: str) -> None:
    """W16."""
    for accept, query in (("text/event-stream", ""), ("application/x-ndjson", ""), ("*/*", "&wait=0")):
        answer = await world.client.get(
            f"/-/events/orders/**?{option(filter)}{query}", headers={**world.auth(), "Accept": accept}
        )
        assert answer.status_code == 400
        assert words in answer.text
    for subprotocols in (None, ["cloudevents.json"]):
        with pytest.raises(InvalidStatus) as refused:
            await socket(world, f"orders/**?{option(filter)}", subprotocols=subprotocols)
        assert refused.value.response.status_code == 400
        assert words in (refused.value.response.body or b"").decode()


async def test_a_bad_filter_is_an_answer_and_not_the_end_of_a_session(world: World) -> None:
    """W16; what is nested deeper than any header may be ends it, as docs/protocol.md says."""
    async with session(world) as peer:
        for filter in ({"sql": "x"}, {"any": []}, {"exact": {"type": 1}}, {"any": [CREATED] * 65}, None, 7):
            answer = await peer.subscribe(1, "orders/**", filter=filter)
            assert (answer["t"], answer["status"], answer["code"]) == ("err", 400, "BadRequest")
        deep = {"all": [{"any": [{"not": CREATED}]}]}
        assert (await peer.subscribe(1, "orders/**", filter=deep))["t"] == "ok"
        assert (await peer.subscribe(2, "orders/**", filter=[]))["t"] == "ok"


async def test_filters_beyond_what_an_event_may_cost_are_refused_by_every_transport(world: World) -> None:
    """W16: at subscribe, with a sentence; nothing of it is left."""
    words = "as many comparisons already"
    async with session(world) as peer:
        for sub in range(MAX_COST // 64):
            clauses = [{"not": {"exact": {"type": f"{sub}-{number}"}}} for number in range(64)]
            assert (await peer.subscribe(sub, "orders/**", filter={"all": clauses}))["t"] == "ok"
        dear = {"not": {"exact": {"type": "another"}}}
        answer = await peer.subscribe(99, "orders/**", filter=dear)
        assert (answer["status"], answer["code"]) == (429, "QuotaExceeded")
        assert words in answer["message"]
        for accept, query in (("text/event-stream", ""), ("application/x-ndjson", ""), ("*/*", "&wait=0")):
            url = f"/-/events/orders/**?{option(dear)}{query}"
            refused = await world.client.get(url, headers={**world.auth(), "Accept": accept})
            assert refused.status_code == 429
            assert words in refused.text
        for subprotocols in (None, ["cloudevents.json"]):
            with pytest.raises(InvalidStatus) as caught:
                await socket(world, f"orders/**?{option(dear)}", subprotocols=subprotocols)
            assert caught.value.response.status_code == 429
        assert (await peer.subscribe(99, "orders/**", filter=CREATED))["t"] == "ok"
        await peer.send("unsub", sub=0)
        assert (await peer.header())["t"] == "ok"
        assert (await peer.subscribe(0, "orders/**", filter=dear))["t"] == "ok"


async def test_a_socket_that_only_publishes_has_no_use_for_a_filter(world: World) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await socket(world, f"orders/a?mode=publish&{option(CREATED)}")
    assert refused.value.response.status_code == 400
