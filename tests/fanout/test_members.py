"""The fair choice of a member, and the home of a key."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from fanout.members import Member, Members

KEYS = [f"key-{n}" for n in range(300)]


def anybody(member: Member) -> bool:
    return True


def make(count: int, credit: int | None = None) -> tuple[Members, list[Member]]:
    members = Members()
    found = [Member(anywhere, lambda: True, credit) for _ in range(count)]
    for member in found:
        members.add(member)
    return members, found


def anywhere(address: str) -> bool:
    return True


def test_who_has_least_in_flight_is_next_and_then_who_waits_longest() -> None:
    members, (a, b, c) = make(3)
    order = []
    for _ in range(6):
        chosen = members.choose(anybody)
        assert chosen is not None
        members.charge(chosen, stays=True)
        order.append(chosen)
    assert order == [a, b, c, a, b, c]
    members.discharge(b)
    assert members.choose(anybody) is b


def test_who_has_no_credit_gets_nothing_until_it_comes_back() -> None:
    members, (only,) = make(1, credit=1)
    members.charge(only, stays=True)
    assert not members.can_take
    assert members.choose(anybody) is None
    members.discharge(only)
    assert members.choose(anybody) is only


def test_who_is_slow_gets_nothing_until_it_is_told_of() -> None:
    is_ready = False
    members = Members()
    slow = Member(anywhere, lambda: is_ready)
    members.add(slow)
    assert members.choose(anybody) is None
    is_ready = True
    assert members.choose(anybody) is None
    members.wake(slow)
    assert members.choose(anybody) is slow


@given(st.integers(2, 9), st.data())
def test_a_key_moves_only_when_its_home_goes(count: int, data: st.DataObject) -> None:
    members, found = make(count)
    before = {key: members.home(key, anybody) for key in KEYS}
    gone = data.draw(st.sampled_from(found))
    members.remove(gone)
    after = {key: members.home(key, anybody) for key in KEYS}
    assert all(after[key] is before[key] for key in KEYS if before[key] is not gone)
    assert gone not in after.values()


def test_keys_are_spread_over_all() -> None:
    members, found = make(5)
    homes = Counter(members.home(key, anybody) for key in KEYS)
    assert set(homes) == set(found)
    assert max(homes.values()) < 3 * min(homes.values())


def test_a_key_whose_home_may_not_receive_an_event_goes_to_the_next() -> None:
    members, found = make(4)
    home = members.home("k", anybody)
    other = members.home("k", lambda member: member is not home)
    assert other in set(found) - {home}
    assert members.home("k", lambda member: False) is None


@given(st.lists(st.integers(0, 4), max_size=400))
def test_stale_places_are_cleared_away(turns: list[int]) -> None:
    members, found = make(5)
    for turn in turns:
        members.charge(found[turn], stays=True)
        members.discharge(found[turn])
    assert len(members._queue) <= 64 + 4 * 5 + 1
    assert members.choose(anybody) is not None


def test_equal_gates_are_one_permission() -> None:
    members, (a, b) = make(2)
    c = Member(lambda address: address == "x", lambda: True)
    assert members.add(c)
    assert members.permits("anything")
    assert not members.remove(a)
    assert members.remove(b)
    assert (members.permits("x"), members.permits("y")) == (True, False)
    members.regate(c, anywhere)
    assert members.permits("y")
    assert all(one is not other for one, other in combinations(members.all(), 2))
