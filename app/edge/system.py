"""The gateway's own relay of a namespace, `-`: what the gateway tells of itself are events at addresses below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from app.namespace import HistoryLimits, Relay
from app.wire.native.publication import JSON, Publication
from fanout.event import Event

if TYPE_CHECKING:
    from app.edge.realm import Realm

SYSTEM = "-"
STATUS = "-/sys/status"


def is_system(address: str) -> bool:
    """Whether a decoded address is one of the gateway's own."""
    return address.startswith("-/") or address == SYSTEM


def system_relay() -> Relay:
    """The relay of a namespace that is the gateway's own."""
    return Relay(SYSTEM, history=HistoryLimits(events=1024, seconds=300.0, bytes=1 << 19), is_system=True)


def system_event(address: str, type: str, about: Mapping[str, Any], offset: int, now: float, id: str = "") -> Event:
    """One such event; without an `id` its place in the stream names it."""
    return Publication(id, orjson.dumps(about), True, JSON, type).as_event(address, offset, now)


def tell(realm: Realm, address: str, type: str, about: Mapping[str, Any]) -> None:
    """Publish an event at one of the gateway's own addresses."""
    history, now = realm.history(realm.system), realm.now()
    event = system_event(address, type, about, history.next_offset(), now)
    history.append(event, now)
    realm.router.publish(realm.system.key, [event])
