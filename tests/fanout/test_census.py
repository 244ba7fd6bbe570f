"""A census, told while people come and go: at its end what was told is who is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fanout.census import Census

STEPS = st.lists(st.tuples(st.sampled_from(["come", "go", "take"]), st.integers(0, 30)), max_size=80)


def test_everybody_is_told_in_slices() -> None:
    census = Census(range(10))
    told: list[int] = []
    sizes = []
    while not census.is_told:
        gone, here = census.take(4)
        assert not gone
        told += here
        sizes.append(len(here))
    assert (sorted(told), sizes) == (list(range(10)), [4, 4, 2])


def test_nobody_is_told_at_once() -> None:
    assert Census[int](()).is_told


def test_one_that_goes_before_being_told_was_never_there() -> None:
    census = Census(["a"])
    census.go("a")
    assert census.is_told
    assert census.take(5) == ([], [])


def test_one_that_goes_after_being_told_is_told_to_be_gone() -> None:
    census = Census(["a"])
    census.take(5)
    census.go("a")
    assert not census.is_told
    assert census.take(5) == (["a"], [])
    assert census.is_told


@given(st.integers(0, 20), STEPS, st.integers(1, 5))
def test_what_was_told_is_who_is_there_at_the_end(first: int, steps: list[tuple[str, int]], most: int) -> None:
    """Nobody is told twice, nobody gone who was not told; and no more is kept than was told or is there."""
    there = list(range(first))
    newest, told = first, set[int]()
    census = Census(there)

    def take() -> None:
        gone, here = census.take(most)
        assert told.issuperset(gone)
        told.difference_update(gone)
        assert told.isdisjoint(here)
        told.update(here)
        assert len(here) == len(set(here)) <= most

    for step, number in steps:
        if step == "come":
            census.come(newest)
            there.append(newest)
            newest += 1
        elif step == "go" and there:
            census.go(there.pop(number % len(there)))
        elif step == "take":
            take()
        assert census.is_told == (told == set(there))
    while not census.is_told:
        take()
    assert told == set(there)
