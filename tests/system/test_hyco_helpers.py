"""The URIs and tokens that the helpers of hyco-ws and hyco-https make."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from programs import StartNode
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from worlds import World

ID = str(uuid.UUID(int=7))


@pytest.fixture
async def uris(world: World, node: StartNode) -> dict[str, str]:
    """By name; the port 443, which the helpers write down whatever the namespace, is replaced by the gateway's."""
    made = await (await node("helper_uris", host="127.0.0.1", path="hyco", id=ID)).expect("uris")

    def here(value: Any) -> str:
        return str(value).replace("wss://127.0.0.1:443", world.ws).replace("https://127.0.0.1", world.url)

    return {name: here(value) for name, value in made.items()}


@pytest.mark.parametrize("name", ["send", "appended", "bare"])
async def test_a_sender_gets_through_with_a_token_in_the_query(world: World, uris: dict[str, str], name: str) -> None:
    """P12: `bare` is `?null&sb-hc-token=...`, which names no action and so means connect."""
    listener = await world.listen("hyco", headers=world.auth())
    async with connect(uris[name]) as sender:
        await sender.send("hello")
        assert await sender.recv() == "hello"
    [accept] = listener.accepts
    assert "sb-hc-token" not in accept["address"]
    assert "SharedAccessSignature" not in str(accept)
    if name == "send":
        assert accept["id"].startswith(ID)


async def test_a_listener_registers_with_a_token_in_the_query(world: World, uris: dict[str, str]) -> None:
    async with connect(uris["listen"]) as channel:
        assert channel.response.status_code == 101
        assert world.gateway.counts(world.namespace, world.namespace.relays["hyco"]) == (1, 0)


async def test_a_request_gets_through_with_a_token_in_the_query(world: World, uris: dict[str, str]) -> None:
    listener = await world.listen("hyco")
    assert (await world.client.get(uris["request"])).status_code == 200
    assert listener.requests[0]["requestTarget"] == "/hyco"


async def test_the_helper_that_writes_two_question_marks_carries_no_token(world: World, uris: dict[str, str]) -> None:
    """P12: hyco-https's `appendRelayToken` makes `?null?sb-hc-token=...` of a URI without a query."""
    await world.listen("hyco")
    assert "?null?sb-hc-token=" in uris["broken"]
    assert (await world.client.get(uris["broken"])).status_code == 401


async def test_a_token_for_the_whole_namespace_opens_a_relay(world: World, uris: dict[str, str]) -> None:
    await world.listen("hyco")
    headers = {"ServiceBusAuthorization": uris["namespace"]}
    assert (await world.client.get("/hyco", headers=headers)).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{world.ws}/$hc/hyco?sb-hc-action=listen", additional_headers={"ServiceBusAuthorization": "no"})
    assert refused.value.response.status_code == 401
