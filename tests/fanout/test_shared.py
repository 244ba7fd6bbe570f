"""A shared subscription against a naive model of it, and the cases that people ask about."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from fanout.event import Event
from fanout.members import Member
from fanout.shared import Pending, Pool, Shared, State, Terms

PLENTY = 1 << 20
START = State(0, {})


def event(offset: int, address: str = "a", key: str | None = None, **members: Any) -> Event:
    attributes = {} if key is None else {"partitionkey": key}
    return Event(address, offset, "", b"x", attributes=attributes, **members)


def everywhere(address: str) -> bool:
    return True


def member(credit: int | None = None, gate: Callable[[str], bool] = everywhere, **about: Any) -> Member:
    return Member(gate, lambda: True, credit, **about)


def durable(state: State = START, **terms: Any) -> Shared:
    return Shared(Terms(True, **terms), state)


def group(key: str | None = None) -> Shared:
    return Shared(Terms(False, key), START)


def take(shared: Shared, *offsets: int, **about: Any) -> None:
    shared.take([event(offset, **about) for offset in offsets], max(offsets))


def deal(shared: Shared, now: float = 0.0) -> list[tuple[Member, int]]:
    """Who gets what, by offset."""
    given = shared.assign(now, 0.0, PLENTY)
    return [(who, each.event.offset) for who, pending in given.items() for each in pending]


def numbers(shared: Shared, now: float = 0.0) -> dict[int, int]:
    """What is given now: the number of each delivery by the offset of its event."""
    given = shared.assign(now, 0.0, PLENTY)
    return {each.event.offset: each.number for pending in given.values() for each in pending}


def test_what_pends_is_bounded_for_all_together_and_each_goes_on() -> None:
    pool = Pool(3)
    one, two = (Shared(Terms(True), START, pool) for _ in range(2))
    for shared in (one, two):
        shared.join(member())
    take(one, 1, 2, 3)
    assert (one.room, two.room > 0) == (0, True)
    take(two, 1)
    given = numbers(one) | numbers(two)
    assert (two.room, pool.held, len(given)) == (0, 4, 3)
    one.close()
    assert (pool.held, two.room > 0) == (1, True)
    one.ack(one.members.all()[0], 1)
    two.seek(0)
    assert pool.held == 0


class Model(RuleBasedStateMachine):
    """Events come, members come and go, deliveries end in every way; nothing is lost, doubled or mixed up."""

    members = Bundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.head = 0
        self.terms = Terms(True, "partitionkey", ack_wait=10.0, max_deliveries=4, window=20)
        self.shared = Shared(self.terms, START)
        self.settled: set[int] = set()
        self.attempts: dict[int, int] = {}
        self.here: list[Member] = []
        self.under_way: dict[int, tuple[Member, Pending]] = {}

    @rule(target=members, credit=st.one_of(st.none(), st.integers(1, 4)), place=st.sampled_from(["", "a", "b"]))
    def join(self, credit: int | None, place: str) -> Member:
        gates = {"": everywhere, "a": "a".__eq__, "b": "b".__eq__}
        joined = member(credit, gates[place])
        self.shared.join(joined)
        self.here.append(joined)
        return joined

    @rule(gone=consumes(members))
    def leave(self, gone: Member) -> None:
        if gone in self.here:
            self.shared.leave(gone, self.now)
            self.here.remove(gone)
            self.under_way = {n: held for n, held in self.under_way.items() if held[0] is not gone}

    @rule(places=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "k", "l"]), st.booleans()), max_size=9))
    def publish(self, places: list[tuple[str, str, bool]]) -> None:
        """Some events match, some do not; as many as there is room for are taken."""
        taken, upto = [], self.shared.position
        room = self.shared.room
        for address, key, matches in places:
            if matches and len(taken) == room:
                break
            upto += 1
            if matches:
                taken.append(event(upto, address, key or None))
            else:
                self.settled.add(upto)
        self.shared.take(taken, upto)
        self.head = upto

    @rule()
    def assign(self) -> None:
        for who, dealt in self.shared.assign(self.now, 0.0, PLENTY).items():
            assert who in self.here
            offsets = [each.event.offset for each in dealt]
            assert offsets == sorted(offsets)
            for each in dealt:
                offset = each.event.offset
                assert offset not in self.settled
                assert who.gate(each.event.address)
                assert each.number not in self.under_way
                self.attempts[offset] = self.attempts.get(offset, 0) + 1
                assert each.attempts == self.attempts[offset] <= self.terms.max_deliveries
                self.under_way[each.number] = who, each

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "later", "reject", "back", "stranger"]))
    def end(self, data: st.DataObject, how: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.under_way)))
        holder, pending = self.under_way[number]
        if how == "stranger":
            assert self.shared.ack(member(), number) is None
            return
        ended = {
            "ack": lambda: self.shared.ack(holder, number),
            "nack": lambda: self.shared.nack(holder, number, self.now, 0.0, "no"),
            "later": lambda: self.shared.nack(holder, number, self.now, 5.0, "later"),
            "reject": lambda: self.shared.reject(holder, number, "never"),
            "back": lambda: self.shared.give_back(holder, number, self.now),
        }[how]()
        assert ended is pending
        del self.under_way[number]
        if how == "ack":
            self.settled.add(pending.event.offset)
        if how == "back":
            self.attempts[pending.event.offset] -= 1
        assert self.shared.ack(holder, number) is None

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        late = [number for number, (_, each) in self.under_way.items() if each.until <= self.now]
        assert self.shared.expire(self.now) == len(late)
        for number in late:
            del self.under_way[number]
        assert self.shared.next_due > self.now

    @rule()
    def bury(self) -> None:
        while self.shared.dead:
            dead = self.shared.dead.popleft()
            self.shared.bury(dead)
            self.settled.add(dead.event.offset)

    @precondition(lambda self: not self.under_way)
    @rule()
    def restart(self) -> None:
        """What was kept is all that is needed, with the stream itself, which is read again from the floor."""
        state = self.shared.state
        assert set(state.pending) == set(range(1, self.head + 1)) - self.settled
        assert state.floor == min(set(range(1, self.head + 2)) - self.settled) - 1
        pending = dict(self.shared._pending)
        self.shared = Shared(self.terms, state)
        assert self.shared.state == state
        for each in self.here:
            self.shared.join(member(None, each.gate))
        self.here = self.shared.members.all()
        again = [pending[offset].event for offset in sorted(pending)]
        self.shared.take(again, self.head)
        assert self.shared.state == state

    @invariant()
    def all_are_accounted_for(self) -> None:
        shared = self.shared
        assert set(shared._pending) == set(range(1, self.head + 1)) - self.settled
        assert {n: (each.member, each) for n, each in shared._under_way.items()} == self.under_way
        assert all(each.credit is None or each.credit >= 0 for each in self.here)
        for each in self.here:
            assert each.in_flight == sum(holder is each for holder, _ in self.under_way.values())

    def teardown(self) -> None:
        """With somebody who takes everything, everything is delivered."""
        self.bury()
        last = member()
        self.shared.join(last)
        self.here.append(last)
        for each in self.here:
            self.shared.lend(each, 100)
        for _ in range(10):
            self.wait(11.0)
            self.assign()
            for number, (holder, pending) in list(self.under_way.items()):
                assert self.shared.ack(holder, number) is pending
                self.settled.add(pending.event.offset)
                del self.under_way[number]
            self.bury()
        assert self.shared.state == State(self.head, {})


@given(st.lists(st.tuples(st.sampled_from(["publish", "join", "leave", "ack"]), st.integers(0, 5)), max_size=60))
def test_events_of_a_key_arrive_in_order_whoever_comes_and_goes(steps: list[tuple[str, int]]) -> None:
    shared, here, held = durable(key="partitionkey"), [member()], {}
    shared.join(here[0])
    offset = 0
    for what, which in steps:
        if what == "publish":
            offset += 1
            take(shared, offset, key="kl"[which % 2])
        elif what == "join":
            here.append(member(credit=3))
            shared.join(here[-1])
        elif what == "leave" and len(here) > 1:
            gone = here.pop(which % len(here))
            shared.leave(gone, 0.0)
            held = {number: given for number, given in held.items() if given[0] is not gone}
        elif what == "ack" and held:
            number = sorted(held)[which % len(held)]
            who, pending = held.pop(number)
            assert shared.ack(who, number) is pending
        for who, dealt in shared.assign(0.0, 0.0, PLENTY).items():
            held |= {each.number: (who, each) for each in dealt}
        for key in "kl":
            of_key = [(who, each.event.offset) for _, (who, each) in sorted(held.items()) if each.key == key]
            assert len({who for who, _ in of_key}) <= 1
            offsets = [found for _, found in of_key]
            assert offsets == sorted(offsets)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_each_event_goes_to_one_member_in_turn() -> None:
    shared, a, b = group(), member(), member()
    shared.join(a)
    shared.join(b)
    take(shared, 1, 2, 3, 4)
    assert sorted(deal(shared), key=lambda given: given[1]) == [(a, 1), (b, 2), (a, 3), (b, 4)]
    assert shared.state == State(4, {})


def test_what_was_under_way_to_one_that_leaves_goes_to_the_others() -> None:
    shared, a, b = durable(), member(), member()
    shared.join(a)
    take(shared, 1, 2)
    assert deal(shared) == [(a, 1), (a, 2)]
    shared.join(b)
    shared.leave(a, 0.0)
    assert deal(shared) == [(b, 1), (b, 2)]
    assert shared.state.pending == {1: 2, 2: 2}


def test_a_delivery_of_one_that_stands_for_another_outlives_it() -> None:
    shared, holder = durable(), object()
    first = member(holder=holder)
    shared.join(first)
    take(shared, 1)
    [number] = numbers(shared).values()
    shared.leave(first, 0.0)
    assert shared.ack(first, number) is None
    assert shared.ack(holder, number)
    assert shared.state == State(1, {})


def test_a_delivery_ends_by_its_deadline_and_the_next_has_another_number() -> None:
    shared, a = durable(ack_wait=30.0), member()
    shared.join(a)
    take(shared, 1)
    [first] = numbers(shared, 5.0).values()
    assert shared.next_due == 35.0
    assert shared.expire(34.9) == 0
    assert shared.expire(35.0) == 1
    assert shared.next_due == inf
    assert shared.ack(a, first) is None
    [second] = numbers(shared, 35.0).values()
    assert second != first
    assert shared.ack(a, second)


def test_credit_bounds_what_is_under_way_and_comes_back() -> None:
    shared, a = durable(), member(credit=2)
    shared.join(a)
    take(shared, 1, 2, 3, 4)
    held = numbers(shared)
    assert sorted(held) == [1, 2]
    assert shared.room == 0
    shared.ack(a, held[1])
    assert sorted(numbers(shared)) == [3]
    shared.lend(a, 1)
    assert sorted(numbers(shared)) == [4]


def test_credit_of_a_group_comes_back_only_when_it_is_lent() -> None:
    shared, a = group(), member(credit=1)
    shared.join(a)
    take(shared, 1, 2)
    assert deal(shared) == [(a, 1)]
    assert deal(shared) == []
    shared.lend(a, 5)
    assert deal(shared) == [(a, 2)]


def test_after_the_last_attempt_an_event_is_dead_with_the_reason() -> None:
    shared, a = durable(max_deliveries=2), member()
    shared.join(a)
    take(shared, 1)
    for _ in range(2):
        [number] = numbers(shared).values()
        shared.nack(a, number, 0.0, 0.0, "no stock")
    assert deal(shared) == []
    [dead] = shared.dead
    assert (dead.event.offset, dead.attempts, dead.reason) == (1, 2, "no stock")
    assert shared.state == State(1, {1: 2})  # until it is buried
    shared.bury(dead)
    assert shared.state == State(1, {})


def test_what_waits_for_one_member_holds_up_no_other() -> None:
    shared, a, b = durable(key="partitionkey"), member(credit=1), member()
    shared.join(a)
    shared.join(b)
    keys = [f"k{n}" for n in range(40)]
    of_a = [key for key in keys if shared.members.home(key, lambda _: True) is a][:3]
    [of_b, *_] = [key for key in keys if shared.members.home(key, lambda _: True) is b]
    for offset, key in enumerate([*of_a, of_b], 1):
        take(shared, offset, key=key)
    given = shared.assign(0.0, 0.0, PLENTY)
    assert [each.event.offset for each in given[a]] == [1]
    assert [each.event.offset for each in given[b]] == [4]
    shared.ack(a, given[a][0].number)
    assert deal(shared) == [(a, 2)]


def test_events_of_a_key_stay_where_some_are_under_way() -> None:
    shared, a = durable(key="partitionkey"), member()
    shared.join(a)
    take(shared, 1, key="k")
    [number] = numbers(shared).values()
    others = [member() for _ in range(20)]
    for other in others:
        shared.join(other)
    take(shared, 2, key="k")
    assert deal(shared) == [(a, 2)]
    home = shared.members.home("k", lambda _: True)
    assert home is not a
    shared.ack(a, number)
    shared.leave(a, 0.0)
    take(shared, 3, key="k")
    assert deal(shared) == [(home, 2), (home, 3)]


def test_what_nobody_may_receive_waits_in_a_durable_and_is_passed_over_in_a_group() -> None:
    kept, passed = durable(), group()
    for shared in (kept, passed):
        shared.join(member(gate="a".__eq__))
        take(shared, 1, address="b")
        take(shared, 2)
        assert [offset for _, offset in deal(shared)] == [2]
        late = member()
        shared.join(late)
        assert deal(shared) == ([(late, 1)] if shared is kept else [])


def test_an_event_whose_time_is_over_is_passed_over() -> None:
    shared, a = durable(), member()
    shared.join(a)
    shared.take([event(1, expires_at=50.0), event(2, expires_at=70.0)], 2)
    given = shared.assign(0.0, 60.0, PLENTY)
    assert [each.event.offset for each in given[a]] == [2]
    assert shared.state.pending == {2: 1}


def test_what_is_lost_in_the_stream_is_pending_no_more() -> None:
    shared = durable(State(9, {4: 1, 7: 2}))
    assert (shared.position, shared.state.floor) == (3, 3)
    assert shared.skip(5) == 1
    shared.join(member())
    take(shared, 6, 7, 8, 9, 10)
    assert shared.state.pending == {7: 2, 10: 0}


def test_seeking_forgets_what_was_pending() -> None:
    shared, a = durable(), member(credit=1)
    shared.join(a)
    take(shared, 1, 2)
    [number] = numbers(shared).values()
    shared.seek(7)
    assert shared.state == State(7, {})
    assert shared.ack(a, number) is None
    assert (a.credit, a.in_flight) == (1, 0)
    take(shared, 8)
    assert deal(shared) == [(a, 8)]


def test_a_thousand_members_share_evenly_under_churn() -> None:
    shared = group()
    members = [member() for _ in range(1000)]
    for each in members:
        shared.join(each)
    seen: dict[Member, int] = dict.fromkeys(members, 0)
    offset = 0
    for gone in members[:500]:
        take(shared, *range(offset + 1, offset + 5))
        offset += 4
        for who, _ in deal(shared):
            seen[who] += 1
        shared.leave(gone, 0.0)
    assert sum(seen.values()) == offset
    assert max(seen[each] for each in members[500:]) <= 1 + min(seen[each] for each in members[500:])
