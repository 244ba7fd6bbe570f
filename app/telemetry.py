"""Tracking ids, the sentence that carries them, and log fields.

The sentence's shape is Azure Relay's (protocol guide, "status description contains a tracking id");
clients look for the word `TrackingId` in it.
"""

from __future__ import annotations

import os
import re
import time

_GUID_START = re.compile(r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

_SECRET_BYTES = 24
_DRAWN_AT_ONCE = 128


_drawn: list[str] = []  # random text for many at once: two system calls for each request would be much of its cost
os.register_at_fork(after_in_child=_drawn.clear)


def new_tracking_id(client_id: str | None = None, node: int = 0, *, is_unique: bool = False) -> str:
    """A tracking id `<guid>_G<node>`; it keeps the client's id when that begins with a GUID.

    With `is_unique` something random follows such a one: whatever a client calls its requests, no two are the same.
    """
    match = _GUID_START.match(client_id) if client_id else None
    if match:
        return f"{match.group()}_G{node}" + (f"_{new_secret()[:16]}" if is_unique else "")
    drawn = new_secret()  # as a version 4 UUID (RFC 9562, 5.4) without the detour of an object
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-a{drawn[17:20]}-{drawn[20:32]}_G{node}"


def new_secret() -> str:
    """192 random bits in hexadecimal: the credential in the address of a rendezvous."""
    try:
        return _drawn.pop()
    except IndexError:
        text, size = os.urandom(_SECRET_BYTES * _DRAWN_AT_ONCE).hex(), 2 * _SECRET_BYTES
        _drawn.extend(text[at : at + size] for at in range(size, len(text), size))
        return text[:size]


def sentence(message: str, tracking_id: str, tracker: str, now: float | None = None) -> str:
    """One printable ASCII line: `<message> TrackingId:…, SystemTracker:…, Timestamp:…` (UTC)."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return printable(f"{message} TrackingId:{tracking_id}, SystemTracker:{tracker}, Timestamp:{stamp}")


def printable(text: str, limit: int = 2048) -> str:
    """`text` on one line of printable ASCII, escapes in place of the rest, cut at `limit` characters."""
    return _UNPRINTABLE.sub(lambda m: m.group().encode("unicode_escape").decode(), text)[:limit]
