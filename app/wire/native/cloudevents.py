"""Events as CloudEvents 1.0.2 in the JSON event format, and as frames of the sub-protocol `cloudevents.json`.

What a publisher left out gets the least that makes a valid CloudEvent: type `fanway.event`, the source
`/` plus the percent-encoded address, the time of acceptance. `fanwayaddress` and `fanwaycursor` are ours and
always there; `subject` is the publisher's alone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app.closes import Close
from app.wire.frames import TEXT, encode_frame
from app.wire.native.publication import JSON, is_json_type, media_type
from fanout.address import encode_address
from fanout.event import DEFAULT_TYPE, NO_ATTRIBUTES, Event, default_content_type, default_source, rfc3339
from fanout.history import Cursor

READY_TYPE = "fanway.ready"
GAP_TYPE = "fanway.gap"
CURSOR_TYPE = "fanway.cursor"
BYE_TYPE = "fanway.bye"

_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")  # between JSON tokens a line break means no more than a blank


def encode_envelope(event: Event, epoch: str, about: Mapping[str, str] = NO_ATTRIBUTES) -> bytes:
    """The event as one line of JSON: JSON payloads inline and verbatim, text as a string, the rest in base64.

    `about` are further attributes of ours.
    """
    envelope: dict[str, Any] = {**context_of(event, epoch), **about}
    if event.payload:
        name, data = data_member(event.payload, event.is_text, envelope["datacontenttype"])
        envelope[name] = data
    return orjson.dumps(envelope)


def context_of(event: Event, epoch: str) -> dict[str, str]:
    """All attributes of the event, as they are in every format and binding."""
    return {
        "specversion": "1.0",
        "id": event.id_in(epoch),
        "source": event.source or default_source(event.address),
        "type": event.type or DEFAULT_TYPE,
        "time": event.time or rfc3339(event.received_at),
        **event.extensions(),
        "fanwayaddress": event.address,
        "fanwaycursor": f"{epoch}:{event.offset}",
        "datacontenttype": event.content_type or default_content_type(event.is_text),
    }


def encode_delivery(event: Event, epoch: str, id: str, attempt: int, deadline: float) -> bytes:
    """The same of an event that is to be acknowledged under this id, until `deadline` (Unix seconds)."""
    about = {"fanwaydelivery": id, "fanwaydeadline": rfc3339(deadline), "fanwayattempt": str(attempt)}
    return encode_envelope(event, epoch, about)


def encode_ready(relay: str, cursor: Cursor) -> bytes:
    """The notice that a subscription stands, and where it begins."""
    return _notice(READY_TYPE, relay, cursor, {"relay": relay, "cursor": str(cursor)})


def encode_position(relay: str, cursor: Cursor) -> bytes:
    """The notice that everything up to `cursor` has been seen; sent while nothing else is."""
    return _notice(CURSOR_TYPE, relay, cursor, {"relay": relay, "cursor": str(cursor)})


def encode_gap(relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
    """The notice that events after `from_` up to and including `to` are missing."""
    return _notice(GAP_TYPE, relay, to, gap_members(relay, from_, to, why))


def encode_bye(relay: str, cursor: Cursor, close: Close) -> bytes:
    """The notice that the stream ends here, and why."""
    return _notice(BYE_TYPE, relay, cursor, bye_members(close))


def bye_members(close: Close) -> dict[str, object]:
    """What every kind of goodbye says; `after` is seconds to wait before returning."""
    return {"code": close.code, "reason": close.reason, "return": close.reconnect, "after": 0}


def gap_members(relay: str, from_: Cursor, to: Cursor, why: str) -> dict[str, str]:
    """What every kind of gap notice says; `why` is history, epoch, ahead or slow."""
    return {"relay": relay, "from": str(from_), "to": str(to), "why": why}


def data_member(payload: bytes, is_text: bool, content_type: str) -> tuple[str, object]:
    """Name and value of the member that holds a payload: JSON inline and verbatim, text as a string, else base64."""
    if not is_json_type(media_type(content_type)):
        if is_text:
            return "data", payload.decode()
    elif _is_json(payload):
        return "data", orjson.Fragment(payload.translate(_LINE_BREAKS))
    return "data_base64", base64.b64encode(payload).decode()


def _is_json(payload: bytes) -> bool:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True


def _notice(type_: str, relay: str, cursor: Cursor, data: Mapping[str, object]) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"{type_}:{cursor}",
            "source": "/" + encode_address(relay),
            "type": type_,
            "fanwaycursor": str(cursor),
            "datacontenttype": JSON,
            "data": data,
        }
    )


@dataclass(frozen=True, slots=True)
class CloudEventFrames:
    """WebSocket text frames of one envelope each (CloudEvents WebSocket binding, JSON); for one relay's epoch."""

    epoch: str

    @property
    def name(self) -> str:
        return "cloudevents.json"

    def encode(self, event: Event) -> bytes:
        return encode_frame(TEXT, encode_envelope(event, self.epoch))

    def join(self, parts: list[bytes]) -> bytes:
        return b"".join(parts)

    def in_epoch(self, epoch: str) -> CloudEventFrames:
        """The same for another stream."""
        return replace(self, epoch=epoch)

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        return encode_frame(TEXT, encode_ready(relay, cursor))

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        return encode_frame(TEXT, encode_gap(relay, from_, to, why))

    def position(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing: pings keep a socket alive, and every envelope carries the cursor."""
        return b""


@dataclass(frozen=True, slots=True)
class EnvelopeList:
    """Envelopes separated by commas, the inside of a JSON array (CloudEvents JSON format, 4); one relay's epoch."""

    epoch: str

    @property
    def name(self) -> str:
        return "cloudevents-batch"

    def encode(self, event: Event) -> bytes:
        return encode_envelope(event, self.epoch)

    def join(self, parts: list[bytes]) -> bytes:
        return b",".join(parts)

    def in_epoch(self, epoch: str) -> EnvelopeList:
        """The same for another stream."""
        return replace(self, epoch=epoch)

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing: the answer's head says it."""
        return b""

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        return encode_gap(relay, from_, to, why)

    def position(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing: the answer's head says it."""
        return b""
