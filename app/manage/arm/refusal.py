"""Refusals as Azure's management has them: a nested error whose message ends in a tracking id."""

from __future__ import annotations

import logging

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.access.operator import MISSING_BEARER
from app.errors import BadRequest, RelayError
from app.manage.mistakes import reason_of
from app.manage.refusals import note_refusal
from app.telemetry import printable, sentence

MAX_MESSAGE = 1024  # of what comes before the tracking id, which must never be cut off

_log = logging.getLogger("fanway.arm")
_CODES = {
    "Unauthorized": "InvalidAuthenticationToken",
    "TokenExpired": "ExpiredAuthenticationToken",
    "ClaimMissing": "AuthorizationFailed",
    "EndpointNotFound": "ResourceNotFound",
    "AddressExists": "Conflict",
    "PayloadTooLarge": "RequestEntityTooLarge",
    "InternalError": "InternalServerError",
    "StoreError": "InternalServerError",
    "StoreUnavailable": "ServiceUnavailable",
}


def refusal(path: str, error: RelayError, fault: Exception | None = None, *, code: str | None = None) -> JSONResponse:
    """The answer to a call that is refused, logged. `code` stands in for the error's own; `fault` is what went wrong
    on our side."""
    tracking_id = note_refusal(_log, path, error, fault)
    headers = {"x-ms-request-id": tracking_id}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = _challenge(error.message)
    message = sentence(printable(error.message, MAX_MESSAGE), tracking_id, printable(path, 512))
    return JSONResponse({"error": {"code": code or _code(error), "message": message}}, error.status, headers)


def misshapen(path: str, error: RequestValidationError) -> JSONResponse:
    """The answer to a call that does not fit its description: every place that is wrong, never the value."""
    reasons, code = [], "InvalidRequestContent"
    for item in error.errors():
        where, *steps = item["loc"]
        place = ".".join(str(step) for step in steps)
        if item["type"] == "json_invalid":
            place = ""
        elif where in ("path", "query"):
            code = "BadRequest"
        elif place == "location" and item["type"] == "missing":
            code = "LocationRequired"
        reason = reason_of(item)
        reasons.append(f"{place}: {reason}" if place else reason)
    return refusal(path, BadRequest(f"The request is invalid: {'; '.join(reasons)}."), code=code)


def _code(error: RelayError) -> str:
    if error.message == MISSING_BEARER:
        return "AuthenticationFailed"
    return _CODES.get(error.code, error.code)


def _challenge(message: str) -> str:
    """RFC 6750, 3: no error is named where there was no token."""
    if message == MISSING_BEARER:
        return 'Bearer realm="Fanway"'
    return f'Bearer realm="Fanway", error="invalid_token", error_description="{printable(message).translate(_QUOTED)}"'


_QUOTED = str.maketrans({'"': "'", "\\": "/"})
