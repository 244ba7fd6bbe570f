"""What one writes in an hour with FastAPI on uvicorn: events, joined sockets, relayed requests, one send at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()


class Stream:
    """A subscriber by server-sent events."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str] = asyncio.Queue()

    async def send_text(self, text: str) -> None:
        await self.texts.put(text)


Subscriber = WebSocket | Stream

subscribers: dict[str, set[Subscriber]] = {}
listeners: dict[str, tuple[WebSocket, asyncio.Future[WebSocket]]] = {}
tunnels: list[WebSocket] = []
answers: dict[str, asyncio.Future[Response]] = {}
request_ids = itertools.count(1)


@app.websocket("/subscribe/{addresses}")
async def subscribe(ws: WebSocket, addresses: str) -> None:
    """A subscriber: every text published to the addresses, with commas between them, comes out here."""
    await ws.accept()
    join(ws, addresses)
    try:
        while True:
            await ws.receive_text()
    except WebSocketDisconnect:
        leave(ws, addresses)


@app.get("/events/{addresses}")
async def events(addresses: str) -> StreamingResponse:
    """The same as server-sent events."""
    stream = Stream()
    join(stream, addresses)

    async def blocks() -> AsyncIterator[str]:
        try:
            while True:
                yield f"data: {await stream.texts.get()}\n\n"
        finally:
            leave(stream, addresses)

    return StreamingResponse(blocks(), media_type="text/event-stream")


def join(subscriber: Subscriber, addresses: str) -> None:
    """Note it at each of the addresses."""
    for address in addresses.split(","):
        subscribers.setdefault(address, set()).add(subscriber)


def leave(subscriber: Subscriber, addresses: str) -> None:
    """Forget it."""
    for address in addresses.split(","):
        subscribers[address].discard(subscriber)


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
    mate: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
    listeners[name] = (ws, mate)
    await ws.accept()
    await copy(ws, await mate)


@app.websocket("/connect/{name}")
async def connect(ws: WebSocket, name: str) -> None:
    """The connecting half: from now on messages pass both ways."""
    await ws.accept()
    listener, mate = listeners.pop(name)
    mate.set_result(ws)
    await copy(ws, listener)


async def copy(source: WebSocket, target: WebSocket) -> None:
    """One direction, message by message, until either is gone, and with it the other."""
    try:
        while True:
            await target.send_bytes(await source.receive_bytes())
    except (RuntimeError, WebSocketDisconnect):
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await target.close()


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
