"""The via of a `net.tcp` session: the address it leads to, with a token in its query where the relay needs one.

`net.tcp://host[:port]/address?query`, or `sb:` as WCF Relay's own addresses begin. No other place in the framing
could hold a token. It is taken out before the via goes on to the service.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from app.errors import BadRequest

TOKEN_KEYS = ("sb-hc-token", "relayaccesstoken")

_VIA = re.compile(
    r"(?P<base>(?:net\.tcp|sb)://(?P<host>[A-Za-z0-9._~-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?)"
    r"(?P<path>/[^?#\\]*)?)(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE,
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Mono writes spaces as they are
_NOT_IN_A_URI = re.compile(r"[^\x21-\x7e]+")


class Via(NamedTuple):
    """A via, understood. `text` is it without the token; `raw_path` has no leading slash and is ASCII;
    `query` is the service's part, None if there is none."""

    text: str
    host: str
    raw_path: str
    query: str | None
    token: str | None


def parse_via(text: str) -> Via:
    """Understand a via. Raises BadRequest for one that is no such address, or holds two tokens that differ."""
    match = _VIA.fullmatch(text)
    if match is None or _UNPRINTABLE.search(text):
        raise BadRequest("The via must be net.tcp://HOST/ADDRESS or sb://HOST/ADDRESS.")
    kept: list[str] = []
    tokens: set[str] = set()
    for piece in (match["query"] or "").split("&"):
        key, equals, value = piece.partition("=")
        if equals and unquote_plus(key).lower() in TOKEN_KEYS:
            tokens.add(unquote_plus(value).strip())
        elif piece:
            kept.append(piece)
    tokens.discard("")
    if len(tokens) > 1:
        raise BadRequest("The via holds two different tokens.")
    query = "&".join(kept) or None
    return Via(
        text=match["base"] + (f"?{query}" if query else ""),
        host=match["host"],
        raw_path=_ascii((match["path"] or "").removeprefix("/")),
        query=_ascii(query) if query else None,
        token=tokens.pop() if tokens else None,
    )


def _ascii(text: str) -> str:
    """As .NET's `Uri` writes it: spaces and what is beyond ASCII percent-encoded, all else left alone."""
    return _NOT_IN_A_URI.sub(lambda match: quote(match.group()), text)
