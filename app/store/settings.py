"""What can be chosen for a relay and for a namespace, apart from what it is called and the rules that open it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from app.namespace import HistoryLimits, Namespace, NetworkRules, Profile, Relay, RelayDeadlines, Right


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What can be chosen for a relay; see `app.namespace.Relay`."""

    profile: Profile = Profile.NATIVE
    requires_client_authorization: bool = True
    history: HistoryLimits = field(default_factory=HistoryLimits)
    slow: Literal["close", "drop"] = "close"
    budget: int = 1 << 20
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


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What can be chosen for a rule. What is None stays as it is; a new rule's key is generated."""

    name: str
    rights: Right
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    creates_relays: bool | None = None


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
