"""Shared access signatures: parse, make and verify (Azure Relay protocol guide, "SAS").

`SharedAccessSignature sr={uri}&sig={mac}&se={unix seconds}&skn={rule}`. The MAC is over `sr` exactly as it
stands in the token, a line feed, and `se`; so it does not matter how an SDK encodes its URI. Keys are the
UTF-8 bytes of their text, never decoded from base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_plus

from app.access.grant import WRONG_AUDIENCE
from app.errors import Unauthorized
from app.namespace import Rule, fold

MALFORMED = "MalformedToken: The credentials contained in the authorization header are not in the WRAP format."
INVALID_SIGNATURE = "The token has an invalid signature."

MAX_TOKEN_LENGTH = 16384
MAX_NAME_LENGTH = 256

_SCHEME = "sharedaccesssignature"
_EXPIRY = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_URI = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:.*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]@]+)(?::[0-9]*)?", re.DOTALL)
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token, nothing verified yet.

    `signed` is the raw `sr` and `se` as the MAC covers them; `rule` is ASCII-folded; `host` and `path` are the
    decoded audience (host in lower case, path without `$hc`, leading or trailing slash).
    """

    signed: bytes
    signature: bytes = field(repr=False)
    expires_at: float
    rule: str
    audience: str

    def key_of(self, rule: Rule) -> str | None:
        """The key of `rule` that made this token, or None. Takes the same time whichever it is."""
        is_primary = hmac.compare_digest(_mac(rule.primary_key, self.signed), self.signature)
        is_secondary = hmac.compare_digest(_mac(rule.secondary_key, self.signed), self.signature)
        if is_primary:
            return rule.primary_key
        return rule.secondary_key if is_secondary else None

    def usual_texts(self, rule: Rule) -> tuple[str, str]:
        """This token as SDKs write it, who differ in the case of escapes; for it can be written in many other ways."""
        expiry = self.signed.rpartition(b"\n")[2].decode()
        signature = quote(self.signature, safe="")
        old_style = _ESCAPE.sub(lambda escape: escape[0].lower(), signature)
        first, second = (
            f"SharedAccessSignature sr={self.audience}&sig={each}&se={expiry}&skn={rule.name}"
            for each in (signature, old_style)
        )
        return first, second


def parse_token(text: str) -> Token:
    """The parts of a token; raises `Unauthorized` when it is not of the documented form."""
    if len(text) > MAX_TOKEN_LENGTH:
        raise Unauthorized(MALFORMED)
    scheme, _, rest = text.strip().partition(" ")
    if fold(scheme) != _SCHEME:
        raise Unauthorized(MALFORMED)
    fields: dict[str, str] = {}
    for piece in rest.split("&"):
        name, _, value = piece.partition("=")
        if name in fields:  # two readings of one token: refuse instead of choosing
            raise Unauthorized(MALFORMED)
        fields[name] = value
    try:
        sr, sig, se, skn = (fields[name] for name in ("sr", "sig", "se", "skn"))
        rule = unquote_plus(skn, errors="strict")
        signed = f"{sr}\n{se}".encode()
        signature = unquote(sig, errors="strict").encode()
    except (KeyError, UnicodeError):
        raise Unauthorized(MALFORMED) from None
    if not _EXPIRY.fullmatch(se) or not 0 < len(rule) <= MAX_NAME_LENGTH:
        raise Unauthorized(MALFORMED)
    return Token(signed, signature, float(se), fold(rule), sr)


def parse_audience(sr: str) -> tuple[str, str]:
    """Host (lower case, no port) and decoded path of an `sr`; raises `Unauthorized` when it names no place.

    Scheme, user information, port, query, fragment, a leading `$hc/` and one trailing slash mean nothing.
    """
    try:
        uri = unquote_plus(sr, errors="strict")
        match = _URI.match(uri)
        authority = _AUTHORITY.fullmatch(match["authority"]) if match else None
        if match is None or authority is None:
            raise Unauthorized(WRONG_AUDIENCE)
        raw = match["path"].removeprefix("/").removesuffix("/")
        segments = [unquote(segment, errors="strict") for segment in raw.split("/")] if raw else []
    except UnicodeError:
        raise Unauthorized(WRONG_AUDIENCE) from None
    if segments and fold(segments[0]) == "$hc":
        del segments[0]
    if any(s in ("", ".", "..") or "/" in s or "\\" in s or _CONTROL.search(s) for s in segments):
        raise Unauthorized(WRONG_AUDIENCE)
    return authority["host"].strip("[]").lower(), "/".join(segments)


def make_token(uri: str, rule: str, key: str, expires_at: float) -> str:
    """A token for everything under `uri`, signed with the key of `rule`, good until `expires_at` (unix seconds)."""
    sr, se = quote(uri, safe=""), str(int(expires_at))
    signature = quote(_mac(key, f"{sr}\n{se}".encode()), safe="")
    return f"SharedAccessSignature sr={sr}&sig={signature}&se={se}&skn={quote(rule, safe='')}"


def _mac(key: str, signed: bytes) -> bytes:
    return base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest())
