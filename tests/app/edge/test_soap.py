"""SOAP at `http` and one-way relays: tokens in its header, and everything else untouched."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tokens import running_provider
from wires import answering, until
from worlds import Listener, World, running_gateway

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/soap.json").read_text("utf-8"))
CASE = next(case for case in VECTORS["found"] if case["name"] == "after another, SOAP 1.2")
PLAIN = next(case["before"] for case in VECTORS["found"] if case["name"] == "a header without it")
TYPE = "application/soap+xml; charset=utf-8"
RELAYS = [
    {"name": "web", "profile": "http"},
    {"name": "openweb", "profile": "http", "requiresClientAuthorization": False},
    {"name": "hyco", "profile": "hybridConnection"},
]


@pytest.fixture
async def wcf(tmp_path: Path) -> Any:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


def message(token: str, body: str = "") -> tuple[bytes, bytes]:
    """A message with this token in its header, and what shall be left of it."""
    old = base64.b64encode(CASE["token"].encode()).decode()
    block = CASE["block"].replace(old, base64.b64encode(token.encode()).decode())
    after = CASE["after"].replace("<p/>", f"<p/>{body}")
    return (CASE["before"] + block + after).encode(), (CASE["before"] + after).encode()


async def post(world: World, path: str, content: Any, **headers: str) -> Any:
    return await world.client.post(path, content=content, headers={"Content-Type": TYPE, **headers})


async def test_a_token_in_the_message_admits_it_and_does_not_pass(wcf: World) -> None:
    listener = await wcf.listen("web")
    sent, left = message(wcf.token("web"))
    answer = await post(wcf, "/web/svc?x=1", sent, Authorization="Basic app")
    assert (answer.status_code, answer.content) == (401, answer.content)  # a token in the head goes first
    answer = await post(wcf, "/web/svc?x=1", sent)
    assert (answer.status_code, answer.content) == (200, left)
    assert listener.bodies == [left]
    request = listener.requests[0]
    assert (request["requestTarget"], request["requestHeaders"]["Content-Type"]) == ("/web/svc?x=1", TYPE)


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_messages_of_any_size_stream_behind_their_header(wcf: World, size: int, is_chunked: bool) -> None:
    listener = await wcf.listen("web")
    sent, left = message(wcf.token("web"), "é" * (size // 2))

    async def pieces() -> Any:
        for start in range(0, len(sent), 30_011):
            yield sent[start : start + 30_011]

    answer = await post(wcf, "/web", pieces() if is_chunked else sent)
    assert (answer.status_code, answer.content == left, listener.bodies == [left]) == (200, True, True)


async def test_a_message_that_comes_byte_by_byte_is_read_too(wcf: World) -> None:
    await wcf.listen("web")
    sent, left = message(wcf.token("web"))
    wire = await wcf.raw()
    await wire.send(
        f"POST /web HTTP/1.1\r\nHost: {wcf.host}\r\nContent-Type: {TYPE}\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(sent)}\r\n\r\n"
    )
    assert (await wire.head()).startswith("HTTP/1.1 100 ")
    for place in range(len(sent)):
        await wire.send(sent[place : place + 1])
        if place % 50 == 0:
            await asyncio.sleep(0)
    status, _, body = await wire.answer()
    assert (status, body) == (200, left)
    await wire.send(f"GET /web HTTP/1.1\r\nHost: {wcf.host}\r\nServiceBusAuthorization: {wcf.token()}\r\n\r\n")
    assert (await wire.answer())[0] == 200


async def test_tokens_in_messages_are_judged_like_others(wcf: World) -> None:
    listener = await wcf.listen("web")
    cases = [
        (message(wcf.token("web", key="x"))[0], 401, "invalid signature"),
        (message(wcf.token("web", seconds=-1000))[0], 401, "ExpiredToken"),
        (message(wcf.token("other"))[0], 401, "InvalidAudience"),
        (message("Basic app")[0], 401, "MalformedToken"),
        (PLAIN.encode(), 401, "MissingToken"),
        (b"<order/>", 401, "MissingToken"),
    ]
    cases += [(case["message"].encode(), case["status"], case["why"]) for case in VECTORS["refused"] if case["message"]]
    for sent, status, why in cases:
        if "64 KiB" in why or b"64 KiB" in sent:
            sent = sent.replace(b"{64 KiB}", b"y" * 65536)
        answer = await post(wcf, "/web", sent)
        assert (answer.status_code, why in answer.text) == (status, True), (sent[:200], answer.text)
    assert not listener.requests


async def test_only_soap_for_wcf_relays_is_looked_into(wcf: World) -> None:
    """Elsewhere, and with a token in the head, a message passes as it is."""
    for path in ("web", "hyco"):
        await wcf.listen(path)
    sent, _ = message(wcf.token("web"))
    assert (await post(wcf, "/web", sent, **wcf.auth())).content == sent
    assert (await post(wcf, "/hyco", sent)).status_code == 401
    assert (await wcf.client.post("/web", content=sent, headers={"Content-Type": "text/plain"})).status_code == 401


async def test_where_anybody_may_send_a_token_is_taken_out_and_nothing_refused(wcf: World) -> None:
    await wcf.listen("openweb")
    sent, left = message("whatever")
    assert (await post(wcf, "/openweb", sent)).content == left
    for junk in (b"<broken", PLAIN.encode(), b"<!DOCTYPE x>" + sent):
        answer = await post(wcf, "/openweb", junk)
        assert (answer.status_code, answer.content) == (200, junk)


async def test_authorization_is_the_applications_unless_it_is_the_token(wcf: World) -> None:
    """The sender's token never reaches the service, whose own `Authorization` does."""
    listener = await wcf.listen("web")
    token = wcf.token("web")
    await post(wcf, "/web", b"<x/>", Authorization=token)
    await post(wcf, "/web", b"<x/>", ServiceBusAuthorization=token, Authorization="Basic app")
    assert [request["requestHeaders"].get("Authorization") for request in listener.requests] == [None, "Basic app"]
    assert all("ServiceBusAuthorization" not in request["requestHeaders"] for request in listener.requests)


@pytest.mark.parametrize("profile", ["netOneway", "netEvent"])
async def test_one_way_messages_bring_tokens_too(wcf: World, profile: str) -> None:
    listener = await wcf.listen("alarms", query=f"&sb-hc-profile={profile}")
    sent, left = message(wcf.token("alarms"))
    assert (await post(wcf, "/alarms", sent)).status_code == 202
    await until(lambda: listener.bodies == [left])
    assert (await post(wcf, "/alarms", PLAIN.encode())).status_code == 401
    assert (await post(wcf, "/alarms", b"<broken")).status_code == 400
    assert (await post(wcf, "/alarms", message("junk")[0])).status_code == 401
    assert (await wcf.client.put("/alarms", content=sent, headers={"Content-Type": TYPE})).status_code == 401


async def test_one_way_messages_of_anybody_are_not_refused_for_their_form(wcf: World) -> None:
    listener = await wcf.listen("alarms", query="&sb-hc-profile=netEvent&sb-hc-client-authorization=none")
    sent, left = message("whatever")
    for content in (sent, b"<broken"):
        assert (await post(wcf, "/alarms", content)).status_code == 202
    await until(lambda: listener.bodies == [left, b"<broken"])


async def test_reliable_messaging_passes_untouched(wcf: World) -> None:
    """WS-ReliableMessaging is between sender and service: sequences, acknowledgements, one-way answers of 202."""
    answers = iter(VECTORS["reliable"])

    async def serve(listener: Listener, request: Any, body: bytes, socket: Any) -> None:
        step = next(answers)
        assert body == step["request"].encode()
        kind = {"Content-Type": TYPE} if step["answer"] else {}
        await listener.respond(request, socket, step["answer"].encode() or None, step["status"], headers=kind)

    await wcf.listen("web", on_request=serve)
    for step in VECTORS["reliable"]:
        answer = await post(wcf, "/web", step["request"].encode(), **wcf.auth("web"))
        assert (answer.status_code, answer.content) == (step["status"], step["answer"].encode()), step["name"]


async def test_a_header_that_never_ends_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, deadlines={"idle_seconds": 0.2}) as world:
        await world.listen("web", on_request=answering(b"done"))
        wire = await world.raw()
        head = f"POST /web HTTP/1.1\r\nHost: {world.host}\r\nContent-Type: {TYPE}\r\nContent-Length: 9999\r\n\r\n"
        await wire.send(head + CASE["before"])
        assert (await wire.answer())[0] == 408
        assert await wire.rest() == b""
        left = await world.raw()
        await left.send(head + CASE["before"])
        left.abort()
        assert (await post(world, "/web", message(world.token())[0])).content == b"done"


@pytest.mark.parametrize("size", [0, 300_000])
async def test_a_web_token_in_a_message_waits_for_its_issuers_keys(tmp_path: Path, size: int) -> None:
    """As one in the head does: the first call is held, the others find them."""
    async with running_provider() as provider:
        identity = {"issuers": [{"issuer": provider.url}]}
        async with running_gateway(tmp_path, relays=RELAYS, identity=identity) as world:
            await world.listen("web")
            sent, left = message(provider.token(roles=["Azure Relay Sender"]), "x" * size)
            answers = await asyncio.gather(*(post(world, "/web", sent) for _ in range(3)))
            assert [(answer.status_code, answer.content == left) for answer in answers] == [(200, True)] * 3
            assert len(provider.asked) == 2


async def test_a_one_way_message_waits_for_them_too(tmp_path: Path) -> None:
    async with running_provider() as provider:
        identity = {"issuers": [{"issuer": provider.url}]}
        async with running_gateway(tmp_path, relays=RELAYS, identity=identity) as world:
            listener = await world.listen("alarms", query="&sb-hc-profile=netEvent")
            sent, left = message(provider.token(roles=["Azure Relay Listener"]))
            assert (await post(world, "/alarms", sent)).status_code == 403
            sent, left = message(provider.token(roles=["Azure Relay Sender"]))
            assert (await post(world, "/alarms", sent)).status_code == 202
            await until(lambda: listener.bodies == [left])
