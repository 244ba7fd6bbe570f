"""What a publisher asks for beside the event: how wishes are joined, and what times come of them."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.native.terms import NO_TERMS, Terms, own_terms, parse_time, read_terms

SECONDS = st.none() | st.floats(0.001, 1e6)
TERMS = st.builds(Terms, SECONDS, SECONDS, SECONDS, SECONDS, st.none() | st.booleans())


@given(TERMS)
def test_terms_over_nothing_are_themselves(terms: Terms) -> None:
    assert terms.over(NO_TERMS) == terms
    assert NO_TERMS.over(terms) == terms


@given(TERMS, TERMS)
def test_what_stands_first_is_not_changed_by_what_stands_behind(own: Terms, asked: Terms) -> None:
    joined = own.over(asked)
    if own.expiry(5.0) != inf:
        assert joined.expiry(5.0) == own.expiry(5.0)
    if own.due(5.0) != 5.0:
        assert joined.due(5.0) == own.due(5.0)
    assert joined.retain == (asked.retain if own.retain is None else own.retain)


def test_a_time_to_live_counts_from_when_the_event_is_published() -> None:
    assert Terms(ttl_seconds=30).expiry(100.0) == 130.0
    assert Terms(expires_at=110.0).expiry(100.0) == 110.0
    assert NO_TERMS.expiry(100.0) == inf


def test_a_delay_counts_from_when_the_event_is_accepted() -> None:
    assert Terms(delay_seconds=30).due(100.0) == 130.0
    assert Terms(not_before=90.0).due(100.0) == 90.0
    assert NO_TERMS.due(100.0) == 100.0


def test_nothing_asked_for_is_no_terms() -> None:
    assert read_terms({"key": "k"}) is None
    assert own_terms({"subject": "s"}) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_is_read_as_it_is_written(moment: datetime) -> None:
    read = parse_time(moment.isoformat().replace("+00:00", "Z"))
    assert read is not None
    assert read == pytest.approx(moment.timestamp())


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-13-01T00:00:00Z", "2026-01-31T24:00:01Z"],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


def test_a_time_at_the_end_of_the_calendar_breaks_nothing() -> None:
    assert parse_time("9999-12-31T23:59:59-12:00") is None or isinstance(parse_time("9999-12-31T23:59:59-12:00"), float)
    assert parse_time("0001-01-01T00:00:00+14:00") is None
