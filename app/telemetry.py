"""Tracking ids, the sentence that carries them, and log fields.

The sentence's shape is Azure Relay's (protocol guide, "status description contains a tracking id");
clients look for the word `TrackingId` in it.
"""

from __future__ import annotations

import re
import time
import uuid

_GUID_START = re.compile(r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def new_tracking_id(client_id: str | None = None, node: int = 0) -> str:
    """A tracking id `<guid>_G<node>`; it keeps the client's id when that begins with a GUID."""
    match = _GUID_START.match(client_id) if client_id else None
    return f"{match.group() if match else uuid.uuid4()}_G{node}"


def sentence(message: str, tracking_id: str, tracker: str, now: float | None = None) -> str:
    """One printable ASCII line: `<message> TrackingId:…, SystemTracker:…, Timestamp:…` (UTC)."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return printable(f"{message} TrackingId:{tracking_id}, SystemTracker:{tracker}, Timestamp:{stamp}")


def printable(text: str, limit: int = 2048) -> str:
    """`text` on one line of printable ASCII, escapes in place of the rest, cut at `limit` characters."""
    return _UNPRINTABLE.sub(lambda m: m.group().encode("unicode_escape").decode(), text)[:limit]
