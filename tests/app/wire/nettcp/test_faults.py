"""Which fault a refusal is told by."""

from __future__ import annotations

import pytest

from app.errors import (
    AcceptTimeout,
    BadRequest,
    ClaimMissing,
    EndpointNotFound,
    FramingError,
    GatewayDraining,
    MisdirectedRequest,
    NoListener,
    Overloaded,
    QuotaExceeded,
    Rejected,
    RelayError,
    TooSlow,
    TransportSecurityRequired,
    Unauthorized,
    UnknownHost,
    Unsupported,
)
from app.wire.nettcp.faults import UNSUPPORTED_MODE, fault_of
from app.wire.nettcp.records import FAULT_BYTES


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (FramingError("x", UNSUPPORTED_MODE), "UnsupportedMode"),
        (Unauthorized("x"), "EndpointAccessDenied"),
        (ClaimMissing("x"), "EndpointAccessDenied"),
        (EndpointNotFound("x"), "EndpointNotFound"),
        (UnknownHost("x"), "EndpointNotFound"),
        (NoListener("x"), "EndpointNotFound"),
        (BadRequest("x"), "EndpointNotFound"),
        (Unsupported("x"), "EndpointNotFound"),
        (MisdirectedRequest("x"), "EndpointNotFound"),
        (TransportSecurityRequired("x"), "EndpointAccessDenied"),
        (AcceptTimeout("x"), "ConnectionDispatchFailed"),
        (TooSlow("x"), "ConnectionDispatchFailed"),
        (RelayError("x"), "ConnectionDispatchFailed"),
        (GatewayDraining("x"), "ServerTooBusy"),
        (Overloaded("x"), "ServerTooBusy"),
        (QuotaExceeded("x"), "ServerTooBusy"),
        (Rejected("x", status=403), "EndpointAccessDenied"),
        (Rejected("x", status=404), "EndpointNotFound"),
        (Rejected("x", status=503), "ServerTooBusy"),
        (Rejected("x", status=502), "ConnectionDispatchFailed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RelayError) else value,
)
def test_a_refusal_has_its_fault(error: RelayError, name: str) -> None:
    fault = fault_of(error)
    assert fault == f"http://schemas.microsoft.com/ws/2006/05/framing/faults/{name}"
    assert len(fault) <= FAULT_BYTES
