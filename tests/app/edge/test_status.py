"""What the gateway tells of its listeners and relays at system addresses, and to whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import until
from worlds import World

from app.edge.status import RETURN_SECONDS
from app.store.settings import RelaySettings


@asynccontextmanager
async def following(world: World, path: str = "-/sys/status/**", **headers: str) -> AsyncIterator[Any]:
    """The next status event: its type without `fanway.`, its address, its data."""
    request = {**world.auth(), "Accept": "application/x-ndjson", **headers}
    async with world.client.stream("GET", f"/-/events/{path}", headers=request) as stream:
        assert stream.status_code == 200, await stream.aread()
        lines = stream.aiter_lines()

        async def event() -> tuple[str, str, Any]:
            async with asyncio.timeout(10):
                async for line in lines:
                    found = json.loads(line)
                    if found["type"] != "fanway.cursor":
                        return found["type"].removeprefix("fanway."), found["fanwayaddress"], found.get("data")
            raise AssertionError("the stream ended")

        first = json.loads(await anext(lines))
        assert first["type"] == "fanway.ready"
        yield event


async def test_listeners_come_and_go(world: World) -> None:
    async with following(world) as event:
        listener = await world.listen("shop/price", query="&sb-hc-id=7")
        place = {"relay": "shop", "address": "shop/price", "listener": "7"}
        assert await event() == ("listener.online", "-/sys/status/shop", {**place, "listeners": 1})
        await listener.socket.close(1000, "bye")
        gone = {**place, "listeners": 0, "reason": "bye"}
        assert await event() == ("listener.offline", "-/sys/status/shop", gone)


async def test_a_listener_with_a_name_is_told_by_it(world: World) -> None:
    async with following(world) as event:
        listener = await world.listen("shop", query="&sb-hc-instance=oslo-1")
        assert (await event())[2]["instance"] == "oslo-1"
        await listener.socket.close(1000, "bye")
        assert (await event())[2]["instance"] == "oslo-1"


async def test_one_that_is_lost_is_connecting_until_it_comes_back_or_does_not(world: World) -> None:
    realm = world.gateway.context.realms[world.namespace]
    async with following(world, "-/sys/status/hyco") as event:
        for _ in range(2):
            listener = await world.listen("hyco", query="&sb-hc-id=7")
            assert (await event())[0] == "listener.online"
            listener.socket.transport.abort()
            kind, _, data = await event()
            assert (kind, data["reason"]) == ("listener.connecting", "The connection was lost.")
        world.clock.offset += RETURN_SECONDS - 1
        realm.sweep()
        assert realm.status._awaited
        world.clock.offset += 2
        realm.sweep()
        kind, _, data = await event()
        assert (kind, data["listener"], data["reason"]) == ("listener.offline", "7", "It has not come back.")
        assert not realm.status._awaited


async def test_one_that_is_back_before_its_loss_is_noticed_was_never_away(world: World) -> None:
    async with following(world) as event:
        first = await world.listen("hyco", query="&sb-hc-id=7")
        await world.listen("hyco", query="&sb-hc-id=7")
        first.socket.transport.abort()
        realm = world.gateway.context.realms[world.namespace]
        await until(lambda: realm.roster.count("hyco") == 1)
        await world.listen("shop")
        kinds = [(await event())[:2] for _ in range(3)]
        assert kinds == [("listener.online", f"-/sys/status/{name}") for name in ("hyco", "hyco", "shop")]


async def test_relays_come_change_and_go(world: World) -> None:
    registry = world.gateway.registry
    async with following(world) as event:
        relay = await registry.put_relay(world.namespace, "fresh", RelaySettings())
        about = {"relay": "fresh", "profile": "native", "isDynamic": False}
        assert await event() == ("relay.created", "-/sys/status/fresh", about)
        await registry.put_relay(world.namespace, "fresh", RelaySettings(slow="drop"))
        assert (await event())[0] == "relay.changed"
        await world.listen("fresh")
        assert (await event())[0] == "listener.online"
        await registry.delete_relay(world.namespace, relay)
        assert (await event())[0] == "relay.deleted"
        kind, _, data = await event()
        assert (kind, data["reason"]) == ("listener.offline", "The relay was deleted.")
        alarms = await world.listen("alarms", query="&sb-hc-profile=netEvent")
        assert await event() == ("relay.created", "-/sys/status/alarms", {
            "relay": "alarms", "profile": "netEvent", "isDynamic": True
        })  # fmt: skip
        await alarms.socket.close()
        assert [(await event())[0] for _ in range(3)] == ["listener.online", "listener.offline", "relay.deleted"]


async def test_only_who_manages_the_namespace_is_told(world: World) -> None:
    """S03: by every transport, one check; a relay's own rule or a token for elsewhere does not do."""
    await world.client.put(
        "/-/api/rules/both", json={"rights": ["Listen", "Send"], "primaryKey": "both"}, headers=world.auth()
    )
    await world.client.put(
        "/-/api/rules/owner?relay=ruled", json={"rights": ["Manage"], "primaryKey": "own"}, headers=world.auth()
    )
    tokens = {
        403: [world.auth(rule="both", key="both")],
        401: [{}, world.auth("orders"), world.auth("ruled", rule="owner", key="own")],
    }
    for status, headers in [(status, each) for status, several in tokens.items() for each in several]:
        for path in ("-/sys/status/**", "-/sys/status/orders", "-/**"):
            for accept in ("text/event-stream", "application/x-ndjson"):
                answer = await world.client.get(f"/-/events/{path}", headers={**headers, "Accept": accept})
                assert answer.status_code in (status, 403), (path, headers)
            answer = await world.client.get(f"/-/events/{path}?wait=0", headers=headers)
            assert answer.status_code in (status, 403)
            for protocols in (None, ["cloudevents.json"]):
                with pytest.raises(InvalidStatus):
                    await connect(f"{world.ws}/-/events/{path}", additional_headers=headers, subprotocols=protocols)  # type: ignore[arg-type]
    limited = world.auth(rule="both", key="both")
    async with connect(f"{world.ws}/-/events", additional_headers=limited, subprotocols=["fanway.v1"]) as session:  # type: ignore[list-item]
        await session.recv()
        await session.send('{"t":"sub","r":1,"sub":1,"pattern":"-/sys/status/**"}')
        assert '"status":403' in str(await session.recv())


async def test_nobody_publishes_or_listens_there(world: World) -> None:
    answer = await world.client.post("/-/events/-/sys/status/orders", content=b"x", headers=world.auth())
    assert answer.status_code == 403
    for action in ("listen", "connect"):
        with pytest.raises(InvalidStatus) as refusal:
            await connect(f"{world.ws}/$hc/-/sys?sb-hc-action={action}", additional_headers=world.auth())
        assert refusal.value.response.status_code == 400
    names = [
        relay["name"] for relay in (await world.client.get("/-/api/relays", headers=world.auth())).json()["relays"]
    ]
    assert "-" not in names
    assert (await world.client.put("/-/api/relays/-", json={}, headers=world.auth())).status_code == 400


async def test_a_renewed_token_without_manage_ends_a_sessions_subscription(world: World) -> None:
    await world.client.put(
        "/-/api/rules/both", json={"rights": ["Listen", "Send"], "primaryKey": "both"}, headers=world.auth()
    )
    async with connect(f"{world.ws}/-/events", additional_headers=world.auth(), subprotocols=["fanway.v1"]) as session:  # type: ignore[list-item]
        await session.recv()
        await session.send('{"t":"sub","r":1,"sub":1,"pattern":"-/sys/status/**"}')
        assert '"relay":"-"' in str(await session.recv())
        await world.listen("shop")
        assert b"fanway.listener.online" in str(await session.recv()).encode()
        token = world.token(rule="both", key="both")
        await session.send(json.dumps({"t": "renew", "r": 2, "token": token}))
        assert '"t":"ok"' in str(await session.recv())
        assert '"sub":1' in str(await session.recv())


async def test_nothing_is_kept_before_somebody_follows_and_everything_after(world: World) -> None:
    """So that nothing costs where nobody looks, and a cursor is still honest."""
    realm = world.gateway.context.realms[world.namespace]
    await world.listen("shop")
    assert not realm.remembers(realm.system)
    answer = await world.client.get("/-/events/-/sys/status/**?wait=0", headers=world.auth())
    cursor = answer.headers["fanway-cursor"]
    await world.listen("orders")
    answer = await world.client.get(
        "/-/events/-/sys/status/**", params={"wait": "0", "from": cursor}, headers=world.auth()
    )
    assert [event["fanwayaddress"] for event in answer.json()] == ["-/sys/status/orders"]
    async with following(world, "-/sys/status/**?from=start") as event:
        assert (await event())[1] == "-/sys/status/orders"


async def test_a_gateway_that_stops_says_that_listeners_will_be_back(world: World) -> None:
    """They are told to come again, so they are connecting."""
    from app.closes import DRAINING

    async with following(world) as event:
        await world.listen("hyco")
        assert (await event())[0] == "listener.online"
        for live in list(world.gateway.context.lives):
            if type(live).__name__ == "ControlChannel":
                live.end(DRAINING)
        kind, _, data = await event()
        assert (kind, data["reason"]) == ("listener.connecting", DRAINING.reason)
