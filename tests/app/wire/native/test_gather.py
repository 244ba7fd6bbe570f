"""Asking all, on the wire: stop rules, and how a stream is chosen and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest, ListenerGone
from app.wire.native.gather import (
    MAX_WAIT_SECONDS,
    MOST_MISSING,
    GatheredEvents,
    GatheredLines,
    StopRules,
    Who,
    answer_members,
    choose_stream,
    failure_members,
    parse_stop_rules,
    passed_headers,
    summary_members,
)

WHO = Who("shop/a", "7", "oslo")


@pytest.mark.parametrize(
    ("query", "rules"),
    [
        ("", StopRules()),
        ("max=10", StopRules(max=10)),
        ("wait=2s&stall=300ms&first=true", StopRules(wait_seconds=2.0, stall_seconds=0.3, first=True)),
        ("wait=1.5&first=false", StopRules(wait_seconds=1.5)),
        ("wait=60&stall=60000ms", StopRules(wait_seconds=60.0, stall_seconds=60.0)),
        ("sb-hc-token=x&sb-hc-id=7&max=10000", StopRules(max=10_000)),
    ],
)
def test_stop_rules_are_read(query: str, rules: StopRules) -> None:
    assert parse_stop_rules(query) == rules


@given(st.text(max_size=20), st.sampled_from(["max", "wait", "stall", "first", "x"]))
def test_any_query_is_rules_within_bounds_or_refused(value: str, name: str) -> None:
    try:
        rules = parse_stop_rules(f"{name}={value}")
    except BadRequest:
        return
    assert 0 < rules.wait_seconds <= MAX_WAIT_SECONDS
    assert rules.stall_seconds is None or 0 < rules.stall_seconds <= MAX_WAIT_SECONDS
    assert rules.max is None or 1 <= rules.max <= 10_000


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ([], GatheredLines()),
        (["*/*"], GatheredLines()),
        (["application/x-ndjson"], GatheredLines()),
        (["text/html, Text/Event-Stream;q=0.5"], GatheredEvents()),
        (["text/plain", "text/event-stream"], GatheredEvents()),
    ],
)
def test_a_stream_is_lines_unless_events_are_asked_for(accept: list[str], stream: Any) -> None:
    assert choose_stream(accept) == stream


def test_lines_and_events_hold_the_same() -> None:
    members = answer_members(WHO, 200, "application/json", b'{"a":\r\n1}')
    line = GatheredLines().encode("answer", members)
    event = GatheredEvents().encode("answer", members)
    assert line.count(b"\n") == 1
    assert event == b"event: answer\ndata: " + line + b"\n"
    described = {"address": "shop/a", "listener": "7", "instance": "oslo", "content_type": "application/json"}
    assert json.loads(line) == {"type": "answer", **described, "status": 200, "data": {"a": 1}}


def test_a_summary_has_an_id_by_which_a_browser_says_that_it_has_all() -> None:
    event = GatheredEvents().encode("summary", summary_members(2, 1, 0, [WHO], "wait"))
    head, _, data = event.partition(b"data: ")
    assert head == b"event: summary\nid: end\n"
    named = {"address": "shop/a", "listener": "7", "instance": "oslo"}
    assert json.loads(data) == {
        "type": "summary",
        "asked": 2,
        "answered": 1,
        "failed": 0,
        "missing": [named],
        "why": "wait",
    }


def test_what_is_not_there_is_not_said() -> None:
    who = Who("shop", None, None)
    assert answer_members(who, 204, None, b"") == {"address": "shop", "status": 204}
    failure = failure_members(who, ListenerGone("It left."))
    assert failure == {"address": "shop", "error": {"status": 502, "code": "ListenerGone", "message": "It left."}}
    assert len(summary_members(300, 0, 0, [who] * 300, "wait")["missing"]) == MOST_MISSING


@given(st.binary(max_size=200), st.sampled_from([None, "text/plain", "application/json", "image/png", "x", ""]))
def test_any_answer_is_one_line_of_json(body: bytes, content_type: str | None) -> None:
    line = GatheredLines().encode("answer", answer_members(WHO, 200, content_type, body))
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    json.loads(line)


def test_headers_of_the_stream_stay_here() -> None:
    headers = [("Accept", "x"), ("ACCEPT-Encoding", "gzip"), ("Last-Event-ID", "end"), ("Accept-Language", "no")]
    assert passed_headers(headers) == [("Accept-Language", "no")]
