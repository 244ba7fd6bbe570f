"""Answers to one-way requests that come at the address in the command: taken, and read past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from wires import until
from worlds import Listener, Request, World, running_gateway

from app.edge.nowhere import Nowhere


def test_a_secret_is_good_for_its_request_and_this_process_only() -> None:
    here = Nowhere()
    secret = here.secret("a")
    assert here.knows("a", secret)
    assert not here.knows("b", secret)
    assert not here.knows("a", "")
    assert not here.knows("", "é")
    assert not Nowhere().knows("a", secret)


async def answering_there(listener: Listener, request: Request, body: bytes, _: ClientConnection) -> None:
    """As SDKs answer with what is large."""
    async with connect(request["address"]) as socket:
        await listener.respond(request, socket, b"x" * 200_000)
        await socket.wait_closed()
    listener.bodies.append(b"%d" % (socket.close_code or 0))


@pytest.mark.parametrize("query", ["&sb-hc-profile=netEvent", "&sb-hc-profile=netOneway", ""])
async def test_a_large_answer_is_taken_and_ended_in_good_order(world: World, query: str) -> None:
    listener = await world.listen("alarms", on_request=answering_there, query=query)
    headers = {**world.auth(), "Prefer": "respond-async"}
    answer = await world.client.post("/alarms", content=b"fire", headers=headers)
    assert answer.status_code == 202
    await until(lambda: listener.bodies == [b"fire", b"1000"])


async def test_an_answer_without_a_body_and_a_broken_one_end_it_too(world: World) -> None:
    listener = await world.listen("alarms", query="&sb-hc-profile=netEvent", on_request=_silent)
    await world.client.post("/alarms", headers=world.auth())
    await until(lambda: bool(listener.requests))
    (request,) = listener.requests
    for status in ("204", "nonsense"):
        async with connect(request["address"]) as socket:
            await listener.respond(request, socket, None, status)
            await socket.wait_closed()
        assert socket.close_code == 1000
    async with connect(request["address"]) as socket:
        await socket.send(json.dumps({"unknown": {}}))
        await socket.send("{")
        await listener.respond(request, socket, b"", 200)
        await socket.wait_closed()
        assert socket.close_code == 1000


async def test_who_says_nothing_is_not_kept(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines={"response_seconds": 0.2}) as world:
        listener = await world.listen("alarms", query="&sb-hc-profile=netEvent", on_request=_silent)
        await world.client.post("/alarms", headers=world.auth())
        await until(lambda: bool(listener.requests))
        async with connect(listener.requests[0]["address"]) as socket:
            await socket.wait_closed()
            assert socket.close_code == 1000


async def test_nobody_else_gets_in(world: World) -> None:
    listener = await world.listen("alarms", query="&sb-hc-profile=netEvent", on_request=_silent)
    await world.client.post("/alarms", headers=world.auth())
    await until(lambda: bool(listener.requests))
    address = listener.requests[0]["address"]
    secret = parse_qs(urlsplit(address).query)["sb-hc-rendezvous"][0]
    for wrong in (address.replace(secret, secret[::-1]), address.replace("sb-hc-id=", "sb-hc-id=0"), address[:-3]):
        with pytest.raises(InvalidStatus) as refusal:
            await connect(wrong)
        assert refusal.value.response.status_code == 403


async def _silent(*_: Any) -> None:
    pass
