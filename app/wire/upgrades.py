"""Upgrade heads that were seen a moment ago: a rush of clients sends the same one but for its key.

What was parsed and checked once need not be again when every byte around the key is the same: the key is the only
part of the head that may differ, and is checked each time (RFC 6455, 4.1: 16 bytes in base64).
"""

from __future__ import annotations

from app.wire.http import WEBSOCKET_KEY, Head

MOST_HEADS = 256
MOST_BYTES = 4096  # of a head that is worth keeping

_END = b"\r\n\r\n"
_NAME = b"\r\nSec-WebSocket-Key: "
_KEY_BYTES = 24


class RecentUpgrades:
    """Heads of upgrades by their bytes around the key, the oldest forgotten first."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, data: bytes) -> Head | None:
        """The head that `data` is, if it is exactly one, and one that was remembered, with a key of its own."""
        start = data.find(_NAME) + len(_NAME) if len(data) <= MOST_BYTES else 0
        if start < len(_NAME):
            return None
        end = start + _KEY_BYTES
        known = self._heads.get(data[:start] + data[end:])
        if known is None or not WEBSOCKET_KEY.fullmatch(key := data[start:end].decode("latin-1")):
            return None
        return known.with_value("sec-websocket-key", key)

    def remember(self, data: bytes, head: Head) -> None:
        """Keep `head`, which a parser found to be valid in `data`, unless more than it stands there."""
        start = data.find(_NAME) + len(_NAME)
        end = start + _KEY_BYTES
        if start < len(_NAME) or len(data) > MOST_BYTES or data.find(_END) != len(data) - len(_END):
            return
        if data[end : end + 2] != b"\r\n":  # spaces stand around the key
            return
        if len(self._heads) >= MOST_HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[data[:start] + data[end:]] = head
