"""What is provisioned, in memory: a namespace, its relays and rules. The one source for every door.

The store fills it at start and changes it after each commit; `on_change` tells whoever holds
something live (sockets, grants, plans) that it moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Flag, StrEnum
from typing import Literal, NamedTuple

Slow = Literal["close", "drop", "catch-up", "block"]
"""What becomes of a subscriber that is owed more than its budget."""


class Right(Flag):
    """What somebody may do. Rules hold whole rights, Listen, Send and Manage, of which Manage implies the other two;
    a JSON Web Token may hold their parts. Who is asked for a whole right needs all of its parts."""

    NONE = 0
    ACCEPT = 1  # be a listener: take requests and sockets
    SUBSCRIBE = 2
    PUBLISH = 4
    ASK = 8
    OPEN = 16
    CHANGE = 32  # what is provisioned
    LISTEN = ACCEPT | SUBSCRIBE
    SEND = PUBLISH | ASK | OPEN
    MANAGE = CHANGE | LISTEN | SEND

    @property
    def label(self) -> str:
        """The whole right that this is, or is a part of."""
        if self in Right.LISTEN:
            return "Listen"
        return "Send" if self in Right.SEND else "Manage"


class Profile(StrEnum):
    """Whom a relay imitates: our own semantics, Azure's Hybrid Connection, or one of WCF Relay's four kinds."""

    NATIVE = "native"
    HYBRID_CONNECTION = "hybridConnection"
    HTTP = "http"
    NET_TCP = "netTcp"
    NET_ONEWAY = "netOneway"
    NET_EVENT = "netEvent"

    @property
    def is_wcf(self) -> bool:
        return self not in (Profile.NATIVE, Profile.HYBRID_CONNECTION)

    @property
    def is_one_way(self) -> bool:
        """Whether requests there are messages that nobody answers."""
        return self in (Profile.NET_ONEWAY, Profile.NET_EVENT)

    @property
    def is_dynamic_only(self) -> bool:
        """Whether such relays come into being by use only."""
        return self.is_one_way

    @property
    def carries_requests(self) -> bool:
        return self is not Profile.NET_TCP

    @property
    def carries_sockets(self) -> bool:
        return self in (Profile.NATIVE, Profile.HYBRID_CONNECTION, Profile.NET_TCP)

    @property
    def publishes(self) -> bool:
        """Whether events can be published at our own door."""
        return not self.is_wcf

    @property
    def has_subscribers(self) -> bool:
        """Whether what is sent there also goes to the subscribers of our own door."""
        return not self.is_wcf or self is Profile.NET_EVENT


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much a relay remembers of its events; whichever limit is reached first cuts. `durable`: on disk."""

    keep: Literal["none", "memory", "durable"] = "memory"
    events: int = 1000
    seconds: float = 300.0
    bytes: int = 1 << 20


DURABLE = HistoryLimits("durable", 1_000_000, 604_800.0, 1 << 30)
"""What a durable relay keeps unless it says otherwise: disks are larger than memory."""


@dataclass(frozen=True, slots=True)
class RelayDeadlines:
    """How long the gateway waits for this relay's listeners, in seconds; None: as the settings say."""

    accept_seconds: float | None = None
    response_seconds: float | None = None
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class IpRule:
    """A network (`10.0.0.0/24`, or a single address) and what becomes of callers from there."""

    mask: str
    action: Literal["Allow", "Deny"] = "Allow"


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """Who may reach a namespace at all: rules in their order, the first that matches counts, else the default."""

    default_action: Literal["Allow", "Deny"] = "Allow"
    public_network_access: Literal["Enabled", "Disabled", "SecuredByPerimeter"] = "Enabled"
    trusted_service_access: bool = False
    ip_rules: tuple[IpRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A named pair of keys with rights. Keys are UTF-8 strings, never decoded from base64."""

    name: str
    rights: Right
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)
    creates_relays: bool = False  # who listens by it may bring dynamic relays into being


class Mark(NamedTuple):
    """By what tokens are revoked: `jti` and `sub` of an issuer ('' is any), the `rule` that signs, a single `token`
    by the SHA-256 of its text in hex, or `all` that say when they were issued. A rule of a relay is `relay/rule`."""

    kind: Literal["jti", "sub", "rule", "token", "all"]
    value: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that are good no more: those with this mark, if they were issued at `before` or earlier, as are all
    that do not say when. After `until` (None: never) it is forgotten. Times are unix seconds."""

    mark: Mark
    before: float
    until: float | None = None
    reason: str = ""
    created_at: float = 0.0


@dataclass(slots=True, eq=False)
class Relay:
    """What is provisioned in a namespace at a path; identity is the object, replaced on recreation."""

    name: str
    profile: Profile = Profile.NATIVE
    requires_client_authorization: bool = True
    history: HistoryLimits = HistoryLimits()
    retain: Literal["none", "last"] = "none"  # whether the last event of each address is kept beside the history
    slow: Slow = "close"
    budget: int = 1 << 20
    max_event_bytes: int | None = None  # of payload; None: as the settings say
    dedup_seconds: float = 120.0  # in which an id that comes again, of the same source, is the same event
    event_schema: str = ""  # a JSON Schema, as text, that payloads must satisfy; '': none
    requires_transport_security: bool = False
    deadlines: RelayDeadlines = RelayDeadlines()
    max_listeners: int | None = None  # None: as the settings say for its profile
    keeps_path: bool = False  # requests reach listeners with the path's escapes untouched
    is_public: bool = False  # listed in the discovery feed while somebody listens
    display_name: str = ""  # there; '' is the last segment of its name
    is_dynamic: bool = False
    is_system: bool = False  # the gateway's own, where nobody else publishes and only managers subscribe
    user_metadata: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    rules: dict[str, Rule] = field(default_factory=dict)  # by name, ASCII-folded
    key: str = field(init=False)  # the name, ASCII-folded

    def __post_init__(self) -> None:
        self.key = fold(self.name)

    @property
    def checks_events(self) -> bool:
        """Whether events must be more than the gateway asks of all of them: smaller, what a schema says, or with room
        to be retained."""
        return self.max_event_bytes is not None or self.event_schema != "" or self.retain == "last"

    def listen_address(self, address: str) -> str:
        """Where listeners register: at their own address on `native`, at the relay on Azure's profiles."""
        return address if self.profile is Profile.NATIVE else self.name


@dataclass(frozen=True, slots=True)
class RelayTerms:
    """What a listener says of the relay that it opens. None: nothing, so that it takes the relay as it is."""

    profile: Profile | None = None
    requires_client_authorization: bool | None = None
    requires_transport_security: bool | None = None
    is_public: bool | None = None
    display_name: str | None = None

    @property
    def names_whole_path(self) -> bool:
        """Whether the path is the relay's own name, as in WCF Relay; else the relay is its first segment."""
        return self.profile is not None and self.profile.is_wcf

    def clash(self, relay: Relay, path: str) -> str:
        """Why a listener with these terms cannot join `relay` at the decoded `path`; '' when it can.

        How a relay shows itself is no ground for refusal, only what it carries and whom it lets in.
        """
        if self.profile is not None and self.profile is not relay.profile:
            return f"'{relay.name}' is registered with the profile '{relay.profile}', not '{self.profile}'."
        if self.requires_client_authorization not in (None, relay.requires_client_authorization):
            what = "only senders with a token" if relay.requires_client_authorization else "any sender"
            return f"'{relay.name}' is registered to take {what}."
        if self.requires_transport_security not in (None, relay.requires_transport_security):
            what = "by TLS only" if relay.requires_transport_security else "also without TLS"
            return f"'{relay.name}' is registered to be reached {what}."
        if relay.is_dynamic and self.names_whole_path and fold(path) != relay.key:
            return f"The address lies under '{relay.name}', which is another listener's."
        return ""


@dataclass(frozen=True, slots=True)
class Change:
    """What moved: a relay, a rule (`relay` None: the namespace's), or the namespace's own settings."""

    kind: Literal[
        "relay-added",
        "relay-changed",
        "relay-removed",
        "rule-changed",
        "rule-removed",
        "namespace-changed",
        "tokens-revoked",
    ]
    relay: Relay | None = None
    rule: str | None = None  # ASCII-folded name


@dataclass(slots=True, eq=False)
class Namespace:
    """A tenant's root: the names it answers to, its rules, its relays by ASCII-folded path.

    `subscription`, `resource_group`, `location` and `tags` are what Azure's management knows it by; times are
    unix seconds.
    """

    name: str
    aliases: dict[str, str] = field(default_factory=dict)  # host names (lower case, no port) to an address, or ''
    rules: dict[str, Rule] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)
    network: NetworkRules = NetworkRules()
    subscription: str = ""
    resource_group: str = ""
    location: str = "local"
    tags: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0
    revocations: dict[Mark, Revocation] = field(default_factory=dict)
    is_deleted: bool = False
    on_change: list[Callable[[Change], None]] = field(default_factory=list)

    def find(self, path: str) -> Relay | None:
        """The relay owning a decoded path: the longest that is a whole-segment prefix of it."""
        prefix = fold(path)
        while True:
            relay = self.relays.get(prefix)
            if relay is not None:
                return relay
            prefix, slash, _ = prefix.rpartition("/")
            if not slash:
                return None

    def canonical(self, relay: Relay, path: str) -> str:
        """`path` with the relay's own spelling in front: the one form that routes and permissions use."""
        return path if path.startswith(relay.name) else relay.name + path[len(relay.name) :]

    def announce(self, change: Change) -> None:
        for callback in self.on_change:
            callback(change)


def fold(path: str) -> str:
    """ASCII case folded, all else left alone: how relay paths and rule names compare."""
    return path.lower() if path.isascii() else path.translate(_ASCII_LOWER)


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
