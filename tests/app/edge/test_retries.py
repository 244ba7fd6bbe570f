"""A listener that is lost before anything reached it is replaced by another; what may have reached one is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import ask, close_frame, closed, frame, masked, until, upgrade_head, upgraded
from worlds import Wire, World, running_gateway

from app.closes import NORMAL
from app.config import Deadlines
from app.edge.control import ControlChannel
from app.wire.frames import TEXT

LISTEN = "/$hc/hyco?sb-hc-action=listen"
ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"


async def command(wire: Wire) -> Any:
    """The next command on a control channel, its name left out."""
    opcode, _, payload = await frame(wire)
    assert opcode == TEXT, payload
    [(_, members)] = json.loads(payload).items()
    return members


async def first_command(*wires: Wire) -> tuple[Wire, Any, list[Wire]]:
    """The channel that gets the next command, that command, and the other channels."""
    tasks = {asyncio.create_task(command(wire)): wire for wire in wires}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    [task] = done
    return tasks[task], task.result(), [tasks[other] for other in pending]


def sending(world: World, path: str = "hyco", **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(world.connect(path, **kwargs).__aenter__())


def offered_again(world: World) -> int:
    return world.gateway.context.counters["offered_again"]


async def test_a_sender_whose_listener_is_lost_meets_another_at_once(world: World) -> None:
    """C16: the address of the first is dead from then on; the second's is another; the same tracking id."""
    channels = [await upgraded(world, LISTEN) for _ in range(3)]
    sender = sending(world)
    chosen, accept, others = await first_command(*channels)
    chosen.abort()
    other, again, _ = await first_command(*others)
    assert again["id"] == accept["id"]
    assert again["address"] != accept["address"]
    with pytest.raises(InvalidStatus, match="403"):
        await connect(accept["address"])
    async with connect(again["address"]) as socket:
        met = await sender
        await met.send("hello")
        assert await socket.recv() == "hello"
        other.abort()  # a control channel that is lost after the rendezvous changes nothing
        await until(lambda: world.gateway.context.realms[world.namespace].roster.count("hyco") == 1)
        await met.send("still here")
        assert await socket.recv() == "still here"
        await met.close()
    assert offered_again(world) == 1


async def test_each_listener_is_asked_once_and_then_the_sender_is_told(world: World) -> None:
    channels = [await upgraded(world, LISTEN) for _ in range(3)]
    sender = sending(world)
    while channels:
        chosen, _, channels = await first_command(*channels)
        chosen.abort()
    with pytest.raises(InvalidStatus) as refused:
        await sender
    assert refused.value.response.status_code == 502
    assert refused.value.response.reason_phrase.startswith("The listener left before it came to the rendezvous.")
    assert offered_again(world) == 2
    assert not world.gateway.context.rendezvous


async def test_all_listeners_together_have_one_deadline(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(accept_seconds=600)) as world:
        wheel = world.gateway.context.wheel
        channels = [await upgraded(world, LISTEN) for _ in range(2)]
        sender = sending(world)
        chosen, _, [other] = await first_command(*channels)
        wheel.advance(400)
        chosen.abort()
        await command(other)
        wheel.advance(201)
        async with asyncio.timeout(10):
            with pytest.raises(InvalidStatus) as refused:
                await sender
        assert refused.value.response.status_code == 404


async def test_a_filter_holds_for_the_second_listener_too(world: World) -> None:
    wanted = [await upgraded(world, f"{LISTEN}&sb-hc-id={ONE}_G{n}") for n in range(2)]
    unwanted = await upgraded(world, f"{LISTEN}&sb-hc-id={TWO}")
    headers = {**world.auth(), "Microsoft-Relay-AllowedListeners": ONE}
    sender = sending(world, additional_headers=headers)
    chosen, _, [other] = await first_command(*wanted)
    chosen.abort()
    await command(other)
    other.abort()
    with pytest.raises(InvalidStatus) as refused:
        await sender
    assert refused.value.response.status_code == 502
    unwanted.abort()


async def test_a_listener_that_hangs_up_in_good_order_may_still_come(world: World) -> None:
    """One that listens for a single sender closes its channel first; its address stays good for a moment."""
    channel = await upgraded(world, LISTEN)
    sender = sending(world)
    accept = await command(channel)
    await channel.send(close_frame(1000))
    await channel.rest()
    async with connect(accept["address"]) as socket:
        met = await sender
        await met.send("hello")
        assert await socket.recv() == "hello"
        await met.close()


async def test_a_listener_that_hangs_up_in_good_order_and_does_not_come_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.edge.control.FAREWELL_SECONDS", 0.05)
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    sender = sending(world)
    chosen, _, [other] = await first_command(*channels)
    await chosen.send(close_frame(1000))
    accept = await command(other)
    async with connect(accept["address"]):
        await (await sender).close()


async def test_a_sender_that_left_is_offered_to_nobody(world: World) -> None:
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/hyco"))
    chosen, _, _ = await first_command(*channels)
    wire.abort()
    await until(lambda: not world.gateway.context.rendezvous)
    chosen.abort()
    await until(lambda: world.gateway.context.realms[world.namespace].roster.count("hyco") == 1)
    assert offered_again(world) == 0


def clogged(world: World) -> list[ControlChannel]:
    """All control channels but one owe too much to take more."""
    channels = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    for channel in channels[1:]:
        channel._due_bytes = 1 << 30
    return channels


async def test_a_listener_that_takes_nothing_more_is_passed_over(world: World) -> None:
    """Sockets and requests alike, with and without a body; when all are clogged, that is said."""
    listeners = [await world.listen("hyco") for _ in range(4)]
    channels = clogged(world)
    for _ in range(5):
        async with world.connect("hyco") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
        for size in (3, 100_000):
            answer = await world.client.post("/hyco", content=bytes(size), headers=world.auth())
            assert (answer.status_code, len(answer.content)) == (200, size)
    assert len([each for each in listeners if each.accepts or each.requests]) == 1
    channels[0]._due_bytes = 1 << 30
    answer = await world.client.get("/hyco", headers=world.auth())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    with pytest.raises(InvalidStatus, match="503"):
        await world.connect("hyco")


async def test_a_request_that_nobody_fetched_goes_to_another_with_its_whole_body(world: World) -> None:
    """C16"""
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    body = bytes(range(256)) * 500
    answer = asyncio.create_task(world.client.post("/hyco?a=1", content=body, headers=world.auth()))
    chosen, request, [other] = await first_command(*channels)
    assert "method" not in request
    chosen.abort()
    again = await command(other)
    assert again["address"] != request["address"]
    with pytest.raises(InvalidStatus, match="403"):
        await connect(request["address"])
    async with connect(again["address"], max_size=None) as socket:
        full = json.loads(await socket.recv())["request"]
        assert (full["id"], full["requestTarget"], await socket.recv()) == (again["id"], "/hyco?a=1", body)
        await socket.send(json.dumps({"response": {"requestId": full["id"], "statusCode": 201, "body": False}}))
        assert (await answer).status_code == 201


async def test_a_request_is_still_fetched_by_a_listener_that_hung_up_in_good_order(world: World) -> None:
    channel = await upgraded(world, LISTEN)
    answer = asyncio.create_task(world.client.post("/hyco", content=bytes(100_000), headers=world.auth()))
    request = await command(channel)
    await channel.send(close_frame(1000))
    await channel.rest()
    async with connect(request["address"], max_size=None) as socket:
        id = json.loads(await socket.recv())["request"]["id"]
        assert len(await socket.recv()) == 100_000
        await socket.send(json.dumps({"response": {"requestId": id, "statusCode": 201, "body": False}}))
        assert (await answer).status_code == 201


async def test_a_request_that_one_who_hung_up_does_not_fetch_goes_to_another_or_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.edge.control.FAREWELL_SECONDS", 0.05)
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    answer = asyncio.create_task(world.client.post("/hyco", content=bytes(100_000), headers=world.auth()))
    chosen, _, [other] = await first_command(*channels)
    await chosen.send(close_frame(1000))
    await command(other)
    await other.send(close_frame(1001))
    assert (await answer).status_code == 502
    assert not world.gateway.context.rendezvous


async def test_a_request_that_may_have_arrived_is_never_sent_twice(world: World) -> None:
    """C16"""
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    for content in (None, b"small"):
        answer = asyncio.create_task(world.client.request("POST", "/hyco", content=content, headers=world.auth()))
        chosen, _, _ = await first_command(*channels)
        chosen.abort()
        assert (await answer).status_code == 502
        channels.remove(chosen)
        channels.append(await upgraded(world, LISTEN))
    assert offered_again(world) == 0


async def test_a_fetch_that_began_is_not_begun_again(world: World) -> None:
    channels = [await upgraded(world, LISTEN) for _ in range(2)]
    answer = asyncio.create_task(world.client.post("/hyco", content=bytes(200_000), headers=world.auth()))
    _, request, _ = await first_command(*channels)
    async with connect(request["address"], max_size=None) as socket:
        await socket.recv()
        socket.transport.abort()
        assert (await answer).status_code == 502
    assert offered_again(world) == 0


@pytest.mark.parametrize("body", [b"", b"small"])
async def test_a_request_that_was_never_written_goes_to_another(
    world: World, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel ends in the very turn of the loop in which the request became due on it."""
    first = await upgraded(world, LISTEN)
    [channel] = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    second = await upgraded(world, LISTEN)
    world.gateway.context.realms[world.namespace].roster._pick = lambda n: 0
    post = ControlChannel._post

    def post_as_it_ends(self: ControlChannel, frames: bytes) -> None:
        if self is channel:
            self.context.loop.call_soon(self.end, NORMAL)  # before what becomes due is written
        post(self, frames)

    monkeypatch.setattr(ControlChannel, "_post", post_as_it_ends)
    wire = await ask(
        world,
        "/hyco",
        f"ServiceBusAuthorization: {world.token()}",
        *([f"Content-Length: {len(body)}"] if body else []),
        method="POST",
    )
    await wire.send(body)
    request = await command(second)
    if body:
        assert (await frame(second))[2] == body
    answer = {"response": {"requestId": request["id"], "statusCode": 204, "body": False}}
    await second.send(masked(TEXT, json.dumps(answer).encode()))
    assert (await wire.answer())[0] == 204
    assert await closed(first) == (1000, "")
    assert offered_again(world) == 1
