"""The `websockets` library as listener and sender, written from the published protocol guide."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from programs import Door
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.protocol import State
from worlds import KEY, KEY_NAME, Listener, Request, World, rejection

MEGABYTE = 1 << 20


def sas_token(uri: str, rule: str = KEY_NAME, key: str = KEY, seconds: int = 3600) -> str:
    """A token as the documentation's Python sample makes it."""
    resource = quote(uri, safe="")
    expiry = str(int(time.time() + seconds))
    mac = hmac.new(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    signature = quote(base64.b64encode(mac.digest()))
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={rule}"


def wire(door: Door, action: str, path: str = "hyco") -> connect:
    """A socket with its token in the query, as the guide's plain-WebSocket form has it."""
    token = quote(sas_token(f"http://{door.ws.partition('://')[2]}/{path}"), safe="")
    url = f"{door.ws}/$hc/{path}?sb-hc-action={action}&sb-hc-token={token}"
    return connect(url, ssl=door.world.tls() if door.world.ca else None, max_size=None)


async def echo_one(channel: ClientConnection, door: Door) -> Request:
    """Accept the next sender and echo it until it closes; what the `accept` said."""
    command: Request = json.loads(await channel.recv())["accept"]
    ssl = door.world.tls() if command["address"].startswith("wss:") else None
    async with connect(command["address"], ssl=ssl, max_size=None) as socket:
        async for message in socket:
            await socket.send(message)
    return command


async def test_a_listener_and_a_sender_meet_over_both_doors(door: Door) -> None:
    """P16: types and borders, with the token in the query."""
    async with wire(door, "listen") as channel:
        serving = asyncio.create_task(echo_one(channel, door))
        async with wire(door, "connect") as sender:
            for message in ("text", b"binary", "", b"", "ü" * 1000, bytes(MEGABYTE), "x" * MEGABYTE):
                await sender.send(message)
                assert await sender.recv() == message
        accept = await serving
    assert accept["address"].startswith(door.ws + "/$hc/hyco?")
    assert "sb-hc-action=accept" in accept["address"]
    assert set(accept) == {"address", "id", "connectHeaders", "remoteEndpoint"}
    assert "sb-hc-token" not in accept["address"]


async def test_a_fifty_megabyte_message_in_fragments_arrives_as_one_message(world: World) -> None:
    """P16: fragments in, one message out."""
    await world.listen("hyco")
    piece = bytes(range(256)) * 4096

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield piece

    async with world.connect("hyco") as sender:
        sending = asyncio.create_task(sender.send(pieces()))
        assert await sender.recv() == piece * 50
        await sending


async def test_a_hundred_senders_meet_the_listener_at_once(world: World) -> None:
    listener = await world.listen("hyco")

    async def exchange(number: int) -> None:
        async with world.connect(f"hyco/{number}") as sender:
            await sender.send(f"I am {number}")
            assert await sender.recv() == f"I am {number}"

    await asyncio.gather(*(exchange(number) for number in range(100)))
    assert len({accept["id"] for accept in listener.accepts}) == 100


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "From Test Code"), (3000, "ü"), (4999, "x" * 123)])
async def test_close_codes_and_reasons_pass_verbatim_from_the_sender(world: World, code: int, reason: str) -> None:
    closed: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def accept(command: Request) -> None:
        async with connect(command["address"]) as socket:
            await socket.wait_closed()
            closed.set_result((socket.close_code, socket.close_reason))

    await world.listen("hyco", on_accept=accept)
    sender = await world.connect("hyco")
    await sender.close(code, reason)
    assert (sender.close_code, sender.close_reason) == (code, reason)
    assert await closed == (code, reason)


async def test_close_codes_and_reasons_pass_verbatim_from_the_listener(world: World) -> None:
    async def accept(command: Request) -> None:
        socket = await connect(command["address"])
        await socket.recv()
        await socket.send("last words")
        await socket.close(4321, "enough")

    await world.listen("hyco", on_accept=accept)
    async with world.connect("hyco") as sender:
        await sender.send("go on")
        assert await sender.recv() == "last words"
        with pytest.raises(ConnectionClosedError) as closed:
            await sender.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "enough")


@pytest.mark.parametrize("who", ["listener", "sender"])
async def test_an_abort_on_one_side_is_an_abort_on_the_other(world: World, who: str) -> None:
    arrived: asyncio.Queue[ClientConnection] = asyncio.Queue()

    async def accept(command: Request) -> None:
        socket = await connect(command["address"])
        arrived.put_nowait(socket)
        await socket.wait_closed()

    await world.listen("hyco", on_accept=accept)
    sender = await world.connect("hyco")
    listener = await arrived.get()
    dying, other = (listener, sender) if who == "listener" else (sender, listener)
    dying.transport.abort()
    with pytest.raises(ConnectionClosedError) as closed:
        await other.recv()
    assert closed.value.rcvd is None  # no Close frame came


async def test_the_listener_chooses_among_the_sub_protocols_and_both_sides_learn_it(world: World) -> None:
    """P17: the choice need not be the first offer."""
    chosen: list[Any] = []

    async def accept(command: Request) -> None:
        offered = command["connectHeaders"]["Sec-WebSocket-Protocol"]
        chosen.append(offered)
        second: Any = offered.split(", ")[1]
        async with connect(command["address"], subprotocols=[second]) as socket:
            chosen.append(socket.subprotocol)
            await socket.wait_closed()

    await world.listen("hyco", on_accept=accept)
    offers: Any = ["first", "second"]
    async with world.connect("hyco", subprotocols=offers) as sender:
        assert sender.subprotocol == "second"
    assert chosen == ["first, second", "second"]


async def test_without_a_choice_by_the_listener_neither_side_gets_a_sub_protocol(world: World) -> None:
    """P17: nothing is made up."""
    await world.listen("hyco")
    offers: Any = ["first"]
    async with world.connect("hyco", subprotocols=offers) as sender:
        assert sender.subprotocol is None


async def test_no_extension_is_negotiated_with_anyone(world: World) -> None:
    """P17: the library offers compression to both. (C09, C15)"""
    listener = await world.listen("hyco")
    async with world.connect("hyco") as sender:
        assert "permessage-deflate" in sender.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in sender.response.headers
    assert "Sec-WebSocket-Extensions" not in listener.socket.response.headers


@pytest.mark.parametrize("spelling", ["documented", "node"])
async def test_a_rejection_reaches_the_sender_verbatim_and_the_listener_gets_410(world: World, spelling: str) -> None:
    """P06: in both spellings of the parameters."""
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def reject(command: Request) -> None:
        url = (
            rejection(command["address"], 451, "Not in this country")
            if spelling == "documented"
            else f"{command['address']}&statusCode=451&statusDescription={quote('Not in this country')}"
        )
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
        answer.set_result(refused.value.response.status_code)

    await world.listen("hyco", on_accept=reject)
    with pytest.raises(InvalidStatus) as refused:
        await world.connect("hyco")
    response = refused.value.response
    assert (response.status_code, response.reason_phrase) == (451, "Not in this country")
    assert await answer == 410


async def test_a_rendezvous_url_works_once(world: World) -> None:
    """P05: the second use is 403, the first goes on."""
    addresses: list[str] = []

    async def accept(command: Request) -> None:
        addresses.append(command["address"])
        async with connect(command["address"]) as socket:
            await socket.wait_closed()

    await world.listen("hyco", on_accept=accept)
    async with world.connect("hyco") as sender:
        with pytest.raises(InvalidStatus) as refused:
            await connect(addresses[0])
        assert refused.value.response.status_code == 403
        assert sender.state is State.OPEN


async def test_a_renewed_token_keeps_the_channel_and_a_bad_one_closes_it_with_1008(world: World) -> None:
    """P13: by the command of the guide."""
    listener: Listener = await world.listen("hyco")
    await listener.socket.send(json.dumps({"renewToken": {"token": world.token("hyco")}}))
    async with world.connect("hyco") as sender:
        await sender.send("still here")
        assert await sender.recv() == "still here"
    await listener.socket.send(json.dumps({"renewToken": {"token": world.token("hyco", key="wrong")}}))
    code, reason = await listener.closed()
    assert code == 1008
    assert reason


async def test_unknown_commands_of_a_listener_are_passed_over(world: World) -> None:
    """The documentation's Python sender connects with `listen` by mistake and sends its messages there."""
    listener = await world.listen("hyco")
    for nonsense in ('{"message": "hello"}', "not JSON", "[]", '{"response": {"requestId": "unknown"}}', b"\x00"):
        await listener.socket.send(nonsense)
    async with world.connect("hyco") as sender:
        await sender.send("still here")
        assert await sender.recv() == "still here"


async def test_events_reach_bare_sockets_as_they_were_published(door: Door) -> None:
    ssl = door.world.tls() if door.world.ca else None
    url, headers = f"{door.ws}/-/events/orders/eu/7", door.world.auth()
    async with (
        connect(url, additional_headers=headers, ssl=ssl) as subscriber,
        connect(f"{url}?mode=publish", additional_headers=headers, ssl=ssl) as publisher,
    ):
        for message in ("text", b"binary", '{"total": 42}', "ü"):
            await publisher.send(message)
            assert await subscriber.recv() == message


async def test_a_socket_in_both_modes_hears_itself_and_others(world: World) -> None:
    url = f"{world.ws}/-/events/orders/room?mode=both"
    async with (
        connect(url, additional_headers=world.auth()) as one,
        connect(url, additional_headers=world.auth()) as other,
    ):
        await one.send("from one")
        assert [await one.recv(), await other.recv()] == ["from one", "from one"]
        await other.send("from other")
        assert [await one.recv(), await other.recv()] == ["from other", "from other"]


async def test_the_end_of_a_listener_does_not_touch_its_sockets_in_use(world: World) -> None:
    listener = await world.listen("hyco")
    async with world.connect("hyco") as sender:
        await sender.send("before")
        assert await sender.recv() == "before"
        await listener.socket.close()
        await sender.send("after")
        assert await sender.recv() == "after"
    with pytest.raises(InvalidStatus) as refused:
        await world.connect("hyco")
    assert refused.value.response.status_code == 404
    with pytest.raises(ConnectionClosed):
        await listener.socket.recv()
