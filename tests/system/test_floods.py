"""Too much of everything: what is remembered stays bounded, nothing is left behind, and the gateway stops in order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from programs import FANWAY
from subscribers import receive, session, socket
from worlds import KEY, KEY_NAME, World, running_gateway

from app.wire.frames import TEXT
from fanway.token import make_token

ADDRESSES = 18_000  # more than there are places for plans
PLANS = 16_384
CYCLES = 2_000
KEPT = 50
RELAYS = [{"name": "many", "history": {"keep": "memory", "events": KEPT}}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def test_a_publisher_to_ever_new_addresses_fills_neither_plans_nor_history(world: World) -> None:
    """100,000 addresses from one publisher must not cost more than the places there are."""
    realm = world.gateway.context.realm(world.host)
    async with socket(world, f"many/a{ADDRESSES - 1}") as last, session(world) as flood:
        for number in range(ADDRESSES):
            await flood.websocket.send(f'{{"t":"pub","address":"many/a{number}"}}\n{number}')
        assert await receive(last) == str(ADDRESSES - 1)
        assert realm.router.snapshot().plans <= PLANS
        relay = realm.find("many")
        assert relay is not None
        assert len(realm.history(relay)) == KEPT
        assert realm.history(relay).head == ADDRESSES


async def test_subscribing_and_unsubscribing_again_and_again_leaves_nothing(world: World) -> None:
    realm = world.gateway.context.realm(world.host)
    async with session(world) as cycling:
        for number in range(CYCLES):
            await cycling.websocket.send(f'{{"t":"sub","r":1,"sub":{number},"pattern":"many/{number % 7}/*"}}')
            await cycling.websocket.send(f'{{"t":"unsub","r":2,"sub":{number}}}')
        for number in range(2 * CYCLES):
            header = await cycling.header()
            assert (header["t"], header["r"]) == ("ok", 1 + number % 2)
        assert realm.router.is_empty
        await cycling.subscribe(1, "many/**")
        receipt = await cycling.send("pub", "after it", address="many/1/x")
        answers = [await cycling.next() for _ in range(2)]
        assert sorted(header["t"] for header, _ in answers) == ["ev", "ok"]
        assert next(header for header, _ in answers if header["t"] == "ok")["r"] == receipt


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`fanway serve` as a process of its own, and its URL."""
    relays = folder / "relays.json"
    rules = [{"name": KEY_NAME, "rights": ["Listen", "Send", "Manage"], "primaryKey": KEY}]
    relays.write_text(json.dumps({"relays": RELAYS, "rules": rules}))
    command = [str(FANWAY), "serve", "--listen", "127.0.0.1:0", "--no-tls", "--json"]
    command += ["--data", str(folder / "data"), "--relays", str(relays)]
    environment = {**os.environ, "FANWAY_DEADLINES__CLOSE_SECONDS": "0.5"}  # who floods never says goodbye
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
    try:
        assert process.stdout is not None
        yield process, json.loads(await process.stdout.readline())["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def upgraded(url: str, path: str, protocol: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A raw WebSocket at the events door."""
    host = url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    lines = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "ServiceBusAuthorization": make_token(url, KEY_NAME, KEY, 4_000_000_000),
    }
    if protocol:
        lines["Sec-WebSocket-Protocol"] = protocol
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET /-/events{path} HTTP/1.1\r\n{head}\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


def masked(text: str) -> bytes:
    """A client's frame with a mask of zeros."""
    return bytes((0x80 | TEXT, 0x80 | len(text))) + bytes(4) + text.encode()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: bytes) -> None:
    """Send until the gateway closes; what it says is dropped."""

    async def drop() -> None:
        while await reader.read(1 << 16):
            pass

    dropping = asyncio.create_task(drop())
    with contextlib.suppress(ConnectionError):
        while not dropping.done():
            writer.write(frames)
            await writer.drain()
            await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        await dropping
    writer.close()


async def test_a_signal_under_full_load_ends_the_process_in_order(tmp_path: Path) -> None:
    """Publishers flood, a session subscribes and unsubscribes, many read: it exits 0 and complains of nothing."""
    cycle = masked('{"t":"sub","r":1,"sub":1,"pattern":"many/**"}') + masked('{"t":"unsub","r":2,"sub":1}')
    async with serving(tmp_path) as (process, url):
        subscribers = [await upgraded(url, "/many/fan") for _ in range(20)]
        floods = [(await upgraded(url, "/many/fan?mode=publish"), masked("x" * 64) * 500) for _ in range(2)]
        floods.append((await upgraded(url, "", "fanway.v1"), cycle * 50))
        tasks = [asyncio.create_task(flood(*streams, frames)) for streams, frames in floods]
        for reader, _ in subscribers:
            assert await reader.readexactly(100_000)
        process.send_signal(signal.SIGTERM)
        tasks += [asyncio.create_task(read_to_the_end(*streams)) for streams in subscribers]
        async with asyncio.timeout(30):
            assert await process.wait() == 0
            await asyncio.gather(*tasks)
        assert process.stderr is not None
        complaints = (await process.stderr.read()).lower()
        assert b"traceback" not in complaints
        assert b"error" not in complaints


async def read_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the gateway closes."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass
    writer.close()
