"""A `net.tcp` session and its listener's WebSocket: every way it passes bytes, and every way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import quote

import pytest
from nettcp_peers import END, Client, preamble
from wires import close_frame, closed, frame, masked, until, upgraded
from worlds import Request, Wire, World, running_gateway

from app.config import Deadlines
from app.edge.streams import StreamListener
from app.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WHOLE_FRAME_BYTES
from app.wire.nettcp.records import Kind, Record, encode_record

RELAYS = [
    {"name": "calc", "profile": "netTcp", "requiresClientAuthorization": False},
    {"name": "guarded", "profile": "netTcp", "rules": [{"name": "guest", "rights": ["Send"], "primaryKey": "one-key"}]},
]
ACK = encode_record(Record(Kind.PREAMBLE_ACK))
MESSAGE = Record(Kind.SIZED_ENVELOPE, b"message")


class Session(NamedTuple):
    """Both ends: a client, acknowledged, and the listener's raw wire."""

    client: Client
    listener: Wire


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    deadlines = Deadlines(half_close_seconds=1, drain_seconds=0.1, close_seconds=1)
    async with running_gateway(tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0", deadlines=deadlines) as running:
        yield running


@pytest.fixture
async def tls_world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, nettcp_tls_listen="127.0.0.1:0", tls=True) as running:
        yield running


async def begun(world: World, address: str = "calc", query: str = "") -> Session:
    met: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        met.set_result(await upgraded(world, accept["address"].removeprefix(world.ws)))

    control = await world.listen(address, on_accept=on_accept)
    client = await Client.connect(world, world.nettcp_tls_port, world.tls() if world.nettcp_tls_port else None)
    via = f"net.tcp://localhost/{address}"
    await client.write(preamble(via + query))
    async with asyncio.timeout(10):
        listener = await met
    assert await frame(listener) == (BINARY, True, preamble(via))
    await listener.send(masked(BINARY, ACK))
    assert await client.receive() == Record(Kind.PREAMBLE_ACK)
    await control.socket.close()
    return Session(client, listener)


async def over(world: World) -> None:
    """Nothing of a session stays behind."""
    context = world.gateway.context
    await until(lambda: not context.lives and context.connections <= 1)
    assert not context.stalled
    assert not context.rendezvous


async def test_bytes_come_as_binary_messages_and_go_whatever_the_messages_are(world: World) -> None:
    client, listener = await begun(world)
    await client.send(MESSAGE)
    assert await frame(listener) == (BINARY, True, encode_record(MESSAGE))
    data = encode_record(MESSAGE)
    await listener.send(masked(TEXT, data[:2], False) + masked(CONTINUATION, data[2:5]) + masked(BINARY, data[5:]))
    assert await client.receive() == MESSAGE


async def test_a_listeners_ping_is_answered_between_the_bytes(world: World) -> None:
    client, listener = await begun(world)
    await listener.send(masked(PING, b"?") + masked(BINARY, encode_record(MESSAGE)))
    assert await frame(listener) == (PONG, True, b"?")
    assert await client.receive() == MESSAGE


async def test_a_listener_that_does_not_read_stops_the_client_and_nothing_piles_up(world: World) -> None:
    client, listener = await begun(world)
    incoming = cast(asyncio.Transport, listener.writer.transport)
    incoming.pause_reading()
    piece, count = bytes(1 << 20), 96
    written = 0

    async def flood() -> None:
        nonlocal written
        for _ in range(count):
            await client.write(piece)
            written += 1

    context = world.gateway.context
    flooding = asyncio.create_task(flood())
    await until(lambda: context.stalled == 1)
    [side] = [live for live in context.lives if isinstance(live, StreamListener)]
    assert side.outflow.backlog() < 2 << 20
    assert written < count
    incoming.resume_reading()
    total = 0
    while total < count * len(piece):
        opcode, _, payload = await frame(listener)
        assert opcode == BINARY
        assert len(payload) <= WHOLE_FRAME_BYTES  # some clients take no larger frames
        total += len(payload)
    await flooding
    assert total == count * len(piece)


async def test_the_end_of_both_directions_ends_both_connections(world: World) -> None:
    client, listener = await begun(world)
    await client.send(MESSAGE, END)
    assert (await frame(listener))[2] == encode_record(MESSAGE) + encode_record(END)
    await listener.send(masked(BINARY, encode_record(END)))
    assert await client.receive() == END
    assert await client.receive() is None
    assert await closed(listener) == (1000, "")
    await over(world)


async def test_the_end_of_one_direction_ends_nothing(world: World) -> None:
    client, listener = await begun(world)
    await client.send(END)
    assert (await frame(listener))[2] == encode_record(END)
    for _ in range(3):
        await listener.send(masked(BINARY, encode_record(MESSAGE)))
        assert await client.receive() == MESSAGE


async def test_a_fin_is_a_close_and_the_other_way_round(world: World) -> None:
    client, listener = await begun(world)
    client.end()
    assert (await frame(listener))[:2] == (CLOSE, True)
    await listener.send(masked(BINARY, encode_record(MESSAGE)) + close_frame(1000))
    assert await client.receive() == MESSAGE
    assert await client.receive() is None
    assert await listener.rest() == b""
    await over(world)


async def test_a_listener_that_says_close_first_still_receives(world: World) -> None:
    client, listener = await begun(world)
    await listener.send(close_frame(1000))
    assert await client.receive() is None
    await client.send(MESSAGE)
    assert (await frame(listener))[2] == encode_record(MESSAGE)
    client.end()
    assert (await frame(listener))[0] == CLOSE
    await over(world)


async def test_one_that_never_ends_after_the_other_is_cut(world: World) -> None:
    client, listener = await begun(world)
    client.end()
    assert (await frame(listener))[0] == CLOSE
    assert await listener.rest() == b""
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await over(world)


async def test_a_client_that_is_lost_is_a_socket_lost_without_a_close(world: World) -> None:
    client, listener = await begun(world)
    client.abort()
    assert await listener.rest() == b""
    await over(world)


async def test_a_listener_that_is_lost_resets_the_client(world: World) -> None:
    client, listener = await begun(world)
    listener.abort()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await over(world)


async def test_a_listener_that_fails_or_breaks_the_protocol_resets_the_client(world: World) -> None:
    for data in close_frame(1011, "it failed"), b"\xff" * 20:
        client, listener = await begun(world)
        await listener.send(data)
        with pytest.raises(ConnectionResetError):
            await client.rest()
    await until(lambda: not world.gateway.context.lives)


async def test_a_session_ends_when_its_relay_goes(world: World) -> None:
    client, listener = await begun(world)
    await world.client.delete("/-/api/relays/calc", headers=world.auth())
    assert await client.rest() == b""
    assert (await closed(listener))[0] == 1001
    await over(world)


async def test_a_session_ends_when_its_key_is_gone_and_stays_when_its_token_expires(world: World) -> None:
    token = quote(world.token("guarded", rule="guest", key="one-key"), safe="")
    client, listener = await begun(world, "guarded", f"?sb-hc-token={token}")
    world.clock.offset += 10_000
    await client.send(MESSAGE)
    assert (await frame(listener))[2] == encode_record(MESSAGE)
    answer = await world.client.delete("/-/api/rules/guest?relay=guarded", headers=world.auth())
    assert answer.status_code < 300, answer.text
    assert await client.rest() == b""
    assert (await closed(listener))[0] == 1008
    await over(world)


async def test_a_draining_gateway_ends_sessions_in_good_order(world: World) -> None:
    client, listener = await begun(world)
    stopping = asyncio.create_task(world.gateway.stop())
    assert await client.rest() == b""
    assert (await closed(listener))[0] == 1012
    await stopping


async def test_the_end_of_a_client_inside_tls_is_a_close(tls_world: World) -> None:
    """TLS has no half-close here: what ends, ends both directions."""
    client, listener = await begun(tls_world)
    await client.send(MESSAGE)
    client.writer.close()
    assert (await frame(listener))[2] == encode_record(MESSAGE)
    assert (await frame(listener))[0] == CLOSE
    await listener.send(close_frame(1000))
    assert await listener.rest() == b""
    await over(tls_world)


async def test_the_end_of_a_listener_ends_a_client_inside_tls(tls_world: World) -> None:
    client, listener = await begun(tls_world)
    await listener.send(masked(BINARY, encode_record(MESSAGE)) + close_frame(1000))
    assert await client.receive() == MESSAGE
    assert await client.receive() is None
    assert await closed(listener) == (1000, "")
    await over(tls_world)


async def test_a_client_inside_tls_that_does_not_read_stops_the_listener(tls_world: World) -> None:
    client, listener = await begun(tls_world)
    cast(asyncio.Transport, client.writer.transport).pause_reading()
    message = Record(Kind.SIZED_ENVELOPE, bytes(1 << 20))
    count, written = 48, 0

    async def flood() -> None:
        nonlocal written
        for _ in range(count):
            await listener.send(masked(BINARY, encode_record(message)))
            written += 1

    flooding = asyncio.create_task(flood())
    await until(lambda: tls_world.gateway.context.stalled == 1)
    assert written < count
    cast(asyncio.Transport, client.writer.transport).resume_reading()
    for _ in range(count):
        assert await client.receive() == message
    await flooding
