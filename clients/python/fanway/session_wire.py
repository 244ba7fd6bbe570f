"""The codec of the session protocol `fanway.v1` (docs/protocol.md), without I/O.

A message is one JSON object, optionally a line feed and the raw payload. The frame is text exactly
if the payload is text, so a text message is a `str` here and a binary one `bytes`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fanway.errors import QuotaExceededError, RelayError
from fanway.event import Delivery, Event

SUBPROTOCOL = "fanway.v1"
MAX_HEADER_BYTES = 8 * 1024
MAX_FILTER_DEPTH = 7  # objects and lists; the header around it is the last that a gateway takes
Header = dict[str, Any]


class Position(NamedTuple):
    """A place in a relay's events; text form `epoch:offset`."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


class Message(NamedTuple):
    """A decoded message: its header and, where it has one, its payload."""

    header: Header
    payload: bytes | None
    is_text: bool


class SessionProtocolError(RelayError):
    """The gateway sent something that is not `fanway.v1`."""


def parse_position(text: str) -> Position:
    """`epoch:offset` (8 hex digits, a decimal number). Raises SessionProtocolError."""
    epoch, _, offset = text.partition(":")
    if len(epoch) != 8 or not offset.isascii() or not offset.isdecimal():
        raise SessionProtocolError(f"Not a cursor: {text!r}.")
    return Position(epoch, int(offset))


def header_of(**members: Any) -> Header:
    """A header of those members that are not None; times as the wire has them."""
    told = {name: timestamp(value) if isinstance(value, datetime) else value for name, value in members.items()}
    return {name: value for name, value in told.items() if value is not None}


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z`; a naive datetime is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def as_filter(value: Any) -> Any:
    """A filter as JSON has it; None for one that asks nothing. What it means is for the gateway to say.

    Raises TypeError when it is no JSON value, QuotaExceededError when it is nested so deep that the gateway would end
    the session.
    """
    if _is_deeper(value, MAX_FILTER_DEPTH):
        raise QuotaExceededError(f"A filter is nested at most {MAX_FILTER_DEPTH} deep, objects and lists.", status=400)
    found = json.loads(json.dumps(value))
    return None if found == [] else found


def _is_deeper(value: Any, depth: int) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    return members is not None and (depth == 0 or any(_is_deeper(member, depth - 1) for member in members))


def encode(header: Header, payload: bytes | None = None, is_text: bool = True) -> str | bytes:
    """A message for the wire: `str` goes out as a text frame, `bytes` as a binary one.

    Raises QuotaExceededError when the header is too long: the gateway would end the session.
    """
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    if len(head.encode()) > MAX_HEADER_BYTES:
        raise QuotaExceededError(
            f"What an event or a filter says of attributes fills at most {MAX_HEADER_BYTES} bytes.", status=413
        )
    if payload is None:
        return head
    if is_text:
        return f"{head}\n{payload.decode()}"
    return head.encode() + b"\n" + payload


def decode(data: str | bytes) -> Message:
    """A message from the wire. Raises SessionProtocolError."""
    is_text = isinstance(data, str)
    raw = data.encode() if isinstance(data, str) else data
    head, line_feed, payload = raw.partition(b"\n")
    try:
        header = json.loads(head)
    except (ValueError, RecursionError):
        raise SessionProtocolError("The gateway sent a message that is not JSON.") from None
    if not isinstance(header, dict) or not isinstance(header.get("t"), str):
        raise SessionProtocolError("The gateway sent a message without a type.")
    return Message(header, payload if line_feed else None, is_text)


def event_of(message: Message, missed: int = 0, delivery: Delivery | None = None) -> Event:
    """The event in an `ev` or `dl` message. Raises SessionProtocolError if a member is missing."""
    header = message.header
    try:
        return Event(
            address=header["a"],
            cursor=header["c"],
            id=header["i"],
            data=message.payload or b"",
            is_text=message.is_text,
            type=header.get("y"),
            source=header.get("s"),
            time=header.get("tm"),
            content_type=header.get("ct"),
            attributes=header.get("x") or {},
            missed=missed,
            attempt=header.get("n", 1),
            deadline=header.get("deadline"),
            _delivery=delivery,
        )
    except KeyError as missing:
        raise SessionProtocolError(f"The gateway sent an event without {missing}.") from None


def count_missing(gap: Header, from_: Position, to: Position) -> int:
    """How many events a `gap` says are missing: at least 1, exact within one epoch."""
    if gap.get("why") in ("epoch", "ahead") or from_.epoch != to.epoch:
        return max(1, to.offset)
    return max(1, to.offset - from_.offset)
