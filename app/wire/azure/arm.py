"""Paths of Azure's management, told from requests that are relayed (protocol guide, "ARM resource types").

A path is management's only when its whole shape is one of those below and its query has an `api-version`: whatever
else lies under `/subscriptions` belongs to whoever listens there. Segment names compare ignoring ASCII case.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

_PROVIDER = "providers/Microsoft.Relay"
_SUBSCRIPTION = "subscriptions/{}"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{}}"
_NAMESPACE = f"{_GROUP}/{_PROVIDER}/namespaces/{{}}"
_RULES = (
    "authorizationRules",
    "authorizationRules/{}",
    *(f"authorizationRules/{{}}/{k}Keys" for k in ("list", "regenerate")),
)
_RELAYS = ("hybridConnections", "wcfRelays")

SHAPES = (
    f"{_PROVIDER}/operations",
    f"{_SUBSCRIPTION}/{_PROVIDER}/checkNameAvailability",
    f"{_SUBSCRIPTION}/{_PROVIDER}/namespaces",
    f"{_GROUP}/{_PROVIDER}/namespaces",
    _NAMESPACE,
    *(f"{_NAMESPACE}/{rules}" for rules in _RULES),
    *(f"{_NAMESPACE}/{relays}{one}" for relays in _RELAYS for one in ("", "/{}")),
    *(f"{_NAMESPACE}/{relays}/{{}}/{rules}" for relays in _RELAYS for rules in _RULES),
    f"{_NAMESPACE}/networkRuleSets/default",
    *(f"{_NAMESPACE}/private{kind}{one}" for kind in ("EndpointConnections", "LinkResources") for one in ("", "/{}")),
)


class ArmPath(NamedTuple):
    """A path of management: spelled as Azure documents it, and what kind of thing it leads to.

    `path` is decoded; a `/` inside a name has become `~`. `kind` is such as `namespaces/hybridConnections`.
    """

    path: str
    kind: str


def is_arm(path: str, query: str) -> bool:
    """Whether a request belongs to management. `path` and `query` are raw."""
    return path[1:2] in _FIRST_LETTERS and api_version(query) is not None and find_arm_path(path) is not None


def find_arm_path(path: str) -> ArmPath | None:
    """What a raw path means to management, None when it is none of its own."""
    given = path.split("/")[1:]
    folded = [segment.lower() for segment in given]
    for literals, kind in _SHAPES.get(len(given), ()):
        if all(
            segment if literal is None else lower == literal[0]
            for segment, lower, literal in zip(given, folded, literals, strict=True)
        ):
            spelled = [
                _name(segment) if literal is None else literal[1]
                for segment, literal in zip(given, literals, strict=True)
            ]
            return ArmPath("/" + "/".join(spelled), kind)
    return None


def api_version(query: str) -> str | None:
    """The value of `api-version`, whose own case does not matter, '' when it has none; None when it is not there."""
    if "api-version" not in query.lower():
        return None
    return next(
        (value for name, value in parse_qsl(query, keep_blank_values=True) if name.lower() == "api-version"), None
    )


def _name(segment: str) -> str:
    return unquote(segment).replace("/", "~")


_Literals = tuple[tuple[str, str] | None, ...]  # each folded and as it is spelled; None: a name


def _by_length() -> dict[int, list[tuple[_Literals, str]]]:
    found: dict[int, list[tuple[_Literals, str]]] = {}
    for shape in SHAPES:
        segments = shape.split("/")
        literals = tuple(None if segment == "{}" else (segment.lower(), segment) for segment in segments)
        kind = "/".join(
            segment for segment in shape.partition(f"{_PROVIDER}/")[2].split("/") if segment not in _UNTYPED
        )
        found.setdefault(len(segments), []).append((literals, kind))
    return found


_UNTYPED = ("{}", "listKeys", "regenerateKeys", "default")  # a name, an action, the one that there is
_FIRST_LETTERS = frozenset("sSpP")
_SHAPES = _by_length()
