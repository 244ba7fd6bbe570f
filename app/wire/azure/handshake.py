"""What an upgrade request at `/$hc/...` asks for, and the addresses that bring a listener to a rendezvous.

One parse gives the one answer that routing, permission and relaying use; nothing is decoded twice.
Source: Azure Relay protocol guide, "Interaction model" and "Protocol reference".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from app.errors import BadRequest, SubProtocolMismatch, UnknownAction
from app.wire.azure.choices import CHOICES, Choices
from app.wire.azure.headers import (
    LISTENER_FILTERS,
    RELAYS_OWN,
    TOKEN_HEADER,
    Headers,
    joined,
    one_line,
    values_of,
    vouch,
)

_PRIVATE = "sb-hc-"
_SECRET = "sb-hc-rendezvous"

_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*")
_STATUS = re.compile(r"[2-9][0-9]{2}")
_UNSAFE_IN_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")
# What RFC 3986 does not allow in a path or a query. Brackets stay in a query: every SDK's parser takes
# them there, and `a[]=1` is common.
_NOT_IN_PATH = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]|%(?![0-9A-Fa-f]{2})")
_NOT_IN_QUERY = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/%?\[\]]|%(?![0-9A-Fa-f]{2})")


class Action(StrEnum):
    """What `sb-hc-action` asks for."""

    LISTEN = "listen"
    CONNECT = "connect"
    ACCEPT = "accept"
    REQUEST = "request"


class Rejection(NamedTuple):
    """A listener's no to a sender: a final status (200-999) and its words on one printable line, `''` for none."""

    status: int
    description: str


@dataclass(frozen=True, slots=True)
class Handshake:
    """An upgrade request at `/$hc/`, understood.

    `path` is decoded, for look-up and permission; `raw_path` is what to pass on. `user_query` is the
    application's part of the query without `?`, None if there is none. `token` is the one of the
    query. `secret` is the credential of a rendezvous, `rejection` the listener's no (`accept` only).
    """

    action: Action
    path: str
    raw_path: str
    user_query: str | None
    id: str | None
    token: str | None
    secret: str | None
    rejection: Rejection | None


class _Piece(NamedTuple):
    raw: str
    key: str | None  # form-decoded and lower-cased; None for a piece without '='
    value: str


def is_hc_path(path: str) -> bool:
    """Whether a path as on the wire lies under `/$hc`; `BadRequest` for one that begins with `//`."""
    if path.startswith("//"):
        raise BadRequest("The path begins with '//': did your shell expand $hc? Put the URL in single quotes.")
    return path.startswith("/") and _decoded_segment(path[1:].partition("/")[0]).lower() == "$hc"


def parse_handshake(path: str, query: str, choices: Choices = CHOICES) -> Handshake:
    """Understand the target of an upgrade request: path and query as on the wire, the query without `?`.

    Raises `UnknownAction` for an unknown `sb-hc-action` and `BadRequest` for a path that is not under
    `/$hc` or a rejection whose status is not a final one. A query of the form `null?sb-hc-token=...`,
    which one SDK makes, holds no token.
    """
    if not is_hc_path(path):
        raise BadRequest("A WebSocket is opened at /$hc/ followed by the address.")
    raw_path = path[1:].partition("/")[2]
    pieces = _pieces(query)
    private: dict[str, str] = {}
    for piece in pieces:
        if piece.key is not None and piece.key.startswith(_PRIVATE):
            private.setdefault(piece.key, piece.value)
    action = _action(private.get("sb-hc-action", ""), choices)
    return Handshake(
        action=action,
        path=matching_path(raw_path),
        raw_path=raw_path,
        user_query=strip_query(query),
        id=private.get("sb-hc-id") or None,
        token=private.get("sb-hc-token") or None,
        secret=private.get(_SECRET) or None,
        rejection=_rejection(pieces, private, choices) if action is Action.ACCEPT else None,
    )


@lru_cache(maxsize=256)  # clients ask the same few paths again and again
def matching_path(raw_path: str) -> str:
    """The decoded form of a path (no leading `/`) that look-up and permission use; one trailing slash is dropped.

    Each segment is decoded once. One that would decode to a slash, a control or no UTF-8 keeps its
    spelling, so that no escape can move a segment border.
    """
    return "/".join(_decoded_segment(segment) for segment in raw_path.removesuffix("/").split("/"))


def client_id(query: str) -> str | None:
    """The `sb-hc-id` by which a sender wants to be traced, if its query (without `?`) holds one."""
    if not query or _PRIVATE not in query.lower():  # nobody escapes these letters
        return None
    return next((piece.value for piece in _pieces(query) if piece.key == "sb-hc-id"), None) or None


def strip_query(query: str) -> str | None:
    """The part of a query (without `?`) that the application sees, byte for byte; None when nothing is left.

    Pieces `key=value` whose form-decoded key begins with `sb-hc-` (any case) go; a piece without `=` stays.
    """
    if not query:
        return None
    if "%" not in query and _PRIVATE not in query.lower():
        return query
    kept = [piece.raw for piece in _pieces(query) if piece.key is None or not piece.key.startswith(_PRIVATE)]
    return "&".join(kept) if kept else None


def token_from(headers: Headers, query: str, choices: Choices = CHOICES) -> tuple[str | None, bool]:
    """The relay token of a request, and whether it came from `Authorization` (which is then consumed).

    `ServiceBusAuthorization` goes before the query's `sb-hc-token` (or behind it, by choice), both before
    `Authorization`.
    Raises `BadRequest` when the place that counts holds two tokens that differ.
    """
    token = _one_token("ServiceBusAuthorization", values_of(headers, TOKEN_HEADER))
    if query and (token is None or not choices.header_before_query):
        values = [piece.value for piece in _pieces(query) if piece.key == "sb-hc-token"]
        token = _one_token("sb-hc-token", values) or token
    if token is not None:
        return token, False
    token = _one_token("Authorization", values_of(headers, "authorization"))
    return token, token is not None


def accept_address(base: str, raw_path: str, user_query: str | None, id: str, secret: str) -> str:
    """The URL that brings a listener to a sender: `base` is scheme and authority, `raw_path` as the sender sent it.

    The result is an absolute URI by RFC 3986 whose query is never empty, since SDKs append `&name=value` to it.
    """
    user = "" if user_query is None else escape_query(user_query) + "&"
    return f"{_hc_url(base, raw_path)}?{user}{_credentials(Action.ACCEPT, id, secret)}"


def request_address(base: str, raw_entity_path: str, id: str, secret: str) -> str:
    """The URL at which a listener fetches a large request or delivers a large response."""
    return f"{_hc_url(base, raw_entity_path)}?{_credentials(Action.REQUEST, id, secret)}"


def connect_headers(
    headers: Headers, consumed_authorization: bool, origin: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The sender's handshake headers for the listener: all but the relay's token and `proxy-*`, spelled as received.

    Those of `origin`, which the relay vouches for, go before the sender's of the same names.
    """
    dropped = LISTENER_FILTERS | RELAYS_OWN
    result = joined(headers, dropped | {"authorization"} if consumed_authorization else dropped)
    if origin:
        vouch(result, origin)
    return result


def agreed_subprotocol(sender: Headers, listener: Headers) -> str | None:
    """The sub-protocol for both 101 answers: the one the listener named, None if it named none.

    Raises `SubProtocolMismatch` when the sender did not offer it (RFC 6455, 4.1, makes the sender fail then).
    """
    chosen = _protocols(listener)
    if not chosen:
        return None
    if chosen[0] not in _protocols(sender):
        raise SubProtocolMismatch("The listener chose a sub-protocol that the sender did not offer.")
    return chosen[0]


def escape_query(query: str) -> str:
    """A query with what RFC 3986 forbids percent-encoded; legal text, escapes among it, is left alone."""
    return _NOT_IN_QUERY.sub(_percent_encoded, query)


def _pieces(query: str) -> list[_Piece]:
    pieces = []
    for raw in query.split("&"):
        key, equals, value = raw.partition("=")
        pieces.append(_Piece(raw, unquote_plus(key).lower() if equals else None, unquote_plus(value)))
    return pieces


def _action(text: str, choices: Choices) -> Action:
    try:
        return Action(text.lower() or (Action.CONNECT if choices.missing_action_connects else ""))
    except ValueError:
        raise UnknownAction("sb-hc-action must be one of listen, connect, accept and request.") from None


def _rejection(pieces: list[_Piece], private: dict[str, str], choices: Choices) -> Rejection | None:
    status = private.get("sb-hc-statuscode")
    description = private.get("sb-hc-statusdescription", "")
    if status is None:
        # The Node SDKs leave the prefix off. Only at the very end are the names theirs: before the
        # relay's own parameters stands the sender's query, which may use them too.
        names = [piece.key for piece in pieces[-2:]]
        if not choices.bare_rejection or names != ["statuscode", "statusdescription"]:
            return None
        status, description = pieces[-2].value, pieces[-1].value
    if not _STATUS.fullmatch(status):
        raise BadRequest("The status of a rejection must be a final one, 200 to 999.")
    return Rejection(int(status), one_line(description))


def _decoded_segment(segment: str) -> str:
    if "%" not in segment and segment.isascii():
        return segment
    try:
        decoded = unquote_to_bytes(_wire_bytes(segment)).decode()
    except UnicodeDecodeError:
        return segment
    return segment if _UNSAFE_IN_SEGMENT.search(decoded) else decoded


def _one_token(place: str, values: list[str]) -> str | None:
    tokens = {value.strip() for value in values} - {""}
    if not tokens:
        return None
    if len(tokens) > 1:
        raise BadRequest(f"{place} is given more than once, with different tokens.")
    token = tokens.pop()
    scheme, _, rest = token.partition(" ")
    return (rest.strip() if scheme.lower() == "bearer" else "") or token


def _protocols(headers: Headers) -> list[str]:
    values = values_of(headers, "sec-websocket-protocol")
    return [name for value in values for name in map(str.strip, value.split(",")) if name]


@lru_cache(maxsize=256)
def _hc_url(base: str, raw_path: str) -> str:
    return f"{base.rstrip('/')}/$hc/{_NOT_IN_PATH.sub(_percent_encoded, raw_path)}"


def _credentials(action: Action, id: str, secret: str) -> str:
    return f"sb-hc-action={action.value}&sb-hc-id={_quoted(id)}&{_SECRET}={_quoted(secret)}"


def _quoted(text: str) -> str:
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in _wire_bytes(match.group()))


def _wire_bytes(text: str) -> bytes:
    """The bytes that `text` stood for on the wire (heads are latin-1 decoded)."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
