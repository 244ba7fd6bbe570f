"""Whatever comes through the events door: it is understood, or refused with a documented error."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import RelayError
from app.wire.frames import BINARY, TEXT
from app.wire.native.bare import BARE
from app.wire.native.cloudevents import CloudEventFrames, encode_envelope
from app.wire.native.ndjson import JsonLines
from app.wire.native.publication import parse_envelope, parse_publications
from app.wire.native.query import Transport, choose_socket, choose_transport, parse_query
from app.wire.native.session import parse_message
from app.wire.native.session_frames import SessionFrames
from app.wire.native.sse import ServerSentEvents

VECTORS = Path(__file__).parents[1] / "vectors"
SEEDS = [vector["message"].encode() for vector in json.loads((VECTORS / "session.json").read_text())["client"]]
BODIES = [
    vector["body"].encode()
    for part in ("published", "batches", "refused")
    for vector in json.loads((VECTORS / "cloudevents.json").read_text())[part]
]
TYPES = ["application/json", "text/plain", "image/png", "application/x-ndjson"]
TYPES += ["application/cloudevents+json", "application/cloudevents-batch+json", "application/cloudevents+x"]
ENCODINGS: list[Any] = [BARE, CloudEventFrames("0a1b2c3d"), JsonLines("0a1b2c3d"), SessionFrames("0a1b2c3d")]
ENCODINGS += [ServerSentEvents("0a1b2c3d", flag) for flag in (True, False)]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_names = ["t", "r", "sub", "pattern", "from", "policy", "budget", "address", "id", "type", "source", "time", "ct"]
_names += ["attrs", "token", "specversion", "data", "data_base64", "datacontenttype", "subject", "group"]
_words = st.sampled_from(
    ["sub", "unsub", "pub", "renew", "ping", "ack", "1.0", "orders/**", "now", "drop", "text/plain"]
)
_headers = st.dictionaries(st.sampled_from(_names), _words | _json, max_size=8).map(
    lambda value: json.dumps(value).encode()
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A sound input with a piece replaced."""
    seed = draw(st.sampled_from(seeds))
    at = draw(st.integers(0, len(seed)))
    return seed[:at] + draw(st.binary(max_size=6)) + seed[at + draw(st.integers(0, 8)) :]


@given(st.sampled_from([TEXT, BINARY]), st.binary(max_size=200) | mutated(SEEDS) | _headers)
def test_a_session_message_is_understood_or_refused(opcode: int, data: bytes) -> None:
    with suppress(RelayError):
        parse_message(opcode, data, 1000)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ce-id", "ce-specversion", "ce-time", "ce-x", "X"]), st.text(max_size=20)),
        max_size=4,
    ),
    st.sampled_from(TYPES) | st.text(max_size=20),
    st.binary(max_size=200) | mutated(BODIES) | _headers,
)
@example([], "application/cloudevents+json", b"[" * 5000)
def test_a_publication_is_understood_and_deliverable_or_refused(
    headers: list[tuple[str, str]], content_type: str, body: bytes
) -> None:
    with suppress(RelayError):
        events, _ = parse_publications([*headers, ("content-type", content_type)], body, 1000)
        for publication in events:
            event = publication.as_event("orders/é", 7, 1.0)
            for encoding in ENCODINGS:
                encoding.join([encoding.encode(event)])
            orjson.loads(encode_envelope(event, "0a1b2c3d"))


@given(st.binary(max_size=200) | mutated(BODIES) | _headers)
def test_an_envelope_is_understood_or_refused(body: bytes) -> None:
    with suppress(RelayError):
        parse_envelope(body, 1000)


@given(st.text(max_size=80), st.sampled_from(list(Transport)), st.lists(st.text(max_size=30), max_size=3))
def test_a_query_is_understood_or_refused(raw: str, transport: Transport, words: list[str]) -> None:
    for attempt in (
        lambda: parse_query(raw, transport),
        lambda: choose_transport(words, raw),
        lambda: choose_socket(words, bool(raw)),
    ):
        with suppress(RelayError):
            attempt()
