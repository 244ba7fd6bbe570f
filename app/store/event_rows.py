"""What an event is in a row of the journal, whichever table holds it. Times are whole microseconds since 1970."""

from __future__ import annotations

from math import inf

import orjson

from app.store.journal import Row
from fanout.event import NO_ATTRIBUTES, Event

COLUMNS = "address, id, payload, is_text, content_type, type, source, time, received_at, attributes, expires_at"


def micros(unix_time: float) -> int:
    return round(unix_time * 1e6)


def columns_of(event: Event) -> Row:
    """The values of COLUMNS."""
    return (
        event.address,
        event.id,
        event.payload,
        event.is_text,
        event.content_type,
        event.type,
        event.source,
        event.time,
        micros(event.received_at),
        orjson.dumps(dict(event.attributes)).decode() if event.attributes else None,
        None if event.expires_at == inf else micros(event.expires_at),
    )


def event_of(
    offset: int,
    address: str,
    id: str,
    payload: bytes,
    is_text: int,
    content_type: str | None,
    type: str | None,
    source: str | None,
    time: str | None,
    received_at: int,
    attributes: str | None,
    expires_at: int | None,
) -> Event:
    """The event of an offset and the values of COLUMNS."""
    return Event(
        address,
        offset,
        id,
        payload,
        bool(is_text),
        content_type,
        type,
        source,
        time,
        received_at / 1e6,
        orjson.loads(attributes) if attributes else NO_ATTRIBUTES,
        inf if expires_at is None else expires_at / 1e6,
    )
