"""Plans, cohorts, and the cache that one-off addresses cannot empty."""

from __future__ import annotations

from typing import Any

from fanout.address import check_pattern
from fanout.plan import Cohort, Plan, PlanCache
from fanout.subscription import Subscription


def plan(relay: str, address: str) -> Plan:
    return Plan(relay, address, [])


def look_up(cache: PlanCache, relay: str, address: str) -> Plan:
    found = cache.find(relay, address)
    if found is None:
        found = plan(relay, address)
        cache.add(found)
    return found


def test_one_off_addresses_leave_hot_plans_in_place() -> None:
    """100,000 addresses used once, between uses of 1,000 hot ones."""
    cache = PlanCache(2048)
    hot = {f"a/hot{n}": look_up(cache, "a", f"a/hot{n}") for n in range(200)}
    for address in hot:
        look_up(cache, "a", address)
    for number in range(100_000):
        look_up(cache, "a", f"a/once{number}")
        if number % 100 == 0:
            look_up(cache, "a", f"a/hot{number // 100 % 200}")
    assert all(cache.peek("a", address) is kept for address, kept in hot.items())
    assert len(cache) <= 2048


def test_addresses_used_twice_displace_each_other_before_those_in_use() -> None:
    cache = PlanCache(64)
    hot = [look_up(cache, "a", f"a/hot{n % 8}") for n in range(16)][:8]
    for number in range(5000):
        look_up(cache, "a", f"a/twice{number}")
        look_up(cache, "a", f"a/twice{number}")
        look_up(cache, "a", f"a/hot{number % 8}")
    assert [cache.peek("a", f"a/hot{n}") for n in range(8)] == hot
    assert len(cache) <= 64


def test_dropped_plans_are_gone_and_do_not_come_back_when_their_turn_in_the_queue_comes() -> None:
    cache = PlanCache(16)
    first = look_up(cache, "a", "a/1")
    look_up(cache, "a", "a/1")
    cache.drop("a")
    again = look_up(cache, "a", "a/1")
    assert again is not first
    for number in range(100):
        look_up(cache, "b", f"b/{number}")
        look_up(cache, "a", "a/1")
    assert cache.peek("a", "a/1") is again
    assert len(cache) <= 16


def test_dropped_plan_lets_go_of_its_subscribers() -> None:
    cache = PlanCache(16)
    dropped = Plan("a", "a/x", [Cohort("a", check_pattern("a/**"))])
    cache.add(dropped)
    cache.drop("a")
    assert (dropped.cohorts, dropped.restricted) == ([], set())


def test_keys_are_structured_so_that_no_two_pairs_can_meet() -> None:
    """S22: relay `a` with address `b/c` is not relay `a/b` with address `c`, by construction."""
    cache = PlanCache(64)
    pairs = [("a", "b/c"), ("a/b", "c"), ("", "a/b/c"), ("a/b/c", ""), ("a b", "c"), ("a", "b c")]
    plans = [look_up(cache, *pair) for pair in pairs]
    assert len({id(found) for found in plans}) == len(pairs)
    assert [cache.peek(*pair) for pair in pairs] == plans
    assert list(cache.of("a")) == [plans[0], plans[5]]


def test_each_distinct_permission_check_is_asked_once_per_plan(world: Any) -> None:
    asked: list[str] = []

    def gate(address: str) -> bool:
        asked.append(address)
        return True

    cohort = Cohort("a", check_pattern("a/**"))
    for _ in range(1000):
        cohort.join(Subscription("a", check_pattern("a/**"), world.outlet(), gate))
    assert Plan("a", "a/x", [cohort]).size == 1000
    assert asked == ["a/x"]


def test_size_counts_outlets_once_and_only_those_permitted(world: Any) -> None:
    """W02."""
    session, denied = world.outlet(), world.outlet()
    denied.denied.add("a/x")
    for pattern in ("a/x", "a/**"):
        world.subscribe(pattern, session)
        world.subscribe(pattern, denied)
    assert world.router.plan("a", "a/x").size == 1
    assert world.router.plan("a", "a/y").size == 2
