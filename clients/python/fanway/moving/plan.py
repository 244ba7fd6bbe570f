"""What has to be done so that a gateway holds an inventory: compared first, told, then done in an order that is safe.

Running it again does nothing. What the inventory does not name stays. The rule whose key we call with comes last,
because its key may change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fanway.errors import ConfigurationError
from fanway.management import Management
from fanway.moving.inventory import Inventory, WantedRelay, WantedRule
from fanway.moving.state import KnownRelay, KnownRule, aliases_of, name_of, network_of, relays_of, rules_of


@dataclass(frozen=True, slots=True)
class Step:
    """One call of `/-/api`; `title` is what it is about, `outcome` what becomes of that, in the past participle."""

    title: str
    outcome: str
    path: str
    body: Any = field(repr=False)
    query: dict[str, str] | None = None

    def do(self, api: Management) -> None:
        """Raises RelayError."""
        api.call("PUT", self.path, self.body, self.query)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, and how many things are as they should be already; `notes` are for the reader."""

    steps: list[Step]
    settled: int
    notes: list[str]
    changes_own_key: bool


def make_plan(api: Management, inventory: Inventory, own_rule: str) -> Plan:
    """Compare with what the gateway has; `own_rule` is the rule that signs our calls.

    Raises RelayError, ConfigurationError where the inventory needs what is not there.
    """
    planner = _Planner(api, inventory)
    relays = list(planner.relays())
    rules = list(planner.rules())
    rules.sort(key=lambda pair: (pair[0].relay is None, pair[0].relay is None and _is(pair[0].name, own_rule)))
    aliases = list(planner.aliases())
    network = list(planner.network())
    last = rules[-1] if rules else None
    changes_own_key = last is not None and last[0].relay is None and _is(last[0].name, own_rule)
    steps = [*relays, *aliases, *network, *(step for _, step in rules)]
    return Plan(steps, planner.compared - len(steps), [*inventory.notes, *planner.notes], changes_own_key)


class _Planner:
    def __init__(self, api: Management, inventory: Inventory) -> None:
        self._api = api
        self._inventory = inventory
        self._known = {relay.name.lower(): relay for relay in relays_of(api)}
        self.notes: list[str] = []
        self.compared = len(inventory.relays) + len(inventory.rules) + len(inventory.aliases)

    def network(self) -> Iterator[Step]:
        wanted = self._inventory.network
        if wanted is None:
            return
        namespace = name_of(self._api)
        known = network_of(self._api, namespace)
        if known is None:
            self.notes.append(f"{wanted.place}: skipped: only the gateway's operator may say who reaches a namespace")
            return
        self.compared += 1
        changed = [name for name, value in wanted.settings.items() if known.get(name) != value]
        if changed:
            outcome = f"changed ({', '.join(changed)})"
            yield Step(
                "network rules", outcome, f"namespaces/{quote(namespace, safe='')}", {"network": wanted.settings}
            )

    def relays(self) -> Iterator[Step]:
        for key, relay in sorted(self._inventory.relays.items()):
            known = self._known.get(key)
            if known is None or known.is_dynamic:
                yield _relay_step(relay, None, "created")
                continue
            changed = [name for name, value in relay.settings.items() if known.settings.get(name) != value]
            if changed:
                yield _relay_step(relay, known, f"changed ({', '.join(sorted(changed))})")

    def aliases(self) -> Iterator[Step]:
        if not self._inventory.aliases:
            return
        known = aliases_of(self._api)
        for host, address in sorted(self._inventory.aliases.items()):
            if known.get(host) != address:
                outcome = "created" if host not in known else "changed"
                body = {"address": address} if address else None
                yield Step(f"host name {host}", outcome, f"aliases/{quote(host, safe='')}", body)

    def rules(self) -> Iterator[tuple[WantedRule, Step]]:
        known: dict[str | None, dict[str, KnownRule]] = {}
        for (scope, name), rule in sorted(
            self._inventory.rules.items(), key=lambda item: (item[0][0] or "", item[0][1])
        ):
            if scope not in known:
                known[scope] = {held.name.lower(): held for held in self._rules_now(scope, rule)}
            step = self._rule_step(rule, known[scope].get(name))
            if step is not None:
                yield rule, step

    def _rules_now(self, scope: str | None, rule: WantedRule) -> list[KnownRule]:
        """The rules that the scope has; none where its relay will only come into being."""
        relay = self._known.get(scope) if scope is not None else None
        if scope is not None and (relay is None or relay.is_dynamic):
            if scope not in self._inventory.relays:
                raise ConfigurationError(
                    f"{rule.place}: the {rule.title} needs a relay that is neither on the gateway nor in the files"
                )
            return []
        return rules_of(self._api, relay.name if relay else None, with_keys=True)

    def _rule_step(self, rule: WantedRule, known: KnownRule | None) -> Step | None:
        rights = rule.rights or (known.rights if known else None)
        if rights is None:
            raise ConfigurationError(
                f"{rule.place}: these are keys of the {rule.title}, whose rights are in none of the files and which "
                "the gateway does not have; add the output of `az relay … authorization-rule list`"
            )
        wanted = _told(rule)
        body = {"rights": list(rights), **{name: value for name, value in wanted.items() if value is not None}}
        self._note_keys(rule, known)
        if known is None:
            outcome = "created"
        else:
            changed = [] if set(rights) == set(known.rights) else ["rights"]
            held = _told(known)
            changed += [name for name, value in wanted.items() if value not in (None, held[name])]
            if not changed:
                return None
            outcome = f"changed ({', '.join(changed)})"
        query = {"relay": rule.relay} if rule.relay else None
        return Step(rule.title, outcome, f"rules/{quote(rule.name, safe='')}", body, query)

    def _note_keys(self, rule: WantedRule, known: KnownRule | None) -> None:
        missing = [name for name, key in (("primary", rule.primary_key), ("secondary", rule.secondary_key)) if not key]
        if missing:
            what = "keys" if len(missing) == 2 else f"{missing[0]} key"
            fate = "what it has stays" if known else "a new one is made, so who holds the old one will be refused"
            self.notes.append(f"{rule.title}: the files hold no {what} of it; {fate}")


def _told(rule: WantedRule | KnownRule) -> dict[str, Any]:
    """What of a rule may be left unsaid."""
    return {
        "primaryKey": rule.primary_key,
        "secondaryKey": rule.secondary_key,
        "createsRelays": rule.creates_relays,
    }


def _relay_step(relay: WantedRelay, known: KnownRelay | None, outcome: str) -> Step:
    body = {**(known.settings if known else {}), **relay.settings}
    return Step(f"relay {relay.path}", outcome, f"relays/{quote(relay.path)}", body)


def _is(one: str, other: str) -> bool:
    return one.lower() == other.lower()
