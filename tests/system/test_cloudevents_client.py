"""The `cloudevents` package as publisher and as reader."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from websockets.asyncio.client import connect
from worlds import World

ATTRIBUTES = {
    "id": "order-7-placed",
    "source": "https://shop.example/orders",
    "type": "com.example.order.placed",
    "subject": "orders/7",
    "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "datacontenttype": "application/json",
    "partkey": "zürich, 50%",
}


@asynccontextmanager
async def lines(world: World, pattern: str) -> AsyncIterator[AsyncIterator[str]]:
    """A subscriber that has been told that it is ready; it yields lines of JSON."""
    headers = {**world.auth(), "Accept": "application/x-ndjson"}
    async with world.client.stream("GET", f"/-/events/{pattern}", headers=headers) as answer:
        assert answer.status_code == 200
        found = answer.aiter_lines()
        assert json.loads(await anext(found))["type"] == "fanway.ready"
        yield found


async def publish(world: World, message: HTTPMessage) -> Any:
    headers = {**world.auth(), **message.headers}
    answer = await world.client.post("/-/events/orders/eu/7", content=message.body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def attributes_of(event: Any) -> dict[str, Any]:
    """The attributes that the publisher gave: without the gateway's own extensions."""
    ours = ("specversion", "fanwayaddress", "fanwaycursor")
    return {name: value for name, value in event.get_attributes().items() if name not in ours}


@pytest.mark.parametrize("to_message", [to_binary_event, to_structured_event], ids=["binary", "structured"])
async def test_an_event_comes_out_as_it_went_in(world: World, to_message: Any) -> None:
    event = CloudEvent(dict(ATTRIBUTES), {"total": 42, "name": "Müller"})
    async with lines(world, "orders/**") as subscriber:
        receipt = await publish(world, to_message(event))
        assert (receipt["id"], receipt["matched"]) == ("order-7-placed", 1)
        found = JSONFormat().read(None, await anext(subscriber))

    assert attributes_of(found) == ATTRIBUTES
    assert found.get_extension("fanwaycursor") == receipt["cursor"]
    assert found.get_extension("fanwayaddress") == "orders/eu/7"
    assert found.get_data() == {"total": 42, "name": "Müller"}


@pytest.mark.parametrize("to_message", [to_binary_event, to_structured_event], ids=["binary", "structured"])
async def test_binary_data_comes_out_as_it_went_in(world: World, to_message: Any) -> None:
    data = bytes(range(256))
    event = CloudEvent({**ATTRIBUTES, "datacontenttype": "application/octet-stream"}, data)
    async with lines(world, "orders/eu/7") as subscriber:
        await publish(world, to_message(event))
        found = JSONFormat().read(None, await anext(subscriber))
    assert found.get_data() == data


async def test_a_batch_is_published_in_order(world: World) -> None:
    format_ = JSONFormat()
    events = [CloudEvent({**ATTRIBUTES, "id": f"event-{number}"}, {"n": number}) for number in range(3)]
    body = b"[" + b",".join(format_.write(event) for event in events) + b"]"
    async with lines(world, "orders/**") as subscriber:
        message = HTTPMessage({"content-type": "application/cloudevents-batch+json"}, body)
        receipts = await publish(world, message)
        assert [receipt["id"] for receipt in receipts] == ["event-0", "event-1", "event-2"]
        for number in range(3):
            assert format_.read(None, await anext(subscriber)).get_data() == {"n": number}


async def test_envelopes_go_both_ways_over_a_websocket(world: World) -> None:
    format_ = JSONFormat()
    url = f"{world.ws}/-/events/orders/eu/7?mode=both"
    sub_protocols: Any = ["cloudevents.json"]
    async with connect(url, additional_headers=world.auth(), subprotocols=sub_protocols) as socket:
        assert socket.subprotocol == "cloudevents.json"
        assert json.loads(await socket.recv())["type"] == "fanway.ready"
        await socket.send(format_.write(CloudEvent(dict(ATTRIBUTES), {"total": 42})).decode())
        found = format_.read(None, await socket.recv())
    assert attributes_of(found) == ATTRIBUTES
    assert found.get_data() == {"total": 42}
