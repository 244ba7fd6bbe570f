"""Relaying an HTTP request and its response: what passes, in which spelling, and over which channel.

Source: Azure Relay protocol guide, "HTTP request/response"; RFC 9110, section 7.6, for what ends at a hop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from app.wire.azure.handshake import escape_query, strip_query
from app.wire.azure.headers import (
    HOP_BY_HOP,
    LISTENER_FILTERS,
    RELAYS_OWN,
    TOKEN_HEADER,
    Headers,
    is_proxy_header,
    is_relayable,
    joined,
    named_in_connection,
    one_line,
    values_of,
    vouch,
)
from app.wire.http import REASONS

SMALL_HEAD_BYTES = 32 * 1024  # a larger request head is fetched by rendezvous
SMALL_REQUEST_BYTES = 60 * 1024  # head and body together; one SDK's binary buffer is 64 KiB

_NOT_REQUESTED = HOP_BY_HOP | LISTENER_FILTERS | RELAYS_OWN | {"via"}
_NOT_ANSWERED = HOP_BY_HOP | {TOKEN_HEADER, "via"}

# Blank and the unreserved characters (RFC 3986, 2.3), but not the dot: decoded, it could make a dot segment.
_DECODABLE = re.compile(r"%(?:20|2[Dd]|3[0-9]|4[1-9A-Fa-f]|5[0-9Aa]|5[Ff]|6[1-9A-Fa-f]|7[0-9Aa]|7[Ee])")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
# A comma after which a new cookie begins; the comma of an Expires date is followed by a blank and a digit.
_NEXT_COOKIE = re.compile(r",\s*(?=[!#$%&'*+\-.^_`|~0-9A-Za-z]+=)")


class Channel(Enum):
    """The way a request reaches its listener."""

    CONTROL = "control"
    RENDEZVOUS = "rendezvous"


def request_headers(
    headers: Headers,
    consumed_authorization: bool,
    via_host: str,
    origin: Mapping[str, str] | None = None,
    passes_host: bool = True,
) -> dict[str, str]:
    """The end-to-end headers of a request for its listener, `Host` by choice, `Via` extended by this relay.

    Those of `origin`, which the relay vouches for, go before the sender's of the same names.
    """
    keys = {name.lower() for name, _ in headers}
    dropped = _NOT_REQUESTED | named_in_connection(headers) if "connection" in keys else _NOT_REQUESTED
    if not passes_host:
        dropped = dropped | {"host"}
    result = joined(headers, dropped | {"authorization"} if consumed_authorization else dropped)
    if origin:
        vouch(result, origin)
    result["Via"] = _extended_via(headers, via_host) if "via" in keys else f"1.1 {via_host}"
    return result


def request_target(raw_path: str, query: str, decodes_path: bool = True) -> str:
    """`requestTarget`: the path as on the wire, the relay's own part included, and the application's query.

    In the path, and only there, `%20` and escaped unreserved characters are decoded, as one SDK
    expects, unless the path shall stay as it was sent. Bytes outside of ASCII, which JSON could not carry as
    such, become escapes.
    """
    path = _ascii(raw_path)
    if decodes_path:
        path = _DECODABLE.sub(lambda match: chr(int(match.group()[1:], 16)), path)
    user_query = strip_query(query)
    return path if user_query is None else f"{path}?{_ascii(user_query)}"


def response_headers(headers: Headers, via_host: str, date: str | None = None) -> Headers:
    """The header lines of a listener's answer, without what ends at a hop or cannot stand in a head.

    `Via` is extended by this relay, joined cookies are split again, a missing `Date` is added. Framing
    (`Content-Length`) is the caller's to add.
    """
    keys = [name.lower() for name, _ in headers]
    dropped = _NOT_ANSWERED | named_in_connection(headers) if "connection" in keys else _NOT_ANSWERED
    result: Headers = []
    for key, (name, value) in zip(keys, headers, strict=True):
        value = value.strip(" \t")
        if key in dropped or is_proxy_header(key) or not is_relayable(name, value):
            continue
        if key == "date":
            date = None
        if key == "set-cookie":
            result.extend((name, cookie) for cookie in _NEXT_COOKIE.split(value))
        else:
            result.append((name, value))
    result.append(("Via", _extended_via(headers, via_host) if "via" in keys else f"1.1 {via_host}"))
    if date is not None:
        result.append(("Date", date))
    return result


def reason_phrase(status: int, description: str | None) -> str:
    """The reason phrase of an answer: the listener's words on one printable latin-1 line, else the standard phrase.

    Verbatim where the words are already such a line; it is `''` for a status without a standard phrase.
    """
    return (one_line(description) if description else "") or REASONS.get(status, "")


def choose_channel(head_json_bytes: int, body_bytes: int | None) -> Channel:
    """How to deliver a request: `body_bytes` is 0 without a body, None while its end is not in sight.

    A request without a body always takes the control channel: one SDK cannot fetch it.
    """
    if body_bytes == 0:
        return Channel.CONTROL
    if body_bytes is None or head_json_bytes > SMALL_HEAD_BYTES or head_json_bytes + body_bytes > SMALL_REQUEST_BYTES:
        return Channel.RENDEZVOUS
    return Channel.CONTROL


def has_no_body(method: str, status: int) -> bool:
    """Whether the answer carries no body on the wire, whatever its head says (RFC 9110, 6.4.1 and 15.3.6)."""
    return method == "HEAD" or status < 200 or status in (204, 205, 304)


def _extended_via(headers: Headers, via_host: str) -> str:
    hops = [value for value in values_of(headers, "via") if value and is_relayable("via", value)]
    return ", ".join([*hops, f"1.1 {via_host}"])


def _ascii(text: str) -> str:
    return _NOT_ASCII.sub(lambda match: escape_query(match.group()), text)
