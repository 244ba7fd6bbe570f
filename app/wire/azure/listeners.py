"""Which listeners a sender wants, by their ids or by a name, and the name under which a listener registers.

Source for the ids: Azure Relay protocol guide, "AllowedListeners and DisallowedListeners". Names are ours.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from app.errors import BadRequest
from app.wire.azure.headers import INSTANCE_HEADER, LISTENER_FILTERS, Headers, values_of
from app.wire.http import Head

INSTANCE_PARAMETER = "sb-hc-instance"

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class ListenerFilter(NamedTuple):
    """Which listeners a sender wants, by the GUIDs that their ids begin with and by their name. None: any."""

    allowed: frozenset[str] | None
    disallowed: frozenset[str]
    instance: str | None

    def admits(self, listener_id: str | None, instance: str | None) -> bool:
        if self.instance not in (None, instance):
            return False
        guid = (listener_id or "").partition("_")[0].lower()
        return guid not in self.disallowed and (self.allowed is None or guid in self.allowed)


def instance_name(headers: Headers, query: str) -> str | None:
    """The name in the header `Fanway-Instance` or in `sb-hc-instance`: a listener's own, or the one a sender wants.

    Raises BadRequest for what is no such name, or for two that differ.
    """
    names = {value.strip() for value in values_of(headers, INSTANCE_HEADER)}
    if INSTANCE_PARAMETER in query.lower():
        pairs = parse_qsl(query, keep_blank_values=True)
        names.update(value for key, value in pairs if key.lower() == INSTANCE_PARAMETER)
    if not names:
        return None
    if len(names) > 1:
        raise BadRequest("Two instance names are given; a call has one, in Fanway-Instance or as sb-hc-instance.")
    name = names.pop()
    if not _NAME.fullmatch(name):
        raise BadRequest("An instance name is 1 to 64 of the characters A-Z a-z 0-9 . _ ~ and -.")
    return name


def listener_filter(head: Head) -> ListenerFilter | None:
    """What a sender's `Microsoft-Relay-AllowedListeners` and `-DisallowedListeners` state, and its `Fanway-Instance`
    or `sb-hc-instance`, if any. Raises BadRequest."""
    query = head.query
    if LISTENER_FILTERS.isdisjoint(head.names) and not (query and INSTANCE_PARAMETER in query.lower()):
        return None
    allowed = _guids(head.headers, "microsoft-relay-allowedlisteners")
    disallowed = _guids(head.headers, "microsoft-relay-disallowedlisteners")
    instance = instance_name(head.headers, query)
    if allowed is None and disallowed is None and instance is None:
        return None
    return ListenerFilter(allowed, disallowed or frozenset(), instance)


def _guids(headers: Headers, name: str) -> frozenset[str] | None:
    values = values_of(headers, name)
    parts = (part.strip().strip("{}").lower() for value in values for part in value.split(","))
    return frozenset(part for part in parts if part) if values else None
