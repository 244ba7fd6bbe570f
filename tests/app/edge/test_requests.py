"""Relayed HTTP requests: what passes, and over which channel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import answering, ask, frame, masked, send_response, until, upgraded
from worlds import Wire, World, running_gateway

from app.config import Deadlines
from app.wire.frames import BINARY, CLOSE, CONTINUATION, TEXT

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


async def test_every_verb_passes(world: World) -> None:
    listener = await world.listen("open", on_request=answering(b"done"))
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"]:
        status, _, body = await (await ask(world, "/open", method=method)).answer()
        assert (status, body, listener.requests[-1]["method"]) == (200, b"done", method)


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
    """P02, P09: made at once, told in the reason phrase and in XML, recognisable by the missing Via. (C13)"""
    cases = [
        ("/hyco", {}, 401, "MissingToken"),
        ("/hyco", world.auth(key="x"), 401, "The token has an invalid signature."),
        ("/ruled", world.auth("ruled", rule="listener", key="listener-key"), 403, "'Send' claim"),
        ("/nowhere/x", world.auth(), 404, "Endpoint does not exist."),
        ("/hyco/x", world.auth(), 404, "There are no listeners connected for the endpoint."),
        ("/open", {}, 404, "There are no listeners connected for the endpoint."),
        ("/shop-admin", world.auth("shop"), 401, "InvalidAudience"),  # there is none, which is not theirs to know
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


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_bodies_of_every_size_pass_both_ways(world: World, is_chunked: bool) -> None:
    """P07: over the control channel or a rendezvous, whichever the size asks for."""
    listener = await world.listen("hyco")
    for size in [1, 60_000, 65_535, 65_536, 65_537, 5_000_000]:
        body = os.urandom(size)
        content = chunks(body) if is_chunked else body
        answer = await world.client.post("/hyco", content=content, headers=world.auth())
        assert hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()
        assert hashlib.sha256(listener.bodies.pop()).digest() == hashlib.sha256(body).digest()
        assert "Content-Length" in answer.headers or size > 50_000
    assert listener.bodies == []


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


async def test_a_body_is_one_message_adjacent_to_its_command(world: World) -> None:
    """Small: on the control channel. Large: an address without `method` and `body`, then both on the rendezvous.

    C06
    """
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


async def test_via_names_the_namespace_to_whom_named_no_host(world: World) -> None:
    """C13"""
    await world.listen("open")
    wire = await world.raw()
    await wire.send("GET /open HTTP/1.0\r\n\r\n")
    assert f"\r\nVia: 1.1 {world.namespace.name}\r\n" in await wire.head()


async def test_a_listener_that_never_answers_a_one_way_request_keeps_no_rendezvous(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(response_seconds=0.2)) as world:
        control = await upgraded(world, "/$hc/shop?sb-hc-action=listen")
        token = f"ServiceBusAuthorization: {world.token()}"
        sender = await ask(world, "/shop", token, "Prefer: respond-async", "Content-Length: 70000", method="POST")
        await sender.send(bytes(70000))
        command = json.loads((await frame(control))[2])["request"]
        meeting = await upgraded(world, command["address"].removeprefix(world.ws))
        assert (await sender.head()).startswith("HTTP/1.1 202 ")
        while (received := await frame(meeting))[0] != CLOSE:
            pass
        assert received[2] == (1000).to_bytes(2, "big")


async def test_a_request_whose_listener_leaves_while_its_body_is_gathered_fails_at_once(world: World) -> None:
    control = await upgraded(world, "/$hc/open?sb-hc-action=listen")
    sender = await ask(world, "/open", "Content-Length: 2", method="POST")
    await sender.send("a")
    await until(lambda: world.gateway.context.counters["requests"] == 1)
    control.abort()
    await until(lambda: world.gateway.context.counters["listeners"] == 0)
    await sender.send("b")
    assert (await sender.answer())[0] == 502


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
