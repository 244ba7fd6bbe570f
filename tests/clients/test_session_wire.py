"""The session codec, without a network."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.errors import QuotaExceededError
from fanway.session_wire import (
    Position,
    SessionProtocolError,
    count_missing,
    decode,
    encode,
    event_of,
    parse_position,
)


def test_a_text_payload_travels_in_a_text_message() -> None:
    data = encode({"t": "pub", "address": "a"}, "grüße\nzwei".encode(), True)
    assert isinstance(data, str)
    assert decode(data).payload == "grüße\nzwei".encode()


def test_a_binary_payload_travels_in_a_binary_message() -> None:
    data = encode({"t": "pub", "address": "a"}, b"\xff\n\x00", False)
    assert isinstance(data, bytes)
    assert decode(data) == ({"t": "pub", "address": "a"}, b"\xff\n\x00", False)


def test_a_header_too_long_is_refused_before_the_gateway_would_end_the_session() -> None:
    with pytest.raises(QuotaExceededError):
        encode({"t": "pub", "attrs": {"a": "x" * 9000}})


@given(st.one_of(st.text(), st.binary()))
def test_anything_decodes_or_is_refused(data: str | bytes) -> None:
    try:
        message = decode(data)
    except SessionProtocolError:
        return
    assert isinstance(message.header["t"], str)


@pytest.mark.parametrize("text", ["", "x", "0a1b2c3d", "0a1b2c3d:", "0a1b2c3d:-1", "0a1b2c3d:x"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(SessionProtocolError):
        parse_position(text)


def test_an_event_carries_all_its_members() -> None:
    header = {
        "t": "ev",
        "a": "o/1",
        "c": "0a1b2c3d:7",
        "i": "e",
        "y": "t",
        "s": "/s",
        "tm": "T",
        "ct": "x/y",
        "x": {"k": "v"},
    }
    event = event_of(decode(json.dumps(header) + '\n{"n":1}'), missed=3)
    assert (event.address, event.cursor, event.id, event.type, event.source) == ("o/1", "0a1b2c3d:7", "e", "t", "/s")
    assert (event.time, event.content_type, event.attributes, event.missed) == ("T", "x/y", {"k": "v"}, 3)
    assert event.json() == {"n": 1}


def test_an_event_without_an_address_is_refused() -> None:
    with pytest.raises(SessionProtocolError):
        event_of(decode('{"t":"ev","c":"0a1b2c3d:7","i":"e"}\nx'))


@pytest.mark.parametrize(
    ("why", "from_", "to", "count"),
    [
        ("history", Position("a" * 8, 3), Position("a" * 8, 10), 7),
        ("slow", Position("a" * 8, 3), Position("a" * 8, 4), 1),
        ("epoch", Position("a" * 8, 3), Position("b" * 8, 0), 1),
        ("epoch", Position("a" * 8, 3), Position("b" * 8, 9), 9),
        ("ahead", Position("a" * 8, 30), Position("a" * 8, 10), 10),
    ],
)
def test_a_gap_counts_what_is_known_to_be_missing(why: str, from_: Position, to: Position, count: int) -> None:
    assert count_missing({"why": why}, from_, to) == count


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["events"], ids=lambda vector: vector["name"])
def test_events_of_the_vectors_are_read_as_they_were_meant(vector: dict[str, Any]) -> None:
    message = vector["message"] if vector["frame"] == "text" else base64.b64decode(vector["message_base64"])
    meant = vector["event"]
    decoded = decode(message)
    event = event_of(decoded)
    assert (event.address, event.id, event.cursor.partition(":")[2]) == (
        meant["address"],
        meant["id"],
        str(meant["offset"]),
    )
    assert decoded.header.get("sub") == vector.get("sub")
    assert event.attempt == vector.get("n", 1)
    assert event.deadline == (vector.get("deadline") or None)
