"""What a client says by the session protocol `fanway.v1`: many subscriptions and publishes on one WebSocket. No I/O.

A message is a JSON header, optionally LF and the raw payload (docs/protocol.md, "Sessions"). What breaks the
form ends the session (1007, 1009); what is well-formed but refused is answered with `err`. Unknown members
are ignored, so that both sides may grow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import BadRequest, PeerWireError, RelayError, as_relay_error
from app.wire.frames import TEXT, is_utf8
from app.wire.native.publication import Publication, make_publication
from app.wire.native.query import MAX_BUDGET_BYTES, Policy, Start, check_shared, parse_policy, parse_start
from app.wire.native.sharing import MOST_CREDIT, Sharing, parse_delay, parse_reason, parse_sharing
from app.wire.native.terms import KEY, Terms, check_key, read_terms
from fanout.address import MAX_ADDRESS_BYTES, PLAIN_ADDRESS, Pattern, check_address, check_pattern
from fanout.errors import FanoutError
from fanout.filters import Filter, parse_filter

MAX_HEADER_BYTES = 8 * 1024
MAX_DEPTH = 8
MAX_NUMBER = (1 << 53) - 1  # what every client's numbers hold exactly

NACK_DELAY_SECONDS = 1.0  # before what was not acknowledged is tried again, unless it is said

_ATTRIBUTES = ("id", "type", "source", "time")


@dataclass(frozen=True, slots=True)
class Sub:
    """Subscribe; the client calls it `sub` from now on."""

    r: int
    sub: int
    pattern: Pattern
    start: Start
    policy: Policy | None
    budget: int | None
    filter: Filter | None
    sharing: Sharing | None


@dataclass(frozen=True, slots=True)
class Ack:
    """The deliveries `d` of `sub` arrived."""

    r: int | None
    sub: int
    d: list[int]


@dataclass(frozen=True, slots=True)
class Nack:
    """The deliveries `d` of `sub` failed; after `delay` seconds they may be tried again."""

    r: int | None
    sub: int
    d: list[int]
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class Credit:
    """`sub` may be given `n` deliveries more."""

    r: int | None
    sub: int
    n: int


@dataclass(frozen=True, slots=True)
class Unsub:
    """End the subscription `sub`."""

    r: int
    sub: int


@dataclass(frozen=True, slots=True)
class Pub:
    """Publish; a receipt is wanted when there is an `r`. Unless it `may_recur`, its header is of this event alone."""

    r: int | None
    address: str
    publication: Publication
    may_recur: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """A fresh token for the session."""

    r: int
    token: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    r: int


Message = Sub | Unsub | Pub | Ack | Nack | Credit | Renew | Ping


_PLAIN_PUB = re.compile(rb'\{"t": ?"pub", ?"address": ?"(%b)"\}' % PLAIN_ADDRESS.encode())


def plain_address(header: bytes) -> str | None:
    """The address that a `pub` without any other member names, if it is written as most JSON encoders would.

    A short cut for the commonest message of all: None says only that it must be parsed.
    """
    plain = _PLAIN_PUB.fullmatch(header)
    return None if plain is None or len(plain[1]) > MAX_ADDRESS_BYTES else plain[1].decode("ascii")


class SessionError(RelayError):
    """A message that is refused but does not end the session: answer `err` with its `r`."""

    def __init__(self, error: RelayError, r: int | None) -> None:
        super().__init__(error.message, status=error.status, retry_after=error.retry_after)
        self.error = error
        self.r = r


def parse_message(opcode: int, data: bytes, max_event_bytes: int) -> Message:
    """A client's message. Raises PeerWireError (`close` 1007 or 1009: end the session), SessionError (answer it)."""
    head, _, payload = data.partition(b"\n")
    if len(head) > MAX_HEADER_BYTES:
        raise PeerWireError(f"A message's header may hold at most {MAX_HEADER_BYTES} bytes.", close=1009)
    header = _parse_header(head)
    if opcode == TEXT and not is_utf8(payload):
        raise PeerWireError("A text message's payload is not UTF-8.", close=1007)
    r = header.get("r")
    try:
        if next(iter(header), None) != "t":
            raise BadRequest("The first member of a header is 't'.")
        if "r" in header:
            r = _number(header, "r")
        kind = header["t"]
        if kind == "pub":
            return _parse_pub(header, r, payload, opcode == TEXT, max_event_bytes)
        if kind == "ack":
            return Ack(r, _number(header, "sub"), _numbers(header, "d"))
        if kind == "nack":
            delay = parse_delay(header.get("delay"), NACK_DELAY_SECONDS)
            return Nack(r, _number(header, "sub"), _numbers(header, "d"), delay, parse_reason(header.get("reason")))
        if kind == "credit":
            return Credit(r, _number(header, "sub"), _credit(header))
        if r is None:
            raise BadRequest("The member 'r' is missing.")
        if kind == "sub":
            return _parse_sub(header, r)
        if kind == "unsub":
            return Unsub(r, _number(header, "sub"))
        if kind == "renew":
            return Renew(r, _text(header, "token"))
        if kind == "ping":
            return Ping(r)
        raise BadRequest("The member 't' is none of: sub, unsub, pub, ack, nack, credit, renew, ping.")
    except (RelayError, FanoutError) as error:
        is_number = isinstance(r, int) and not isinstance(r, bool) and 0 <= r <= MAX_NUMBER
        raise SessionError(as_relay_error(error), r if is_number else None) from error


def _parse_header(head: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise PeerWireError("A message's header is not JSON on one line.", close=1007) from error
    if not isinstance(header, dict):
        raise PeerWireError("A message's header is not a JSON object.", close=1007)
    if head.count(b"{") + head.count(b"[") > MAX_DEPTH and _depth_exceeds(header, MAX_DEPTH):
        raise PeerWireError(f"A message's header is nested deeper than {MAX_DEPTH}.", close=1007)
    return header


def _depth_exceeds(value: object, limit: int) -> bool:
    if isinstance(value, dict):
        return limit == 0 or any(_depth_exceeds(member, limit - 1) for member in value.values())
    if isinstance(value, list):
        return limit == 0 or any(_depth_exceeds(member, limit - 1) for member in value)
    return False


def _parse_sub(header: dict[str, Any], r: int) -> Sub:
    budget = _number(header, "budget") if "budget" in header else None
    if budget is not None and not 0 < budget <= MAX_BUDGET_BYTES:
        raise BadRequest("'budget' is a number of bytes, at least 1.")
    start = parse_start(_text(header, "from")) if "from" in header else "now"
    return Sub(
        r=r,
        sub=_number(header, "sub"),
        pattern=check_pattern(_text(header, "pattern"), allow_system=True),
        start=start,
        filter=parse_filter(header["filter"]) if "filter" in header else None,
        policy=parse_policy(_text(header, "policy")) if "policy" in header else None,
        budget=budget,
        sharing=_sharing(header, start),
    )


def _sharing(header: dict[str, Any], start: Start) -> Sharing | None:
    sharing = parse_sharing(header)
    check_shared(sharing, header, start)
    return sharing


def _parse_pub(
    header: dict[str, Any],
    r: int | None,
    payload: bytes,
    is_text: bool,
    max_event_bytes: int,
) -> Pub:
    address = check_address(_text(header, "address"), allow_system=True)  # the door says 403 to those
    attributes = header.get("attrs", {})
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise BadRequest("The member 'attrs' is not an object of strings.")
    twice = [name for name in (*_ATTRIBUTES, "specversion", "datacontenttype") if name in attributes]
    if twice:
        raise BadRequest(f"The attribute {twice[0]!r} has a member of its own and no place in 'attrs'.")
    given = {name: _text(header, name) for name in _ATTRIBUTES if name in header}
    if "key" in header:
        given = {KEY: check_key(_text(header, "key")), **given}
    publication = make_publication(
        {**given, **attributes},
        payload,
        is_text,
        _text(header, "ct") if "ct" in header else None,
        max_event_bytes=max_event_bytes,
    )
    terms = _terms(header)
    if terms is not None:
        publication = publication.wishing(terms, None)
    return Pub(r, address, publication, may_recur=r is None and "id" not in header and publication.terms is None)


def _terms(header: dict[str, Any]) -> Terms | None:
    """The members `ttl`, `not_before`, `retain`, said as in the query, or as numbers and booleans of JSON."""
    said: dict[str, str] = {}
    for name in ("ttl", "not_before"):
        if name in header:
            value = header[name]
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise BadRequest(f"The member {name!r} is neither a number of seconds nor a string.")
            said[name.replace("_", "-")] = value if isinstance(value, str) else f"{value:.6f}".rstrip("0").rstrip(".")
    if "retain" in header:
        if not isinstance(header["retain"], bool):
            raise BadRequest("The member 'retain' is not a boolean.")
        said["retain"] = "true" if header["retain"] else "false"
    return read_terms(said)


def _number(header: dict[str, Any], name: str) -> int:
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
        raise BadRequest(f"The member {name!r} is not a whole number from 0 to 2^53 - 1.")
    return value


def _numbers(header: dict[str, Any], name: str) -> list[int]:
    values = header.get(name)
    if not isinstance(values, list) or not values:
        raise BadRequest(f"The member {name!r} is not a list of numbers, at least one.")
    return [_number({name: value}, name) for value in values]


def _credit(header: dict[str, Any]) -> int:
    n = _number(header, "n")
    if not 0 < n <= MOST_CREDIT:
        raise BadRequest(f"The member 'n' is a whole number from 1 to {MOST_CREDIT}.")
    return n


def _text(header: dict[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"The member {name!r} is not a string.")
    return value
