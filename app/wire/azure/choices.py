"""What Azure Relay's documentation leaves open, or tells in two ways: each choice once, with its reason.

The gateway's behaviour on Azure's doors asks here and nowhere else, and an operator may choose otherwise: the
fields are settings (`azure.*`). What the guide fixes, or Microsoft's own test suites assert, is no choice and
not here: 401 for everything about a token itself, 410 for a listener that rejects, 403 for a used rendezvous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.closes import (
    DRAINING,
    ENTITY_GONE,
    KEY_REVOKED,
    RECYCLED,
    RELAY_MOVED,
    REPLACED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    UNRESPONSIVE,
    Close,
)
from app.errors import (
    AcceptTimeout,
    BadAnswer,
    ClaimMissing,
    EndpointNotFound,
    ListenerGone,
    NoListener,
    NoListenerAdmitted,
    RelayError,
    ResponseTimeout,
    SubProtocolMismatch,
    TooManyListeners,
)

# Words that Azure's clients and their tests know, for whoever raises the error; those that are a choice are below.
SENTENCES: dict[type[RelayError], str] = {
    EndpointNotFound: "Endpoint does not exist.",
    NoListener: "There are no listeners connected for the endpoint.",
    NoListenerAdmitted: "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria.",
    AcceptTimeout: "None of the connected listeners accepted the connection within the allowed timeout.",
}


def _is_close_code(code: int) -> int:
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999):
        raise ValueError("should be a WebSocket close code that may be sent: 1000 to 1014 or 3000 to 4999")
    return code


Status = Annotated[int, Field(ge=400, le=599)]
Words = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[\x20-\x7e]+$")]
CloseCode = Annotated[int, AfterValidator(_is_close_code)]


class Choices(BaseModel):
    """One field a choice; its text says what it decides and why the default is what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    no_listener_socket: Status = Field(
        default=404,
        description="Status of a socket for which nobody listens: the service's own. The guide says 502 and 503; SDKs "
        "take 404 for temporary.",
    )
    no_listener_request: Status = Field(
        default=404, description="The same for a request. 502 is the guide's; the service answers 404."
    )
    no_listener_words: Words = Field(
        default=SENTENCES[NoListener], description="What is said to both: the service's words."
    )
    accept_timeout_socket: Status = Field(
        default=404,
        description="Status of a socket to whose rendezvous no listener came: the service's own. 504 or 408 would be "
        "a time-out to the .NET SDK.",
    )
    accept_timeout_request: Status = Field(
        default=504, description="The same for a request that no listener came to fetch: HTTP's own for it."
    )
    accept_timeout_words: Words = Field(
        default=SENTENCES[AcceptTimeout], description="What is said to both: the service's words."
    )
    response_timeout: Status = Field(
        default=504, description="Status of a request that was delivered and not answered in time: the guide's."
    )
    listener_lost: Status = Field(
        default=502,
        description="Status of a socket or request whose listener left before it came or answered, when no other "
        "could be asked: undocumented; HTTP's own for it.",
    )
    bad_answer: Status = Field(
        default=502, description="Status of a request whose answer cannot be relayed: undocumented; HTTP's own for it."
    )
    sub_protocol_mismatch: Status = Field(
        default=502,
        description="Status for both ends when the listener names a sub-protocol that the sender did not offer: "
        "undocumented; a sender would have to fail.",
    )
    too_many_listeners: Status = Field(
        default=403,
        description="Status of a listener over the quota: the guide says no more than that it is refused. Not 404, "
        "after which the .NET SDK gives up.",
    )
    missing_right: Status = Field(
        default=403,
        description="Status of a good token that lacks the right: the guide's. The .NET SDK tells of 401 as a "
        "failed authorization, of 403 as forbidden.",
    )
    close_deleted: CloseCode = Field(
        default=1001, description="Close code when the relay is deleted: the guide's for listeners."
    )
    close_expired: CloseCode = Field(
        default=1008, description="Close code when a listener's token has expired: the guide's."
    )
    close_revoked: CloseCode = Field(
        default=1008, description="Close code when its key, rule or token was taken back: the guide's for a policy."
    )
    close_recycled: CloseCode = Field(
        default=1011,
        description="Close code of a control channel at the end of `deadlines.channel_seconds`: as the service does.",
    )
    close_replaced: CloseCode = Field(
        default=1008,
        description="Close code of a listener whose place one of the same `sb-hc-id` took: undocumented; a policy.",
    )
    close_unresponsive: CloseCode = Field(
        default=1011, description="Close code of a listener that answers no ping: undocumented; a fault."
    )
    close_draining: CloseCode = Field(
        default=1012,
        description="Close code when the gateway stops: RFC 6455's registry has it for a restart; SDKs come back "
        "after any code.",
    )
    close_moved: CloseCode = Field(
        default=1012, description="Close code when another relay was provisioned at the listener's address: as above."
    )
    header_before_query: bool = Field(
        default=True,
        description="Of a token in `ServiceBusAuthorization` and one in `sb-hc-token` the header's counts: "
        "undocumented; a query is more easily forged into a link.",
    )
    missing_action_connects: bool = Field(
        default=True,
        description="An upgrade without `sb-hc-action` is a connect. The guide requires it; Microsoft's own tests "
        "leave it out.",
    )
    bare_rejection: bool = Field(
        default=True,
        description="A listener may reject by `statusCode` and `statusDescription` without `sb-hc-`, as the last two "
        "parameters: the Node SDKs do.",
    )
    decodes_path: bool = Field(
        default=True,
        description="`%20` and escaped unreserved characters in the path of a request reach the listener decoded, as "
        "the Java SDK's tests expect; a relay's `keepsPath` goes before this.",
    )
    passes_host: bool = Field(
        default=True,
        description="`Host` is among a request's headers for the listener. The guide's words strip it, its example "
        "shows it; frameworks need it.",
    )
    relays_gateway_errors: bool = Field(
        default=True,
        description="A listener may answer 502 and 504. The guide forbids it, Microsoft's own tests do it. If not, "
        "such an answer is `azure.bad_answer`.",
    )

    def status_of(self, error: RelayError, is_socket: bool) -> int:
        """The status by which an error is told at one of Azure's doors: to a WebSocket's handshake, or to a request."""
        chosen = _STATUSES.get(type(error))
        return error.status if chosen is None else chosen(self)[0 if is_socket else 1]

    def words_of(self, error: RelayError) -> str:
        """What is said of it there, without the tracking part."""
        chosen = _WORDS.get(type(error))
        return error.message if chosen is None else chosen(self)

    def close_of(self, close: Close) -> Close:
        """How what lives at one of Azure's doors is told of its end."""
        chosen = _CLOSES.get(close)
        return close if chosen is None else close._replace(code=chosen(self))


_STATUSES: dict[type[RelayError], Callable[[Choices], tuple[int, int]]] = {
    NoListener: lambda its: (its.no_listener_socket, its.no_listener_request),
    AcceptTimeout: lambda its: (its.accept_timeout_socket, its.accept_timeout_request),
    ResponseTimeout: lambda its: (its.response_timeout, its.response_timeout),
    TooManyListeners: lambda its: (its.too_many_listeners, its.too_many_listeners),
    ClaimMissing: lambda its: (its.missing_right, its.missing_right),
    ListenerGone: lambda its: (its.listener_lost, its.listener_lost),
    BadAnswer: lambda its: (its.bad_answer, its.bad_answer),
    SubProtocolMismatch: lambda its: (its.sub_protocol_mismatch, its.sub_protocol_mismatch),
}

_WORDS: dict[type[RelayError], Callable[[Choices], str]] = {
    NoListener: lambda its: its.no_listener_words,
    AcceptTimeout: lambda its: its.accept_timeout_words,
}

_CLOSES: dict[Close, Callable[[Choices], int]] = {
    ENTITY_GONE: lambda its: its.close_deleted,
    RELAY_MOVED: lambda its: its.close_moved,
    DRAINING: lambda its: its.close_draining,
    KEY_REVOKED: lambda its: its.close_revoked,
    TOKEN_EXPIRED: lambda its: its.close_expired,
    TOKEN_REVOKED: lambda its: its.close_revoked,
    UNRESPONSIVE: lambda its: its.close_unresponsive,
    RECYCLED: lambda its: its.close_recycled,
    REPLACED: lambda its: its.close_replaced,
}

CHOICES = Choices()
"""Those of a gateway whose operator chose nothing else."""
