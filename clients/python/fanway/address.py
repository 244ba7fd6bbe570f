"""Addresses and patterns as the client needs them: check early, encode for a URL, match an event.

The gateway decides; the same vectors (`tests/vectors/`) hold for both sides.
"""

from __future__ import annotations

import unicodedata
from itertools import takewhile
from urllib.parse import quote

from fanway.errors import InvalidAddressError

MAX_SEGMENTS = 32
MAX_SEGMENT_BYTES = 128
MAX_ADDRESS_BYTES = 512


def check_address(text: str) -> str:
    """`text` (decoded, without a leading slash) if it is a concrete address; one trailing slash is dropped.

    Raises InvalidAddressError with what is wrong.
    """
    segments = _split(text, "address")
    for segment in segments:
        if "*" in segment:
            raise InvalidAddressError(f"The address {text!r} holds a '*'; wildcards belong in patterns.")
    return "/".join(segments)


def check_pattern(text: str) -> str:
    """`text` if it is a pattern: `*` is one whole segment, `**` (last) is zero or more.

    Raises InvalidAddressError with what is wrong.
    """
    segments = _split(text, "pattern")
    for position, segment in enumerate(segments):
        if segment == "**" and position != len(segments) - 1:
            raise InvalidAddressError(f"The pattern {text!r} has '**' before its end; it may only come last.")
        if "*" in segment and segment not in ("*", "**"):
            raise InvalidAddressError(f"The pattern {text!r} mixes '*' with text; a wildcard is a whole segment.")
    if segments[0] in ("*", "**"):
        raise InvalidAddressError(
            f"The pattern {text!r} begins with a wildcard; begin with a relay's name, as in 'orders/**'."
        )
    return "/".join(segments)


def is_concrete(pattern: str) -> bool:
    """Whether a checked pattern holds no wildcard."""
    return "*" not in pattern


def literal_prefix(pattern: str) -> str:
    """The segments of a checked pattern before its first wildcard."""
    return "/".join(takewhile(lambda segment: "*" not in segment, pattern.split("/")))


def matches(pattern: str, address: str) -> bool:
    """Whether a checked pattern matches a canonical address: `*` one segment, a final `**` zero or more.

    Compares exactly: the relay's path in the pattern must be spelled as the gateway spells it.
    """
    wanted, given = pattern.split("/"), address.split("/")
    has_tail = wanted[-1] == "**"
    if has_tail:
        wanted.pop()
    if len(given) < len(wanted) or (len(given) > len(wanted) and not has_tail):
        return False
    return all(want in ("*", got) for want, got in zip(wanted, given, strict=False))


def encode_address(address: str) -> str:
    """A canonical address as a URL path without its leading slash (RFC 3986, 2.1 and 3.3)."""
    return quote(address, safe="/!$&'()*+,;=:@~")


def _split(text: str, noun: str) -> list[str]:
    if text.endswith("/"):
        text = text[:-1]
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidAddressError(f"The {noun} is not valid Unicode.") from None
    segments = text.split("/")
    if size > MAX_ADDRESS_BYTES or len(segments) > MAX_SEGMENTS:
        raise InvalidAddressError(
            f"The {noun} is too long: at most {MAX_SEGMENTS} segments and {MAX_ADDRESS_BYTES} bytes."
        )
    if unicodedata.normalize("NFC", text) != text:
        raise InvalidAddressError(f"The {noun} {text!r} is not in Unicode normal form C.")
    for segment in segments:
        _check_segment(segment, text, noun)
    if (segments[0] == "-" and noun == "address") or segments[0].startswith("$"):
        raise InvalidAddressError(f"The {noun} {text!r} begins with a reserved name ('-' or '$…').")
    return segments


def _check_segment(segment: str, text: str, noun: str) -> None:
    if not segment:
        raise InvalidAddressError(f"The {noun} {text!r} has an empty segment.")
    if segment in (".", ".."):
        raise InvalidAddressError(f"The {noun} {text!r} holds a dot segment.")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise InvalidAddressError(f"A segment of the {noun} is longer than {MAX_SEGMENT_BYTES} bytes.")
    for character in segment:
        if character == "\\" or unicodedata.category(character) == "Cc":
            raise InvalidAddressError(f"The {noun} {text!r} holds a backslash or a control character.")
