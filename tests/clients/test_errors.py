"""Refusals of either spelling become the right error, with the tracking id."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.errors import (
    AuthorizationFailedError,
    EndpointNotFoundError,
    RelayError,
    RelayTimeoutError,
    ServerBusyError,
    from_answer,
    from_status,
)


def test_our_own_json_refusal() -> None:
    body = {"error": {"status": 404, "code": "NoListener", "message": "Nobody listens.", "tracking_id": "t_G0"}}
    error = from_answer(404, "x", json.dumps(body).encode())
    assert isinstance(error, EndpointNotFoundError)
    assert (str(error), error.code, error.tracking_id, error.is_transient) == (
        "Nobody listens.",
        "NoListener",
        "t_G0",
        True,
    )


def test_azures_xml_refusal() -> None:
    body = b"<Error><Code>401</Code><Detail>MissingToken: none. TrackingId:a-b_G0, Timestamp:x</Detail></Error>"
    error = from_answer(401, "x", body)
    assert isinstance(error, AuthorizationFailedError)
    assert (str(error), error.tracking_id) == ("MissingToken: none.", "a-b_G0")


def test_a_bare_reason_phrase() -> None:
    error = from_answer(504, "Too late. TrackingId:q_G1, SystemTracker:y", b"")
    assert isinstance(error, RelayTimeoutError)
    assert isinstance(error, TimeoutError)
    assert error.tracking_id == "q_G1"


def test_retry_after_is_kept() -> None:
    error = from_answer(503, "Busy.", b"", "7")
    assert isinstance(error, ServerBusyError)
    assert (error.retry_after, error.is_transient) == (7.0, True)


@given(st.integers(0, 999), st.text(), st.binary())
def test_any_answer_becomes_an_error(status: int, reason: str, body: bytes) -> None:
    assert isinstance(from_answer(status, reason, body), RelayError)


@pytest.mark.parametrize("status", [400, 418, 500, 502])
def test_other_statuses_are_plain_relay_errors(status: int) -> None:
    assert type(from_status(status, "x")) is RelayError
