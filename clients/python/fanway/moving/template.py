"""ARM templates: which resources of Microsoft.Relay they describe, nested or not, Bicep's output included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fanway.errors import ConfigurationError
from fanway.moving.expressions import Scope, Unresolvable
from fanway.moving.resources import NAMESPACE, NETWORK, PROVIDER, RULES, Resource, make_resource, value_of

EXTENSION = "fanway"  # where our own additions stand: in a resource's `metadata`

_DEPLOYMENT = "microsoft.resources/deployments"
_RELAYS = (f"{NAMESPACE}/hybridconnections", f"{NAMESPACE}/wcfrelays")
_NEEDED = frozenset(
    (
        "defaultaction",
        "iprules",
        "isdynamic",
        "primarykey",
        "publicnetworkaccess",
        "relaytype",
        "requiresclientauthorization",
        "requirestransportsecurity",
        "rights",
        "secondarykey",
        "trustedserviceaccessenabled",
        "usermetadata",
    )
)


def is_template(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("resources"), list | dict)


def is_parameters(document: Any) -> bool:
    """Whether a document is a file of parameters for a template."""
    if not isinstance(document, dict) or not isinstance(document.get("parameters"), dict) or is_template(document):
        return False
    values = document["parameters"].values()
    return "deploymentParameters" in str(document.get("$schema")) or all(
        isinstance(value, dict) and "value" in value for value in values
    )


def parameter_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of parameters gives; what it takes from a vault stays unknown."""
    return {
        name: value["value"]
        for name, value in document["parameters"].items()
        if isinstance(value, dict) and "value" in value
    }


def declared_in(template: Mapping[str, Any]) -> list[str]:
    """The names of a template's parameters."""
    parameters = template.get("parameters")
    return list(parameters) if isinstance(parameters, dict) else []


def template_resources(
    document: Mapping[str, Any], given: Mapping[str, Any], place: str, notes: list[str]
) -> Iterator[Resource]:
    """The resources, outer ones first; what is skipped goes into `notes`.

    Raises ConfigurationError naming the place of what is malformed or cannot be resolved.
    """
    scope = _at(place, lambda: Scope(document, given))
    yield from _Reader(scope, place, notes).read(document["resources"], "resources", None, [])


class _Reader:
    """Walks the resources of one template; nested ones have the kind and names of those around them in front."""

    def __init__(self, scope: Scope, file: str, notes: list[str]) -> None:
        self._scope = scope
        self._file = file
        self._notes = notes

    def read(self, resources: Any, step: str, kind: str | None, names: list[str]) -> Iterator[Resource]:
        if isinstance(resources, dict):  # by symbolic name
            entries = [(f"{step}.{name}", resource) for name, resource in resources.items()]
        elif isinstance(resources, list):
            entries = [(f"{step}[{number}]", resource) for number, resource in enumerate(resources)]
        else:
            raise ConfigurationError(f"{self._file}: {step}: should be a list of resources")
        for place, resource in entries:
            if not isinstance(resource, dict):
                raise ConfigurationError(f"{self._file}: {place}: should be a resource, an object")
            yield from self._read_one(resource, place, kind, names)

    def _read_one(
        self, resource: Mapping[str, Any], step: str, outer: str | None, names: list[str]
    ) -> Iterator[Resource]:
        kind = self._text(resource, "type", step).partition("@")[0].lower()
        if outer is not None and not kind.startswith("microsoft."):
            kind = f"{outer}/{kind}"
        place = f"{self._file}: {step}"
        if kind != _DEPLOYMENT and not kind.startswith(PROVIDER):
            self._notes.append(f"{place}: skipped: a resource of the type '{kind}' is nothing of a relay's")
            return
        if kind not in (_DEPLOYMENT, NAMESPACE, NETWORK, *_RELAYS, *RULES):
            self._notes.append(f"{place}: skipped: '{kind}' is not taken over")
            return
        if not self._is_meant(resource, step):
            self._notes.append(f"{place}: skipped: its condition does not hold, or it is only referred to")
            return
        if kind == _DEPLOYMENT:
            yield from self._read_deployment(resource, step)
            return
        own = [*names, *self._names(resource, step, kind, outer)]
        yield make_resource(kind, own, self._properties(resource, step), self._extension(resource, step), place)
        inner = value_of(resource, "resources")
        if inner is not None:
            yield from self.read(inner, f"{step}.resources", kind, own)

    def _is_meant(self, resource: Mapping[str, Any], step: str) -> bool:
        place = f"{self._file}: {step}"
        if value_of(resource, "copy") is not None:
            raise ConfigurationError(f"{place}.copy: loops are not resolved here; write the resources out")
        condition = self._resolved(resource, "condition", step)
        if not isinstance(condition, bool | None):
            raise ConfigurationError(f"{place}.condition: should be true or false")
        return condition is not False and value_of(resource, "existing") is not True

    def _names(self, resource: Mapping[str, Any], step: str, kind: str, outer: str | None) -> list[str]:
        """What the resource adds to the names around it. Of a namespace the name only tells it from others, so it
        need not be resolved."""
        try:
            name = self._text(resource, "name", step)
        except Unresolvable:
            if kind != NAMESPACE:
                raise
            return [str(value_of(resource, "name"))]
        return [name] if outer == NAMESPACE else name.split("/")

    def _properties(self, resource: Mapping[str, Any], step: str) -> dict[str, Any]:
        """Those that are needed, resolved; others may hold what only Azure can resolve."""
        properties = value_of(resource, "properties")
        if not isinstance(properties, dict | None):
            raise ConfigurationError(f"{self._file}: {step}.properties: should be an object")
        needed = [name for name in properties or {} if name.lower() in _NEEDED]
        return {name: self._resolved(properties or {}, name, f"{step}.properties") for name in needed}

    def _extension(self, resource: Mapping[str, Any], step: str) -> Mapping[str, Any]:
        metadata = value_of(resource, "metadata")
        extension = metadata.get(EXTENSION, {}) if isinstance(metadata, dict) else {}
        if not isinstance(extension, dict):
            raise ConfigurationError(f"{self._file}: {step}.metadata.{EXTENSION}: should be an object")
        return extension

    def _read_deployment(self, resource: Mapping[str, Any], step: str) -> Iterator[Resource]:
        """A template within a template: Bicep's modules become that."""
        place = f"{self._file}: {step}"
        properties = value_of(resource, "properties")
        template = value_of(properties, "template") if isinstance(properties, dict) else None
        if not (is_template(template) and isinstance(template, dict) and isinstance(properties, dict)):
            self._notes.append(f"{place}: skipped: the template of this deployment is not in the file")
            return
        options = value_of(properties, "expressionEvaluationOptions")
        scope = self._scope
        if isinstance(options, dict) and str(value_of(options, "scope")).lower() == "inner":
            given = self._resolved(properties, "parameters", f"{step}.properties") or {}
            values = parameter_values({"parameters": given}) if isinstance(given, dict) else {}
            scope = _at(place, lambda: Scope(template, values))
        inner = _Reader(scope, self._file, self._notes)
        yield from inner.read(template["resources"], f"{step}.properties.template.resources", None, [])

    def _resolved(self, resource: Mapping[str, Any], name: str, step: str) -> Any:
        return _at(f"{self._file}: {step}.{name}", lambda: self._scope.resolve(value_of(resource, name)))

    def _text(self, resource: Mapping[str, Any], name: str, step: str) -> str:
        value = self._resolved(resource, name, step)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{self._file}: {step}.{name}: should be a text that is not empty")
        return value


def _at(place: str, work: Any) -> Any:
    """The result of `work`; what cannot be resolved is told with its place."""
    try:
        return work()
    except Unresolvable as error:
        raise Unresolvable(f"{place}: {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from None
