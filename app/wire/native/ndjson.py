"""Events as CloudEvents, one line of JSON each, in a chunked body; notices are CloudEvents of types `fanway.*`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.closes import Close
from app.wire.native.chunks import chunk
from app.wire.native.cloudevents import encode_bye, encode_envelope, encode_gap, encode_position, encode_ready
from fanout.event import Event
from fanout.history import Cursor

CONTENT_TYPE = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Lines of one relay's epoch."""

    epoch: str

    @property
    def name(self) -> str:
        return "ndjson"

    def encode(self, event: Event) -> bytes:
        return encode_envelope(event, self.epoch) + b"\n"

    def join(self, parts: list[bytes]) -> bytes:
        return chunk(b"".join(parts))

    def in_epoch(self, epoch: str) -> JsonLines:
        """The same for another stream."""
        return replace(self, epoch=epoch)

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        return chunk(encode_ready(relay, cursor) + b"\n")

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        return chunk(encode_gap(relay, from_, to, why) + b"\n")

    def position(self, relay: str, cursor: Cursor) -> bytes:
        """The heartbeat: a line of type `fanway.cursor`."""
        return chunk(encode_position(relay, cursor) + b"\n")

    def bye(self, relay: str, cursor: Cursor, close: Close) -> bytes:
        return chunk(encode_bye(relay, cursor, close) + b"\n")
