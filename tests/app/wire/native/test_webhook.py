"""Events as HTTP requests, and consents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.native.publication import parse_publications
from app.wire.native.webhook import Mode, encode_request, read_consent, request_consent
from fanout.event import Event

EPOCH = "5f0c92ab"
ORIGIN = "relay.example"

texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\u2028\u2029"), min_size=1, max_size=40
)
events = st.builds(
    Event,
    address=st.just("orders/eu"),
    offset=st.integers(1, 1000),
    id=texts,
    payload=st.binary(max_size=50),
    is_text=st.just(False),
    content_type=st.just("application/octet-stream"),
    type=texts,
    source=texts,
    time=st.none(),
    received_at=st.just(1.0),
    expires_at=st.just(float("inf")),
    attributes=st.dictionaries(st.sampled_from(["subject", "partitionkey", "x1"]), texts),
)


@given(events, st.sampled_from(Mode))
def test_what_is_sent_is_what_a_publisher_may_send(event: Event, mode: Mode) -> None:
    """Our own door reads it back: the three modes say the same."""
    content = encode_request([event], EPOCH, mode)
    assert all(value.isascii() and value.isprintable() for _, value in content.headers)
    (read,) = parse_publications(content.headers, content.body, 1 << 20).events
    assert (read.id, read.type, read.source, read.payload) == (event.id, event.type, event.source, event.payload)
    assert dict(read.attributes) == dict(event.attributes)


@pytest.mark.parametrize("kind", ["text/ü", " text/plain ", 'text/plain; charset="utf-8"'])
def test_a_strange_content_type_can_be_sent(kind: str) -> None:
    """It came in JSON, where more is possible than in a header."""
    event = Event("orders/eu", 1, "id", b"x", True, kind)
    name, value = encode_request([event], EPOCH, Mode.BINARY).headers[0]
    assert (name, value) == ("Content-Type", kind.strip().replace("ü", "%C3%BC"))


def test_a_batch_holds_its_events_in_order() -> None:
    batch = [Event("orders/eu", offset, f"id-{offset}", b"1", True, "application/json") for offset in (1, 2, 3)]
    content = encode_request(batch, EPOCH, Mode.BATCH)
    assert [each["id"] for each in json.loads(content.body)] == ["id-1", "id-2", "id-3"]
    assert content.headers == [("Content-Type", "application/cloudevents-batch+json")]


def test_consent_is_asked_for_with_a_rate_where_there_is_one() -> None:
    assert request_consent(ORIGIN, None) == [("WebHook-Request-Origin", ORIGIN)]
    assert request_consent(ORIGIN, 60)[1:] == [("WebHook-Request-Rate", "60")]


@pytest.mark.parametrize(
    ("origin", "rate", "wanted", "is_given", "granted"),
    [
        ("*", "*", None, True, None),
        ("*", "*", 60, True, 60),
        (ORIGIN.upper(), "30", None, True, 30),
        (ORIGIN, "30", 60, True, 30),
        (ORIGIN, "90", 60, True, 60),
        (ORIGIN, "", None, True, None),
        (ORIGIN, "", 60, False, None),
        ("", "60", None, False, None),
        ("other.example", "60", None, False, None),
        (f"{ORIGIN}, *", "60", None, False, None),
        ("*", "0", None, False, None),
        ("*", "-1", None, False, None),
        ("*", "fast", None, False, None),
    ],
)
def test_a_consent_is_given_in_so_many_words(
    origin: str, rate: str, wanted: int | None, is_given: bool, granted: int | None
) -> None:
    """S62."""
    headers = {"webhook-allowed-origin": origin, "webhook-allowed-rate": rate}
    consent = read_consent({name: value for name, value in headers.items() if value}, ORIGIN, wanted)
    assert (consent.is_given, consent.rate, bool(consent.reason)) == (is_given, granted, not is_given)
