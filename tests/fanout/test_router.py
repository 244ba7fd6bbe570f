"""The router: plans are patched, permissions followed at once, nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.address import check_pattern
from fanout.router import Router, Snapshot
from fanout.subscription import Subscription
from fanout.tick import Receipt, Tick
from fanout.trie import PatternTrie


def test_event_reaches_the_first_three_of_five_patterns_exactly_once(world: Any) -> None:
    """W01."""
    outlets = [world.subscribe(pattern).outlet for pattern in ("a/b/c", "a/*/c", "a/**", "a/b", "a/*")]
    number = world.publish("a/b/c")
    world.tick.flush()
    assert [outlet.received for outlet in outlets] == [[("a/b/c", 1)]] * 3 + [[]] * 2
    assert world.receipts[number] == Receipt(3, 3, 0, 0)


def test_pattern_sees_only_addresses_of_its_own_relay(world: Any) -> None:
    """W04: a nested relay is a relay of its own."""
    outer = world.subscribe("orders/**")
    assert world.router.plan("orders/eu", "orders/eu/7").size == 0
    assert world.router.plan("orders", "orders/us/7").size == 1
    assert world.router.plan("orders", "orders-eu/7").size == 0
    assert outer.relay == "orders"


def test_plan_of_10000_subscribers_is_patched_not_rebuilt(world: Any) -> None:
    for _ in range(10_000):
        world.subscribe("a/x", is_exclusive=True)
    plan = world.router.plan("a", "a/x")
    visited: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatternTrie, "match", lambda self, address: visited.append(address))
        late = world.subscribe("a/x")
        wide = world.subscribe("a/**")
        assert world.router.plan("a", "a/x") is plan
        assert plan.size == 10_002
        world.router.unsubscribe(late)
        world.router.unsubscribe(wide)
        assert world.router.plan("a", "a/x") is plan
    assert plan.size == 10_000
    assert visited == []


def test_subscribing_with_a_known_permission_check_asks_nothing_again(world: Any) -> None:
    asked: list[str] = []

    def gate(address: str) -> bool:
        asked.append(address)
        return True

    for number in range(100):
        world.router.plan("a", f"a/{number}")
    pattern = check_pattern("a/**")
    world.router.subscribe(Subscription("a", pattern, world.outlet(), gate))
    assert len(asked) == 100
    world.router.subscribe(Subscription("a", pattern, world.outlet(), gate))
    assert len(asked) == 100
    assert world.router.plan("a", "a/7").size == 2


def test_outlet_that_comes_with_a_known_but_refusing_permission_check_gets_nothing_forbidden(world: Any) -> None:
    def gate(address: str) -> bool:
        return address != "a/secret"

    world.router.plan("a", "a/secret")
    outlets = [world.outlet() for _ in range(3)]
    for outlet in outlets:
        world.router.subscribe(Subscription("a", check_pattern("a/**"), outlet, gate))
    world.publish("a/secret")
    world.publish("a/open")
    world.tick.flush()
    assert [outlet.received for outlet in outlets] == [[("a/open", 2)]] * 3


def test_wildcard_drops_the_plans_of_its_relay_when_too_many_would_be_patched(new_world: Any) -> None:
    world = new_world(patch_limit=10)
    old = [world.router.plan("a", f"a/{n}") for n in range(11)]
    other = world.router.plan("b", "b/1")
    world.subscribe("a/**")
    assert world.router.plan("a", "a/1") is not old[1]
    assert world.router.plan("a", "a/1").size == 1
    assert world.router.plan("b", "b/1") is other


def test_one_off_addresses_leave_hot_plans_in_place(new_world: Any) -> None:
    world = new_world(plan_limit=1024)
    world.subscribe("a/**")
    hot = world.router.plan("a", "a/hot")
    world.router.plan("a", "a/hot")
    for number in range(100_000):
        world.router.plan("a", f"a/{number}")
    assert world.router.plan("a", "a/hot") is hot
    assert world.router.snapshot().plans <= 1024


def test_100000_cycles_of_fresh_patterns_leave_nothing(new_world: Any) -> None:
    world = new_world()
    outlet = world.outlet()
    keep = world.subscribe("a/**", outlet)
    plan = world.router.plan("a", "a/1/x")
    for number in range(50_000):
        for text in (f"a/{number}/x", f"a/*/{number}/**"):
            subscription = world.subscribe(text, outlet)
            world.router.unsubscribe(subscription)
    assert len(plan.cohorts) == 1
    trie = world.router._interests["a"].wildcards
    world.router.unsubscribe(keep)
    assert trie.is_empty
    assert world.router.is_empty
    assert plan.cohorts == []
    assert world.router.snapshot()[:3] == (0, 0, 0)


def test_narrowed_permission_takes_the_outlet_out_of_its_plans_at_once_and_widened_puts_it_back(world: Any) -> None:
    session = world.subscribe("a/**").outlet
    plan = world.router.plan("a", "a/x")
    assert plan.size == 1
    session.denied.add("a/x")
    world.router.refresh(session)
    assert world.router.plan("a", "a/x") is plan
    assert plan.size == 0
    number = world.publish("a/x")
    world.tick.flush()
    assert (session.writes, world.receipts[number]) == ([], Receipt(0, 0, 0, 0))
    session.denied.clear()
    world.router.refresh(session)
    assert (plan.size, plan.restricted) == (1, set())
    world.publish("a/x")
    world.tick.flush()
    assert session.received == [("a/x", 2)]


def test_exclusive_outlet_that_is_not_permitted_gets_nothing(world: Any) -> None:
    denied = world.outlet()
    denied.denied.add("a/x")
    world.publish("a/x")
    world.subscribe("a/x", denied, is_exclusive=True)
    world.publish("a/x")
    world.tick.flush()
    assert denied.offers == 0


def test_outlet_refused_by_one_subscription_still_gets_the_event_by_another(world: Any) -> None:
    """W02: permission is per subscription, the copy is per connection."""
    outlet = world.outlet()
    world.router.subscribe(Subscription("a", check_pattern("a/**"), outlet, lambda address: False))
    world.router.subscribe(Subscription("a", check_pattern("a/*"), outlet, lambda address: True))
    number = world.publish("a/x")
    world.tick.flush()
    assert outlet.received == [("a/x", 1)]
    assert world.receipts[number] == Receipt(1, 1, 0, 0)


def test_subscriber_gets_nothing_from_before_its_subscription_without_a_flush_by_the_caller(world: Any) -> None:
    early = world.subscribe("a").outlet
    world.publish("a")
    late = world.subscribe("a").outlet
    world.publish("a")
    world.tick.flush()
    assert early.received == [("a", 1), ("a", 2)]
    assert late.received == [("a", 2)]


def test_exclusive_outlet_keeps_its_promise(world: Any) -> None:
    outlet, session = world.outlet(), world.outlet()
    world.subscribe("a", outlet, is_exclusive=True)
    world.subscribe("a", session)
    for holder, is_exclusive in ((outlet, False), (outlet, True), (session, True)):
        with pytest.raises(ValueError, match="exclusive"):
            world.subscribe("b", holder, is_exclusive=is_exclusive)


def test_ending_a_subscription_twice_is_no_error(world: Any) -> None:
    subscription = world.subscribe("a")
    world.router.unsubscribe(subscription)
    world.router.unsubscribe(subscription)
    world.router.leave(subscription.outlet)
    assert world.router.is_empty


def test_snapshot_counts(world: Any) -> None:
    session = world.outlet()
    for pattern in ("a/x", "a/**", "b/**"):
        world.subscribe(pattern, session)
    world.subscribe("a/x")
    world.router.plan("a", "a/x")
    assert world.router.snapshot() == Snapshot(outlets=2, subscriptions=4, patterns=3, plans=1)


def test_subscribers_of_a_relay_are_known_and_counted_by_pattern(world: Any) -> None:
    session = world.outlet()
    subscriptions = [world.subscribe(pattern, session) for pattern in ("a/x", "a/**", "a/x")]
    subscriptions.append(world.subscribe("a/x"))
    world.subscribe("b")
    assert set(world.router.subscribers("a")) == set(subscriptions)
    assert [world.router.count_at("a", pattern) for pattern in ("a/x", "a/**", "a/y")] == [3, 1, 0]
    assert set(world.router.relay_keys()) == {"a", "b"}
    world.router.leave(session)
    assert world.router.subscribers("a") == subscriptions[3:]
    assert (world.router.subscriptions("a"), world.router.count_at("a", "a/x")) == (1, 1)
    assert world.router.subscribers("c") == []


PARTS = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/a"])


@given(st.lists(st.tuples(PARTS, PARTS), min_size=2, max_size=8, unique=True))
def test_no_two_pairs_of_relay_and_address_share_a_plan(pairs: list[tuple[str, str]]) -> None:
    """S22: impossible by construction, keys are structured."""
    router = Router(Tick(lambda callback: None))
    plans = {pair: router.plan(*pair) for pair in pairs}
    assert len({id(plan) for plan in plans.values()}) == len(pairs)
    assert all((plan.relay, plan.address) == pair and router.plan(*pair) is plan for pair, plan in plans.items())
