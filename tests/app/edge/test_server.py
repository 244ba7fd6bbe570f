"""How the gateway stops: work under way is finished, clients are told, the process exits 0."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from wires import closed, upgrade_head, upgraded
from worlds import KEY, KEY_NAME, RELAYS, Listener, Request, World, running_gateway

from app.access.sas import make_token
from app.config import Deadlines


class Held:
    """A listener that answers, or comes, only when it is let."""

    def __init__(self) -> None:
        self.arrived, self.go = asyncio.Event(), asyncio.Event()

    async def on_request(self, listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        self.arrived.set()
        await self.go.wait()
        await listener.respond(request, socket, b"finished")


async def draining(world: World) -> asyncio.Task[None]:
    """Begin to stop; returns once new work is refused."""
    stopping = asyncio.create_task(world.gateway.server.shutdown())
    while not world.gateway.context.is_draining:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return stopping


async def test_a_drain_finishes_what_is_under_way_and_refuses_what_is_new(world: World) -> None:
    """R14: a request gets its answer, a held sender its listener; newcomers are told to come back."""
    held, come = Held(), asyncio.Event()

    async def on_accept(accept: Request) -> None:
        held.arrived.set()
        await come.wait()
        await listener.echo(accept)

    listener = await world.listen("hyco", on_accept=on_accept, on_request=held.on_request)
    answer = asyncio.create_task(world.client.get("/hyco", headers=world.auth()))
    await held.arrived.wait()
    held.arrived.clear()
    sender = asyncio.create_task(world.connect("hyco").__aenter__())
    await held.arrived.wait()
    stopping = await draining(world)
    refused = await world.raw()
    await refused.send(f"GET /hyco HTTP/1.1\r\nHost: {world.host}\r\n\r\n")
    head = (await refused.answer())[1]
    assert head.startswith("HTTP/1.1 503 ")
    assert "\r\nRetry-After: 1\r\n" in head
    for path in ("hyco", "hyco?sb-hc-action=listen"):
        with pytest.raises(InvalidStatus, match="503"):
            await world.connect(path)
    come.set()
    socket = await sender
    await socket.send("in time")
    assert await socket.recv() == "in time"
    held.go.set()  # only now: with nothing under way any more, the gateway says good-bye at once
    assert (await answer).text == "finished"
    code, reason = await listener.closed()
    assert (code, (reason or "").partition(" TrackingId:")[0]) == (1012, "The gateway is restarting.")
    await socket.wait_closed()
    assert socket.close_code == 1012
    await stopping


async def test_a_drain_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(drain_seconds=0.1, close_seconds=0.3)) as world:
        held = Held()
        listener = await world.listen("hyco", on_request=held.on_request)
        waiting = await world.raw()
        auth = f"ServiceBusAuthorization: {world.token()}"
        await waiting.send(f"GET /hyco HTTP/1.1\r\nHost: {world.host}\r\n{auth}\r\n\r\n")
        await held.arrived.wait()
        stopping = await draining(world)
        assert (await listener.closed())[0] == 1012
        await waiting.rest()
        await stopping


async def test_a_peer_that_does_not_say_goodbye_cannot_hold_the_gateway(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(close_seconds=0.3)) as world:
        wire = await upgraded(world, "/$hc/hyco?sb-hc-action=listen")
        stopping = await draining(world)
        assert (await closed(wire))[0] == 1012
        await stopping


async def test_a_sender_whose_listener_never_comes_is_turned_away_by_the_drain(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(drain_seconds=0.1)) as world:
        arrived = asyncio.Event()

        async def on_accept(accept: Request) -> None:
            arrived.set()

        await world.listen("hyco", on_accept=on_accept)
        wire = await world.raw()
        await wire.send(upgrade_head(world, "/$hc/hyco"))
        await arrived.wait()
        stopping = await draining(world)
        assert (await wire.rest()).startswith(b"HTTP/1.1 503 ")
        await stopping


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`fanway serve` as a process of its own, and its URL."""
    relays = folder / "relays.json"
    rules = [{"name": KEY_NAME, "rights": ["Listen", "Send", "Manage"], "primaryKey": KEY}]
    relays.write_text(json.dumps({"relays": RELAYS, "rules": rules}))
    code = "from app.commands import serve; serve()"
    arguments = ["--listen", "127.0.0.1:0", "--no-tls", "--data", str(folder / "data"), "--relays", str(relays)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line: dict[str, Any] = json.loads(await process.stdout.readline())
        yield process, line["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_process_exits_0(tmp_path: Path, number: signal.Signals) -> None:
    """R14: while it drains, the rendezvous of a request under way is still accepted."""
    async with serving(tmp_path) as (process, url):
        headers = {"ServiceBusAuthorization": make_token(url, KEY_NAME, KEY, 4_000_000_000)}
        ws = url.replace("http", "ws")
        async with (
            connect(f"{ws}/$hc/shop?sb-hc-action=listen", additional_headers=headers) as control,
            httpx.AsyncClient(base_url=url, timeout=20, headers=headers) as client,
        ):
            assert (await client.get("/-/health/ready")).status_code == 200
            answer = asyncio.create_task(client.post("/shop", content=bytes(100_000)))
            command = json.loads(await control.recv())["request"]
            process.send_signal(number)
            while (await client.get("/-/health/ready")).status_code == 200:
                pass
            async with connect(command["address"]) as meeting:
                request = json.loads(await meeting.recv())["request"]
                body = await meeting.recv()
                response = {"requestId": request["id"], "statusCode": 200, "body": True}
                await meeting.send(json.dumps({"response": response}))
                await meeting.send(body)
            assert (await answer).content == bytes(100_000)
            await control.wait_closed()
            assert control.close_code == 1012
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()
