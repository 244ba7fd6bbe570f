"""The grammar: vectors settle every case, properties hold for all the others."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.address import (
    MAX_ADDRESS_BYTES,
    PLAIN_ADDRESS,
    _checked,
    _literal,
    _split,
    check_address,
    check_pattern,
    encode_address,
    parse_address,
    parse_pattern,
)
from fanout.errors import InvalidAddress, InvalidPattern

VECTORS = Path(__file__).parent.parent / "vectors"
ADDRESSES: dict[str, list[dict[str, Any]]] = json.loads((VECTORS / "addresses.json").read_text())
PATTERNS: dict[str, list[dict[str, Any]]] = json.loads((VECTORS / "patterns.json").read_text())


def shown(vector: dict[str, Any]) -> str:
    return repr(vector.get("raw", vector.get("text", "")))[:40]


@pytest.mark.parametrize("vector", ADDRESSES["raw"], ids=shown)
def test_raw_address_has_one_canonical_form_or_a_reason(vector: dict[str, str]) -> None:
    """W03, W04, W05: refused with the reason and never repaired, but for one trailing slash."""
    if "address" in vector:
        assert parse_address(vector["raw"]) == vector["address"]
    else:
        with pytest.raises(InvalidAddress) as refusal:
            parse_address(vector["raw"])
        assert vector["reason"] in str(refusal.value)


@pytest.mark.parametrize("vector", ADDRESSES["system"], ids=shown)
def test_system_address_is_admitted_only_when_asked_for(vector: dict[str, str]) -> None:
    if "address" in vector:
        assert parse_address(vector["raw"], allow_system=True) == vector["address"]
    else:
        with pytest.raises(InvalidAddress):
            parse_address(vector["raw"], allow_system=True)


@pytest.mark.parametrize("vector", ADDRESSES["text"], ids=shown)
def test_decoded_address_follows_the_same_grammar(vector: dict[str, str]) -> None:
    """W03: a percent sign is an ordinary character in text that is already decoded."""
    if "address" in vector:
        assert check_address(vector["text"]) == vector["address"]
    else:
        with pytest.raises(InvalidAddress) as refusal:
            check_address(vector["text"])
        assert vector["reason"] in str(refusal.value)


@pytest.mark.parametrize("raw", ["a" * 1_000_000, "a/" * 500_000, "%41" * 400_000, "é" * 1_000_000])
def test_address_of_a_megabyte_is_refused_before_it_is_read(raw: str) -> None:
    """W03."""
    for refuse, error in ((parse_address, InvalidAddress), (parse_pattern, InvalidPattern)):
        with pytest.raises(error, match=f"longer than {MAX_ADDRESS_BYTES} bytes"):
            refuse(raw)


def test_lone_surrogate_is_refused() -> None:
    """W03."""
    with pytest.raises(InvalidAddress, match="surrogate"):
        check_address("a\ud800b")


@pytest.mark.parametrize("vector", PATTERNS["raw"], ids=shown)
def test_raw_pattern_has_one_form_or_a_reason(vector: dict[str, Any]) -> None:
    """W03, W05: a leading wildcard is refused with a sentence that says what to do."""
    if "text" in vector:
        pattern = parse_pattern(vector["raw"])
        assert (pattern.text, pattern.is_concrete, pattern.has_tail, pattern.prefix) == (
            vector["text"],
            vector["concrete"],
            vector["tail"],
            vector["prefix"],
        )
        assert check_pattern(pattern.text) == pattern
    else:
        with pytest.raises(InvalidPattern) as refusal:
            parse_pattern(vector["raw"])
        assert vector["reason"] in str(refusal.value)


def test_system_pattern_is_admitted_only_when_asked_for() -> None:
    assert parse_pattern("-/sys/presence/**", allow_system=True).prefix == "-/sys/presence"
    with pytest.raises(InvalidPattern, match="reserved"):
        check_pattern("-/sys/presence/**")


def test_escaped_star_is_literal_text_and_refused_also_when_decoded_text_holds_it() -> None:
    """W05."""
    with pytest.raises(InvalidPattern, match="wildcard"):
        check_pattern("a/b*")
    assert check_pattern("a/%2A").is_concrete  # decoded text: a percent sign, a 2 and an A


@pytest.mark.parametrize("vector", PATTERNS["matches"], ids=lambda v: f"{v['pattern']}~{v['address']}")
def test_pattern_matches_whole_segments(vector: dict[str, Any]) -> None:
    """W01, W04: `shop` reaches `shop/...` by its own patterns and never `shop-admin`."""
    assert check_pattern(vector["pattern"]).matches(vector["address"]) is vector["matches"]


@pytest.mark.parametrize("vector", PATTERNS["covers"], ids=lambda v: f"{v['pattern']}>{v['other']}")
def test_pattern_covers_other_only_if_it_matches_all_its_addresses(vector: dict[str, Any]) -> None:
    """S01."""
    assert check_pattern(vector["pattern"]).covers(check_pattern(vector["other"])) is vector["covers"]


# Every pattern of up to three segments (and a tail) over {a, b}, against every address over {a, b, z} of
# up to five: z stands for all segments that no pattern names.
ALPHABET = ("a", "b", "*")
SMALL_PATTERNS = [
    check_pattern("/".join((first, *rest, *tail)))
    for length in range(3)
    for first in ("a", "b")
    for rest in product(ALPHABET, repeat=length)
    for tail in ((), ("**",))
]
SMALL_ADDRESSES = ["/".join(parts) for length in range(1, 6) for parts in product("abz", repeat=length)]
LANGUAGES = {p.text: frozenset(a for a in SMALL_ADDRESSES if p.matches(a)) for p in SMALL_PATTERNS}


def naive_match(pattern: tuple[str, ...], address: tuple[str, ...]) -> bool:
    if not pattern:
        return not address
    if pattern[0] == "**":
        return True
    return bool(address) and pattern[0] in ("*", address[0]) and naive_match(pattern[1:], address[1:])


def test_matching_equals_the_naive_matcher_over_a_small_alphabet() -> None:
    """W01."""
    for pattern in SMALL_PATTERNS:
        expected = {a for a in SMALL_ADDRESSES if naive_match(pattern.segments, tuple(a.split("/")))}
        assert LANGUAGES[pattern.text] == expected


def test_containment_is_exact_over_a_small_alphabet() -> None:
    """S01: the full matrix against brute force, both ways."""
    for wide in SMALL_PATTERNS:
        for narrow in SMALL_PATTERNS:
            assert wide.covers(narrow) is (LANGUAGES[narrow.text] <= LANGUAGES[wide.text]), (wide.text, narrow.text)


SEGMENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(SEGMENT, max_size=8).map("/".join))
def test_canonical_address_survives_encoding_and_parsing(text: str) -> None:
    """W03: check and route use the same form; checking it again changes nothing."""
    try:
        address = check_address(text)
    except InvalidAddress:
        return
    assert parse_address(encode_address(address)) == address
    assert check_address(address) == address
    pattern = check_pattern(address)
    assert pattern.is_concrete
    assert pattern.matches(address)


@given(st.lists(st.sampled_from(["a", "b", "*"]), max_size=6), st.lists(st.sampled_from(["a", "b", "*"]), max_size=6))
def test_pattern_covering_another_matches_what_that_one_matches(left: list[str], right: list[str]) -> None:
    """S01."""
    wide, narrow = (check_pattern("/".join(["r", *parts])) for parts in (left, right))
    if wide.covers(narrow):
        assert wide.matches(narrow.text.replace("*", "q"))


@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.text("aZ09._~-:@$*%+é", max_size=6), max_size=40).map("/".join),
        st.lists(st.text("a.", min_size=120, max_size=130), max_size=6).map("/".join),
    )
)
def test_what_is_plain_is_an_address_as_it_stands(text: str) -> None:
    if re.fullmatch(PLAIN_ADDRESS, text) and len(text) <= MAX_ADDRESS_BYTES:
        slowly = "/".join(_checked([_literal(segment) for segment in _split(text)], False))
        assert parse_address(text) == check_address(text) == slowly == text
