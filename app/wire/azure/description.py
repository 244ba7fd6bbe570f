"""What Azure's Atom tells and is told of one entity: `HybridConnectionDescription` and `RelayDescription`.

Their readers are data-contract deserializers: the order of the elements matters to them and late ones are dropped
silently, so we write them in the published order. What others write we find by name, wherever it stands (protocol
guide, "Runtime information", "Atom create / update / delete / list").
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from enum import StrEnum
from xml.etree.ElementTree import Element

from app.errors import BadRequest
from app.wire.azure.xml import escaped, name_of

CONNECT = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

RIGHTS = ("Listen", "Send", "Manage")
RELAY_TYPES = ("None", "NetTcp", "Http", "NetEvent", "NetOneway")  # in the order of their numbers
_SAS = "SharedAccessAuthorizationRule"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}  # XML Schema, part 2, 3.2.2


class Kind(StrEnum):
    """The two kinds of entities that Azure Relay has."""

    HYBRID_CONNECTION = "HybridConnectionDescription"
    RELAY = "RelayDescription"


@dataclass(frozen=True, slots=True)
class RuleDescription:
    """One shared access rule; a key that is None was not given."""

    name: str
    rights: tuple[str, ...]
    primary_key: str | None = field(default=None, repr=False)
    secondary_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Description:
    """An entity. `relay_type` is one of `RELAY_TYPES`, of relays only; times are unix seconds.

    `rules` None: nothing is said about them. What only the gateway knows (`is_dynamic` and below) is not read from
    others.
    """

    kind: Kind
    relay_type: str = ""
    requires_client_authorization: bool = True
    requires_transport_security: bool = True
    user_metadata: str = ""
    rules: tuple[RuleDescription, ...] | None = None
    is_dynamic: bool = False
    path: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    listener_count: int = 0


# --- out ---


def encode_description(description: Description) -> str:
    """The element, with its rules and their keys where there are any."""
    kind = description.kind
    inside = _hybrid_connection(description) if kind is Kind.HYBRID_CONNECTION else _relay(description)
    return f'<{kind} xmlns="{CONNECT}" xmlns:i="{INSTANCE}">{inside}</{kind}>'


def stamp(unix_time: float) -> str:
    """A time as XML has it, in UTC and whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_time))


def _hybrid_connection(description: Description) -> str:
    return (
        _times(description)
        + _truth("RequiresClientAuthorization", description.requires_client_authorization)
        + _rules(description.rules)
        + _text("UserMetadata", description.user_metadata)
        + _text("ListenerCount", str(description.listener_count))
    )


def _relay(description: Description) -> str:
    return (
        _text("Path", description.path)
        + _text("RelayType", description.relay_type)
        + _times(description)
        + _truth("RequiresClientAuthorization", description.requires_client_authorization)
        + _truth("RequiresTransportSecurity", description.requires_transport_security)
        + _truth("IsDynamic", description.is_dynamic)
        + _rules(description.rules)
        + _text("UserMetadata", description.user_metadata)
        + _text("ListenerCount", str(description.listener_count))
    )


def _times(description: Description) -> str:
    return _text("CreatedAt", stamp(description.created_at)) + _text("UpdatedAt", stamp(description.updated_at))


def _rules(rules: tuple[RuleDescription, ...] | None) -> str:
    return f"<AuthorizationRules>{''.join(map(_rule, rules))}</AuthorizationRules>" if rules else ""


def _rule(rule: RuleDescription) -> str:
    rights = "".join(_text("AccessRights", right) for right in rule.rights)
    keys = (("PrimaryKey", rule.primary_key), ("SecondaryKey", rule.secondary_key))
    return (
        f'<AuthorizationRule i:type="{_SAS}"><ClaimType>SharedAccessKey</ClaimType><ClaimValue>None</ClaimValue>'
        f"<Rights>{rights}</Rights>{_text('KeyName', rule.name)}"
        f"{''.join(_text(name, key) for name, key in keys if key is not None)}</AuthorizationRule>"
    )


def _text(name: str, text: str) -> str:
    return f"<{name}>{escaped(text)}</{name}>"


def _truth(name: str, value: bool) -> str:
    return _text(name, str(value).lower())


# --- in ---


def parse_description(element: Element) -> Description:
    """What the element says; elements that are not known are passed over. Raises `BadRequest` naming what is wrong."""
    namespace, local = name_of(element)
    if namespace != CONNECT or local not in set(Kind):
        raise BadRequest(
            f"The content is {_shown(element)}; it should be {' or '.join(Kind)} in the namespace '{CONNECT}'."
        )
    kind = Kind(local)
    said = _children(element, _KNOWN)
    return Description(
        kind=kind,
        relay_type=_relay_type(said) if kind is Kind.RELAY else "",
        requires_client_authorization=_boolean(said, "RequiresClientAuthorization", True),
        requires_transport_security=_boolean(said, "RequiresTransportSecurity", True),
        user_metadata=_said(said, "UserMetadata") or "",
        rules=_parse_rules(said.get("AuthorizationRules")),
    )


_KNOWN = frozenset(
    (
        "AuthorizationRules",
        "RelayType",
        "RequiresClientAuthorization",
        "RequiresTransportSecurity",
        "UserMetadata",
    )
)
_KNOWN_OF_RULE = frozenset(("KeyName", "PrimaryKey", "Rights", "SecondaryKey"))


def _children(element: Element, known: frozenset[str]) -> dict[str, Element]:
    """The known children by name, without those that are nil. Each may stand there once, in the one namespace."""
    found: dict[str, Element] = {}
    for child in element:
        namespace, local = name_of(child)
        if local not in known:
            continue
        if namespace != CONNECT:
            raise BadRequest(f"{_shown(child)} should be in the namespace '{CONNECT}'.")
        if local in found:
            raise BadRequest(f"<{local}> stands twice in <{name_of(element)[1]}>.")
        found[local] = child
    return {local: child for local, child in found.items() if not _is_nil(child)}


def _parse_rules(element: Element | None) -> tuple[RuleDescription, ...] | None:
    if element is None:
        return None
    rules = []
    for child in element:
        if name_of(child) != (CONNECT, "AuthorizationRule"):
            raise BadRequest(f"<AuthorizationRules> holds {_shown(child)}; only <AuthorizationRule> is known there.")
        rules.append(_parse_rule(child))
    return tuple(rules)


def _parse_rule(element: Element) -> RuleDescription:
    kind = element.get(f"{{{INSTANCE}}}type", _SAS).rpartition(":")[2]
    if kind != _SAS:
        raise BadRequest(f"An authorization rule of the type '{kind[:64]}' is not known here; only {_SAS} is.")
    said = _children(element, _KNOWN_OF_RULE)
    name = (_said(said, "KeyName") or "").strip()
    if not name:
        raise BadRequest("An <AuthorizationRule> has no <KeyName>.")
    rights = []
    for child in said.get("Rights", ()):
        right = (child.text or "").strip()
        if name_of(child) != (CONNECT, "AccessRights") or right not in RIGHTS:
            raise BadRequest(f"The rights of '{name[:64]}' hold '{right[:64]}'; known are {', '.join(RIGHTS)}.")
        rights.append(right)
    if not rights:
        raise BadRequest(f"The rule '{name[:64]}' has no <Rights>.")
    return RuleDescription(name, tuple(rights), _said(said, "PrimaryKey"), _said(said, "SecondaryKey"))


def _relay_type(said: dict[str, Element]) -> str:
    """As `RELAY_TYPES` spells it; it may be told by name or by number."""
    given = (_said(said, "RelayType") or "").strip()
    if re.fullmatch("[0-4]", given):
        return RELAY_TYPES[int(given)]
    for name in RELAY_TYPES:
        if name.lower() == given.lower():
            return name
    if not given:
        raise BadRequest("A RelayDescription needs a <RelayType>: NetTcp or Http.")
    raise BadRequest(f"The <RelayType> '{given[:64]}' is none of {', '.join(RELAY_TYPES)}.")


def _said(said: dict[str, Element], name: str) -> str | None:
    """The text of a child, None where it is not there. Raises `BadRequest` when it holds elements instead."""
    element = said.get(name)
    if element is None:
        return None
    if len(element):
        raise BadRequest(f"<{name}> should hold text, not elements.")
    return element.text or ""


def _boolean(said: dict[str, Element], name: str, default: bool) -> bool:
    text = _said(said, name)
    if text is None:
        return default
    value = _BOOLEANS.get(text.strip())
    if value is None:
        raise BadRequest(f"<{name}> should be true or false, not '{text.strip()[:64]}'.")
    return value


def _is_nil(element: Element) -> bool:
    return element.get(f"{{{INSTANCE}}}nil", "").strip() in ("true", "1")


def _shown(element: Element) -> str:
    namespace, local = name_of(element)
    return (
        f"<{local[:64]}> of the namespace '{namespace[:128]}'" if namespace else f"<{local[:64]}> without a namespace"
    )
