"""What the gateway does with the bytes of an HTTP connection, before any door."""

from __future__ import annotations

import asyncio
import gc
import re
from pathlib import Path
from typing import Any

import pytest
from wires import UPGRADE_LINES, small_window, until
from worlds import Listener, Request, World, running_gateway

from app.config import Deadlines, Limits
from app.edge.outflow import HIGH_BYTES
from app.edge.seam import PIPELINE_LIMIT, Seam

LENGTH_32K = 32 * 1024


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


async def exchange(world: World, data: str | bytes) -> list[int]:
    """The statuses of everything the gateway answers before it closes."""
    wire = await world.raw()
    await wire.send(data)
    return statuses(await wire.rest())


def head(world: World, line: str, *lines: str) -> str:
    return "\r\n".join([line, f"Host: {world.host}", *lines]) + "\r\n\r\n"


class Gate:
    """A listener's way to answer only once it is opened."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def __call__(self, listener: Listener, request: Request, body: bytes, socket: Any) -> None:
        await self.event.wait()
        await listener.respond(request, socket, request["requestTarget"].encode())


async def test_an_upgrade_pipelined_behind_a_request_is_refused_in_its_turn(world: World) -> None:
    """S31."""
    gate = Gate()
    listener = await world.listen("open", on_request=gate)
    wire = await world.raw()
    await wire.send(head(world, "GET /open HTTP/1.1") + head(world, "GET /$hc/open HTTP/1.1", UPGRADE_LINES.rstrip()))
    gate.event.set()
    assert statuses(await wire.rest()) == [200, 400]
    assert listener.accepts == []


NO_UPGRADES = [
    ("POST /$hc/open HTTP/1.1", UPGRADE_LINES + "Content-Length: 25"),
    ("GET /$hc/open HTTP/1.1", UPGRADE_LINES + "Content-Length: 25"),
    ("GET /$hc/open HTTP/1.1", UPGRADE_LINES + "Transfer-Encoding: chunked"),
    ("GET /$hc/open HTTP/1.1", UPGRADE_LINES.replace("websocket", "h2c") + "HTTP2-Settings: AA"),
    ("GET /open HTTP/1.1", UPGRADE_LINES.rstrip()),
]


async def test_an_upgrade_that_is_none_is_refused_and_the_connection_ends(world: World) -> None:
    """S31, S33: with a body, by another method, to another protocol, at another door."""
    listener = await world.listen("open")
    smuggled = head(world, "GET /open HTTP/1.1")
    for line, headers in NO_UPGRADES:
        assert await exchange(world, head(world, line, headers) + smuggled) == [400], line + headers
    assert listener.requests == listener.accepts == []


async def test_an_upgrade_of_another_version_is_told_which_one_is_spoken(world: World) -> None:
    """S31."""
    wire = await world.raw()
    await wire.send(head(world, "GET /$hc/open HTTP/1.1", UPGRADE_LINES.replace(": 13", ": 777").rstrip()))
    answer = (await wire.rest()).decode()
    assert answer.startswith("HTTP/1.1 426 ")
    assert "\r\nSec-WebSocket-Version: 13\r\n" in answer


BAD_HEADS = [
    ("CONNECT example:443 HTTP/1.1\r\nHost: HOST\r\n\r\n", 405),
    ("GET http://HOST/open HTTP/1.1\r\nHost: HOST\r\n\r\n", 400),
    ("GET open HTTP/1.1\r\nHost: HOST\r\n\r\n", 400),
    ("GET /open#top HTTP/1.1\r\nHost: HOST\r\n\r\n", 400),
    ("GET /open\\x HTTP/1.1\r\nHost: HOST\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\nHost: HOST, other\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\n\r\n", 400),
    ("GET /open HTTP/2.0\r\nHost: HOST\r\n\r\n", 400),
    ("POST /open HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /open HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /open HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    ("POST /open HTTP/1.1\r\nHost: HOST\r\nContent-Length: +4\r\n\r\nabcd", 400),
    ("POST /open HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x4\r\n\r\nabcd", 400),
    ("POST /open HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\nHost : HOST\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n", 400),
    ("GET /open HTTP/1.1\nHost: HOST\n\n", 400),
    ("GET /open HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\n\r\n", 400),
    ("GET /open HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n", 400),
    ("BREW /open HTTP/1.1\r\nHost: HOST\r\n\r\n", 501),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501),
    ("GET /" + "a" * 17_000 + " HTTP/1.1\r\nHost: HOST\r\n\r\n", 414),
    ("GET /open HTTP/1.1\r\nHost: HOST\r\n" + "X: 1\r\n" * 300 + "\r\n", 431),
]


async def test_a_head_that_two_readers_could_understand_differently_is_refused(world: World) -> None:
    """S30, S33, S39: nothing behind it is read as a request either."""
    listener = await world.listen("open")
    smuggled = head(world, "GET /open HTTP/1.1")
    for request_head, status in BAD_HEADS:
        assert await exchange(world, request_head.replace("HOST", world.host) + smuggled) == [status], request_head
    assert listener.requests == []


BAD_CHUNKS = [
    "5 \r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "\r\nhello",
    "fffffffffffffffff\r\nhello",
    "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n0\r\nServiceBusAuthorization: other\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
]


@pytest.mark.parametrize("path", ["/open", "/-/api/nowhere"])
async def test_a_broken_chunked_body_is_refused_and_nothing_behind_it_read(world: World, path: str) -> None:
    """S30: sizes, terminators and trailers, on a relayed request and on one of our own."""
    listener = await world.listen("open")
    smuggled = head(world, "GET /open HTTP/1.1")
    begun = head(world, f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked")
    for chunks in BAD_CHUNKS:
        assert await exchange(world, begun + chunks + smuggled) == [400], chunks
    assert listener.requests == []


async def test_harmless_trailers_are_dropped(world: World) -> None:
    listener = await world.listen("open")
    wire = await world.raw()
    await wire.send(head(world, "POST /open HTTP/1.1", "Transfer-Encoding: chunked", "Trailer: X-Sum"))
    await wire.send("5;note=1\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
    status, _, body = await wire.answer()
    assert (status, body) == (200, b"hello")
    assert {"X-Sum", "Trailer"}.isdisjoint(listener.requests[0]["requestHeaders"])


async def test_endless_trailers_are_cut(world: World) -> None:
    """S39: also when they are one value, which the parser would gather."""
    await world.listen("open")
    wire = await world.raw()
    await wire.send(head(world, "POST /open HTTP/1.1", "Transfer-Encoding: chunked") + "0\r\nX: ")
    for _ in range(64):
        wire.writer.write(b"a" * 65536)
    assert (await wire.head()).startswith("HTTP/1.1 431 ")


async def test_a_head_may_hold_32_kib(world: World) -> None:
    """P08: also when it comes in parts."""
    await world.listen("open")
    start = f"GET /open HTTP/1.1\r\nHost: {world.host}\r\nX: "
    for size, status in [(LENGTH_32K - 1, 200), (LENGTH_32K + 1, 431)]:
        data = (start + "a" * (size - len(start) - 4) + "\r\n\r\n").encode()
        for parts in (1, 3):
            wire = await world.raw()
            for part in range(parts):
                await wire.send(data[part * size // parts : (part + 1) * size // parts])
                await asyncio.sleep(0)
            assert (await wire.answer())[0] == status


async def test_one_huge_header_is_refused_before_it_is_read(world: World) -> None:
    """S39: 32 MiB in one value."""
    wire = await world.raw()
    await wire.send(f"GET /open HTTP/1.1\r\nHost: {world.host}\r\nX: ")
    wire.writer.write(b"a" * (32 << 20))
    assert (await wire.answer())[0] == 431


async def test_a_head_must_arrive_in_time(tmp_path: Path) -> None:
    """S39, S40: one that has begun is told; a connection that never spoke is closed."""
    async with running_gateway(tmp_path, limits=Limits(head_seconds=0.2)) as world:
        slow, mute = await world.raw(), await world.raw()
        await slow.send("GET /open HTTP/1.1\r\nX: ")
        assert statuses(await slow.rest()) == [408]
        assert await mute.rest() == b""


@pytest.mark.parametrize("line", ["PUT /-/api/relays/x HTTP/1.1", "POST /-/events/orders HTTP/1.1"])
async def test_a_body_must_keep_arriving(tmp_path: Path, line: str) -> None:
    """S39: one byte and no more holds neither a connection nor what serves it."""
    async with running_gateway(tmp_path, deadlines=Deadlines(idle_seconds=0.3)) as world:
        token = f"Authorization: {world.token()}"
        wire = await world.raw()
        await wire.send(head(world, line, token, "Content-Length: 2") + "{")
        assert statuses(await wire.rest()) == [408]


async def test_a_tls_handshake_must_come_in_time(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tls=True, limits=Limits(head_seconds=0.3)) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.tls_port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(keep_alive_seconds=0.2)) as world:
        wire = await world.raw()
        await wire.send(head(world, "GET /-/health/live HTTP/1.1"))
        assert statuses(await wire.rest()) == [200]


async def test_a_client_that_has_finished_sending_still_gets_its_answer(world: World) -> None:
    gate = Gate()
    await world.listen("open", on_request=gate)
    wire = await world.raw()
    await wire.send(head(world, "GET /open/x HTTP/1.1"))
    wire.writer.write_eof()
    gate.event.set()
    assert (await wire.rest()).endswith(b"/open/x")


async def test_a_request_cut_short_is_forgotten(world: World) -> None:
    await world.listen("open")
    wire = await world.raw()
    await wire.send(head(world, "POST /open HTTP/1.1", "Content-Length: 10") + "abc")
    wire.writer.write_eof()
    assert await wire.rest() == b""


async def test_pipelined_requests_are_answered_in_order_whoever_answers(world: World) -> None:
    gate = Gate()
    await world.listen("open", on_request=gate)
    gate.event.set()
    wire = await world.raw()
    batch = "".join(
        head(world, f"GET /open/{n} HTTP/1.1") + head(world, f"GET /-/api/nowhere/{n} HTTP/1.1") for n in range(40)
    )
    await wire.send(batch)
    for number in range(40):
        assert (await wire.answer())[2] == f"/open/{number}".encode()
        assert (await wire.answer())[0] in (401, 404)


async def test_bodies_of_pipelined_requests_stay_with_their_own(world: World) -> None:
    await world.listen("open")
    wire = await world.raw()
    bodies = [bytes([65 + n]) * n * 1000 for n in range(20)]
    for body in bodies:
        wire.writer.write(head(world, "POST /open HTTP/1.1", f"Content-Length: {len(body)}").encode() + body)
    for body in bodies:
        assert (await wire.answer())[2] == body


async def test_who_does_not_read_its_answers_is_not_served_further(world: World) -> None:
    """S42: small requests whose answers are never taken buy no memory; reading again, the client is served on."""
    wire = await small_window(world)
    count = 40_000
    wire.writer.write((head(world, "GET /nowhere HTTP/1.1") * count).encode())
    (seam,) = (s for s in world.gateway.server.server_state.connections if isinstance(s, Seam))
    await until(lambda: seam.outflow.is_paused)
    for _ in range(50):
        await asyncio.sleep(0)
        assert seam.outflow.backlog() < 2 * HIGH_BYTES
        assert len(seam._queue) <= PIPELINE_LIMIT + 1
    wire.writer.write_eof()
    assert len(statuses(await wire.rest())) > PIPELINE_LIMIT


async def test_a_read_full_of_requests_is_refused_at_the_limit(world: World) -> None:
    await world.listen("open")
    answers = await exchange(world, head(world, "GET /open HTTP/1.1") * (2 * PIPELINE_LIMIT))
    assert answers == [200] * PIPELINE_LIMIT + [503]


async def test_nothing_is_served_behind_a_request_that_closes(world: World) -> None:
    listener = await world.listen("open")
    closing = head(world, "GET /nowhere HTTP/1.1", "Connection: close")
    assert await exchange(world, closing + head(world, "GET /open HTTP/1.1")) == [401]
    assert await exchange(world, closing + head(world, "GET /$hc/open HTTP/1.1", UPGRADE_LINES.rstrip())) == [401]
    assert listener.requests == listener.accepts == []


async def test_a_large_upload_that_is_refused_early_still_reads_its_answer(world: World) -> None:
    wire = await world.raw()
    await wire.send(head(world, "POST /hyco HTTP/1.1", "Content-Length: 50000000"))
    wire.writer.write(b"a" * (4 << 20))
    status, answer, _ = await wire.answer()
    assert status == 401
    assert "Connection: close" in answer


async def test_a_small_body_that_is_refused_early_keeps_the_connection(world: World) -> None:
    await world.listen("open")
    wire = await world.raw()
    await wire.send(head(world, "POST /hyco HTTP/1.1", "Content-Length: 10") + "abc")
    assert (await wire.answer())[0] == 401
    await wire.send("defghij" + head(world, "GET /open HTTP/1.1"))
    assert (await wire.answer())[0] == 200


async def test_continue_is_said_to_whom_it_is_worth(world: World) -> None:
    expects = ("Content-Length: 3", "Expect: 100-continue")
    wire = await world.raw()
    await wire.send(head(world, "POST /hyco HTTP/1.1", *expects))
    assert (await wire.answer())[0] == 401
    listener = await world.listen("open")
    wire = await world.raw()
    await wire.send(head(world, "POST /open HTTP/1.1", *expects))
    assert (await wire.head()).startswith("HTTP/1.1 100 ")
    await wire.send("abc")
    assert (await wire.answer())[::2] == (200, b"abc")
    assert "Expect" not in listener.requests[0]["requestHeaders"]


async def test_http_1_0_is_kept_alive_only_if_it_asks(world: World) -> None:
    await world.listen("open")
    wire = await world.raw()
    for _ in range(2):
        await wire.send(head(world, "GET /open HTTP/1.0", "Connection: keep-alive"))
        status, answer, _ = await wire.answer()
        assert status == 200
        assert "\r\nConnection: keep-alive\r\n" in answer
    assert await exchange(world, head(world, "GET /open HTTP/1.0")) == [200]


async def test_a_gateway_that_is_full_says_so(world: World) -> None:
    world.gateway.context.max_connections = world.gateway.context.connections
    wire = await world.raw()
    answer = (await wire.rest()).decode()
    assert answer.startswith("HTTP/1.1 503 ")
    assert "\r\nRetry-After: " in answer


async def test_a_stalled_peer_cannot_keep_a_closing_connection(tmp_path: Path) -> None:
    """S42: `close` waits for the peer to read what it is owed, but not for ever."""

    async def answer(listener: Listener, request: Request, body: bytes, socket: Any) -> None:
        await listener.respond(request, socket, bytes(7 << 20))

    async with running_gateway(tmp_path, deadlines=Deadlines(close_seconds=0.3)) as world:
        await world.listen("open", on_request=answer)
        before = world.gateway.context.connections
        wire = await small_window(world)
        await wire.send(head(world, "GET /open HTTP/1.1", "Connection: close"))
        await until(lambda: world.gateway.context.connections == before + 1)
        await until(lambda: world.gateway.context.connections == before)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.reader.readexactly(7 << 20)


async def test_names_keep_their_casing_both_ways(world: World) -> None:
    """Also through the parts of uvicorn that are ours no more."""

    async def answer(listener: Listener, request: Request, body: bytes, socket: Any) -> None:
        await listener.respond(request, socket, b"", headers={"X-aNsWeR": "1"})

    listener = await world.listen("open", on_request=answer)
    wire = await world.raw()
    await wire.send(head(world, "GET /open HTTP/1.1", "x-LOUD: 1", "X-Camel-cASE: 2"))
    assert "\r\nX-aNsWeR: 1\r\n" in (await wire.answer())[1]
    assert {"x-LOUD", "X-Camel-cASE", "Host"} <= listener.requests[0]["requestHeaders"].keys()


async def test_a_door_of_sockets_is_recognised_however_it_is_spelt(world: World) -> None:
    """S47."""
    listener = await world.listen("open")
    for path in ["//$hc/open", "//open", "/$hc/open", "/%24hc/open", "/$HC/open"]:
        assert (await world.client.get(f"{world.url}{path}")).status_code == 400, path
    assert listener.requests == []


async def test_an_upgraded_connection_keeps_nothing_of_its_seam(world: World) -> None:
    listener = await world.listen("hyco")
    async with world.connect("hyco") as socket:
        await socket.send("still here")
        assert await socket.recv() == "still here"
        gc.collect()
        seams = [found for found in gc.get_objects() if isinstance(found, Seam)]
        assert [seam for seam in seams if seam.parser is None and seam.flow is None] == []
    assert len(listener.accepts) == 1
