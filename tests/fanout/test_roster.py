"""Listeners: the longest whole-segment prefix, and fairness among equals."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
