"""Listeners: the longest whole-segment prefix, and fairness among equals."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.address import Pattern, check_pattern
from fanout.roster import Roster


def roster_with(*places: tuple[str, str, str]) -> Roster[str]:
    roster: Roster[str] = Roster(random.Random(1).randrange)
    for place in places:
        roster.add(*place)
    return roster


def test_listener_at_the_longest_prefix_is_chosen() -> None:
    roster = roster_with(("shop", "shop", "wide"), ("shop", "shop/price", "narrow"))
    assert roster.choose("shop", "shop/price/eur") == "narrow"
    assert roster.choose("shop", "shop/price") == "narrow"
    assert roster.choose("shop", "shop/stock") == "wide"
    assert roster.choose("shop", "shop") == "wide"


def test_listener_is_chosen_by_whole_segments_only() -> None:
    """W04."""
    roster = roster_with(("shop", "shop/a", "a"))
    assert roster.choose("shop", "shop/admin") is None
    assert roster.choose("shop", "shop") is None


def test_listener_of_one_relay_is_not_chosen_for_another() -> None:
    """S22: the relay is part of the key, not of a joined text."""
    roster = roster_with(("a", "a/b", "outer"))
    assert roster.choose("a/b", "a/b") is None
    assert roster.count("a/b") == 0
    assert roster.listeners("a") == ["outer"]


def test_listeners_are_counted_at_their_own_address() -> None:
    roster = roster_with(("a", "a", "one"), ("a", "a/b", "two"), ("a", "a/b", "three"))
    assert [roster.count_at("a", address) for address in ("a", "a/b", "a/c")] == [1, 2, 0]
    assert roster.count_at("b", "b") == 0


def test_only_relays_with_a_listener_are_told() -> None:
    roster = roster_with(("a", "a", "one"), ("a", "a/b", "two"), ("b", "b", "three"))
    assert set(roster.relay_keys()) == {"a", "b"}
    roster.remove("one")
    roster.remove("three")
    assert set(roster.relay_keys()) == {"a"}


def test_choice_is_fair_among_equals() -> None:
    names = [f"listener {n}" for n in range(10)]
    roster = roster_with(*(("shop", "shop", name) for name in names))
    roster.remove(names.pop(3))
    counts = Counter(roster.choose("shop", "shop/x") for _ in range(9000))
    assert set(counts) == set(names)
    assert all(800 < count < 1200 for count in counts.values())


def test_listener_is_enrolled_at_one_place() -> None:
    roster = roster_with(("shop", "shop", "one"))
    with pytest.raises(ValueError, match="already"):
        roster.add("shop", "shop/x", "one")


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["r", "r/a", "r/a/b"])), max_size=60))
def test_roster_equals_a_naive_model_through_adds_and_removes(steps: list[tuple[int, str]]) -> None:
    roster: Roster[int] = Roster(lambda n: n - 1)
    model: dict[int, str] = {}
    for listener, address in steps:
        if listener in model:
            roster.remove(listener)
            del model[listener]
        else:
            roster.add("r", address, listener)
            model[listener] = address
        roster.remove(99)
        assert roster.count("r") == len(model)
        for asked in ("r/a/b/c", "r/a", "r"):
            reaching = [a for a in model.values() if asked == a or asked.startswith(a + "/")]
            chosen = roster.choose("r", asked)
            assert (chosen is None) is (not reaching)
            if chosen is not None:
                assert model[chosen] == max(reaching, key=len)


SEGMENT = st.sampled_from(["a", "b", "c"])
ADDRESS = st.lists(SEGMENT, max_size=4).map(lambda below: "/".join(["r/s", *below]))
PATTERN = st.tuples(st.lists(st.one_of(SEGMENT, st.just("*")), max_size=4), st.sampled_from([[], ["**"]])).map(
    lambda parts: check_pattern("/".join(["r/s", *parts[0], *parts[1]]))
)


@given(st.lists(st.tuples(st.integers(0, 9), ADDRESS), max_size=60), PATTERN)
def test_who_matches_equals_a_naive_model_through_adds_and_removes(
    steps: list[tuple[int, str]], pattern: Pattern
) -> None:
    roster: Roster[int] = Roster(lambda n: n - 1)
    roster.add("r", "r/s/a", 100)  # another relay's
    model: dict[int, str] = {}
    for listener, address in steps:
        if listener in model:
            roster.remove(listener)
            del model[listener]
        else:
            roster.add("r/s", address, listener)
            model[listener] = address
        found = roster.matching("r/s", pattern)
        assert len({address for address, _ in found}) == len(found)
        told = {listener: address for address, here in found for listener in here}
        assert told == {each: address for each, address in model.items() if pattern.matches(address)}
    for listener in list(model):
        roster.remove(listener)
    roster.remove(100)
    assert (roster._relays, roster._places, roster._below) == ({}, {}, {})


def test_who_matches_is_found_without_a_look_at_all_others() -> None:
    """What is looked at are the places along the pattern."""
    roster: Roster[int] = Roster(lambda n: n - 1)
    for number in range(2000):
        roster.add("r", f"r/{number}/status", number)

    class Watched(dict[str, dict[str, None]]):
        looks = 0

        def get(self, *arguments: Any) -> Any:
            Watched.looks += 1
            return super().get(*arguments)

    roster._below["r"] = Watched(roster._below["r"])
    assert roster.matching("r", check_pattern("r/7/*")) == [("r/7/status", (7,))]
    assert roster.matching("r", check_pattern("r/7/status")) == [("r/7/status", (7,))]
    assert roster.matching("r", check_pattern("r/7/**")) == [("r/7/status", (7,))]
    assert roster.matching("r", check_pattern("r/none/**")) == []
    assert Watched.looks < 10
    assert len(roster.matching("r", check_pattern("r/*/status"))) == 2000


def test_a_relay_that_nobody_listens_on_matches_nothing() -> None:
    roster = roster_with(("shop", "shop", "one"))
    assert roster.matching("orders", check_pattern("orders/**")) == []
    assert roster.matching("shop", check_pattern("shop/*")) == []
    assert roster.matching("shop", check_pattern("shop/**")) == [("shop", ("one",))]
