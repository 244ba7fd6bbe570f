"""Sockets that the gateway reads itself: frames, closes, held upgrades, ends. Seen at a control channel."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from wires import close_frame, closed, frame, masked, small_window, until, upgrade_head, upgraded
from worlds import Request, World, running_gateway

from app.closes import DRAINING
from app.config import Deadlines
from app.edge.control import ControlChannel
from app.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, accept_key

LISTEN = "/$hc/hyco?sb-hc-action=listen"


async def test_the_answer_to_an_upgrade_has_exact_values_and_negotiates_nothing(world: World) -> None:
    """P17: one header each for Connection and Upgrade, no extension, no sub-protocol on the control channel."""
    wire = await world.raw()
    offers = ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat", "0: junk")
    await wire.send(upgrade_head(world, LISTEN, *offers))
    assert (await wire.head()).split("\r\n") == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key('dGhlIHNhbXBsZSBub25jZQ==')}",
        "",
        "",
    ]


async def test_a_ping_is_answered_and_a_pong_is_not(world: World) -> None:
    wire = await upgraded(world, LISTEN)
    await wire.send(masked(PONG, b"unasked") + masked(PING, b"you there?"))
    assert await frame(wire) == (PONG, True, b"you there?")


@pytest.mark.parametrize(("sent", "echoed"), [(close_frame(1000, "bye"), 1000), (masked(CLOSE), 1005)])
async def test_a_close_is_echoed_with_its_code(world: World, sent: bytes, echoed: int) -> None:
    wire = await upgraded(world, LISTEN)
    await wire.send(sent + masked(TEXT, b"too late"))
    assert await closed(wire) == (echoed, "")


BROKEN = {
    "length with the top bit set": (b"\x82\xff\x80" + bytes(7) + b"mask", 1002),
    "unmasked": (b"\x81\x01x", 1002),
    "reserved bit, as a deflated frame has": (b"\xc2\x81mask\x00", 1002),
    "unknown opcode": (b"\x83\x80mask", 1002),
    "126-byte ping": (b"\x89\xfe\x00\x7emask", 1002),
    "fragmented ping": (masked(PING, b"", fin=False), 1002),
    "continuation of nothing": (masked(CONTINUATION, b"x"), 1002),
    "message inside a message": (masked(TEXT, b"{", fin=False) + masked(TEXT, b"}"), 1002),
    "text that is not UTF-8": (masked(TEXT, b"\xff\xfe"), 1007),
    "close with one byte": (masked(CLOSE, b"\x03"), 1002),
    "close with a code that may not be sent": (close_frame(1006), 1002),
    "close reason that is not UTF-8": (masked(CLOSE, b"\x03\xe8\xff"), 1007),
    "command of 64 KiB": (masked(TEXT, b" " * 65536), 1009),
    "command of 64 KiB in parts": (masked(TEXT, b"{", False) + masked(CONTINUATION, b" " * 999, False) * 66, 1009),
    "large frame of text": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4) + b" " * 70_000, 1009),
}


async def test_a_broken_frame_closes_with_the_right_code_and_disturbs_nobody(world: World) -> None:
    """S36, S37."""

    async def end_of(data: bytes) -> tuple[int, str]:
        wire = await upgraded(world, LISTEN)
        await wire.send(data)
        return await closed(wire)

    other = await upgraded(world, LISTEN)
    ends = await asyncio.gather(*(end_of(data) for data, _ in BROKEN.values()))
    assert {name: code for name, (code, _) in zip(BROKEN, ends, strict=True)} == {n: c for n, (_, c) in BROKEN.items()}
    assert all("TrackingId:" in reason or len(reason.encode()) == 123 for _, reason in ends)
    await other.send(masked(PING, b"still"))
    assert await frame(other) == (PONG, True, b"still")


async def test_countless_empty_fragments_cost_little(world: World) -> None:
    """S36: in a command and in a body."""
    wire = await upgraded(world, LISTEN)
    await wire.send(masked(TEXT, b"", fin=False))
    for _ in range(20):
        await wire.send(masked(CONTINUATION, b"", fin=False) * 10_000)
    await wire.send(masked(CONTINUATION, b"") + masked(PING, b"done"))
    assert await frame(wire) == (PONG, True, b"done")


async def test_early_bytes_of_a_held_upgrade_are_kept_and_not_interpreted(world: World) -> None:
    """S32: a sender may write before its 101; its bytes are read once there is somebody to read them."""
    arrived, come = asyncio.Event(), asyncio.Event()

    async def on_accept(accept: Request) -> None:
        arrived.set()
        await come.wait()
        await listener.echo(accept)

    listener = await world.listen("hyco", on_accept=on_accept)
    wire = await world.raw()
    early = masked(BINARY, b"a" * 3000)
    await wire.send(upgrade_head(world, "/$hc/hyco") + early.decode("latin-1"))
    await arrived.wait()
    await wire.send(early * 10)
    come.set()
    assert (await wire.head()).startswith("HTTP/1.1 101 ")
    for _ in range(11):
        assert await frame(wire) == (BINARY, True, b"a" * 3000)


async def test_early_bytes_of_a_refused_upgrade_are_no_request(world: World) -> None:
    """S32."""
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/hyco") + "GET /-/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await wire.rest()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_little_is_read_while_an_upgrade_is_held(tmp_path: Path) -> None:
    """S32, S40."""
    async with running_gateway(tmp_path, deadlines=Deadlines(drain_seconds=0)) as world:
        await hold_and_flood(world)


async def hold_and_flood(world: World) -> None:
    arrived = asyncio.Event()

    async def on_accept(accept: Request) -> None:
        arrived.set()

    await world.listen("hyco", on_accept=on_accept)
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/hyco"))
    await arrived.wait()
    wire.writer.write(bytes(16 << 20))
    (waiting,) = world.gateway.context.rendezvous.values()
    await until(lambda: len(waiting._held) > 4096)  # type: ignore[attr-defined]
    await world.client.get("/-/health/live")
    assert len(waiting._held) <= 8192  # type: ignore[attr-defined]
    assert wire.writer.transport.get_write_buffer_size() > 0


async def test_a_sender_that_leaves_while_its_upgrade_is_held_is_noticed(world: World) -> None:
    """The listener that comes for it is told that it came in vain."""
    arrived, come = asyncio.Event(), asyncio.Event()
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        arrived.set()
        await come.wait()
        with pytest.raises(InvalidStatus) as refused:
            await listener.echo(accept)
        result.set_result(refused.value.response.status_code)

    listener = await world.listen("hyco", on_accept=on_accept)
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/hyco"))
    await arrived.wait()
    wire.abort()
    await until(lambda: not world.gateway.context.rendezvous)
    come.set()
    assert await result == 403


async def test_a_peer_that_never_answers_a_close_is_cut(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(close_seconds=0.2)) as world:
        wire = await upgraded(world, LISTEN)
        world.namespace.rules.clear()
        for live in list(world.gateway.context.lives):
            live.review()
        assert (await closed(wire))[0] == 1008


async def test_a_peer_that_does_not_read_gets_no_pile_of_pongs(world: World) -> None:
    """S42: pings cost their sender, not the gateway."""
    wire = await upgraded(world, LISTEN, wire=await small_window(world))
    (channel,) = world.gateway.context.lives
    wire.writer.write(masked(PING, b"a" * 125) * 100_000)
    await until(lambda: wire.writer.transport.get_write_buffer_size() == 0)
    assert channel.outflow.backlog() < 1 << 20  # type: ignore[attr-defined]


async def test_a_socket_that_ends_reads_on_for_the_peers_close(world: World) -> None:
    """Also one that was paused because somebody else is slow: else it would stay until its deadline."""
    wire = await upgraded(world, LISTEN)
    [channel] = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    channel.transport.pause_reading()
    channel.end(DRAINING)
    assert channel.transport.is_reading()
    assert (await closed(wire))[0] == DRAINING.code
    await wire.send(close_frame(DRAINING.code))
    await until(lambda: channel.is_lost)
