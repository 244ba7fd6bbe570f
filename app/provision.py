"""The provisioning file: namespaces, relays, rules and host names in TOML or JSON, applied at start.

The file wins for what it names and deletes nothing. Keys that it leaves out are generated once and kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from app.access.keyring import ROOT_RULE, new_rule
from app.config import ConfigurationError, explain, read_table
from app.errors import RelayError
from app.hosts import check_host_name
from app.manage.namespace_shapes import NamespaceShape
from app.manage.shapes import AliasView, RelayShape, RuleShape, Shape
from app.namespace import Namespace, Relay, Right, Rule, fold
from app.store.registry import Registry
from app.store.settings import NamespaceSettings, RelaySettings, check_relay_name
from fanout.address import check_address
from fanout.errors import FanoutError


class NamedRule(RuleShape):
    """A rule of the file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._~-]{1,256}$")

    def is_met_by(self, rule: Rule | None) -> bool:
        """Whether that rule is as the file says already."""
        if rule is None or rule.rights != self.right():
            return False
        said = (*self.keys(), self.creates_relays)
        held = rule.primary_key, rule.secondary_key, rule.creates_relays
        return all(wanted in (None, its) for wanted, its in zip(said, held, strict=True))


class NamedRelay(RelayShape):
    """A relay of the file with its rules."""

    name: str
    rules: list[NamedRule] = Field(default=[], max_length=12)


class Contents(Shape):
    """What the file says of one namespace; `aliases` are further host names, some of which lead to an address."""

    relays: list[NamedRelay] = Field(default=[])
    rules: list[NamedRule] = Field(default=[], max_length=12)
    aliases: list[str | AliasView] = Field(default=[])

    def hosts(self) -> dict[str, str]:
        """The aliases, and the address that each leads to ('' is the root)."""
        named = (AliasView(host=alias) if isinstance(alias, str) else alias for alias in self.aliases)
        return {alias.host.lower(): alias.address for alias in named}


class NamedNamespace(Contents, NamespaceShape):
    """A further namespace of the file with what is in it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")


class Provision(Contents):
    """A provisioning file: what is in the namespace of the settings, and further `namespaces`."""

    namespaces: list[NamedNamespace] = Field(default=[])


def read_provision(file: Path) -> Provision:
    """The file, checked. Raises `ConfigurationError` with the path of each key that is wrong, never with a value."""
    try:
        provision = Provision.model_validate(_content(file))
        for contents in (provision, *provision.namespaces):
            _check_names(contents)
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in explain(error).splitlines())) from None
    except _Misnamed as error:
        raise ConfigurationError(f"{file}: {error}") from None
    for place, names in _names(provision):
        seen: set[str] = set()
        for name in names:
            if fold(name) in seen:
                raise ConfigurationError(f"{file}: {place}: {name!r} is named twice")
            seen.add(fold(name))
    return provision


class _Misnamed(ValueError):
    """A name that cannot be; the text says where it stands."""


def _check_names(contents: Contents) -> None:
    place = "relays"
    try:
        for name in (relay.name for relay in contents.relays):
            check_relay_name(name)
        place = "aliases"
        for name, address in contents.hosts().items():
            check_host_name(name)
            if address:
                check_address(address)
    except (RelayError, FanoutError) as error:
        raise _Misnamed(f"{place}: {name!r}: {error}") from None


def _names(provision: Provision) -> Iterator[tuple[str, list[str]]]:
    """Names that compare with each other, ignoring case: of two the later would silently undo the first."""
    yield "namespaces", [namespace.name for namespace in provision.namespaces]
    homes: list[tuple[str, Contents]] = [(f"namespaces: {each.name!r}: ", each) for each in provision.namespaces]
    for place, contents in [("", provision), *homes]:
        yield f"{place}relays", [relay.name for relay in contents.relays]
        yield f"{place}rules", [rule.name for rule in contents.rules]
        for relay in contents.relays:
            yield f"{place}relays: {relay.name!r}: rules", [rule.name for rule in relay.rules]


async def apply_provision(provision: Provision, registry: Registry, primary: Namespace) -> None:
    """Make the namespaces hold what the file names. Raises `RelayError`.

    A namespace that is new gets a root rule with fresh keys, beside those that the file gives it. What is so already
    is not written again.
    """
    async with registry.batch():
        for entry in provision.namespaces:  # first, since a batch gathers what is alike
            await registry.ensure_namespace(entry.name, new_rule(ROOT_RULE, Right.MANAGE))
        await _apply_contents(provision, registry, primary)
        for entry in provision.namespaces:
            namespace = registry.find_namespace(entry.name)
            assert namespace is not None
            settings = entry.over(NamespaceSettings.of(namespace))
            if settings != NamespaceSettings.of(namespace):
                await registry.put_namespace(namespace, settings)
            await _apply_contents(entry, registry, namespace)


async def _apply_contents(contents: Contents, registry: Registry, namespace: Namespace) -> None:
    for host, address in contents.hosts().items():
        if namespace.aliases.get(host) != address:
            await registry.put_alias(namespace, host, address)
    await _apply_rules(contents.rules, registry, namespace, None)
    for entry in contents.relays:
        settings = entry.over(registry.defaults)
        relay = namespace.relays.get(fold(entry.name))
        if relay is None or relay.is_dynamic or RelaySettings.of(relay) != settings:
            relay = await registry.put_relay(namespace, entry.name, settings)
        await _apply_rules(entry.rules, registry, namespace, relay)


async def _apply_rules(rules: list[NamedRule], registry: Registry, namespace: Namespace, relay: Relay | None) -> None:
    held = (namespace if relay is None else relay).rules
    for rule in rules:
        if not rule.is_met_by(held.get(fold(rule.name))):
            await registry.put_rule(
                namespace, relay, rule.name, rule.right(), *rule.keys(), creates_relays=rule.creates_relays
            )


def _content(file: Path) -> dict[str, Any]:
    if file.suffix.lower() == ".toml":
        return read_table(file)
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file}: should hold an object")
    return content
