"""Host names that lead to an address: everything there but our own doors is relayed below it."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import answering
from worlds import KEY, KEY_NAME, Request, World

from app.access.sas import make_token

HOST = "demo.example"


@pytest.fixture
async def mapped(world: World) -> World:
    """A gateway where demo.example leads to `open`, which asks senders for no token."""
    await world.gateway.registry.put_alias(world.namespace, HOST, "open")
    return world


def token_for(world: World, uri: str) -> dict[str, str]:
    return {"ServiceBusAuthorization": make_token(uri, KEY_NAME, KEY, int(world.clock()) + 60)}


async def get(world: World, path: str, host: str = HOST, **headers: str) -> Any:
    return await world.client.get(path, headers={"Host": host, **headers})


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/open/"),
        ("/x/y?a=1&b=%20", "/open/x/y?a=1&b=%20"),
        ("/open/x", "/open/open/x"),
        ("/a//b/%2E%2e/c", "/open/a//b/%2E%2e/c"),
    ],
)
async def test_a_request_is_relayed_below_the_address(mapped: World, path: str, target: str) -> None:
    listener = await mapped.listen("open", on_request=answering(b"hello"))
    for _ in range(2):  # the second time the head is one that was seen before
        assert (await get(mapped, path)).text == "hello"
        request = listener.requests.pop()
        assert request["requestTarget"] == target
        assert request["requestHeaders"]["Host"] == HOST
        assert request["requestHeaders"]["Fanway-Mount"] == "open"
        assert request["requestHeaders"]["X-Forwarded-Proto"] == "http"


async def test_no_sender_says_for_itself_where_it_is(mapped: World) -> None:
    listener = await mapped.listen("open", on_request=answering(b""))
    """S48"""
    forged = {"Fanway-Mount": "other", "x-forwarded-proto": "https", "X_Forwarded-Proto": "https"}
    await get(mapped, "/", **forged)
    headers = listener.requests[0]["requestHeaders"]
    told = ("fanway-mount", "x-forwarded-proto")
    assert {name: headers[name] for name in headers if name.lower().replace("_", "-") in told} == {
        "Fanway-Mount": "open",
        "X-Forwarded-Proto": "http",
    }
    await get(mapped, "/open", host=mapped.host, **forged)
    headers = listener.requests[1]["requestHeaders"]
    assert "fanway-mount" not in map(str.lower, headers)
    assert headers["x-forwarded-proto"] == "https", "as in Azure, what the sender sent is passed on"


async def test_only_the_true_mark_of_management_leads_away_from_the_address(mapped: World) -> None:
    listener = await mapped.listen("open", on_request=answering(b"hello"))
    headers = {"X-PROCESS-AT": "elsewhere", **mapped.auth()}
    for path in ("/shop", "/?api-version=2016-07", "/$Resources/Relays"):
        assert (await get(mapped, path, **headers)).text == "hello"
    assert [request["requestTarget"] for request in listener.requests] == [
        "/open/shop",
        "/open/?api-version=2016-07",
        "/open/$Resources/Relays",
    ]


async def test_a_native_relay_is_told_the_scheme_on_any_host(world: World) -> None:
    listener = await world.listen("shop", on_request=answering(b""))
    await world.client.get("/shop/x", headers=world.auth() | {"X-Forwarded-Proto": "https"})
    assert listener.requests[0]["requestHeaders"]["X-Forwarded-Proto"] == "http"
    assert "Fanway-Mount" not in listener.requests[0]["requestHeaders"]


def socket(world: World, path: str, **headers: str) -> connect:
    """A WebSocket on the mapped host."""
    return connect(f"ws://{HOST}:{world.port}{path}", additional_headers=headers, host="127.0.0.1", port=world.port)


async def test_an_upgrade_at_any_path_is_a_connect_to_the_address(mapped: World) -> None:
    listener = await mapped.listen("open")
    for path in ("/", "/chat/room?name=x&sb-hc-id=1"):
        async with socket(mapped, path, **{"fanway-mount": "forged"}) as ours:
            await ours.send("hello")
            assert await ours.recv() == "hello"
    root, room = listener.accepts
    assert "/$hc/open/?sb-hc-action=accept" in root["address"]
    assert "/$hc/open/chat/room?name=x&sb-hc-action=accept" in room["address"]
    assert room["address"].startswith(f"ws://{mapped.host}/"), "where the listener came from, not the sender"
    assert room["connectHeaders"]["Fanway-Mount"] == "open"
    assert room["connectHeaders"]["X-Forwarded-Proto"] == "http"
    assert "forged" not in room["connectHeaders"].values()


async def test_only_senders_come_by_a_mapped_path(mapped: World) -> None:
    for query in ("sb-hc-action=listen", "sb-hc-action=accept&sb-hc-rendezvous=x"):
        with pytest.raises(InvalidStatus) as refused:
            await socket(mapped, f"/x?{query}", **mapped.auth())
        assert refused.value.response.status_code == 400


async def test_our_own_doors_and_azures_are_there_too(mapped: World) -> None:
    async def accept(request: Request) -> None:
        async with connect(request["address"].replace(HOST, "127.0.0.1"), additional_headers={}) as ours:
            await ours.send("joined")

    listener = mapped.listen("open", on_accept=accept)
    await listener
    async with socket(mapped, "/$hc/open?sb-hc-action=connect") as ours:
        assert await ours.recv() == "joined"
    assert (await get(mapped, "/-/health/live")).status_code == 200
    everything = token_for(mapped, f"http://{mapped.host}/")
    assert (await get(mapped, "/-/events/orders?wait=0", **everything)).json() == []
    assert (await get(mapped, "/-/nothing")).status_code == 404


async def test_a_token_for_a_mapped_host_reaches_its_address_and_no_more(world: World) -> None:
    await world.gateway.registry.put_alias(world.namespace, HOST, "shop")
    await world.listen("shop", on_request=answering(b"hello"))
    for uri in (f"http://{HOST}/", f"sb://{HOST}:443/x", f"http://{HOST}/shop", f"http://{world.host}/shop/x"):
        assert (await get(world, "/x", **token_for(world, uri))).text == "hello", uri
    assert (await get(world, "/y", **token_for(world, f"http://{HOST}/x"))).status_code == 401
    whole = token_for(world, f"http://{HOST}/")
    assert (await world.client.get("/shop/x", headers=whole)).text == "hello", "audiences know no host of their own"
    assert (await world.client.get("/hyco", headers=whole)).status_code == 401
    assert (await world.client.get("/-/api/status", headers=whole)).status_code == 403
    assert (await get(world, "/-/events/orders?wait=0", **whole)).status_code == 401


async def test_an_alias_that_is_taken_away_leads_nowhere_and_its_tokens_with_it(mapped: World) -> None:
    await mapped.listen("open", on_request=answering(b"hello"))
    await mapped.gateway.registry.put_alias(mapped.namespace, "further.example", "shop")  # so that names count
    await mapped.gateway.registry.ensure_namespace("other", next(iter(mapped.namespace.rules.values())))
    token = token_for(mapped, f"http://{HOST}/")
    assert (await get(mapped, "/")).status_code == 200
    assert (await get(mapped, "/orders/x", host=mapped.host, **token)).status_code == 401
    assert (await get(mapped, "/hyco", host=mapped.host, **token)).status_code == 401
    await mapped.gateway.registry.put_alias(mapped.namespace, HOST, "hyco")
    assert (await get(mapped, "/", **token)).status_code == 404, "nobody listens there"
    await mapped.gateway.registry.delete_alias(mapped.namespace, HOST)
    assert (await get(mapped, "/")).status_code == 404
    assert (await get(mapped, "/hyco", host=mapped.host, **token)).status_code == 401
