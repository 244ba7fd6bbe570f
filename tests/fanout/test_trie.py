"""The trie equals the naive matcher, prunes, and costs by depth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.address import check_pattern
from fanout.trie import PatternTrie

SEGMENTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
PATTERNS = st.builds(
    lambda first, rest, tail: "/".join([first, *rest, *tail]),
    st.sampled_from("abc"),
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=3),
    st.sampled_from([(), ("**",)]),
).map(check_pattern)


def test_event_reaches_exact_star_and_tail_patterns_once_each() -> None:
    """W01."""
    trie: PatternTrie[str] = PatternTrie()
    for text in ("a/b/c", "a/*/c", "a/**", "a/b", "a/*"):
        trie.insert(check_pattern(text), text)
    assert sorted(trie.match("a/b/c")) == ["a/**", "a/*/c", "a/b/c"]
    assert sorted(trie.match("a")) == ["a/**"]


@given(st.lists(st.tuples(PATTERNS, st.integers(0, 2)), max_size=20), SEGMENTS.map("/".join), st.data())
def test_trie_equals_the_naive_matcher_through_inserts_and_removes(
    entries: list[tuple], address: str, data: st.DataObject
) -> None:
    """W01."""
    trie: PatternTrie[tuple[str, int]] = PatternTrie()
    present = {}
    for pattern, number in entries:
        value = (pattern.text, number)
        trie.insert(pattern, value)
        present[value] = pattern
    for value in data.draw(st.lists(st.sampled_from(sorted(present)), unique=True)) if present else ():
        trie.remove(present.pop(value), value)
    assert sorted(trie.match(address)) == sorted(
        value for value, pattern in present.items() if pattern.matches(address)
    )
    assert len(trie) == len(present)
    for value, pattern in present.items():
        trie.remove(pattern, value)
    assert trie.is_empty
    assert len(trie) == 0


def test_removing_what_is_not_there_is_a_key_error_and_changes_nothing() -> None:
    trie: PatternTrie[int] = PatternTrie()
    trie.insert(check_pattern("a/b"), 1)
    for pattern, value in (("a/b", 2), ("a", 1), ("a/b/c", 1), ("a/**", 1)):
        with pytest.raises(KeyError):
            trie.remove(check_pattern(pattern), value)
    assert trie.match("a/b") == [1]
    assert len(trie) == 1


class CountedSegment(str):
    """A segment that counts how often a level is asked for it."""

    asked = 0

    def __hash__(self) -> int:
        CountedSegment.asked += 1
        return str.__hash__(self)


class CountedAddress(str):
    def split(self, *_: Any) -> list[str]:
        return [CountedSegment(segment) for segment in str.split(self, "/")]


def test_match_asks_levels_by_depth_not_by_number_of_patterns() -> None:
    """W08: counted in look-ups, with 100 and with 100,000 distinct patterns."""
    trie: PatternTrie[int] = PatternTrie()
    counts = []
    for number in range(100_000):
        trie.insert(check_pattern(f"plants/p{number}/{'*' if number % 2 else 'status'}"), number)
        if number in (99, 99_999):
            CountedSegment.asked = 0
            trie.match(CountedAddress("plants/p7/line"))
            counts.append(CountedSegment.asked)
    assert counts[0] == counts[1]
    assert counts[0] <= 6
    assert trie.match("plants/p7/line") == [7]
