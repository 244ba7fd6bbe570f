"""A namespace as an ARM template, which `fanway import` takes back: same relays, same rules, same keys.

What a template has no place for (keys, settings that are not Azure's, host names) stands in the `metadata` of its
resources, under `fanway`. Dynamic relays are not in it, they come by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanway.management import Management
from fanway.moving.network import OPEN, network_properties
from fanway.moving.state import KnownRelay, KnownRule, aliases_of, name_of, network_of, relays_of, rules_of

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
API_VERSION = "2021-11-01"

_PARAMETER = "namespaceName"
_AFTER_NAMESPACE = f"'Microsoft.Relay/namespaces', parameters('{_PARAMETER}')"
_WCF_TYPES = {"netTcp": "NetTcp", "http": "Http"}


def export_template(api: Management, *, with_keys: bool, notes: list[str]) -> dict[str, Any]:
    """The template; what could not be read goes into `notes`.

    Raises RelayError; it takes a token that manages the namespace.
    """
    namespace = name_of(api)
    resources = [_namespace(aliases_of(api))]
    network = network_of(api, namespace)
    if network is None:
        notes.append("the network rules are not in it: only the gateway's operator may read them")
    elif network != OPEN:
        kind, properties = "Microsoft.Relay/namespaces/networkRuleSets", network_properties(network)
        resources.append(_resource(kind, _name("default"), {}, after=_AFTER_NAMESPACE, properties=properties))
    resources += [_rule(None, rule) for rule in rules_of(api, None, with_keys=with_keys)]
    for relay in relays_of(api):
        if relay.is_dynamic:
            continue
        resources.append(_relay(relay))
        resources += [_rule(relay, rule) for rule in rules_of(api, relay.name, with_keys=with_keys)]
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {_PARAMETER: {"type": "string", "defaultValue": namespace}},
        "resources": resources,
    }


def _namespace(aliases: Mapping[str, str]) -> dict[str, Any]:
    return _resource(
        "Microsoft.Relay/namespaces",
        f"[parameters('{_PARAMETER}')]",
        {"aliases": aliases} if aliases else {},
        location="[resourceGroup().location]",
        sku={"name": "Standard", "tier": "Standard"},
    )


def _relay(relay: KnownRelay) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "requiresClientAuthorization": relay.settings["requiresClientAuthorization"],
        "userMetadata": _literal(relay.settings["userMetadata"]),
    }
    relay_type = _WCF_TYPES.get(relay.settings["profile"])
    if relay_type is not None:
        properties["relayType"] = relay_type
        properties["requiresTransportSecurity"] = relay.settings["requiresTransportSecurity"]
    ours = {"path": relay.name, "settings": relay.settings}
    kind = f"Microsoft.Relay/namespaces/{_kind(relay)}"
    return _resource(kind, _name(relay.name), ours, after=_AFTER_NAMESPACE, properties=properties)


def _rule(relay: KnownRelay | None, rule: KnownRule) -> dict[str, Any]:
    ours: dict[str, Any] = {} if relay is None else {"path": relay.name}
    keys = {"primaryKey": rule.primary_key, "secondaryKey": rule.secondary_key}
    ours |= {name: key for name, key in keys.items() if key is not None}
    if rule.creates_relays:
        ours["createsRelays"] = True
    kind, names, after = "Microsoft.Relay/namespaces", [rule.name], _AFTER_NAMESPACE
    if relay is not None:
        kind, names = f"{kind}/{_kind(relay)}", [relay.name, rule.name]
        after = f"'{kind}', parameters('{_PARAMETER}'), '{_segment(relay.name)}'"
    properties = {"rights": list(rule.rights)}
    return _resource(f"{kind}/authorizationRules", _name(*names), ours, after=after, properties=properties)


def _resource(
    kind: str, name: str, ours: Mapping[str, Any], *, after: str | None = None, **more: Any
) -> dict[str, Any]:
    """One resource; `after` is what must be there before it, as the arguments of `resourceId`."""
    resource: dict[str, Any] = {"type": kind, "apiVersion": API_VERSION, "name": name, **more}
    if after is not None:
        resource["dependsOn"] = [f"[resourceId({after})]"]
    if ours:
        resource["metadata"] = {"fanway": ours}
    return resource


def _kind(relay: KnownRelay) -> str:
    return "wcfRelays" if relay.settings["profile"] in _WCF_TYPES else "hybridConnections"


def _name(*names: str) -> str:
    """Below the namespace."""
    return f"[concat(parameters('{_PARAMETER}'), '/{'/'.join(map(_segment, names))}')]"


def _segment(name: str) -> str:
    """A slash in a relay's name would be read as a step of the path, so it is written as a tilde."""
    return name.replace("/", "~")


def _literal(text: str) -> str:
    """Text that would be read as an expression has its bracket doubled."""
    return f"[{text}" if text.startswith("[") and text.endswith("]") else text
