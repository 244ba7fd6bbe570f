"""JSON Web Tokens: read strictly, trusted in nothing until a key has verified them (RFC 7515, 7519, 8725).

A token that two readers could read differently is refused: repeated members, numbers that are none, extensions
marked as critical. Which algorithm a key may be used with is said by the key, never by the token.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.access.grant import WRONG_AUDIENCE
from app.access.sas import MAX_TOKEN_LENGTH
from app.errors import Unauthorized

MAX_TEXT = 1024  # of an issuer, a subject, an id
MALFORMED = "MalformedToken: The JSON Web Token is not well-formed."
NO_EXPIRY = "MalformedToken: The JSON Web Token has no 'exp'; it is needed."

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_LATEST = 253402300799  # the last second of the year 9999
_ORDERS = {  # of the curves (SEC 2, 2.4.2, 2.5.1, 2.6.1)
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    "ES512": (1 << 521) - (1 << 260) + 0xA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
}


@dataclass(frozen=True, slots=True)
class WebToken:
    """A token of which only the form has been checked. `key_id`, `issuer` and the other texts are '' when absent."""

    algorithm: str
    key_id: str
    issuer: str
    subject: str
    id: str
    claims: dict[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def twin(self) -> str | None:
        """The same token with the other signature that its key takes: with (r, s) of an elliptic key (r, n - s) is good
        too, and anybody can work it out. None for other algorithms."""
        order = _ORDERS.get(self.algorithm)
        if order is None:
            return None
        half = len(self.signature) // 2
        other = (order - int.from_bytes(self.signature[half:])) % order
        twin = base64.urlsafe_b64encode(self.signature[:half] + other.to_bytes(half)).rstrip(b"=")
        return (self.signed + b"." + twin).decode()


def is_web_token(text: str) -> bool:
    """Whether this looks like a JSON Web Token and not like another kind of token."""
    return text.count(".") == 2 and _TOKEN.fullmatch(text) is not None


def parse_web_token(text: str) -> WebToken:
    """Read a token in compact form. Raises `Unauthorized` for anything but the one reading it should have."""
    if len(text) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(text):
        raise Unauthorized(MALFORMED)
    first, second, third = text.split(".")
    header, claims = _object(_bytes(first)), _object(_bytes(second))
    if "crit" in header or "b64" in header:  # we understand no extension
        raise Unauthorized(MALFORMED)
    return WebToken(
        _text(header, "alg"),
        _text(header, "kid"),
        _text(claims, "iss"),
        _text(claims, "sub"),
        _text(claims, "jti"),
        claims,
        f"{first}.{second}".encode(),
        _bytes(third),
    )


def check_audience(token: WebToken, audiences: Iterable[str]) -> None:
    """Raises `Unauthorized` unless one of the token's audiences is among these."""
    claimed = token.claims.get("aud")
    values = claimed if isinstance(claimed, list) else [claimed]
    if not all(isinstance(value, str) for value in values) or set(audiences).isdisjoint(values):
        raise Unauthorized(WRONG_AUDIENCE)


def lifetime(token: WebToken, now: float, skew_seconds: float) -> tuple[float, float | None]:
    """When the token expires and when it was issued, None if it does not say.

    Raises `Unauthorized` without an expiry, or before the time from which it is good.
    """
    expires_at = _time(token.claims, "exp")
    issued_at = _time(token.claims, "iat")
    if expires_at is None:
        raise Unauthorized(NO_EXPIRY)
    if max(_time(token.claims, "nbf") or 0, issued_at or 0) > now + skew_seconds:
        raise Unauthorized("The token is not good yet.")
    return expires_at, issued_at


def values_of(claims: dict[str, Any], name: str) -> frozenset[str]:
    """The values of a claim that is a list of texts, or a text: then itself and its words (RFC 8693, 4.2)."""
    value = claims.get(name)
    if isinstance(value, str):
        return frozenset((value, *value.split(" "))) - {""}
    if isinstance(value, list):
        return frozenset(each for each in value if isinstance(each, str))
    return frozenset()


def _bytes(part: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise Unauthorized(MALFORMED) from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:  # bits that mean nothing: another text, one token
        raise Unauthorized(MALFORMED)
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Unauthorized(MALFORMED) from None
    if not isinstance(value, dict):
        raise Unauthorized(MALFORMED)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is repeated")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Unauthorized(MALFORMED)
    return value


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise Unauthorized(MALFORMED)
    return float(value) if math.isfinite(value) else None
