"""What a gateway has provisioned now, read over its management API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fanway.errors import AuthorizationFailedError
from fanway.management import Management, items_of

# What a relay's view tells beside its settings.
_TOLD = ("name", "isDynamic", "createdAt", "updatedAt", "listenerCount", "subscriptionCount")


@dataclass(frozen=True, slots=True)
class KnownRelay:
    """A relay as the gateway has it; a dynamic one is not provisioned."""

    name: str
    is_dynamic: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule as the gateway has it, with its keys where they were asked for."""

    name: str
    rights: tuple[str, ...]
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)
    creates_relays: bool = False


def relays_of(api: Management) -> list[KnownRelay]:
    """All relays, by name. Raises RelayError."""
    relays = [
        KnownRelay(view["name"], bool(view["isDynamic"]), {key: view[key] for key in view if key not in _TOLD})
        for view in items_of(api.call("GET", "relays"), "relays")
    ]
    return sorted(relays, key=lambda relay: relay.name.lower())


def rules_of(api: Management, relay: str | None, *, with_keys: bool) -> list[KnownRule]:
    """The rules of a relay, or of the namespace, by name. Raises RelayError."""
    query = {"relay": relay} if relay else None
    rules = []
    for view in items_of(api.call("GET", "rules", query=query), "rules"):
        keys = api.call("GET", f"rules/{quote(view['name'], safe='')}/keys", query=query) if with_keys else {}
        pair = keys.get("primaryKey"), keys.get("secondaryKey")
        rules.append(KnownRule(view["name"], tuple(view["rights"]), *pair, bool(view.get("createsRelays"))))
    return sorted(rules, key=lambda rule: rule.name.lower())


def name_of(api: Management) -> str:
    """The namespace's name. Raises RelayError."""
    return str(api.call("GET", "status")["namespace"])


def network_of(api: Management, namespace: str) -> Mapping[str, Any] | None:
    """Who may reach the namespace; None when the token is not the operator's, whose business that is."""
    try:
        found = api.call("GET", f"namespaces/{quote(namespace, safe='')}")["network"]
    except AuthorizationFailedError:
        return None
    return dict(found)


def aliases_of(api: Management) -> dict[str, str]:
    """Further host names, each with the address it leads to, or ''. Raises RelayError."""
    answer = api.call("GET", "aliases")["aliases"]
    pairs = [(item, "") if isinstance(item, str) else (item["host"], item.get("address", "")) for item in answer]
    return dict(sorted(pairs))
