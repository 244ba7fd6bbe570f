"""WebSockets of the events door that carry one address or pattern."""

from __future__ import annotations

import asyncio
import json

import pytest
from subscribers import publish, receive, socket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from worlds import World


async def closed_by(websocket) -> tuple[int, str]:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(10):
        await websocket.wait_closed()
    return websocket.close_code, websocket.close_reason


async def test_a_bare_socket_publishes_and_subscribes(world: World) -> None:
    async with socket(world, "orders/eu") as subscriber, socket(world, "orders/eu?mode=publish") as publisher:
        await publisher.send("text")
        await publisher.send(b"\x00\xff")
        assert [await receive(subscriber), await receive(subscriber)] == ["text", b"\x00\xff"]


async def test_a_bare_socket_of_both_modes_hears_itself(world: World) -> None:
    async with socket(world, "orders/eu?mode=both") as peer:
        for number in range(100):
            await peer.send(str(number))
        assert [await receive(peer) for _ in range(100)] == [str(number) for number in range(100)]


async def test_both_modes_need_an_address_without_wildcards(world: World) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await socket(world, "orders/**?mode=both")
    assert caught.value.response.status_code == 400


async def test_a_socket_that_only_subscribes_may_not_publish(world: World) -> None:
    async with socket(world, "orders/eu") as subscriber:
        await subscriber.send("x")
        code, reason = await closed_by(subscriber)
        assert code == 1008
        assert "mode=publish" in reason
        assert "TrackingId" in reason


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("orders/eu?from=start", 400, "server-sent events"),
        ("orders/eu?policy=drop", 400, "gap notices"),
        ("orders/eu?colour=red", 400, "colour"),
        ("orders/*?mode=publish", 400, "wildcard"),
        ("-/sys/x?mode=publish", 403, "System addresses"),
        ("**", 400, "wildcard"),
    ],
)
async def test_what_a_bare_socket_cannot_do_is_refused_at_the_handshake(
    world: World, path: str, status: int, says: str
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await socket(world, path)
    response = caught.value.response
    assert response.status_code == status
    error = json.loads(response.body)["error"]
    assert says in error["message"]
    assert error["tracking_id"] in response.reason_phrase


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("ruled/a", None, 401),
        ("ruled/a", "sender", 403),
        ("ruled/a?mode=publish", "listener", 403),
        ("ruled/a?mode=both", "listener", 403),
        ("ruled/a?mode=publish", None, 401),
    ],
)
async def test_each_mode_needs_its_right(world: World, path: str, token: str | None, status: int) -> None:
    headers = {} if token is None else world.auth("ruled", rule=token, key=f"{token}-key")
    with pytest.raises(InvalidStatus) as caught:
        await socket(world, path, additional_headers=headers)
    assert caught.value.response.status_code == status


async def test_a_message_beyond_the_limit_closes_with_1009(world: World) -> None:
    async with socket(world, "orders/eu?mode=publish") as publisher:
        await publisher.send(b"x" * (1 << 20))
        await publisher.send(b"x" * ((1 << 20) + 1))
        assert (await closed_by(publisher))[0] == 1009


async def test_text_that_is_not_utf8_closes_with_1007_and_reaches_nobody(world: World) -> None:
    async with socket(world, "orders/eu") as subscriber, socket(world, "orders/eu?mode=publish") as publisher:
        await publisher.send(b"\xff", text=True)
        assert (await closed_by(publisher))[0] == 1007
        await publish(world, "orders/eu", "sound", Content_Type="text/plain")
        assert await receive(subscriber) == "sound"


async def test_cloudevents_travel_both_ways(world: World) -> None:
    async with socket(world, "orders/eu?mode=both", subprotocols=["cloudevents.json"]) as peer:
        assert peer.subprotocol == "cloudevents.json"
        ready = json.loads(await receive(peer))
        assert (ready["type"], ready["data"]["relay"]) == ("fanway.ready", "orders")
        await peer.send(json.dumps({"specversion": "1.0", "id": "e1", "source": "/s", "type": "t", "data": {"a": 1}}))
        event = json.loads(await receive(peer))
        assert (event["id"], event["data"], event["fanwayaddress"]) == ("e1", {"a": 1}, "orders/eu")


@pytest.mark.parametrize(("message", "code"), [("{}", 1008), (b"{}", 1003), ("no", 1008)])
async def test_what_is_no_envelope_closes_the_socket(world: World, message: str | bytes, code: int) -> None:
    async with socket(world, "orders/eu?mode=publish", subprotocols=["cloudevents.json"]) as peer:
        await peer.send(message)
        assert (await closed_by(peer))[0] == code


async def test_cloudevents_resume_where_they_stopped(world: World) -> None:
    first = await publish(world, "orders/eu", "one", Content_Type="text/plain")
    await publish(world, "orders/eu", "two", Content_Type="text/plain")
    path = f"orders/**?from={first['cursor']}"
    async with socket(world, path, subprotocols=["cloudevents.json"]) as peer:
        assert json.loads(await receive(peer))["data"]["cursor"] == first["cursor"]
        assert json.loads(await receive(peer))["data"] == "two"


async def test_a_socket_without_an_address_is_a_session_or_nothing(world: World) -> None:
    for path, offered in (("", None), ("orders/eu", ["fanway.v1"])):
        with pytest.raises(InvalidStatus) as caught:
            await socket(world, path, subprotocols=offered)
        assert caught.value.response.status_code == 400


async def test_a_page_of_a_foreign_origin_is_refused_where_origins_are_listed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from worlds import running_gateway

    async with running_gateway(tmp_path, cors_origins=("https://good.example",)) as world:
        async with socket(world, "orders/eu", origin="https://good.example"):
            pass
        with pytest.raises(InvalidStatus) as caught:
            await socket(world, "orders/eu", origin="https://bad.example")
        assert caught.value.response.status_code == 403
        answer = await world.client.post(
            "/-/events/orders/eu", content=b"x", headers={**world.auth(), "Origin": "https://good.example"}
        )
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        assert answer.headers["vary"] == "Origin"


async def test_a_silent_peer_is_pinged_and_then_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.feeds.socket.HEARTBEAT_SECONDS", 0.01)
    wire = await world.raw()
    await wire.send(
        f"GET /-/events/orders/eu HTTP/1.1\r\nHost: {world.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"ServiceBusAuthorization: {world.token()}\r\n\r\n"
    )
    assert (await wire.head()).startswith("HTTP/1.1 101")
    async with asyncio.timeout(10):
        assert await wire.reader.readexactly(6) == b"\x89\x00" * 3
        first, second = await wire.reader.readexactly(2)
        assert (first, (await wire.reader.readexactly(second))[:2]) == (0x88, (1011).to_bytes(2, "big"))


async def test_a_peer_that_answers_pings_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.feeds.socket.HEARTBEAT_SECONDS", 0.2)
    async with socket(world, "orders/eu") as subscriber:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await subscriber.wait_closed()
        await publish(world, "orders/eu", "still", Content_Type="text/plain")
        assert await receive(subscriber) == "still"


async def test_a_socket_that_leaves_is_no_longer_counted(world: World) -> None:
    async with socket(world, "orders/eu"):
        assert (await publish(world, "orders/eu"))["matched"] == 1
    while (await publish(world, "orders/eu"))["matched"]:
        pass
    assert world.gateway.context.realms[world.namespace].router.is_empty


async def test_a_broken_frame_ends_one_socket_and_no_other(world: World) -> None:
    async with socket(world, "orders/eu") as sound:
        wire = await world.raw()
        await wire.send(
            f"GET /-/events/orders/eu HTTP/1.1\r\nHost: {world.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"ServiceBusAuthorization: {world.token()}\r\n\r\n"
        )
        await wire.head()
        await wire.send(b"\x81\x05hello")  # not masked
        first, length = await wire.reader.readexactly(2)
        assert (first, (await wire.reader.readexactly(length))[:2]) == (0x88, (1002).to_bytes(2, "big"))
        await publish(world, "orders/eu", "on", Content_Type="text/plain")
        assert await receive(sound) == "on"
        with pytest.raises((TimeoutError, ConnectionClosed)):
            async with asyncio.timeout(0.1):
                await sound.recv()
