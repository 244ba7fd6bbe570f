"""The SDK against a running gateway: every verb, as a user writes it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fanway
from fanway import Relay, Request, Response, Socket
from fanway.socket import reset


@pytest.fixture
async def relay(world: Any) -> AsyncIterator[Relay]:
    """A client of the test's own gateway, with the root key."""
    async with fanway.connect(
        world.url, key_name="RootManageSharedAccessKey", key="root-key-of-the-test-world"
    ) as relay:
        yield relay


async def take(subscription: fanway.Subscription, count: int) -> list[fanway.Event]:
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(count)]


async def test_an_event_reaches_its_subscribers_with_a_receipt(relay: Relay) -> None:
    subscription = await relay.subscribe("orders/**").ready()
    receipt = await relay.publish("orders/eu/7", {"total": 42}, type="order", attributes={"shop": "oslo"})
    assert (receipt.matched, receipt.queued, receipt.behind, receipt.dropped) == (1, 1, 0, 0)
    [event] = await take(subscription, 1)
    assert (event.address, event.json(), event.id, event.cursor) == (
        "orders/eu/7",
        {"total": 42},
        receipt.id,
        receipt.cursor,
    )
    assert (event.type, event.attributes, event.missed) == ("order", {"shop": "oslo"}, 0)


async def test_a_filter_narrows_a_subscription_live_and_from_history(relay: Relay) -> None:
    wanted = {"any": [{"exact": {"type": "order.created"}}, {"exact": {"shop": "oslo"}}]}
    types = ("order.created", "order.paid", "order.created")
    async with relay.subscribe("orders/**", filter=wanted) as live, relay.subscribe("orders/*") as plain:
        await live.ready()
        await plain.ready()
        receipts = [await relay.publish("orders/1", n, type=type) for n, type in enumerate(types)]
        assert [receipt.matched for receipt in receipts] == [2, 1, 2]
        assert [event.json() for event in await take(live, 2)] == [0, 2]
        assert [event.json() for event in await take(plain, 3)] == [0, 1, 2]
        await relay.publish("orders/1", 3, attributes={"shop": "oslo"})
        async with relay.subscribe("orders/1", after="start", filter=[wanted, {"not": {"exact": {"id": "x"}}}]) as late:
            assert [event.json() for event in await take(late, 3)] == [0, 2, 3]


@pytest.mark.parametrize("filter", [{"sql": "type = 'x'"}, {}, {"any": []}])
async def test_a_filter_that_the_gateway_refuses_ends_the_subscription_with_its_words(
    relay: Relay, filter: dict[str, Any]
) -> None:
    with pytest.raises(fanway.RelayError, match="filter") as caught:
        await relay.subscribe("orders/**", filter=filter).ready()
    assert caught.value.status == 400


async def test_a_filter_too_deep_or_no_json_is_refused_here(relay: Relay) -> None:
    """W16: the gateway would end the session, with all that it holds."""
    deep: dict[str, Any] = {"exact": {"type": "x"}}
    for _ in range(10_000):
        deep = {"not": deep}
    with pytest.raises(fanway.RelayError, match="7 deep"):
        relay.subscribe("orders/**", filter=deep)
    with pytest.raises(TypeError):
        relay.subscribe("orders/**", filter={"exact": {"type": b"x"}})


async def test_text_and_binary_payloads_keep_their_kind(relay: Relay) -> None:
    subscription = await relay.subscribe("orders/*").ready()
    await relay.publish("orders/1", "grüße\n")
    await relay.publish("orders/2", b"\xff\x00\n")
    text, binary = await take(subscription, 2)
    assert (text.text, text.is_text) == ("grüße\n", True)
    assert (binary.data, binary.is_text) == (b"\xff\x00\n", False)


async def test_a_batch_keeps_its_order(relay: Relay) -> None:
    subscription = await relay.subscribe("orders/**").ready()
    receipts = await relay.publish_all((f"orders/{n}", str(n)) for n in range(500))
    assert len(receipts) == 500
    assert [event.text for event in await take(subscription, 500)] == [str(n) for n in range(500)]


async def test_history_is_read_after_a_cursor(relay: Relay) -> None:
    receipts = await relay.publish_all(("orders/1", str(n)) for n in range(5))
    later = relay.subscribe("orders/**", after=receipts[1].cursor)
    assert [event.text for event in await take(later, 3)] == ["2", "3", "4"]
    whole = relay.subscribe("orders/**", after="start")
    assert [event.text for event in await take(whole, 5)] == ["0", "1", "2", "3", "4"]


async def test_a_cut_connection_loses_nothing(relay: Relay) -> None:
    """R01"""
    subscription = await relay.subscribe("orders/**").ready()
    await relay.publish("orders/1", "before")
    channel = relay._session._channel
    assert channel is not None
    channel.transport.abort()
    async with fanway.connect(
        relay.gateway.url, key_name="RootManageSharedAccessKey", key=relay.gateway.credential.key
    ) as other:
        await other.publish_all(("orders/1", str(n)) for n in range(20))
    events = await take(subscription, 21)
    assert [event.text for event in events] == ["before", *(str(n) for n in range(20))]
    assert sum(event.missed for event in events) == 0


async def test_an_unknown_epoch_is_told_as_missed(relay: Relay) -> None:
    """R04"""
    await relay.publish("orders/1", "x")
    subscription = await relay.subscribe("orders/**", after="ffffffff:7").ready()
    await relay.publish("orders/1", "new")
    [event] = await take(subscription, 1)
    assert event.missed >= 1


async def test_the_wrong_key_is_refused(world: Any) -> None:
    async with fanway.connect(world.url, key_name="RootManageSharedAccessKey", key="wrong") as relay:
        with pytest.raises(fanway.AuthorizationFailedError) as caught:
            await relay.publish("orders/1", "x")
        assert caught.value.status == 401
        with pytest.raises(fanway.AuthorizationFailedError):
            await relay.ask("shop")
        with pytest.raises(fanway.AuthorizationFailedError):
            await relay.open("shop")
        relay.listen("shop")(lambda request: None)
        with pytest.raises(fanway.AuthorizationFailedError):
            await relay.listening()


async def test_asking_nobody_is_an_endpoint_not_found(relay: Relay) -> None:
    """P09"""
    with pytest.raises(fanway.EndpointNotFoundError) as caught:
        await relay.ask("shop")
    assert caught.value.tracking_id
    with pytest.raises(fanway.EndpointNotFoundError):
        await relay.open("shop")


async def test_a_handler_answers_a_question(relay: Relay) -> None:
    @relay.listen("shop/price")
    async def price(request: Request) -> dict[str, Any]:
        return {"eur": 3, "sku": (await request.json())["sku"]}

    answer = await relay.ask("shop/price", {"sku": 7}, timeout=5)
    assert (answer.status, answer.json()) == (200, {"eur": 3, "sku": 7})
    assert answer.headers["content-type"] == "application/json"


async def test_method_path_headers_and_status_pass(relay: Relay) -> None:
    @relay.listen("shop")
    async def mirror(request: Request) -> Response:
        words = [request.method, request.target, request.headers["x-cUSTOM"]]
        return Response("|".join(words), 418, {"X-Back": "1"}, reason="Short And Stout")

    answer = await relay.ask("shop", method="DELETE", path="/cart/7?open=1", headers={"X-cUSTOM": "v"}, timeout=5)
    assert (answer.status, answer.reason, answer.headers["x-back"]) == (418, "Short And Stout", "1")
    assert answer.text == "DELETE|/shop/cart/7?open=1|v"


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 65_537, 5_000_000])
async def test_bodies_of_any_size_pass_both_ways(relay: Relay, size: int) -> None:
    """P07"""

    @relay.listen("shop")
    async def echo(request: Request) -> bytes:
        return await request.read()

    body = os.urandom(size)
    answer = await relay.ask("shop", body, timeout=20)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()


async def test_a_failing_handler_is_a_500_and_the_next_request_is_served(relay: Relay) -> None:
    @relay.listen("shop")
    async def fail(request: Request) -> str:
        if request.query:
            raise ValueError("secret")
        return "fine"

    failed = await relay.ask("shop", path="?x", timeout=5)
    assert (failed.status, b"secret" in failed.content) == (500, False)
    assert (await relay.ask("shop", timeout=5)).text == "fine"


async def test_an_answer_streams(world: Any, relay: Relay) -> None:
    """P19"""
    go_on = asyncio.Event()

    @relay.listen("shop")
    async def ticks(request: Request) -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    await relay.listening()
    async with world.client.stream("GET", "/shop", headers=world.auth("shop")) as response:
        pieces = response.aiter_raw()
        assert await asyncio.wait_for(anext(pieces), 5) == b"one"
        go_on.set()
        assert await asyncio.wait_for(anext(pieces), 5) == b"two"


async def test_a_generator_is_stopped_when_the_sender_leaves(world: Any, relay: Relay) -> None:
    """P20"""
    stopped = asyncio.Event()

    @relay.listen("shop")
    async def ticks(request: Request) -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await relay.listening()
    wire = await world.raw()
    await wire.send(f"GET /shop HTTP/1.1\r\nHost: x\r\nServiceBusAuthorization: {world.token('shop')}\r\n\r\n")
    assert " 200 " in await wire.head()
    reset(wire.writer)
    await asyncio.wait_for(stopped.wait(), 5)


async def test_a_socket_echoes_text_and_binary(relay: Relay) -> None:
    @relay.listen("shop", sockets=True)
    async def echo(socket: Socket) -> None:
        async for message in socket:
            await socket.send(message)

    async with relay.open("shop") as socket:
        await socket.send("grüße")
        assert await socket.recv() == "grüße"
        big = os.urandom(1_000_000)
        await socket.send(big)
        assert await socket.recv() == big


async def test_a_half_closed_socket_still_receives(relay: Relay) -> None:
    """R16"""

    @relay.listen("shop", sockets=True)
    async def count(socket: Socket) -> None:
        total = sum([len(message) async for message in socket])
        await socket.send(str(total))
        for _ in range(16):
            await socket.send(bytes(65_536))

    socket = await relay.open("shop")
    await socket.send(b"12345")
    await socket.close_send()
    async with asyncio.timeout(10):
        assert await socket.recv() == "5"
        assert sum([len(message) async for message in socket]) == 1 << 20
    await socket.close()
    assert socket.close_code == 1000


async def test_a_lost_peer_is_an_abnormal_end(relay: Relay) -> None:
    @relay.listen("shop", sockets=True)
    async def vanish(socket: Socket) -> None:
        await socket.recv()
        socket.abort()

    socket = await relay.open("shop")
    await socket.send("x")
    with pytest.raises(fanway.ConnectionClosedError) as caught:
        await asyncio.wait_for(socket.recv(), 10)
    assert caught.value.close_code == 1006


async def test_a_subprotocol_is_agreed(relay: Relay) -> None:
    """P17"""

    @relay.listen("shop", sockets=True)
    async def hold(socket: Socket) -> None:
        async for _ in socket:
            pass

    async with relay.open("shop", subprotocols=["b", "a"]) as socket:
        assert socket.subprotocol == "b"


async def test_a_listener_without_a_socket_handler_rejects(relay: Relay) -> None:
    """P06"""
    relay.listen("shop")(lambda request: None)
    with pytest.raises(fanway.EndpointNotFoundError, match="No handler is configured"):
        await relay.open("shop")


async def test_a_hundred_questions_at_once_get_their_own_answers(relay: Relay) -> None:
    @relay.listen("shop")
    async def echo(request: Request) -> bytes:
        return await request.read()

    answers = await asyncio.gather(*(relay.ask("shop", str(n), timeout=20) for n in range(100)))
    assert [answer.text for answer in answers] == [str(n) for n in range(100)]


async def test_one_of_several_listeners_is_chosen_by_its_name(world: Any, relay: Relay) -> None:
    for name in ("oslo-1", "bergen"):
        other = fanway.connect(world.url, key_name="RootManageSharedAccessKey", key="root-key-of-the-test-world")
        world.cleanup.push_async_callback(other.close)

        async def echo(socket: Socket, name: str = name) -> None:
            await socket.send(name)

        other.listen("shop", instance=name)(lambda _, name=name: name)
        other.listen("shop", sockets=True)(echo)
        await other.listening()
        with pytest.raises(fanway.ConfigurationError, match="another instance name"):
            other.listen("shop", instance="x")(lambda _: None)
    for name in ("oslo-1", "bergen") * 5:
        assert (await relay.ask("shop", instance=name)).text == name
        async with relay.open("shop", instance=name) as socket:
            assert await socket.recv() == name
    with pytest.raises(fanway.EndpointNotFoundError, match="is the instance 'oslo'"):
        await relay.ask("shop", instance="oslo")
    with pytest.raises(fanway.EndpointNotFoundError, match="is the instance 'oslo'"):
        await relay.open("shop", instance="oslo")
    for wrong in ("", "a/b", "x" * 65):
        with pytest.raises(fanway.ConfigurationError, match="instance name"):
            relay.open("shop", instance=wrong)
