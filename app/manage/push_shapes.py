"""The JSON of push subscriptions: the subscription object of CloudEvents Subscriptions 1.0-wip, and what we add to it.

Its own members are spelled as there, in lower case; what stands in `config` and `status` is ours. Secrets are written
only: what is read has `***` in their place, and what is written with `***` in their place leaves them as they are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from app.errors import BadRequest
from app.manage.shapes import JsonObject, Moment, Shape, Whole
from app.push.log import Attempt, Result
from app.push.settings import (
    ConsentState,
    Credential,
    PushSettings,
    Validation,
    check_credential,
    check_headers,
)
from app.push.signature import key_of, new_secret
from app.push.target import Reach, parse_target
from app.wire.native.webhook import Mode

MASK = "***"

Name = Annotated[str, Field(min_length=1, max_length=1024)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096)]


class CredentialShape(Shape):
    """What the sink asks for in `Authorization`. `PLAIN`: `identifier` and `secret`; `ACCESSTOKEN`: `accesstoken`."""

    credentialtype: Literal["PLAIN", "ACCESSTOKEN"]
    identifier: Name | None = None
    secret: Secret | None = None
    accesstoken: Secret | None = None
    accesstokentype: Name | None = Field(default=None, description="Left out: Bearer.")
    accesstokenexpiresutc: Moment | None = Field(default=None, description="Taken and not kept: the sink says 401.")

    def credential(self, old: Credential | None) -> Credential:
        if self.credentialtype == "PLAIN":
            given, identifier = self.secret, self.identifier
            if given is None or identifier is None:
                raise BadRequest("A credential of the type PLAIN has an 'identifier' and a 'secret'.")
        else:
            given, identifier = self.accesstoken, self.accesstokentype or "Bearer"
            if given is None:
                raise BadRequest("A credential of the type ACCESSTOKEN has an 'accesstoken'.")
        secret = given.get_secret_value()
        if secret == MASK and old is not None and old.kind == self.credentialtype:
            secret = old.secret
        return check_credential(Credential(self.credentialtype, identifier, secret))


class CredentialView(Shape):
    """A credential without its secret."""

    credentialtype: Literal["PLAIN", "ACCESSTOKEN"]
    identifier: str | None = None
    secret: str | None = None
    accesstoken: str | None = None
    accesstokentype: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> CredentialView:
        if credential.kind == "PLAIN":
            return cls(credentialtype="PLAIN", identifier=credential.identifier, secret=MASK)
        return cls(credentialtype="ACCESSTOKEN", accesstoken=MASK, accesstokentype=credential.identifier)


class ConfigShape(Shape):
    """Which events, and how often they are tried."""

    pattern: Name = Field(description="Their addresses.")
    from_: Name = Field(
        default="now",
        alias="from",
        description="Where it begins: `now`, `start`, a cursor or a time. Only when it is created.",
    )
    order: Literal["none", "strict"] = Field(default="none", description="`strict`: one event at a time, in order.")
    max_deliveries: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        default=10, description="After so many attempts in vain it is a dead letter."
    )
    dead_letter: Name | None = Field(default=None, description="Address to which dead letters are published.")


class ProtocolShape(Shape):
    """How the sink wants its requests."""

    headers: dict[str, str] = Field(default_factory=dict, description="Further headers.")
    method: Literal["POST"] = "POST"
    mode: Annotated[Mode, Field(strict=False)] = Field(default=Mode.BINARY, description="CloudEvents content mode.")
    rate: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Most requests a minute; the sink may allow fewer."
    )


class SubscriptionShape(Shape):
    """A subscription as it is asked for."""

    id: str | None = Field(default=None, description="The gateway gives it; ignored here.")
    source: Name | None = Field(default=None, description="Only events with this `source`.")
    types: list[Name] | None = Field(default=None, max_length=64, description="Only events of these types.")
    config: ConfigShape
    filters: list[JsonObject] | None = Field(default=None, max_length=64, description="All of these must hold.")
    sink: str = Field(description="URL to which events are sent.")
    sinkcredential: CredentialShape | None = None
    protocol: Literal["HTTP"]
    protocolsettings: ProtocolShape = Field(default_factory=ProtocolShape)

    def settings(self, old: PushSettings | None = None) -> PushSettings:
        """What it asks for; `old` is what it replaces. Raises `BadRequest`."""
        config, protocol = self.config, self.protocolsettings
        if old is not None and self._keeps_secrets and not _is_same_place(self.sink, old.sink):
            raise BadRequest(
                "A sink at another place gets no secrets of the one before: write them where '***' stands."
            )
        known = dict(old.headers) if old is not None else {}
        headers = {name: known.get(name, MASK) if value == MASK else value for name, value in protocol.headers.items()}
        return PushSettings(
            id="",
            relay="",
            pattern=config.pattern,
            sink=self.sink,
            secrets=(),
            source=self.source,
            types=tuple(self.types or ()),
            filters=tuple(self.filters or ()),
            mode=protocol.mode,
            headers=check_headers(headers),
            credential=self.sinkcredential.credential(old.credential if old else None) if self.sinkcredential else None,
            order=config.order,
            rate=protocol.rate,
            max_deliveries=config.max_deliveries,
            dead_letter=config.dead_letter,
        )

    @property
    def _keeps_secrets(self) -> bool:
        credential = self.sinkcredential
        given = (credential.secret, credential.accesstoken) if credential is not None else ()
        return MASK in (*self.protocolsettings.headers.values(), *[each.get_secret_value() for each in given if each])


class NewSubscriptionShape(SubscriptionShape):
    """A subscription as it is created."""

    secret: Secret | None = Field(default=None, description="Signs the requests; left out: one is made.")

    def settings(self, old: PushSettings | None = None) -> PushSettings:
        secret = new_secret() if self.secret is None else self.secret.get_secret_value()
        key_of(secret)
        return replace(super().settings(old), secrets=(secret,))


class ValidationView(Shape):
    """Whether the sink has agreed; nothing is sent before."""

    state: ConsentState
    allowed_rate: int | None = Field(description="Requests a minute; null: any.")
    reason: str
    at: datetime | None

    @classmethod
    def of(cls, held: Validation) -> ValidationView:
        return cls(state=held.state, allowed_rate=held.rate, reason=held.reason, at=_time(held.at) if held.at else None)


class StatusView(Shape):
    """How a subscription fares. What is counted is counted since the gateway started."""

    is_enabled: bool
    stopped_because: str = Field(description="Where the gateway itself has disabled it.")
    owner: str
    validation: ValidationView
    delivered: int
    failed: int
    dead: int
    secrets: int = Field(description="2 while they are being changed.")
    created_at: datetime


class SubscriptionView(Shape):
    """A subscription as it is."""

    id: str
    source: str | None
    types: list[str]
    config: ConfigShape
    filters: list[dict[str, Any]]
    sink: str
    sinkcredential: CredentialView | None
    protocol: Literal["HTTP"]
    protocolsettings: ProtocolShape
    status: StatusView

    @classmethod
    def of(cls, held: PushSettings, owner: str, counts: dict[str, int]) -> SubscriptionView:
        return cls(
            id=held.id,
            source=held.source,
            types=list(held.types),
            config=ConfigShape(
                pattern=held.pattern,
                order=held.order,
                max_deliveries=held.max_deliveries,
                dead_letter=held.dead_letter,
            ),
            filters=list(held.filters),
            sink=held.sink,
            sinkcredential=CredentialView.of(held.credential) if held.credential else None,
            protocol="HTTP",
            protocolsettings=ProtocolShape(
                headers={name: MASK for name, _ in held.headers}, mode=held.mode, rate=held.rate
            ),
            status=StatusView(
                is_enabled=held.is_enabled,
                stopped_because=held.stopped_because,
                owner=owner,
                validation=ValidationView.of(held.validation),
                delivered=counts.get("delivered", 0),
                failed=counts.get("failed", 0),
                dead=counts.get("dead", 0),
                secrets=len(held.secrets),
                created_at=_time(held.created_at),
            ),
        )


class CreatedSubscriptionView(SubscriptionView):
    """A subscription that is new: the only answer with its secret."""

    secret: str


class SubscriptionList(Shape):
    subscriptions: list[SubscriptionView]


class AttemptView(Shape):
    """One request to the sink and what came of it."""

    cursor: str
    address: str
    attempt: int
    at: datetime
    milliseconds: float
    status: int | None = Field(description="Null: there was no answer.")
    error: str
    result: Result
    next_at: datetime | None = Field(description="When it is tried again.")
    tracking_id: str

    @classmethod
    def of(cls, held: Attempt) -> AttemptView:
        return cls(
            cursor=held.cursor,
            address=held.address,
            attempt=held.attempt,
            at=_time(held.at),
            milliseconds=round(held.milliseconds, 1),
            status=held.status,
            error=held.error,
            result=held.result,
            next_at=None if held.next_at is None else _time(held.next_at),
            tracking_id=held.tracking_id,
        )


class AttemptList(Shape):
    deliveries: list[AttemptView]


class SecretRotation(Shape):
    """A new signing secret; the one before signs beside it until it is dropped."""

    secret: Secret | None = Field(default=None, description="Left out: one is made.")
    keeps_previous: bool = Field(default=True, description="False: the one before signs no more.")


class SecretView(Shape):
    secret: str


class Replay(Shape):
    """Where to read again from."""

    from_: Name = Field(alias="from", description="`now`, `start`, a cursor or a time.")


def _is_same_place(sink: str, other: str) -> bool:
    """Whether both URLs lead to one server: whoever may change a subscription must not learn its secrets by that."""
    one, two = (parse_target(url, Reach(allows_http=True)) for url in (sink, other))
    return (one.scheme, one.host, one.port) == (two.scheme, two.host, two.port)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
