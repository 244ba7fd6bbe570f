"""A gateway in this process on port 0, and the peers that tests let it meet: raw sockets, listeners, senders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect

from app.access.sas import make_token
from app.config import Settings
from app.gateway import Gateway
from app.namespace import Namespace
from app.push.connect import Resolve

KEY_NAME = "RootManageSharedAccessKey"
KEY = "root-key-of-the-test-world"

RELAYS: list[dict[str, Any]] = [
    {"name": "hyco", "profile": "hybridConnection"},
    {"name": "open", "profile": "hybridConnection", "requiresClientAuthorization": False},
    {"name": "shop"},
    {"name": "orders"},
    {
        "name": "ruled",
        "rules": [
            {"name": "listener", "rights": ["Listen"], "primaryKey": "listener-key"},
            {"name": "sender", "rights": ["Send"], "primaryKey": "sender-key"},
        ],
    },
]


class Clock:
    """Wall-clock time that a test may move."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class World:
    """A running gateway and how to reach it."""

    gateway: Gateway
    clock: Clock
    port: int
    tls_port: int | None
    ca: Path | None
    client: httpx.AsyncClient
    cleanup: contextlib.AsyncExitStack = field(repr=False)
    nettcp_port: int = 0
    nettcp_tls_port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def ws(self) -> str:
        return f"ws://{self.host}"

    @property
    def namespace(self) -> Namespace:
        return self.gateway.namespace

    def token(self, path: str = "", *, rule: str = KEY_NAME, key: str = KEY, seconds: float = 3600) -> str:
        return make_token(f"http://{self.host}/{path}", rule, key, int(self.clock() + seconds))

    def auth(self, path: str = "", **kwargs: Any) -> dict[str, str]:
        return {"ServiceBusAuthorization": self.token(path, **kwargs)}

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    async def raw(self) -> Wire:
        """A plain TCP connection to the gateway."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        wire = Wire(reader, writer)
        self.cleanup.callback(wire.abort)  # holds the wire, which must not be collected while it is open
        return wire

    def connect(self, path: str, **kwargs: Any) -> connect:
        """A WebSocket as a sender opens it: `path` holds address and query."""
        kwargs.setdefault("additional_headers", self.auth())
        return connect(f"{self.ws}/$hc/{path}", max_size=None, **kwargs)

    async def listen(self, path: str, **kwargs: Any) -> Listener:
        """A listener at `path`, registered when this returns."""
        listener = Listener(self, path, **kwargs)
        await self.cleanup.enter_async_context(listener)
        return listener


class Wire:
    """Bytes out, bytes in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        await self.writer.drain()

    async def head(self) -> str:
        """The next response head."""
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def answer(self) -> tuple[int, str, bytes]:
        """Status, head and body of the next response that has a Content-Length."""
        head = await self.head()
        length = next((line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:")), "0")
        async with asyncio.timeout(10):
            body = await self.reader.readexactly(int(length))
        return int(head.split(" ")[1]), head, body

    async def rest(self) -> bytes:
        """Everything until the gateway closes; a reset counts as the end."""
        data = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while chunk := await self.reader.read(65536):
                    data += chunk
        return data

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


Request = dict[str, Any]
OnAccept = Callable[[Request], Awaitable[None]]
OnRequest = Callable[["Listener", Request, bytes, ClientConnection], Awaitable[None]]


class Listener:
    """A listener written from the published protocol guide: echoes sockets, answers requests, counts both."""

    def __init__(
        self,
        world: World,
        path: str,
        *,
        on_accept: OnAccept | None = None,
        on_request: OnRequest | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> None:
        self.world = world
        self.url = f"{world.ws}/$hc/{path}?sb-hc-action=listen{query}"
        self.headers = headers if headers is not None else world.auth()
        self.on_accept = on_accept or self.echo
        self.on_request = on_request or self.reflect
        self.accepts: list[Request] = []
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Listener:
        self.socket = await connect(self.url, additional_headers=self.headers, max_size=None)
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._pump.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(self._pump, *self.tasks, return_exceptions=True)
        self.socket.transport.abort()

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait until the gateway has closed the control channel."""
        async with asyncio.timeout(10):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason

    async def _run(self) -> None:
        async for text in self.socket:
            [(name, command)] = json.loads(text).items()
            if name == "accept":
                self.accepts.append(command)
                self._spawn(self.on_accept(command))
            elif "method" not in command:
                self._spawn(self._fetch(command))
            else:
                body = await self.socket.recv() if command["body"] else b""
                self._received(command, body)
                self._spawn(self.on_request(self, command, body, self.socket))

    async def _fetch(self, command: Request) -> None:
        async with connect(command["address"], max_size=None) as socket:
            request = json.loads(await socket.recv())["request"]
            body = await socket.recv() if request["body"] else b""
            self._received(request, body)
            await self.on_request(self, request, body, socket)
            await socket.wait_closed()

    def _received(self, request: Request, body: Any) -> None:
        self.requests.append(request)
        self.bodies.append(body)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def echo(self, accept: Request) -> None:
        """Come to the rendezvous and echo every message."""
        async with connect(accept["address"], max_size=None) as socket:
            async for message in socket:
                await socket.send(message)

    async def reflect(self, _: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        """Answer 200 with the request's body."""
        await self.respond(request, socket, body)

    async def respond(
        self,
        request: Request,
        socket: ClientConnection,
        body: bytes | None = b"",
        status: int | str = 200,
        description: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        response = {
            "requestId": request["id"],
            "statusCode": status,
            "statusDescription": description,
            "responseHeaders": headers or {},
            "body": body is not None,
        }
        await socket.send(json.dumps({"response": response}))
        if body is not None:
            await socket.send(body)


def rejection(address: str, status: int, description: str) -> str:
    """The URL that turns a sender away, as the .NET and Java SDKs spell it."""
    return f"{address}&sb-hc-statusCode={status}&sb-hc-statusDescription={quote(description)}"


@contextlib.asynccontextmanager
async def running_gateway(
    data: Path,
    *,
    relays: list[dict[str, Any]] | None = None,
    rules: list[dict[str, Any]] | None = None,
    tls: bool = False,
    resolve: Resolve | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A gateway with the root key `KEY` and these relays (`RELAYS` by default)."""
    provision = data / "relays.json"
    provision.parent.mkdir(parents=True, exist_ok=True)
    if rules is None:
        rules = [{"name": KEY_NAME, "rights": ["Listen", "Send", "Manage"], "primaryKey": KEY}]
    provision.write_text(json.dumps({"relays": RELAYS if relays is None else relays, "rules": rules}))
    clock = Clock()
    gateway = Gateway(
        Settings(
            listen="127.0.0.1:0",
            tls=tls,
            data=data / "data",
            relays=provision,
            **settings,
        ),
        clock=clock,
        resolve=resolve,
    )
    started = await gateway.start()
    async with contextlib.AsyncExitStack() as cleanup:
        client = await cleanup.enter_async_context(httpx.AsyncClient(base_url=started.url, timeout=20))
        port = httpx.URL(started.url).port
        tls_port = httpx.URL(started.tls_url).port if started.tls_url else None
        assert port is not None
        cleanup.push_async_callback(gateway.stop)
        async with contextlib.AsyncExitStack() as peers:
            nettcp_port, nettcp_tls_port = (
                int(url.rpartition(":")[2]) if url else 0 for url in (started.nettcp_url, started.nettcp_tls_url)
            )
            yield World(gateway, clock, port, tls_port, started.ca, client, peers, nettcp_port, nettcp_tls_port)
