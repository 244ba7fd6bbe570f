"""Relaying a request and its response."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.azure.exchange import (
    Channel,
    choose_channel,
    has_no_body,
    reason_phrase,
    request_headers,
    request_target,
    response_headers,
)
from app.wire.azure.headers import is_relayable

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "exchanges.json").read_text())
HOST = "ns.test"


def cases(key: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[key], ids=lambda case: case.get("name"))


def pairs(headers: list[list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers]


@cases("request_headers")
def test_request_headers_are_the_end_to_end_ones(case: dict[str, Any]) -> None:
    """P12, S48 among them."""
    assert request_headers(pairs(case["headers"]), case.get("consumed", False), HOST) == case["expect"]


@cases("request_target")
def test_request_target_is_what_the_application_expects(case: dict[str, Any]) -> None:
    """S47 among them."""
    assert request_target(case["path"], case["query"]) == case["target"]


@cases("response_headers")
def test_response_headers_pass_only_what_can_stand_in_a_head(case: dict[str, Any]) -> None:
    """S34 among them."""
    assert response_headers(pairs(case["headers"]), HOST) == pairs(case["expect"])


@cases("reason")
def test_reason_phrase_is_one_line(case: dict[str, Any]) -> None:
    """S34 among them."""
    assert reason_phrase(case["status"], case["description"]) == case["reason"]


@given(st.integers(100, 999), st.none() | st.text())
def test_no_description_can_split_a_status_line(status: int, description: str | None) -> None:
    """S34."""
    assert is_relayable("x", reason_phrase(status, description))


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20))))
def test_no_answer_can_split_a_head(headers: list[tuple[str, str]]) -> None:
    """S34."""
    assert all(is_relayable(name, value) for name, value in response_headers(headers, HOST))


@cases("channel")
def test_channel_follows_size(case: dict[str, Any]) -> None:
    assert choose_channel(case["head"], case["body"]) is Channel(case["channel"])


@cases("no_body")
def test_answers_without_a_body_are_known(case: dict[str, Any]) -> None:
    assert has_no_body(case["method"], case["status"]) is case["none"]
