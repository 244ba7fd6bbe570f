"""What one writes in an hour with FastAPI on uvicorn: events, joined sockets, relayed requests, one send at a time."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

app = FastAPI()

subscribers: dict[str, set[WebSocket]] = {}
listeners: dict[str, tuple[WebSocket, asyncio.Future[WebSocket]]] = {}
tunnels: list[WebSocket] = []
answers: dict[str, asyncio.Future[Response]] = {}
request_ids = itertools.count(1)


@app.websocket("/subscribe/{address}")
async def subscribe(ws: WebSocket, address: str) -> None:
    """A subscriber: every text published to the address comes out here."""
    await ws.accept()
    subscribers.setdefault(address, set()).add(ws)
    try:
        while True:
            await ws.receive_text()
    except WebSocketDisconnect:
        subscribers[address].discard(ws)


@app.websocket("/publish/{address}")
async def publish(ws: WebSocket, address: str) -> None:
    """A publisher of one address."""
    await ws.accept()
    try:
        while True:
            await broadcast(address, await ws.receive_text())
    except WebSocketDisconnect:
        pass


@app.websocket("/publish")
async def publish_wide(ws: WebSocket) -> None:
    """A publisher of many: the address stands before the first space."""
    await ws.accept()
    try:
        while True:
            address, _, text = (await ws.receive_text()).partition(" ")
            await broadcast(address, text)
    except WebSocketDisconnect:
        pass


async def broadcast(address: str, text: str) -> None:
    """To all subscribers, one awaited send each."""
    for subscriber in list(subscribers.get(address, ())):
        try:
            await subscriber.send_text(text)
        except (RuntimeError, WebSocketDisconnect):
            subscribers[address].discard(subscriber)


@app.websocket("/listen/{name}")
async def listen(ws: WebSocket, name: str) -> None:
    """The listening half of a joined socket; the connecting half comes with the same name."""
    await ws.accept()
    mate: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
    listeners[name] = (ws, mate)
    await copy(ws, await mate)


@app.websocket("/connect/{name}")
async def connect(ws: WebSocket, name: str) -> None:
    """The connecting half: from now on messages pass both ways."""
    await ws.accept()
    listener, mate = listeners.pop(name)
    mate.set_result(ws)
    await copy(ws, listener)


async def copy(source: WebSocket, target: WebSocket) -> None:
    """One direction, message by message, until either is gone."""
    try:
        while True:
            await target.send_bytes(await source.receive_bytes())
    except (RuntimeError, WebSocketDisconnect):
        pass


@app.websocket("/tunnel")
async def tunnel(ws: WebSocket) -> None:
    """A listener for requests: JSON out; JSON and a binary body back."""
    await ws.accept()
    tunnels.append(ws)
    try:
        while True:
            answer = await ws.receive_json()
            body = await ws.receive_bytes()
            future = answers.pop(answer["id"])
            if not future.done():
                future.set_result(Response(body, answer["status"], answer["headers"]))
    except WebSocketDisconnect:
        tunnels.remove(ws)


@app.get("/relay/{path:path}")
async def relay(request: Request, path: str) -> Response:
    """A sender's request: handed to the listener, answered with its answer."""
    request_id = str(next(request_ids))
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    answers[request_id] = future
    command = {"id": request_id, "method": request.method, "path": path, "headers": dict(request.headers)}
    await tunnels[-1].send_json(command)
    return await future


class AnnouncingServer(uvicorn.Server):
    """Prints the port once it serves."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)


def main() -> None:
    """Serve on a free port until SIGTERM, with uvicorn's own choice of loop, parser and WebSocket library."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    AnnouncingServer(uvicorn.Config(app, log_level="warning", access_log=False)).run([sock])


if __name__ == "__main__":
    main()
