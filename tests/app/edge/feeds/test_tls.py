"""The events door under TLS, where the transport hides what it owes."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from subscribers import publish, session
from websockets.asyncio.client import connect
from wires import masked
from worlds import World, running_gateway

from app.edge.feeds.turns import Turns
from app.wire.frames import TEXT


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    relays = [{"name": "orders"}, {"name": "news", "budget": 65536}]
    async with running_gateway(tmp_path, tls=True, relays=relays) as running:
        yield running


async def test_events_cross_from_plain_to_tls(world: World) -> None:
    url = f"wss://localhost:{world.tls_port}/-/events/orders/**"
    headers = {"ServiceBusAuthorization": world.token()}
    async with connect(url, ssl=world.tls(), additional_headers=headers, max_size=None) as subscriber:
        for size in (1, 70_000, 1 << 20):
            await publish(world, "orders/a", b"x" * size)
            async with asyncio.timeout(10):
                assert len(await subscriber.recv()) == size
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await publish(world, "orders/a")
        assert (await peer.next())[1] == b"x"


async def test_a_stalled_subscriber_under_tls_is_closed_too(world: World) -> None:
    """W07: its debt is counted although the transport reports none."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", world.tls_port))
    reader, writer = await asyncio.open_connection(sock=raw, ssl=world.tls(), server_hostname="localhost", limit=1024)
    request = f"GET /-/events/news/a HTTP/1.1\r\nHost: {world.host}\r\nAccept: text/event-stream\r\n"
    writer.write(f"{request}ServiceBusAuthorization: {world.token()}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    published = 0
    while (await publish(world, "news/a", b"x" * 20_000))["matched"]:
        published += 1
        assert published < 1000
    assert published >= 3
    writer.transport.abort()


async def test_what_a_publisher_under_tls_sent_before_it_left_is_published(world: World) -> None:
    """Its goodbye comes in the same breath as its last events, while they wait for their turn."""
    world.gateway.context.turns = NoTime()
    url = f"wss://localhost:{world.tls_port}/-/events/orders/a?mode=publish"
    async with session(world) as watcher:
        await watcher.subscribe(1, "orders/**")
        publisher = await connect(
            url, ssl=world.tls(), additional_headers={"ServiceBusAuthorization": world.token()}, close_timeout=0
        )
        publisher.transport.write(b"".join(masked(TEXT, b"%d" % number) for number in range(3000)))
        publisher.transport.close()
        for number in range(3000):
            assert (await watcher.next())[1] == b"%d" % number


class NoTime(Turns):
    """Turns that are over at once."""

    def length(self, now: float) -> float:
        return 1e-9
