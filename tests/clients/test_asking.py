"""Asking all with the SDK: answers as they come, failures among them, and the summary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fanway
from fanway import ListenerAnswer, Relay, Request, Response
from fanway.asking import StopRules, Who

ROOT = {"key_name": "RootManageSharedAccessKey", "key": "root-key-of-the-test-world"}


@pytest.fixture
async def relay(world: Any) -> AsyncIterator[Relay]:
    """A client of the test's own gateway, with the root key."""
    async with fanway.connect(world.url, **ROOT) as relay:
        yield relay


async def test_everybody_answers_and_is_named(relay: Relay) -> None:
    for place in "abc":

        @relay.listen(f"shop/{place}/status", instance=f"i-{place}")
        async def status(request: Request, place: str = place) -> dict[str, str]:
            return {"at": place, "heard": await request.text()}

    asking = relay.ask_all("shop/*/status", "how?\u2028")
    assert asking.summary is None
    answers = [answer async for answer in asking]
    assert {answer.address: answer.json() for answer in answers} == {
        f"shop/{place}/status": {"at": place, "heard": "how?\u2028"} for place in "abc"
    }
    assert {(answer.instance, answer.status, answer.error) for answer in answers} == {
        (f"i-{place}", 200, None) for place in "abc"
    }
    assert all(answer.listener and answer.headers["content-type"] == "application/json" for answer in answers)
    assert asking.summary == fanway.Summary(3, 3, 0, (), "all")


@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ({"a": [1, "ü"]}, b'{"a":[1,"\xc3\xbc"]}'),
        ("line\r\nnext\u2028and\x85on", "line\r\nnext\u2028and\x85on".encode()),
        (b"\xff\x00", b"\xff\x00"),
        (None, b""),
        (Response('"text"', headers={"Content-Type": "application/json"}), b'"text"'),
        (Response(b"x" * 300_000), b"x" * 300_000),
    ],
)
async def test_a_body_arrives_as_it_was_given(relay: Relay, returned: Any, content: bytes) -> None:
    relay.listen("shop")(lambda _: returned)
    [answer] = [answer async for answer in relay.ask_all("shop")]
    assert answer.content == content
    assert answer.error is None


async def test_who_is_too_slow_is_missing_and_who_fails_has_an_error(world: Any, relay: Relay) -> None:
    async def leave(listener: Any, *_: Any) -> None:
        listener.socket.transport.abort()

    async def silent(*_: Any) -> None:
        pass

    relay.listen("shop/well")(lambda _: Response("no", 503))
    await world.listen("shop/left", on_request=leave)
    await world.listen("shop/slow", on_request=silent, query="&sb-hc-id=7&sb-hc-instance=slow")
    asking = relay.ask_all("shop/*", {"q": 1}, wait=2)
    answers: dict[str, ListenerAnswer] = {answer.address: answer async for answer in asking}
    assert (answers["shop/well"].status, answers["shop/well"].text) == (503, "no")
    error = answers["shop/left"].error
    assert error is not None
    assert (error.code, error.is_transient, answers["shop/left"].status) == ("ListenerGone", True, 502)
    assert asking.summary == fanway.Summary(3, 1, 1, (Who("shop/slow", "7", "slow"),), "wait")


@pytest.mark.parametrize(
    ("rules", "why"),
    [({"max": 2}, "max"), ({"first": True}, "first"), ({"stall": 0.05}, "stall"), ({"wait": 1}, "wait")],
)
async def test_it_ends_by_the_rule_that_holds_first(world: Any, relay: Relay, rules: dict[str, Any], why: str) -> None:
    async def silent(*_: Any) -> None:
        pass

    for _ in range(3):
        await world.listen("shop")
    await world.listen("shop", on_request=silent)
    asking = relay.ask_all("shop/**", **rules)
    count = len([answer async for answer in asking])
    assert asking.summary is not None
    assert asking.summary.why == why
    assert count == {"max": 2, "first": 1}.get(why, 3)


def test_rules_are_spelled_as_the_gateway_reads_them() -> None:
    rules = StopRules(3, 2.0, 0.0005, True)
    assert rules.query() == {"max": "3", "wait": "2", "stall": "0.0005", "first": "true"}
    assert StopRules().query() == {}


async def test_nobody_there_and_no_right_are_told_as_errors(world: Any, relay: Relay) -> None:
    with pytest.raises(fanway.EndpointNotFoundError) as caught:
        await anext(relay.ask_all("shop/*"))
    assert (caught.value.code, bool(caught.value.tracking_id)) == ("NoListener", True)
    async with fanway.connect(world.url, **{**ROOT, "key": "wrong"}) as stranger:
        with pytest.raises(fanway.AuthorizationFailedError):
            await anext(stranger.ask_all("shop/*"))
    with pytest.raises(fanway.InvalidAddressError):
        relay.ask_all("*/shop")
    with pytest.raises(fanway.RelayError, match="'wait' is a time"):
        await anext(relay.ask_all("shop", wait=61))


async def test_who_leaves_early_stops_the_gateway_too(world: Any, relay: Relay) -> None:
    async def silent(*_: Any) -> None:
        pass

    relay.listen("shop/a")(lambda _: "here")
    await world.listen("shop/b", on_request=silent)
    async with relay.ask_all("shop/*", wait=60) as asking:
        async for answer in asking:
            assert answer.text == "here"
            break
    assert asking.summary is None
    assert [answer async for answer in asking] == []
    async with asyncio.timeout(10):
        while world.gateway.context.rendezvous:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "sent",
    [
        b'11\r\n{"type": "answer"\r\n',
        b'30\r\n{"type":"answer","address":"shop","status":200}\n\r\n0\r\n\r\n',
        b"0\r\n\r\n",
    ],
)
async def test_a_stream_that_breaks_off_is_no_end(sent: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + sent)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with fanway.connect(url, **ROOT) as relay:
        with pytest.raises(fanway.ConnectionLostError, match="broke off"):
            async for _ in relay.ask_all("shop"):
                pass
    server.close()


async def test_one_of_a_name_is_asked_among_all(relay: Relay, world: Any) -> None:
    for name in ("oslo", "bergen"):
        await world.listen("shop", query=f"&sb-hc-instance={name}")
    [answer] = [answer async for answer in relay.ask_all("shop", instance="oslo", headers={"X-A": "b"}, method="POST")]
    assert answer.instance == "oslo"
