"""Server-sent events, NDJSON and long polls, end to end."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from subscribers import ndjson, publish, sse
from worlds import World

from app.access.sas import make_token


async def test_an_event_stream_is_ready_before_any_event(world: World) -> None:
    async with sse(world, "orders/eu") as stream:
        ready = await stream.block()
        assert stream.response.headers["content-type"] == "text/event-stream"
        assert stream.response.headers["fanway-cursor"] == ready.id
        assert (ready.event, json.loads(ready.data)) == ("ready", {"relay": "orders", "cursor": ready.id})
        receipt = await publish(world, "orders/eu", "a\r\nb")
        assert await stream.block() == ("message", "a\nb", receipt["cursor"])


async def test_an_event_stream_of_a_pattern_carries_cloudevents(world: World) -> None:
    async with sse(world, "orders/**") as stream:
        await stream.block()
        await publish(world, "orders/eu", '{"total": 42}', Content_Type="application/json")
        event = json.loads((await stream.block()).data)
        assert (event["fanwayaddress"], event["data"]) == ("orders/eu", {"total": 42})


async def test_an_event_stream_may_choose_its_shape(world: World) -> None:
    async with sse(world, "orders/**?as=data") as data, sse(world, "orders/eu?as=cloudevent") as cloudevents:
        await data.block()
        await cloudevents.block()
        await publish(world, "orders/eu", b"\x00\xff", Content_Type="image/png")
        assert (await data.block())[:2] == ("binary", "AP8=")
        event = json.loads((await cloudevents.block()).data)
        assert base64.b64decode(event["data_base64"]) == b"\x00\xff"


async def test_ndjson_carries_a_cloudevent_a_line(world: World) -> None:
    async with ndjson(world, "orders/**") as stream:
        ready = await stream.event()
        assert stream.response.headers["content-type"] == "application/x-ndjson"
        assert (ready["type"], ready["data"]["relay"]) == ("fanway.ready", "orders")
        receipt = await publish(world, "orders/eu", '{"a":\n1}', Content_Type="application/json")
        event = await stream.event()
        assert (event["fanwaycursor"], event["data"]) == (receipt["cursor"], {"a": 1})


async def test_subscribers_of_every_transport_get_the_same_order(world: World) -> None:
    async with sse(world, "orders/**?as=data") as events, ndjson(world, "orders/**") as lines:
        await events.block()
        await lines.event()
        await asyncio.gather(*(publish(world, f"orders/{number}", str(number)) for number in range(40)))
        by_sse = [(await events.block()).id for _ in range(40)]
        by_ndjson = [(await lines.event())["fanwaycursor"] for _ in range(40)]
    assert by_sse == by_ndjson == sorted(by_sse, key=lambda cursor: int(cursor.partition(":")[2]))


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
async def test_heartbeats_move_the_position(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.feeds.http.HEARTBEAT_SECONDS", 0.01)
    if kind == "text/event-stream":
        async with sse(world, "orders/eu") as stream:
            await stream.block()
            receipt = await publish(world, "orders/elsewhere")
            while stream.last_id != receipt["cursor"]:
                line = await stream.line()
                assert line == "" or line.startswith("id: ")
                stream.last_id = line.removeprefix("id: ") or stream.last_id
    else:
        async with ndjson(world, "orders/eu") as lines:
            await lines.event()
            receipt = await publish(world, "orders/elsewhere")
            while (beat := await lines.event())["fanwaycursor"] != receipt["cursor"]:
                assert beat["type"] == "fanway.cursor"


async def test_a_long_poll_answers_with_what_happened_since(world: World) -> None:
    first = await publish(world, "orders/eu", "one", Content_Type="text/plain")
    second = await publish(world, "orders/eu", "two", Content_Type="text/plain")
    answer = await world.client.get("/-/events/orders/**?wait=10&from=start", headers=world.auth())
    assert answer.headers["content-type"] == "application/cloudevents-batch+json"
    assert [event["data"] for event in answer.json()] == ["one", "two"]
    assert answer.headers["fanway-cursor"] == second["cursor"]
    rest = await world.client.get(f"/-/events/orders/**?wait=10&from={first['cursor']}", headers=world.auth())
    assert [event["data"] for event in rest.json()] == ["two"]


async def test_a_long_poll_waits_for_what_comes(world: World) -> None:
    waiting = asyncio.create_task(world.client.get("/-/events/orders/eu?wait=20", headers=world.auth()))
    while (await publish(world, "orders/eu", "now", Content_Type="text/plain"))["matched"] == 0:
        pass
    answer = await waiting
    [event] = answer.json()
    assert event["data"] == "now"
    assert answer.headers["fanway-cursor"] == event["fanwaycursor"]


async def test_long_polls_one_after_another_miss_nothing(world: World) -> None:
    async def publishing() -> None:
        for number in range(60):
            await publish(world, "orders/eu", str(number), Content_Type="text/plain")

    cursor = (await world.client.get("/-/events/orders/eu?wait=0", headers=world.auth())).headers["fanway-cursor"]
    publisher = asyncio.create_task(publishing())
    got: list[str] = []
    while len(got) < 60:
        answer = await world.client.get(f"/-/events/orders/eu?wait=10&from={cursor}", headers=world.auth())
        got += [event["data"] for event in answer.json()]
        cursor = answer.headers["fanway-cursor"]
    await publisher
    assert got == [str(number) for number in range(60)]


async def test_a_long_poll_that_waits_in_vain_brings_a_cursor(world: World) -> None:
    await publish(world, "orders/elsewhere")
    answer = await world.client.get("/-/events/orders/eu?wait=0.1", headers=world.auth())
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["fanway-cursor"].endswith(":1")


async def test_a_long_poll_tells_a_gap_at_once(world: World) -> None:
    answer = await world.client.get("/-/events/orders/eu?wait=30&from=00000000:7", headers=world.auth())
    [gap] = answer.json()
    assert (gap["type"], gap["data"]["why"], gap["data"]["from"]) == ("fanway.gap", "epoch", "00000000:7")
    assert answer.headers["fanway-cursor"] == gap["data"]["to"]


@pytest.mark.parametrize(
    ("path", "accept", "status", "says"),
    [
        ("orders/eu", "*/*", 406, "text/event-stream"),
        ("orders/eu?from=yesterday", "text/event-stream", 400, "from"),
        ("orders/eu?from=retained", "text/event-stream", 400, "'retain' is 'none'"),
        ("orders/eu?durable=d", "application/x-ndjson", 400, "by: long poll. In a session"),
        ("orders/eu?group=g&policy=drop", "application/x-ndjson", 400, "policy"),
        ("orders/eu?group=g&wait=0", "*/*", 400, "by: server-sent events, NDJSON"),
        ("orders/eu?key=k", "text/event-stream", 400, "'key' needs a 'group'"),
        ("orders/eu?max=5&wait=0", "*/*", 400, "'max' needs a 'durable'"),
        ("orders/eu?mode=both", "text/event-stream", 400, "bare WebSocket"),
        ("orders/eu?wait=5", "text/event-stream", 400, "long poll"),
        ("**", "text/event-stream", 400, "wildcard"),
        ("orders/**/x", "text/event-stream", 400, "end"),
        ("", "text/event-stream", 400, "empty"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    world: World, path: str, accept: str, status: int, says: str
) -> None:
    headers = {**world.auth(), "Accept": accept, "Origin": "https://example.com"}
    answer = await world.client.get(f"/-/events/{path}", headers=headers)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_last_event_id_that_is_no_cursor_is_refused(world: World) -> None:
    headers = {**world.auth(), "Accept": "text/event-stream", "Last-Event-ID": "now"}
    assert (await world.client.get("/-/events/orders/eu", headers=headers)).status_code == 400


async def test_subscribing_needs_a_token_with_the_right_to_listen(world: World) -> None:
    accept = {"Accept": "text/event-stream"}
    for auth, status in [
        ({}, 401),
        (world.auth("ruled", rule="sender", key="sender-key"), 403),
        (world.auth("ruled", rule="listener", key="wrong"), 401),
    ]:
        assert (await world.client.get("/-/events/ruled/a", headers={**accept, **auth})).status_code == status


async def test_a_token_must_cover_every_address_of_a_pattern(world: World) -> None:
    narrow = world.auth("orders/eu")
    async with sse(world, "orders/eu/**", ServiceBusAuthorization=narrow["ServiceBusAuthorization"]) as stream:
        assert (await stream.block()).event == "ready"
    for path, status in (("orders/**", 403), ("orders/us", 401)):
        headers = {**narrow, "Accept": "text/event-stream"}
        assert (await world.client.get(f"/-/events/{path}", headers=headers)).status_code == status


async def test_an_expired_token_on_resume_is_told_as_an_event(world: World) -> None:
    expired = make_token(f"{world.url}/", "RootManageSharedAccessKey", "root-key-of-the-test-world", 1)
    headers = {"ServiceBusAuthorization": expired, "Accept": "text/event-stream"}
    assert (await world.client.get("/-/events/orders/eu", headers=headers)).status_code == 401
    async with sse(world, "orders/eu", ServiceBusAuthorization=expired, Last_Event_ID="0a1b2c3d:4") as stream:
        assert stream.response.status_code == 200
        bye = await stream.block()
        assert (bye.event, json.loads(bye.data)["code"]) == ("bye", 1008)
        assert await stream.is_ended()


async def test_a_subscriber_that_leaves_is_no_longer_counted(world: World) -> None:
    async with sse(world, "orders/eu") as stream:
        await stream.block()
        assert (await publish(world, "orders/eu"))["matched"] == 1
    while (await publish(world, "orders/eu"))["matched"]:
        pass
    assert world.gateway.context.realms[world.namespace].router.is_empty
    assert not world.gateway.context.lives


async def test_http_1_0_is_told_that_it_cannot_stream(world: World) -> None:
    wire = await world.raw()
    await wire.send(f"GET /-/events/orders HTTP/1.0\r\nHost: {world.host}\r\nAccept: text/event-stream\r\n\r\n")
    assert (await wire.answer())[0] == 505
