"""Events as bare WebSocket messages: the payload, text or binary as it was published. No cursor, no gap."""

from __future__ import annotations

from app.wire.frames import BINARY, TEXT, frame_head
from fanout.event import Event
from fanout.history import Cursor


class BareFrames:
    """One frame per event; the one instance is BARE."""

    name = "bare"

    def encode(self, event: Event) -> bytes:
        payload = event.payload
        return frame_head(TEXT if event.is_text else BINARY, len(payload)) + payload

    def join(self, parts: list[bytes]) -> bytes:
        return b"".join(parts)

    def in_epoch(self, epoch: str) -> BareFrames:
        """The same: they tell no cursors."""
        return self

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing: a bare socket has no words for notices."""
        return b""

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        """Nothing: a lost event closes a bare socket."""
        return b""

    def position(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing."""
        return b""


BARE = BareFrames()
