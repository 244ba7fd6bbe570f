"""One small tree of errors, named as the Azure Relay SDKs name them where they have a name.

Every error that a gateway caused carries its `tracking_id`; the gateway's operator finds the cause
in the log under it.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TRACKING = re.compile(r"TrackingId:([^\s,]+)")
_DETAIL = re.compile(r"<Detail>(.*?)</Detail>", re.DOTALL)


class RelayError(Exception):
    """Base of everything this package raises.

    `status` is the HTTP status behind it (0 if there was none), `code` the gateway's stable name,
    `is_transient` whether the same call may succeed later, `retry_after` seconds or None.
    """

    is_transient = False

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        tracking_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.tracking_id = tracking_id
        self.retry_after = retry_after


class ConfigurationError(RelayError):
    """No URL or key was found, or what was found cannot be used."""


class InvalidAddressError(RelayError, ValueError):
    """An address, pattern or cursor that the grammar refuses."""


class AuthorizationFailedError(RelayError):
    """The token is missing, wrong or expired (401), or lacks the right (403)."""


class EndpointNotFoundError(RelayError):
    """Nothing is provisioned at the address, or nobody listens there now (404)."""


class EndpointAlreadyExistsError(RelayError):
    """The name is taken (409)."""


class UnknownDeliveryError(RelayError):
    """What was acknowledged is not under way: it was settled before, its deadline has passed, or it never was.

    `deliveries` are the numbers that the gateway refused.
    """

    deliveries: tuple[int, ...] = ()


class QuotaExceededError(RelayError):
    """A limit was reached (413, 429)."""


class ServerBusyError(RelayError):
    """The gateway is restarting or overloaded (503)."""

    is_transient = True


class RelayTimeoutError(RelayError, TimeoutError):
    """No answer in time: the gateway's deadline (408, 504) or the caller's own."""

    is_transient = True


class ConnectionLostError(RelayError, ConnectionError):
    """The connection could not be made or was lost; what was under way may or may not have happened."""

    is_transient = True


class ConnectionClosedError(RelayError):
    """The relayed socket has ended. `close_code` 1006 means without a Close frame."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"The socket was closed: {close_code} {reason}".rstrip())
        self.close_code = close_code
        self.reason = reason


_BY_STATUS: dict[int, type[RelayError]] = {
    401: AuthorizationFailedError,
    403: AuthorizationFailedError,
    404: EndpointNotFoundError,
    408: RelayTimeoutError,
    409: EndpointAlreadyExistsError,
    413: QuotaExceededError,
    429: QuotaExceededError,
    503: ServerBusyError,
    504: RelayTimeoutError,
}
_BY_CODE: dict[str, type[RelayError]] = {"UnknownDelivery": UnknownDeliveryError}


def from_status(
    status: int,
    message: str,
    *,
    code: str = "",
    tracking_id: str | None = None,
    retry_after: float | None = None,
) -> RelayError:
    """The error for a status, or a code that says more; the tracking id is looked for in the message when not given."""
    if tracking_id is None and (match := _TRACKING.search(message)):
        tracking_id = match.group(1)
    text = _TRACKING.split(message)[0].strip() or f"The gateway answered {status}."
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, RelayError)
    error = kind(text, status=status, code=code, tracking_id=tracking_id, retry_after=retry_after)
    if status in (429, 502) or code in ("NoListener", "AcceptTimeout"):
        error.is_transient = True
    return error


def from_answer(status: int, reason: str, body: bytes, retry_after: str | None = None) -> RelayError:
    """The error for a refusal: our JSON body, Azure's XML body, or the reason phrase alone."""
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    try:
        detail: Any = json.loads(body)["error"]
        message = str(detail["message"])
        tracking = detail.get("tracking_id")
        return from_status(
            status,
            message,
            code=str(detail.get("code", "")),
            tracking_id=tracking if isinstance(tracking, str) else None,
            retry_after=seconds,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        match = _DETAIL.search(body.decode("utf-8", "replace"))
        return from_status(status, match.group(1) if match else reason, retry_after=seconds)
