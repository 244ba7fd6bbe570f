"""A subscription's place: every event once, in order, and gaps told."""

from __future__ import annotations

import json

import pytest

from fanway import subscription as module
from fanway.errors import RelayError
from fanway.session_wire import Message, decode
from fanway.subscription import Subscription

EPOCH = "0a1b2c3d"


def message(offset: int, epoch: str = EPOCH, payload: str = "x", **members: int) -> Message:
    header = {"t": "ev", "a": "orders/1", "c": f"{epoch}:{offset}", "i": str(offset), **members}
    return decode(json.dumps(header) + f"\n{payload}")


async def closed(_: Subscription) -> None:
    pass


def accepted(start: str = "now", cursor: str = f"{EPOCH}:0") -> Subscription:
    subscription = Subscription("orders/**", start, {}, closed)
    subscription.accepted({"relay": "orders", "cursor": cursor})
    return subscription


async def test_an_event_seen_before_is_ignored() -> None:
    subscription = accepted()
    for offset in (1, 2, 2, 1, 3):
        subscription.offer(message(offset))
    subscription.end(None)
    assert [event.id async for event in subscription] == ["1", "2", "3"]


async def test_a_new_epoch_begins_anew() -> None:
    subscription = accepted()
    subscription.offer(message(5))
    subscription.offer(message(1, "ffffffff"))
    subscription.end(None)
    assert [event.cursor async for event in subscription] == [f"{EPOCH}:5", "ffffffff:1"]


async def test_dropped_before_any_event_it_resumes_from_the_accepted_cursor() -> None:
    """R02"""
    assert accepted(cursor=f"{EPOCH}:41").start == f"{EPOCH}:41"


async def test_it_resumes_after_the_last_event_or_position() -> None:
    subscription = accepted()
    subscription.offer(message(7))
    assert subscription.start == f"{EPOCH}:7"
    subscription.reached(module.parse_position(f"{EPOCH}:9"), alone=False)
    subscription.reached(module.parse_position(f"{EPOCH}:8"), alone=False)
    assert subscription.start == f"{EPOCH}:9"


async def test_while_it_is_behind_live_events_are_not_for_it_yet() -> None:
    """They come again, marked as its own, in their place."""
    subscription = accepted()
    subscription.offer(message(1))
    subscription.fell_behind()
    subscription.offer(message(9))
    subscription.skipped({"t": "gap", "relay": "orders", "from": f"{EPOCH}:9", "to": f"{EPOCH}:10", "why": "slow"})
    for offset in range(2, 10):
        subscription.offer(message(offset, sub=1))
    subscription.reached(module.parse_position(f"{EPOCH}:9"), alone=True)
    subscription.offer(message(9))
    subscription.offer(message(10))
    subscription.end(None)
    assert [(event.id, event.missed) async for event in subscription] == [(str(n), 0) for n in range(1, 11)]


async def test_last_events_are_asked_for_anew_until_all_were_told() -> None:
    subscription = Subscription("orders/**", "retained", {}, closed)
    subscription.accepted({"relay": "orders", "cursor": f"{EPOCH}:90", "behind": True})
    subscription.offer(message(3, sub=1))
    subscription.offer(message(89, sub=1))
    assert subscription.start == "retained"
    subscription.reached(module.parse_position(f"{EPOCH}:90"), alone=True)
    assert subscription.start == f"{EPOCH}:90"
    subscription.offer(message(90))
    subscription.offer(message(91))
    subscription.end(None)
    assert [event.id async for event in subscription] == ["3", "89", "91"]


async def test_from_start_is_asked_again_until_something_came() -> None:
    assert accepted(start="start", cursor=f"{EPOCH}:50").start == "start"


async def test_a_gap_is_told_by_the_next_event() -> None:
    """R03"""
    subscription = accepted(start=f"{EPOCH}:10", cursor=f"{EPOCH}:10")
    subscription.skipped({"from": f"{EPOCH}:10", "to": f"{EPOCH}:14", "why": "history"})
    subscription.offer(message(15))
    subscription.offer(message(16))
    subscription.end(None)
    assert [event.missed async for event in subscription] == [4, 0]


async def test_a_lost_store_is_told_as_missed() -> None:
    """R04"""
    subscription = accepted(start=f"{EPOCH}:10")
    subscription.skipped({"from": f"{EPOCH}:10", "to": "ffffffff:0", "why": "epoch"})
    subscription.offer(message(1, "ffffffff"))
    assert (await anext(subscription)).missed == 1


async def test_live_events_before_its_acceptance_are_not_for_it() -> None:
    subscription = Subscription("orders/**", f"{EPOCH}:3", {}, closed)
    subscription.offer(message(9))
    assert subscription.start == f"{EPOCH}:3"


async def test_a_slow_application_stops_the_flow_and_is_resumed_when_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_EVENTS", 2)
    subscription = accepted()
    drained: list[str] = []

    def resume(waiting: Subscription) -> None:
        drained.append(waiting.start)
        waiting.accepted({"relay": "orders", "cursor": waiting.start})
        waiting.offer(message(3))

    subscription.on_drained = resume
    assert [subscription.offer(message(offset)) for offset in (1, 2, 3)] == [True, True, False]
    assert [(await anext(subscription)).id for _ in range(3)] == ["1", "2", "3"]
    assert drained == [f"{EPOCH}:2"]


async def test_the_relays_own_spelling_is_what_events_match() -> None:
    subscription = Subscription("ORDERS/eu/*", "now", {}, closed)
    subscription.accepted({"relay": "orders", "cursor": f"{EPOCH}:0"})
    assert subscription.wants("orders/eu/1")
    assert not subscription.wants("orders/EU/1")


async def test_a_refusal_is_raised_where_the_events_are_awaited() -> None:
    subscription = Subscription("orders", "now", {}, closed)
    subscription.end(RelayError("no"))
    with pytest.raises(RelayError, match="no"):
        await anext(subscription)
    with pytest.raises(RelayError, match="no"):
        await subscription.ready()
