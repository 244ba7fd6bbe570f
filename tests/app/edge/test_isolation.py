"""Two namespaces with the same relays, in every respect apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from worlds import KEY, KEY_NAME, World

import fanway
from app.access.sas import make_token
from app.namespace import Namespace
from app.store.settings import RelaySettings

TENANT = "tenant.localhost"


@pytest.fixture
async def tenant(world: World) -> Namespace:
    """A namespace with the relays of the first, whose root rule has the first one's name and another key."""
    registry = world.gateway.registry
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    namespace = registry.find_namespace("tenant")
    assert namespace is not None
    for relay in world.namespace.relays.values():
        await registry.put_relay(namespace, relay.name, RelaySettings.of(relay))
    return namespace


def key_of(namespace: Namespace) -> str:
    return namespace.rules[KEY_NAME.lower()].primary_key


def as_tenant(world: World, namespace: Namespace, path: str = "", host: str = TENANT) -> dict[str, str]:
    """Headers of a call in the tenant's namespace."""
    token = make_token(f"http://{TENANT}/{path}", KEY_NAME, key_of(namespace), int(world.clock()) + 60)
    return {"Host": host, "ServiceBusAuthorization": token}


@pytest.fixture
async def both(world: World, tenant: Namespace) -> AsyncIterator[tuple[fanway.Relay, fanway.Relay]]:
    """A client in each namespace."""
    own = fanway.connect(world.url, key_name=KEY_NAME, key=KEY)
    theirs = fanway.connect(f"http://{TENANT}:{world.port}", key_name=KEY_NAME, key=key_of(tenant))
    async with own, theirs:
        yield own, theirs


def socket(world: World, path: str, headers: dict[str, str], subprotocols: Any = None) -> connect:
    """A WebSocket in the tenant's namespace."""
    token = {name: value for name, value in headers.items() if name != "Host"}
    url = f"ws://{TENANT}:{world.port}{path}"
    return connect(url, additional_headers=token, subprotocols=subprotocols, host="127.0.0.1", port=world.port)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/hyco"),
        ("GET", "/shop/x"),
        ("POST", "/-/events/orders/1"),
        ("GET", "/-/events/orders?wait=0"),
        ("GET", "/-/api/status"),
        ("GET", "/-/api/relays"),
        ("PUT", "/-/api/relays/new"),
        ("DELETE", "/-/api/relays/shop"),
        ("GET", f"/-/api/rules/{KEY_NAME}/keys"),
        ("GET", "/-/api/aliases"),
        ("GET", "/hyco?api-version=2016-07"),
    ],
)
async def test_a_token_of_one_is_refused_at_the_other(world: World, tenant: Namespace, method: str, path: str) -> None:
    """S08"""
    body = {"json": {}} if method == "PUT" else {}
    theirs = as_tenant(world, tenant)
    ours = {"Host": TENANT, **world.auth()}
    azure = {"X-PROCESS-AT": "ServiceBus"} if "api-version" in path else {}
    for headers in (ours, {**theirs, "Host": world.host}):
        answer = await world.client.request(method, path, headers={**headers, **azure}, **body)
        assert answer.status_code == 401, answer.text
    assert "shop" in world.namespace.relays
    assert "shop" in tenant.relays
    assert "new" not in {**tenant.relays, **world.namespace.relays}


async def test_a_signature_is_good_for_neither_name_but_its_own(world: World, tenant: Namespace) -> None:
    """The tenant's key over an audience of the other, and the other way round."""
    for host, key in ((world.host, key_of(tenant)), (TENANT, KEY)):
        token = make_token(f"http://{host}/", KEY_NAME, key, int(world.clock()) + 60)
        for asked in (world.host, TENANT):
            headers = {"Host": asked, "ServiceBusAuthorization": token}
            assert (await world.client.get("/-/api/status", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("path", "subprotocol"),
    [
        ("/$hc/hyco?sb-hc-action=listen", None),
        ("/$hc/open/x?sb-hc-action=listen", None),
        ("/$hc/hyco", None),
        ("/-/events/orders/**", None),
        ("/-/events", "fanway.v1"),
    ],
)
async def test_sockets_refuse_a_token_of_the_other(
    world: World, tenant: Namespace, path: str, subprotocol: str | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await socket(world, path, world.auth(), [subprotocol] if subprotocol else None)
    assert refused.value.response.status_code == 401


async def test_events_and_histories_stay_where_they_were_published(
    world: World, tenant: Namespace, both: tuple[fanway.Relay, fanway.Relay]
) -> None:
    own, theirs = both
    async with own.subscribe("orders/**") as ours, theirs.subscribe("orders/**") as others:
        await ours.ready()
        await others.ready()
        for relay, text in ((own, "ours"), (theirs, "theirs")):
            receipt = await relay.publish("orders/1", text)
            assert receipt.matched == 1
        assert [(await anext(aiter(each))).text for each in (ours, others)] == ["ours", "theirs"]
    for headers, text in ((world.auth(), "ours"), (as_tenant(world, tenant), "theirs")):
        kept = await world.client.get("/-/events/orders/1?wait=0&from=start", headers=headers)
        assert [event["data"] for event in kept.json()] == [text]
    cursor = (await world.client.get("/-/events/orders?wait=0", headers=world.auth())).headers["fanway-cursor"]
    foreign = await world.client.get(f"/-/events/orders?wait=0&from={cursor}", headers=as_tenant(world, tenant))
    assert foreign.json()[0]["data"]["why"] == "epoch", "a cursor of the other means nothing here"


async def test_requests_and_sockets_meet_listeners_of_their_own(
    world: World, tenant: Namespace, both: tuple[fanway.Relay, fanway.Relay]
) -> None:
    own, theirs = both
    for relay, name in ((own, "ours"), (theirs, "theirs")):
        relay.listen("shop")(telling(name))
        relay.listen("shop/chat", sockets=True)(saying(name))
        await relay.listening()
    for relay, name in ((own, "ours"), (theirs, "theirs")):
        for _ in range(4):
            assert (await relay.ask("shop", timeout=10)).text == name
            async with relay.open("shop/chat") as opened:
                assert await opened.recv() == name
    realms = world.gateway.context.realms
    bases = [realms[namespace].roster.choose("shop", "shop") for namespace in (world.namespace, tenant)]
    assert [listener and listener.base for listener in bases] == [world.ws, f"ws://{TENANT}:{world.port}"]


def telling(name: str) -> Any:
    async def answer(request: fanway.Request) -> fanway.Response:
        return fanway.Response(name)

    return answer


def saying(name: str) -> Any:
    async def accept(opened: fanway.Socket) -> None:
        await opened.send(name)

    return accept


async def test_a_listener_of_one_is_nobody_in_the_other(world: World, tenant: Namespace) -> None:
    await world.listen("open")
    answer = await world.client.get("/open", headers={"Host": TENANT})
    assert answer.status_code == 404
    assert "no listeners" in answer.text
    with pytest.raises(InvalidStatus) as refused:
        await socket(world, "/$hc/open", {})
    assert refused.value.response.status_code == 404


async def test_management_sees_its_own_only(world: World, tenant: Namespace) -> None:
    headers = as_tenant(world, tenant)
    await world.listen("hyco")
    await world.client.put("/-/api/relays/theirs", json={}, headers=headers)
    await world.client.put("/-/api/rules/guest", json={"rights": ["Send"]}, headers=headers)
    await world.client.put("/-/api/aliases/tenant.example", headers=headers)
    relays = (await world.client.get("/-/api/relays", headers=headers)).json()["relays"]
    assert {relay["name"] for relay in relays} == {*tenant.relays}
    assert [relay["listenerCount"] for relay in relays if relay["name"] == "hyco"] == [0]
    assert "theirs" not in world.namespace.relays
    assert "guest" not in world.namespace.rules
    assert world.namespace.aliases == {}
    status = (await world.client.get("/-/api/status", headers=headers)).json()
    assert (status["namespace"], status["listeners"]) == ("tenant", 0)
    assert "counters" not in status, "they tell of other namespaces"
    assert "connections" not in status
    whole = (await world.client.get("/-/api/status", headers=world.auth())).json()
    assert whole["listeners"] == 1
    assert whole["counters"]["listeners"] == 1


async def test_a_session_lives_in_the_namespace_of_its_host(world: World, tenant: Namespace) -> None:
    headers = as_tenant(world, tenant)
    async with socket(world, "/-/events", headers, ["fanway.v1"]) as session:
        assert (await heard(session))["namespace"] == "tenant"
        ours = make_token(f"http://{world.host}/", KEY_NAME, KEY, int(world.clock()) + 60)
        await session.send(json.dumps({"t": "renew", "r": 1, "token": ours}))
        assert (await heard(session))["status"] == 401, "nor is it renewed by a token of another"


async def heard(session: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(str(await session.recv()).partition("\n")[0])
    return found


async def test_a_namespace_that_goes_takes_its_own_with_it(
    world: World, tenant: Namespace, both: tuple[fanway.Relay, fanway.Relay]
) -> None:
    own, _ = both
    own.listen("shop")(telling("ours"))
    await own.listening()
    headers = as_tenant(world, tenant)
    async with (
        socket(world, "/$hc/hyco?sb-hc-action=listen", headers) as control,
        socket(world, "/-/events/orders", headers) as subscriber,
    ):
        assert (await world.client.delete("/-/api/namespaces/tenant", headers=world.auth())).status_code == 204
        async with asyncio.timeout(10):
            await control.wait_closed()
            await subscriber.wait_closed()
    assert control.close_code == 1001
    for path in ("/open", "/-/api/status", "/-/events/orders?wait=0"):
        assert (await world.client.get(path, headers=headers)).status_code in (401, 404)
    assert (await own.ask("shop", timeout=10)).text == "ours"
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    again = await world.client.get("/-/api/status", headers=headers)
    assert again.status_code == 401, "one of the same name has other keys"
