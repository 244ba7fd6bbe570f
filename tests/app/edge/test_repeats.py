"""Requests whose head is, byte for byte, one that came before: nothing but the parsing is spared them."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection
from wires import answering, until
from worlds import Listener, Request, World


def whole(world: World, method: str = "GET", *lines: str) -> str:
    return "\r\n".join([f"{method} /open/x?a=1 HTTP/1.1", f"Host: {world.host}", "X-A: 1", *lines, "", ""])


def remembered(world: World) -> int:
    (protocol_class,) = {type(seam) for seam in world.gateway.server.server_state.connections}
    return len(protocol_class.heads._heads)  # type: ignore[union-attr]


async def test_a_repeated_request_is_a_request_of_its_own(world: World) -> None:
    listener = await world.listen("open", on_request=answering(b"done"))
    wires = [await world.raw(), await world.raw()]
    for _ in range(3):
        for wire in wires:
            await wire.send(whole(world))
            assert (await wire.answer())[::2] == (200, b"done")
    assert remembered(world) == 1
    assert len({request["id"] for request in listener.requests}) == 6
    assert len({request["address"] for request in listener.requests}) == 6
    ports = [wire.writer.get_extra_info("sockname")[1] for wire in wires]
    assert [request["remoteEndpoint"]["port"] for request in listener.requests] == ports * 3
    same = ["requestTarget", "method", "requestHeaders", "body"]
    assert all(request[key] == listener.requests[0][key] for request in listener.requests for key in same)


async def test_a_remembered_head_in_a_body_is_body(world: World) -> None:
    """S48: what a request is depends on where it stands, not on its bytes."""
    bodies: list[bytes] = []

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        bodies.append(body)
        await listener.respond(request, socket, b"")

    listener = await world.listen("open", on_request=on_request)
    wire = await world.raw()
    for _ in range(2):
        await wire.send(whole(world))
        assert (await wire.answer())[0] == 200
    body = whole(world)
    await wire.send(whole(world, "POST", f"Content-Length: {len(body)}", "Expect: 100-continue"))
    assert (await wire.head()).startswith("HTTP/1.1 100 ")
    await wire.send(body)
    assert (await wire.answer())[0] == 200
    assert (len(listener.requests), bodies[-1]) == (3, body.encode())


async def test_a_remembered_head_behind_an_unfinished_one_belongs_to_it(world: World) -> None:
    listener = await world.listen("open", on_request=answering(b"done"))
    wire = await world.raw()
    await wire.send(whole(world))
    assert (await wire.answer())[0] == 200
    await wire.send(whole(world) + whole(world).removesuffix("\r\n"))
    assert (await wire.answer())[0] == 200
    await wire.send(whole(world))
    assert (await wire.answer())[0] == 400
    assert await wire.rest() == b""
    assert len(listener.requests) == 2


async def test_a_repeated_request_waits_for_its_turn(world: World) -> None:
    order: list[str] = []
    may_answer = asyncio.Event()

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        order.append(request["id"])
        await may_answer.wait()
        await listener.respond(request, socket, request["id"].encode())

    await world.listen("open", on_request=on_request)
    first, wire = await world.raw(), await world.raw()
    await first.send(whole(world))
    await wire.send(whole(world))
    await until(lambda: len(order) == 2)
    await wire.send(whole(world))
    may_answer.set()
    bodies = [(await wire.answer())[2].decode() for _ in range(2)]
    assert bodies == order[1:]


async def test_a_repeated_request_is_refused_by_a_gateway_that_drains(world: World) -> None:
    await world.listen("open", on_request=answering(b"done"))
    wire = await world.raw()
    await wire.send(whole(world))
    assert (await wire.answer())[0] == 200
    world.gateway.context.is_draining = True
    await wire.send(whole(world))
    status, head, _ = await wire.answer()
    assert (status, "\r\nConnection: close\r\n" in head) == (503, True)
    world.gateway.context.is_draining = False


async def test_a_repeated_request_needs_a_listener_and_a_token_each_time(world: World) -> None:
    token = f"ServiceBusAuthorization: {world.token()}"
    wire = await world.raw()
    head = "\r\n".join(["GET /hyco HTTP/1.1", f"Host: {world.host}", token, "", ""])
    await wire.send(head)
    assert (await wire.answer())[0] == 404
    await world.listen("hyco", on_request=answering(b"done"), headers=world.auth(seconds=100_000))
    await wire.send(head)
    assert (await wire.answer())[0] == 200
    world.clock.offset = 3600 + 301
    await wire.send(head)
    assert (await wire.answer())[0] == 401


async def test_a_closing_request_is_never_remembered(world: World) -> None:
    await world.listen("open", on_request=answering(b"done"))
    wire = await world.raw()
    await wire.send(whole(world, "GET", "Connection: close"))
    await wire.answer()
    kept = await world.raw()
    await kept.send(whole(world))
    await kept.answer()
    assert remembered(world) == 1
