"""`fanway listen --to` and `fanway forward` against a running gateway and real local servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

import fanway
from fanway.cli_relays import serve_forward
from fanway.errors import RelayError
from fanway.relay import Relay
from fanway.targets import parse_target

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def relay(world: Any) -> AsyncIterator[Relay]:
    async with fanway.connect(
        world.url, key_name="RootManageSharedAccessKey", key="root-key-of-the-test-world"
    ) as relay:
        yield relay


@asynccontextmanager
async def tcp_server(handle: Serve) -> AsyncIterator[int]:
    """A local TCP server; its port."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def joined(relay: Relay, address: str, text: str) -> AsyncIterator[None]:
    """The address joined to a target."""
    target = parse_target(text, address)
    try:
        relay.listen_with(address, target.handlers())
        await relay.listening()
        yield
    finally:
        await target.close()


@asynccontextmanager
async def forwarded(relay: Relay, address: str) -> AsyncIterator[int]:
    """A local port that leads to the address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_forward(relay, address, reader, writer)

    async with tcp_server(handle) as port:
        yield port


async def test_a_request_reaches_the_local_server_verbatim_and_its_answer_comes_back(relay: Relay) -> None:
    heads: list[bytes] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head + await reader.readexactly(4))
        writer.write(b"HTTP/1.1 201 Made It\r\nContent-Length: 3\r\n\r\nyes")
        await writer.drain()

    async with tcp_server(server) as port, joined(relay, "shop", f"127.0.0.1:{port}"):
        answer = await relay.ask(
            "shop", b"body", method="PUT", path="/cart/7?x=%2F", headers={"X-mIxEd": "1"}, timeout=10
        )
    assert (answer.status, answer.reason, answer.content) == (201, "Made It", b"yes")
    assert heads[0].startswith(b"PUT /cart/7?x=%2F HTTP/1.1\r\n")
    assert b"X-mIxEd: 1\r\n" in heads[0]
    assert b"X-Forwarded-Prefix: /shop\r\n" in heads[0]
    assert b"ServiceBusAuthorization" not in heads[0]
    assert heads[0].endswith(b"\r\n\r\nbody")


async def test_an_empty_answer_is_said_to_be_empty(world: Any, relay: Relay) -> None:
    """A SOAP client waits for a message behind a 202 unless it is told that there is none."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with tcp_server(server) as port, joined(relay, "shop", f"http://127.0.0.1:{port}"):
        for _ in range(2):
            answer = await world.client.post("/shop", headers=world.auth("shop"))
            assert (answer.status_code, answer.headers["content-length"]) == (202, "0")
            assert "transfer-encoding" not in answer.headers


async def test_a_compressed_answer_is_passed_on_unopened(world: Any, relay: Relay) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 299 Quite Fine\r\nX-cAsInG: kept\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nraw"
        )
        await writer.drain()

    async with tcp_server(server) as port, joined(relay, "shop", f"http://127.0.0.1:{port}"):
        async with world.client.stream("GET", "/shop", headers=world.auth("shop")) as answer:
            body = b"".join([piece async for piece in answer.aiter_raw()])
    assert (answer.status_code, answer.reason_phrase, body) == (299, "Quite Fine", b"raw")
    assert (b"X-cAsInG", b"kept") in answer.headers.raw


async def test_server_sent_events_pass_one_by_one(world: Any, relay: Relay) -> None:
    """P19"""
    go_on = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")
        await writer.drain()

    async with tcp_server(server) as port, joined(relay, "shop", f"127.0.0.1:{port}"):
        async with world.client.stream("GET", "/shop", headers=world.auth("shop")) as answer:
            pieces = answer.aiter_raw()
            assert await asyncio.wait_for(anext(pieces), 5) == b"data: 1\n\n"
            go_on.set()
            assert await asyncio.wait_for(anext(pieces), 5) == b"data: 2\n\n"


async def test_a_local_server_that_is_down_is_a_502(relay: Relay, free_port: int) -> None:
    async with joined(relay, "shop", f"127.0.0.1:{free_port}"):
        answer = await relay.ask("shop", timeout=10)
        with pytest.raises(fanway.RelayError) as caught:
            await relay.open("shop")
    assert (answer.status, caught.value.status) == (502, 502)


async def test_a_websocket_reaches_the_local_server(relay: Relay) -> None:
    async def echo(connection: ServerConnection) -> None:
        assert connection.request is not None
        await connection.send(connection.request.path)
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with joined(relay, "shop", f"127.0.0.1:{port}"):
            async with relay.open("shop", path="/live?room=1") as socket:
                assert await socket.recv() == "/live?room=1"
                big = os.urandom(300_000)
                for message in ("grüße", b"\x00\xff", big):
                    await socket.send(message)
                    assert await socket.recv() == message


async def test_a_websocket_the_local_server_refuses_is_refused_with_its_status(relay: Relay) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with tcp_server(server) as port, joined(relay, "shop", f"127.0.0.1:{port}"):
        with pytest.raises(fanway.EndpointNotFoundError):
            await relay.open("shop")


async def test_tcp_passes_through_and_half_close_is_kept(relay: Relay) -> None:
    """R16"""
    received: list[int] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(len(await reader.read()))  # until the client's end of file
        writer.write(bytes(1 << 20))
        await writer.drain()

    async with (
        tcp_server(server) as target,
        joined(relay, "shop", f"tcp://127.0.0.1:{target}"),
        forwarded(relay, "shop") as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes(300_000))
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert (received, len(answer)) == ([300_000], 1 << 20)


async def test_a_target_that_refuses_resets_the_senders_tcp(relay: Relay, free_port: int) -> None:
    """R17"""
    async with joined(relay, "shop", f"tcp://127.0.0.1:{free_port}"), forwarded(relay, "shop") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_web_server_that_is_down_is_not_taken_for_the_gateway(relay: Relay, free_port: int) -> None:
    async with joined(relay, "shop", f"localhost:{free_port}"):
        with pytest.raises(RelayError, match=r"The local target http://localhost:\d+ took no socket") as error:
            await relay.open("shop")
    assert error.value.status == 502


async def test_a_target_that_resets_is_not_an_orderly_end(relay: Relay) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        fanway.socket.reset(writer)

    async with (
        tcp_server(server) as target,
        joined(relay, "shop", f"tcp://127.0.0.1:{target}"),
        forwarded(relay, "shop") as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_unix_socket_is_a_target(relay: Relay, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(echo, path)
    async with joined(relay, "shop", f"unix:{path}"):
        async with relay.open("shop") as socket:
            await socket.send(b"hello")
            assert await socket.recv() == b"hello"
    server.close()


@pytest.mark.parametrize("way", ["..", "%2e%2E", ".%2e", "..%2f", "..%5c", "a/../..", "..;x", "..;/"])
async def test_no_sender_leaves_the_path_that_a_target_has(world: Any, relay: Relay, way: str) -> None:
    """Whatever the local server, or a library on the way, makes of such steps: all that is joined is below `/app`."""
    asked: list[bytes] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with tcp_server(server) as port, joined(relay, "hyco", f"http://127.0.0.1:{port}/app"):
        wire = await world.raw()
        head = f"Host: {world.host}\r\nServiceBusAuthorization: {world.token()}\r\n\r\n"
        await wire.send(f"GET /hyco/{way}/secret HTTP/1.1\r\n{head}")
        assert (await wire.answer())[0] == 400
        with pytest.raises(InvalidStatus) as refused:
            await world.connect(f"hyco/{way}/secret")
        assert refused.value.response.status_code == 400
        assert not asked
        await wire.send(f"GET /hyco/a..b/..c?x=/../y HTTP/1.1\r\n{head}")
        assert (await wire.answer())[0] == 200
    assert asked == [b"GET /app/a..b/..c?x=/../y HTTP/1.1"]


@pytest.mark.parametrize("way", ["..", "%2e%2e", "a/../.."])
async def test_no_sender_reaches_another_net_tcp_service_than_the_one_that_is_joined(
    world: Any, relay: Relay, way: str
) -> None:
    """Services that share a port are told apart by the path of the via, which .NET reads with such steps taken."""
    vias: list[bytes] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        vias.append(await reader.read(1024))

    async with tcp_server(server) as port, joined(relay, "hyco", f"net.tcp://127.0.0.1:{port}/app"):
        with pytest.raises(InvalidStatus) as refused:
            await world.connect(f"hyco/{way}/secret")
        assert refused.value.response.status_code == 400
        assert not vias
        async with world.connect("hyco/a") as socket:
            await socket.send(b"\0\1\0\1\2\2\1x\3\3")
            await socket.wait_closed()
    assert f"net.tcp://127.0.0.1:{port}/app/a".encode() in vias[0]
