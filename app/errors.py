"""The errors of the gateway, and the only map from an error to a status, a reason and a close code.

The layer that knows raises; the edge renders. Every refusal carries a tracking id, which the edge
adds when it renders (see `app.telemetry.sentence`).

    RelayError
      BadRequest           400  the request cannot be understood
        UnknownAction      400  `sb-hc-action` names nothing
        PeerWireError      400  the peer broke a protocol
      AccessError
        Unauthorized       401  token missing, malformed, badly signed, wrong audience
          TokenExpired     401
        ClaimMissing       403  a verified token lacks the right, or does not reach so far
      AddressError
        EndpointNotFound   404  nothing is provisioned there
        UnknownHost        404  no namespace answers to this host name
        NoListener         404  provisioned, but nobody listens
        AddressExists      409
      RendezvousError
        Rejected           the listener's own status and words
        RendezvousExpired  403  a rendezvous URL that is unknown, used or too old
        AcceptTimeout      404  (HTTP 504) nobody came to the rendezvous in time
        ResponseTimeout    504  the listener did not answer in time
        ListenerGone       502  the listener left before it answered
        Gone               410  what a listener is told that turned its sender away
        BadAnswer          502  the listener's answer cannot be relayed
      CapacityError
        QuotaExceeded      429
        TooManyListeners   403
        GatewayDraining    503
        Overloaded         503
        PayloadTooLarge    413
        HeadTooLarge       431
        TooSlow            408
      MethodNotAllowed     405
      NotImplementedVerb   501
      Unsupported          415 / 400 options that a transport cannot honour
      Unprocessable        422
      StoreError           500
        MigrationMissing  StoreUnavailable (503)
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from fanout.errors import FanoutError


class RelayError(Exception):
    """A refusal or failure that a peer gets to see.

    `status` is the HTTP status, `close` the WebSocket close code, `code` a stable name for
    programs, `is_transient` whether the same call may succeed later.
    """

    status: int = 500
    close: int = 1011
    code: ClassVar[str] = "InternalError"
    is_transient: ClassVar[bool] = False

    def __init__(self, message: str, *, status: int | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if status is not None:
            self.status = status


class BadRequest(RelayError):
    status, close, code = 400, 1008, "BadRequest"


class UnknownAction(BadRequest):
    code = "UnknownAction"


class PeerWireError(BadRequest):
    """The peer broke a protocol. `close` is the close code its WebSocket gets (RFC 6455, 7.4.1)."""

    close, code = 1002, "ProtocolError"

    def __init__(self, message: str, *, close: int = 1002, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.close = close


class AccessError(RelayError):
    status, close, code = 401, 1008, "Unauthorized"


class Unauthorized(AccessError):
    pass


class TokenExpired(Unauthorized):
    code = "TokenExpired"


class ClaimMissing(AccessError):
    status, code = 403, "ClaimMissing"


class AddressError(RelayError):
    status, close, code = 404, 1008, "NotFound"


class EndpointNotFound(AddressError):
    code = "EndpointNotFound"


class UnknownHost(AddressError):
    code = "UnknownHost"


class NoListener(AddressError):
    code, is_transient = "NoListener", True


class AddressExists(AddressError):
    status, code = 409, "AddressExists"


class RendezvousError(RelayError):
    status, close, code = 502, 1011, "RendezvousFailed"


class Rejected(RendezvousError):
    """The listener said no; its status and words go to the sender verbatim."""

    code = "Rejected"


class RendezvousExpired(RendezvousError):
    status, close, code = 403, 1008, "RendezvousExpired"


class AcceptTimeout(RendezvousError):
    status, code, is_transient = 404, "AcceptTimeout", True


class ResponseTimeout(RendezvousError):
    status, code, is_transient = 504, "ResponseTimeout", True


class ListenerGone(RendezvousError):
    code, is_transient = "ListenerGone", True


class Gone(RendezvousError):
    """The answer to a listener that came to turn its sender away."""

    status, close, code = 410, 1000, "Gone"


class BadAnswer(RendezvousError):
    """The listener's answer cannot be relayed; `request_id` is the request it belongs to, if it named one."""

    code = "BadAnswer"

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class CapacityError(RelayError):
    status, close, code, is_transient = 503, 1013, "Overloaded", True


class QuotaExceeded(CapacityError):
    status, code = 429, "QuotaExceeded"


class TooManyListeners(CapacityError):
    status, code = 403, "TooManyListeners"


class GatewayDraining(CapacityError):
    close, code = 1012, "GatewayDraining"


class Overloaded(CapacityError):
    pass


class PayloadTooLarge(CapacityError):
    status, close, code, is_transient = 413, 1009, "PayloadTooLarge", False


class HeadTooLarge(CapacityError):
    status, close, code, is_transient = 431, 1009, "HeadTooLarge", False


class TooSlow(CapacityError):
    status, close, code = 408, 1008, "TooSlow"


class MethodNotAllowed(RelayError):
    status, close, code = 405, 1008, "MethodNotAllowed"


class NotImplementedVerb(RelayError):
    status, close, code = 501, 1008, "NotImplementedVerb"


class Unsupported(RelayError):
    """Something well-formed that this door or transport does not carry."""

    status, close, code = 400, 1008, "Unsupported"


class Unprocessable(RelayError):
    status, close, code = 422, 1007, "Unprocessable"


class StoreError(RelayError):
    code = "StoreError"


class MigrationMissing(StoreError):
    code = "MigrationMissing"


class StoreUnavailable(StoreError):
    status, code, is_transient = 503, "StoreUnavailable", True


def as_relay_error(error: Exception) -> RelayError:
    """The error to show a peer: itself, a 400 for a bad address or pattern, else a bare 500."""
    if isinstance(error, RelayError):
        return error
    if isinstance(error, FanoutError):
        return BadRequest(str(error))
    return RelayError("The gateway failed to handle this. The operator finds the cause under the tracking id.")


class Close(NamedTuple):
    """How a connection ends: a WebSocket close code, words, and whether the client should come back."""

    code: int
    reason: str
    reconnect: bool


NORMAL = Close(1000, "", False)
ENTITY_GONE = Close(1001, "The relay was deleted.", False)
DRAINING = Close(1012, "The gateway is restarting.", True)
KEY_REVOKED = Close(1008, "The key or rule behind this connection is gone.", False)
TOKEN_EXPIRED = Close(1008, "ExpiredToken: The token is expired.", True)
SLOW_CONSUMER = Close(1013, "Slow consumer: more bytes were owed than the budget allows.", True)
UNRESPONSIVE = Close(1011, "The peer did not answer pings.", True)
GATEWAY_FAULT = Close(1011, "The gateway failed.", True)

CLOSES: dict[str, Close] = {
    "NORMAL": NORMAL,
    "ENTITY_GONE": ENTITY_GONE,
    "DRAINING": DRAINING,
    "KEY_REVOKED": KEY_REVOKED,
    "TOKEN_EXPIRED": TOKEN_EXPIRED,
    "SLOW_CONSUMER": SLOW_CONSUMER,
    "UNRESPONSIVE": UNRESPONSIVE,
    "GATEWAY_FAULT": GATEWAY_FAULT,
}
