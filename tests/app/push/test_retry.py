"""What answers mean, and how long the next attempt waits."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push.retry import Backoff, Pace, Verdict, judge, parse_retry_after


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((200, 201, 202, 204, 299), Verdict.DELIVERED),
        ((301, 302, 307, 401, 403, 404, 405, 408, 409, 425, 429, 500, 502, 503, 504, 599), Verdict.RETRY),
        ((400, 413, 415, 422), Verdict.REFUSED),
        ((410,), Verdict.GONE),
    ],
)
def test_a_status_says_what_becomes_of_a_delivery(statuses: tuple[int, ...], verdict: Verdict) -> None:
    assert {judge(status) for status in statuses} == {verdict}


def test_the_ceiling_of_the_delay_doubles_up_to_its_most() -> None:
    backoff = Backoff(first_seconds=5, most_seconds=60)
    assert [backoff.delay(attempt, lambda: 1.0) for attempt in (1, 2, 3, 4, 5, 5000)] == [5, 10, 20, 40, 60, 60]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 3600))
def test_chance_lies_between_nothing_and_the_ceiling_and_never_before_what_the_sink_asked(
    attempt: int, chance: float, retry_after: float | None
) -> None:
    backoff = Backoff()
    delay = backoff.delay(attempt, lambda: chance, retry_after)
    assert (retry_after or 0) <= delay <= max(backoff.most_seconds, retry_after or 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0),
        ("120", 120),
        ("9" * 400, 3600),
        (f"Mon, 01 Jan {10**20} 00:00:00 GMT", None),
        (f"Mon, 01 Jan 2026 00:00:00 +{10**20}", None),
        (formatdate(1000.0 + 90, usegmt=True), 90),
        (formatdate(500.0, usegmt=True), 0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1000.0) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    seconds = parse_retry_after(value, 1000.0)
    assert seconds is None or 0 <= seconds <= 3600


def test_the_pace_spaces_requests_evenly() -> None:
    now = 0.0
    pace = Pace(120, lambda: now)
    assert [pace.take() for _ in range(4)] == [0, 0.5, 1.0, 1.5]
    now = 60.0
    assert [pace.take() for _ in range(2)] == [0, 0.5]
    free = Pace(None, lambda: now)
    assert [free.take() for _ in range(3)] == [0, 0, 0]
