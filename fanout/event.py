"""What is published: one immutable event, as accepted, with its place in the relay's stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from fanout.address import encode_address

EXPIRY = "expirytime"  # an extension that CloudEvents documents
EVENT_BYTES = 256  # what an event takes besides its payload, about, however it is written
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class Event(NamedTuple):
    """An accepted event. `offset` counts the relay's accepted events from 1; identity is the object.

    `id` is empty where the publisher gave none: then its place in the stream names it (`id_in`).

    `type`, `source`, `time` (RFC 3339) and `attributes` (extensions) are the CloudEvents context of
    the same names; `received_at` and `expires_at`, after which nobody is given it any more, are the gateway's own
    clock in Unix seconds. `is_retained`: it becomes the last event of its address, where those are kept.
    A tuple, because one is made for each event published and nothing immutable is made faster.
    """

    address: str
    offset: int
    id: str
    payload: bytes
    is_text: bool = False
    content_type: str | None = None
    type: str | None = None
    source: str | None = None
    time: str | None = None
    received_at: float = 0.0
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    expires_at: float = inf
    is_retained: bool = True

    def id_in(self, epoch: str) -> str:
        """Its id, in a stream of this epoch: unique together with its source (CloudEvents 1.0.2, "id")."""
        return self.id or f"{epoch}-{self.offset}"

    def extensions(self) -> Mapping[str, str]:
        """What its publisher gave beside the attributes that every event has, and until when it is good."""
        if self.expires_at == inf:
            return self.attributes
        return {**self.attributes, EXPIRY: rfc3339(self.expires_at)}

    def __repr__(self) -> str:
        return f"Event({self.address!r}, offset={self.offset}, id={self.id!r}, {len(self.payload)} bytes)"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


new_event = tuple.__new__
"""`new_event(Event, (address, …, is_retained))`, all fields in order, is `Event(…)` without a call in between."""


class DelayedEvent(NamedTuple):
    """An event that waits until Unix time `due`; it has no offset yet, and was `received_at` when it was accepted.

    `number` names it, and counts in the order of acceptance. `made_at` is when its relay was made, 0 if that came
    into being by use. `size`: bytes of its payload, which need not be there.
    """

    number: int
    namespace: str
    relay: str
    made_at: float
    due: float
    event: Event
    size: int = 0


# --- the least that makes a valid CloudEvent of what a publisher left out ---

DEFAULT_TYPE = "fanway.event"


def default_source(address: str) -> str:
    """`/` and the percent-encoded address."""
    return "/" + encode_address(address)


def default_content_type(is_text: bool) -> str:
    """What bytes of unknown kind are, and text."""
    return "text/plain" if is_text else "application/octet-stream"


def rfc3339(unix_time: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond; the time of an event is when it was accepted."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
