"""Answers to relayed requests: as the listener gives them, and every way they can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from wires import answering, ask, close_frame, frame, masked, send_response, small_window, until, upgraded
from worlds import Listener, Request, Wire, World, running_gateway

from app.config import Deadlines
from app.wire.frames import BINARY, CONTINUATION


@pytest.mark.parametrize(("status", "words"), [(200, None), (201, "So be it"), ("299", ""), (502, "Mine"), (799, None)])
async def test_status_and_reason_are_the_listeners(world: World, status: int | str, words: str | None) -> None:
    """Verbatim, also 502 and codes without a name; a number or its text; every answer carries Via."""
    await world.listen("open", on_request=answering(b"x", status, words, {"Via": "1.1 app", "X-CaSe": "1"}))
    _, head, _ = await (await ask(world, "/open")).answer()
    standard = {200: "OK"}.get(int(status), "")
    lines = head.split("\r\n")
    assert lines[0] == f"HTTP/1.1 {status} {words or standard}"
    assert {"Via: 1.1 app, 1.1 127.0.0.1", "X-CaSe: 1", "Content-Length: 1"} <= set(lines)
    assert sum(line.startswith("Date: ") for line in lines) == 1


async def test_an_answer_that_is_not_taken_counts_against_the_process_wide_budget(world: World) -> None:
    """S42: what slow senders are owed of relayed answers is shed with everything else."""
    await world.listen("open", on_request=answering(bytes(7 << 20)))
    context = world.gateway.context
    context.owed._limit_bytes = 1 << 20
    before = context.connections
    wire = await small_window(world)
    await wire.send(f"GET /open HTTP/1.1\r\nHost: {world.host}\r\n\r\n")
    await until(lambda: bool(context.owed._slow))
    context.owed.shed()
    await until(lambda: context.connections == before)
    assert not context.owed._slow


async def test_a_status_that_cannot_be_relayed_is_502(world: World) -> None:
    statuses = [99, 100, 101, 1000, -1, "abc", None, True, 200.5]

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, b"x", statuses[int(request["requestTarget"][-1])])  # type: ignore

    await world.listen("open", on_request=on_request)
    for index in range(len(statuses)):
        assert (await world.client.get(f"/open/{index}")).status_code == 502


async def test_answers_without_a_body_have_none_on_the_wire(world: World) -> None:
    """204, 205, 304 and HEAD; a stray empty message behind them is ignored, and the connection goes on."""
    await world.listen("open", on_request=answer_as_asked)
    wire = await world.raw()
    for method, status in [("GET", 204), ("GET", 205), ("GET", 304), ("HEAD", 200), ("HEAD", 404)]:
        await ask(world, f"/open?{status}", method=method, wire=wire)
        head = await wire.head()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert "chunked" not in head
    await ask(world, "/open?200", wire=wire)
    assert (await wire.answer())[::2] == (200, b"body")


async def answer_as_asked(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
    status = int(request["requestTarget"].partition("?")[2])
    await listener.respond(request, socket, b"body" if (status, request["method"]) == (200, "GET") else None, status)
    await socket.send(b"")


async def test_headers_of_an_answer_cannot_split_it(world: World) -> None:
    """S34: CR, LF, NUL, framing of its own, a reason that begins another answer; cookies are split again."""
    headers: dict[str, Any] = {
        "X-Good": "1",
        "X-Split": "a\r\nSet-Cookie: bait=1",
        "X-Nul": "a\0b",
        "X Bad": "1",
        "X-Wide": "☃",
        "Content-Length": "9999",
        "Transfer-Encoding": "chunked",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "Set-Cookie": "a=1; Expires=Wed, 21 Oct 2065 07:28:00 GMT,b=2",
        "Server": "mine",
        "Date": "then",
        "X-List": ["1", "2"],
    }
    await world.listen("open", on_request=answering(b"body", 200, "OK\r\n\r\nHTTP/1.1 200 Bait", headers))
    wire = await ask(world, "/open", "Connection: close")
    head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines[0].startswith("HTTP/1.1 200 OK ")
    assert sorted(lines[1:]) == [
        "Connection: close",
        "Content-Length: 4",
        "Date: then",
        "Server: mine",
        "Set-Cookie: a=1; Expires=Wed, 21 Oct 2065 07:28:00 GMT",
        "Set-Cookie: b=2",
        "Via: 1.1 127.0.0.1",
        "X-Good: 1",
        "X-List: 1",
        "X-List: 2",
    ]
    assert body == b"body"


async def test_each_answer_finds_its_own_request(world: World) -> None:
    """P18: out of order, on keep-alive connections, a hundred at once."""
    held: list[tuple[Request, ClientConnection]] = []

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        held.append((request, socket))
        if len(held) == 50:
            for earlier, channel in reversed(held):
                await listener.respond(earlier, channel, earlier["requestTarget"].encode())
            held.clear()

    await world.listen("open", on_request=on_request)
    for _ in range(2):
        answers = await asyncio.gather(*(world.client.get(f"/open/{n}") for n in range(50)))
        assert [answer.text for answer in answers] == [f"/open/{n}" for n in range(50)]
    pipelined = await world.raw()
    others = [asyncio.create_task(world.client.get("/open/other")) for _ in range(49)]
    for number in range(3):
        await ask(world, f"/open/{number}", wire=pipelined)
    assert (await pipelined.answer())[2] == b"/open/0"
    await asyncio.gather(*others)
    others = [asyncio.create_task(world.client.get("/open/other")) for _ in range(49)]
    assert (await pipelined.answer())[2] == b"/open/1"
    await asyncio.gather(*others)


@pytest.mark.parametrize("channel", ["control", "rendezvous"])
async def test_a_streamed_answer_arrives_as_it_is_written(world: World, channel: str) -> None:
    """P19: each event reaches the sender before the next is produced."""
    arrived: asyncio.Queue[None] = asyncio.Queue()

    async def events() -> AsyncIterator[bytes]:
        for number in range(5):
            yield f"data: {number}\n\n".encode()
            await arrived.get()

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        if channel == "control":
            await stream(socket)
        else:
            async with connect(request["address"]) as meeting:
                await stream(meeting)

    async def stream(socket: ClientConnection) -> None:
        request = listener.requests[-1]
        headers = {"Content-Type": "text/event-stream"}
        response = {"requestId": request["id"], "statusCode": 200, "responseHeaders": headers, "body": True}
        await socket.send(json.dumps({"response": response}))
        await socket.send(events())

    listener = await world.listen("open", on_request=on_request)
    async with world.client.stream("GET", "/open") as answer:
        got = []
        async for text in answer.aiter_text():
            got.append(text)
            arrived.put_nowait(None)
    assert got == [f"data: {number}\n\n" for number in range(5)]


@pytest.mark.parametrize("end", ["fin", "empty fin", "close 1000", "close 1005"])
async def test_a_body_ends_with_fin_or_with_a_normal_close(world: World, end: str) -> None:
    """As the SDKs do it, each in its way. The rendezvous then ends, the sender's connection goes on."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open")
    for _ in range(2):
        request = json.loads((await frame(control))[2])["request"]
        meeting = await upgraded(world, request["address"].removeprefix(world.ws))
        await send_response(meeting, request["id"])
        await meeting.send(masked(BINARY, b"some", fin=False))
        if end == "fin":
            await meeting.send(masked(CONTINUATION, b"more"))
        elif end == "empty fin":
            await meeting.send(masked(CONTINUATION, b"more", fin=False) + masked(CONTINUATION) + masked(BINARY))
        else:
            close = close_frame(1000) if end == "close 1000" else b"\x88\x80mask"
            await meeting.send(masked(CONTINUATION, b"more", fin=False) + close)
        assert "chunked" in await sender.head()
        chunks = await sender.reader.readuntil(b"0\r\n\r\n")
        assert b"".join(chunks.split(b"\r\n")[1:-3:2]) == b"somemore"
        opcode, _, payload = await frame(meeting)
        assert (opcode, payload[:2]) in ((8, b"\x03\xe8"), (8, b""))
        await ask(world, "/open", wire=sender)


@pytest.mark.parametrize("end", ["abort", "close 1001", "broken frame"])
async def test_a_listener_that_dies_mid_answer_never_looks_like_an_end(world: World, end: str) -> None:
    """P11: no last chunk, no second status line."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open")
    request = json.loads((await frame(control))[2])["request"]
    meeting = await upgraded(world, request["address"].removeprefix(world.ws))
    await send_response(meeting, request["id"])
    await meeting.send(masked(BINARY, b"some", fin=False))
    await sender.reader.readuntil(b"some\r\n")
    if end == "abort":
        meeting.abort()
    else:
        await meeting.send(close_frame(1001) if end == "close 1001" else b"\xff\xff")
    assert await sender.rest() == b""


async def test_a_control_channel_that_dies_mid_answer_cuts_it_and_fails_the_rest(world: World) -> None:
    """P11; requests that wait get 502, one that answers over its rendezvous goes on."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    senders = [await ask(world, f"/open/{n}") for n in range(3)]
    requests = [json.loads((await frame(control))[2])["request"] for _ in senders]
    by_path = {int(request["requestTarget"][-1]): request for request in requests}
    meeting = await upgraded(world, by_path[2]["address"].removeprefix(world.ws))
    await send_response(control, by_path[0]["id"])
    await control.send(masked(BINARY, b"some", fin=False))
    await senders[0].reader.readuntil(b"some\r\n")
    control.abort()
    assert await senders[0].rest() == b""
    assert (await senders[1].answer())[0] == 502
    await send_response(meeting, by_path[2]["id"])
    await meeting.send(masked(BINARY, b"unharmed"))
    assert b"unharmed" in await senders[2].reader.readuntil(b"0\r\n\r\n")


async def test_a_silent_listener_is_504_and_its_late_answer_dropped(tmp_path: Path) -> None:
    """P10: on the control channel, at the rendezvous, or never having come."""
    async with running_gateway(tmp_path, deadlines=Deadlines(response_seconds=0.1, accept_seconds=0.1)) as world:
        control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
        sender = await ask(world, "/open")
        request = json.loads((await frame(control))[2])["request"]
        assert (await sender.answer())[0] == 504
        await send_response(control, request["id"])
        await control.send(masked(BINARY, b"late"))
        await until(lambda: world.gateway.context.counters["late_answers"] == 1)
        with pytest.raises(InvalidStatus, match="403"):
            await connect(request["address"])
        for comes in (False, True):
            sender = await ask(world, "/open", "Content-Length: 70000", method="POST")
            command = json.loads((await frame(control))[2])["request"]
            if comes:
                await upgraded(world, command["address"].removeprefix(world.ws))
            assert (await sender.answer())[0] == 504


@pytest.mark.parametrize("channel", ["control", "rendezvous"])
async def test_an_answer_that_idles_is_cut(tmp_path: Path, channel: str) -> None:
    """P11: no clean end of chunk, never a second status line."""
    async with running_gateway(tmp_path, deadlines=Deadlines(idle_seconds=0.1)) as world:
        control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
        sender = await ask(world, "/open")
        request = json.loads((await frame(control))[2])["request"]
        path = request["address"].removeprefix(world.ws)
        socket = control if channel == "control" else await upgraded(world, path)
        await send_response(socket, request["id"])
        await socket.send(masked(BINARY, b"some", fin=False))
        await sender.reader.readuntil(b"some\r\n")
        assert await sender.rest() == b""


@pytest.mark.parametrize("channel", ["control", "rendezvous"])
async def test_a_sender_that_leaves_is_told_to_the_listener(world: World, channel: str) -> None:
    """P20: the rendezvous closes with 1001; on the control channel the id is forgotten."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open")
    request = json.loads((await frame(control))[2])["request"]
    socket = control
    if channel == "rendezvous":
        socket = await upgraded(world, request["address"].removeprefix(world.ws))
    await send_response(socket, request["id"])
    await socket.send(masked(BINARY, b"some", fin=False))
    await sender.reader.readuntil(b"some\r\n")
    before = world.gateway.context.connections
    sender.abort()
    await until(lambda: world.gateway.context.connections == before - 1)
    if channel == "rendezvous":
        opcode, _, payload = await frame(socket)
        assert (opcode, payload[:2]) == (8, b"\x03\xe9")
    else:
        await socket.send(masked(CONTINUATION, b"into the void"))
    assert not world.gateway.context.rendezvous


async def test_a_slow_reader_of_a_download_stops_its_listener_only(world: World) -> None:
    """S42: over a rendezvous it is throttled; others are not delayed."""

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        async with connect(request["address"]) as meeting:
            await listener.respond(request, meeting, bytes(24 << 20))
            await meeting.wait_closed()

    await world.listen("open", on_request=on_request)
    await world.listen("hyco")
    sender = await ask(world, "/open", wire=await small_window(world))
    assert (await sender.head()).startswith("HTTP/1.1 200 ")
    connections = world.gateway.server.server_state.connections
    for _ in range(10):
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
        assert all(seam.outflow.backlog() < 1 << 20 for seam in connections)  # type: ignore[union-attr]
    total = sum([len(data) async for data in iterate(sender)])
    assert total > 24 << 20


async def iterate(wire: Wire) -> AsyncIterator[bytes]:
    tail = b""
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        data = await wire.reader.read(1 << 20)
        tail = (tail + data)[-7:]
        yield data


async def test_a_reader_of_the_control_channel_that_stalls_is_cut_at_its_cap(world: World) -> None:
    """S42: that channel is others' too and cannot be throttled."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    before = world.gateway.context.connections
    sender = await ask(world, "/open", wire=await small_window(world))
    request = json.loads((await frame(control))[2])["request"]
    await send_response(control, request["id"])
    await control.send(masked(BINARY, b"", fin=False))
    for _ in range(20):
        await control.send(masked(CONTINUATION, bytes(1 << 20), fin=False))
    await until(lambda: world.gateway.context.connections == before)
    assert b"\r\n0\r\n\r\n" not in await sender.rest()


async def test_an_answer_to_another_request_is_refused(world: World) -> None:
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open")
    request = json.loads((await frame(control))[2])["request"]
    meeting = await upgraded(world, request["address"].removeprefix(world.ws))
    await send_response(meeting, "someone-else")
    assert (await sender.answer())[0] == 502
