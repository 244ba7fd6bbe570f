"""Two ends of a bridge that behave on the wire as azbridge does: TCP, UDP, Unix sockets over streams of the .NET SDK.

A stream begins with four bytes (version 1.0, TCP or UDP, length of the port's name) and, in a message of its own, the
name; the far end answers with three. Then bytes go both ways. The end of a TCP direction is the stream's shutdown, its
half-close. Datagrams travel with their length in two bytes before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
from dotnet import ConnectionString, Context, Listener, Stream, create_connection
from dotnet_world import DotNet

TCP, UDP = 0, 1
VERSION = b"\x01\x00"

Opener = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class RemoteForward:
    """The far end: accepts streams at a relay and dials targets by the name of their port."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.targets: dict[str, Opener] = {}
        self.datagram_targets: dict[str, tuple[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until the listener is closed."""
        while (stream := await self.listener.accept_connection()) is not None:
            task = asyncio.create_task(self._serve(stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        preamble = await stream.read_exactly(4)
        kind, size = preamble[2], preamble[3]
        name = (await stream.read_exactly(size)).decode()
        if preamble[:2] != VERSION:
            answer = b"\x00\x00\x00"
        elif kind == UDP and name not in self.datagram_targets:
            answer = b"\x00\x00\xff"
        elif kind == TCP and name not in self.targets:
            answer = b"\x00\x00\x01"
        else:
            answer = VERSION + bytes([kind])
        await stream.write(answer)
        if answer[0] == 0:
            await stream.close()
        elif kind == TCP:
            await pump(stream, *await self.targets[name]())
        else:
            await self._serve_datagrams(stream, self.datagram_targets[name])

    async def _serve_datagrams(self, stream: Stream, target: tuple[str, int]) -> None:
        async with datagrams(remote=target) as (transport, received):

            async def back() -> None:
                while True:
                    data, _ = await received.get()
                    await write_datagram(stream, data)

            task = asyncio.create_task(back())
            while (data := await read_datagram(stream)) is not None:
                transport.sendto(data)
            task.cancel()
            await stream.close()


class LocalForward:
    """The near end: each connection to a local port becomes a stream to `name` at the far end."""

    def __init__(self, dotnet: DotNet, string: ConnectionString, name: str) -> None:
        self.dotnet, self.string, self.name = dotnet, string, name

    async def open(self, kind: int, version: bytes = VERSION) -> tuple[Stream, bytes]:
        """A stream with its preamble sent, and the far end's answer to it."""
        stream = await create_connection(self.string, self.dotnet.tls, tape=self.dotnet.tape)
        await stream.write(version + bytes([kind, len(self.name)]))
        await stream.write(self.name.encode())
        return stream, await stream.read_exactly(3)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection, as `asyncio.start_server` hands it over."""
        stream, answer = await self.open(TCP)
        assert answer == VERSION + bytes([TCP])
        await pump(stream, reader, writer)

    @contextlib.asynccontextmanager
    async def serve_datagrams(self) -> AsyncIterator[tuple[str, int]]:
        """A local UDP port; each peer has a stream of its own."""
        streams: dict[Any, Stream] = {}
        tasks: list[asyncio.Task[None]] = []
        async with datagrams(local=("127.0.0.1", 0)) as (transport, received):

            async def back(stream: Stream, peer: Any) -> None:
                while (data := await read_datagram(stream)) is not None:
                    transport.sendto(data, peer)

            async def forth() -> None:
                while True:
                    data, peer = await received.get()
                    if peer not in streams:
                        streams[peer], answer = await self.open(UDP)
                        assert answer == VERSION + bytes([UDP])
                        tasks.append(asyncio.create_task(back(streams[peer], peer)))
                    await write_datagram(streams[peer], data)

            tasks.append(asyncio.create_task(forth()))
            try:
                yield transport.get_extra_info("sockname")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def pump(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Join a stream and a connection; the end of either direction is told to the other side alone."""

    async def up() -> None:
        while data := await reader.read(65536):
            await stream.write(data)
        await stream.shutdown()

    async def down() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    try:
        await asyncio.gather(up(), down())
    finally:
        writer.close()
        stream.abort()


async def write_datagram(stream: Stream, data: bytes) -> None:
    await stream.write(struct.pack("!H", len(data)) + data)


async def read_datagram(stream: Stream) -> bytes | None:
    """The next datagram, however its bytes were cut into reads; None at the end."""
    head = await stream.read_exactly(2)
    return await stream.read_exactly(struct.unpack("!H", head)[0]) if len(head) == 2 else None


@contextlib.asynccontextmanager
async def datagrams(
    local: tuple[str, int] | None = None, remote: tuple[str, int] | None = None
) -> AsyncIterator[tuple[asyncio.DatagramTransport, asyncio.Queue[tuple[bytes, Any]]]]:
    """A UDP socket and what it receives."""
    received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.put_nowait((data, addr))

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Receiver, local_addr=local, remote_addr=remote)
    try:
        yield transport, received
    finally:
        transport.close()


def forwarding(origin: str) -> Callable[[Context], Coroutine[Any, Any, None]]:
    """A request handler that asks an HTTP origin: request headers but `Host` go along, answers' but the framing."""

    async def handler(context: Context) -> None:
        target = "/" + context.url.split("/", 4)[-1]
        headers = {name: value for name, value in context.headers.items() if name.lower() != "host"}
        async with httpx.AsyncClient() as client:
            answer = await client.request(context.method, origin + target, headers=headers, content=context.body)
        context.response.status, context.response.description = answer.status_code, answer.reason_phrase
        for name, value in answer.headers.items():
            if name != "transfer-encoding":
                context.response.headers[name] = value
        if answer.content:
            await context.response.write(answer.content)
        await context.response.close()

    return handler
