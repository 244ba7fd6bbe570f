"""Which listener gets a call: fair among equals, narrowed by the sender's filter, bounded by the quota."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from wires import ask, upgrade_head
from worlds import World, running_gateway

from app.config import Limits

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"


async def test_requests_on_one_connection_reach_both_of_two_listeners(world: World) -> None:
    first, second = await world.listen("hyco"), await world.listen("hyco")
    for _ in range(40):
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
    assert len(first.requests) + len(second.requests) == 40
    assert first.requests
    assert second.requests


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("Microsoft-Relay-AllowedListeners", ONE, 0),
        ("Microsoft-Relay-AllowedListeners", f"{TWO.upper()}, 33333333-3333-4333-8333-333333333333", 1),
        ("Microsoft-Relay-DisallowedListeners", ONE, 1),
    ],
)
async def test_a_filter_names_the_listeners_that_may_be_chosen(
    world: World, name: str, value: str, chosen: int
) -> None:
    listeners = [await world.listen("hyco", query=f"&sb-hc-id={guid}_suffix") for guid in (ONE, TWO)]
    for _ in range(10):
        assert (await world.client.get("/hyco", headers={**world.auth(), name: value})).status_code == 200
    async with world.connect("hyco", additional_headers={**world.auth(), name: value}) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    assert len(listeners[chosen].requests) == 10
    assert len(listeners[chosen].accepts) == 1
    assert not listeners[1 - chosen].requests
    assert name not in listeners[chosen].requests[0]["requestHeaders"]


async def test_a_filter_that_no_listener_meets_is_told_apart_from_no_listener(world: World) -> None:
    filtered = {**world.auth(), "Microsoft-Relay-AllowedListeners": ONE}
    answer = await world.client.get("/hyco", headers=filtered)
    assert (answer.status_code, "no listeners connected" in answer.text) == (404, True)
    await world.listen("hyco", query=f"&sb-hc-id={TWO}")
    answer = await world.client.get("/hyco", headers=filtered)
    assert answer.status_code == 404
    assert "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria" in answer.text


async def test_one_listener_more_than_the_quota_is_refused_until_one_leaves(tmp_path: Path) -> None:
    """C12"""
    async with running_gateway(tmp_path, limits=Limits(listeners=2)) as world:
        first = await world.listen("hyco")
        await world.listen("hyco")
        with pytest.raises(InvalidStatus) as refused:
            await world.listen("hyco")
        assert refused.value.response.status_code == 403
        assert "TrackingId" in refused.value.response.reason_phrase
        await first.socket.close()
        await world.listen("hyco")


HEADER, QUERY = "header", "query"


@pytest.mark.parametrize("by", [HEADER, QUERY])
@pytest.mark.parametrize("path", ["hyco", "shop/price"])
async def test_a_sender_reaches_the_one_listener_that_it_names(world: World, path: str, by: str) -> None:
    """Whatever the listeners were told by: the name is not passed on."""
    listeners = [
        await world.listen(path, query="&sb-hc-instance=oslo-1"),
        await world.listen(path, headers={**world.auth(), "Fanway-Instance": "bergen"}),
        await world.listen(path),
    ]
    for name, listener in (("oslo-1", listeners[0]), ("bergen", listeners[1])):
        headers = {**world.auth(), **({"Fanway-Instance": name} if by == HEADER else {})}
        query = f"?a=1&sb-hc-instance={name}" if by == QUERY else "?a=1"
        for _ in range(10):
            assert (await world.client.get(f"/{path}{query}", headers=headers)).status_code == 200
        assert len(listener.requests) == 10
        assert listener.requests[0]["requestTarget"] == f"/{path}?a=1"
        assert "Fanway-Instance" not in listener.requests[0]["requestHeaders"]
        async with world.connect(f"{path}{query}", additional_headers=headers) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        assert len(listener.accepts) == 1
        assert "sb-hc-instance" not in listener.accepts[0]["address"]
        assert "Fanway-Instance" not in listener.accepts[0]["connectHeaders"]
    assert not listeners[2].requests


async def test_a_name_that_nobody_has_there_is_told_apart_from_no_listener(world: World) -> None:
    """Names compare exactly, and only those at the longest prefix are looked at."""
    named = {**world.auth(), "Fanway-Instance": "oslo"}
    answer = await world.client.get("/shop/price", headers=named)
    assert (answer.status_code, "no listeners connected" in answer.text) == (404, True)
    await world.listen("shop", query="&sb-hc-instance=oslo")
    assert (await world.client.get("/shop/price", headers=named)).status_code == 200
    await world.listen("shop/price", query="&sb-hc-instance=Oslo")
    answer = await world.client.get("/shop/price", headers=named)
    assert (answer.status_code, "is the instance &apos;oslo&apos;" in answer.text.replace("'", "&apos;")) == (404, True)
    with pytest.raises(InvalidStatus) as refused:
        await world.connect("shop/price", additional_headers=named)
    assert refused.value.response.status_code == 404
    assert "is the instance 'oslo'" in refused.value.response.reason_phrase


async def test_several_of_one_name_share_its_calls_and_a_filter_narrows_them(world: World) -> None:
    listeners = [await world.listen("hyco", query=f"&sb-hc-instance=oslo&sb-hc-id={id}") for id in (ONE, TWO)]
    other = await world.listen("hyco")
    named = {**world.auth(), "Fanway-Instance": "oslo"}
    for _ in range(40):
        assert (await world.client.get("/hyco", headers=named)).status_code == 200
    assert sum(len(listener.requests) for listener in listeners) == 40
    assert all(listener.requests for listener in listeners)
    assert not other.requests
    one = {**named, "Microsoft-Relay-AllowedListeners": ONE}
    before = len(listeners[0].requests)
    for _ in range(5):
        assert (await world.client.get("/hyco", headers=one)).status_code == 200
    assert len(listeners[0].requests) == before + 5


@pytest.mark.parametrize("name", ["a/b", "a b", "*", "x" * 65, ""])
async def test_what_is_no_name_is_refused_to_listeners_and_to_senders(world: World, name: str) -> None:
    await world.listen("hyco")
    token = f"ServiceBusAuthorization: {world.token()}"
    wires = [await ask(world, "/hyco", token, f"Fanway-Instance: {name}")]
    for action in ("listen", "connect"):
        wires.append(await world.raw())
        path = f"/$hc/hyco?sb-hc-action={action}"
        await wires[-1].send(upgrade_head(world, path, f"Fanway-Instance: {name}"))
    for wire in wires:
        assert "400 An instance name is 1 to 64 of the characters" in (await wire.head())
