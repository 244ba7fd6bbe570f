"""What `az relay … show`, `list` and `keys list` print, and ARM answers: an object, a list, or objects holding them.

Resources are known by their `id`; properties may stand beside it, as `az` has them, or under `properties`. Keys come
without an id; an object around them may name their relay: `{"relay": "orders", "keys": …}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from fanway.errors import ConfigurationError
from fanway.moving.resources import Keys, Resource, make_resource, split_id, value_of

MAX_DEPTH = 16


def azure_resources(document: Any, place: str, notes: list[str]) -> Iterator[Resource | Keys]:
    """All that is known in a document; what is skipped goes into `notes`.

    Raises ConfigurationError when an object is none of it.
    """
    yield from _read(document, place, None, notes, 0)


def _read(item: Any, place: str, relay: str | None, notes: list[str], depth: int) -> Iterator[Resource | Keys]:
    if depth > MAX_DEPTH:
        raise ConfigurationError(f"{place}: is nested too deep")
    if isinstance(item, list):
        for number, each in enumerate(item):
            yield from _read(each, f"{place}[{number}]", relay, notes, depth + 1)
        return
    if not isinstance(item, dict):
        raise ConfigurationError(f"{place}: should be an object or a list, as az prints them, not {item!r:.40}")
    name = value_of(item, "keyName")
    if name is not None:
        yield _keys(item, name, relay, place)
        return
    identity = value_of(item, "id")
    if identity is not None:
        if (resource := _resource(item, identity, place, notes)) is not None:
            yield resource
        return
    yield from _read_inside(item, place, relay, notes, depth)


def _read_inside(
    item: Mapping[str, Any], place: str, relay: str | None, notes: list[str], depth: int
) -> Iterator[Resource | Keys]:
    """What an object holds that is none itself."""
    named = value_of(item, "relay")
    if named is not None and not isinstance(named, str):
        raise ConfigurationError(f"{place}.relay: should be the name of a relay")
    inner = {key: value for key, value in item.items() if isinstance(value, dict | list)}
    if item and not inner:
        raise ConfigurationError(
            f"{place}: is nothing that is known here: an ARM template, or an object with an `id` or a `keyName`"
        )
    for key, value in inner.items():
        if key.lower() not in ("nextlink", "systemdata"):
            yield from _read(value, f"{place}{'.' if ': ' in place else ': '}{key}", named or relay, notes, depth + 1)


def _resource(item: Mapping[str, Any], identity: Any, place: str, notes: list[str]) -> Resource | None:
    if not isinstance(identity, str):
        raise ConfigurationError(f"{place}.id: should be a text")
    found = split_id(identity)
    if found is None:
        notes.append(f"{place}: skipped: '{identity[:200]}' is nothing of a relay's")
        return None
    kind, names = found
    properties = value_of(item, "properties")
    if isinstance(properties, dict):
        item = {**item, **properties}
    return make_resource(kind, [unquote(name) for name in names], item, {}, place)


def _keys(item: Mapping[str, Any], name: Any, relay: str | None, place: str) -> Keys:
    texts: dict[str, str | None] = {}
    for each in ("primaryKey", "secondaryKey", "primaryConnectionString"):
        value = value_of(item, each)
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{place}.{each}: should be a text")
        texts[each] = value
    if not isinstance(name, str) or not name or not (texts["primaryKey"] or texts["secondaryKey"]):
        raise ConfigurationError(f"{place}: has a keyName, but no keys")
    pieces = [piece.partition("=") for piece in (texts["primaryConnectionString"] or "").split(";")]
    parts = {key.strip().lower(): value.strip() for key, _, value in pieces}
    host = urlsplit(parts.get("endpoint", "")).hostname
    return Keys(
        name,
        parts.get("entitypath", "").strip("/") or relay,
        host.partition(".")[0] if host else None,
        texts["primaryKey"],
        texts["secondaryKey"],
        place,
    )
