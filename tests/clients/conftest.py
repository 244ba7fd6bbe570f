"""A fake gateway for the client's own tests: it speaks only what a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from shells import Shell
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from fanway.connect import Gateway
from fanway.token import Credential


class Line:
    """The gateway's end of one session."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def say(self, payload: str | None = None, /, **header: Any) -> None:
        """Send a message; `from_` stands for `from`."""
        if "from_" in header:
            header["from"] = header.pop("from_")
        await self.connection.send(json.dumps(header) + ("" if payload is None else f"\n{payload}"))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The header of the client's next message, which must be of this kind."""
        message = await asyncio.wait_for(self.connection.recv(), 5)
        raw = message.encode() if isinstance(message, str) else message
        header: dict[str, Any] = json.loads(raw.partition(b"\n")[0])
        assert header["t"] == kind, header
        return header

    async def greet(self, **more: Any) -> None:
        hello = {"session": "s", "namespace": "default", "max_event": 1024, "max_subs": 9, "heartbeat": 15, "exp": None}
        await self.say(t="hi", **{**hello, **more})

    async def accept(self, cursor: str, relay: str = "orders") -> dict[str, Any]:
        """Answer the next `sub`."""
        sub = await self.hear("sub")
        await self.say(t="ok", r=sub["r"], sub=sub["sub"], relay=relay, cursor=cursor)
        return sub

    async def event(self, cursor: str, address: str = "orders/1", **more: Any) -> None:
        await self.say("x", t="ev", a=address, c=cursor, i=cursor, **more)

    async def hold(self) -> None:
        """Stay until the client leaves."""
        await self.connection.wait_closed()


Script = Callable[[Line], Awaitable[None]]


class FakeGateway:
    """Runs one script a connection, in order; the last one serves all that follow."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.tokens: list[str] = []
        self.gateway = Gateway("http://unset", Credential("root", "key"))

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.tokens.append(connection.request.headers["ServiceBusAuthorization"])
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        await script(Line(connection))


@pytest.fixture
async def fake() -> AsyncIterator[FakeGateway]:
    fake = FakeGateway()
    async with serve(
        fake.handle, "127.0.0.1", 0, subprotocols=[Subprotocol("fanway.v1")], compression=None, close_timeout=1
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        fake.gateway = Gateway(f"http://127.0.0.1:{port}", Credential("root", "key"))
        yield fake


@pytest.fixture
async def shell(world: Any, tmp_path: Path) -> AsyncIterator[Shell]:
    folder = tmp_path / "shell"
    folder.mkdir()
    async with AsyncExitStack() as cleanup:
        yield Shell(world, folder, cleanup)
