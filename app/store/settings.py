"""What can be chosen for a relay, a rule and a namespace, apart from what they are called; and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from app.access.keyring import MAX_RULES, new_rule
from app.errors import BadRequest, QuotaExceeded
from app.event_schema import compile_schema
from app.namespace import (
    HistoryLimits,
    Namespace,
    NetworkRules,
    Profile,
    Relay,
    RelayDeadlines,
    Right,
    Rule,
    Slow,
    fold,
)
from fanout.address import check_address

MAX_METADATA = 1024
MAX_IP_RULES = 128  # of one namespace, as Azure Relay has it

_RELAY_NAME = re.compile(r"[A-Za-z0-9._~\-]+(?:/[A-Za-z0-9._~\-]+)*")
_RULE_NAME = re.compile(r"[A-Za-z0-9._~\-]{1,256}")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What can be chosen for a relay; see `app.namespace.Relay`."""

    profile: Profile = Profile.NATIVE
    requires_client_authorization: bool = True
    history: HistoryLimits = field(default_factory=HistoryLimits)
    retain: Literal["none", "last"] = "none"
    slow: Slow = "close"
    budget: int = 1 << 20
    max_event_bytes: int | None = None
    dedup_seconds: float = 120.0
    event_schema: str = ""
    requires_transport_security: bool = False
    deadlines: RelayDeadlines = field(default_factory=RelayDeadlines)
    max_listeners: int | None = None
    keeps_path: bool = False
    is_public: bool = False
    display_name: str = ""
    user_metadata: str = ""

    @classmethod
    def of(cls, relay: Relay) -> RelaySettings:
        """The settings that a relay has now."""
        return cls(**{each.name: getattr(relay, each.name) for each in fields(cls)})

    def check(self) -> None:
        """Return when a relay may be provisioned with these. Raises `BadRequest`."""
        if self.profile.is_dynamic_only:
            raise BadRequest(f"A relay of the profile '{self.profile}' comes into being by use only.")
        if self.slow == "catch-up" and self.history.keep == "none":
            raise BadRequest("'catch-up' reads what it missed from the history, and this relay is to keep none.")
        if self.event_schema:
            compile_schema(self.event_schema)
        if len(self.user_metadata) > MAX_METADATA:
            raise BadRequest(f"User metadata is at most {MAX_METADATA} characters long.")

    def relay(self, name: str, old: Relay | None, now: float) -> Relay:
        """A relay with these; its age and rules are those of the `old` one, if there is one."""
        return Relay(
            name,
            **{each.name: getattr(self, each.name) for each in fields(self)},
            created_at=old.created_at if old else now,
            updated_at=now,
            rules=dict(old.rules) if old else {},
        )

    def settle(self, relay: Relay) -> None:
        """Make them those of a relay that goes on."""
        for each in fields(self):
            setattr(relay, each.name, getattr(self, each.name))


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What can be chosen for a rule. What is None stays as it is; a new rule's key is generated."""

    name: str
    rights: Right
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    creates_relays: bool | None = None

    def check(self, *, is_of_relay: bool) -> None:
        """Return when a relay, or else a namespace, may have such a rule. Raises `BadRequest`."""
        if not _RULE_NAME.fullmatch(self.name):
            raise BadRequest("A rule's name is 1 to 256 letters, digits and '._~-'.")
        if not self.rights:
            raise BadRequest("A rule needs at least one of Listen, Send, Manage.")
        if any(key is not None and not 1 <= len(key) <= 256 for key in (self.primary_key, self.secondary_key)):
            raise BadRequest("A key is 1 to 256 characters long.")
        if self.creates_relays and (is_of_relay or Right.LISTEN not in self.rights):
            raise BadRequest("Relays are created by listening: by a rule of the namespace that has Listen.")

    def rule_among(self, rules: Mapping[str, Rule]) -> Rule:
        """What the rule will be, beside or instead of one of these."""
        old = rules.get(fold(self.name))
        return new_rule(
            old.name if old else self.name,
            self.rights,
            self.primary_key or (old.primary_key if old else None),
            self.secondary_key or (old.secondary_key if old else None),
            creates_relays=(old is not None and old.creates_relays)
            if self.creates_relays is None
            else self.creates_relays,
        )


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """What can be chosen for a namespace; see `app.namespace.Namespace`."""

    subscription: str = ""
    resource_group: str = ""
    location: str = "local"
    tags: dict[str, str] = field(default_factory=dict)
    network: NetworkRules = field(default_factory=NetworkRules)

    @classmethod
    def of(cls, namespace: Namespace) -> NamespaceSettings:
        """The settings that a namespace has now."""
        return cls(**{each.name: getattr(namespace, each.name) for each in fields(cls)})

    def check(self) -> None:
        """Return when a namespace may have these. Raises `BadRequest`."""
        if len(self.network.ip_rules) > MAX_IP_RULES:
            raise BadRequest(f"A namespace has at most {MAX_IP_RULES} IP rules.")

    def settle(self, namespace: Namespace) -> None:
        """Make them those of a namespace."""
        for each in fields(self):
            setattr(namespace, each.name, getattr(self, each.name))


def check_relay_name(name: str) -> str:
    """`name` if it may be a relay's; raises `BadRequest`, or `InvalidAddress` where the address grammar refuses it."""
    if not _RELAY_NAME.fullmatch(name):
        raise BadRequest("A relay's name is segments of letters, digits and '._~-', joined by '/'.")
    return check_address(name)


def rules_among(rules: Mapping[str, Rule], wanted: Sequence[RuleSettings]) -> dict[str, Rule]:
    """What a relay will hold when these are all of its rules. Raises `BadRequest`, `QuotaExceeded`."""
    if len(wanted) > MAX_RULES:
        raise QuotaExceeded(f"A scope holds at most {MAX_RULES} rules.", status=403)
    found: dict[str, Rule] = {}
    for each in wanted:
        each.check(is_of_relay=True)
        if fold(each.name) in found:
            raise BadRequest(f"The rule '{each.name}' is named twice.")
        found[fold(each.name)] = each.rule_among(rules)
    return found
