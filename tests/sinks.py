"""A sink in the test process: an HTTP server that keeps what it was sent and answers, or misbehaves, as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

CONSENT = b"HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, *lines: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status} Said", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


@dataclass
class Received:
    """A request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Sink:
    """`answers` are given in turn to deliveries (the last one for ever), `consent` to OPTIONS. An answer may be a
    coroutine function that does what it likes with the connection."""

    answers: list[bytes | Behaviour] = field(default_factory=lambda: [answer(204)])
    consent: bytes | Behaviour = CONSENT
    received: list[Received] = field(default_factory=list)
    asked: list[Received] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that was received makes it true."""
        async with asyncio.timeout(30), self._arrived:
            await self._arrived.wait_for(holds)

    async def got(self, count: int) -> list[Received]:
        """The first `count` deliveries."""
        await self.until(lambda: len(self.received) >= count)
        return self.received[:count]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                request = await _read(reader, number)
                await self._answer(request, writer)

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        async with self._arrived:
            if request.method == "OPTIONS":
                self.asked.append(request)
                reply = self.consent
            else:
                self.received.append(request)
                reply = self.answers[min(len(self.received), len(self.answers)) - 1]
            self.open += 1
            self.most_open = max(self.open, self.most_open)
            self._arrived.notify_all()
        try:
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(request, writer)
        finally:
            self.open -= 1


@contextlib.asynccontextmanager
async def running_sink(
    *answers: bytes | Behaviour, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sink]:
    sink = Sink(list(answers)) if answers else Sink()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await sink.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=tls)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, number: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = line.split(" ")
    headers = {}
    for each in lines:
        name, _, value = each.partition(":")
        assert name.lower() not in headers, f"{name} stands twice"
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body, number)


async def silence(request: Received, writer: asyncio.StreamWriter) -> None:
    """No answer, until the peer gives up."""
    await asyncio.sleep(3600)


async def hang_up(request: Received, writer: asyncio.StreamWriter) -> None:
    """The connection is lost."""
    writer.transport.abort()
    raise ConnectionAbortedError


def endless(head: bytes, piece: bytes) -> Behaviour:
    """An answer that never ends: as much of it as the peer takes."""

    async def send(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return send
