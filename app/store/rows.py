"""Rows of the registry's tables, and what they hold; `load` and every change go through here."""

from __future__ import annotations

from dataclasses import asdict
from sqlite3 import Row

import orjson

from app.namespace import (
    HistoryLimits,
    IpRule,
    Namespace,
    NetworkRules,
    Profile,
    Relay,
    RelayDeadlines,
    Right,
    Rule,
    fold,
)

_STORED = ((Right.LISTEN, 1), (Right.SEND, 2), (Right.MANAGE, 4))  # what a whole right is in the table `rules`


def row_of_namespace(namespace: Namespace) -> dict[str, object]:
    network = namespace.network
    return {
        "name": namespace.name,
        "created_at": namespace.created_at,
        "updated_at": namespace.updated_at,
        "subscription": namespace.subscription,
        "resource_group": namespace.resource_group,
        "location": namespace.location,
        "tags": orjson.dumps(namespace.tags).decode(),
        "default_action": network.default_action,
        "public_network_access": network.public_network_access,
        "trusted_service_access": int(network.trusted_service_access),
        "ip_rules": orjson.dumps([asdict(rule) for rule in network.ip_rules]).decode(),
    }


def row_of_rule(namespace: Namespace, relay: Relay | None, rule: Rule) -> dict[str, object]:
    return {
        "namespace": namespace.name,
        "relay": relay.key if relay else "",
        "folded": fold(rule.name),
        "name": rule.name,
        "rights": sum(number for right, number in _STORED if right in rule.rights),
        "primary_key": rule.primary_key,
        "secondary_key": rule.secondary_key,
        "creates_relays": int(rule.creates_relays),
    }


def rule_of(row: Row) -> Rule:
    rights = Right.NONE
    for right, number in _STORED:
        if row["rights"] & number:
            rights |= right
    return Rule(row["name"], rights, row["primary_key"], row["secondary_key"], bool(row["creates_relays"]))


def row_of_relay(namespace: Namespace, relay: Relay) -> dict[str, object]:
    return {
        "namespace": namespace.name,
        "folded": relay.key,
        "name": relay.name,
        "profile": relay.profile.value,
        "requires_client_authorization": int(relay.requires_client_authorization),
        **{f"history_{name}": value for name, value in asdict(relay.history).items()},
        "retain": relay.retain,
        "slow": relay.slow,
        "budget": relay.budget,
        "max_event_bytes": relay.max_event_bytes,
        "dedup_seconds": relay.dedup_seconds,
        "event_schema": relay.event_schema,
        "requires_transport_security": int(relay.requires_transport_security),
        **asdict(relay.deadlines),
        "max_listeners": relay.max_listeners,
        "keeps_path": int(relay.keeps_path),
        "is_public": int(relay.is_public),
        "display_name": relay.display_name,
        "user_metadata": relay.user_metadata,
        "created_at": relay.created_at,
        "updated_at": relay.updated_at,
    }


def relay_of(row: Row) -> Relay:
    return Relay(
        row["name"],
        Profile(row["profile"]),
        bool(row["requires_client_authorization"]),
        HistoryLimits(row["history_keep"], row["history_events"], row["history_seconds"], row["history_bytes"]),
        retain=row["retain"],
        slow=row["slow"],
        budget=row["budget"],
        max_event_bytes=row["max_event_bytes"],
        dedup_seconds=row["dedup_seconds"],
        event_schema=row["event_schema"],
        requires_transport_security=bool(row["requires_transport_security"]),
        deadlines=RelayDeadlines(row["accept_seconds"], row["response_seconds"], row["idle_seconds"]),
        max_listeners=row["max_listeners"],
        keeps_path=bool(row["keeps_path"]),
        is_public=bool(row["is_public"]),
        display_name=row["display_name"],
        user_metadata=row["user_metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def namespace_of(row: Row) -> Namespace:
    ip_rules = tuple(IpRule(**rule) for rule in orjson.loads(row["ip_rules"]))
    access = row["default_action"], row["public_network_access"], bool(row["trusted_service_access"])
    return Namespace(
        row["name"],
        network=NetworkRules(*access, ip_rules),
        subscription=row["subscription"],
        resource_group=row["resource_group"],
        location=row["location"],
        tags=orjson.loads(row["tags"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
