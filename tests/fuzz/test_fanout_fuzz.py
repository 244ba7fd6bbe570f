"""Whatever comes in, the grammar and the cursors return or raise their documented error."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.address import (
    MAX_ADDRESS_BYTES,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
    Pattern,
    check_address,
    check_pattern,
    encode_address,
    parse_address,
    parse_pattern,
)
from fanout.errors import InvalidAddress, InvalidCursor, InvalidPattern
from fanout.history import parse_cursor

SPICE = st.sampled_from(
    [
        *("/", "//", ".", "..", "%", "%2F", "%2f", "%5C", "%00", "%2A", "%C3%A9", "%C0%AF", "%FF", "%ED%A0%80", "%25"),
        *("*", "**", "-", "$hc", "\\", "\x00", "\n", "\x7f", "\x85", "\ud800", "e\u0301", "é", "a", "orders"),
        *("%2", "s" * 130),
    ]
)
HOSTILE = st.one_of(st.text(max_size=40), st.lists(SPICE, max_size=12).map("".join), st.binary(max_size=60).map(str))


def assert_canonical(address: str) -> None:
    segments = address.split("/")
    assert 1 <= len(segments) <= MAX_SEGMENTS
    assert len(address.encode()) <= MAX_ADDRESS_BYTES
    assert unicodedata.is_normalized("NFC", address)
    for segment in segments:
        assert 1 <= len(segment.encode()) <= MAX_SEGMENT_BYTES
        assert segment not in (".", "..")
        assert not any(character in "\\*" or unicodedata.category(character) == "Cc" for character in segment)
    assert segments[0] != "-"
    assert not segments[0].startswith("$")


@settings(max_examples=500)
@given(HOSTILE, st.sampled_from([parse_address, check_address]))
def test_address_is_canonical_or_refused(text: str, parse: Callable[[str], str]) -> None:
    """W03, W04, W05."""
    try:
        address = parse(text)
    except InvalidAddress:
        return
    assert_canonical(address)
    assert parse_address(encode_address(address)) == address == check_address(address)


@settings(max_examples=500)
@given(HOSTILE, st.sampled_from([parse_pattern, check_pattern]))
def test_pattern_is_well_formed_or_refused(text: str, parse: Callable[[str], Pattern]) -> None:
    """W03, W05."""
    try:
        pattern = parse(text)
    except InvalidPattern:
        return
    assert check_pattern(pattern.text) == pattern
    assert pattern.covers(pattern)
    assert_canonical(pattern.prefix)
    assert pattern.is_concrete is (pattern.text == pattern.prefix)
    assert all("*" not in segment or segment in ("*", "**") for segment in pattern.segments)
    if pattern.is_concrete:
        assert pattern.matches(check_address(pattern.text))


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[0-9a-fA-F]{7,9}:-?[0-9]{0,20}\n?")))
def test_cursor_is_read_back_or_refused(text: str) -> None:
    try:
        cursor = parse_cursor(text)
    except InvalidCursor:
        return
    assert str(cursor) == text
