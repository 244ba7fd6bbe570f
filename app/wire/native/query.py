"""The events door's query, and which transport a GET means. No I/O.

Every option is understood, refused by name, or refused with the transports that could honour it:
an option that is silently ignored is a promise silently broken.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal, TypeVar, get_args
from urllib.parse import parse_qsl

import orjson

from app.errors import BadRequest, Unsupported
from app.wire.native.sharing import OF_DURABLES, Sharing, parse_sharing
from app.wire.native.terms import Terms, check_key, read_terms
from fanout.errors import InvalidCursor
from fanout.filters import Filter, parse_filter
from fanout.history import Cursor, parse_cursor

Policy = Literal["close", "drop", "catch-up", "block"]
Mode = Literal["subscribe", "publish", "both"]
Shape = Literal["data", "cloudevent"]
Start = Literal["now", "start", "retained"] | Cursor | float
"""Where a subscription begins: now, the oldest kept event, now but with the last event of each address before, after a
cursor, or at a unix time in seconds."""

Word = TypeVar("Word", bound=str)

MAX_WAIT_SECONDS = 60.0
MAX_BUDGET_BYTES = 1 << 40

SESSION_PROTOCOL = "fanway.v1"
CLOUDEVENTS_PROTOCOL = "cloudevents.json"

_STARTS: tuple[Literal["now", "start", "retained"], ...] = ("now", "start", "retained")
_POLICIES: tuple[Policy, ...] = get_args(Policy)
_MODES: tuple[Mode, ...] = get_args(Mode)
_SHAPES: tuple[Shape, ...] = get_args(Shape)

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)s?")
_ELSE_BY = (
    f" On a WebSocket each event says it by itself, with the sub-protocol {CLOUDEVENTS_PROTOCOL} or {SESSION_PROTOCOL}."
)
_DIGITS = re.compile(r"\d{1,15}")


class Transport(Enum):
    """How events travel over the door; the value is how sentences name it."""

    POST = "POST"
    SSE = "server-sent events"
    NDJSON = "NDJSON"
    LONG_POLL = "long poll"
    SOCKET = "bare WebSocket"
    CLOUDEVENTS = "WebSocket with sub-protocol cloudevents.json"
    SESSION = "WebSocket with sub-protocol fanway.v1"


_FEEDS = (Transport.SSE, Transport.NDJSON, Transport.SOCKET, Transport.CLOUDEVENTS)
_GROUPED = (Transport.SSE, Transport.NDJSON, Transport.CLOUDEVENTS)
_OPTIONS: dict[str, tuple[Transport, ...]] = {
    "from": (Transport.SSE, Transport.NDJSON, Transport.LONG_POLL, Transport.CLOUDEVENTS),
    "filter": (*_FEEDS, Transport.LONG_POLL),
    "policy": _FEEDS,
    "budget": _FEEDS,
    "as": (Transport.SSE,),
    "mode": (Transport.SOCKET, Transport.CLOUDEVENTS),
    "wait": (Transport.LONG_POLL,),
    "ttl": (Transport.POST,),
    "not-before": (Transport.POST,),
    "retain": (Transport.POST,),
    "key": (Transport.POST, *_GROUPED, Transport.LONG_POLL),
    "group": _GROUPED,
    "durable": (Transport.LONG_POLL,),
    **dict.fromkeys(("max", *(name.replace("_", "-") for name in OF_DURABLES)), (Transport.LONG_POLL,)),
}
_OF_PUBLISHERS = frozenset(("ttl", "not-before", "retain"))
_OF_SHARES = frozenset(("group", "durable"))
_ELSE_IN_SESSION = f" In a session ({SESSION_PROTOCOL}) each subscription says it by itself."
MOST_POLLED, USUALLY_POLLED = 1000, 100


@dataclass(frozen=True, slots=True)
class Query:
    """What the query asks for. None means: as the relay or the transport has it by default."""

    start: Start | None = None
    filter: Filter | None = None
    policy: Policy | None = None
    budget: int | None = None  # bytes; may only narrow what the relay allows
    shape: Shape | None = None
    mode: Mode = "subscribe"
    wait_seconds: float = 0.0
    terms: Terms | None = None  # of all events of the request that do not say otherwise
    key: str | None = None  # and their `partitionkey`
    sharing: Sharing | None = None
    most: int = USUALLY_POLLED  # events of one answer


def parse_query(raw: str, transport: Transport) -> Query:
    """The query string (without `?`) as a value, for one transport; `sb-hc-*` is not ours and ignored.

    Raises BadRequest (unknown, repeated or malformed options), InvalidFilter, Unsupported (options
    that the transport cannot honour, naming those that can).
    """
    options = split_options(raw)
    unknown = sorted(name for name in options if name not in _OPTIONS)
    if unknown:
        named = ", ".join(repr(name) for name in unknown)
        raise BadRequest(f"Unknown query options: {named}. Known: {', '.join(_OPTIONS)}.")
    for name in options:
        if transport not in _OPTIONS[name]:
            able = ", ".join(each.value for each in _OPTIONS[name])
            else_by = _ELSE_BY if name in _OF_PUBLISHERS else _ELSE_IN_SESSION if name in _OF_SHARES else ""
            raise Unsupported(f"'{name}' cannot be honoured by {transport.value}; it can by: {able}.{else_by}")
    policy = parse_policy(options["policy"]) if "policy" in options else None
    if policy in ("drop", "catch-up") and transport is Transport.SOCKET:
        able = ", ".join(each.value for each in _FEEDS if each is not Transport.SOCKET)
        raise Unsupported(
            f"'policy={policy}' needs gap notices, which a bare WebSocket cannot carry; they can: {able}."
        )
    sharing = _sharing(options) if transport is not Transport.POST else None
    return Query(
        start=parse_start(options["from"]) if "from" in options else None,
        filter=_filter(options["filter"]) if "filter" in options else None,
        policy=policy,
        budget=_budget(options.get("budget")),
        shape=_one_of("as", options["as"], _SHAPES) if "as" in options else None,
        mode=_one_of("mode", options["mode"], _MODES) if "mode" in options else "subscribe",
        wait_seconds=_wait(options["wait"]) if "wait" in options else 0.0,
        terms=read_terms(options),
        key=check_key(options["key"]) if "key" in options and transport is Transport.POST else None,
        sharing=sharing,
        most=_most(options["max"], sharing) if "max" in options else USUALLY_POLLED,
    )


def choose_transport(accept: Sequence[str], raw_query: str) -> Transport:
    """The transport of a plain GET, from its Accept headers and `wait`. Raises Unsupported (406), BadRequest."""
    wanted = {part.partition(";")[0].strip().lower() for value in accept for part in value.split(",")}
    if "text/event-stream" in wanted:
        return Transport.SSE
    if wanted & {"application/x-ndjson", "application/ndjson"}:
        return Transport.NDJSON
    if "wait" in split_options(raw_query):
        return Transport.LONG_POLL
    raise Unsupported(
        "Say how to deliver: 'Accept: text/event-stream', 'Accept: application/x-ndjson', "
        "'?wait=SECONDS' for a long poll, or a WebSocket upgrade.",
        status=406,
    )


def choose_socket(sub_protocols: Sequence[str], has_address: bool) -> Transport:
    """The transport of a WebSocket upgrade. Raises BadRequest."""
    if not has_address:
        if SESSION_PROTOCOL in sub_protocols:
            return Transport.SESSION
        raise BadRequest(f"Without an address this door offers the sub-protocol {SESSION_PROTOCOL} only.")
    if CLOUDEVENTS_PROTOCOL in sub_protocols:
        return Transport.CLOUDEVENTS
    if SESSION_PROTOCOL in sub_protocols:
        raise BadRequest(f"The sub-protocol {SESSION_PROTOCOL} is spoken at the door without an address.")
    return Transport.SOCKET


def parse_start(text: str) -> Start:
    """`now`, `start`, `retained`, a cursor, or an RFC 3339 time in UTC with `Z`. Raises BadRequest."""
    for word in _STARTS:
        if text == word:
            return word
    if _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError as error:
            raise BadRequest("'from' is not a time that exists.") from error
    try:
        return parse_cursor(text)
    except InvalidCursor as error:
        raise BadRequest(
            "'from' is none of: now, start, retained, a cursor such as 0a1b2c3d:42, "
            "a time such as 2026-01-31T12:00:00Z."
        ) from error


def parse_policy(text: str) -> Policy:
    """What happens to a slow consumer. Raises BadRequest."""
    return _one_of("policy", text, _POLICIES)


def split_options(raw: str) -> dict[str, str]:
    """A query's options by name, without what begins with `sb-hc-`. Raises BadRequest where one stands twice."""
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=64)
    except ValueError as error:
        raise BadRequest("The query is not UTF-8, or has more than 64 options.") from error
    options: dict[str, str] = {}
    for name, value in pairs:
        if name.lower().startswith("sb-hc-"):
            continue
        if name in options:
            raise BadRequest(f"The query option {name!r} stands twice.")
        options[name] = value
    return options


def _one_of(name: str, value: str, allowed: tuple[Word, ...]) -> Word:
    for each in allowed:
        if each == value:
            return each
    raise BadRequest(f"'{name}' is one of: {', '.join(allowed)}.")


def _filter(text: str) -> Filter | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"'filter' is not JSON, percent-encoded: {error}.") from error
    return parse_filter(value)


def check_shared(sharing: Sharing | None, given: Container[str], start: Start | None) -> None:
    """Return when what else is said goes with sharing. Raises BadRequest."""
    if sharing is None:
        return
    for name in ("policy", "budget"):
        if name in given:
            raise BadRequest(f"'{name}' is for those who get every event; of what is shared, the slow get less.")
    if start == "retained":
        raise BadRequest("'from=retained' is for those who get every event.")


def _sharing(options: dict[str, str]) -> Sharing | None:
    sharing = parse_sharing({name.replace("-", "_"): value for name, value in options.items()})
    check_shared(sharing, options, parse_start(options["from"]) if "from" in options else None)
    return sharing


def _most(value: str, sharing: Sharing | None) -> int:
    if sharing is None or sharing.durable is None:
        raise BadRequest("'max' needs a 'durable' subscription.")
    if not _DIGITS.fullmatch(value) or not 0 < int(value) <= MOST_POLLED:
        raise BadRequest(f"'max' is a whole number from 1 to {MOST_POLLED}.")
    return int(value)


def _budget(value: str | None) -> int | None:
    if value is None:
        return None
    if not _DIGITS.fullmatch(value) or not 0 < int(value) <= MAX_BUDGET_BYTES:
        raise BadRequest("'budget' is a number of bytes, at least 1.")
    return int(value)


def _wait(value: str) -> float:
    match = _SECONDS.fullmatch(value)
    if not match or float(match[1]) > MAX_WAIT_SECONDS:
        raise BadRequest(f"'wait' is a number of seconds from 0 to {MAX_WAIT_SECONDS:g}.")
    return float(match[1])
