"""What a relay asks of its events, on every way in: a size, a JSON Schema; and what publishers ask of the relay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import ndjson, publish, receive, session, socket, sse
from websockets.exceptions import ConnectionClosed
from worlds import World, running_gateway

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
RELAYS = [
    {"name": "orders"},
    {"name": "kept", "retain": "last"},
    {"name": "small", "maxEventBytes": 10},
    {"name": "typed", "eventSchema": SCHEMA},
]
GOOD, BAD = '{"total": 1}', '{"total": "1"}'
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def post(world: World, path: str, body: str | bytes, **headers: str) -> tuple[int, Any]:
    answer = await world.client.post(f"/-/events/{path}", content=body, headers={**world.auth(), **headers})
    return answer.status_code, answer.json()


def envelope(data: str, **attributes: Any) -> str:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes, "data": json.loads(data)}
    )


# --- what the relay asks ---


@pytest.mark.parametrize(
    ("address", "good", "bad", "status", "close"),
    [("small/a", "1234567890", "12345678901", 413, 1009), ("typed/a", GOOD, BAD, 422, 1007)],
)
class TestEveryWayIn:
    async def test_by_post(self, world: World, address: str, good: str, bad: str, status: int, close: int) -> None:
        async with ndjson(world, f"{address.partition('/')[0]}/**") as stream:
            await stream.event()
            code, told = await post(world, address, bad)
            assert (code, told["error"]["status"]) == (status, status)
            for kind, refused in (
                (LINES, f"{good}\n\n{bad}\n"),
                (BATCH, f"[{envelope(good)},{envelope(bad)}]"),
            ):
                code, told = await post(world, address, refused, **kind)
                assert code == status
                assert any(name in told["error"]["message"] for name in ("Event 2", "Line 3"))
            assert (await post(world, address, good))[0] == 202
            assert (await stream.event())["fanwaycursor"].endswith(":1")  # nothing of the others was published

    async def test_by_a_session(self, world: World, address: str, good: str, bad: str, status: int, close: int) -> None:
        async with session(world) as peer, socket(world, address) as subscriber:
            for _ in range(3):  # the header recurs
                await peer.websocket.send(f'{{"t":"pub","address":"{address}"}}\n{good}')
                await peer.websocket.send(f'{{"t":"pub","address":"{address}"}}\n{bad}')
                assert (await peer.header())["status"] == status
                assert await receive(subscriber) == good
            assert (await peer.publish(address, bad))["status"] == status
            assert (await peer.publish(address, good))["matched"] == 1

    @pytest.mark.parametrize("protocol", [None, "cloudevents.json"])
    async def test_by_a_socket(
        self, world: World, protocol: str | None, address: str, good: str, bad: str, status: int, close: int
    ) -> None:
        protocols: Any = None if protocol is None else [protocol]
        wrap = str if protocol is None else envelope
        async with socket(world, address) as subscriber:
            async with socket(world, f"{address}?mode=publish", subprotocols=protocols) as peer:
                await peer.send(wrap(good))
                assert await receive(subscriber) == good.replace(" ", "" if protocol else " ")
                await peer.send(wrap(bad))
                with pytest.raises(ConnectionClosed):
                    async with asyncio.timeout(10):
                        await peer.recv()
                assert peer.close_code == close


async def test_a_binary_payload_is_not_what_a_schema_asks_for(world: World) -> None:
    code, told = await post(world, "typed/a", GOOD, **{"Content-Type": "application/octet-stream"})
    assert code == 422
    assert "binary" in told["error"]["message"]
    assert (await post(world, "typed/a", "", **JSON))[0] == 422


async def test_an_empty_payload_clears_what_is_retained_whatever_the_schema_says(world: World) -> None:
    body = {"eventSchema": SCHEMA, "retain": "last"}
    await world.client.put("/-/api/relays/last", json=body, headers=world.auth())
    assert (await post(world, "last/a", GOOD))[0] == 202
    assert (await post(world, "last/a", BAD))[0] == 422
    assert (await post(world, "last/a", ""))[0] == 202


async def test_a_relay_takes_nothing_larger_than_the_gateway(tmp_path: Path) -> None:
    relays = [{"name": "large", "maxEventBytes": 1000}]
    async with running_gateway(tmp_path, relays=relays, limits={"event_bytes": 20}) as world:
        assert (await post(world, "large/a", "x" * 21))[0] == 413
        async with session(world) as peer:
            assert (await peer.publish("large/a", "x" * 20))["t"] == "ok"
            assert (await peer.publish("large/a", "x" * 21))["status"] == 413


async def test_a_changed_size_or_schema_holds_from_the_next_event(world: World) -> None:
    async with session(world) as peer:
        header = '{"t":"pub","address":"orders/a"}\n'
        await peer.websocket.send(header + BAD)
        auth = world.auth()
        await world.client.patch("/-/api/relays/orders", json={"maxEventBytes": 5}, headers=auth)
        await peer.websocket.send(header + BAD)
        assert (await peer.header())["status"] == 413
        body = {"maxEventBytes": 100, "eventSchema": SCHEMA}
        assert (await world.client.patch("/-/api/relays/orders", json=body, headers=auth)).status_code == 200
        await peer.websocket.send(header + BAD)
        assert (await peer.header())["status"] == 422
        body = {"eventSchema": {}}
        assert (await world.client.patch("/-/api/relays/orders", json=body, headers=auth)).status_code == 200
        assert (await peer.publish("orders/a", BAD))["t"] == "ok"


@pytest.mark.parametrize(
    ("schema", "says"), [({"$ref": "http://127.0.0.1/x"}, "only places in itself"), ({"type": "nope"}, "/type")]
)
async def test_a_relay_takes_no_schema_that_cannot_be_used(world: World, schema: Any, says: str) -> None:
    answer = await world.client.put("/-/api/relays/new", json={"eventSchema": schema}, headers=world.auth())
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_a_schema_nested_beyond_reason_is_refused(world: World) -> None:
    text = '{"eventSchema":' + '{"items":' * 5000 + "{}" + "}" * 5001
    headers = {**world.auth(), "Content-Type": "application/json"}
    answer = await world.client.put("/-/api/relays/new", content=text, headers=headers)
    assert answer.status_code == 400


# --- what the publisher asks ---


async def test_an_event_tells_until_when_it_is_good(world: World) -> None:
    async with ndjson(world, "orders/**") as lines, session(world) as peer:
        await lines.event()
        await peer.subscribe(1, "orders/**")
        await publish(world, "orders/a?ttl=1h")
        told = await lines.event()
        assert told["expirytime"] > told["time"]
        header, _ = await peer.next()
        assert header["x"] == {"expirytime": told["expirytime"]}


async def test_an_event_that_has_expired_is_passed_over_in_history_and_its_place_is_not(world: World) -> None:
    await publish(world, "orders/a?ttl=60", "fleeting", Content_Type="text/plain")
    await publish(world, "orders/a", "lasting", Content_Type="text/plain")
    async with sse(world, "orders/a?from=start") as stream:
        await stream.block()
        assert (await stream.block()).data == "fleeting"
    world.clock.offset += 60
    async with sse(world, "orders/a?from=start") as stream:
        await stream.block()
        block = await stream.block()
        assert block.data == "lasting"
        assert (block.id or "").endswith(":2")
    answer = await world.client.get("/-/events/orders/a?wait=0&from=start", headers=world.auth())
    assert [event["data"] for event in answer.json()] == ["lasting"]


async def test_an_event_that_comes_too_late_counts_but_is_given_to_nobody(world: World) -> None:
    async with socket(world, "orders/a") as subscriber:
        late = await publish(world, "orders/a", "late", ce_expirytime="2001-01-01T00:00:00Z")
        assert (late["matched"], late["cursor"].partition(":")[2]) == (0, "1")
        await publish(world, "orders/a", "in time", ce_expirytime="2999-01-01T00:00:00Z")
        assert await receive(subscriber) == "in time"


async def test_the_wishes_of_a_request_hold_for_events_that_do_not_say_otherwise(world: World) -> None:
    own = envelope("1", expirytime="2999-01-01T00:00:00Z", partitionkey="own")
    async with ndjson(world, "orders/**") as lines:
        await lines.event()
        code, _ = await post(world, "orders/a?ttl=60&key=shared", f"{own}\n2\n", **LINES)
        assert code == 202
        first, second = await lines.event(), await lines.event()
        assert (first["expirytime"], first["partitionkey"]) == ("2999-01-01T00:00:00.000Z", "own")
        assert (second["expirytime"] < "2999", second["partitionkey"]) == (True, "shared")


async def test_where_no_last_events_are_kept_none_can_be_asked_for(world: World) -> None:
    assert (await post(world, "kept/a?retain=true", "x"))[0] == 202
    code, told = await post(world, "orders/a?retain=true", "x")
    assert (code, "retain" in told["error"]["message"]) == (400, True)
    assert (await post(world, "orders/a?retain=false", "x"))[0] == 202
