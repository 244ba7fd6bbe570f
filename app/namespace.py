"""What is provisioned, in memory: a namespace, its relays and rules. The one source for every door.

The store fills it at start and changes it after each commit; `on_change` tells whoever holds
something live (sockets, grants, plans) that it moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Flag, StrEnum
from typing import Literal


class Right(Flag):
    """What a rule lets its holder do. Manage implies the other two."""

    NONE = 0
    LISTEN = 1
    SEND = 2
    MANAGE = 7

    @property
    def label(self) -> str:
        return {Right.LISTEN: "Listen", Right.SEND: "Send", Right.MANAGE: "Manage"}.get(self, self.name or "")


class Profile(StrEnum):
    """Whom a relay imitates: our own semantics, or Azure's Hybrid Connection to the letter."""

    NATIVE = "native"
    HYBRID_CONNECTION = "hybridConnection"


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much a relay remembers of its events; whichever limit is reached first cuts."""

    keep: Literal["none", "memory"] = "memory"
    events: int = 1000
    seconds: float = 300.0
    bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Rule:
    """A named pair of keys with rights. Keys are UTF-8 strings, never decoded from base64."""

    name: str
    rights: Right
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)


@dataclass(slots=True, eq=False)
class Relay:
    """What is provisioned in a namespace at a path; identity is the object, replaced on recreation."""

    name: str
    profile: Profile = Profile.NATIVE
    requires_client_authorization: bool = True
    history: HistoryLimits = HistoryLimits()
    slow: Literal["close", "drop"] = "close"
    budget: int = 1 << 20
    is_dynamic: bool = False
    user_metadata: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    rules: dict[str, Rule] = field(default_factory=dict)  # by name, ASCII-folded
    key: str = field(init=False)  # the name, ASCII-folded

    def __post_init__(self) -> None:
        self.key = fold(self.name)

    def listen_address(self, address: str) -> str:
        """Where listeners register: at their own address on `native`, at the relay on Azure's profile."""
        return address if self.profile is Profile.NATIVE else self.name


@dataclass(frozen=True, slots=True)
class Change:
    """What moved: a relay (added, changed, removed) or a rule (`relay` None: the namespace's)."""

    kind: Literal["relay-added", "relay-changed", "relay-removed", "rule-changed", "rule-removed"]
    relay: Relay | None = None
    rule: str | None = None  # ASCII-folded name


@dataclass(slots=True, eq=False)
class Namespace:
    """A tenant's root: the names it answers to, its rules, its relays by ASCII-folded path."""

    name: str
    aliases: set[str] = field(default_factory=set)  # lower-case host names, without port
    rules: dict[str, Rule] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)
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
