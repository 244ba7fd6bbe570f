"""python-socketio on uvicorn: an address is a room."""

from __future__ import annotations

import json
import socket

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi", ping_interval=600, max_http_buffer_size=1 << 22)


async def subscribe(sid: str, address: str) -> bool:
    """A subscriber: what is published to the address comes as `event`."""
    await server.enter_room(sid, address)
    return True


async def publish(sid: str, address: str, text: str) -> None:
    """An event to all who are in the room."""
    await server.emit("event", text, room=address)


class AnnouncingServer(uvicorn.Server):
    """Prints the port once it serves."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)


def main() -> None:
    """Serve on a free port until SIGTERM."""
    server.on("subscribe", subscribe)
    server.on("publish", publish)
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    app = socketio.ASGIApp(server)
    AnnouncingServer(uvicorn.Config(app, log_level="warning", access_log=False)).run([sock])


if __name__ == "__main__":
    main()
