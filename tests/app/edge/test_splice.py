"""Two sockets joined: messages, pace, and every way it can end."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from wires import close_frame, closed, frame, masked, small_window, until, upgrade_head, upgraded
from worlds import Request, Wire, World, running_gateway

from app.config import Deadlines
from app.edge import splice
from app.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT


class Pair(NamedTuple):
    """Both ends of a relayed socket."""

    sender: ClientConnection
    listener: ClientConnection


async def paired(world: World) -> Pair:
    met: asyncio.Future[ClientConnection] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        met.set_result(await connect(accept["address"], max_size=None))

    control = await world.listen("hyco", on_accept=on_accept)
    sender = await world.connect("hyco")
    await control.socket.close()  # the next pair has a listener of its own
    for end in (sender, await met):
        world.cleanup.callback(end.transport.abort)
    return Pair(sender, await met)


async def wired(world: World, sender: Wire | None = None) -> tuple[Wire, Wire]:
    """The same with raw ends: sender and listener."""
    met: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        met.set_result(await upgraded(world, accept["address"].removeprefix(world.ws)))

    control = await world.listen("hyco", on_accept=on_accept)
    wire = await upgraded(world, "/$hc/hyco", wire=sender)
    await control.socket.close()  # the next pair has a listener of its own
    return wire, await met


async def test_messages_keep_type_boundaries_and_bytes(world: World) -> None:
    """P16: text, binary, empty, fragmented, around every length encoding, 16 MiB; both ways."""
    pair = await paired(world)
    sizes = [0, 1, 125, 126, 127, 65535, 65536, 65537, 200_000, 16 << 20]
    messages: list[str | bytes] = ["", "grüß dich", *(os.urandom(size) for size in sizes)]
    for source, target in (pair, pair[::-1]):
        sending = asyncio.create_task(send_all(source, messages))
        for message in messages:
            assert await target.recv() == message
        await sending
        await source.send(["a", "b", "", "c"])
        assert await target.recv() == "abc"


async def send_all(source: ClientConnection, messages: list[str | bytes]) -> None:
    for message in messages:
        await source.send(message)


async def test_frames_up_to_64_kib_pass_whole_and_larger_ones_are_cut_to_let_others_between(world: World) -> None:
    sender, listener = await wired(world)
    await sender.send(masked(BINARY, b"a" * 65536))
    assert await frame(listener) == (BINARY, True, b"a" * 65536)
    head, tail = masked(TEXT, b"b" * 100_000)[:-60_000], b"b" * 60_000
    await sender.send(head)
    opcode, is_final, payload = await frame(listener)
    assert (opcode, is_final) == (TEXT, False)
    await sender.send(tail)
    while not is_final:
        opcode, is_final, more = await frame(listener)
        payload += more
        assert opcode == CONTINUATION
    assert payload == b"b" * 100_000


async def test_pings_are_answered_here_and_not_passed_on(world: World) -> None:
    sender, listener = await wired(world)
    await sender.send(masked(BINARY, b"a", fin=False) + masked(PING, b"p") + masked(PONG) + masked(CONTINUATION, b"b"))
    assert await frame(sender) == (PONG, True, b"p")
    assert await frame(listener) == (BINARY, False, b"a")
    assert await frame(listener) == (CONTINUATION, True, b"b")


@pytest.mark.parametrize("first", [0, 1])
async def test_a_close_passes_verbatim_and_its_answer_too(world: World, first: int) -> None:
    """Codes and reasons as the peers choose them; an empty Close stays empty (1005)."""
    for code, reason in [(1000, ""), (1001, "From Test Code"), (3000, "mine"), (4999, "grüße"), (1011, "x" * 123)]:
        ends = await wired(world)
        ends[first].writer.write(close_frame(code, reason))
        opcode, _, payload = await frame(ends[1 - first])
        assert (opcode, payload) == (CLOSE, code.to_bytes(2, "big") + reason.encode())
        ends[1 - first].writer.write(close_frame(4000, "you too"))
        assert await closed(ends[first]) == (4000, "you too")
        assert await ends[1 - first].rest() == b""
    ends = await wired(world)
    ends[first].writer.write(masked(CLOSE))
    assert await frame(ends[1 - first]) == (CLOSE, True, b"")


@pytest.mark.parametrize("first", [0, 1])
async def test_a_side_that_said_goodbye_still_receives(world: World, first: int) -> None:
    """R16: a megabyte after the other's Close; then the close."""
    ends = await wired(world)
    done, open_still = ends[first], ends[1 - first]
    await done.send(masked(TEXT, b"last words") + close_frame(1000))
    assert await frame(open_still) == (TEXT, True, b"last words")
    assert (await frame(open_still))[0] == CLOSE
    sending = asyncio.create_task(open_still.send(masked(BINARY, b"a" * 60_000) * 18 + close_frame(1000)))
    for _ in range(18):
        assert await frame(done) == (BINARY, True, b"a" * 60_000)
    assert await closed(done) == (1000, "")
    await sending


async def test_a_half_closed_socket_is_cut_after_a_while(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(half_close_seconds=0.1)) as world:
        for gone in (False, True):
            sender, listener = await wired(world)
            await sender.send(close_frame(1000))
            assert (await frame(listener))[0] == CLOSE
            if gone:
                sender.abort()
            assert await listener.rest() == b""


@pytest.mark.parametrize("first", [0, 1])
async def test_an_abort_stays_an_abort(world: World, first: int) -> None:
    """What was sent before still arrives; then the connection is lost, without a Close that would look like an end."""
    ends = await wired(world)
    await ends[first].send(masked(TEXT, b"last words") + masked(BINARY, b"unfinish", fin=False))
    assert await frame(ends[1 - first]) == (TEXT, True, b"last words")
    ends[first].close()
    assert await frame(ends[1 - first]) == (BINARY, False, b"unfinish")
    assert await ends[1 - first].rest() == b""
    pair = await paired(world)
    pair[first].transport.abort()
    with pytest.raises(ConnectionClosedError) as lost:
        await pair[1 - first].recv()
    assert lost.value.rcvd is None


@pytest.mark.parametrize(("broken", "code"), [(b"\x81\x01x", 1002), (b"\xc1\x80mask", 1002), (close_frame(1015), 1002)])
async def test_a_side_that_breaks_the_protocol_is_told_and_the_other_cut(
    world: World, broken: bytes, code: int
) -> None:
    """S36, S37: a compressed frame is one with a reserved bit."""
    sender, listener = await wired(world)
    await sender.send(broken + masked(TEXT, b"more") * 1000)
    assert (await closed(sender))[0] == code
    assert await listener.rest() == b""


async def test_a_reader_that_pauses_stops_its_sender_and_loses_nothing(world: World) -> None:
    """R18: what the gateway has read and not passed on is bounded, whatever is sent."""
    sender, listener = await wired(world)
    listener.reader._transport.pause_reading()  # type: ignore[attr-defined]
    blob = os.urandom(1 << 20)
    sending = asyncio.create_task(send_many(sender, blob, 24))
    sides = list(world.gateway.context.lives)
    stalled = next(side for side in sides if getattr(side, "mate", None) and port_of(side) == own_port(listener))
    await until(lambda: stalled.outflow.is_paused)  # type: ignore[attr-defined]
    assert await most_owed(world, stalled) < 1 << 20
    assert not sending.done()
    listener.reader._transport.resume_reading()  # type: ignore[attr-defined]
    received = hashlib.sha256()
    left = 24 << 20
    while left:
        _, _, payload = await frame(listener)
        received.update(payload)
        left -= len(payload)
    await sending
    assert received.digest() == hashlib.sha256(blob * 24).digest()


async def test_while_many_stall_little_is_read_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for a reader that pauses stays in memory; and nothing is kept of those that went."""
    monkeypatch.setattr(splice, "LARGE_READS_WHILE_STALLED", 0)
    sender, listener = await wired(world)
    reading = next(side for side in world.gateway.context.lives if getattr(side, "mate", None))
    assert len(reading.get_buffer(0)) > splice.SMALL_READ_BYTES  # type: ignore[attr-defined]
    listener.reader._transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(send_many(sender, os.urandom(1 << 20), 24))
    await until(lambda: world.gateway.context.stalled == 1)
    assert len(reading.get_buffer(0)) == splice.SMALL_READ_BYTES  # type: ignore[attr-defined]
    listener.writer.close()
    await until(lambda: world.gateway.context.stalled == 0)
    sending.cancel()


async def send_many(wire: Wire, blob: bytes, count: int) -> None:
    for _ in range(count):
        await wire.send(masked(BINARY, blob))


async def most_owed(world: World, side: Any) -> int:
    """The most bytes owed to a side over some turns of the loop."""
    worst = 0
    for _ in range(20):
        await world.client.get("/-/health/live")
        worst = max(worst, side.outflow.backlog())
    return worst


def port_of(side: Any) -> int:
    port = side.transport.get_extra_info("peername")[1]
    assert isinstance(port, int)
    return port


def own_port(wire: Wire) -> int:
    port = wire.writer.get_extra_info("sockname")[1]
    assert isinstance(port, int)
    return port


async def test_one_stalled_socket_delays_no_other(world: World) -> None:
    """S42."""
    sender, _ = await wired(world, await small_window(world))
    stalled = asyncio.create_task(send_many(sender, bytes(1 << 20), 24))
    pair = await paired(world)
    for _ in range(10):
        await pair.sender.send("quick")
        assert await pair.listener.recv() == "quick"
    stalled.cancel()


async def test_ends_of_all_kinds_leave_nothing_behind(world: World) -> None:
    context = world.gateway.context
    before = context.connections, len(context.lives)
    for end in ("close", "abort", "break"):
        pair = await paired(world)
        if end == "close":
            await pair.sender.close()
        elif end == "abort":
            pair.listener.transport.abort()
        else:
            pair.sender.transport.write(b"\xff\xff")
        await asyncio.gather(pair.sender.wait_closed(), pair.listener.wait_closed())
    await until(lambda: (context.connections, len(context.lives)) == before)
    assert not context.rendezvous


async def test_bytes_that_both_sent_early_are_not_lost(world: World) -> None:
    met: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        wire = await world.raw()
        path = accept["address"].removeprefix(world.ws)
        await wire.send(upgrade_head(world, path).encode() + masked(TEXT, b"from the listener"))
        met.set_result(wire)

    await world.listen("hyco", on_accept=on_accept)
    sender = await world.raw()
    await sender.send(upgrade_head(world, "/$hc/hyco").encode() + masked(TEXT, b"from the sender"))
    for wire, message in ((sender, b"from the listener"), (await met, b"from the sender")):
        assert (await wire.head()).startswith("HTTP/1.1 101 ")
        assert await frame(wire) == (TEXT, True, message)
