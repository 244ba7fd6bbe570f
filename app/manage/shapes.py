"""The JSON of what is provisioned, the same in the management API and in the provisioning file."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from app.namespace import DURABLE, HistoryLimits, Namespace, Profile, Relay, RelayDeadlines, Right, Rule, Slow
from app.store.settings import RelaySettings

RightName = Literal["Listen", "Send", "Manage"]
_SETTINGS = RelaySettings.__dataclass_fields__
_RIGHTS: dict[RightName, Right] = {"Listen": Right.LISTEN, "Send": Right.SEND, "Manage": Right.MANAGE}

# Not every profile can be chosen: some come into being by use only, which the registry says in words.
ChosenProfile = Annotated[
    Profile,
    Field(strict=False),
    WithJsonSchema({"type": "string", "enum": [profile.value for profile in Profile if not profile.is_dynamic_only]}),
]


def _whole(given: object) -> object:
    """JSON has one kind of number: 3.0 is as whole as 3."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _moment(given: object) -> object:
    """JSON has no times: they are text (RFC 3339, 5.6)."""
    return _TIME.validate_python(given) if isinstance(given, str) and _DATE.match(given) else given


def _kept(given: dict[str, Any]) -> dict[str, Any]:
    """What is kept as JSON text is the same when it is read again."""
    try:
        is_same = orjson.loads(orjson.dumps(given)) == given
    except (TypeError, ValueError):  # orjson.JSONEncodeError and -DecodeError
        is_same = False
    if not is_same:
        raise ValueError("is nested too deep, or holds a number or a text that JSON cannot exchange (RFC 8259)")
    return given


_TIME, _DATE = TypeAdapter(datetime), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")

Moment = Annotated[datetime, BeforeValidator(_moment)]
AwareMoment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Whole = Annotated[int, BeforeValidator(_whole)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_kept)]
Listeners = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
EventBytes = Annotated[int, Field(ge=1, le=1 << 30), BeforeValidator(_whole)]
Budget = Annotated[int, Field(ge=1024, le=1 << 30), BeforeValidator(_whole)]


class Shape(BaseModel):
    """Names are camelCase on the wire; unknown ones are refused, and types are not bent: 1 is no boolean."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class HistoryShape(Shape):
    """How much a relay remembers of its events; whichever limit is reached first cuts."""

    keep: Literal["none", "memory", "durable"] = Field(
        default="memory",
        description="`memory`: lost when the gateway stops; `durable`: on disk before it is acknowledged, and then "
        "1,000,000 events, 604,800 seconds, 1 GiB unless said otherwise.",
    )
    events: Whole = Field(default=1000, ge=0, le=10_000_000, description="Most events remembered.")
    seconds: float = Field(default=300, ge=0, le=31_536_000, description="Longest time an event is remembered.")
    bytes: Whole = Field(default=1 << 20, ge=0, le=1 << 34, description="Most payload bytes remembered.")

    def over(self, defaults: HistoryLimits) -> HistoryLimits:
        """These limits, with the gateway's defaults where nothing was said."""
        base = DURABLE if self.keep == "durable" != defaults.keep else defaults
        return replace(base, **self.model_dump(exclude_unset=True))


class DeadlinesShape(Shape):
    """How long the gateway waits for a relay's listeners, in seconds; what is left out is as the settings say."""

    accept_seconds: float | None = Field(default=None, gt=0, le=3600, description="To come to a rendezvous.")
    response_seconds: float | None = Field(default=None, gt=0, le=86_400, description="To begin an answer.")
    idle_seconds: float | None = Field(default=None, gt=0, le=86_400, description="For the next bytes of one.")


class RelayShape(Shape):
    """The settings of a relay; what is left out has its default. Those of `history` and `budget` are settings."""

    profile: ChosenProfile = Field(
        default=Profile.NATIVE, description="Our own semantics, or those of a kind of relay in Azure."
    )
    requires_client_authorization: bool = Field(default=True, description="False: senders need no token.")
    history: HistoryShape = Field(default_factory=HistoryShape, description="What the relay remembers.")
    retain: Literal["none", "last"] = Field(default="none", description="`last`: keep the last event of each address.")
    slow: Slow = Field(default="close", description="What happens to a subscriber over its budget.")
    budget: Budget = Field(default=1 << 20, description="Bytes that may be owed to one subscriber.")
    max_event_bytes: EventBytes | None = Field(default=None, description="Of an event's payload; may only narrow.")
    dedup_seconds: float = Field(
        default=120,
        ge=0,
        le=86_400,
        description="In which an event with a known address, `id` and `source` is the same event.",
    )
    event_schema: JsonObject | None = Field(
        default=None, description="JSON Schema that payloads must satisfy; `{}` is none."
    )
    requires_transport_security: bool = Field(default=False, description="Senders must come by TLS.")
    deadlines: DeadlinesShape = Field(default_factory=DeadlinesShape, description="Its own, over the settings'.")
    max_listeners: Listeners | None = Field(default=None, description="Over the settings' limit for its profile.")
    keeps_path: bool = Field(default=False, description="Requests keep every escape of their path.")
    is_public: bool = Field(default=False, description="Listed in the discovery feed while somebody listens.")
    display_name: str = Field(default="", max_length=256, description="There; else its name's last segment.")
    user_metadata: str = Field(default="", max_length=1024, description="Free text of the operator.")

    def over(self, defaults: RelaySettings) -> RelaySettings:
        """These settings, with the gateway's defaults where nothing was said."""
        said = {name: getattr(self, name) for name in self.model_fields_set & set(_SETTINGS)}
        if "history" in said:
            said["history"] = self.history.over(defaults.history)
        if "deadlines" in said:
            said["deadlines"] = RelayDeadlines(**self.deadlines.model_dump())
        if "event_schema" in said:
            said["event_schema"] = orjson.dumps(self.event_schema).decode() if self.event_schema else ""
        return replace(defaults, **said)


class RelayPatch(Shape):
    """Those settings of a relay that shall change; the others stay."""

    profile: ChosenProfile | None = None
    requires_client_authorization: bool | None = None
    history: HistoryShape | None = None
    retain: Literal["none", "last"] | None = None
    slow: Slow | None = None
    budget: Budget | None = None
    max_event_bytes: EventBytes | None = None
    dedup_seconds: float | None = Field(default=None, ge=0, le=86_400)
    event_schema: JsonObject | None = None
    requires_transport_security: bool | None = None
    deadlines: DeadlinesShape | None = None
    max_listeners: Listeners | None = None
    keeps_path: bool | None = None
    is_public: bool | None = None
    display_name: str | None = Field(default=None, max_length=256)
    user_metadata: str | None = Field(default=None, max_length=1024)

    def applied_to(self, relay: Relay) -> RelayShape:
        now = {name: getattr(relay, name) for name in RelayShape.model_fields}
        for name in ("history", "deadlines"):
            now[name] = asdict(now[name])
        now["event_schema"] = orjson.loads(relay.event_schema) if relay.event_schema else None
        for name in self.model_fields_set:
            value = getattr(self, name)
            if isinstance(value, Shape):
                now[name] |= value.model_dump(exclude_unset=True)
            elif value is not None:
                now[name] = value
        return RelayShape(**now)


class RelayView(RelayShape):
    """A relay as it is now."""

    profile: Profile
    name: str
    is_dynamic: bool = Field(description="It came into being by use and goes when unused.")
    created_at: datetime
    updated_at: datetime
    listener_count: int
    subscription_count: int

    @classmethod
    def of(cls, relay: Relay, counts: tuple[int, int]) -> RelayView:
        return cls(
            **RelayPatch().applied_to(relay).model_dump(),
            name=relay.name,
            is_dynamic=relay.is_dynamic,
            created_at=datetime.fromtimestamp(relay.created_at, UTC),
            updated_at=datetime.fromtimestamp(relay.updated_at, UTC),
            listener_count=counts[0],
            subscription_count=counts[1],
        )


class RuleShape(Shape):
    """What a rule lets its holder do. What is left out stays; keys are generated for a new rule."""

    rights: list[RightName] = Field(min_length=1, description="Manage implies Listen and Send.")
    primary_key: SecretStr | None = Field(default=None, min_length=1, max_length=256)
    secondary_key: SecretStr | None = Field(default=None, min_length=1, max_length=256)
    creates_relays: bool | None = Field(
        default=None, description="Who listens by it may create dynamic relays. Needs Listen, on the namespace."
    )

    def right(self) -> Right:
        total = Right.NONE
        for name in self.rights:
            total |= _RIGHTS[name]
        return total

    def keys(self) -> tuple[str | None, str | None]:
        return (
            self.primary_key.get_secret_value() if self.primary_key else None,
            self.secondary_key.get_secret_value() if self.secondary_key else None,
        )


class RuleView(Shape):
    """A rule without its keys."""

    name: str
    rights: list[RightName]
    creates_relays: bool

    @classmethod
    def of(cls, rule: Rule) -> RuleView:
        rights = [name for name, right in _RIGHTS.items() if right in rule.rights]
        return cls(name=rule.name, rights=rights, creates_relays=rule.creates_relays)


class KeysView(Shape):
    """The keys of a rule."""

    name: str
    primary_key: str
    secondary_key: str

    @classmethod
    def of(cls, rule: Rule) -> KeysView:
        return cls(name=rule.name, primary_key=rule.primary_key, secondary_key=rule.secondary_key)


class Rotation(Shape):
    """Which key of a rule to renew."""

    key: Literal["primary", "secondary"]


class RelayList(Shape):
    relays: list[RelayView]


class RuleList(Shape):
    rules: list[RuleView]


class AliasShape(Shape):
    """Where a further host name of a namespace leads."""

    address: str = Field(
        default="",
        max_length=512,
        json_schema_extra={"format": "address"},
        description="Its paths lie under this address; empty: the root.",
    )


class AliasView(AliasShape):
    """A further host name of a namespace."""

    host: str


class AliasList(Shape):
    """Further host names of a namespace."""

    aliases: list[AliasView]

    @classmethod
    def of(cls, namespace: Namespace) -> AliasList:
        return cls(aliases=[AliasView(host=host, address=to) for host, to in sorted(namespace.aliases.items())])


class Failure(Shape):
    """Why a call was refused."""

    status: int
    code: str = Field(description="A stable name for programs.")
    message: str
    tracking_id: str = Field(alias="tracking_id", description="Under this the operator finds the cause.")


class FailureBody(Shape):
    """Every refusal on this door."""

    error: Failure
