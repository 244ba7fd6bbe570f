"""Publishing at the events door: what is accepted, what is answered, what is refused."""

from __future__ import annotations

import asyncio
import json

import pytest
from cloudevents.core.bindings import http as cloudevents_http
from cloudevents.core.v1.event import CloudEvent
from subscribers import ndjson, publish, receive, session, socket, sse
from worlds import World

from app.access.sas import make_token


async def test_an_event_without_subscribers_is_accepted_and_counted(world: World) -> None:
    first, second = await publish(world, "orders/eu/7"), await publish(world, "orders/eu/7")
    assert {name: first[name] for name in ("matched", "queued", "behind", "dropped")} == {
        "matched": 0,
        "queued": 0,
        "behind": 0,
        "dropped": 0,
    }
    epoch, _, offset = first["cursor"].partition(":")
    assert second["cursor"] == f"{epoch}:{int(offset) + 1}"
    assert first["id"] != second["id"]


async def test_one_event_reaches_all_whose_pattern_matches_exactly_once(world: World) -> None:
    """W01, over five sockets, and the receipt knows it."""
    matching = ["orders/b/c", "orders/*/c", "orders/**"]
    others = ["orders/b", "orders/*"]
    async with (
        socket(world, matching[0]) as one,
        socket(world, matching[1]) as two,
        socket(world, matching[2]) as three,
        socket(world, others[0]) as four,
        socket(world, others[1]) as five,
    ):
        receipt = await publish(world, "orders/b/c", "first")
        assert (receipt["matched"], receipt["queued"]) == (3, 3)
        await publish(world, "orders/b", "last")
        for each in (one, two, three):
            assert await receive(each) == "first"
        for each in (three, four, five):
            assert await receive(each) == "last"
        await publish(world, "orders/b/c", "end")
        assert [await receive(each) for each in (one, two, three)] == ["end"] * 3


async def test_a_receipt_comes_after_the_flush_of_its_tick(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.send("pub", "hello", address="orders/eu")
        event, payload = await peer.next()
        assert (event["t"], payload) == ("ev", b"hello")
        receipt = await peer.header()
        assert (receipt["t"], receipt["cursor"], receipt["queued"]) == ("ok", event["c"], 1)


async def test_text_and_binary_arrive_as_they_were_published(world: World) -> None:
    async with socket(world, "orders/**") as subscriber:
        await publish(world, "orders/a", "text", Content_Type="text/plain")
        await publish(world, "orders/a", b"\x00\xff", Content_Type="application/octet-stream")
        assert await receive(subscriber) == "text"
        assert await receive(subscriber) == b"\x00\xff"


async def test_lines_are_published_all_or_none(world: World) -> None:
    async with ndjson(world, "orders/**") as stream:
        await stream.event()
        headers = {**world.auth(), "Content-Type": "application/x-ndjson"}
        bad = await world.client.post("/-/events/orders/a", content=b"1\n2\n{\n", headers=headers)
        assert bad.status_code == 400
        assert "Line 3" in bad.json()["error"]["message"]
        good = await world.client.post("/-/events/orders/a", content=b'1\n{"a": 2}\n', headers=headers)
        assert good.status_code == 202
        assert [receipt["matched"] for receipt in good.json()] == [1, 1]
        assert [(await stream.event())["data"] for _ in range(2)] == [1, {"a": 2}]


async def test_ten_thousand_lines_in_one_request_all_get_their_receipt(world: World) -> None:
    headers = {**world.auth(), "Content-Type": "application/x-ndjson"}
    answer = await world.client.post("/-/events/orders/a", content=b"1\n" * 10_000, headers=headers)
    offsets = [int(receipt["cursor"].partition(":")[2]) for receipt in answer.json()]
    assert offsets == list(range(1, 10_001))


@pytest.mark.parametrize("structured", [True, False])
async def test_the_cloudevents_library_publishes(world: World, structured: bool) -> None:
    event = CloudEvent({"id": "e1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, {"a": 1})
    encode = cloudevents_http.to_structured_event if structured else cloudevents_http.to_binary_event
    message = encode(event)
    async with ndjson(world, "orders/**") as stream:
        await stream.event()
        receipt = await publish(world, "orders/x", message.body, **dict(message.headers))
        assert receipt["id"] == "e1"
        got = await stream.event()
    assert (got["id"], got["source"], got["type"], got["data"]) == ("e1", "/s", "t", {"a": 1})
    assert got["fanwayaddress"] == "orders/x"


@pytest.mark.parametrize("path", ["orders/*", "orders/**", "orders/%2A", "orders//x", "orders/..", "", "$hc/x"])
async def test_publishing_to_what_is_no_address_is_a_bad_request(world: World, path: str) -> None:
    """W05."""
    answer = await world.client.post(f"/-/events/{path}", content=b"x", headers=world.auth())
    assert answer.status_code == 400
    assert answer.json()["error"]["tracking_id"]


async def test_nobody_publishes_to_system_addresses(world: World) -> None:
    """W06."""
    answer = await world.client.post("/-/events/-/sys/presence", content=b"x", headers=world.auth())
    assert answer.status_code == 403
    async with session(world) as peer:
        refused = await peer.publish("-/sys/presence")
        assert (refused["t"], refused["status"]) == ("err", 403)


async def test_a_relay_for_everybody_takes_events_without_a_token(world: World) -> None:
    answer = await world.client.post("/-/events/open/a", content=b"x")
    assert answer.status_code == 202
    async with socket(world, "open/a?mode=publish", additional_headers={}) as publisher, session(world) as peer:
        await peer.subscribe(1, "open/**")
        await publisher.send("hello")
        assert (await peer.next())[1] == b"hello"
    async with session(world, additional_headers={}) as nobody:
        assert nobody.hi["exp"] is None
        assert (await nobody.publish("open/a"))["t"] == "ok"
        assert (await nobody.publish("orders/a"))["status"] == 401
        assert (await nobody.subscribe(1, "open/a"))["status"] == 401


@pytest.mark.parametrize(
    ("path", "rule", "key", "status"),
    [
        ("ruled/a", "listener", "listener-key", 403),
        ("ruled/a", "sender", "wrong-key", 401),
        ("orders/a", "sender", "sender-key", 401),
    ],
)
async def test_publishing_needs_the_right_to_send(world: World, path: str, rule: str, key: str, status: int) -> None:
    """S07: a token grants what its rule and its audience say, and nothing else."""
    headers = world.auth("ruled", rule=rule, key=key)
    answer = await world.client.post(f"/-/events/{path}", content=b"x", headers=headers)
    assert answer.status_code == status
    assert (await world.client.post(f"/-/events/{path}", content=b"x")).status_code == 401


async def test_two_tokens_that_disagree_are_refused(world: World) -> None:
    """S17."""
    headers = {**world.auth(), "Authorization": make_token("http://x/", "other", "key", 1)}
    answer = await world.client.post("/-/events/orders/a", content=b"x", headers=headers)
    assert answer.status_code == 400
    assert "two different tokens" in answer.json()["error"]["message"]
    agreeing = {**world.auth(), "Authorization": world.auth()["ServiceBusAuthorization"]}
    assert (await world.client.post("/-/events/orders/a", content=b"x", headers=agreeing)).status_code == 202


async def test_an_unknown_option_is_named(world: World) -> None:
    answer = await world.client.post("/-/events/orders/a?colour=red", content=b"x", headers=world.auth())
    assert answer.status_code == 400
    assert "colour" in answer.json()["error"]["message"]


async def test_an_event_beyond_the_limit_is_too_large(world: World) -> None:
    body = b"x" * ((1 << 20) + 1)
    assert (await world.client.post("/-/events/orders/a", content=body, headers=world.auth())).status_code == 413

    async def endless():  # type: ignore[no-untyped-def]
        for _ in range(40):
            yield b"x" * (1 << 16)

    answer = await world.client.post("/-/events/orders/a", content=endless(), headers=world.auth())
    assert answer.status_code == 413


async def test_another_method_is_not_allowed(world: World) -> None:
    answer = await world.client.put("/-/events/orders/a", content=b"x", headers=world.auth())
    assert answer.status_code == 405


async def test_a_page_of_any_origin_may_publish_and_read_the_answer(world: World) -> None:
    origin = {"Origin": "https://example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = await world.client.options("/-/events/orders/a", headers={**origin, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    for headers, status in ((world.auth(), 202), ({}, 401)):
        answer = await world.client.post("/-/events/orders/a", content=b"x", headers={**origin, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Fanway-Cursor" in answer.headers["access-control-expose-headers"]


async def test_a_first_publish_brings_a_dynamic_relay_into_being(world: World) -> None:
    await publish(world, "fresh/a/b")
    async with sse(world, "fresh/a/b?from=start") as stream:
        assert json.loads((await stream.block()).data)["relay"] == "fresh"
        assert (await stream.block()).data == "x"


async def test_the_receipts_of_pipelined_publishes_keep_their_order(world: World) -> None:
    wire = await world.raw()
    token = world.token()
    for number in range(8):
        body = str(number)
        await wire.send(
            f"POST /-/events/orders/a HTTP/1.1\r\nHost: {world.host}\r\nce-id: {number}\r\n"
            f"ServiceBusAuthorization: {token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
    ids = [json.loads((await wire.answer())[2])["id"] for _ in range(8)]
    assert ids == [str(number) for number in range(8)]


async def test_publishers_side_by_side_never_share_an_offset(world: World) -> None:
    receipts = await asyncio.gather(*(publish(world, f"orders/{number}") for number in range(50)))
    assert len({receipt["cursor"] for receipt in receipts}) == 50
