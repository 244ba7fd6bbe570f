"""What publishers send, by the vectors and by the limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings import http as cloudevents_http
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest, PayloadTooLarge, RelayError
from app.wire.native.cloudevents import encode_envelope
from app.wire.native.publication import MAX_LINES, Publications, make_publication, parse_envelope, parse_publications
from app.wire.native.terms import Terms

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "cloudevents.json").read_text())


def parse(headers: dict[str, str], body: bytes | str, limit: int = 1 << 20) -> Publications:
    raw = body.encode() if isinstance(body, str) else body
    return parse_publications(headers.items(), raw, limit)


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


@named(VECTORS["published"])
def test_a_publication_is_understood(vector: dict[str, Any]) -> None:
    events, is_batch = parse(vector["headers"], vector["body"])
    assert not is_batch
    [event] = events
    expected = {"type": None, "source": None, "time": None, "attributes": {}, **vector["event"]}
    expected["payload"] = expected["payload"].encode()
    assert {name: getattr(event, name) for name in expected} == expected
    assert event.terms == (Terms(**vector["terms"]) if "terms" in vector else None)


@named(VECTORS["batches"])
def test_a_batch_is_understood(vector: dict[str, Any]) -> None:
    events, is_batch = parse(vector["headers"], vector["body"])
    assert is_batch
    assert [event.id for event in events] == vector["ids"]


@named(VECTORS["refused"])
def test_a_bad_publication_is_refused_with_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(RelayError) as caught:
        parse(vector["headers"], vector["body"])
    assert caught.value.status == vector["status"]
    assert vector["says"] in caught.value.message


def test_text_that_is_not_utf8_is_published_as_binary() -> None:
    [event] = parse({"Content-Type": "text/plain; charset=latin-1"}, b"\xe9").events
    assert not event.is_text
    assert event.payload == b"\xe9"


def test_a_line_of_json_is_published_byte_for_byte() -> None:
    [event] = parse({"Content-Type": "application/x-ndjson"}, '  {"big": 123456789012345678901234567890}\t\r\n').events
    assert event.payload == b'{"big": 123456789012345678901234567890}'
    assert event.content_type == "application/json"


def test_an_event_may_fill_its_limit_and_no_more() -> None:
    assert len(parse({}, b"x" * 100, 100).events[0].payload) == 100
    with pytest.raises(PayloadTooLarge, match="100 bytes"):
        parse({}, b"x" * 101, 100)


def test_a_line_beyond_the_limit_of_an_event_is_named() -> None:
    with pytest.raises(PayloadTooLarge, match="Line 2"):
        parse({"Content-Type": "application/x-ndjson"}, b'1\n"xxxxxxxxxx"', 10)


def test_ten_thousand_lines_are_taken_and_one_more_is_not() -> None:
    lines = b"1\n" * MAX_LINES
    assert len(parse({"Content-Type": "application/x-ndjson"}, lines).events) == MAX_LINES
    with pytest.raises(PayloadTooLarge, match="10000 lines"):
        parse({"Content-Type": "application/x-ndjson"}, lines + b"1")


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/cloudevents-batch+json"])
def test_a_batch_beyond_a_mebibyte_is_refused_before_it_is_read(kind: str) -> None:
    with pytest.raises(PayloadTooLarge, match="1048576 bytes"):
        parse({"Content-Type": kind}, b"{" * ((1 << 20) + 1))


def test_a_batch_of_too_many_events_is_refused() -> None:
    body = b"[" + b",".join([b"1"] * (MAX_LINES + 1)) + b"]"
    with pytest.raises(PayloadTooLarge, match="10000 events"):
        parse({"Content-Type": "application/cloudevents-batch+json"}, body)


def test_attributes_are_bounded_together() -> None:
    with pytest.raises(PayloadTooLarge, match="3072 bytes"):
        parse({f"ce-x{number}": "y" * 1000 for number in range(4)}, b"")


@pytest.mark.parametrize("name", ["content-type", "CE-ID"])
def test_a_header_that_stands_twice_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="once"):
        parse_publications([(name, "a/b"), (name, "a/b")], b"", 100)


@pytest.mark.parametrize("structured", [True, False])
def test_what_the_cloudevents_library_sends_is_understood(structured: bool) -> None:
    event = CloudEvent({"id": "é 1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, {"a": 1})
    encode = cloudevents_http.to_structured_event if structured else cloudevents_http.to_binary_event
    message = encode(event)
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    [publication] = parse(dict(message.headers), body).events
    assert (publication.id, publication.source, publication.type) == ("é 1", "/s", "t")
    assert orjson.loads(publication.payload) == {"a": 1}


_attribute = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), min_size=1, max_size=30)


@given(
    payload=st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
    content_type=st.sampled_from([None, "text/plain", "application/json", "image/png"]),
    subject=_attribute,
    id_=_attribute,
)
def test_what_is_delivered_can_be_published_again(
    payload: bytes, content_type: str | None, subject: str, id_: str
) -> None:
    headers = [] if content_type is None else [("content-type", content_type)]
    [first] = parse_publications(headers, payload, 100).events
    first = make_publication(
        {"subject": subject, "id": id_},
        payload,
        first.is_text,
        content_type,
        max_event_bytes=100,
    )
    envelope = encode_envelope(first.as_event("orders", 1, 0.0), "0a1b2c3d")
    again = parse_envelope(envelope, 1000)
    assert again.id == id_
    assert again.attributes == {"subject": subject}
    if content_type == "application/json" and first.is_text and b'"data":' in envelope:
        assert orjson.loads(again.payload) == orjson.loads(payload)
    else:
        assert again.payload == payload
