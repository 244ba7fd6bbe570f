"""The `websockets` library on uvloop: `broadcast` for events, two sockets joined message by message."""

from __future__ import annotations

import asyncio
import contextlib
import json

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

subscribers: dict[str, set[ServerConnection]] = {}
listeners: dict[str, tuple[ServerConnection, asyncio.Future[ServerConnection]]] = {}


async def handle(ws: ServerConnection) -> None:
    """One connection; its path says what it is."""
    assert ws.request is not None
    _, verb, *name = ws.request.path.split("/")
    with contextlib.suppress(ConnectionClosed):
        if verb == "subscribe":
            subscribers.setdefault(name[0], set()).add(ws)
            try:
                await ws.wait_closed()
            finally:
                subscribers[name[0]].discard(ws)
        elif verb == "publish":
            async for message in ws:
                assert isinstance(message, str)
                if name:
                    broadcast(subscribers[name[0]], message)
                else:
                    address, _, text = message.partition(" ")
                    broadcast(subscribers[address], text)
        elif verb == "listen":
            mate: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
            listeners[name[0]] = (ws, mate)
            await copy(ws, await mate)
        elif verb == "connect":
            listener, mate = listeners.pop(name[0])
            mate.set_result(ws)
            await copy(ws, listener)


async def copy(source: ServerConnection, target: ServerConnection) -> None:
    """One direction, message by message, until either is gone, and with it the other."""
    async for message in source:
        await target.send(message)
    await target.close()


async def main() -> None:
    """Serve on a free port until killed."""
    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None, backlog=4096) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(json.dumps({"port": port}), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
