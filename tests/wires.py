"""Requests and WebSockets spoken byte by byte, for what no well-behaved library would send."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from worlds import Listener, OnRequest, Request, Wire, World

from app.wire.frames import CLOSE, TEXT, frame_head

KEY_LINES = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE_LINES = "Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY_LINES


def masked(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    """A client's frame."""
    head = bytearray(frame_head(opcode, len(payload), fin))
    head[1] |= 128
    return bytes(head) + bytes(4) + payload  # a mask of zeros is a mask


def close_frame(code: int, reason: str = "") -> bytes:
    return masked(CLOSE, code.to_bytes(2, "big") + reason.encode())


def upgrade_head(world: World, path: str, *lines: str) -> str:
    """An upgrade request for `path`, which holds the query too, with the root token."""
    token = f"ServiceBusAuthorization: {world.token()}"
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {world.host}", token, *lines, UPGRADE_LINES, ""])


async def upgraded(world: World, path: str, *lines: str, wire: Wire | None = None) -> Wire:
    """A connection whose upgrade was answered with 101."""
    wire = wire or await world.raw()
    await wire.send(upgrade_head(world, path, *lines))
    head = await wire.head()
    assert head.startswith("HTTP/1.1 101 "), head
    return wire


async def frame(wire: Wire) -> tuple[int, bool, bytes]:
    """The next frame from the gateway: opcode, whether it is final, payload."""
    async with asyncio.timeout(10):
        first, length = await wire.reader.readexactly(2)
        if length > 125:
            length = int.from_bytes(await wire.reader.readexactly(2 if length == 126 else 8), "big")
        return first & 15, first > 127, await wire.reader.readexactly(length)


async def closed(wire: Wire) -> tuple[int, str]:
    """Code and reason of the Close that comes next, after which the gateway ends the connection."""
    opcode, _, payload = await frame(wire)
    assert opcode == CLOSE, (opcode, payload)
    assert await wire.rest() == b""
    return int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode()


async def small_window(world: World) -> Wire:
    """A connection whose client takes little before it reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", world.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    wire = Wire(reader, writer)
    world.cleanup.callback(wire.abort)
    return wire


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what shows only in the gateway's own state."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def answering(*args: Any, **kwargs: Any) -> OnRequest:
    """A handler that gives one answer."""

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, *args, **kwargs)

    return on_request


async def ask(world: World, path: str, *lines: str, method: str = "GET", wire: Wire | None = None) -> Wire:
    """A request written by hand; the answer is still to be read."""
    wire = wire or await world.raw()
    await wire.send("\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {world.host}", *lines, "", ""]))
    return wire


async def send_response(meeting: Wire, id: str, **members: Any) -> None:
    """A listener's answer to request `id`; its body is still to be sent."""
    response = {"requestId": id, "statusCode": 200, "body": True, **members}
    await meeting.send(masked(TEXT, json.dumps({"response": response}).encode()))
