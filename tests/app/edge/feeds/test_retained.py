"""The last event of each address, for those who begin with what is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import Stalled, ndjson, publish, receive, session, socket, sse, unchunked
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.edge.feeds import intake
from app.errors import Unsupported
from app.wire.native.publication import Publication
from app.wire.native.terms import Terms

DURABLE = {"keep": "durable", "events": 2}
RELAYS: list[dict[str, Any]] = [
    {"name": "lasting", "retain": "last", "history": DURABLE},
    {"name": "state", "retain": "last"},
    {"name": "bare", "retain": "last", "history": {"keep": "none"}},
    {"name": "plain"},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    limits = {"retained_addresses": 1000, "retained_bytes": 1 << 20}
    async with running_gateway(tmp_path, relays=RELAYS, limits=limits) as running:
        yield running


async def put(world: World, *said: tuple[str, str]) -> list[str]:
    """Publish these texts; their cursors."""
    return [(await publish(world, address, text, Content_Type="text/plain"))["cursor"] for address, text in said]


SAID = (("state/a", "old"), ("state/b", "b"), ("state/c", "gone"), ("state/a", "new"), ("state/c", ""))


@pytest.mark.parametrize("transport", ["ndjson", "sse", "session", "cloudevents", "long poll"])
async def test_who_begins_with_what_is_retained_is_told_the_head_first_then_the_last_events_then_what_comes(
    world: World, transport: str
) -> None:
    _, b, _, a, head = await put(world, *SAID)
    if transport == "ndjson":
        async with ndjson(world, "state/**?from=retained") as lines:
            told = [await lines.event() for _ in range(4)]
            assert [event["fanwaycursor"] for event in told] == [head, b, a, head]
            assert [event["type"] for event in told] == [
                "fanway.ready",
                "fanway.event",
                "fanway.event",
                "fanway.cursor",
            ]
            [live] = await put(world, ("state/b", "live"))
            assert (await lines.event())["fanwaycursor"] == live
    elif transport == "sse":
        async with sse(world, "state/**?from=retained&as=data") as stream:
            blocks = [await stream.block() for _ in range(3)]
            assert [(block.data, block.id) for block in blocks[1:]] == [("b", b), ("new", a)]
            assert blocks[0].id == head
            assert [await stream.line() for _ in range(2)] == [f"id: {head}", ""]
            [live] = await put(world, ("state/b", "live"))
            assert (await stream.block()).id == live
    elif transport == "session":
        async with session(world) as peer:
            answer = await peer.subscribe(1, "state/**", from_="retained")
            assert (answer["cursor"], answer["behind"]) == (head, True)
            told = [await peer.next() for _ in range(2)]
            assert [(header["sub"], header["c"], payload) for header, payload in told] == [(1, b, b"b"), (1, a, b"new")]
            place = await peer.header()
            assert (place["t"], place["sub"], place["c"]) == ("cur", 1, head)
            [live] = await put(world, ("state/b", "live"))
            assert (await peer.header())["c"] == live
    elif transport == "cloudevents":
        async with socket(world, "state/**?from=retained", subprotocols=["cloudevents.json"]) as peer_socket:
            told = [json.loads(await receive(peer_socket)) for _ in range(3)]
            assert [event["fanwaycursor"] for event in told] == [head, b, a]
            [live] = await put(world, ("state/b", "live"))
            assert json.loads(await receive(peer_socket))["fanwaycursor"] == live
    else:
        answered = await world.client.get("/-/events/state/**?from=retained&wait=0", headers=world.auth())
        assert [event["fanwaycursor"] for event in answered.json()] == [b, a]
        assert answered.headers["fanway-cursor"] == head


@pytest.mark.parametrize(("pattern", "texts"), [("state/b", ["b"]), ("state/*", ["b", "new"]), ("state/c", [])])
async def test_only_what_the_pattern_matches_is_given(world: World, pattern: str, texts: list[str]) -> None:
    await put(world, *SAID)
    answer = await world.client.get(f"/-/events/{pattern}?from=retained&wait=0", headers=world.auth())
    assert [event["data"] for event in answer.json()] == texts


@pytest.mark.parametrize("relay", ["state", "bare"])
async def test_under_load_everybody_knows_the_last_event_of_every_address(world: World, relay: str) -> None:
    """Whether the history keeps what is published while they are told, or nothing of it."""
    addresses = [f"{relay}/{number}" for number in range(300)]
    async with session(world) as publisher:
        for address in addresses:
            await publisher.send("pub", "0", address=address)

        async def go_on() -> None:
            for turn in range(1, 6):
                for address in addresses:
                    await publisher.websocket.send(json.dumps({"t": "pub", "address": address}) + f"\n{turn}")

        publishing = asyncio.create_task(go_on())
        readers = []
        for _ in range(5):
            stalled = Stalled(world)
            await stalled.ask(f"{relay}/**?from=retained&budget=2048", Accept="application/x-ndjson")
            readers.append(asyncio.create_task(last_known(stalled, len(addresses))))
        await publishing
        for known in await asyncio.gather(*readers):
            assert known == dict.fromkeys(addresses, "5")


async def last_known(stalled: Stalled, count: int) -> dict[str, str]:
    """What a reader makes of what it is told, once all is at the last turn; every event in its place."""
    loop, data = asyncio.get_running_loop(), b""
    known: dict[str, str] = {}
    head = reached = 0
    async with asyncio.timeout(30):
        while len(known) < count or set(known.values()) != {"5"}:
            data += await loop.sock_recv(stalled.socket, 65536)
            while (chunk := whole_chunk(data)) is not None:
                data = data[len(chunk) :]
                for event in map(json.loads, unchunked(chunk).splitlines()):
                    offset = int(event["fanwaycursor"].partition(":")[2])
                    if event["type"] == "fanway.ready":
                        head = offset
                        continue
                    if event["type"] == "fanway.event":
                        assert offset > reached
                        known[event["fanwayaddress"]] = event["data"]
                    reached = offset
    assert head > 0
    return known


def whole_chunk(data: bytes) -> bytes | None:
    size, end, rest = data.partition(b"\r\n")
    if not end or len(rest) < int(size, 16) + 2:
        return None
    return data[: len(size) + 2 + int(size, 16) + 2]


async def test_a_relay_that_retains_nothing_says_so(world: World) -> None:
    answer = await world.client.get("/-/events/plain/a?from=retained&wait=0", headers=world.auth())
    assert (answer.status_code, "'retain' is 'none'" in answer.json()["error"]["message"]) == (400, True)
    with pytest.raises(InvalidStatus) as refused:
        await socket(world, "plain/a?from=retained", subprotocols=["cloudevents.json"])
    assert refused.value.response.status_code == 400
    async with session(world) as peer:
        assert (await peer.subscribe(1, "plain/**", from_="retained"))["status"] == 400


async def test_beyond_the_limit_a_publish_to_a_new_address_is_refused_and_others_go_on(world: World) -> None:
    async with session(world) as peer:
        for number in range(1000):
            await peer.send("pub", "x", address=f"state/{number}")
        for _ in range(1000):
            assert (await peer.header())["t"] == "ok"
        refused = await peer.publish("state/more")
        assert (refused["t"], refused["status"], refused["code"]) == ("err", 429, "QuotaExceeded")
        assert "1000 addresses" in refused["message"]
        assert (await peer.publish("state/7", "again"))["t"] == "ok"
        assert (await peer.publish("state/7", ""))["t"] == "ok"
        assert (await peer.publish("state/more"))["t"] == "ok"
    large = await world.client.post("/-/events/state/8", content=b"x" * (1 << 20), headers=world.auth())
    assert large.status_code == 429


async def test_a_publisher_may_wish_that_an_event_is_not_retained(world: World) -> None:
    await put(world, ("state/a", "kept"))
    realm, relay = world.gateway.context.realms[world.namespace], world.namespace.relays["state"]
    intake.publish(realm, relay, "state/a", Publication("", b"passing", terms=Terms(retain=False)), world.clock())
    answer = await world.client.get("/-/events/state/a?from=retained&wait=0", headers=world.auth())
    assert [event["data"] for event in answer.json()] == ["kept"]
    plain = world.namespace.relays["plain"]
    with pytest.raises(Unsupported, match="'retain' is 'none'"):
        intake.publish(realm, plain, "plain/a", Publication("", b"x", terms=Terms(retain=True)), world.clock())


async def test_a_bare_socket_publishes_what_is_retained(world: World) -> None:
    async with socket(world, "state/a?mode=both") as both:
        for text in ("one", "two"):
            await both.send(text)
            assert await receive(both) == text
    answer = await world.client.get("/-/events/state/a?from=retained&wait=0", headers=world.auth())
    assert [event["data"] for event in answer.json()] == ["two"]


async def last_of(world: World, relay: str) -> dict[str, Any]:
    answer = await world.client.get(f"/-/events/{relay}/**?from=retained&wait=0", headers=world.auth())
    return {event["fanwayaddress"]: (event["data"], event["fanwaycursor"]) for event in answer.json()}


async def test_the_last_events_of_a_durable_relay_survive_a_restart_whatever_its_history_lets_go(
    tmp_path: Path,
) -> None:
    said = [(address.replace("state", "lasting"), text) for address, text in SAID]
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        await put(world, *said, *[("lasting/d", str(number)) for number in range(50)])
        await publish(world, "lasting/e?ttl=3600", "hour", Content_Type="text/plain", ce_subject="x")
        await publish(world, "lasting/f?ttl=0.001", "moment", Content_Type="text/plain")
        before = await last_of(world, "lasting")
        assert {address: text for address, (text, _) in before.items()} == {
            "lasting/a": "new",
            "lasting/b": "b",
            "lasting/d": "49",
            "lasting/e": "hour",
        }
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        assert await last_of(world, "lasting") == before
        await put(world, ("lasting/a", ""), ("lasting/b", "again"))
        answer = await world.client.patch("/-/api/relays/state", json={"history": DURABLE}, headers=world.auth())
        assert answer.status_code == 200
        moved = [await put(world, ("state/x", "kept"))]
    async with running_gateway(tmp_path, relays=RELAYS[:1]) as world:
        known = await last_of(world, "lasting")
        assert known["lasting/b"][0] == "again"
        assert "lasting/a" not in known
        assert (await last_of(world, "state"))["state/x"] == ("kept", moved[0][0])
        answer = await world.client.patch("/-/api/relays/lasting", json={"retain": "none"}, headers=world.auth())
        answer = await world.client.patch("/-/api/relays/lasting", json={"retain": "last"}, headers=world.auth())
        assert await last_of(world, "lasting") == {}


URL = "/-/api/retained"


async def test_managers_list_what_is_retained_and_forget_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        cursors = await put(world, ("lasting/a", "a"), ("lasting/b/1", "b1"), ("lasting/b/2", "b2"), ("lasting/c", "c"))
        headers = world.auth()
        page = (await world.client.get(f"{URL}?relay=lasting&limit=2", headers=headers)).json()
        assert [(event["address"], event["cursor"]) for event in page["events"]] == [
            ("lasting/a", cursors[0]),
            ("lasting/b/1", cursors[1]),
        ]
        assert (page["count"], page["events"][1]["payloadBytes"]) == (4, 2)
        rest = await world.client.get(f"{URL}?relay=LASTING&after={page['next']}&pattern=Lasting/*", headers=headers)
        assert [event["address"] for event in rest.json()["events"]] == ["lasting/c"]
        for pattern, count in (("lasting/b/**", 2), ("lasting/c", 1), ("lasting/c", 0)):
            answer = await world.client.delete(f"{URL}?relay=lasting&pattern={pattern}", headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"forgotten": count})
        assert list(await last_of(world, "lasting")) == ["lasting/a"]
        plain = await world.client.get(f"{URL}?relay=plain", headers=headers)
        assert (plain.status_code, "'retain' is 'none'" in plain.json()["error"]["message"]) == (400, True)
        assert (await world.client.get(f"{URL}?relay=lasting")).status_code == 401
        assert (await world.client.delete(f"{URL}?relay=lasting&pattern=a//b", headers=headers)).status_code == 400
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        assert list(await last_of(world, "lasting")) == ["lasting/a"]
