"""Upgrades whose head is one that came before but for its key: nothing but the parsing is spared them."""

from __future__ import annotations

import asyncio
import re

import pytest
from websockets.asyncio.client import ClientConnection
from wires import KEY_LINES, until, upgrade_head
from worlds import KEY_NAME, Listener, Request, World

from app.edge.server import EdgeServer
from app.wire.frames import accept_key

KEYS = ["dGhlIHNhbXBsZSBub25jZQ==", "x3JJHMbDL1EzLkh9GBhXDw==", "AAAAAAAAAAAAAAAAAAAAAA=="]


def with_key(head: str, key: str) -> str:
    assert KEY_LINES in head
    return re.sub(r"(Sec-WebSocket-Key: )\S+", rf"\g<1>{key}", head)


def remembered(server: EdgeServer) -> int:
    return len(server.config.http_protocol_class.upgrades._heads)  # type: ignore[union-attr]


async def test_each_subscriber_is_answered_by_its_own_key(world: World) -> None:
    head = upgrade_head(world, "/-/events/news/a")
    for key in KEYS:
        wire = await world.raw()
        await wire.send(with_key(head, key))
        assert f"\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n" in await wire.head()
    assert remembered(world.gateway.server) == 1


async def test_each_sender_is_told_to_the_listener_with_its_own_key(world: World) -> None:
    listener = await world.listen("hyco")
    head, before = upgrade_head(world, "/$hc/hyco"), remembered(world.gateway.server)
    for key in KEYS:
        wire = await world.raw()
        await wire.send(with_key(head, key))
        assert f"\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n" in await wire.head()
    assert [accept["connectHeaders"]["Sec-WebSocket-Key"] for accept in listener.accepts] == KEYS
    assert len({accept["id"] for accept in listener.accepts}) == len(KEYS)
    assert remembered(world.gateway.server) == before + 1


async def test_what_is_for_one_time_only_is_not_kept(world: World) -> None:
    """An address of a rendezvous, or a head with the id of one connection."""
    await world.listen("hyco")
    before = remembered(world.gateway.server)
    async with world.connect("hyco?sb-hc-id=one"):
        assert remembered(world.gateway.server) == before


async def test_a_repeated_upgrade_needs_its_right_each_time(world: World) -> None:
    head = upgrade_head(world, "/-/events/news/a")
    wire = await world.raw()
    await wire.send(head)
    assert (await wire.head()).startswith("HTTP/1.1 101 ")
    registry, namespace = world.gateway.registry, world.gateway.namespace
    await registry.rotate_key(namespace, None, KEY_NAME, "primary")
    wire = await world.raw()
    await wire.send(head)
    assert (await wire.head()).startswith("HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/-/events/news/a", "/$hc/hyco?sb-hc-action=listen"])
async def test_a_repeated_upgrade_behind_a_repeated_request_is_refused_in_its_turn(world: World, path: str) -> None:
    """S31: not even the parser has seen anything of this connection."""
    may_answer = asyncio.Event()
    may_answer.set()

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await may_answer.wait()
        await listener.respond(request, socket, b"done")

    listener = await world.listen("open", on_request=on_request)
    request, head = f"GET /open HTTP/1.1\r\nHost: {world.host}\r\n\r\n", upgrade_head(world, path)
    first, other, wire = await world.raw(), await world.raw(), await world.raw()
    await first.send(request)
    assert (await first.answer())[0] == 200
    await other.send(head)
    assert (await other.head()).startswith("HTTP/1.1 101 ")
    may_answer.clear()
    await wire.send(request)
    await until(lambda: len(listener.requests) == 2)
    await wire.send(head)
    seams = world.gateway.server.server_state.connections
    await until(lambda: any(len(seam._queue) == 2 for seam in seams))  # type: ignore[union-attr]
    may_answer.set()
    assert (await wire.answer())[0] == 200
    assert (await wire.answer())[0] == 400
    assert await wire.rest() == b""


async def test_the_end_of_a_head_that_came_in_two_reads_is_never_taken_for_a_head(world: World) -> None:
    """Else a stranger who sends that end alone would be who sent its beginning: path, token and all."""
    head = upgrade_head(world, "/-/events/news/a").encode()
    seams = world.gateway.server.server_state.connections
    lines = [place for place in range(len(head)) if head[place - 1 : place] == b"\n"]
    for cut in sorted({*lines, *range(1, len(head) - 1, 11)}):
        known = set(seams)
        wire, stranger = await world.raw(), await world.raw()
        wire.writer.write(head[:cut])
        await until(lambda known=known, cut=cut: any(seam._size.count == cut for seam in set(seams) - known))  # type: ignore[misc]
        await wire.send(head[cut:])
        assert (await wire.head()).startswith("HTTP/1.1 101 ")
        assert remembered(world.gateway.server) == 0
        await stranger.send(head[cut:])
        if not head[cut:].startswith(b"\r\n"):  # an empty line before a request is nothing
            assert (await stranger.head()).startswith(("HTTP/1.1 400 ", "HTTP/1.1 501 "))
        wire.writer.close()
        stranger.writer.close()


async def test_what_follows_a_cut_beginning_is_not_what_it_looks_like(world: World) -> None:
    """A whole head as the value of a header of another: who sends it alone gets what it says."""
    inner, evil = upgrade_head(world, "/-/events/news/a"), upgrade_head(world, "/-/events/evil/a")
    wire = await world.raw()
    seams = world.gateway.server.server_state.connections
    wire.writer.write((evil.partition("\r\n")[0] + "\r\nX-A: ").encode())
    await until(lambda: any(seam._size.count for seam in seams))  # type: ignore[union-attr]
    await wire.send(inner)
    assert (await wire.head()).startswith("HTTP/1.1 101 ")
    assert remembered(world.gateway.server) == 0
