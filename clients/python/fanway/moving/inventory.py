"""What files say should be provisioned: relays, rules and all else, gathered from all of them and checked as a whole.

Nothing is sent anywhere before the whole is known to be sound, so a bad file leaves nothing half-made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fanway.address import check_address
from fanway.errors import ConfigurationError, InvalidAddressError
from fanway.moving.network import WantedNetwork, network_from
from fanway.moving.resources import HYBRID_CONNECTION, NAMESPACE, NETWORK, RULES, Keys, Resource

RIGHTS = ("Listen", "Send", "Manage")
ROOT_RULE = "RootManageSharedAccessKey"
MAX_RULES = 12
MAX_METADATA = 1024
MAX_KEY = 256

_RELAY_NAME = re.compile(r"[A-Za-z0-9._~\-]+(?:/[A-Za-z0-9._~\-]+)*")
_RULE_NAME = re.compile(r"[A-Za-z0-9._~\-]{1,256}")
_WCF_PROFILES = {"nettcp": "netTcp", "http": "http", "netoneway": "netOneway", "netevent": "netEvent"}
_BY_USE_ONLY = ("netOneway", "netEvent")


@dataclass(frozen=True, slots=True)
class WantedRelay:
    """A relay as a file has it; `settings` are those of `/-/api`, and what is not among them may be as it likes."""

    path: str
    settings: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class WantedRule:
    """A rule of a relay, or of the namespace (`relay` None). What is None a file did not tell."""

    relay: str | None
    name: str
    rights: tuple[str, ...] | None
    primary_key: str | None = field(repr=False)
    secondary_key: str | None = field(repr=False)
    place: str
    creates_relays: bool | None = None

    @property
    def title(self) -> str:
        return f"rule {self.name} of {self.relay}" if self.relay else f"rule {self.name}"


RuleKey = tuple[str | None, str]


class Inventory:
    """Relays by path and rules by relay and name, in lower case; `notes` tell what was left out and why."""

    def __init__(self) -> None:
        self.relays: dict[str, WantedRelay] = {}
        self.rules: dict[RuleKey, WantedRule] = {}
        self.aliases: dict[str, str] = {}  # host names to the address they lead to, or ''
        self.network: WantedNetwork | None = None
        self.notes: list[str] = []

    def add_network(self, network: WantedNetwork) -> None:
        """Raises ConfigurationError where another file has other network rules."""
        known = self.network = self.network or network
        if known.settings != network.settings:
            raise ConfigurationError(f"{network.place}: the network rules stand otherwise at {known.place}")

    def add_relay(self, relay: WantedRelay) -> None:
        """Raises ConfigurationError for a name that cannot be, and where another file has the relay otherwise."""
        if not _RELAY_NAME.fullmatch(relay.path):
            raise ConfigurationError(
                f"{relay.place}: '{relay.path}' cannot be a relay's name: segments of letters, digits and '._~-'"
            )
        try:
            check_address(relay.path)
        except InvalidAddressError as error:
            raise ConfigurationError(f"{relay.place}: {error}") from None
        known = self.relays.setdefault(relay.path.lower(), relay)
        if known.settings != relay.settings:
            raise ConfigurationError(f"{relay.place}: the relay '{relay.path}' stands otherwise at {known.place}")

    def add_rule(self, rule: WantedRule) -> None:
        """What another file told of the same rule is completed. Raises ConfigurationError where they contradict."""
        _check_rule(rule)
        key = (rule.relay.lower() if rule.relay else None, rule.name.lower())
        known = self.rules.get(key)
        if known is None:
            self.rules[key] = rule
            return
        told = ("rights", "primary_key", "secondary_key", "creates_relays")
        pairs = [(getattr(known, name), getattr(rule, name)) for name in told]
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ConfigurationError(f"{rule.place}: the {rule.title} stands otherwise at {known.place}")
        merged = {name: new if old is None else old for name, (old, new) in zip(told, pairs, strict=True)}
        self.rules[key] = replace(known, **merged)

    def check(self) -> None:
        """Raises ConfigurationError where a scope has more rules than it may."""
        for relay, count in Counter(relay for relay, _ in self.rules).items():
            if count > MAX_RULES:
                raise ConfigurationError(f"{relay or 'The namespace'} has {count} rules; it may have {MAX_RULES}")


def gather(found: Iterable[Resource | Keys], namespace: str | None, notes: list[str]) -> Inventory:
    """The inventory of one namespace: the one that is named, else the only one there is. Raises ConfigurationError."""
    resources: list[Resource] = []
    keys: list[Keys] = []
    for each in found:
        if isinstance(each, Keys):
            keys.append(each)
        else:
            resources.append(each)
    names = {resource.namespace.lower(): resource.namespace for resource in resources}
    if namespace is None and len(names) > 1:
        listed = ", ".join(sorted(names.values()))
        raise ConfigurationError(f"The files hold several namespaces ({listed}); choose one with --from-namespace")
    chosen = namespace.lower() if namespace is not None else next(iter(names), None)
    if namespace is not None and resources and chosen not in names:
        raise ConfigurationError(
            f"The files hold no namespace '{namespace}'; there is {', '.join(sorted(names.values()))}"
        )
    inventory = Inventory()
    inventory.notes.extend(notes)
    for resource in resources:
        if resource.namespace.lower() == chosen:
            _take(inventory, resource)
        else:
            inventory.notes.append(f"{resource.place}: skipped: it belongs to the namespace {resource.namespace}")
    for pair in keys:
        if namespace is not None and pair.namespace is not None and pair.namespace.lower() != chosen:
            inventory.notes.append(f"{pair.place}: skipped: it belongs to the namespace {pair.namespace}")
        else:
            _take_keys(inventory, pair)
    inventory.check()
    return inventory


def _take(inventory: Inventory, resource: Resource) -> None:
    if resource.kind == NAMESPACE:
        _take_aliases(inventory, resource)
    elif resource.kind == NETWORK:
        inventory.add_network(network_from(resource))
    elif resource.kind in RULES:
        inventory.add_rule(_rule_of(resource))
    elif (relay := _relay_of(resource, inventory.notes)) is not None:
        inventory.add_relay(relay)


def _take_aliases(inventory: Inventory, resource: Resource) -> None:
    aliases = resource.extension.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(address, str) for address in aliases.values()):
        raise resource.fault("metadata.fanway.aliases", "should hold host names, each with its address or ''")
    inventory.aliases.update({host.lower(): address for host, address in aliases.items()})


def _relay_of(resource: Resource, notes: list[str]) -> WantedRelay | None:
    """The relay; None for one that comes into being by use, which is not provisioned."""
    settings: dict[str, Any] = {
        "requiresClientAuthorization": resource.boolean("requiresClientAuthorization", True),
        "userMetadata": resource.text("userMetadata") or "",
    }
    if len(settings["userMetadata"]) > MAX_METADATA:
        raise resource.fault("userMetadata", f"is at most {MAX_METADATA} characters long")
    if resource.kind == HYBRID_CONNECTION:
        settings["profile"] = "hybridConnection"
    else:
        settings["requiresTransportSecurity"] = resource.boolean("requiresTransportSecurity", True)
        settings["profile"] = _wcf_profile(resource)
        if resource.boolean("isDynamic", False) or settings["profile"] in _BY_USE_ONLY:
            notes.append(f"{resource.place}: skipped: '{resource.path}' comes into being with its first listener")
            return None
    ours = resource.extension.get("settings", {})
    if not isinstance(ours, dict):
        raise resource.fault("metadata.fanway.settings", "should be an object")
    return WantedRelay(_path_of(resource), settings | ours, resource.place)


def _wcf_profile(resource: Resource) -> str:
    told = resource.text("relayType")
    profile = _WCF_PROFILES.get((told or "").lower())
    if profile is None:
        raise resource.fault("relayType", f"should be NetTcp or Http, not {told!r}")
    return profile


def _path_of(resource: Resource) -> str:
    """Azure writes the slashes of a relay's name as tildes where a name is part of an id."""
    named = resource.extension.get("path")
    if named is not None and not isinstance(named, str):
        raise resource.fault("metadata.fanway.path", "should be a text")
    return named or resource.path.replace("~", "/")


def _rule_of(resource: Resource) -> WantedRule:
    ours = resource.extension
    keys = []
    for name in ("primaryKey", "secondaryKey"):
        key = ours.get(name, resource.value(name))
        if key is not None and not isinstance(key, str):
            raise resource.fault(name, "should be a text")
        keys.append(key)
    creates = ours.get("createsRelays")
    if not isinstance(creates, bool | None):
        raise resource.fault("metadata.fanway.createsRelays", "should be true or false")
    relay = _path_of(resource) if resource.path else None
    return WantedRule(relay, resource.rule, _rights(resource), keys[0], keys[1], resource.place, creates)


def _rights(resource: Resource) -> tuple[str, ...]:
    given = resource.value("rights")
    if not isinstance(given, list) or not given:
        raise resource.fault("rights", "should be a list of Listen, Send and Manage")
    names = {right.lower(): right for right in RIGHTS}
    if any(not isinstance(right, str) or right.lower() not in names for right in given):
        raise resource.fault("rights", f"hold something else than {', '.join(RIGHTS)}")
    rights = {names[right.lower()] for right in given}
    return tuple(right for right in RIGHTS if right in rights or "Manage" in rights)


def _take_keys(inventory: Inventory, keys: Keys) -> None:
    """Keys name their rule, but not whose it is: the connection string may, else one of that name must be alone."""
    relay = keys.relay.replace("~", "/") if keys.relay and keys.relay.lower() not in inventory.relays else keys.relay
    if relay is None:
        homes = [rule.relay for (_, name), rule in inventory.rules.items() if name == keys.rule.lower()]
        if len(homes) > 1:
            named = ", ".join(sorted(home or "the namespace" for home in homes))
            raise ConfigurationError(
                f"{keys.place}: the keys of '{keys.rule}' may belong to {named}; "
                'say it around them: {"relay": "NAME", "keys": …}, or put them into the rule as primaryKey'
            )
        relay = homes[0] if homes else None
    rights = RIGHTS if relay is None and keys.rule.lower() == ROOT_RULE.lower() else None
    inventory.add_rule(WantedRule(relay, keys.rule, rights, keys.primary, keys.secondary, keys.place))


def _check_rule(rule: WantedRule) -> None:
    if not _RULE_NAME.fullmatch(rule.name):
        raise ConfigurationError(f"{rule.place}: '{rule.name}' cannot be a rule's name: letters, digits and '._~-'")
    for key in (rule.primary_key, rule.secondary_key):
        if key is not None and not 1 <= len(key) <= MAX_KEY:
            raise ConfigurationError(f"{rule.place}: a key is 1 to {MAX_KEY} characters long")
