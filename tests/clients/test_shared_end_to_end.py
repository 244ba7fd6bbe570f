"""Groups and durable subscriptions in Python, against a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fanway
from fanway import AuthorizationFailedError, ConfigurationError, Event, Relay, UnknownDeliveryError

ROOT = {"key_name": "RootManageSharedAccessKey", "key": "root-key-of-the-test-world"}


@pytest.fixture
async def relay(world: Any) -> AsyncIterator[Relay]:
    async with fanway.connect(world.url, **ROOT) as relay:
        yield relay


async def take(subscription: fanway.Subscription, count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(count)]


async def publish(relay: Relay, count: int) -> None:
    for number in range(count):
        await relay.publish("jobs/x", number)


async def test_of_a_group_each_event_reaches_one(world: Any, relay: Relay) -> None:
    async with fanway.connect(world.url, **ROOT) as other:
        mine = await relay.subscribe("jobs/**", group="workers").ready()
        theirs = await other.subscribe("jobs/**", group="workers").ready()
        await publish(relay, 60)  # more than either has credit for
        seen: list[int] = []
        everything = asyncio.Event()

        async def work(subscription: fanway.Subscription) -> None:
            async for event in subscription:
                seen.append(event.json())
                if len(seen) == 60:
                    everything.set()

        workers = [asyncio.create_task(work(each)) for each in (mine, theirs)]
        await asyncio.wait_for(everything.wait(), 10)
        for worker in workers:
            worker.cancel()
    assert sorted(seen) == list(range(60))


async def test_a_member_that_takes_nothing_is_lent_no_more(world: Any, relay: Relay) -> None:
    async with fanway.connect(world.url, **ROOT) as other:
        await other.subscribe("jobs/**", group="workers", credit=2).ready()
        busy = await relay.subscribe("jobs/**", group="workers").ready()
        await publish(relay, 40)
        assert len(await take(busy, 38)) == 38


async def test_going_on_acknowledges_what_was_before(world: Any, relay: Relay) -> None:
    async with fanway.connect(world.url, **ROOT) as first:
        events = await first.subscribe("jobs/**", durable="billing").ready()
        await publish(relay, 3)
        assert [(event.json(), event.attempt) for event in await take(events, 3)] == [(0, 1), (1, 1), (2, 1)]
    async with fanway.connect(world.url, **ROOT) as second:
        [event] = await take(second.subscribe("jobs/**", durable="billing"), 1)
        assert (event.json(), event.attempt) == (2, 2)
        assert event.deadline is not None
        await event.ack()
    [receipt] = await relay.publish_all([("jobs/x", "last")])
    [event] = await take(relay.subscribe("jobs/**", durable="billing"), 1)
    assert event.cursor == receipt.cursor


async def test_more_than_the_credit_flows_as_it_is_acknowledged(relay: Relay) -> None:
    events = await relay.subscribe("jobs/**", durable="billing", credit=2).ready()
    await publish(relay, 50)
    assert [event.json() for event in await take(events, 50)] == list(range(50))


async def test_what_an_exception_left_comes_again_and_its_dead_letter_says_why(relay: Relay) -> None:
    dead = await relay.subscribe("dead/**").ready()
    options: dict[str, Any] = {"durable": "billing", "max_deliveries": 1, "dead_letter": "dead/jobs"}

    async def fail() -> None:
        async with relay.subscribe("jobs/**", **options) as events:
            await events.ready()
            await relay.publish("jobs/7", "go")
            async for _ in events:
                raise ValueError("no stock\nat all")

    with pytest.raises(ValueError, match="no stock"):
        await fail()
    [letter] = await take(dead, 1)
    assert (letter.address, letter.text) == ("dead/jobs", "go")
    assert letter.attributes["fanwayreason"] == "ValueError: no stock at all"
    assert letter.attributes["fanwayorigin"] == "jobs/7"


async def test_a_loop_that_was_left_and_begins_again_gets_its_event_again(relay: Relay) -> None:
    events = await relay.subscribe("jobs/**", durable="billing").ready()
    await relay.publish("jobs/7", "go")
    attempts = []
    async with asyncio.timeout(10):
        while len(attempts) < 2:
            async for event in events:
                attempts.append(event.attempt)
                break
    assert attempts == [1, 2]


async def test_by_hand_each_event_is_acknowledged_or_given_back(relay: Relay) -> None:
    events = await relay.subscribe("jobs/**", durable="billing", ack="manual").ready()
    await publish(relay, 2)
    first, second = await take(events, 2)
    await second.ack()
    await first.nack(delay=0, reason="later")
    [again] = await take(events, 1)
    assert (again.json(), again.attempt) == (0, 2)
    await asyncio.gather(again.ack(), again.ack())  # the same question, asked once
    with pytest.raises(UnknownDeliveryError):
        await again.ack()
    with pytest.raises(UnknownDeliveryError):
        await first.nack()


async def test_one_acknowledged_too_late_says_so_and_comes_again(relay: Relay) -> None:
    events = await relay.subscribe("jobs/**", durable="billing", ack="manual", ack_wait=1).ready()
    await publish(relay, 1)
    [late] = await take(events, 1)
    [again] = await take(events, 1)
    with pytest.raises(UnknownDeliveryError, match="deadline has passed"):
        await late.ack()
    assert again.attempt == 2
    await again.ack()


async def test_events_of_other_subscriptions_are_not_acknowledged(relay: Relay) -> None:
    events = await relay.subscribe("jobs/**").ready()
    await publish(relay, 1)
    [event] = await take(events, 1)
    assert (event.attempt, event.deadline) == (1, None)
    with pytest.raises(UnknownDeliveryError, match="durable"):
        await event.ack()
    with pytest.raises(ConfigurationError, match="durable"):
        relay.subscribe("jobs/**", ack="manual")


async def test_another_pattern_and_anothers_name_are_refused(world: Any, relay: Relay) -> None:
    await relay.subscribe("jobs/**", durable="billing").ready()
    with pytest.raises(fanway.EndpointAlreadyExistsError, match="another pattern"):
        await relay.subscribe("jobs/*", durable="billing").ready()
    await relay.subscribe("ruled/**", durable="billing").ready()
    async with fanway.connect(world.url, key_name="listener", key="listener-key") as other:
        with pytest.raises(AuthorizationFailedError):
            await other.subscribe("ruled/**", durable="billing").ready()
