"""Subscribers and publishers at the events door, as plain clients of each transport would write them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as sockets
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

import httpx
from websockets.asyncio.client import ClientConnection, connect
from worlds import World

from app.edge.feeds.sockets import EventSocket
from app.wire.frames import MessageReader

PATIENCE_SECONDS = 10


class Block(NamedTuple):
    """What an EventSource dispatches."""

    event: str
    data: str
    id: str


class Lines:
    """The lines of a streamed answer."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(self._lines)

    async def is_ended(self) -> bool:
        """Whether nothing more comes, waiting for the end."""
        try:
            await self.line()
        except StopAsyncIteration:
            return True
        return False


class SseStream(Lines):
    """Server-sent events by the WHATWG rules that matter here."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.last_id = ""

    async def block(self) -> Block:
        """The next event that is dispatched; blocks without data only move `last_id`."""
        event, data = "message", []
        while True:
            line = await self.line()
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif not line and data:
                return Block(event, "\n".join(data), self.last_id)
            elif not line:
                event = "message"


class NdjsonStream(Lines):
    """A CloudEvent a line."""

    async def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.line())
        return event


@contextlib.asynccontextmanager
async def sse(world: World, path: str, **headers: str) -> AsyncIterator[SseStream]:
    """An event stream; `path` holds address or pattern and query. The first block is `ready`."""
    async with _streaming(world, path, "text/event-stream", headers) as response:
        yield SseStream(response)


@contextlib.asynccontextmanager
async def ndjson(world: World, path: str, **headers: str) -> AsyncIterator[NdjsonStream]:
    """An NDJSON stream; the first line is of type `fanway.ready`."""
    async with _streaming(world, path, "application/x-ndjson", headers) as response:
        yield NdjsonStream(response)


@contextlib.asynccontextmanager
async def _streaming(world: World, path: str, accept: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
    sent = {**world.auth(), "Accept": accept, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with world.client.stream("GET", f"/-/events/{path}", headers=sent) as response:
        yield response


async def publish(world: World, address: str, body: bytes | str = b"x", **headers: str) -> dict[str, Any]:
    """Publish by POST; the receipt."""
    sent = {**world.auth(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = await world.client.post(f"/-/events/{address}", content=body, headers=sent)
    assert response.status_code == 202, response.text
    receipt: dict[str, Any] = response.json()
    return receipt


def socket(world: World, path: str, **kwargs: Any) -> connect:
    """A WebSocket at the events door."""
    kwargs.setdefault("additional_headers", world.auth())
    return connect(f"{world.ws}/-/events/{path}", max_size=None, compression=None, **kwargs)


async def receive(websocket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await websocket.recv()


class Session:
    """A session of `fanway.v1`, one message at a time."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.hi: dict[str, Any] = {}
        self._r = 0

    async def send(self, t: str, payload: bytes | str | None = None, **members: Any) -> int:
        """Send a message; its number."""
        self._r += 1
        header = json.dumps({"t": t, "r": self._r, **{name.rstrip("_"): value for name, value in members.items()}})
        if payload is None:
            await self.websocket.send(header)
        elif isinstance(payload, str):
            await self.websocket.send(f"{header}\n{payload}")
        else:
            await self.websocket.send(header.encode() + b"\n" + payload)
        return self._r

    async def next(self) -> tuple[dict[str, Any], bytes]:
        """The next message: header and payload."""
        message = await receive(self.websocket)
        head, _, payload = (message.encode() if isinstance(message, str) else message).partition(b"\n")
        return json.loads(head), payload

    async def header(self) -> dict[str, Any]:
        return (await self.next())[0]

    async def event(self) -> tuple[dict[str, Any], bytes]:
        """The next event; what tells the place between is passed over."""
        while (message := await self.next())[0]["t"] in ("cur", "behind"):
            pass
        return message

    async def subscribe(self, sub: int, pattern: str, **members: Any) -> dict[str, Any]:
        """Subscribe; the answer, which must come next."""
        r = await self.send("sub", sub=sub, pattern=pattern, **members)
        answer = await self.header()
        assert answer["r"] == r, answer
        return answer

    async def publish(self, address: str, payload: bytes | str = "x", **members: Any) -> dict[str, Any]:
        """Publish; the answer, which must come next."""
        r = await self.send("pub", payload, address=address, **members)
        answer = await self.header()
        assert answer["r"] == r, answer
        return answer


@contextlib.asynccontextmanager
async def session(world: World, **kwargs: Any) -> AsyncIterator[Session]:
    """A session that has been greeted."""
    kwargs.setdefault("additional_headers", world.auth())
    url = f"{world.ws}/-/events"
    async with connect(url, max_size=None, compression=None, subprotocols=["fanway.v1"], **kwargs) as websocket:
        opened = Session(websocket)
        opened.hi = await opened.header()
        yield opened


class Stalled:
    """A subscriber that asks for events and does not read, through buffers of a few kilobytes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.socket = sockets.socket()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", world.port))
        self.socket.setblocking(False)
        world.cleanup.callback(self.socket.close)

    async def ask(self, path: str, **headers: str) -> None:
        lines = {"Host": self.world.host, **self.world.auth(), **headers}
        text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        before = set(self.world.gateway.context.lives)
        await asyncio.get_running_loop().sock_sendall(
            self.socket, f"GET /-/events/{path} HTTP/1.1\r\n{text}\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await asyncio.get_running_loop().sock_recv(self.socket, 1)
        [self.live] = set(self.world.gateway.context.lives) - before
        transport = (self.live if isinstance(self.live, EventSocket) else self.live.seam).transport  # type: ignore[attr-defined]
        transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
        self.transport = transport

    async def upgrade(self, path: str, **headers: str) -> None:
        key = "AAAAAAAAAAAAAAAAAAAAAA=="
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
        await self.ask(path, **upgrade, Sec_WebSocket_Key=key, **headers)

    async def rest(self) -> bytes:
        """Read again, to the end."""
        data = b""
        async with asyncio.timeout(20):
            while piece := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                data += piece
        return data


class Crowd:
    """Many bare WebSockets at one pattern, whose clients read as fast as they can."""

    def __init__(self) -> None:
        self._members: list[_Member] = []

    async def join(self, world: World, pattern: str, count: int) -> None:
        async with asyncio.timeout(60):
            for _ in range(count):
                _, member = await asyncio.get_running_loop().create_connection(_Member, "127.0.0.1", world.port)
                self._members.append(member)
                member.ask(world, pattern)
                await member.joined.wait()

    async def leave(self) -> None:
        for member in self._members:
            member.transport.abort()
            await member.left.wait()

    async def messages(self, count: int) -> list[list[bytes]]:
        """The next so many of each."""
        async with asyncio.timeout(60):
            for member in self._members:
                while len(member.messages) < count:
                    member.more.clear()
                    await member.more.wait()
        return [member.messages[:count] for member in self._members]


@contextlib.asynccontextmanager
async def crowd(world: World, pattern: str, count: int) -> AsyncIterator[Crowd]:
    """So many who have subscribed."""
    people = Crowd()
    try:
        await people.join(world, pattern, count)
        yield people
    finally:
        await people.leave()


class _Member(asyncio.Protocol):
    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.joined = asyncio.Event()
        self.more = asyncio.Event()
        self.messages: list[bytes] = []
        self._head = b""
        self._reader = MessageReader(1 << 24, masked=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()

    def ask(self, world: World, pattern: str) -> None:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        lines = {"Host": world.host, **world.auth(), **upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(f"GET /-/events/{pattern} HTTP/1.1\r\n{text}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if not self.joined.is_set():
            self._head += data
            _, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            assert self._head.startswith(b"HTTP/1.1 101")
            self.joined.set()
        self.messages += [payload for _, payload in self._reader.feed(data)]
        self.more.set()


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + rest[:length], rest[length + 2 :]
    return body
