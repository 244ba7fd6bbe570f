"""Server-sent events, by the vectors and by a reader written from the WHATWG text."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.closes import TOKEN_EXPIRED
from app.wire.native.sse import ServerSentEvents, encode_bye
from fanout.event import Event
from fanout.history import Cursor

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "sse.json").read_text())["data"]
EPOCH = "0a1b2c3d"
DATA = ServerSentEvents(EPOCH, as_cloudevent=False)


def body_of(chunks: bytes) -> bytes:
    """The body behind chunks."""
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        body, chunks = body + rest[:length], rest[length + 2 :]
    return body


def read_stream(body: bytes) -> list[tuple[str, str, str]]:
    """What an EventSource dispatches: (type, data, last event id)."""
    seen, last_id, data, kind = [], "", "", ""
    for line in re.split(r"\r\n|\r|\n", body.decode()):
        if not line:
            if data:
                seen.append((kind or "message", data.removesuffix("\n"), last_id))
            data, kind = "", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "id":
            last_id = value
        elif name == "event":
            kind = value
    return seen


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_payload_becomes_a_block(vector: dict[str, Any]) -> None:
    is_text = "text" in vector
    payload = vector["text"].encode() if is_text else base64.b64decode(vector["base64"])
    assert DATA.encode(Event("orders", 5, "e", payload, is_text)).decode() == vector["block"]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_arrives_with_its_line_ends_as_line_feeds(texts: list[str]) -> None:
    parts = [DATA.encode(Event("a", n, "e", text.encode(), True)) for n, text in enumerate(texts, 1)]
    expected = [("message", re.sub(r"\r\n|\r", "\n", text), f"{EPOCH}:{n}") for n, text in enumerate(texts, 1)]
    assert read_stream(body_of(DATA.join(parts)) if parts else b"") == expected


def test_cloudevents_travel_as_one_line_of_data() -> None:
    encoding = ServerSentEvents(EPOCH, as_cloudevent=True)
    block = encoding.encode(Event("orders", 5, "e", b'{"a":\n1}', True, "application/json"))
    [(kind, data, last_id)] = read_stream(block)
    assert (kind, last_id) == ("message", "0a1b2c3d:5")
    assert orjson.loads(data)["data"] == {"a": 1}


def test_notices_are_named_events_and_move_the_position() -> None:
    data = DATA.ready("orders", Cursor(EPOCH, 3)) + DATA.gap("orders", Cursor(EPOCH, 3), Cursor(EPOCH, 9), "slow")
    ready, gap = read_stream(body_of(data))
    assert ready == ("ready", '{"relay":"orders","cursor":"0a1b2c3d:3"}', "0a1b2c3d:3")
    assert gap[0] == "gap"
    assert gap[2] == "0a1b2c3d:9"
    assert orjson.loads(gap[1]) == {"relay": "orders", "from": "0a1b2c3d:3", "to": "0a1b2c3d:9", "why": "slow"}


def test_a_heartbeat_dispatches_nothing() -> None:
    body = body_of(DATA.position("orders", Cursor(EPOCH, 3)))
    assert body == b"id: 0a1b2c3d:3\n\n"
    assert read_stream(body) == []


def test_a_goodbye_says_whether_to_return() -> None:
    [(kind, data, _)] = read_stream(body_of(encode_bye(TOKEN_EXPIRED)))
    assert kind == "bye"
    assert orjson.loads(data) == {"code": 1008, "reason": TOKEN_EXPIRED.reason, "return": True, "after": 0}
