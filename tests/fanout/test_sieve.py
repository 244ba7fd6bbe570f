"""Sieves: who is asked, how often, and what is refused before it could hold anybody up (W16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fanout.address import check_pattern
from fanout.errors import FiltersTooCostly
from fanout.event import Event
from fanout.filters import Attributes, Filter, Probe, parse_filter
from fanout.router import Router
from fanout.sieve import MAX_COST, MAX_PROBES, MAX_VALUE_COST, Load, Sieve
from fanout.subscription import Verdict
from fanout.tick import Receipt


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """Every filter that is evaluated, as often as it is."""
    found: list[Filter] = []
    make = Filter.__init__

    def listening(self: Filter, *arguments: Any) -> None:
        make(self, *arguments)
        holds = self.holds

        def noted(attributes: Any) -> bool:
            found.append(self)
            return holds(attributes)

        self.holds = noted

    monkeypatch.setattr(Filter, "__init__", listening)
    return found


def exact(**values: str) -> dict[str, Any]:
    return {"exact": values}


def without(**values: str) -> dict[str, Any]:
    """A filter that every event must be asked."""
    return {"not": {"exact": values}}


def read(value: Any) -> Filter:
    found = parse_filter(value)
    assert found is not None
    return found


def until_refused(add: Callable[[int], object]) -> int:
    """How many are taken, of 10,000, before one is refused."""
    for number in range(10_000):
        try:
            add(number)
        except FiltersTooCostly:
            return number
    return 10_000


def test_a_filter_that_many_share_is_asked_once_for_an_event(world: Any, asked: list[Filter]) -> None:
    for _ in range(1000):
        world.subscribe("a/**", is_exclusive=True, filter=without(type="y"))
    number = world.publish("a/1", type="xy")
    world.publish("a/2", type="y")
    world.tick.flush()
    assert len(asked) == 2
    assert world.receipts[number] == Receipt(1000, 1000, 0, 0)
    assert (world.encoding.encoded, world.encoding.joined) == (1, 1)


def test_of_10000_filters_an_event_meets_only_those_that_require_its_value(world: Any, asked: list[Filter]) -> None:
    outlets = [
        world.subscribe(
            "a/**", filter=exact(type=f"t{number}", subject="s") if number % 2 else exact(type=f"t{number}")
        )
        for number in range(10_000)
    ]
    world.publish("a/1", type="t7")
    world.publish("a/1", type="t8")
    world.publish("a/1", type="other")
    world.tick.flush()
    assert len(asked) == 1
    assert [number for number, each in enumerate(outlets) if each.outlet.received] == [8]


def test_of_10000_beginnings_and_ends_an_event_meets_only_its_own(world: Any, asked: list[Filter]) -> None:
    outlets = [
        world.subscribe("a/**", filter={"suffix" if number % 2 else "prefix": {"type": f".{number:04}."}}).outlet
        for number in range(10_000)
    ]
    for type in (".0006.x", "x.0007.", ".0008.0009.", ".00", ""):
        world.publish("a/1", type=type)
    world.tick.flush()
    got = {number: [offset for _, offset in outlet.received] for number, outlet in enumerate(outlets)}
    assert {number: offsets for number, offsets in got.items() if offsets} == {6: [1], 7: [2], 8: [3], 9: [3]}
    assert asked == []


def test_any_of_some_texts_is_met_only_by_these(world: Any, asked: list[Filter]) -> None:
    outlet = world.subscribe("a", filter={"any": [exact(type="x"), exact(type="y")]}).outlet
    for type in ("x", "z", "y"):
        world.publish("a", type=type)
    world.tick.flush()
    assert (outlet.received, asked) == ([("a", 1), ("a", 3)], [])


def test_filters_lie_under_the_attribute_that_tells_them_apart(world: Any, asked: list[Filter]) -> None:
    for number in range(1000):
        world.subscribe("a/**", filter=exact(type="order", subject=f"s{number}"))
    world.publish("a/1", type="order")
    world.tick.flush()
    assert len(asked) <= 2


@pytest.mark.parametrize("pattern", ["a/**", "a/1"])
def test_filters_that_every_event_would_be_asked_are_refused_in_time(world: Any, pattern: str) -> None:
    held = [world.subscribe(pattern, filter=without(type=f"x{number}")) for number in range(MAX_COST)]
    before, outlet = world.router.snapshot(), world.outlet()
    for filter in ({"any": [exact(type="y"), exact(subject="y")]}, without(type="y")):
        with pytest.raises(FiltersTooCostly, match="require an exact text"):
            world.router.check_filter("a", check_pattern(pattern), read(filter))
        with pytest.raises(FiltersTooCostly):
            world.subscribe(pattern, outlet, filter=filter)
    assert world.router.snapshot() == before
    world.subscribe(pattern, filter=[exact(type="y"), without(subject="z")])  # lies under a text
    world.subscribe(pattern, filter=without(type="x7"))  # one that is there already costs nothing more
    world.router.unsubscribe(held[0])
    world.subscribe(pattern, outlet, filter=without(type="y"))


def test_what_was_taken_before_comes_back_whatever_it_costs(world: Any) -> None:
    for number in range(MAX_COST):
        world.subscribe("a/**", filter=without(type=f"x{number}"))
    late = world.subscribe("a/**", filter=without(type="x1"))
    world.router.unsubscribe(late)
    late.filter = read(without(type="y"))
    world.router.subscribe(late, is_admitted=True)
    world.publish("a/1", type="y")
    world.publish("a/1", type="x")
    world.tick.flush()
    assert late.outlet.received == [("a/1", 2)]
    with pytest.raises(FiltersTooCostly):
        world.subscribe("a/**", filter=without(type="z"))


def test_wildcards_of_a_relay_are_counted_together_and_concrete_addresses_each_for_itself(world: Any) -> None:
    for number in range(MAX_COST):
        world.subscribe(f"a/{number % 2 or '*'}/**", filter=without(type=f"x{number}"))
    with pytest.raises(FiltersTooCostly):
        world.subscribe("a/**", filter=without(type="y"))
    world.subscribe("a/1", filter=without(type="y"))
    world.subscribe("b/**", filter=without(type="y"))


def test_filters_that_meet_at_one_text_are_bounded_too(world: Any, asked: list[Filter]) -> None:
    """Whoever makes 10,000 that all require the same is refused before an event would meet them all."""
    taken = until_refused(
        lambda number: world.subscribe("a/**", filter=[exact(type="x"), without(subject=f"s{number}")])
    )
    assert 0 < taken < 10_000
    world.publish("a/1", type="x")
    world.tick.flush()
    assert sum(filter.cost for filter in asked) <= MAX_COST + MAX_VALUE_COST


def test_attributes_to_look_up_are_bounded(world: Any, asked: list[Filter]) -> None:
    sieve = Sieve("a", check_pattern("a/**"), Load())

    def insert(number: int) -> None:
        filter = read(exact(**{f"a{number}": "x"}))
        sieve.check(filter)
        sieve._insert(filter)

    assert until_refused(insert) < 10_000

    class Counted(Attributes):
        looked_up = 0

        def __getitem__(self, name: str) -> str:
            self.looked_up += 1
            return super().__getitem__(name)

    attributes = Counted(Event("a", 1, "", b""))
    assert sieve.passed(attributes) == []
    assert attributes.looked_up == MAX_COST + MAX_PROBES


def test_cycles_of_fresh_filters_leave_nothing(world: Any) -> None:
    router: Router = world.router
    keep = world.subscribe("a/**", filter=exact(type="kept"))
    plan = router.plan("a", "a/1")
    sieve, load = plan.sieves[0], router._interests["a"].load
    for number in range(2000):
        for filter in (
            exact(type=f"t{number}"),
            exact(type="t", subject=f"s{number}"),
            {"any": [exact(type=f"t{number}"), exact(type=f"u{number}")]},
            {"prefix": {f"a{number}": "x"}},
            without(type=f"t{number}"),
        ):
            router.unsubscribe(world.subscribe("a/**", filter=filter))
    assert (len(sieve._cohorts), len(sieve._asked), len(sieve._indexed[Probe("exact", "type")])) == (1, 0, 1)
    router.unsubscribe(keep)
    assert (sieve._cohorts, sieve._indexed, sieve.everybody.outlets()) == ({}, {}, [])
    assert load is not None
    assert (load._rest, load._probes, load._values) == (0, {}, {})
    assert plan.sieves == ()
    assert router.is_empty


def test_cached_plans_follow_filtered_subscriptions(world: Any) -> None:
    plan = world.router.plan("a", "a/x")
    wide = world.subscribe("a/**", filter=exact(type="x"))
    near = world.subscribe("a/x", filter=exact(type="x"))
    assert world.router.plan("a", "a/x") is plan
    assert (len(plan.sieves), plan.size) == (2, 2)
    world.publish("a/x", type="x")
    world.tick.flush()
    assert wide.outlet.received == near.outlet.received == [("a/x", 1)]
    world.router.unsubscribe(wide)
    world.router.leave(near.outlet)
    assert world.router.plan("a", "a/x") is plan
    assert (plan.sieves, plan.size) == ((), 0)
    assert world.router.is_empty


def test_each_distinct_permission_check_is_asked_once_for_all_filters_of_a_pattern(world: Any) -> None:
    gates: list[str] = []

    def gate(address: str) -> bool:
        gates.append(address)
        return True

    for number in range(1000):
        subscription = world.subscribe("a/**", filter=exact(type=f"t{number}"))
        world.router.unsubscribe(subscription)
        subscription.may_receive = gate
        world.router.subscribe(subscription)
    world.router.plan("a", "a/x")
    assert gates == ["a/x"]


def test_receipts_count_only_who_is_due_the_event_after_permission_and_filter(world: Any) -> None:
    """W11: five matched, one over its budget, one filtered; the filtered one is not matched, nor the forbidden one."""
    outlets = [world.subscribe("a/**", filter=exact(type="x")).outlet for _ in range(3)]
    outlets += [world.subscribe("a/b").outlet, world.subscribe("a/*", filter={"prefix": {"type": "x"}}).outlet]
    filtered = world.subscribe("a/**", filter=exact(type="y")).outlet
    denied = world.outlet()
    denied.denied.add("a/b")
    world.subscribe("a/**", denied, filter=exact(type="x"))
    outlets[0].verdict = Verdict.DROPPED
    number = world.publish("a/b", type="x")
    world.tick.flush()
    assert world.receipts[number] == Receipt(matched=5, queued=4, behind=0, dropped=1)
    assert (filtered.offers, denied.offers, outlets[0].skips) == (0, 0, [("a", 1, 1)])


def test_one_outlet_with_a_filtered_and_a_plain_subscription_gets_one_copy(world: Any) -> None:
    """W02."""
    session = world.outlet()
    world.subscribe("a/**", session, filter=exact(type="x"))
    world.subscribe("a/*", session, filter=exact(type="y"))
    world.subscribe("a/1", session)
    number = world.publish("a/1", type="x")
    world.publish("a/2", type="y")
    world.publish("a/2", type="z")
    world.tick.flush()
    assert session.received == [("a/1", 1), ("a/2", 2)]
    assert world.receipts[number] == Receipt(1, 1, 0, 0)
