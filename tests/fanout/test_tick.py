"""Ticks: one write per connection, shared bytes, order, receipts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.event import Event
from fanout.subscription import Subscription, Verdict
from fanout.tick import Receipt


def test_tick_is_scheduled_once_and_written_when_the_loop_comes_round(world: Any) -> None:
    outlet = world.subscribe("a/**").outlet
    world.publish("a/1")
    world.publish("a/2")
    assert (len(world.scheduled), outlet.writes) == (1, [])
    world.step()
    assert outlet.writes == [b"a/1 1\na/2 2\n"]
    assert world.tick.is_idle
    assert world.scheduled == []


def test_exclusive_outlets_of_a_plan_share_the_very_same_bytes_whatever_lies_between(world: Any) -> None:
    outlets = [world.subscribe("a/x", is_exclusive=True).outlet for _ in range(50)]
    other = world.subscribe("a/y", is_exclusive=True).outlet
    for address in ("a/x", "a/y", "a/x", "a/y", "a/x"):
        world.publish(address)
    world.tick.flush()
    assert outlets[0].writes == [b"a/x 1\na/x 3\na/x 5\n"]
    assert all(len(outlet.writes) == 1 and outlet.writes[0] is outlets[0].writes[0] for outlet in outlets)
    assert other.writes == [b"a/y 2\na/y 4\n"]
    assert (world.encoding.encoded, world.encoding.joined) == (5, 2)


def test_ordered_outlets_with_the_same_events_share_bytes_and_get_one_write(world: Any) -> None:
    wide = [world.subscribe("a/**").outlet for _ in range(20)]
    session = world.outlet()
    for pattern in ("a/x", "a/y", "b/**"):
        world.subscribe(pattern, session)
    for address in ("a/x", "b/1", "a/z", "a/y", "a/x"):
        world.publish(address)
    world.tick.flush()
    assert wide[0].writes == [b"a/x 1\na/z 2\na/y 3\na/x 4\n"]
    assert all(outlet.writes[0] is wide[0].writes[0] for outlet in wide)
    assert session.writes == [b"a/x 1\nb/1 1\na/y 3\na/x 4\n"]
    assert session.offers == 1
    assert world.encoding.encoded == 5


def test_events_of_several_patterns_lie_in_order_however_far_apart(world: Any) -> None:
    session = world.outlet()
    for pattern in ("a/x", "a/y"):
        world.subscribe(pattern, session)
    world.subscribe("a/z")
    for index in range(200):
        world.publish({1: "a/x", 40: "a/y", 100: "a/x", 161: "a/y"}.get(index, "a/z"))
    world.tick.flush()
    assert session.received == [("a/x", 2), ("a/y", 41), ("a/x", 101), ("a/y", 162)]


def test_outlets_of_two_encodings_get_their_own_bytes(new_world: Any) -> None:
    world, elsewhere = new_world(), new_world()
    left, right = world.subscribe("a").outlet, world.subscribe("a", elsewhere.outlet()).outlet
    world.publish("a")
    world.tick.flush()
    assert left.writes == right.writes
    assert (world.encoding.encoded, elsewhere.encoding.encoded) == (1, 1)


def test_overlapping_subscriptions_of_one_outlet_give_one_copy_and_count_once(world: Any) -> None:
    """W02."""
    session = world.outlet()
    for pattern in ("a/b/c", "a/*/c", "a/**", "a/**"):
        world.subscribe(pattern, session)
    number = world.publish("a/b/c")
    world.tick.flush()
    assert session.received == [("a/b/c", 1)]
    assert world.receipts[number] == Receipt(1, 1, 0, 0)


def test_receipt_adds_up_with_one_over_its_budget_and_one_not_permitted(world: Any) -> None:
    """W11: 5 matched, 1 over its cap, 1 filtered; the filtered one is not matched."""
    outlets = [world.subscribe("a/**").outlet for _ in range(4)] + [world.subscribe("a/b", is_exclusive=True).outlet]
    denied = world.outlet()
    denied.denied.add("a/b")
    world.subscribe("a/**", denied)
    outlets[0].verdict = Verdict.DROPPED
    outlets[1].verdict = Verdict.BEHIND
    number = world.publish("a/b")
    world.tick.flush()
    assert world.receipts[number] == Receipt(matched=5, queued=3, behind=1, dropped=1)
    assert outlets[0].skips == [("a", 1, 1)]
    assert (outlets[0].writes, outlets[1].writes, outlets[1].skips, denied.offers) == ([], [], [("a", 1, 1)], 0)


def test_dropped_events_are_told_as_one_span_per_relay(world: Any) -> None:
    session = world.outlet()
    session.verdict = Verdict.DROPPED
    world.subscribe("a/**", session)
    world.subscribe("b/**", session)
    for address in ("a/1", "b/1", "a/2", "a/3"):
        world.publish(address)
    world.tick.flush()
    assert session.skips == [("a", 1, 3), ("b", 1, 1)]


def test_event_that_nobody_wants_gets_a_receipt_of_zeros_and_needs_no_tick_without_one(world: Any) -> None:
    """W11."""
    number = world.publish("a")
    world.step()
    assert world.receipts[number] == Receipt(0, 0, 0, 0)
    world.tick.publish(world.router.plan("a", "a"), world.published[0])
    assert world.tick.is_idle


def test_receipts_come_after_the_writes_of_their_tick(world: Any) -> None:
    """W11."""
    outlet = world.subscribe("a/**").outlet
    told: list[int] = []
    outlet.on_write = lambda: told.append(len(world.receipts))
    world.publish("a/1")
    world.publish("a/2")
    world.step()
    assert told == [0]
    assert list(world.receipts) == [0, 1]


def test_sweep_is_sliced_and_the_next_tick_queues_behind_it(new_world: Any) -> None:
    world = new_world(slice_size=3)
    outlets = [world.subscribe("a/**").outlet for _ in range(8)]
    first = world.publish("a/1")
    world.step()
    assert [len(outlet.writes) for outlet in outlets] == [1] * 3 + [0] * 5
    second = world.publish("a/2")
    world.step()
    world.step()
    assert [len(outlet.writes) for outlet in outlets] == [1] * 8
    assert list(world.receipts) == [first]
    while world.scheduled:
        world.step()
    assert all(outlet.received == [("a/1", 1), ("a/2", 2)] for outlet in outlets)
    assert world.receipts[second] == Receipt(8, 8, 0, 0)


def test_flush_finishes_an_unfinished_sweep_first(new_world: Any) -> None:
    world = new_world(slice_size=1)
    outlets = [world.subscribe("a/**").outlet for _ in range(4)]
    world.publish("a/1")
    world.step()
    world.publish("a/2")
    world.tick.flush()
    assert world.tick.is_idle
    assert all(outlet.received == [("a/1", 1), ("a/2", 2)] for outlet in outlets)


@pytest.mark.parametrize(("options", "payload"), [({"max_events": 4}, b""), ({"max_bytes": 400}, bytes(100))])
def test_tick_is_flushed_inline_when_it_is_full(new_world: Any, options: dict[str, int], payload: bytes) -> None:
    world = new_world(**options)
    outlet = world.subscribe("a/**").outlet
    for _ in range(3):
        world.publish("a", payload)
    assert outlet.writes == []
    world.publish("a", payload)
    assert len(outlet.received) == 4


def test_publishing_from_within_a_write_goes_out_after_it(new_world: Any) -> None:
    world = new_world(max_events=1)
    outlet, other = world.subscribe("a").outlet, world.subscribe("b").outlet
    outlet.on_write = lambda: world.publish("b") and None
    world.publish("a")
    assert (len(outlet.writes), other.received) == (1, [("b", 1)])
    assert world.tick.is_idle


def test_outlet_that_raises_keeps_nothing_from_the_others(world: Any) -> None:
    outlets = [world.subscribe("a").outlet for _ in range(3)]

    def fail() -> None:
        raise RuntimeError("broken outlet")

    outlets[1].on_write = fail
    world.publish("a")
    with pytest.raises(RuntimeError, match="broken"):
        world.tick.flush()
    world.step()
    assert [len(outlet.writes) for outlet in outlets] == [1, 1, 1]
    assert world.tick.is_idle


def test_what_cannot_be_encoded_reaches_nobody_and_harms_no_others(world: Any) -> None:
    class Broken(type(world.encoding)):  # type: ignore[misc]
        def encode(self, event: Any) -> bytes:
            raise RuntimeError("broken encoding")

    outlets = [world.subscribe("a/x").outlet for _ in range(2)]
    encoding = Broken()
    broken = [world.subscribe("a/y", world.outlet(encoding)).outlet for _ in range(3)]
    last = [world.subscribe("a/z").outlet for _ in range(2)]
    numbers = [world.publish(address) for address in ("a/x", "a/y", "a/z")]
    with pytest.raises(RuntimeError, match="broken encoding"):
        world.tick.flush()
    while world.scheduled:
        world.step()
    assert [outlet.received for outlet in outlets + last] == [[("a/x", 1)]] * 2 + [[("a/z", 3)]] * 2
    assert [outlet.writes for outlet in broken] == [[]] * 3
    assert world.receipts[numbers[1]] == Receipt(3, 0, 0, 3)
    assert world.receipts[numbers[0]] == world.receipts[numbers[2]] == Receipt(2, 2, 0, 0)


@pytest.mark.parametrize("verdict", [Verdict.BEHIND, Verdict.DROPPED])
def test_nothing_is_encoded_for_those_who_take_nothing(world: Any, verdict: Verdict) -> None:
    outlets = [world.subscribe("a/**").outlet for _ in range(3)]
    for outlet in outlets:
        outlet.verdict = verdict
    world.publish("a/x")
    world.tick.flush()
    assert world.encoding.encoded == 0
    outlets[2].verdict = Verdict.QUEUED
    world.publish("a/x")
    world.tick.flush()
    assert (world.encoding.encoded, outlets[2].received) == (1, [("a/x", 2)])


def test_removed_outlet_gets_nothing_more_in_the_middle_of_a_sweep(new_world: Any) -> None:
    """W11: what it lost counts as dropped, so the receipt still adds up."""
    world = new_world(slice_size=1)
    subscriptions = [world.subscribe("a/**") for _ in range(4)]
    number = world.publish("a/1")
    world.step()
    world.router.unsubscribe(subscriptions[2])
    world.router.leave(subscriptions[3].outlet)
    world.tick.flush()
    assert [len(s.outlet.writes) for s in subscriptions] == [1, 1, 0, 0]
    assert world.receipts[number] == Receipt(4, 2, 0, 2)


def test_outlets_that_leave_from_within_a_write_get_nothing_more(world: Any) -> None:
    subscriptions = [world.subscribe("a/**") for _ in range(3)]
    subscriptions[0].outlet.on_write = lambda: world.router.leave(subscriptions[2].outlet)
    world.publish("a/1")
    world.tick.flush()
    assert [len(s.outlet.writes) for s in subscriptions] == [1, 1, 0]


def test_session_that_ends_one_of_two_subscriptions_mid_sweep_gets_only_the_other(new_world: Any) -> None:
    world = new_world(slice_size=1)
    world.subscribe("a/x")
    session = world.outlet()
    ended = world.subscribe("a/x", session)
    world.subscribe("a/y", session)
    lost, kept = world.publish("a/x"), world.publish("a/y")
    world.step()
    world.router.unsubscribe(ended)
    world.tick.flush()
    assert session.received == [("a/y", 2)]
    assert world.receipts[lost] == Receipt(2, 1, 0, 1)
    assert world.receipts[kept] == Receipt(1, 1, 0, 0)


def test_narrowed_permission_takes_effect_on_what_this_tick_already_holds(world: Any) -> None:
    session = world.subscribe("a/**").outlet
    world.publish("a/x")
    world.publish("a/y")
    session.denied.add("a/x")
    world.router.refresh(session)
    world.tick.flush()
    assert session.received == [("a/y", 2)]


PATTERNS = ["a", "a/x", "a/y", "a/*", "a/**", "a/x/**", "a/*/z", "b", "b/**", "b/x"]
ADDRESSES = ["a", "a/x", "a/y", "a/x/z", "a/q/z", "b", "b/x"]
TYPES = [None, "x", "y", "xy"]
FILTERS: list[Any] = [
    *(None, None, None),
    {"exact": {"type": "x"}},
    [{"exact": {"type": "x"}}],  # the same
    {"any": [{"exact": {"type": "x"}}, {"exact": {"type": "y"}}]},
    {"all": [{"exact": {"type": "xy"}}, {"prefix": {"fanwayaddress": "a"}}]},
    {"exact": {"type": "y", "fanwayaddress": "a/x"}},
    {"prefix": {"type": "x"}},
    {"not": {"suffix": {"type": "y"}}},
]
STEPS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(ADDRESSES), st.sampled_from(TYPES)),
    st.tuples(st.just("publish"), st.sampled_from(ADDRESSES), st.sampled_from(TYPES)),
    st.tuples(st.just("subscribe"), st.sampled_from(PATTERNS), st.integers(0, 3), st.sampled_from(FILTERS)),
    st.tuples(st.just("exclusive"), st.sampled_from(PATTERNS), st.sampled_from(FILTERS)),
    st.tuples(st.just("unsubscribe"), st.integers(0, 40), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 10)),
    st.tuples(st.just("deny"), st.integers(0, 10), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("allow"), st.integers(0, 10), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("verdict"), st.integers(0, 10), st.sampled_from(Verdict)),
    st.tuples(st.just("step")),
    st.tuples(st.just("step")),
    st.tuples(st.just("flush")),
)


class Model:
    """Who is due what, the naive way: every subscription asked for every event."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.outlets: list[Any] = [world.outlet() for _ in range(4)]
        self.subscriptions: list[Subscription] = []
        self.due: dict[Any, list[int]] = {}
        self.matched: list[int] = []
        self.ever_slow: set[Any] = set()

    def accepts(self, outlet: Any, event: Event) -> bool:
        return any(s.outlet is outlet and s.accepts(event, 0.0) for s in self.subscriptions)

    def publish(self, address: str, type: str | None) -> None:
        event = self.world.published[self.world.publish(address, type=type)]
        takers = [outlet for outlet in self.outlets if self.accepts(outlet, event)]
        for outlet in takers:
            self.due.setdefault(outlet, []).append(len(self.matched))
        self.matched.append(len(takers))

    def narrowed(self, outlet: Any) -> None:
        """Called after a change: what it is no longer due and has not got by now, it must never get."""
        got = set(outlet.received)
        self.due[outlet] = [n for n in self.due.get(outlet, []) if self.place(n) in got or self.still_due(outlet, n)]

    def still_due(self, outlet: Any, number: int) -> bool:
        return self.accepts(outlet, self.world.published[number])

    def place(self, number: int) -> tuple[str, int]:
        event = self.world.published[number]
        return event.address, event.offset

    def apply(self, kind: str, *arguments: Any) -> None:
        world = self.world
        if kind == "publish":
            self.publish(*arguments)
        elif kind == "subscribe":
            pattern, number, filter = arguments
            self.subscriptions.append(world.subscribe(pattern, self.outlets[number], filter=filter))
        elif kind == "exclusive":
            self.outlets.append(world.outlet())
            pattern, filter = arguments
            self.subscriptions.append(world.subscribe(pattern, self.outlets[-1], is_exclusive=True, filter=filter))
        elif kind == "unsubscribe" and self.subscriptions:
            index, is_flushed = arguments
            if is_flushed:
                world.tick.flush()
            subscription = self.subscriptions.pop(index % len(self.subscriptions))
            world.router.unsubscribe(subscription)
            self.narrowed(subscription.outlet)
        elif kind == "step":
            world.step()
        elif kind == "flush":
            world.tick.flush()
        elif arguments:
            self.apply_to_outlet(kind, self.outlets[arguments[0] % len(self.outlets)], *arguments[1:])

    def apply_to_outlet(self, kind: str, outlet: Any, *arguments: Any) -> None:
        world = self.world
        if kind == "leave":
            self.subscriptions = [s for s in self.subscriptions if s.outlet is not outlet]
            world.router.leave(outlet)
            self.narrowed(outlet)
        elif kind == "deny":
            outlet.denied.add(arguments[0])
            world.router.refresh(outlet)
            self.narrowed(outlet)
        elif kind == "allow":
            world.tick.flush()
            outlet.denied.discard(arguments[0])
            world.router.refresh(outlet)
        elif kind == "verdict":
            outlet.verdict = arguments[0]
            self.ever_slow.add(outlet)

    def check(self) -> None:
        world = self.world
        for outlet in self.outlets:
            due = [self.place(number) for number in self.due.get(outlet, [])]
            for relay in "ab":
                offsets = [offset for address, offset in outlet.received if address.startswith(relay)]
                assert offsets == sorted(set(offsets))
            if outlet in self.ever_slow:
                assert [place for place in due if place in outlet.received] == outlet.received
            else:
                assert outlet.received == due
        assert len(world.receipts) == len(self.matched)
        for number, matched in enumerate(self.matched):
            receipt = world.receipts[number]
            finally_due = sum(number in numbers for numbers in self.due.values())
            assert receipt.matched == receipt.queued + receipt.behind + receipt.dropped
            assert receipt.queued == sum(self.place(number) in outlet.received for outlet in self.outlets)
            assert finally_due <= receipt.matched <= matched


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(1, 5), st.integers(1, 6), st.sampled_from([0, 2, 256]))
def test_every_outlet_gets_exactly_what_is_matched_and_permitted_once_and_in_order(
    new_world: Any, steps: list[tuple[Any, ...]], slice_size: int, max_events: int, patch_limit: int
) -> None:
    """W01, W02, W11: against a naive model, whatever the interleaving."""
    world = new_world(slice_size=slice_size, max_events=max_events, patch_limit=patch_limit, plan_limit=8)
    model = Model(world)
    for step in steps:
        model.apply(*step)
    while world.scheduled:
        world.step()
    model.check()
    for outlet in model.outlets:
        world.router.leave(outlet)
    assert world.router.is_empty


PLACES = st.tuples(st.sampled_from(["a", "a/x", "a/y", "a/z"]), st.sampled_from(TYPES))


@given(st.lists(st.lists(PLACES, min_size=1, max_size=9)), st.integers(1, 6))
def test_events_of_several_addresses_at_once_reach_whom_they_reach_one_by_one(
    new_world: Any, batches: list[list[tuple[str, str | None]]], max_events: int
) -> None:
    received = []
    for at_once in (True, False):
        world = new_world(max_events=max_events)
        outlets = [world.subscribe(pattern, is_exclusive=pattern != "a/y").outlet for pattern in ("a/**", "a/x", "a/y")]
        world.subscribe("a/x", outlets[2])
        outlets += [world.subscribe("a/*", filter=filter).outlet for filter in FILTERS]
        denied = world.outlet()
        denied.denied.add("a/x")
        world.subscribe("a/**", denied)
        for places in batches:
            if at_once:
                world.publish_all(places)
            else:
                for address, type in places:
                    world.publish(address, type=type)
        world.tick.flush()
        received.append([outlet.received for outlet in (*outlets, denied)])
    assert received[0] == received[1]


RUNS = st.lists(
    st.tuples(st.sampled_from(["a/x", "a/y", "b"]), st.lists(st.sampled_from(TYPES), min_size=1, max_size=4)),
    max_size=12,
)


@given(RUNS, st.integers(1, 6))
def test_a_run_reaches_whom_its_events_reach_one_by_one(
    new_world: Any, runs: list[tuple[str, list[str | None]]], max_events: int
) -> None:
    received = []
    for publishes_runs in (True, False):
        world = new_world(max_events=max_events)
        patterns = ("a/**", "a/x", "a/y", "b")
        outlets = [world.subscribe(pattern, is_exclusive=pattern == "a/x").outlet for pattern in patterns]
        world.subscribe("b", outlets[0])
        outlets += [world.subscribe("a/**", filter=filter, is_exclusive=True).outlet for filter in FILTERS]
        for address, types in runs:
            if publishes_runs:
                world.publish_run(address, types)
            else:
                for type in types:
                    world.publish(address, type=type)
        world.tick.flush()
        received.append([outlet.received for outlet in outlets])
    assert received[0] == received[1]
