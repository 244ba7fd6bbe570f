"""Asking all: every listener that a pattern matches, answers as they come, and a summary."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tokens import SECRET, signed
from websockets.asyncio.client import ClientConnection, connect
from wires import answering, ask, small_window, until
from worlds import Listener, Request, World, running_gateway

from app.closes import PEER_REFUSED
from app.edge import gather, question
from app.edge.control import ControlChannel
from app.namespace import Change, Right, Rule

SIGNERS = {"signers": [{"name": "backend", "algorithm": "HS256", "key": SECRET}]}


async def gathered(world: World, path: str, **kwargs: Any) -> list[dict[str, Any]]:
    """All lines of one gather."""
    headers = {**world.auth(), **kwargs.pop("headers", {})}
    answer = await world.client.request(kwargs.pop("method", "POST"), f"/-/ask/{path}", headers=headers, **kwargs)
    assert (answer.status_code, answer.headers.get("content-type")) == (200, "application/x-ndjson"), answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def silent(*_: object) -> None:
    """A listener that never answers."""


def summary(asked: int, answered: int, failed: int, why: str, *missing: dict[str, str]) -> dict[str, Any]:
    counts = {"asked": asked, "answered": answered, "failed": failed}
    return {"type": "summary", **counts, "missing": list(missing), "why": why}


def is_at_rest(world: World) -> bool:
    """Whether nothing waits for an answer any more."""
    channels = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    return not world.gateway.context.rendezvous and not any(channel._waiting for channel in channels)


# --- who is asked, and what they get ---


async def test_every_listener_of_the_pattern_is_asked_and_shown(world: World) -> None:
    """W15: each once, in whatever order they answer."""
    reply = answering(b'{"up":\n true}', headers={"content-type": "application/json"})
    for place in "abc":
        query = f"&sb-hc-id={place}&sb-hc-instance=i-{place}"
        await world.listen(f"shop/{place}/status", on_request=reply, query=query)
    others = [await world.listen(path) for path in ("shop", "shop/a", "shop/a/b/status", "shop/a/status/x", "orders/a")]
    *answers, last = await gathered(world, "shop/*/status", content=b"how?")
    assert sorted(answers, key=lambda line: line["address"]) == [
        {
            "type": "answer",
            "address": f"shop/{place}/status",
            "listener": place,
            "instance": f"i-{place}",
            "status": 200,
            "content_type": "application/json",
            "data": {"up": True},
        }
        for place in "abc"
    ]
    assert last == summary(3, 3, 0, "all")
    assert not any(other.requests for other in others)
    assert is_at_rest(world)


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("shop", ["shop", "shop"]),
        ("SHOP", ["shop", "shop"]),
        ("shop/*", ["shop/a"]),
        ("shop/**", ["shop", "shop", "shop/a", "shop/a/b"]),
        ("shop/%61", ["shop/a"]),
        ("shop/a/**", ["shop/a", "shop/a/b"]),
        ("hyco", ["hyco", "hyco"]),
        ("hyco/**", ["hyco", "hyco"]),
    ],
)
async def test_a_pattern_or_an_address_means_those_who_listen_at_what_it_matches(
    world: World, pattern: str, places: list[str]
) -> None:
    for path in ("shop", "shop", "shop/a", "shop/a/b", "hyco", "hyco", "orders"):
        await world.listen(path)
    *answers, last = await gathered(world, pattern, content=b"how?")
    assert sorted(answer["address"] for answer in answers) == places
    assert last == summary(len(places), len(places), 0, "all")


async def test_a_listener_gets_an_ordinary_request_for_its_own_address(world: World) -> None:
    """What speaks of the stream, and the token, stay here."""
    listener = await world.listen("shop/gr%C3%BC%C3%9Fe%20a")
    headers = {
        "X-Custom": "1",
        "Content-Type": "text/x-question",
        "Accept": "application/x-ndjson",
        "Accept-Encoding": "gzip",
    }
    [answer, _] = await gathered(world, "shop/*?wait=5s&sb-hc-id=x", content="größe?", headers=headers)
    assert (answer["address"], answer["data"]) == ("shop/grüße a", "größe?")
    [request] = listener.requests
    assert (request["method"], request["requestTarget"], request["body"]) == ("POST", "/shop/gr%C3%BC%C3%9Fe a", True)
    sent = {name.lower(): value for name, value in request["requestHeaders"].items()}
    assert (sent["x-custom"], sent["content-type"]) == ("1", "text/x-question")
    assert (sent["via"], sent["x-forwarded-proto"]) == ("1.1 127.0.0.1", "http")
    assert not {"accept", "accept-encoding", "servicebusauthorization", "content-length"} & set(sent)


@pytest.mark.parametrize("token", ["Authorization", "sb-hc-token"])
async def test_a_question_without_a_body_may_be_a_get(world: World, token: str) -> None:
    listener = await world.listen("hyco")
    headers = {"Authorization": world.token()} if token == "Authorization" else {}
    params = {} if token == "Authorization" else {"sb-hc-token": world.token()}
    answer = await world.client.get("/-/ask/hyco", headers=headers, params=params)
    assert [json.loads(line)["type"] for line in answer.text.splitlines()] == ["answer", "summary"]
    [request] = listener.requests
    assert (request["method"], request["body"], request["requestTarget"]) == ("GET", False, "/hyco")
    assert "Authorization" not in request["requestHeaders"]


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b'{"a": 1}', "application/json; charset=utf-8", {"data": {"a": 1}}),
        (b"[1,\r\n2]", "application/problem+json", {"data": [1, 2]}),
        (b"{broken", "application/json", {"data_base64": base64.b64encode(b"{broken").decode()}),
        ("grüße\n".encode(), "text/plain", {"data": "grüße\n"}),
        (b"plain", None, {"data": "plain"}),
        (b"\xff\x00", None, {"data_base64": "/wA="}),
        (b"text", "image/png", {"data_base64": "dGV4dA=="}),
        (b"", "text/plain", {}),
    ],
)
async def test_an_answer_is_shown_as_what_it_is(
    world: World, body: bytes, kind: str | None, expected: dict[str, Any]
) -> None:
    await world.listen("shop", on_request=answering(body, 201, headers={"Content-Type": kind} if kind else {}))
    [answer, _] = await gathered(world, "shop")
    described = {"content_type": kind} if kind else {}
    assert answer == {"type": "answer", "address": "shop", "status": 201, **described, **expected}


async def test_an_answer_at_the_address_is_put_together(world: World) -> None:
    """As SDKs send those beyond 64 KiB."""
    body = b"x" * 300_000

    async def there(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as socket:
            await listener.respond(request, socket, None)
            await socket.wait_closed()

    async def there_with_body(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as socket:
            await listener.respond(request, socket, body)
            await socket.wait_closed()

    await world.listen("shop/a", on_request=there)
    await world.listen("shop/b", on_request=there_with_body)
    *answers, last = await gathered(world, "shop/*", content=b"?")
    assert {answer["address"]: len(answer.get("data", "")) for answer in answers} == {"shop/a": 0, "shop/b": 300_000}
    assert last == summary(2, 2, 0, "all")
    assert is_at_rest(world)


async def test_a_sender_may_narrow_who_is_asked(world: World) -> None:
    for name in ("oslo", "bergen"):
        await world.listen("shop", query=f"&sb-hc-instance={name}")
    [answer, last] = await gathered(world, "shop/**", headers={"Fanway-Instance": "oslo"})
    assert (answer["instance"], last) == ("oslo", summary(1, 1, 0, "all"))
    refused = await world.client.post("/-/ask/shop", headers={**world.auth(), "Fanway-Instance": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NoListenerAdmitted")


# --- when it is over ---


async def test_who_does_not_answer_in_time_is_missing(world: World) -> None:
    """W15: 49 of 50 answer."""
    for number in range(49):
        await world.listen(f"shop/{number}")
    await world.listen("shop/slow", on_request=silent, query="&sb-hc-id=7&sb-hc-instance=slow")
    *answers, last = await gathered(world, "shop/*?wait=3s", content=b"how?")
    assert len({answer["address"] for answer in answers}) == 49
    assert last == summary(50, 49, 0, "wait", {"address": "shop/slow", "listener": "7", "instance": "slow"})
    assert is_at_rest(world)


async def test_so_many_answers_are_enough(world: World) -> None:
    for _ in range(5):
        await world.listen("shop")
    *answers, last = await gathered(world, "shop?max=2")
    assert (len(answers), last) == (2, summary(5, 2, 0, "max", *[{"address": "shop"}] * 3))


async def test_the_first_good_answer_is_enough_and_a_bad_one_is_not(world: World) -> None:
    bad = await world.listen("shop/bad", on_request=answering(b"no", 503))
    asked = asyncio.Event()

    async def after_the_bad(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await asked.wait()
        await listener.respond(request, socket, b"yes")

    await world.listen("shop/good", on_request=after_the_bad)
    await world.listen("shop/never", on_request=silent)
    async with world.client.stream("POST", "/-/ask/shop/*?first=true", headers=world.auth()) as answer:
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines))["status"] == 503
        asked.set()
        assert json.loads(await anext(lines))["data"] == "yes"
        assert json.loads(await anext(lines)) == summary(3, 2, 0, "first", {"address": "shop/never"})
    assert bad.requests


async def test_no_further_answer_for_a_while_is_the_end(world: World) -> None:
    """A stall begins with the first answer: that one may take its time."""

    async def late(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await asyncio.sleep(0.2)
        await listener.respond(request, socket, b"yes")

    await world.listen("shop/a", on_request=late)
    await world.listen("shop/b", on_request=silent)
    [answer, last] = await gathered(world, "shop/*?stall=10ms&wait=60s")
    assert (answer["data"], last) == ("yes", summary(2, 1, 0, "stall", {"address": "shop/b"}))


async def test_a_summary_names_a_hundred_and_counts_all(world: World) -> None:
    control = await world.listen("shop", on_request=silent)
    roster = world.gateway.context.realms[world.namespace].roster
    [channel] = roster.listeners("shop")
    many = [(f"shop/{number}", (channel,)) for number in range(300)]
    roster.matching = lambda *_: many  # type: ignore[method-assign]
    [last] = await gathered(world, "shop/*?wait=1s")
    assert (last["asked"], last["answered"], len(last["missing"]), last["why"]) == (300, 0, 100, "wait")
    await until(lambda: len(control.requests) == 300)


# --- who fails ---


async def test_a_listener_that_fails_is_told_as_such(world: World) -> None:
    async def leave(listener: Listener, *_: Any) -> None:
        listener.socket.transport.abort()

    async def break_it(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, None, status="nonsense")

    async def flood(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, b"x" * (question.MAX_ANSWER_BYTES + 1))

    async def flood_there(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            await listener.respond(request, meeting, b"x" * (question.MAX_ANSWER_BYTES + 1))
            await meeting.wait_closed()

    async def cut_there(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            meeting.transport.abort()

    for place, handler in (
        ("left", leave),
        ("broken", break_it),
        ("flood", flood),
        ("flood-there", flood_there),
        ("cut-there", cut_there),
    ):
        await world.listen(f"shop/{place}", on_request=handler)
    await world.listen("shop/well")
    *lines, last = await gathered(world, "shop/*", content=b"how?")
    failures = {line["address"]: line["error"] for line in lines if line["type"] == "failure"}
    assert {place.removeprefix("shop/"): error["code"] for place, error in failures.items()} == {
        "left": "ListenerGone",
        "broken": "BadAnswer",
        "flood": "PayloadTooLarge",
        "flood-there": "PayloadTooLarge",
        "cut-there": "ListenerGone",
    }
    assert failures["shop/flood"]["status"] == 413
    assert last == summary(6, 1, 5, "all")
    assert is_at_rest(world)


async def test_answers_that_are_too_large_together_fail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "MAX_HELD_BYTES", 150_000)
    begun = asyncio.Event()

    async def half(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            await listener.respond(request, meeting, None)
            await meeting.wait_closed()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        begun.set()
        await asyncio.Event().wait()

    async def hold(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            response = {"requestId": request["id"], "statusCode": 200, "body": True}
            await meeting.send(json.dumps({"response": response}))
            await meeting.send(pieces())

    async def large(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await begun.wait()
        await listener.respond(request, socket, b"x" * 60_000)

    await world.listen("shop/half", on_request=half)
    await world.listen("shop/holds", on_request=hold)
    await world.listen("shop/large", on_request=large)
    *lines, last = await gathered(world, "shop/*?wait=4s", content=b"?")
    assert last == summary(3, 1, 1, "wait", {"address": "shop/holds"})
    [failure] = [line for line in lines if line["type"] == "failure"]
    assert (failure["address"], failure["error"]["code"]) == ("shop/large", "Overloaded")


async def test_a_relays_own_deadline_ends_the_wait_for_each(tmp_path: Path) -> None:
    relays = [{"name": "shop", "deadlines": {"responseSeconds": 0.1}}]
    async with running_gateway(tmp_path, relays=relays) as world:
        await world.listen("shop/a", on_request=silent)
        [failure, last] = await gathered(world, "shop/*?wait=60s")
        assert (failure["error"]["status"], failure["error"]["code"]) == (504, "ResponseTimeout")
        assert last == summary(1, 0, 1, "all")


async def test_a_listener_that_takes_nothing_more_fails_at_once(world: World) -> None:
    await world.listen("shop/clogged")
    [channel] = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    channel._due_bytes = 1 << 30
    await world.listen("shop/well")
    *lines, last = await gathered(world, "shop/*")
    [failure] = [line for line in lines if line["type"] == "failure"]
    assert (failure["address"], failure["error"]["code"]) == ("shop/clogged", "Overloaded")
    assert last == summary(2, 1, 1, "all")


async def test_ordinary_requests_and_gathers_go_on_side_by_side(world: World) -> None:
    for place in "abc":
        await world.listen(f"shop/{place}")

    async def request(number: int) -> None:
        body = b"%d" % number
        answer = await world.client.post(f"/shop/{'abc'[number % 3]}", content=body, headers=world.auth())
        assert (answer.status_code, answer.content) == (200, body)

    async def everybody(number: int) -> None:
        *answers, last = await gathered(world, "shop/*", content=b"to all %d" % number)
        assert {answer["data"] for answer in answers} == {f"to all {number}"}
        assert last == summary(3, 3, 0, "all")

    await asyncio.gather(*(request(number) for number in range(60)), *(everybody(number) for number in range(30)))
    assert is_at_rest(world)


@pytest.mark.parametrize("seed", range(4))
async def test_a_summary_adds_up_whatever_listeners_do_and_nothing_is_left(world: World, seed: int) -> None:
    chance = random.Random(seed)

    async def whatever(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        match chance.randrange(7):
            case 0:
                await listener.respond(request, socket, None, chance.choice([204, 304, 500]))
            case 1:
                await listener.respond(request, socket, None, status="nonsense")
            case 2:
                await socket.send(b"a body that nobody announced")
            case 3:
                await asyncio.sleep(chance.random() / 5)
                await listener.respond(request, socket, b"late")
            case 4:
                async with connect(request["address"], max_size=None) as meeting:
                    if chance.random() < 0.5:
                        await listener.respond(request, meeting, chance.randbytes(chance.randrange(200_000)))
            case 5 if chance.random() < 0.2:
                listener.socket.transport.abort()
            case _:
                await listener.respond(request, socket, b"well")

    listeners = [await world.listen(f"shop/{number % 7}", on_request=whatever) for number in range(40)]
    rules = ["wait=1s", "wait=1s&max=5", "wait=1s&first=true", "wait=1s&stall=50ms", "wait=50ms"]

    async def asking(number: int) -> None:
        pattern = chance.choice(["shop/**", "shop/*", "shop/3", "shop/*/**"])
        async with world.client.stream(
            "POST", f"/-/ask/{pattern}?{chance.choice(rules)}", headers=world.auth(), content=b"?" * number
        ) as answer:
            if answer.status_code != 200 or number % 5 == 0:
                return  # nobody is left there, or a caller that leaves
            lines = [json.loads(line) async for line in answer.aiter_lines()]
        last = lines.pop()
        counts = Counter(line["type"] for line in lines)
        assert (last["type"], last["answered"], last["failed"]) == ("summary", counts["answer"], counts["failure"])
        assert last["asked"] == last["answered"] + last["failed"] + len(last["missing"])
        assert last["missing"] or last["why"] in ("all", "max", "first")

    await asyncio.gather(*(asking(number) for number in range(30)))
    await until(lambda: is_at_rest(world))
    assert any(listener.requests for listener in listeners)
    assert not world.gateway.context.counters["faults"]


# --- the caller ---


@pytest.mark.parametrize("path", ["shop", "shop/**", "shop/*/x"])
async def test_nobody_there_is_told_at_once(world: World, path: str) -> None:
    """W15: as a refusal, before any stream."""
    answer = await world.client.post(f"/-/ask/{path}", headers=world.auth())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NoListener")
    unknown = await world.client.post("/-/ask/unknown/*", headers=world.auth())
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "EndpointNotFound")


async def test_answers_stream_as_they_come(world: World) -> None:
    go = asyncio.Event()

    async def later(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await go.wait()
        await listener.respond(request, socket, b"later")

    await world.listen("shop/a")
    await world.listen("shop/b", on_request=later)
    headers = {**world.auth(), "Accept": "text/event-stream"}
    async with world.client.stream("POST", "/-/ask/shop/*", headers=headers, content=b"now") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: answer"
        assert json.loads((await anext(lines)).removeprefix("data: "))["data"] == "now"
        go.set()
        rest = [line async for line in lines]
    assert rest[1] == "event: answer"
    assert rest[-4:-2] == ["event: summary", "id: end"]
    assert json.loads(rest[-2].removeprefix("data: ")) == summary(2, 2, 0, "all")
    again = await world.client.get("/-/ask/shop/*", headers={**headers, "Last-Event-ID": "end"})
    assert (again.status_code, again.content) == (204, b"")  # which keeps an EventSource from asking again


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_connection_goes_on_after_a_summary_or_ends_where_it_must(world: World, version: str) -> None:
    await world.listen("shop")
    token = f"ServiceBusAuthorization: {world.token()}"
    wire = await world.raw()
    question = f"POST /-/ask/shop HTTP/{version}\r\nHost: {world.host}\r\n{token}\r\nContent-Length: 1\r\n\r\n?"
    await wire.send(question * 2)
    if version == "1.0":
        assert "connection: close" in (await wire.head()).lower()
        assert [json.loads(line)["type"] for line in (await wire.rest()).splitlines()] == ["answer", "summary"]
        return
    for _ in range(2):
        assert (await wire.head()).startswith("HTTP/1.1 200 ")
        async with asyncio.timeout(10):
            body = await wire.reader.readuntil(b"\r\n0\r\n\r\n")
        assert body.count(b'"type":"answer"') == body.count(b'"type":"summary"') == 1


async def test_a_caller_that_leaves_ends_what_is_under_way(world: World) -> None:
    """P20: and a listener that answers at the address is told."""
    told = asyncio.Event()

    async def there(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            await meeting.wait_closed()
            told.set()

    await world.listen("shop/a", on_request=there)
    silent_one = await world.listen("shop/b", on_request=silent)
    wire = await ask(world, "/-/ask/shop/*", f"ServiceBusAuthorization: {world.token()}")
    await wire.head()
    await until(lambda: bool(silent_one.requests) and len(world.gateway.context.rendezvous) == 1)
    wire.abort()
    async with asyncio.timeout(10):
        await told.wait()
    await until(lambda: is_at_rest(world))
    assert not any(isinstance(live, gather.Gather) for live in world.gateway.context.lives)


async def test_a_caller_that_reads_slowly_is_owed_little(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R18: answers beyond the bound fail; it still gets the end of the story."""
    monkeypatch.setattr(gather, "MAX_OWED_BYTES", 1 << 20)
    count, size = 60, 150_000
    for number in range(count):
        await world.listen(f"shop/{number}", on_request=answering(b"x" * size))
    wire = await small_window(world)
    await ask(world, "/-/ask/shop/*?wait=60s", f"ServiceBusAuthorization: {world.token()}", wire=wire)
    counters = world.gateway.context
    await until(lambda: is_at_rest(world) and not any(isinstance(live, gather.Gather) for live in counters.lives))
    await wire.head()
    lines = []
    while not lines or lines[-1]["type"] != "summary":
        async with asyncio.timeout(10):
            length = int(await wire.reader.readuntil(b"\r\n"), 16)
            lines.append(json.loads((await wire.reader.readexactly(length + 2))[:-2]))
    failures = [line["error"]["code"] for line in lines if line["type"] == "failure"]
    last = lines[-1]
    assert (last["asked"], last["answered"] + last["failed"], last["why"]) == (count, count, "all")
    assert failures == ["Overloaded"] * last["failed"]
    assert last["failed"] > 10


async def test_answers_at_addresses_wait_for_a_caller_that_reads_slowly(world: World) -> None:
    """R18: what can be throttled arrives whole, and no stall is seen meanwhile."""
    count, size = 12, 900_000

    async def there(listener: Listener, request: Request, _: bytes, __: ClientConnection) -> None:
        async with connect(request["address"], max_size=None) as meeting:
            await listener.respond(request, meeting, b"x" * size)
            await meeting.wait_closed()

    for number in range(count):
        await world.listen(f"shop/{number}", on_request=there)
    wire = await small_window(world)
    await ask(world, "/-/ask/shop/*?wait=60s", f"ServiceBusAuthorization: {world.token()}", wire=wire)
    await wire.head()
    kinds = []
    while not kinds or kinds[-1] != "summary":
        async with asyncio.timeout(20):
            length = int(await wire.reader.readuntil(b"\r\n"), 16)
            data = (await wire.reader.readexactly(length + 2))[:-2]
        kinds.append(json.loads(data)["type"])
    assert kinds == ["answer"] * count + ["summary"]


async def test_pages_of_other_origins_may_ask(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, cors_origins=["https://a.example"]) as world:
        await world.listen("shop")
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            preflight = await world.client.options(
                "/-/ask/shop", headers={"Origin": origin, "Access-Control-Request-Headers": "x-a"}
            )
            answer = await world.client.post("/-/ask/shop", headers={**world.auth(), "Origin": origin})
            refusal = await world.client.post("/-/ask/shop", headers={"Origin": origin})
            assert [each.status_code for each in (preflight, answer, refusal)] == [204, 200, 401]
            for each in (preflight, answer, refusal):
                assert each.headers.get("access-control-allow-origin") == allowed


async def test_a_gateway_that_drains_takes_no_more_but_ends_what_is_under_way(world: World) -> None:
    go = asyncio.Event()

    async def later(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await go.wait()
        await listener.respond(request, socket, b"later")

    listener = await world.listen("shop", on_request=later)
    under_way = asyncio.create_task(gathered(world, "shop"))
    await until(lambda: bool(listener.requests))
    world.gateway.context.is_draining = True
    refused = await world.client.post("/-/ask/shop", headers=world.auth())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "GatewayDraining")
    for live in list(world.gateway.context.lives):
        if isinstance(live, gather.Gather):
            live.review()
    go.set()
    assert (await under_way)[-1] == summary(1, 1, 0, "all")


# --- what is refused ---


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "it is empty"),
        ("*", "begins with a wildcard"),
        ("shop/**/x", "only at the end"),
        ("shop/a*", "a whole segment"),
        ("shop/%2A", "a whole segment"),
        ("shop//a", "a segment is empty"),
        ("-/sys/**", "reserved"),
        ("shop?max=0", "'max' is a number of answers"),
        ("shop?max=10001", "'max' is a number of answers"),
        ("shop?max=-1", "'max' is a number of answers"),
        ("shop?max=ten", "'max' is a number of answers"),
        ("shop?max=%D9%A1", "'max' is a number of answers"),
        ("shop?max=", "'max' is a number of answers"),
        ("shop?wait=0", "'wait' is a time"),
        ("shop?wait=61s", "'wait' is a time"),
        ("shop?wait=60001ms", "'wait' is a time"),
        ("shop?wait=-1", "'wait' is a time"),
        ("shop?wait=1m", "'wait' is a time"),
        ("shop?wait=inf", "'wait' is a time"),
        ("shop?wait=nan", "'wait' is a time"),
        ("shop?stall=0ms", "'stall' is a time"),
        ("shop?stall=1e3", "'stall' is a time"),
        ("shop?first=yes", "'first' is true or false"),
        ("shop?max=1&max=2", "stands twice"),
        ("shop?limit=1&x=2", "Unknown query options: 'limit', 'x'. Known: max, wait, stall, first."),
        ("shop?max=%FF", "not UTF-8"),
        ("shop?sb-hc-instance=a%20b", "instance name"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_reason(world: World, path: str, words: str) -> None:
    await world.listen("shop")
    answer = await world.client.post(f"/-/ask/{path}", headers=world.auth())
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True), answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH"])
async def test_other_methods_are_not_for_all(world: World, method: str) -> None:
    assert (await world.client.request(method, "/-/ask/shop", headers=world.auth())).status_code == 405


async def test_a_body_is_bounded_and_belongs_to_a_post(world: World) -> None:
    listener = await world.listen("shop")
    most = b"x" * gather.MAX_BODY_BYTES

    async def pieces() -> AsyncIterator[bytes]:
        yield most
        yield b"y"

    [answer, _] = await gathered(world, "shop", content=most)
    assert len(answer["data"]) == len(most)
    for body in (most + b"y", pieces()):
        refused = await world.client.post("/-/ask/shop", content=body, headers=world.auth())
        assert (refused.status_code, "at most 65536 bytes" in refused.text) == (413, True)
    refused = await world.client.request("GET", "/-/ask/shop", content=b"x", headers=world.auth())
    assert (refused.status_code, "asked by POST" in refused.text) == (400, True)
    assert len(listener.requests) == 1


async def test_a_head_that_is_too_large_for_a_command_is_refused_before_any_stream(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits={"head_bytes": 128 * 1024}) as world:
        listener = await world.listen("hyco")
        answer = await world.client.post("/-/ask/hyco", headers={**world.auth(), "X-Large": "x" * 70_000})
        assert (answer.status_code, answer.json()["error"]["code"]) == (431, "HeadTooLarge")
        assert not listener.requests


async def test_more_listeners_than_can_be_asked_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_ASKED", 2)
    for _ in range(3):
        await world.listen("shop")
    answer = await world.client.post("/-/ask/shop", headers=world.auth())
    assert (answer.status_code, "At most 2 listeners are asked" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("profile", "words"),
    [("netOneway", "are not answered"), ("netEvent", "are not answered"), ("netTcp", "sockets only")],
)
async def test_relays_that_answer_no_requests_say_so(world: World, profile: str, words: str) -> None:
    await world.listen("alarms", query=f"&sb-hc-profile={profile}")
    answer = await world.client.post("/-/ask/alarms", headers=world.auth())
    assert (answer.status_code, words in answer.text) == (400, True)


async def test_a_relay_for_senders_by_tls_is_not_asked_without(tmp_path: Path) -> None:
    relays = [{"name": "shop", "requiresTransportSecurity": True}]
    async with running_gateway(tmp_path, relays=relays) as world:
        await world.listen("shop")
        answer = await world.client.post("/-/ask/shop", headers=world.auth())
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "TransportSecurityRequired")


# --- who may ---


async def test_asking_needs_the_right_to_send(world: World) -> None:
    await world.listen("ruled/a")
    for pattern in ("ruled/a", "ruled/*"):
        listener = world.auth("ruled", rule="listener", key="listener-key")
        sender = world.auth("ruled", rule="sender", key="sender-key")
        for auth, status in (({}, 401), (world.auth(key="wrong"), 401), (listener, 403), (sender, 200)):
            answer = await world.client.post(f"/-/ask/{pattern}", headers=auth)
            assert answer.status_code == status
    assert (await world.client.post("/-/ask/ruled/*", headers=world.auth("shop"))).status_code == 401


async def test_a_relay_that_takes_anybody_is_asked_without_a_token(world: World) -> None:
    """Then `Authorization` is the application's."""
    listener = await world.listen("open")
    answer = await world.client.post("/-/ask/open/**", headers={"Authorization": "Basic abc"})
    assert answer.status_code == 200
    assert listener.requests[0]["requestHeaders"]["Authorization"] == "Basic abc"


@pytest.mark.parametrize(
    ("kind", "permitted"),
    [("signature", "ruled/a"), ("web token", "ruled/a/**")],
)
async def test_listeners_that_the_token_does_not_reach_are_neither_asked_nor_shown(
    tmp_path: Path, kind: str, permitted: str
) -> None:
    """S03: by the scope of a signature, by the patterns of a web token."""
    async with running_gateway(tmp_path, identity=SIGNERS) as world:
        if kind == "signature":
            auth = world.auth(permitted)
        else:
            auth = {"ServiceBusAuthorization": signed({"ask": [permitted]})}
        for pattern in ("ruled/**", "ruled/*/status", "shop/**", "nowhere/**"):
            answer = await world.client.post(f"/-/ask/{pattern}", headers=auth)
            reaches = kind == "web token" or pattern.startswith("ruled")
            assert answer.status_code == (404 if reaches else 401)
            assert not reaches or answer.json()["error"]["code"] == "NoListener"
        allowed = await world.listen("ruled/a/status")
        denied = [await world.listen(path) for path in ("ruled/b/status", "ruled", "ruled/ab", "shop/a")]
        for pattern in ("ruled/**", "ruled/*/status"):
            answer = await world.client.post(f"/-/ask/{pattern}", headers=auth)
            [line, last] = [json.loads(line) for line in answer.text.splitlines()]
            assert (line["address"], last) == ("ruled/a/status", summary(1, 1, 0, "all"))
        assert (await world.client.post("/-/ask/ruled/b/status", headers=auth)).status_code in (401, 403)
        assert (await world.client.post("/-/ask/shop/**", headers=auth)).status_code == (
            404 if kind == "web token" else 401
        )
        assert not any(listener.requests for listener in denied)
        assert len(allowed.requests) == 2


async def test_a_right_that_is_taken_away_cuts_the_stream(world: World) -> None:
    """S15"""
    listener = await world.listen("ruled/a", on_request=silent)
    auth = world.auth("ruled", rule="sender", key="sender-key")
    wire = await ask(world, "/-/ask/ruled/*", f"ServiceBusAuthorization: {auth['ServiceBusAuthorization']}")
    await wire.head()
    await until(lambda: bool(listener.requests))
    relay = world.namespace.relays["ruled"]
    relay.rules["sender"] = Rule("sender", Right.LISTEN, "sender-key", "spare")
    world.namespace.announce(Change("rule-changed", relay, "sender"))
    assert await wire.rest() == b""
    assert is_at_rest(world)


async def test_what_becomes_of_the_right_while_the_body_comes_counts(world: World) -> None:
    """S21: a body that takes its time does not outlive its permission."""
    listener = await world.listen("ruled/a")
    auth = world.auth("ruled", rule="sender", key="sender-key")["ServiceBusAuthorization"]
    wire = await ask(
        world,
        "/-/ask/ruled/a",
        f"ServiceBusAuthorization: {auth}",
        "Content-Length: 1",
        "Expect: 100-continue",
        method="POST",
    )
    assert (await wire.head()).startswith("HTTP/1.1 100")
    relay = world.namespace.relays["ruled"]
    relay.rules["sender"] = Rule("sender", Right.LISTEN, "sender-key", "spare")
    world.namespace.announce(Change("rule-changed", relay, "sender"))
    await wire.send("x")
    assert (await wire.answer())[0] == 403
    assert not listener.requests


async def test_a_ticket_for_one_use_is_good_for_one_question(world: World) -> None:
    """Also when its body comes later; and what is revoked meanwhile asks nobody."""
    listener = await world.listen("shop")
    ticket = (await world.client.post("/-/tickets", headers=world.auth(), json={"once": True})).json()["ticket"]
    statuses = [
        (await world.client.post(f"/-/ask/shop?sb-hc-token={ticket}", content=b"x")).status_code for _ in range(2)
    ]
    assert statuses == [200, 401]
    assert len(listener.requests) == 1


async def test_callers_whom_the_network_rules_shut_out_are_cut(world: World) -> None:
    listener = await world.listen("shop", on_request=silent)
    wire = await ask(world, "/-/ask/shop", f"ServiceBusAuthorization: {world.token()}")
    await wire.head()
    await until(lambda: bool(listener.requests))
    [gathering] = [live for live in world.gateway.context.lives if isinstance(live, gather.Gather)]
    assert gathering.peer_address() == "127.0.0.1"
    gathering.end(PEER_REFUSED)
    assert await wire.rest() == b""
    assert is_at_rest(world)


async def test_a_deleted_relay_ends_its_listeners_and_so_the_gather(world: World) -> None:
    listener = await world.listen("shop/a", on_request=silent)
    task = asyncio.create_task(gathered(world, "shop/*?wait=60s"))
    await until(lambda: bool(listener.requests))
    assert (await world.client.delete("/-/api/relays/shop", headers=world.auth())).status_code < 300
    [failure, last] = await task
    assert (failure["error"]["code"], last) == ("ListenerGone", summary(1, 0, 1, "all"))
