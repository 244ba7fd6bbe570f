"""Who may reach a namespace at all: Azure's `networkRuleSets`, and the same in the words of `/-/api`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanway.moving.resources import Resource, value_of

OPEN: Mapping[str, Any] = {
    "defaultAction": "Allow",
    "publicNetworkAccess": "Enabled",
    "trustedServiceAccess": False,
    "ipRules": [],
}
MAX_IP_RULES = 128

_ACTIONS = ("Allow", "Deny")
_ACCESS = ("Enabled", "Disabled", "SecuredByPerimeter")


@dataclass(frozen=True, slots=True)
class WantedNetwork:
    """A namespace's network rules as a file has them; `settings` are those of `/-/api`."""

    settings: Mapping[str, Any]
    place: str


def network_from(resource: Resource) -> WantedNetwork:
    """The rules that Azure's resource holds. Raises ConfigurationError."""
    rules = resource.value("ipRules")
    if not isinstance(rules, list | None):
        raise resource.fault("ipRules", "should be a list")
    if len(rules or []) > MAX_IP_RULES:
        raise resource.fault("ipRules", f"has more than {MAX_IP_RULES} rules")
    settings = {
        "defaultAction": _one_of(resource, "defaultAction", resource.value("defaultAction"), _ACTIONS),
        "publicNetworkAccess": _one_of(resource, "publicNetworkAccess", resource.value("publicNetworkAccess"), _ACCESS),
        "trustedServiceAccess": resource.boolean("trustedServiceAccessEnabled", False),
        "ipRules": [_ip_rule(resource, f"ipRules[{number}]", rule) for number, rule in enumerate(rules or [])],
    }
    return WantedNetwork(settings, resource.place)


def network_properties(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of Azure's resource."""
    return {
        "defaultAction": settings["defaultAction"],
        "publicNetworkAccess": settings["publicNetworkAccess"],
        "trustedServiceAccessEnabled": settings["trustedServiceAccess"],
        "ipRules": [{"ipMask": rule["mask"], "action": rule["action"]} for rule in settings["ipRules"]],
    }


def _ip_rule(resource: Resource, place: str, rule: Any) -> dict[str, str]:
    mask = value_of(rule, "ipMask") if isinstance(rule, dict) else None
    try:
        if not isinstance(mask, str):
            raise ValueError
        ipaddress.ip_network(mask, strict=False)
    except ValueError:
        raise resource.fault(place, "should have an ipMask such as 10.0.0.0/24") from None
    return {"mask": mask, "action": _one_of(resource, f"{place}.action", value_of(rule, "action"), _ACTIONS)}


def _one_of(resource: Resource, place: str, value: Any, words: tuple[str, ...]) -> str:
    """The first of `words` where nothing is said."""
    if value is None:
        return words[0]
    for word in words:
        if isinstance(value, str) and value.lower() == word.lower():
            return word
    raise resource.fault(place, f"should be one of {', '.join(words)}")
