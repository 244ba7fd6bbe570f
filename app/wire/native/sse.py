"""Events as server-sent events in a chunked body (WHATWG HTML, section 9.2).

Data blocks carry no `event:` line, so that `onmessage` gets them; `ready`, `gap`, `bye` and `binary` do.
Every block that moves the position carries it as `id:`, which a browser sends back as `Last-Event-ID`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from app.closes import Close
from app.wire.native.chunks import chunk
from app.wire.native.cloudevents import bye_members, encode_envelope, gap_members
from fanout.event import Event
from fanout.history import Cursor

CONTENT_TYPE = "text/event-stream"

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerSentEvents:
    """Blocks of one relay's epoch, holding the data alone or the CloudEvent."""

    epoch: str
    as_cloudevent: bool

    @property
    def name(self) -> str:
        return "sse-cloudevent" if self.as_cloudevent else "sse-data"

    def encode(self, event: Event) -> bytes:
        head = b"id: %b:%d\n" % (self.epoch.encode(), event.offset)
        if self.as_cloudevent:
            return head + b"data: " + encode_envelope(event, self.epoch) + b"\n\n"
        if not event.is_text:
            return head + b"event: binary\ndata: " + base64.b64encode(event.payload) + b"\n\n"
        payload = event.payload
        if b"\n" in payload or b"\r" in payload:
            payload = _LINE_END.sub(b"\ndata: ", payload)
        return b"%bdata: %b\n\n" % (head, payload)

    def join(self, parts: list[bytes]) -> bytes:
        return chunk(b"".join(parts))

    def in_epoch(self, epoch: str) -> ServerSentEvents:
        """The same for another stream."""
        return replace(self, epoch=epoch)

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        return _block("ready", cursor, {"relay": relay, "cursor": str(cursor)})

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        return _block("gap", to, gap_members(relay, from_, to, why))

    def position(self, relay: str, cursor: Cursor) -> bytes:
        """The heartbeat: a block without data, which moves the browser's last id and nothing else."""
        return chunk(f"id: {cursor}\n\n".encode())

    def bye(self, relay: str, cursor: Cursor, close: Close) -> bytes:
        return encode_bye(close)


def encode_bye(close: Close) -> bytes:
    """The goodbye: why, and whether to return."""
    return _block("bye", None, bye_members(close))


def _block(event: str, cursor: Cursor | None, data: Mapping[str, object]) -> bytes:
    place = f"id: {cursor}\n" if cursor is not None else ""
    return chunk(f"event: {event}\n{place}data: ".encode() + orjson.dumps(data) + b"\n\n")
