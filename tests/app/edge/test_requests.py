"""Relayed HTTP requests: what passes, over which channel, and every way it can fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from wires import close_frame, frame, masked, small_window, until, upgraded
from worlds import Listener, OnRequest, Request, Wire, World, running_gateway

from app.config import Deadlines
from app.wire.frames import BINARY, CONTINUATION, TEXT

QUERIES = {
    "?a=1&a=2&": "?a=1&a=2&",
    "?&&&": "?&&&",
    "?&foo=bar": "?&foo=bar",
    "?+": "?+",
    "?%2f%3a%3d%26": "?%2f%3a%3d%26",
    "?api-version=abc": "?api-version=abc",
    "?sb-hc-id=1": "",
    "?sb-hc-id=1&custom=value": "?custom=value",
    "?custom=value&sb-hc-id=1": "?custom=value",
    "?sb-hc-undefined": "?sb-hc-undefined",
    "?sb-hc-whatever=": "",
    "?sb-hc-whatever=&foo=bar": "?foo=bar",
    "?SB-HC-Id=1&%73b-hc-x=2&x={|}": "?x={|}",
}


def answering(*args: Any, **kwargs: Any) -> OnRequest:
    """A handler that gives one answer."""

    async def on_request(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, *args, **kwargs)

    return on_request


async def ask(world: World, path: str, *lines: str, method: str = "GET", wire: Wire | None = None) -> Wire:
    """A request written by hand; the answer is still to be read."""
    wire = wire or await world.raw()
    await wire.send("\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {world.host}", *lines, "", ""]))
    return wire


async def test_a_query_loses_what_is_the_relays_and_nothing_else(world: World) -> None:
    listener = await world.listen("open")
    for given, passed in QUERIES.items():
        await (await ask(world, "/open/x" + given)).answer()
        assert listener.requests[-1]["requestTarget"] == "/open/x" + passed
    await (await ask(world, "/OPEN/a%20b%2Fc%41%2e/")).answer()
    assert listener.requests[-1]["requestTarget"] == "/OPEN/a b%2FcA%2e/"


async def test_a_request_has_every_member_some_sdk_needs(world: World) -> None:
    listener = await world.listen("open")
    wire = await ask(world, "/open", "X-A: 1", "x-a: 2", "Cookie: a=1", "Cookie: b=2", "Via: 1.0 fred", method="PURGE")
    await wire.answer()
    (request,) = listener.requests
    port = wire.writer.get_extra_info("sockname")[1]
    assert set(request) == {
        "address", "id", "requestTarget", "method", "remoteEndpoint", "requestHeaders", "body"
    }  # fmt: skip
    assert (request["method"], request["body"]) == ("PURGE", False)
    assert request["remoteEndpoint"] == {"address": "127.0.0.1", "port": port}
    assert request["requestHeaders"] == {
        "Host": world.host, "X-A": "1, 2", "Cookie": "a=1; b=2", "Via": "1.0 fred, 1.1 127.0.0.1"
    }  # fmt: skip
    assert request["address"].startswith(f"{world.ws}/$hc/open?sb-hc-action=request&sb-hc-id={request['id']}&sb-hc-")


async def test_headers_of_the_hop_and_their_shadows_do_not_pass(world: World) -> None:
    """S48: also what `Connection` names; names with `_` that shadow others."""
    listener = await world.listen("open")
    await (
        await ask(
            world, "/open", "Connection: X-Hop, close", "X-Hop: 1", "TE: trailers", "Keep-Alive: 5", "Upgrade: x",
            "Proxy-Authorization: x", "Content_Length: 5", "Transfer_Encoding: chunked", "X_A: shadow", "X-A: 1",
            "x_free: kept", "ServiceBusAuthorization: secret", "Expect: nothing",
        )
    ).answer()  # fmt: skip
    assert listener.requests[0]["requestHeaders"].keys() == {"Host", "X-A", "x_free", "Via"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
async def test_every_verb_passes(world: World, method: str) -> None:
    listener = await world.listen("open", on_request=answering(b"done"))
    status, _, body = await (await ask(world, "/open", method=method)).answer()
    assert (status, body, listener.requests[0]["method"]) == (200, b"done", method)


async def test_each_place_of_a_token_is_taken_in_its_order_and_stripped(world: World) -> None:
    """P12: the application's own Authorization passes when it was not used."""
    listener = await world.listen("hyco")
    good, bad = world.token(), "SharedAccessSignature sr=x&sig=y&se=1&skn=z"
    names = ["ServiceBusAuthorization", "sb-hc-token", "Authorization"]
    for mask in range(8):
        given = [name for bit, name in enumerate(names) if mask >> bit & 1]
        tokens = dict.fromkeys(given, bad) | ({given[0]: good} if given else {})
        query = {"sb-hc-token": tokens.pop("sb-hc-token")} if "sb-hc-token" in tokens else {}
        answer = await world.client.get("/hyco", headers=tokens, params={**query, "a": "1"})
        assert answer.status_code == (200 if given else 401), given
        if given:
            request = listener.requests[-1]
            assert request["requestTarget"] == "/hyco?a=1"
            kept = bad if "Authorization" in given and len(given) > 1 else None
            assert request["requestHeaders"].get("Authorization") == kept
            assert "ServiceBusAuthorization" not in request["requestHeaders"]


async def test_an_anonymous_request_keeps_its_own_authorization(world: World) -> None:
    listener = await world.listen("open")
    headers = {"Authorization": "Basic app", "ServiceBusAuthorization": "nonsense"}
    assert (await world.client.get("/open?sb-hc-token=bad", headers=headers)).status_code == 200
    sent = listener.requests[0]["requestHeaders"]
    assert (sent.get("Authorization"), "ServiceBusAuthorization" in sent) == ("Basic app", False)


async def test_refusals_have_the_documented_status_and_no_via(world: World) -> None:
    """P02, P09: made at once, told in the reason phrase and in XML, recognisable by the missing Via."""
    cases = [
        ("/hyco", {}, 401, "MissingToken"),
        ("/hyco", world.auth(key="x"), 401, "The token has an invalid signature."),
        ("/ruled", world.auth("ruled", rule="listener", key="listener-key"), 403, "'Send' claim"),
        ("/nowhere/x", world.auth(), 404, "Endpoint does not exist."),
        ("/hyco/x", world.auth(), 404, "There are no listeners connected for the endpoint."),
        ("/open", {}, 404, "There are no listeners connected for the endpoint."),
        ("/shop-admin", world.auth("shop"), 404, "Endpoint does not exist."),
        ("/shop/%2e%2e/x", world.auth("shop"), 400, ""),
    ]
    for path, headers, status, words in cases:
        answer = await world.client.get(path, headers=headers)
        assert (answer.status_code, words in answer.reason_phrase) == (status, True), answer.reason_phrase
        assert "Via" not in answer.headers
        assert answer.headers["Content-Type"] == "application/xml; charset=utf-8"
        assert answer.text.startswith(f"<Error><Code>{status}</Code><Detail>")
        assert f"TrackingId:{answer.headers['TrackingId']}" in answer.text
        assert path.split("/")[1] in answer.reason_phrase


@pytest.mark.parametrize("size", [1, 60_000, 65_535, 65_536, 65_537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_every_size_pass_both_ways(world: World, size: int, chunked: bool) -> None:
    """P07: over the control channel or a rendezvous, whichever the size asks for."""
    listener = await world.listen("hyco")
    body = os.urandom(size)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 50_000):
            yield body[start : start + 50_000]

    answer = await world.client.post("/hyco", content=chunks() if chunked else body, headers=world.auth())
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()
    assert len(listener.bodies) == 1
    assert hashlib.sha256(listener.bodies[0]).digest() == hashlib.sha256(body).digest()
    assert "Content-Length" in answer.headers or size > 50_000


async def test_a_body_is_one_message_adjacent_to_its_command(world: World) -> None:
    """Small: on the control channel. Large: an address without `method` and `body`, then both on the rendezvous."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open", "Content-Length: 4", method="POST")
    await sender.send("body")
    opcode, is_final, text = await frame(control)
    assert (opcode, is_final, json.loads(text)["request"]["body"]) == (TEXT, True, True)
    assert await frame(control) == (BINARY, True, b"body")
    sender = await ask(world, "/open", "Content-Length: 70000", method="POST")
    command = json.loads((await frame(control))[2])["request"]
    assert set(command) == {"address", "id"}
    meeting = await upgraded(world, command["address"].removeprefix(world.ws))
    request = json.loads((await frame(meeting))[2])["request"]
    assert (request["id"], request["body"]) == (command["id"], True)
    body, is_final, expected = b"", False, BINARY
    sending = asyncio.create_task(sender.send(b"x" * 70_000))
    while not is_final:
        opcode, is_final, part = await frame(meeting)
        assert opcode == expected
        body, expected = body + part, CONTINUATION
    await sending
    assert body == b"x" * 70_000


async def test_a_chunked_body_whose_end_is_not_in_sight_is_fetched_and_streams(world: World) -> None:
    """Also one that turns out empty says that it has a body: one SDK cannot fetch another."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open", "Transfer-Encoding: chunked", method="POST")
    command = json.loads((await frame(control))[2])["request"]
    meeting = await upgraded(world, command["address"].removeprefix(world.ws))
    assert json.loads((await frame(meeting))[2])["request"]["body"] is True
    await sender.send("5\r\nfirst\r\n")
    assert await frame(meeting) == (BINARY, False, b"first")
    await sender.send("6\r\nsecond\r\n")
    assert await frame(meeting) == (CONTINUATION, False, b"second")
    await sender.send("0\r\n\r\n")
    assert await frame(meeting) == (CONTINUATION, True, b"")
    sender = await ask(world, "/open", "Transfer-Encoding: chunked", method="POST")
    command = json.loads((await frame(control))[2])["request"]
    await sender.send("0\r\n\r\n")
    meeting = await upgraded(world, command["address"].removeprefix(world.ws))
    assert json.loads((await frame(meeting))[2])["request"]["body"] is True
    assert await frame(meeting) == (BINARY, True, b"")


async def test_an_answer_may_stream_while_its_request_still_uploads(world: World) -> None:
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open", "Transfer-Encoding: chunked", method="POST")
    command = json.loads((await frame(control))[2])["request"]
    meeting = await upgraded(world, command["address"].removeprefix(world.ws))
    await frame(meeting)
    await send_response(meeting, command["id"])
    assert (await sender.head()).startswith("HTTP/1.1 200 ")
    for word in (b"one", b"two"):
        await sender.send(b"3\r\n" + word + b"\r\n")
        assert (await frame(meeting))[2] == word
        await meeting.send(masked(BINARY if word == b"one" else CONTINUATION, word, fin=False))
        assert await sender.reader.readuntil(b"\r\n3\r\n" + word if word == b"two" else word)
    await meeting.send(masked(CONTINUATION))
    assert (await sender.rest()).endswith(b"0\r\n\r\n")


async def send_response(meeting: Wire, id: str, **members: Any) -> None:
    response = {"requestId": id, "statusCode": 200, "body": True, **members}
    await meeting.send(masked(TEXT, json.dumps({"response": response}).encode()))


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


@pytest.mark.parametrize("status", [99, 100, 101, 1000, -1, "abc", None, True, 200.5])
async def test_a_status_that_cannot_be_relayed_is_502(world: World, status: Any) -> None:
    await world.listen("open", on_request=answering(b"x", status))
    assert (await world.client.get("/open")).status_code == 502


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
    await world.listen("open/x")
    for number in range(3):
        await ask(world, f"/open/{number}", wire=pipelined)
    filling = [asyncio.create_task(world.client.get("/open/fill")) for _ in range(150)]
    for number in range(3):
        assert (await pipelined.answer())[2] in (f"/open/{number}".encode(), b"")
    for task in filling:
        task.cancel()


async def rendezvous(request: Request) -> connect:
    return connect(request["address"], max_size=None)


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


async def test_a_sender_that_breaks_off_its_upload_ends_the_rendezvous(world: World) -> None:
    """P20."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    for end in (Wire.close, Wire.abort):
        sender = await ask(world, "/open", "Content-Length: 70000", method="POST")
        command = json.loads((await frame(control))[2])["request"]
        meeting = await upgraded(world, command["address"].removeprefix(world.ws))
        await frame(meeting)
        end(sender)
        opcode, _, payload = await frame(meeting)
        assert (opcode, payload[:2]) == (8, b"\x03\xe9")


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
    seam = next(iter(c for c in world.gateway.server.server_state.connections if c.flow.write_paused), None)
    for _ in range(10):
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
        seam = seam or next((c for c in world.gateway.server.server_state.connections if c.flow.write_paused), None)
        assert seam is None or seam.outflow.backlog() < 1 << 20
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


async def test_one_way_requests_are_accepted_at_once_on_native_relays_only(world: World) -> None:
    """`Prefer: respond-async`: handed to one listener; what it answers is dropped."""
    await world.listen("shop", on_request=answering(b"late"))
    listener = await world.listen("hyco", on_request=answering(b"answer"))
    headers = {**world.auth(), "Prefer": "respond-async, wait=1"}
    for size in (0, 100, 100_000):
        answer = await world.client.post("/shop/x", content=bytes(size), headers=headers)
        assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")
        assert "Via" not in answer.headers
    answer = await world.client.post("/hyco", headers=headers)
    assert (answer.status_code, answer.text) == (200, "answer")
    assert listener.requests[0]["requestHeaders"]["Prefer"] == "respond-async, wait=1"
    await until(lambda: world.gateway.context.counters["late_answers"] == 2)
    assert not world.gateway.context.rendezvous


async def test_a_rendezvous_for_a_request_is_good_once(world: World) -> None:
    """P05."""
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open")
    request = json.loads((await frame(control))[2])["request"]
    meeting = await upgraded(world, request["address"].removeprefix(world.ws))
    for wrong in (request["address"], request["address"].replace("=request", "=accept")):
        with pytest.raises(InvalidStatus, match="403"):
            await connect(wrong)
    await send_response(meeting, request["id"], body=False, statusCode=204)
    assert (await sender.head()).startswith("HTTP/1.1 204 ")


async def test_browsers_are_left_to_the_listener(world: World) -> None:
    """A preflight is relayed like any request; without a token it is 401 where one is needed."""
    await world.listen("open", on_request=answering(b"", 204, headers={"Access-Control-Allow-Origin": "*"}))
    answer = await world.client.options("/open", headers={"Origin": "http://page"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert (await world.client.options("/hyco", headers={"Origin": "http://page"})).status_code == 401
