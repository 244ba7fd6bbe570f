"""What is published: one immutable event, as accepted, with its place in the relay's stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """An accepted event. `offset` counts the relay's accepted events from 1; identity is the object.

    `type`, `source`, `time` (RFC 3339) and `attributes` (extensions) are the CloudEvents context of
    the same names; `received_at` is the gateway's own clock in Unix seconds.
    """

    address: str
    offset: int
    id: str
    payload: bytes = field(repr=False)
    is_text: bool = False
    content_type: str | None = None
    type: str | None = None
    source: str | None = None
    time: str | None = None
    received_at: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=lambda: _NO_ATTRIBUTES)
