"""One's part of what is shared, against a scripted gateway: what is said of it, and what a lost connection means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fanway.backoff import Backoff
from fanway.errors import EndpointNotFoundError, UnknownDeliveryError
from fanway.event import Event
from fanway.session import Session
from fanway.shared import SharedSubscription

EPOCH = "0a1b2c3d"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())["client"]


@asynccontextmanager
async def session_of(fake: Any) -> AsyncIterator[Session]:
    session = Session(fake.gateway, lambda: Backoff(first=0.01, most=0.01))
    try:
        yield session
    finally:
        await session.close()


async def take(subscription: Any, count: int) -> list[Event]:
    return [await asyncio.wait_for(anext(subscription), 5) for _ in range(count)]


async def deliver(line: Any, sub: dict[str, Any], *numbers: int, **more: Any) -> None:
    """Deliveries of the events that have the same numbers."""
    for number in numbers:
        told = {"n": 1, "d": number, "deadline": 1767225660.25, **more}
        await line.event(f"{EPOCH}:{number}", "jobs/x", sub=sub["sub"], **told)


async def settle(line: Any, kind: str) -> dict[str, Any]:
    """Answer the next `ack` or `nack`; its header."""
    header: dict[str, Any] = await line.hear(kind)
    await line.say(t="ok", r=header["r"], sub=header["sub"])
    return header


async def meet(line: Any) -> None:
    """Let the client know that all that was said so far is there."""
    await line.say(t="pong", r=(await line.hear("ping"))["r"])


async def test_acknowledgements_of_one_moment_are_one_message_and_come_before_the_end(fake: Any) -> None:
    heard: list[list[int]] = []

    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        assert (sub["durable"], sub["credit"]) == ("billing", 16)
        await deliver(line, sub, 1, 2, 3, 4)
        await meet(line)
        heard.append((await settle(line, "ack"))["d"])
        unsub = await line.hear("unsub")
        await line.say(t="ok", r=unsub["r"], sub=unsub["sub"])
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        async with session.subscribe("jobs/**", "now", {"durable": "billing"}) as events:
            await events.ready()
            await session.tell({"t": "ping"})
            assert [(await anext(events)).cursor[9:] for _ in range(4)] == ["1", "2", "3", "4"]
    assert heard == [[1, 2, 3]]


async def test_the_end_of_all_waits_for_what_was_acknowledged(fake: Any) -> None:
    heard: list[list[int]] = []

    async def script(line: Any) -> None:
        await line.greet()
        await deliver(line, await line.accept(f"{EPOCH}:0", "jobs"), 1, 2)
        heard.append((await settle(line, "ack"))["d"])
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        await take(session.subscribe("jobs/**", "now", {"durable": "billing"}), 2)
    assert heard == [[1]]


async def test_what_waited_when_the_connection_was_lost_is_not_given_twice_and_old_acks_are_dropped(fake: Any) -> None:
    heard: list[list[int]] = []
    cut, back = asyncio.Event(), asyncio.Event()

    async def first(line: Any) -> None:
        await line.greet()
        await deliver(line, await line.accept(f"{EPOCH}:0", "jobs"), 1, 2, 3)
        await cut.wait()
        line.connection.transport.abort()

    async def second(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        assert sub["from"] == "start"  # where it begins if it must be made anew
        back.set()
        await deliver(line, sub, 1, 2, 3, n=2)
        heard.append((await settle(line, "ack"))["d"])
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "start", {"durable": "billing"}, acks=False)
        [old] = await take(events, 1)
        cut.set()
        await asyncio.wait_for(back.wait(), 5)
        again = await take(events, 3)
        assert [(event.cursor, event.attempt) for event in again] == [(f"{EPOCH}:{n}", 2) for n in (1, 2, 3)]
        await old.ack()
        await old.nack(delay=5)
        await again[1].ack()
    assert heard == [[2]]


async def test_an_ack_under_way_when_the_connection_is_lost_is_no_error(fake: Any) -> None:
    async def first(line: Any) -> None:
        await line.greet()
        await deliver(line, await line.accept(f"{EPOCH}:0", "jobs"), 1)
        await line.hear("ack")
        line.connection.transport.abort()

    async def second(line: Any) -> None:
        await line.greet()
        await deliver(line, await line.accept(f"{EPOCH}:0", "jobs"), 1, n=2)
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "now", {"durable": "billing"}, acks=False)
        [event] = await take(events, 1)
        await asyncio.wait_for(event.ack(), 5)
        assert [event.attempt for event in await take(events, 1)] == [2]


async def test_of_one_message_only_those_refused_fail_and_the_subscription_goes_on(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        await deliver(line, sub, 1, 2)
        ack = await line.hear("ack")
        refusal = {"status": 404, "code": "UnknownDelivery", "message": "Not under way."}
        await line.say(t="err", r=ack["r"], sub=sub["sub"], d=[2], **refusal)
        await line.say(t="err", r=999_999, sub=sub["sub"], d=[2], **refusal)  # nobody waits for that one
        await deliver(line, sub, 3)
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "now", {"durable": "billing"}, acks=False)
        first, second = await take(events, 2)
        results = await asyncio.gather(first.ack(), second.ack(), return_exceptions=True)
        assert results[0] is None
        assert isinstance(results[1], UnknownDeliveryError)
        assert results[1].deliveries == (2,)
        assert [event.cursor for event in await take(events, 1)] == [f"{EPOCH}:3"]


async def test_an_event_delivered_again_while_it_waits_here_is_had_once(fake: Any) -> None:
    all_here = asyncio.Event()

    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        await deliver(line, sub, 1, 2)
        await line.event(f"{EPOCH}:1", "jobs/x", sub=sub["sub"], n=2, d=3, deadline=1767225690.0)
        await meet(line)
        assert (await settle(line, "ack"))["d"] == [3]
        all_here.set()
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        events = await session.subscribe("jobs/**", "now", {"durable": "billing"}, acks=False).ready()
        await session.tell({"t": "ping"})
        second, first = await take(events, 2)
        assert [(event.cursor, event.attempt) for event in (second, first)] == [(f"{EPOCH}:2", 1), (f"{EPOCH}:1", 2)]
        await first.ack()
        await asyncio.wait_for(all_here.wait(), 5)


async def test_credit_of_a_group_is_lent_anew_as_events_are_gone_on_from(fake: Any) -> None:
    lent: list[int] = []

    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        assert (sub["group"], sub["credit"]) == ("workers", 4)
        for number in range(1, 5):
            await line.event(f"{EPOCH}:{number}", "jobs/x", sub=sub["sub"], n=1)
        lent.append((await settle(line, "credit"))["n"])
        await line.event(f"{EPOCH}:5", "jobs/x", sub=sub["sub"], n=1)
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "now", {"group": "workers", "credit": 4})
        await take(events, 3)
        assert [event.cursor for event in await take(events, 2)] == [f"{EPOCH}:4", f"{EPOCH}:5"]
    assert lent == [2]


async def test_who_returns_to_a_group_keeps_what_it_has_and_begins_where_the_group_is(fake: Any) -> None:
    asked: list[dict[str, Any]] = []
    back = asyncio.Event()

    async def first(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        asked.append(sub)
        for number in (7, 8, 9):
            await line.event(f"{EPOCH}:{number}", "jobs/x", sub=sub["sub"], n=1)
        await meet(line)
        line.connection.transport.abort()

    async def second(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:20", "jobs")
        asked.append(sub)
        await line.event(f"{EPOCH}:6", "jobs/x", sub=sub["sub"], n=1)  # whatever its offset
        back.set()
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "start", {"group": "workers"})
        got = await take(events, 1)
        await session.tell({"t": "ping"})
        await asyncio.wait_for(back.wait(), 5)
        got += await take(events, 3)
        assert [event.cursor.partition(":")[2] for event in got] == ["7", "8", "9", "6"]
    assert [sub.get("from") for sub in asked] == ["start", None]
    assert [sub["credit"] for sub in asked] == [16, 13]


async def test_a_gap_of_a_shared_one_is_told_by_its_next_event_and_by_no_other(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:5", "jobs")
        await line.say(t="gap", relay="jobs", from_=f"{EPOCH}:6", to=f"{EPOCH}:7", why="slow")
        await line.say(t="gap", relay="jobs", sub=sub["sub"], from_=f"{EPOCH}:5", to=f"{EPOCH}:9", why="history")
        await line.event(f"{EPOCH}:10", "jobs/x")  # live, for others
        await deliver(line, sub, 11, 12)
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        events = session.subscribe("jobs/**", "now", {"durable": "billing"}, acks=False)
        assert [(event.cursor, event.missed) for event in await take(events, 2)] == [
            (f"{EPOCH}:11", 4),
            (f"{EPOCH}:12", 0),
        ]


async def test_one_that_was_deleted_ends_with_the_gateways_words_and_gives_nothing_more(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0", "jobs")
        await deliver(line, sub, 1, 2)
        await line.say(t="err", sub=sub["sub"], status=404, code="EndpointNotFound", message="It was deleted.")
        await meet(line)
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        events = await session.subscribe("jobs/**", "now", {"durable": "billing"}).ready()
        await session.tell({"t": "ping"})
        with pytest.raises(EndpointNotFoundError, match="deleted"):
            await asyncio.wait_for(anext(events), 5)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if {"group", "durable"} & set(vector.get("result", ()))],
    ids=lambda vector: vector["name"],
)
async def test_it_is_asked_for_as_the_vectors_have_it(vector: dict[str, Any]) -> None:
    meant = json.loads(vector["message"])
    options = {name: value for name, value in meant.items() if name not in ("t", "r", "sub", "pattern", "from")}
    session: Any = None
    subscription = SharedSubscription(
        meant["pattern"], meant.get("from", "now"), options, lambda _: None, session, True
    )
    subscription.number = meant["sub"]
    assert {"r": 1, **subscription.as_header()} == {"from": "now", "credit": 16, **meant}
