"""What Azure's files speak of: resources of Microsoft.Relay and keys, whichever file they came from.

A place says where something stands, as `file: resources[1].name`, so that whoever wrote it finds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanway.errors import ConfigurationError

PROVIDER = "microsoft.relay/"
NAMESPACE = "microsoft.relay/namespaces"
HYBRID_CONNECTION = f"{NAMESPACE}/hybridconnections"
WCF_RELAY = f"{NAMESPACE}/wcfrelays"
NAMESPACE_RULE = f"{NAMESPACE}/authorizationrules"
NETWORK = f"{NAMESPACE}/networkrulesets"
RULES = (NAMESPACE_RULE, f"{HYBRID_CONNECTION}/authorizationrules", f"{WCF_RELAY}/authorizationrules")


@dataclass(frozen=True, slots=True)
class Resource:
    """One of Azure's resources: `kind` is its full type in lower case; of a namespace `path` is empty.

    `path` is the relay's, as Azure's names spell it. `extension` is what we added when we wrote the file.
    """

    kind: str
    namespace: str
    path: str
    rule: str
    properties: Mapping[str, Any] = field(repr=False)
    extension: Mapping[str, Any] = field(repr=False)
    place: str

    def value(self, name: str) -> Any:
        """A property; its name's case does not matter. None when it is not there."""
        return value_of(self.properties, name)

    def boolean(self, name: str, default: bool) -> bool:
        value = self.value(name)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise self.fault(name, "should be true or false")
        return default if value is None else value

    def text(self, name: str) -> str | None:
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise self.fault(name, "should be a text")
        return value

    def fault(self, name: str, words: str) -> ConfigurationError:
        return ConfigurationError(f"{self.place}: {name}: {words}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of a rule, as `keys list` gives them: without the rule's id. None: not told."""

    rule: str
    relay: str | None
    namespace: str | None
    primary: str | None = field(repr=False)
    secondary: str | None = field(repr=False)
    place: str


def make_resource(
    kind: str, names: list[str], properties: Mapping[str, Any], extension: Mapping[str, Any], place: str
) -> Resource:
    """A resource by its names, outermost first; those between the namespace and a rule are the relay's path.

    Raises ConfigurationError where there are too few.
    """
    if not names:
        raise ConfigurationError(f"{place}: the id names nothing")
    if kind == NAMESPACE:
        parts = names[0], "", "", len(names) == 1
    elif kind == NETWORK:
        parts = names[0], "", "", len(names) == 2
    elif kind == NAMESPACE_RULE:
        parts = names[0], "", names[-1], len(names) == 2
    elif kind in RULES:
        parts = names[0], "/".join(names[1:-1]), names[-1], len(names) >= 3
    else:
        parts = names[0], "/".join(names[1:]), "", len(names) >= 2
    namespace, path, rule, fits = parts
    if not fits or not all(names):
        raise ConfigurationError(f"{place}: the name '{'/'.join(names)}' does not fit the type '{kind}'")
    return Resource(kind, namespace, path, rule, properties, extension, place)


def value_of(mapping: Mapping[str, Any], name: str) -> Any:
    """A member whose name's case does not matter."""
    if name in mapping:
        return mapping[name]
    return next((value for key, value in mapping.items() if key.lower() == name.lower()), None)


_ID = re.compile(r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.relay/(?P<rest>.+)", re.IGNORECASE)


def split_id(text: str) -> tuple[str, list[str]] | None:
    """Kind and names of one of Microsoft.Relay's resource ids; None for another."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    steps = match.group("rest").split("/")
    return PROVIDER + "/".join(step.lower() for step in steps[::2]), steps[1::2]
