"""The one permission check on every way an event can travel, and the end of what lived on a lost grant."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest
from sinks import running_sink
from subscribers import NdjsonStream, SseStream, Stalled, ndjson, publish, receive, session, socket, sse, unchunked
from tokens import SECRET, signed
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

import app.edge
from app.access.grant import Grant
from app.namespace import Change, HistoryLimits, Relay, Right, Rule
from app.wire.native.query import Transport
from fanout.address import check_pattern

PIECE = "x" * 4096

RELAYS: list[dict[str, Any]] = [
    {
        "name": "ruled",
        "budget": 65536,
        "retain": "last",
        "rules": [
            {"name": "both", "rights": ["Listen", "Send"], "primaryKey": "both-key"},
            {"name": "listener", "rights": ["Listen"], "primaryKey": "listener-key", "secondaryKey": "spare-key"},
        ],
    },
    {"name": "orders"},
]


SIGNERS = {"signers": [{"name": "backend", "algorithm": "HS256", "key": SECRET}]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, identity=SIGNERS) as running:
        yield running


def listener(world: World, **kwargs: Any) -> dict[str, str]:
    return world.auth("ruled", **{"rule": "listener", "key": "listener-key", **kwargs})


def ruled(world: World) -> Relay:
    return world.namespace.relays["ruled"]


def change_rule(world: World, rule: Rule | None) -> None:
    """The rule `listener` becomes another, or goes."""
    relay = ruled(world)
    if rule is None:
        del relay.rules["listener"]
    else:
        relay.rules["listener"] = rule
    world.namespace.announce(Change("rule-removed" if rule is None else "rule-changed", relay, "listener"))


# --- S03: the table of ways ---
#
# Each way delivers events of `ruled/**` and returns the texts it saw, up to and including "end". Before the
# way begins, "early" and "secret early" lie in the history; once it is open, `publishing` publishes "late",
# "secret late" and "end". A new way of delivery must be added here: the last test of this table sees to it.

Publishing = Callable[[], Awaitable[None]]
Way = Callable[[World, Publishing], Awaitable[list[str]]]


async def texts(read: Callable[[], Awaitable[str | None]]) -> list[str]:
    seen: list[str] = []
    while not seen or seen[-1] != "end":
        text = await read()
        if text is not None:
            seen.append(text.partition(" " + PIECE)[0])
    return seen


async def by_sse(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with sse(world, f"ruled/**?as=data&from={start}") as stream:
        await stream.block()
        await publishing()

        async def read() -> str:
            return (await stream.block()).data

        return await texts(read)


async def by_sse_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_sse(world, publishing, "start")


async def by_ndjson(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with ndjson(world, f"ruled/**?from={start}") as stream:
        await stream.event()
        await publishing()

        async def read() -> str:
            return str((await stream.event())["data"])

        return await texts(read)


async def by_ndjson_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_ndjson(world, publishing, "start")


async def by_long_poll(world: World, publishing: Publishing, start: str = "") -> list[str]:
    cursor = start
    if not start:
        first = await world.client.get("/-/events/ruled/**?wait=0", headers=world.auth())
        cursor = first.headers["fanway-cursor"]
    task = asyncio.ensure_future(publishing())
    seen: list[str] = []
    while "end" not in seen:
        answer = await world.client.get(f"/-/events/ruled/**?wait=10&from={cursor}", headers=world.auth())
        seen += [event["data"] for event in answer.json()]
        cursor = answer.headers["fanway-cursor"]
    await task
    return seen


async def by_long_poll_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_long_poll(world, publishing, "start")


async def by_sse_retained(world: World, publishing: Publishing) -> list[str]:
    return await by_sse(world, publishing, "retained")


async def by_ndjson_retained(world: World, publishing: Publishing) -> list[str]:
    return [text for text in await by_ndjson(world, publishing, "retained") if not text.startswith("{")]


async def by_long_poll_retained(world: World, publishing: Publishing) -> list[str]:
    return await by_long_poll(world, publishing, "retained")


async def by_cloudevents_retained(world: World, publishing: Publishing) -> list[str]:
    return await by_cloudevents(world, publishing, "retained")


async def by_session_retained(world: World, publishing: Publishing) -> list[str]:
    return await by_session(world, publishing, "retained")


async def by_bare_socket(world: World, publishing: Publishing) -> list[str]:
    async with socket(world, "ruled/**") as peer:
        await publishing()

        async def read() -> str:
            return str(await receive(peer))

        return await texts(read)


async def by_cloudevents(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with socket(world, f"ruled/**?from={start}", subprotocols=["cloudevents.json"]) as peer:
        await receive(peer)
        await publishing()

        async def read() -> str:
            return str(json.loads(await receive(peer))["data"])

        return await texts(read)


async def by_cloudevents_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_cloudevents(world, publishing, "start")


async def by_session(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with session(world) as peer:
        await peer.subscribe(1, "ruled/**", from_=start)
        await publishing()

        async def read() -> str:
            return (await peer.event())[1].decode()

        return await texts(read)


async def by_session_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_session(world, publishing, "start")


FILTER = {"prefix": {"fanwayaddress": "ruled/"}}  # lets through what the grant must hold back


async def by_filter(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    """Through a sieve, where the engine keeps the filtered subscriptions."""
    async with ndjson(world, f"ruled/**?from={start}&filter={quote(json.dumps(FILTER))}") as stream:
        await stream.event()
        await publishing()

        async def read() -> str:
            return str((await stream.event())["data"])

        return await texts(read)


async def by_filter_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_filter(world, publishing, "start")


async def by_filter_in_session(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with session(world) as peer:
        await peer.subscribe(1, "ruled/**", from_=start, filter=FILTER)
        await publishing()

        async def read() -> str:
            return (await peer.event())[1].decode()

        return await texts(read)


async def by_filter_in_session_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_filter_in_session(world, publishing, "start")


async def by_group(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    """Two members, between them everything."""
    async with session(world) as one, session(world) as two:
        for peer in (one, two):
            await peer.subscribe(1, "ruled/**", from_=start, group="both")
        await publishing()
        seen: list[str] = []
        is_last = False
        while not is_last:
            is_last = "end" in seen  # what came before it has been written to somebody: once round again
            for peer in (one, two):
                await peer.send("ping")
                while (message := await peer.next())[0]["t"] != "pong":
                    seen.append(message[1].decode())
        return sorted(seen, key=REPLAYED.index)


async def by_group_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_group(world, publishing, "start")


async def by_durable(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with session(world) as peer:
        await peer.subscribe(1, "ruled/**", from_=start, durable="mine")
        await publishing()

        async def read() -> str | None:
            header, payload = await peer.next()
            if header["t"] != "dl":
                return None
            await peer.send("ack", sub=1, d=[header["d"]])
            return payload.decode()

        return await texts(read)


async def by_durable_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_durable(world, publishing, "start")


async def by_group_stream(world: World, publishing: Publishing) -> list[str]:
    """One member by server-sent events, one by NDJSON, one by a WebSocket of envelopes."""
    path = "ruled/**?group=all&from=start"
    protocols = ["cloudevents.json"]
    async with (
        sse(world, f"{path}&as=data") as first,
        ndjson(world, path) as second,
        socket(world, path, subprotocols=protocols) as third,
    ):
        assert (await first.block()).event == "ready"
        assert (await second.event())["type"] == "fanway.ready"
        assert json.loads(await receive(third))["type"] == "fanway.ready"
        await publishing()
        await publish(world, "ruled/public", "more", Content_Type="text/plain")
        seen = [(await first.block()).data for _ in range(2)]  # the first was alone with the past
        seen += [str((await second.event())["data"]), json.loads(await receive(third))["data"]]
        return sorted((text for text in seen if text != "more"), key=REPLAYED.index)


async def by_durable_poll(world: World, publishing: Publishing) -> list[str]:
    path = "/-/events/ruled/**?durable=polled&wait=5&from=start"
    assert (await world.client.get(path.replace("wait=5", "wait=0"), headers=world.auth())).status_code == 200
    await publishing()
    seen: list[str] = []
    while "end" not in seen:
        answer = await world.client.get(path, headers=world.auth())
        seen += [event["data"] for event in answer.json()]
        acks = {"ack": [event["fanwaydelivery"] for event in answer.json()]}
        settled = await world.client.post("/-/acks/ruled?durable=polled", json=acks, headers=world.auth())
        assert settled.json() == {"acked": acks["ack"], "nacked": [], "unknown": []}
    return seen


async def by_dead_letter(world: World, publishing: Publishing) -> list[str]:
    """What is delivered in vain goes to another address; what may not be delivered does not go there either."""
    async with session(world) as peer, session(world) as mourner:
        await mourner.subscribe(1, "orders/dead")
        await peer.subscribe(1, "ruled/**", from_="start", durable="mine", dead_letter="orders/dead", max_deliveries=1)
        await publishing()

        async def read() -> str | None:
            header, _ = await peer.next()
            if header["t"] != "dl":
                return None
            await peer.send("nack", sub=1, d=[header["d"]])
            return (await mourner.event())[1].decode()

        return await texts(read)


async def by_push(world: World, publishing: Publishing, start: str = "now") -> list[str]:
    async with running_sink() as sink:
        config = {"pattern": "ruled/**", "from": start, "order": "strict"}
        body = {"sink": sink.url, "protocol": "HTTP", "config": config}
        made = await world.client.post("/-/api/subscriptions", headers=world.auth(), json=body)
        assert made.status_code == 201, made.text
        await publishing()
        await sink.until(lambda: any(request.body.startswith(b"end") for request in sink.received))
        return [request.body.decode() for request in sink.received]


async def by_push_replay(world: World, publishing: Publishing) -> list[str]:
    return await by_push(world, publishing, "start")


async def by_exact_address(world: World, publishing: Publishing) -> list[str]:
    """Exclusive subscriptions, which the engine serves apart, one of them at the forbidden address."""
    async with AsyncExitStack() as stack:
        secret = await stack.enter_async_context(socket(world, "ruled/secret/a"))
        public = await stack.enter_async_context(socket(world, "ruled/public"))
        await publishing()

        async def read() -> str:
            return str(await receive(public))

        seen = await texts(read)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                seen.append(str(await secret.recv()))
        return seen


async def by_drop_and_gap(world: World, publishing: Publishing) -> list[str]:
    """A slow consumer that skipped events and is fed again."""
    stalled = Stalled(world)
    await stalled.ask("ruled/**?policy=drop", Accept="application/x-ndjson")
    while not (await publish(world, "ruled/public", f"filler {PIECE}", Content_Type="text/plain"))["dropped"]:
        await publish(world, "ruled/secret/a", "secret filler", Content_Type="text/plain")
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(20):
        while b"fanway.gap" not in data:
            data += await loop.sock_recv(stalled.socket, 65536)
        await publishing()
        while b'"data":"end"' not in data or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    events = [json.loads(line) for line in unchunked(data).splitlines()]
    found = [event["data"].partition(" " + PIECE)[0] for event in events if event["type"] == "fanway.event"]
    assert set(found) == {"filler", "late", "end"}
    return [text for text in found if text != "filler"]


async def by_catch_up(world: World, publishing: Publishing) -> list[str]:
    """A slow consumer that reads what it missed from history."""
    stalled = Stalled(world)
    await stalled.ask("ruled/**?policy=catch-up", Accept="application/x-ndjson")
    while not (await publish(world, "ruled/public", f"filler {PIECE}", Content_Type="text/plain"))["behind"]:
        await publish(world, "ruled/secret/a", "secret filler", Content_Type="text/plain")
    await publishing()
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(20):
        while b'"data":"end"' not in data or not data.endswith(b"\n\r\n"):
            data += await loop.sock_recv(stalled.socket, 65536)
    events = [json.loads(line) for line in unchunked(data).splitlines()]
    found = [event["data"].partition(" " + PIECE)[0] for event in events if event["type"] == "fanway.event"]
    return [text for text in found if text != "filler"]


LIVE, REPLAYED = ["late", "end"], ["early", "late", "end"]
PUSH = "push"  # no transport of a client: the gateway itself sends it
WAYS: list[tuple[Transport | Literal["push"], Way, list[str]]] = [
    (PUSH, by_push, LIVE),
    (PUSH, by_push_replay, REPLAYED),
    (Transport.SSE, by_sse, LIVE),
    (Transport.SSE, by_sse_replay, REPLAYED),
    (Transport.NDJSON, by_ndjson, LIVE),
    (Transport.NDJSON, by_ndjson_replay, REPLAYED),
    (Transport.SSE, by_sse_retained, REPLAYED),
    (Transport.NDJSON, by_ndjson_retained, REPLAYED),
    (Transport.LONG_POLL, by_long_poll_retained, REPLAYED),
    (Transport.CLOUDEVENTS, by_cloudevents_retained, REPLAYED),
    (Transport.SESSION, by_session_retained, REPLAYED),
    (Transport.NDJSON, by_drop_and_gap, LIVE),
    (Transport.NDJSON, by_catch_up, LIVE),
    (Transport.LONG_POLL, by_long_poll, LIVE),
    (Transport.LONG_POLL, by_long_poll_replay, REPLAYED),
    (Transport.SOCKET, by_bare_socket, LIVE),
    (Transport.SOCKET, by_exact_address, LIVE),
    (Transport.CLOUDEVENTS, by_cloudevents, LIVE),
    (Transport.CLOUDEVENTS, by_cloudevents_replay, REPLAYED),
    (Transport.SESSION, by_session, LIVE),
    (Transport.SESSION, by_session_replay, REPLAYED),
    (Transport.NDJSON, by_filter, LIVE),
    (Transport.NDJSON, by_filter_replay, REPLAYED),
    (Transport.SESSION, by_filter_in_session, LIVE),
    (Transport.SESSION, by_filter_in_session_replay, REPLAYED),
    (Transport.CLOUDEVENTS, by_group_stream, REPLAYED),
    (Transport.LONG_POLL, by_durable_poll, LIVE),
    (Transport.SESSION, by_group, LIVE),
    (Transport.SESSION, by_group_replay, REPLAYED),
    (Transport.SESSION, by_durable, LIVE),
    (Transport.SESSION, by_durable_replay, REPLAYED),
    (Transport.SESSION, by_dead_letter, REPLAYED),
]


@pytest.mark.parametrize("kind", ["signature", "web token", "durable", "delayed"])
@pytest.mark.parametrize(("way", "expected"), [row[1:] for row in WAYS], ids=[row[1].__name__ for row in WAYS])
async def test_what_a_grant_does_not_permit_travels_on_no_way(
    world: World, way: Way, expected: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S03: allowed `ruled/**`, but not `ruled/secret/**`; its own answer rules every way, from disk, and late."""
    permits = Grant.permits
    if kind == "durable":
        monkeypatch.setattr("fanout.history.TAIL_EVENTS", 0)  # what is replayed is read from disk
        ruled(world).history = HistoryLimits("durable", events=100_000, bytes=1 << 30)
        world.namespace.announce(Change("relay-changed", ruled(world)))
    if kind == "web token":
        token = signed({"subscribe": ["ruled/**", "orders/**"], "publish": ["ruled/**", "orders/**"]})
        monkeypatch.setattr(World, "auth", lambda *_, **__: {"ServiceBusAuthorization": token})

    def narrowed(self: Grant, right: Right, relay: Relay, address: str) -> bool:
        return permits(self, right, relay, address) and not (
            right in Right.LISTEN and address.startswith("ruled/secret/")
        )

    monkeypatch.setattr(Grant, "permits", narrowed)
    plain = {"Content_Type": "text/plain"}
    await publish(world, "ruled/public", "early", **plain)
    await publish(world, "ruled/secret/a", "secret early", **plain)

    when = "?not-before=1" if kind == "delayed" else ""

    async def publishing() -> None:
        await publish(world, f"ruled/public{when}", "late", **plain)
        secret = await publish(world, f"ruled/secret/a{when}", "secret late", **plain)
        assert secret["matched"] == 0
        await publish(world, f"ruled/public{when}", "end", **plain)
        if when:
            world.clock.offset += 1.5
            world.gateway.context.wheel.advance(1.5)
            while world.gateway.context.delayed.count(world.namespace, ruled(world)):
                await world.client.get("/-/health/live")

    assert await way(world, publishing) == expected


def test_every_transport_stands_in_the_table_of_ways() -> None:
    """S03: a new way cannot come without being walked."""
    assert {transport for transport, _, _ in WAYS} == {*Transport, PUSH} - {Transport.POST}


def test_every_door_of_ours_is_known_to_these_tables() -> None:
    """S03: events travel by the first, answers by the second, and nothing of a user's by the others."""
    modules = (importlib.import_module(found.name) for found in pkgutil.walk_packages(app.edge.__path__, "app.edge."))
    doors = {module.DOOR for module in modules if hasattr(module, "DOOR")}
    assert doors == {"/-/events", "/-/ask", "/-/tickets", "/-/acks"}


# --- who is there: told to managers only ---

PRESENCE = ("-/sys/presence/**", "-/sys/presence/ruled", "-/sys/**", "-/**")
SUBSCRIBING = sorted(set(Transport) - {Transport.POST}, key=lambda transport: transport.name)


async def subscribing(world: World, transport: Transport, path: str, auth: dict[str, str]) -> int:
    """The status that a subscription by this transport is answered with."""
    if transport is Transport.SESSION:
        async with session(world, additional_headers=auth) as peer:
            return int((await peer.subscribe(1, path)).get("status", 200))
    if transport in (Transport.SOCKET, Transport.CLOUDEVENTS):
        protocols = ["cloudevents.json"] if transport is Transport.CLOUDEVENTS else None
        try:
            async with socket(world, path, additional_headers=auth, subprotocols=protocols):
                return 200
        except InvalidStatus as refused:
            return refused.response.status_code
    accept, query = {
        Transport.SSE: ("text/event-stream", ""),
        Transport.NDJSON: ("application/x-ndjson", ""),
        Transport.LONG_POLL: ("*/*", "?wait=0"),
    }[transport]
    headers = {**auth, "Accept": accept}
    async with world.client.stream("GET", f"/-/events/{path}{query}", headers=headers) as answer:
        return answer.status_code


@pytest.mark.parametrize("transport", SUBSCRIBING, ids=lambda transport: transport.name)
async def test_who_is_there_is_told_to_nobody_who_may_only_listen(world: World, transport: Transport) -> None:
    """S03: it takes Manage of the namespace; a token without, or for one relay, or for less, does not do."""
    listens = await world.client.put(
        "/-/api/rules/listens", json={"rights": ["Listen", "Send"], "primaryKey": "l"}, headers=world.auth()
    )
    owns = await world.client.put(
        "/-/api/rules/owns?relay=ruled", json={"rights": ["Manage"], "primaryKey": "o"}, headers=world.auth()
    )
    assert (listens.status_code, owns.status_code) == (201, 201)
    everything = signed({action: ["ruled/**"] for action in ("subscribe", "listen", "manage")})
    poor = [
        world.auth(rule="listens", key="l"),
        world.auth("ruled", rule="owns", key="o"),
        world.auth("ruled"),
        {"ServiceBusAuthorization": everything},
    ]
    for path in PRESENCE:
        assert [await subscribing(world, transport, path, auth) in (401, 403) for auth in poor] == [True] * len(poor)
        assert await subscribing(world, transport, path, world.auth()) == 200


async def test_who_is_where_a_grant_does_not_permit_is_told_neither_in_a_roll_call_nor_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S03: the gate is asked for the address of each who is there."""
    permits = Grant.permits

    def narrowed(self: Grant, right: Right, relay: Relay, address: str) -> bool:
        return permits(self, right, relay, address) and not address.startswith("-/sys/presence/ruled/secret")

    monkeypatch.setattr(Grant, "permits", narrowed)
    async with socket(world, "ruled/secret/a"), socket(world, "ruled/public"):
        async with ndjson(world, "-/sys/presence/**") as stream:
            told = [await stream.event() for _ in range(3)]
            async with socket(world, "ruled/secret/b"), socket(world, "ruled/end"):
                told.append(await stream.event())
    assert [event["data"].get("pattern") for event in told] == [None, "ruled/public", None, "ruled/end"]
    assert told[2]["data"] == {"state": "complete", "count": 1}


# --- the way of answers: asking all ---

GATHERED = ("ruled/**", "ruled/*", "ruled/*/*", "ruled/secret/*", "ruled/secret/a", "RULED/secret/**")


@pytest.mark.parametrize("kind", ["signature", "web token"])
@pytest.mark.parametrize("pattern", GATHERED)
async def test_who_listens_where_a_grant_does_not_permit_to_ask_is_not_gathered(
    world: World, pattern: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S03: allowed `ruled/**`, but not `ruled/secret/**`; nobody there is asked, counted, missing or shown."""
    secret = [await world.listen(path) for path in ("ruled/secret/a", "ruled/secret")]
    for path in ("ruled", "ruled/public", "ruled/public/a"):
        await world.listen(path)
    permits = Grant.permits
    if kind == "web token":
        token = signed({"ask": ["ruled/**"]})
        monkeypatch.setattr(World, "auth", lambda *_, **__: {"ServiceBusAuthorization": token})

    def narrowed(self: Grant, right: Right, relay: Relay, address: str) -> bool:
        is_secret = address == "ruled/secret" or address.startswith("ruled/secret/")
        return permits(self, right, relay, address) and not (right is Right.ASK and is_secret)

    monkeypatch.setattr(Grant, "permits", narrowed)
    answer = await world.client.post(f"/-/ask/{pattern}", content=b"?", headers=world.auth())
    expected = [path for path in ("ruled", "ruled/public", "ruled/public/a") if check_pattern(pattern).matches(path)]
    assert "secret" not in answer.text.partition("SystemTracker")[0]
    if expected:
        *lines, last = [json.loads(line) for line in answer.text.splitlines()]
        assert sorted(line["address"] for line in lines) == expected
        assert (last["asked"], last["answered"], last["missing"]) == (len(expected), len(expected), [])
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NoListener")
    assert not any(listener.requests for listener in secret)


LISTED = {"subscribe": ["ruled/public", "ruled/*", "ruled/eu/**"], "publish": ["ruled/**"]}


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("ruled/public", 200),
        ("ruled/other", 200),
        ("ruled/*", 200),
        ("RULED/*", 200),
        ("ruled/eu", 200),
        ("ruled/eu/**", 200),
        ("ruled/eu/*/x", 200),
        ("ruled/**", 403),  # reaches further than what is listed
        ("ruled/*/**", 403),
        ("ruled", 403),
        ("ruled/a/b", 403),
        ("ruled/EU/a", 403),
        ("orders/a", 403),
    ],
)
async def test_a_web_token_opens_what_one_of_its_patterns_covers_by_every_transport(
    world: World, pattern: str, status: int
) -> None:
    """S01: a wildcard is granted only where every address it can match is."""
    auth = {"ServiceBusAuthorization": signed(LISTED)}
    for accept, query in (("text/event-stream", ""), ("application/x-ndjson", ""), ("*/*", "?wait=0")):
        async with world.client.stream(
            "GET", f"/-/events/{pattern}{query}", headers={**auth, "Accept": accept}
        ) as answer:
            assert answer.status_code == status
    for subprotocols in (None, ["cloudevents.json"]):
        opening = socket(world, pattern, additional_headers=auth, subprotocols=subprotocols)
        if status == 200:
            async with opening:
                continue
        with pytest.raises(InvalidStatus) as refused:
            await opening
        assert refused.value.response.status_code == status
    async with session(world, additional_headers=auth) as peer:
        answered = await peer.subscribe(1, pattern)
        assert (answered["t"], answered.get("status", 200)) == ("ok" if status == 200 else "err", status)


# --- grants that end ---


async def open_all(world: World, stack: AsyncExitStack, auth: dict[str, str]) -> list[Any]:
    """A subscriber of every transport, on this token."""
    token = auth["ServiceBusAuthorization"]
    streams: list[SseStream | NdjsonStream] = [
        await stack.enter_async_context(sse(world, "ruled/**", ServiceBusAuthorization=token)),
        await stack.enter_async_context(ndjson(world, "ruled/**", ServiceBusAuthorization=token)),
    ]
    sockets = [
        await stack.enter_async_context(socket(world, "ruled/**", additional_headers=auth)),
        await stack.enter_async_context(
            socket(world, "ruled/**", additional_headers=auth, subprotocols=["cloudevents.json"])
        ),
    ]
    peer = await stack.enter_async_context(session(world, additional_headers=auth))
    await peer.subscribe(1, "ruled/**")
    assert (await publish(world, "ruled/a"))["matched"] == 5
    return [*streams, *sockets, peer]


async def assert_all_ended(peers: list[Any], code: int, reason: str) -> None:
    events, lines, bare, cloudevents, peer = peers
    while (block := await events.block()).event != "bye":
        pass
    assert (json.loads(block.data)["code"], reason in block.data) == (code, True)
    while (event := await lines.event())["type"] != "fanway.bye":
        pass
    assert event["data"]["code"] == code
    while (header := await peer.header())["t"] != "bye":
        pass
    assert (header["code"], reason in header["reason"]) == (code, True)
    for websocket in (bare, cloudevents, peer.websocket):
        async with asyncio.timeout(10):
            await websocket.wait_closed()
        assert (websocket.close_code, reason in websocket.close_reason) == (code, True)


@pytest.mark.parametrize("how", ["removed", "regenerated", "narrowed"])
async def test_a_lost_rule_ends_what_lived_on_it_before_the_next_event(world: World, how: str) -> None:
    """S21: the plans are cached and hot; the next event is already refused."""
    async with AsyncExitStack() as stack:
        peers = await open_all(world, stack, listener(world))
        other = await stack.enter_async_context(socket(world, "ruled/**"))
        rules: dict[str, Rule | None] = {
            "removed": None,
            "regenerated": Rule("listener", Right.LISTEN, "new-key", "spare-key"),
            "narrowed": Rule("listener", Right.SEND, "listener-key", "spare-key"),
        }
        change_rule(world, rules[how])
        receipt = await publish(world, "ruled/a", "still", Content_Type="text/plain")
        assert receipt["matched"] == 1
        assert await receive(other) == "still"
        await assert_all_ended(peers, 1008, "key or rule")


async def test_a_regenerated_key_leaves_the_other_key_alone(world: World) -> None:
    async with AsyncExitStack() as stack:
        await open_all(world, stack, listener(world, key="spare-key"))
        change_rule(world, Rule("listener", Right.LISTEN, "new-key", "spare-key"))
        assert (await publish(world, "ruled/a"))["matched"] == 5


async def test_a_token_ends_what_lived_on_it_when_its_grace_is_over(world: World) -> None:
    async with AsyncExitStack() as stack:
        peers = await open_all(world, stack, listener(world, seconds=60))
        world.clock.offset += 350  # within the grace
        for live in list(world.gateway.context.lives):
            live.review()
        assert (await publish(world, "ruled/a"))["matched"] == 5
        world.clock.offset += 60
        for live in list(world.gateway.context.lives):
            live.review()
        assert (await publish(world, "ruled/a"))["matched"] == 0
        await assert_all_ended(peers, 1008, "ExpiredToken")


async def test_a_token_expires_by_itself(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, deadlines={"token_grace_seconds": 0}) as world:
        async with AsyncExitStack() as stack:
            peers = await open_all(world, stack, listener(world, seconds=1.5))
            await assert_all_ended(peers, 1008, "ExpiredToken")


async def test_a_deleted_relay_ends_its_subscribers(world: World) -> None:
    async with sse(world, "ruled/**") as events, socket(world, "ruled/a?mode=both") as both:
        await events.block()
        answer = await world.client.delete("/-/api/relays/ruled", headers=world.auth())
        assert answer.status_code < 300
        assert (await events.block()).event == "bye"
        async with asyncio.timeout(10):
            await both.wait_closed()
        assert both.close_code == 1001


async def test_a_publisher_without_a_token_leaves_when_the_relay_closes(world: World) -> None:
    relay = ruled(world)
    relay.requires_client_authorization = False
    async with socket(world, "ruled/a?mode=publish", additional_headers={}) as publisher:
        relay.requires_client_authorization = True
        world.namespace.announce(Change("relay-changed", relay))
        async with asyncio.timeout(10):
            await publisher.wait_closed()
        assert publisher.close_code == 1008
    assert (await world.client.post("/-/events/ruled/a", content=b"x")).status_code == 401


async def test_a_publish_right_is_asked_again_when_the_body_has_come(world: World) -> None:
    """S21, for publishers: a body that takes its time does not outlive its permission."""
    wire = await world.raw()
    token = world.token("ruled", rule="both", key="both-key")
    await wire.send(
        f"POST /-/events/ruled/a HTTP/1.1\r\nHost: {world.host}\r\nServiceBusAuthorization: {token}\r\n"
        "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    )
    assert (await wire.head()).startswith("HTTP/1.1 100")
    relay = ruled(world)
    relay.rules["both"] = Rule("both", Right.LISTEN, "both-key", "both-key-2")
    world.namespace.announce(Change("rule-changed", relay, "both"))
    await wire.send("x")
    assert (await wire.answer())[0] == 403


async def test_a_session_remembers_where_it_may_publish_no_longer_than_it_may(world: World) -> None:
    """S21, for sessions."""
    relay = ruled(world)
    auth = world.auth("ruled", rule="both", key="both-key")
    async with session(world, additional_headers=auth) as peer:
        assert (await peer.publish("ruled/a"))["t"] == "ok"
        relay.rules["both"] = Rule("both", Right.LISTEN, "both-key", "both-key-2")
        world.namespace.announce(Change("rule-changed", relay, "both"))
        assert (await peer.header())["t"] == "bye"


@pytest.mark.parametrize("path", ["orders/%2A", "orders/%23", "orders/a%2Fb", "orders/*%2A", "orders/%2A%2A/x"])
async def test_wildcards_that_are_escaped_are_no_wildcards(world: World, path: str) -> None:
    """S02: never widened by decoding."""
    answer = await world.client.get(
        f"/-/events/{path}", headers={**world.auth("orders/a"), "Accept": "text/event-stream"}
    )
    assert answer.status_code == (401 if path == "orders/%23" else 400)


async def test_a_drain_says_goodbye_to_everybody(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        async with AsyncExitStack() as stack:
            peers = await open_all(world, stack, listener(world))
            stopping = asyncio.create_task(world.gateway.stop())
            await assert_all_ended(peers, 1012, "restarting")
        await stopping
