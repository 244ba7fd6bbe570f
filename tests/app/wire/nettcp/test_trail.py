"""The end of a session, seen in passing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.nettcp.records import Kind, Record, encode_record
from app.wire.nettcp.trail import MOST_STEPS, Trail

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "nmf.json").read_text())

MESSAGES = st.lists(
    st.binary(min_size=1, max_size=300).map(lambda message: Record(Kind.SIZED_ENVELOPE, message))
    | st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3).map(
        lambda chunks: Record(Kind.UNSIZED_ENVELOPE, tuple(chunks))
    ),
    max_size=5,
)


@pytest.mark.parametrize("case", VECTORS["trails"], ids=lambda case: case["name"])
def test_a_session_ends_with_its_end_record_and_with_no_other_byte(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert Trail().follow(data) == (len(data) if case["ends"] else None)
    trail = Trail()
    seen = [trail.follow(data[at : at + 1]) for at in range(len(data))]
    assert seen == [None] * (len(data) - 1) + [1 if case["ends"] else None]


@pytest.mark.parametrize("case", VECTORS["others"], ids=lambda case: case["name"])
def test_a_session_inside_tls_is_over_where_another_begins(case: dict[str, Any]) -> None:
    data, after = bytes.fromhex(case["hex"]), bytes.fromhex(case["after"])
    trail = Trail()
    assert trail.follow(data) is None
    assert trail.follow(after) == 0
    assert trail.begins_another
    assert Trail().follow(data + after) == len(data)


@pytest.mark.parametrize(
    "record", [b"\x06\1x", b"\x0b", b"\0\0\0", b"\5\1x\0"], ids=["sized", "ack", "zeros", "unsized"]
)
def test_a_read_of_very_many_tiny_records_is_followed_no_further(record: bytes) -> None:
    few, many = record * 1000, record * MOST_STEPS
    trail = Trail()
    assert trail.follow(few) is None
    assert not trail.is_blind
    assert trail.follow(few + b"\7") == len(few) + 1
    trail = Trail()
    assert trail.follow(many + b"\7") is None
    assert trail.is_blind


@given(messages=MESSAGES, after=st.binary(max_size=20), data=st.data())
def test_the_end_is_found_at_its_place_in_whatever_reads_it_comes(
    messages: list[Record], after: bytes, data: st.DataObject
) -> None:
    stream = b"".join(map(encode_record, [Record(Kind.PREAMBLE_ACK), *messages, Record(Kind.END)]))
    whole = stream + after
    cut = data.draw(st.integers(0, len(whole)))
    trail, found = Trail(), []
    for start, read in (0, whole[:cut]), (cut, whole[cut:]):
        ended_at = trail.follow(read)
        found += [] if ended_at is None else [start + ended_at]
    assert found == [len(stream)]
