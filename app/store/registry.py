"""What is provisioned: kept in SQLite, held in memory, changed in that order.

Every change is committed first, then made in memory, then announced; so a crash never leaves the
gateway having shown something that it does not remember.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Literal

from app.access.keyring import MAX_RULES, rotated
from app.errors import AddressExists, BadRequest, EndpointNotFound, QuotaExceeded
from app.hosts import check_host_name, own_names
from app.namespace import Change, HistoryLimits, Namespace, Relay, RelayTerms, Right, Rule, fold
from app.store.database import Database
from app.store.rows import namespace_of, relay_of, row_of_namespace, row_of_relay, row_of_rule, rule_of
from app.store.settings import NamespaceSettings, RelaySettings, RuleSettings, check_relay_name, rules_among
from fanout.address import check_address

MAX_RELAYS = 10_000  # in one namespace, as Azure Relay has it

_NAMESPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


class Registry:
    """All namespaces of this gateway. `load` first; `clock` gives unix seconds.

    `defaults` are the settings of a relay that says nothing of its own.
    """

    def __init__(self, database: Database, clock: Callable[[], float], defaults: RelaySettings | None = None) -> None:
        self._database = database
        self.batch = database.batch  # for the start only: after a failed commit memory would be ahead of the file
        self._clock = clock
        self.defaults = defaults or RelaySettings()
        self.namespaces: list[Namespace] = []
        self._followers: list[tuple[Callable[[Namespace], None], Callable[[Namespace], None]]] = []

    async def load(self) -> None:
        """Read everything into memory."""
        rows = await self._database.rows("SELECT * FROM namespaces ORDER BY created_at, name")
        held = {row["name"]: namespace_of(row) for row in rows}
        for row in await self._database.rows("SELECT * FROM aliases"):
            held[row["namespace"]].aliases[row["host"]] = row["address"]
        for row in await self._database.rows("SELECT * FROM relays ORDER BY folded"):
            held[row["namespace"]].relays[row["folded"]] = relay_of(row)
        for row in await self._database.rows("SELECT * FROM rules ORDER BY folded"):
            namespace = held[row["namespace"]]
            rules = namespace.relays[row["relay"]].rules if row["relay"] else namespace.rules
            rules[row["folded"]] = rule_of(row)
        self.namespaces[:] = held.values()

    async def close(self) -> None:
        await self._database.close()

    def follow(self, added: Callable[[Namespace], None], removed: Callable[[Namespace], None]) -> None:
        """Call `added` after a namespace came into being, `removed` after one went and all in it was told so."""
        self._followers.append((added, removed))

    def find_namespace(self, name: str) -> Namespace | None:
        """The namespace of that name, whose case does not matter."""
        return next((namespace for namespace in self.namespaces if fold(namespace.name) == fold(name)), None)

    async def ensure_namespace(self, name: str, root: Rule, settings: NamespaceSettings | None = None) -> Namespace:
        """The namespace of that name; when there is none it is made, together with the rule that opens it.

        Raises `BadRequest`, and `AddressExists` where another answers to that name.
        """
        if (found := self.find_namespace(name)) is not None:
            return found
        now, settings = self._clock(), settings or NamespaceSettings()
        settings.check()
        namespace = Namespace(name, rules={fold(root.name): root}, created_at=now, updated_at=now)
        settings.settle(namespace)
        async with self._database.transaction():
            names = own_names(name)
            if any(fold(other.name) == fold(name) or other.aliases.keys() & names for other in self.namespaces):
                raise AddressExists("Another namespace answers to this name.")
            await self._store_namespace(namespace)
            await self._store_rule(namespace, None, root)
        self.namespaces.append(namespace)
        for added, _ in self._followers:
            added(namespace)
        return namespace

    async def put_namespace(self, namespace: Namespace, settings: NamespaceSettings) -> Namespace:
        """Change the settings of a namespace. Raises `BadRequest`, `EndpointNotFound`."""
        settings.check()
        async with self._database.transaction():
            self._must_stand(namespace)
            fresh = Namespace(namespace.name, created_at=namespace.created_at, updated_at=self._clock())
            settings.settle(fresh)
            await self._store_namespace(fresh)
        settings.settle(namespace)
        namespace.updated_at = fresh.updated_at
        namespace.announce(Change("namespace-changed"))
        return namespace

    async def delete_namespace(self, namespace: Namespace) -> None:
        """Remove a namespace with everything in it; what lives there ends. Raises `EndpointNotFound`."""
        async with self._database.transaction():
            self._must_stand(namespace)
            for table in ("rules", "relays", "aliases"):
                await self._database.execute(f"DELETE FROM {table} WHERE namespace = ?", (namespace.name,))
            await self._database.execute("DELETE FROM namespaces WHERE name = ?", (namespace.name,))
        self.namespaces.remove(namespace)
        namespace.is_deleted = True
        namespace.aliases.clear()
        relays = list(namespace.relays.values())
        namespace.relays.clear()
        namespace.rules.clear()
        for relay in relays:
            namespace.announce(Change("relay-removed", relay))
        namespace.announce(Change("rule-removed"))
        for _, removed in self._followers:
            removed(namespace)

    async def put_relay(
        self,
        namespace: Namespace,
        name: str,
        settings: RelaySettings,
        rules: Sequence[RuleSettings] | None = None,
        *,
        exists: bool | None = None,
    ) -> Relay:
        """Create a relay or replace its settings; with `rules` its rules become these, all or nothing, else they stay.
        `exists` says what must be so: that one is provisioned (True), that none is (False). Another profile makes
        it a new relay of the same name and ends what lives on the old one. A dynamic relay becomes a provisioned
        one. Raises `BadRequest`, `QuotaExceeded`, `EndpointNotFound` and `AddressExists`.
        """
        check_relay_name(name)
        settings.check()
        now = self._clock()
        async with self._database.transaction():
            self._must_stand(namespace)
            old = namespace.relays.get(fold(name))
            if exists is not None and exists != (old is not None and not old.is_dynamic):
                if exists:
                    raise EndpointNotFound("Endpoint does not exist.")
                raise AddressExists(f"A relay '{name}' exists already.")
            if old is None and len(namespace.relays) >= MAX_RELAYS:
                raise QuotaExceeded(f"A namespace holds at most {MAX_RELAYS} relays.", status=403)
            fresh = settings.relay(name if old is None else old.name, old, now)
            if rules is not None:
                fresh.rules = rules_among(fresh.rules, rules)
            await self._replace("relays", row_of_relay(namespace, fresh))
            if rules is not None:
                where = (namespace.name, fresh.key)
                await self._database.execute("DELETE FROM rules WHERE namespace = ? AND relay = ?", where)
                for rule in fresh.rules.values():
                    await self._replace("rules", row_of_rule(namespace, fresh, rule))
        return _apply(namespace, old, fresh)

    async def delete_relay(self, namespace: Namespace, relay: Relay) -> None:
        """Remove a relay and its rules; what lives on it ends. Raises `EndpointNotFound` when it is gone already."""
        where = (namespace.name, relay.key)
        async with self._database.transaction():
            if namespace.relays.get(relay.key) is not relay:
                raise EndpointNotFound("Endpoint does not exist.")
            await self._database.execute("DELETE FROM rules WHERE namespace = ? AND relay = ?", where)
            await self._database.execute("DELETE FROM relays WHERE namespace = ? AND folded = ?", where)
        del namespace.relays[relay.key]
        namespace.announce(Change("relay-removed", relay))

    def ensure_dynamic(self, namespace: Namespace, name: str, terms: RelayTerms | None = None) -> Relay:
        """The relay of that name, come into being by use; never stored. Raises as `put_relay`.

        It is one segment long, unless `terms` make it one of WCF Relay's.
        """
        terms = terms or RelayTerms()
        check_relay_name(name)
        if "/" in name and not terms.names_whole_path:
            raise BadRequest("A dynamic relay is one segment long.")
        relay = namespace.relays.get(fold(name))
        if relay is None:
            if len(namespace.relays) >= MAX_RELAYS:
                raise QuotaExceeded(f"A namespace holds at most {MAX_RELAYS} relays.", status=403)
            now = self._clock()
            said = {each.name: value for each in fields(terms) if (value := getattr(terms, each.name)) is not None}
            relay = replace(self.defaults, **said).relay(name, None, now)
            if relay.profile.is_wcf:
                relay.history = HistoryLimits(keep="none")  # what nobody receives is gone
            relay.is_dynamic = True
            namespace.relays[relay.key] = relay
            namespace.announce(Change("relay-added", relay))
        return relay

    def drop_dynamic(self, namespace: Namespace, relay: Relay) -> None:
        """Forget a dynamic relay that nobody uses any more; does nothing when it was provisioned meanwhile."""
        if relay.is_dynamic and namespace.relays.get(relay.key) is relay:
            del namespace.relays[relay.key]
            namespace.announce(Change("relay-removed", relay))

    async def put_rule(
        self,
        namespace: Namespace,
        relay: Relay | None,
        name: str,
        rights: Right,
        primary_key: str | None = None,
        secondary_key: str | None = None,
        *,
        creates_relays: bool | None = None,
    ) -> Rule:
        """Create a rule or change it. What is None stays; keys are generated. Raises `BadRequest`, `QuotaExceeded`."""
        wanted = RuleSettings(name, rights, primary_key, secondary_key, creates_relays)
        wanted.check(is_of_relay=relay is not None)
        async with self._database.transaction():
            self._must_stand(namespace)
            rules = _rules(namespace, relay)
            if fold(name) not in rules and len(rules) >= MAX_RULES:
                raise QuotaExceeded(f"A scope holds at most {MAX_RULES} rules.", status=403)
            rule = wanted.rule_among(rules)
            await self._store_rule(namespace, relay, rule)
        return _put(namespace, relay, rule)

    async def rotate_key(
        self, namespace: Namespace, relay: Relay | None, name: str, which: Literal["primary", "secondary"]
    ) -> Rule:
        """Renew one key of a rule; what lives on the old one ends. Raises `EndpointNotFound`."""
        async with self._database.transaction():
            rule = rotated(_rule(namespace, relay, name), which)
            await self._store_rule(namespace, relay, rule)
        return _put(namespace, relay, rule)

    async def delete_rule(self, namespace: Namespace, relay: Relay | None, name: str) -> None:
        """Remove a rule; what lives on its keys ends. Raises `EndpointNotFound`."""
        async with self._database.transaction():
            _rule(namespace, relay, name)
            await self._database.execute(
                "DELETE FROM rules WHERE namespace = ? AND relay = ? AND folded = ?",
                (namespace.name, relay.key if relay else "", fold(name)),
            )
        del _rules(namespace, relay)[fold(name)]
        namespace.announce(Change("rule-removed", relay, fold(name)))

    async def put_alias(self, namespace: Namespace, host: str, address: str = "") -> None:
        """Let the namespace answer to another host name, whose paths lie under `address`.

        Raises `BadRequest`, `AddressExists`, and `InvalidAddress` where the address grammar refuses `address`.
        """
        host = check_host_name(host)
        if address:
            check_address(address)
        async with self._database.transaction():
            self._must_stand(namespace)
            others = [other for other in self.namespaces if other is not namespace]
            if any(host in other.aliases or host in own_names(other.name) for other in others):
                raise AddressExists("Another namespace answers to this host name.")
            await self._replace("aliases", {"host": host, "namespace": namespace.name, "address": address})
        namespace.aliases[host] = address
        namespace.announce(Change("namespace-changed"))

    async def delete_alias(self, namespace: Namespace, host: str) -> None:
        """Take a host name away again. Raises `EndpointNotFound`."""
        host = host.lower()
        async with self._database.transaction():
            if host not in namespace.aliases:
                raise EndpointNotFound("The namespace has no such alias.")
            await self._database.execute("DELETE FROM aliases WHERE host = ?", (host,))
        namespace.aliases.pop(host, None)
        namespace.announce(Change("namespace-changed"))

    async def _store_rule(self, namespace: Namespace, relay: Relay | None, rule: Rule) -> None:
        if relay is not None and (relay.is_dynamic or namespace.relays.get(relay.key) is not relay):
            raise BadRequest("A dynamic relay has no rules of its own; provision it first.")
        await self._replace("rules", row_of_rule(namespace, relay, rule))

    async def _store_namespace(self, namespace: Namespace) -> None:
        if not _NAMESPACE_NAME.fullmatch(namespace.name):
            raise BadRequest(
                "A namespace's name is a host name: letters, digits, '.' and '-', beginning with a letter or digit."
            )
        row = row_of_namespace(namespace)
        # Not REPLACE: that would delete the row first, and all that refers to it with it.
        kept = ", ".join(f"{column} = excluded.{column}" for column in row if column != "name")
        await self._insert("INSERT", "namespaces", row, f"ON CONFLICT (name) DO UPDATE SET {kept}")

    async def _replace(self, table: str, row: Mapping[str, object]) -> None:
        await self._insert("INSERT OR REPLACE", table, row)

    async def _insert(self, verb: str, table: str, row: Mapping[str, object], rest: str = "") -> None:
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        await self._database.write(f"{verb} INTO {table} ({columns}) VALUES ({places}) {rest}", tuple(row.values()))

    def _must_stand(self, namespace: Namespace) -> None:
        if namespace.is_deleted:  # while somebody waited to write; another may have its name
            raise EndpointNotFound("The namespace does not exist.")


def _rules(namespace: Namespace, relay: Relay | None) -> dict[str, Rule]:
    return namespace.rules if relay is None else relay.rules


def _rule(namespace: Namespace, relay: Relay | None, name: str) -> Rule:
    rule = _rules(namespace, relay).get(fold(name))
    if rule is None:
        raise EndpointNotFound("The rule does not exist.")
    return rule


def _put(namespace: Namespace, relay: Relay | None, rule: Rule) -> Rule:
    _rules(namespace, relay)[fold(rule.name)] = rule
    namespace.announce(Change("rule-changed", relay, fold(rule.name)))
    return rule


def _apply(namespace: Namespace, old: Relay | None, fresh: Relay) -> Relay:
    """Make a stored relay the current one: in place where it stays the same relay, else as another."""
    if old is not None and old.profile is fresh.profile:
        RelaySettings.of(fresh).settle(old)
        old.updated_at = fresh.updated_at
        old.is_dynamic = False
        gone = old.rules.keys() - fresh.rules.keys()
        changed = [name for name, rule in fresh.rules.items() if old.rules.get(name) != rule]
        old.rules = fresh.rules
        namespace.announce(Change("relay-changed", old))
        for name in gone:
            namespace.announce(Change("rule-removed", old, name))
        for name in changed:
            namespace.announce(Change("rule-changed", old, name))
        return old
    if old is not None:
        del namespace.relays[old.key]
        namespace.announce(Change("relay-removed", old))
    namespace.relays[fresh.key] = fresh
    namespace.announce(Change("relay-added", fresh))
    return fresh
