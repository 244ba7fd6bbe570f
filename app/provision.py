"""The provisioning file: relays and rules in TOML or JSON, applied at start.

The file wins for what it names and deletes nothing. Keys that it leaves out are generated once and kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from app.config import ConfigurationError, explain, read_table
from app.errors import RelayError
from app.manage.shapes import RelayShape, RuleShape, Shape
from app.namespace import Namespace, Relay, fold
from app.store.registry import Registry, check_relay_name
from fanout.errors import FanoutError


class NamedRule(RuleShape):
    """A rule of the file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._~-]{1,256}$")


class NamedRelay(RelayShape):
    """A relay of the file with its rules."""

    name: str
    rules: list[NamedRule] = Field(default=[], max_length=12)


class Provision(Shape):
    """A provisioning file; `aliases` are further host names of the namespace."""

    relays: list[NamedRelay] = Field(default=[])
    rules: list[NamedRule] = Field(default=[], max_length=12)
    aliases: list[str] = Field(default=[])


def read_provision(file: Path) -> Provision:
    """The file, checked. Raises `ConfigurationError` with the path of each key that is wrong, never with a value."""
    try:
        provision = Provision.model_validate(_content(file))
        for relay in provision.relays:
            check_relay_name(relay.name)
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in explain(error).splitlines())) from None
    except (RelayError, FanoutError) as error:
        raise ConfigurationError(f"{file}: relays: {relay.name!r}: {error}") from None
    for place, names in _names(provision):
        for number, name in enumerate(names):
            if fold(name) in map(fold, names[:number]):
                raise ConfigurationError(f"{file}: {place}: {name!r} is named twice")
    return provision


def _names(provision: Provision) -> Iterator[tuple[str, list[str]]]:
    """Names that compare with each other, ignoring case: of two the later would silently undo the first."""
    yield "relays", [relay.name for relay in provision.relays]
    yield "rules", [rule.name for rule in provision.rules]
    for relay in provision.relays:
        yield f"relays: {relay.name!r}: rules", [rule.name for rule in relay.rules]


async def apply_provision(provision: Provision, registry: Registry, namespace: Namespace) -> None:
    """Make the namespace hold what the file names. Raises `RelayError`."""
    for alias in provision.aliases:
        await registry.put_alias(namespace, alias)
    await _apply_rules(provision.rules, registry, namespace, None)
    for entry in provision.relays:
        relay = await registry.put_relay(namespace, entry.name, entry.over(registry.defaults))
        await _apply_rules(entry.rules, registry, namespace, relay)


async def _apply_rules(rules: list[NamedRule], registry: Registry, namespace: Namespace, relay: Relay | None) -> None:
    for rule in rules:
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
