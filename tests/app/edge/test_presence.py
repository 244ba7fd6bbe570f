"""Who is there, as it is told on the wire, and to whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from subscribers import ndjson, receive, session, socket, sse
from wires import until
from worlds import KEY_NAME, World

from app.edge.presence import can_match
from fanout.address import check_pattern

EVERYBODY = "-/sys/presence/**"
LISTENER = "0f0f0f0f-0000-4000-8000-000000000001"


@pytest.fixture
async def there(world: World) -> AsyncIterator[AsyncExitStack]:
    """A listener and two subscribers."""
    await world.listen("shop/price", query=f"&sb-hc-id={LISTENER}")
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(sse(world, "orders/**"))
        await stream.block()
        peer = await stack.enter_async_context(session(world))
        await peer.subscribe(7, "orders/eu")
        yield stack


async def by_ndjson(world: World, stack: AsyncExitStack) -> Any:
    stream = await stack.enter_async_context(ndjson(world, EVERYBODY))
    await stream.event()

    async def read() -> Any:
        return (await stream.event())["data"]

    return read


async def by_sse(world: World, stack: AsyncExitStack) -> Any:
    stream = await stack.enter_async_context(sse(world, f"{EVERYBODY}?as=data"))
    await stream.block()

    async def read() -> Any:
        return json.loads((await stream.block()).data)

    return read


async def by_bare_socket(world: World, stack: AsyncExitStack) -> Any:
    websocket = await stack.enter_async_context(socket(world, EVERYBODY))

    async def read() -> Any:
        return json.loads(await receive(websocket))

    return read


async def by_cloudevents(world: World, stack: AsyncExitStack) -> Any:
    websocket = await stack.enter_async_context(socket(world, EVERYBODY, subprotocols=["cloudevents.json"]))
    await receive(websocket)

    async def read() -> Any:
        return json.loads(await receive(websocket))["data"]

    return read


async def by_session(world: World, stack: AsyncExitStack) -> Any:
    peer = await stack.enter_async_context(session(world))
    await peer.subscribe(1, EVERYBODY)

    async def read() -> Any:
        while True:
            header, payload = await peer.next()
            if header["t"] in ("ev", "dl"):
                return json.loads(payload)

    return read


async def by_long_poll(world: World, stack: AsyncExitStack) -> Any:
    cursor, found = "now", list[Any]()

    async def read() -> Any:
        nonlocal cursor
        while not found:
            answer = await world.client.get(f"/-/events/{EVERYBODY}?wait=10&from={cursor}", headers=world.auth())
            found.extend(answer.json())
            cursor = answer.headers["Fanway-Cursor"]
        return found.pop(0)["data"]

    return read


@pytest.mark.parametrize(
    "way",
    [by_ndjson, by_sse, by_bare_socket, by_cloudevents, by_session, by_long_poll],
    ids=lambda way: way.__name__,
)
async def test_first_all_who_are_there_are_told_and_then_who_comes_and_goes(
    world: World, there: AsyncExitStack, way: Any
) -> None:
    async with AsyncExitStack() as stack:
        read = await way(world, stack)
        told = [await read() for _ in range(4)]
        assert told.pop() == {"state": "complete", "count": 3}
        assert all(about.pop("since").endswith("Z") and about.pop("id") for about in told)
        told.sort(key=lambda about: (about["kind"], about.get("pattern", "")))
        everybody = {"state": "here", "count": 1, "holder": f"rule {KEY_NAME.lower()}", "remoteAddress": "127.0.0.1"}
        shop = {"kind": "listener", "relay": "shop", "address": "shop/price", "transport": "websocket"}
        orders = {"kind": "subscriber", "relay": "orders"}
        assert len(told[2].pop("session")) == 16
        assert told == [
            {**everybody, **shop, "listener": LISTENER},
            {**everybody, **orders, "pattern": "orders/**", "transport": "sse"},
            {**everybody, **orders, "pattern": "orders/eu", "transport": "fanway.v1"},
        ]
        async with socket(world, "orders/**"):
            joined = await read()
            assert (joined["state"], joined["pattern"], joined["count"]) == ("joined", "orders/**", 2)
        left = {"kind": "subscriber", "relay": "orders", "pattern": "orders/**", "count": 1, "id": joined["id"]}
        assert await read() == {"state": "left", **left}


async def test_the_address_says_where_and_what_is_below_it_can_be_followed(world: World, there: AsyncExitStack) -> None:
    async with ndjson(world, "-/sys/presence/orders/**") as stream:
        told = [await stream.event() for _ in range(4)]
        assert [(event["type"], event.get("fanwayaddress")) for event in sorted(told, key=lambda e: e["type"])] == [
            ("fanway.presence.complete", "-/sys/presence"),
            ("fanway.presence.here", told[1]["fanwayaddress"]),
            ("fanway.presence.here", told[2]["fanwayaddress"]),
            ("fanway.ready", None),
        ]
        assert {told[1]["fanwayaddress"], told[2]["fanwayaddress"]} == {
            "-/sys/presence/orders",
            "-/sys/presence/orders/eu",
        }
        async with socket(world, "shop/**"), socket(world, "orders/eu/*/x"):
            joined = await stream.event()
            assert (joined["fanwayaddress"], joined["data"]["pattern"]) == ("-/sys/presence/orders/eu", "orders/eu/*/x")


async def test_who_follows_is_not_told_of_himself(world: World) -> None:
    async with ndjson(world, EVERYBODY) as first:
        assert [(await first.event())["type"] for _ in range(2)] == ["fanway.ready", "fanway.presence.complete"]
        async with ndjson(world, "-/sys/status/**"), ndjson(world, EVERYBODY) as second:
            assert [(await second.event())["type"] for _ in range(2)] == ["fanway.ready", "fanway.presence.complete"]
            async with socket(world, "orders"):
                assert (await first.event())["data"]["pattern"] == "orders"


async def test_a_cursor_goes_on_with_who_came_and_went_and_one_from_a_roll_call_gets_a_fresh_one(
    world: World, there: AsyncExitStack
) -> None:
    async with ndjson(world, EVERYBODY) as stream:
        told = [await stream.event() for _ in range(5)]
    async with socket(world, "shop/**"):
        pass
    realm = world.gateway.context.realms[world.namespace]
    await until(lambda: not realm.router.subscriptions("shop"))
    async with ndjson(world, f"{EVERYBODY}?from={told[4]['fanwaycursor']}") as stream:
        types = [(await stream.event())["type"] for _ in range(3)]
        assert types == ["fanway.ready", "fanway.presence.joined", "fanway.presence.left"]
    async with ndjson(world, f"{EVERYBODY}?from={told[2]['fanwaycursor']}") as stream:
        again = [await stream.event() for _ in range(6)]
        assert [event["type"].removeprefix("fanway.") for event in again] == [
            "ready",
            "gap",
            *["presence.here"] * 3,
            "presence.complete",
        ]
        assert again[1]["data"]["why"] == "epoch"
        assert len({event["id"] for event in [*told, *again]}) == len(told) + len(again)


async def test_past_events_alone_are_told_to_who_asks_for_them(world: World) -> None:
    async with ndjson(world, EVERYBODY) as stream:
        await stream.event()
        async with socket(world, "orders"):
            pass
        while (await stream.event())["type"] != "fanway.presence.left":
            pass
        async with ndjson(world, f"{EVERYBODY}?from=start") as past:
            types = [(await past.event())["type"].removeprefix("fanway.") for _ in range(4)]
            assert types == ["ready", "presence.followed", "presence.joined", "presence.left"]


@pytest.mark.parametrize("sharing", [{"group": "workers"}, {"durable": "mail"}], ids=["group", "durable"])
async def test_each_of_those_who_share_a_subscription_is_told(world: World, sharing: dict[str, str]) -> None:
    async with ndjson(world, EVERYBODY) as stream, session(world) as first, session(world) as second:
        await stream.event()
        await stream.event()
        await first.subscribe(1, "orders/**", **sharing)
        joined = (await stream.event())["data"]
        assert (joined["pattern"], joined["count"], joined["session"]) == ("orders/**", 1, first.hi["session"])
        assert sharing.items() <= joined.items()
        await second.subscribe(1, "orders/**", **sharing)
        assert (await stream.event())["data"]["count"] == 2
        listed = (await world.client.get("/-/api/presence?relay=orders", headers=world.auth())).json()
        assert [each["session"] for each in listed["members"]] == [first.hi["session"], second.hi["session"]]
        async with ndjson(world, EVERYBODY) as late:
            states = [(await late.event())["data"].get("state") for _ in range(4)]
            assert states == [None, "here", "here", "complete"]
        await first.send("unsub", sub=1)
        left = (await stream.event())["data"]
        assert (left["state"], left["id"], left["count"]) == ("left", joined["id"], 1)


async def test_those_who_share_are_told_who_comes_and_goes_without_everybody_first(world: World) -> None:
    async with socket(world, "shop/**"), session(world) as peer:
        await peer.subscribe(1, EVERYBODY, group="watchers")
        async with socket(world, "orders/eu"):
            told = [await peer.next() for _ in range(2)]
            assert [header["t"] for header, _ in told] == ["dl", "dl"]
            assert [json.loads(payload).get("pattern") for _, payload in told] == [None, "orders/eu"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("-/sys/presence/**", True),
        ("-/sys/presence/orders", True),
        ("-/sys/presence", True),
        ("-/sys/**", True),
        ("-/**", True),
        ("-/*/presence/*", True),
        ("-/sys/*/orders/**", True),
        ("-/sys/status/**", False),
        ("-/sys", False),
        ("-/sys/presences/x", False),
        ("-/sys/*", True),
        ("orders/**", False),
    ],
)
def test_patterns_that_can_match_somebody(pattern: str, expected: bool) -> None:
    assert can_match(check_pattern(pattern, allow_system=True)) is expected
