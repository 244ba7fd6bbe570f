"""The one grammar of addresses and patterns (docs/protocol.md, "Addresses and patterns").

A raw path is split on `/`, then each segment is percent-decoded once. The decoded text is the one
canonical form that routes and permissions use. What does not fit is refused with the reason and
never repaired, but for one trailing slash.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from fanout.errors import FanoutError, InvalidAddress, InvalidPattern

MAX_SEGMENTS = 32
MAX_SEGMENT_BYTES = 128
MAX_ADDRESS_BYTES = 512

_MAX_RAW_CHARACTERS = 3 * MAX_ADDRESS_BYTES + 1  # every byte as %XX, and one trailing slash
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # C0, DEL, C1
_PLAIN_SEGMENT = r"[A-Za-z0-9_~:@][A-Za-z0-9._~:@+=,;!-]{0,127}"
PLAIN_ADDRESS = f"{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT}){{0,31}}"
"""A regular expression: what it matches in at most MAX_ADDRESS_BYTES is an address as it stands, raw or decoded."""
_PLAIN = re.compile(PLAIN_ADDRESS)


@dataclass(frozen=True, slots=True)
class Pattern:
    """An address in which `*` stands for one segment and, at the end, `**` for zero or more.

    Made by `parse_pattern` and `check_pattern` only; `prefix` is the literal part before the first wildcard.
    """

    text: str
    segments: tuple[str, ...]
    is_concrete: bool
    has_tail: bool
    prefix: str

    def matches(self, address: str) -> bool:
        """Whether this pattern matches a concrete, canonical address."""
        if self.is_concrete:
            return address == self.text
        if not _begins_with(address, self.prefix):
            return False
        return _segments_cover(self.segments, self.has_tail, tuple(address.split("/")), False)

    def covers(self, other: Pattern) -> bool:
        """Whether this pattern matches every address that `other` can match (containment, exact)."""
        return _segments_cover(self.segments, self.has_tail, other.segments, other.has_tail)


def parse_address(raw: str, *, allow_system: bool = False) -> str:
    """The canonical address of a raw, percent-encoded path (without its leading slash).

    Raises `InvalidAddress` with the reason. `allow_system` admits the relay `-`.
    """
    if len(raw) <= MAX_ADDRESS_BYTES and _PLAIN.fullmatch(raw):
        return raw
    try:
        return "/".join(_checked([_literal(_decoded(part)) for part in _split(raw)], allow_system))
    except _Flaw as flaw:
        raise InvalidAddress(f"Not an address: {flaw}") from None


def check_address(text: str, *, allow_system: bool = False) -> str:
    """The same grammar for text that is already decoded: `%` is an ordinary character here."""
    if len(text) <= MAX_ADDRESS_BYTES and _PLAIN.fullmatch(text):
        return text
    try:
        return "/".join(_checked([_literal(part) for part in _split(text)], allow_system))
    except _Flaw as flaw:
        raise InvalidAddress(f"Not an address: {flaw}") from None


def encode_address(address: str) -> str:
    """The percent-encoded path of a canonical address; `parse_address` gives it back."""
    return quote(address, safe="/")


def parse_pattern(raw: str, *, allow_system: bool = False) -> Pattern:
    """The pattern of a raw, percent-encoded path; only a literal `*` or `**` is a wildcard, `%2A` is refused.

    Raises `InvalidPattern` with the reason.
    """
    try:
        parts = _split(raw)
        return _pattern([part if part in _WILDCARDS else _literal(_decoded(part)) for part in parts], allow_system)
    except _Flaw as flaw:
        raise InvalidPattern(f"Not a pattern: {flaw}") from None


def check_pattern(text: str, *, allow_system: bool = False) -> Pattern:
    """The same grammar for text that is already decoded. Raises `InvalidPattern`."""
    try:
        return _pattern([part if part in _WILDCARDS else _literal(part) for part in _split(text)], allow_system)
    except _Flaw as flaw:
        raise InvalidPattern(f"Not a pattern: {flaw}") from None


_WILDCARDS = ("*", "**")


class _Flaw(FanoutError):
    """Why a text is refused; becomes an InvalidAddress or InvalidPattern."""


def _split(text: str) -> list[str]:
    if len(text) > _MAX_RAW_CHARACTERS:  # before any work is spent on it
        raise _Flaw(f"it is longer than {MAX_ADDRESS_BYTES} bytes.")
    text = text.removesuffix("/")
    if not text:
        raise _Flaw("it is empty.")
    return text.split("/")


def _decoded(part: str) -> str:
    if not part.isascii():
        raise _Flaw("characters outside ASCII must be percent-encoded as UTF-8.")
    if "%" not in part:
        return part
    if _BAD_ESCAPE.search(part):
        raise _Flaw("a percent sign must be followed by two hexadecimal digits.")
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise _Flaw("a segment is not UTF-8.") from None


def _literal(segment: str) -> str:
    """The segment if it may stand in an address; length is checked with the whole."""
    if not segment:
        raise _Flaw("a segment is empty.")
    if segment in (".", ".."):
        raise _Flaw("a segment is '.' or '..'.")
    if "*" in segment:
        raise _Flaw("'*' is a wildcard, only in patterns, and there a whole segment: '*', or '**' at the end.")
    if "/" in segment or "\\" in segment:
        raise _Flaw("a segment holds an encoded slash or a backslash.")
    if _CONTROL.search(segment):
        raise _Flaw("a segment holds a control character.")
    if not unicodedata.is_normalized("NFC", segment):
        raise _Flaw("the text is not in Unicode normalization form C.")
    return segment


def _checked(segments: list[str], allow_system: bool) -> list[str]:
    if segments[0].startswith("$") or (segments[0] == "-" and not allow_system):
        raise _Flaw("a first segment of '-' or one that begins with '$' is reserved for the relay itself.")
    if len(segments) > MAX_SEGMENTS:
        raise _Flaw(f"it has more than {MAX_SEGMENTS} segments.")
    total = len(segments) - 1  # the slashes
    for segment in segments:
        try:
            length = len(segment.encode())
        except UnicodeEncodeError:
            raise _Flaw("a segment holds a lone surrogate, which is not UTF-8.") from None
        if length > MAX_SEGMENT_BYTES:
            raise _Flaw(f"a segment is longer than {MAX_SEGMENT_BYTES} bytes.")
        total += length
    if total > MAX_ADDRESS_BYTES:
        raise _Flaw(f"it is longer than {MAX_ADDRESS_BYTES} bytes.")
    return segments


def _pattern(segments: list[str], allow_system: bool) -> Pattern:
    if segments[0] in _WILDCARDS:
        raise _Flaw("it begins with a wildcard; begin with a relay's name, e.g. orders/**.")
    if "**" in segments[:-1]:
        raise _Flaw("'**' may stand only at the end.")
    _checked(segments, allow_system)
    literal = next((place for place, segment in enumerate(segments) if segment in _WILDCARDS), len(segments))
    return Pattern(
        text="/".join(segments),
        segments=tuple(segments),
        is_concrete=literal == len(segments),
        has_tail=segments[-1] == "**",
        prefix="/".join(segments[:literal]),
    )


def _begins_with(address: str, prefix: str) -> bool:
    """Whole segments only: `shop` is no prefix of `shop-admin`."""
    return address.startswith(prefix) and address[len(prefix) : len(prefix) + 1] in ("", "/")


def _segments_cover(wide: tuple[str, ...], wide_tail: bool, narrow: tuple[str, ...], narrow_tail: bool) -> bool:
    """Every address of `narrow` is one of `wide`. Segments are unbounded in number of values, so no
    literal covers a `*`, and a `**` (which may stand for nothing) is covered by a `**` only."""
    wide_length = len(wide) - wide_tail
    narrow_length = len(narrow) - narrow_tail
    if wide_tail:
        if narrow_length < wide_length:
            return False
    elif narrow_tail or narrow_length != wide_length:
        return False
    return all(wide[place] in ("*", narrow[place]) for place in range(wide_length))
