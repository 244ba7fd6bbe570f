"""Events as CloudEvents, by the vectors and by the official library."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from app.wire.frames import TEXT, MessageReader
from app.wire.native.cloudevents import CloudEventFrames, encode_envelope, encode_gap, encode_position, encode_ready
from fanout.event import Event
from fanout.history import Cursor

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "cloudevents.json").read_text())["delivered"]
EPOCH = "0a1b2c3d"


def event_of(members: dict[str, Any]) -> Event:
    given = dict(members)
    is_text = "text" in given
    payload = given.pop("text").encode() if is_text else base64.b64decode(given.pop("base64"))
    return Event(**{"offset": 5, "received_at": 1769860800.0, **given}, payload=payload, is_text=is_text)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_an_event_becomes_a_cloudevent(vector: dict[str, Any]) -> None:
    line = encode_envelope(event_of(vector["event"]), EPOCH)
    assert orjson.loads(line) == vector["envelope"]
    assert b"\n" not in line
    assert b"\r" not in line


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_official_library_accepts_our_cloudevents(vector: dict[str, Any]) -> None:
    read = JSONFormat().read(CloudEvent, encode_envelope(event_of(vector["event"]), EPOCH))
    assert read.get_id() == vector["envelope"]["id"]
    assert read.get_extension("fanwaycursor") == "0a1b2c3d:5"


def test_json_is_delivered_with_the_digits_it_was_published_with() -> None:
    line = encode_envelope(
        Event("a", 1, "1", b'{"n": 1.00, "big": 12345678901234567890123}', True, "application/json"), EPOCH
    )
    assert b'"data":{"n": 1.00, "big": 12345678901234567890123}' in line


@pytest.mark.parametrize(
    "line",
    [
        encode_ready("orders", Cursor(EPOCH, 3)),
        encode_position("orders", Cursor(EPOCH, 3)),
        encode_gap("orders", Cursor("ffffffff", 9), Cursor(EPOCH, 3), "epoch"),
    ],
    ids=["ready", "position", "gap"],
)
def test_notices_are_valid_cloudevents_that_carry_the_cursor(line: bytes) -> None:
    read = JSONFormat().read(CloudEvent, line)
    assert read.get_source() == "/orders"
    assert read.get_type().startswith("fanway.")
    assert read.get_extension("fanwaycursor") == "0a1b2c3d:3"


def test_frames_of_the_sub_protocol_are_text_of_one_envelope() -> None:
    encoding = CloudEventFrames(EPOCH)
    event = Event("a", 1, "1", b"\x00", False)
    data = encoding.join([encoding.encode(event), encoding.ready("a", Cursor(EPOCH, 1))])
    data += encoding.gap("a", Cursor(EPOCH, 1), Cursor(EPOCH, 2), "slow")
    messages = MessageReader(1 << 20, masked=False).feed(data)
    assert [opcode for opcode, _ in messages] == [TEXT] * 3
    assert [orjson.loads(text)["type"] for _, text in messages] == ["fanway.event", "fanway.ready", "fanway.gap"]


def test_encodings_of_one_epoch_are_equal_so_that_bytes_are_shared() -> None:
    assert CloudEventFrames(EPOCH) == CloudEventFrames(EPOCH)
    assert hash(CloudEventFrames(EPOCH)) == hash(CloudEventFrames(EPOCH))
    assert CloudEventFrames(EPOCH) != CloudEventFrames("ffffffff")
