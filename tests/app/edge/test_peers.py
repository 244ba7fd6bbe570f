"""Network rules at every data-plane door, on live connections, and behind a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from subscribers import session, socket, sse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.namespace import IpRule, NetworkRules
from app.store.settings import NamespaceSettings

ELSEWHERE = NetworkRules(default_action="Deny", ip_rules=(IpRule("10.9.0.0/16"),))
HERE = NetworkRules(default_action="Deny", ip_rules=(IpRule("127.0.0.0/8"),))


async def rule(world: World, network: NetworkRules) -> None:
    settings = replace(NamespaceSettings.of(world.namespace), network=network)
    await world.gateway.registry.put_namespace(world.namespace, settings)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as running:
        yield running


async def statuses(world: World, **headers: str) -> list[int]:
    """Publish, subscribe, ask, ticket, Atom; then open, listen, events and session as WebSockets."""
    auth = {**world.auth(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    get, post = world.client.get, world.client.post
    found = [
        (await post("/-/events/orders/a", headers=auth, content=b"x")).status_code,
        (await get("/-/events/orders/a?wait=0", headers=auth)).status_code,
        (await get("/hyco", headers=auth)).status_code,
        (await post("/-/tickets", headers=auth)).status_code,
        (await get("/hyco", headers={**auth, "X-Process-At": "ServiceBus"})).status_code,
    ]
    for opening in (
        world.connect("hyco", additional_headers=auth),
        world.connect("shop/x?sb-hc-action=listen", additional_headers=auth),
        socket(world, "orders/**", additional_headers=auth),
        socket(world, "", additional_headers=auth, subprotocols=["fanway.v1"]),
    ):
        try:
            async with opening:
                found.append(101)
        except InvalidStatus as refused:
            found.append(refused.response.status_code)
    return found


async def test_who_is_not_admitted_gets_401_at_every_door_and_no_word_of_the_rules(world: World) -> None:
    """S23."""
    await rule(world, ELSEWHERE)
    assert await statuses(world) == [401] * 9
    answer = await world.client.get("/hyco", headers=world.auth())
    assert "Unauthorized access." in answer.text
    assert "TrackingId:" in answer.text
    for word in ("IP", "address", "rule", "network"):
        assert word not in answer.text
    assert (await world.client.get("/-/api/relays", headers=world.auth())).status_code == 200, "who sets them may"
    assert (await world.client.get("/-/health/ready")).status_code == 200
    await rule(world, HERE)
    assert await statuses(world) == [202, 200, 404, 201, 200, 404, 101, 101, 101]


async def test_what_a_stranger_says_of_himself_is_not_believed(world: World) -> None:
    """S23."""
    await rule(world, ELSEWHERE)
    assert await statuses(world, X_Forwarded_For="10.9.0.1", Forwarded="for=10.9.0.1") == [401] * 9


async def test_behind_a_trusted_proxy_the_client_is_judged(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, trusted_proxies=("127.0.0.1",)) as world:
        await rule(world, ELSEWHERE)
        assert await statuses(world) == [401] * 9
        assert await statuses(world, X_Forwarded_For="10.9.0.1, 10.8.0.1") == [401] * 9
        admitted = [202, 200, 404, 201, 200, 404, 101, 101, 101]
        assert await statuses(world, X_Forwarded_For="10.8.0.1, 10.9.0.1") == admitted
        assert await statuses(world, X_Forwarded_For="::ffff:10.9.0.1") == admitted
        async with sse(world, "orders/**", **{"X-Forwarded-For": "10.9.0.1"}) as stream:
            await stream.block()
            await rule(world, replace(ELSEWHERE, ip_rules=(IpRule("10.9.0.0/24"),)))
            assert (await world.client.get("/hyco", headers=world.auth())).status_code == 401
            await rule(world, HERE)
            assert (await stream.block()).event == "bye"


async def test_live_connections_are_judged_again_when_the_rules_change(world: World) -> None:
    async with AsyncExitStack() as stack:
        listener = await world.listen("hyco")
        joined = await stack.enter_async_context(world.connect("hyco"))
        await joined.send("hello")
        assert await joined.recv() == "hello"
        events = await stack.enter_async_context(sse(world, "orders/**"))
        await events.block()
        bare = await stack.enter_async_context(socket(world, "orders/**"))
        peer = await stack.enter_async_context(session(world))
        await rule(world, HERE)
        await joined.send("still here")
        assert await joined.recv() == "still here"
        await rule(world, ELSEWHERE)
        assert (await listener.closed())[0] == 1008
        for websocket in (joined, bare, peer.websocket):
            await websocket.wait_closed()
            assert websocket.close_code == 1008
        assert (await events.block()).event == "bye"
        assert not world.gateway.context.lives


async def test_a_namespaces_rules_are_its_own(world: World) -> None:
    answer = await world.client.put("/-/api/namespaces/other", headers=world.auth(), json={})
    assert answer.status_code == 201
    other = world.gateway.registry.find_namespace("other")
    assert other is not None
    settings = replace(NamespaceSettings.of(other), network=ELSEWHERE)
    await world.gateway.registry.put_namespace(other, settings)
    assert await statuses(world) == [202, 200, 404, 201, 200, 404, 101, 101, 101]
    assert (await world.client.get("/hyco", headers={"Host": "other.localhost"})).status_code == 401


async def test_a_listener_comes_to_a_rendezvous_by_the_rules_of_the_senders_namespace(world: World) -> None:
    """The address holds all that is asked for, so another namespace's host would lead there as well."""
    answer = await world.client.put("/-/api/namespaces/other", headers=world.auth(), json={})
    assert answer.status_code == 201
    accepts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    await world.listen("hyco", on_accept=accepts.put)
    await rule(world, replace(ELSEWHERE, ip_rules=(IpRule("127.0.0.1"),)))
    sender = asyncio.ensure_future(world.connect("hyco").__aenter__())
    address = (await accepts.get())["address"]
    for host in (world.host, f"other.localhost:{world.port}"):
        url = address.replace(world.host, host)
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, host="127.0.0.1", port=world.port, local_addr=("127.0.0.2", 0))
        assert refused.value.response.status_code == 401
    async with connect(address.replace(world.host, f"other.localhost:{world.port}"), host="127.0.0.1", port=world.port):
        joined = await sender
        await joined.close()
