"""The errors of the gateway, and the only map from an error to a status, a reason and a close code; how a connection
ends without one is in `app.closes`.

The layer that knows raises; the edge renders. Every refusal carries a tracking id, which the edge
adds when it renders (see `app.telemetry.sentence`). A class's first sentence says when it is raised;
docs/errors.md is made from it.

    RelayError
      BadRequest         UnknownAction  PeerWireError  FramingError  UpgradeRequired  UnknownApiVersion
      AccessError        Unauthorized (TokenExpired)  ClaimMissing  TransportSecurityRequired
      AddressError       EndpointNotFound (ParentNotFound)  UnknownHost  MisdirectedRequest
                         NoListener (NoListenerAdmitted)  AddressExists  UnknownDelivery
      RendezvousError    Rejected  RendezvousExpired  AcceptTimeout  ResponseTimeout  ListenerGone  Gone
                         BadAnswer (SubProtocolMismatch)
      CapacityError      QuotaExceeded (TooManyListeners)  GatewayDraining  Overloaded
                         PayloadTooLarge  HeadTooLarge  TooSlow  KeysPending  IssuerUnreachable
      MethodNotAllowed   NotImplementedVerb  Unsupported  InjectedFault
      Conflict  SchemaViolation
      StoreError         MigrationMissing  StoreUnavailable  StorageFull
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from fanout.errors import FanoutError, FiltersTooCostly


class RelayError(Exception):
    """The gateway failed; the operator finds the cause under the tracking id. The base of all.

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
    """The request cannot be understood; the message says what is wrong."""

    status, close, code = 400, 1008, "BadRequest"


class UnknownAction(BadRequest):
    """`sb-hc-action` names nothing that exists."""

    code = "UnknownAction"


class UpgradeRequired(BadRequest):
    """A WebSocket upgrade is of another version than 13; the answer names ours (RFC 6455, 4.4)."""

    status, code = 426, "UpgradeRequired"


class UnknownApiVersion(BadRequest):
    """A call of Azure's management names an `api-version` that there is not; the message lists those there are."""

    code = "NoRegisteredProviderFound"


class PeerWireError(BadRequest):
    """The peer broke a protocol.

    `close` is the close code its WebSocket gets (RFC 6455, 7.4.1).
    """

    close, code = 1002, "ProtocolError"

    def __init__(self, message: str, *, close: int = 1002, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.close = close


class FramingError(BadRequest):
    """A net.tcp peer broke the framing, or asks for what is not offered.

    `fault` is the URI of the Fault record that it gets.
    """

    code = "FramingError"

    def __init__(self, message: str, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class AccessError(RelayError):
    """The base of what follows."""

    status, close, code = 401, 1008, "Unauthorized"


class Unauthorized(AccessError):
    """The token is missing, malformed, badly signed, or made for another host or path."""


class TokenExpired(Unauthorized):
    """The token is older than its expiry and the grace period."""

    code = "TokenExpired"


class ClaimMissing(AccessError):
    """The token is good but lacks the right, or does not reach so far."""

    status, code = 403, "ClaimMissing"


class TransportSecurityRequired(AccessError):
    """The relay takes senders by TLS only, and this one came without."""

    status, code = 403, "TransportSecurityRequired"


class AddressError(RelayError):
    """The base of what follows."""

    status, close, code = 404, 1008, "NotFound"


class EndpointNotFound(AddressError):
    """Nothing is provisioned there."""

    code = "EndpointNotFound"


class ParentNotFound(EndpointNotFound):
    """What a thing would be in is not there itself: a namespace, or a relay whose rules are meant."""

    code = "ParentResourceNotFound"


class UnknownHost(AddressError):
    """No namespace answers to the name in the Host header."""

    code = "UnknownHost"


class MisdirectedRequest(AddressError):
    """A TLS connection was made to a host of one namespace, and a request on it names a host of another."""

    status, code = 421, "MisdirectedRequest"


class NoListener(AddressError):
    """The relay exists, but nobody listens there now."""

    code, is_transient = "NoListener", True


class NoListenerAdmitted(NoListener):
    """Somebody listens, but nobody whom the sender's `Microsoft-Relay-AllowedListeners`, its opposite or its
    `Fanway-Instance` admits."""

    code = "NoListenerAdmitted"


class UnknownDelivery(AddressError):
    """What is acknowledged is not under way: it was settled, its deadline has passed, or it is another's."""

    code = "UnknownDelivery"


class AddressExists(AddressError):
    """The name is taken by something else."""

    status, code = 409, "AddressExists"


class Conflict(RelayError):
    """What is asked does not go with what is there: a relay of another type, a namespace that has to stay."""

    status, close, code = 409, 1008, "Conflict"


class SchemaViolation(RelayError):
    """An event's payload is not what its relay's JSON Schema says; the message names the place and the reason."""

    status, close, code = 422, 1007, "SchemaViolation"


class RendezvousError(RelayError):
    """The base of what follows."""

    status, close, code = 502, 1011, "RendezvousFailed"


class Rejected(RendezvousError):
    """The listener said no; its own status and words go to the sender verbatim."""

    code = "Rejected"


class RendezvousExpired(RendezvousError):
    """A rendezvous URL is unknown, was used, or is too old."""

    status, close, code = 403, 1008, "RendezvousExpired"


class AcceptTimeout(RendezvousError):
    """No listener came to the rendezvous of a socket in time."""

    status, code, is_transient = 404, "AcceptTimeout", True


class ResponseTimeout(RendezvousError):
    """The listener did not begin its answer in time, or stopped in the middle."""

    status, code, is_transient = 504, "ResponseTimeout", True


class ListenerGone(RendezvousError):
    """The listener left before its answer was complete."""

    code, is_transient = "ListenerGone", True


class Gone(RendezvousError):
    """A listener came to turn its sender away; this is its own answer."""

    status, close, code = 410, 1000, "Gone"


class BadAnswer(RendezvousError):
    """The listener's answer cannot be relayed.

    `request_id` is the request it belongs to, if it named one.
    """

    code = "BadAnswer"

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class SubProtocolMismatch(BadAnswer):
    """A listener came to a rendezvous with a sub-protocol that its sender did not offer."""

    code = "SubProtocolMismatch"


class CapacityError(RelayError):
    """The base of what follows."""

    status, close, code, is_transient = 503, 1013, "Overloaded", True


class QuotaExceeded(CapacityError):
    """A limit on how many there may be of something is reached."""

    status, code = 429, "QuotaExceeded"


class TooManyListeners(QuotaExceeded):
    """The relay has as many listeners as it may have; the limit is a setting, and each relay's own."""

    status, code = 403, "TooManyListeners"


class GatewayDraining(CapacityError):
    """The gateway is stopping and takes no new work."""

    close, code = 1012, "GatewayDraining"


class Overloaded(CapacityError):
    """There are as many connections as the gateway can hold, or a peer takes nothing more."""


class KeysPending(CapacityError):
    """The keys of a token's issuer are being fetched; most calls are held until they are there.

    `then` calls back once they are, or cannot be had.
    """

    code = "KeysPending"

    def __init__(self, then: Callable[[Callable[[], object]], None]) -> None:
        super().__init__("The keys of the token's issuer are being fetched; try again.", retry_after=1)
        self.then = then


class IssuerUnreachable(CapacityError):
    """The keys of a token's issuer cannot be had now, so that nobody knows whether the token is good."""

    code = "IssuerUnreachable"


class PayloadTooLarge(CapacityError):
    """A body, an event or a message is larger than allowed."""

    status, close, code, is_transient = 413, 1009, "PayloadTooLarge", False


class HeadTooLarge(CapacityError):
    """A request's head, or a part of a body that is none of it, is larger than allowed."""

    status, close, code, is_transient = 431, 1009, "HeadTooLarge", False


class TooSlow(CapacityError):
    """A request's head or body did not arrive in time."""

    status, close, code = 408, 1008, "TooSlow"


class MethodNotAllowed(RelayError):
    """The door does not know this method, or the method is CONNECT."""

    status, close, code = 405, 1008, "MethodNotAllowed"


class InjectedFault(RelayError):
    """The emulator was told to refuse the call."""

    status, close, code, is_transient = 503, 1011, "InjectedFault", True


class NotImplementedVerb(RelayError):
    """The method is none that the parser knows."""

    status, close, code = 501, 1008, "NotImplementedVerb"


class Unsupported(RelayError):
    """Something well-formed is not carried by this door, transport or relay."""

    status, close, code = 400, 1008, "Unsupported"


class StoreError(RelayError):
    """The registry failed."""

    code = "StoreError"


class MigrationMissing(StoreError):
    """The database does not fit this version's migrations."""

    code = "MigrationMissing"


class StoreUnavailable(StoreError):
    """The registry or the journal cannot be reached or written."""

    status, code, is_transient = 503, "StoreUnavailable", True


class StorageFull(StoreError):
    """The disk, or what the journal may take of it, is full; nothing of the publish was kept."""

    status, close, code, is_transient = 507, 1013, "StorageFull", True


def as_relay_error(error: Exception) -> RelayError:
    """The error to show a peer: itself, a 400 for a bad address, pattern or filter, a 429, else a bare 500."""
    if isinstance(error, RelayError):
        return error
    if isinstance(error, FiltersTooCostly):
        return QuotaExceeded(str(error))
    if isinstance(error, FanoutError):
        return BadRequest(str(error))
    return RelayError("The gateway failed to handle this. The operator finds the cause under the tracking id.")
