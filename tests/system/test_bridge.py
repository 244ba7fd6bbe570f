"""Bridges over the relay as azbridge builds them: TCP with half-closes, UDP, Unix sockets, HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bridge import TCP, UDP, VERSION, LocalForward, RemoteForward, datagrams, forwarding
from dotnet import ConnectionString, Listener
from dotnet_world import DotNet
from transcripts import compare

MEGABYTE = 1 << 20


@dataclass
class Bridge:
    """A far end at the entity `authenticated`; both ends hold one rule that may listen and send."""

    dotnet: DotNet
    string: ConnectionString
    listener: Listener
    far: RemoteForward

    def near(self, name: str) -> LocalForward:
        return LocalForward(self.dotnet, self.string, name)


@pytest.fixture
async def bridge(dotnet: DotNet) -> AsyncIterator[Bridge]:
    world = dotnet.world
    rule = {"rights": ["Listen", "Send"], "primaryKey": "key-of-sendlisten"}
    answer = await world.client.put("/-/api/rules/sendlisten", json=rule, headers=world.auth())
    assert answer.status_code in (200, 201), answer.text
    port = dotnet.string.port
    string = ConnectionString.parse(
        f"Endpoint=sb://localhost:{port}/;SharedAccessKeyName=sendlisten;SharedAccessKey=key-of-sendlisten;"
        "EntityPath=authenticated"
    )
    listener = Listener(string, dotnet.tls, tape=dotnet.tape)
    dotnet.listeners.append(listener)
    await listener.open()
    far = RemoteForward(listener)
    running = asyncio.create_task(far.run())
    yield Bridge(dotnet, string, listener, far)
    await listener.close()
    await running


@contextlib.asynccontextmanager
async def serving(handle) -> AsyncIterator[int]:  # type: ignore[no-untyped-def]
    """A TCP server on a free port."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def count_then_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end of the client's direction, and only then answer: with the count, and as many bytes."""
    count = len(await reader.read(-1))
    writer.write(f"{count}\n".encode() + b"x" * count)
    writer.write_eof()
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("size", [0, 5, 5 * MEGABYTE])
async def test_tcp_client_that_ends_its_direction_still_gets_the_whole_answer(bridge: Bridge, size: int) -> None:
    """B-tcp: C08; the half-close goes through as a Close that nobody answers for the far end."""
    async with serving(count_then_answer) as target, serving(bridge.near("db").serve) as local:
        bridge.far.targets["db"] = lambda: asyncio.open_connection("127.0.0.1", target)
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"y" * size)
        writer.write_eof()
        async with asyncio.timeout(30):
            assert await reader.read(-1) == f"{size}\n".encode() + b"x" * size
        writer.close()
    if size == 5:
        compare(bridge.dotnet.tape, "dotnet/bridge", "A bridged TCP connection that half-closes, preamble included.")


async def test_many_tcp_connections_share_the_bridge(bridge: Bridge) -> None:
    """B-tcp"""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def talk(port: int, number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said = f"connection {number}".encode() * 1000
        writer.write(said)
        got = await reader.readexactly(len(said))
        writer.close()
        assert got == said
        return got

    async with serving(echo) as target, serving(bridge.near("echo").serve) as local:
        bridge.far.targets["echo"] = lambda: asyncio.open_connection("127.0.0.1", target)
        async with asyncio.timeout(30):
            assert len(await asyncio.gather(*(talk(local, number) for number in range(30)))) == 30


async def test_unix_socket_at_both_ends(bridge: Bridge, tmp_path: Path) -> None:
    """B-unix"""
    far, near = tmp_path / "far", tmp_path / "near"
    bridge.far.targets["socket"] = lambda: asyncio.open_unix_connection(far)
    async with (
        await asyncio.start_unix_server(count_then_answer, far),
        await asyncio.start_unix_server(bridge.near("socket").serve, near),
    ):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read(-1) == b"5\nxxxxx"
        writer.close()


async def test_datagrams_keep_their_borders_and_their_peers(bridge: Bridge) -> None:
    """B-udp"""
    async with contextlib.AsyncExitStack() as stack:
        target, heard = await stack.enter_async_context(datagrams(local=("127.0.0.1", 0)))
        bridge.far.datagram_targets["dns"] = target.get_extra_info("sockname")
        local = await stack.enter_async_context(bridge.near("dns").serve_datagrams())
        peers = [await stack.enter_async_context(datagrams(remote=local)) for _ in range(2)]
        sizes = (0, 1, 512, 9000)
        async with asyncio.timeout(20):
            for number, (peer, answers) in enumerate(peers):
                for size in sizes:
                    sent = bytes([number]) + os.urandom(size)
                    peer.sendto(sent)
                    data, sender = await heard.get()
                    assert data == sent
                    target.sendto(b"re:" + data, sender)
                    assert (await answers.get())[0] == b"re:" + sent


@pytest.mark.parametrize(
    ("kind", "version", "answer"), [(TCP, b"\x02\x00", "000000"), (TCP, VERSION, "000001"), (UDP, VERSION, "0000ff")]
)
async def test_preamble_that_the_far_end_cannot_serve_is_answered_and_closed(
    bridge: Bridge, kind: int, version: bytes, answer: str
) -> None:
    """B-preamble"""
    stream, told = await bridge.near("nobody").open(kind, version)
    assert told.hex() == answer
    assert await stream.read() == b""
    await stream.close()


async def test_http_origin_behind_the_bridge(bridge: Bridge) -> None:
    """B-http: the origin's Content-Length is copied as an end-to-end header, and framed from the bytes all the same."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        said = f"{head.partition(' HTTP')[0]}|{body.decode()}".encode()
        writer.write(b"HTTP/1.1 201 Made It\r\nX-Own: yes\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(said) + said)
        await writer.drain()
        writer.close()

    client, headers = bridge.dotnet.http("authenticated")
    async with serving(origin) as port, client:
        bridge.listener.request_handler = forwarding(f"http://127.0.0.1:{port}")
        answer = await client.send("POST", "/authenticated/path?x=1", headers, b"hello")
        assert (answer.status, answer.reason) == (201, "Made It")
        assert answer.content == b"POST /path?x=1|hello"
        assert answer.values("X-Own") == ["yes"]
        assert answer.values("Content-Length") == ["20"]
        for name in ("Connection", "Keep-Alive"):
            assert answer.values(name) == []
