"""What a peer and the gateway said to each other, kept as JSON, with placeholders for what differs each time.

A `Tape` collects a conversation: for each connection, in the order of opening, what the client sent frame by frame
and what the relay sent message by message (how the relay cuts a message is its own affair).
`RECORD_TRANSCRIPTS=1` in the environment writes the files anew instead of comparing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors"
SHOWN_BYTES = 64  # longer payloads are kept as length and digest

_CHANGING = (
    (re.compile(r"(?<=[?& ]sig=)[^&\s\"]+"), "{sig}"),
    (re.compile(r"(?<=%26sig%3D)(?:(?!%26)[^&\s\"])+"), "{sig}"),
    (re.compile(r"(?<=[?& ]se=)\d+"), "{se}"),
    (re.compile(r"(?<=%26se%3D)\d+"), "{se}"),
    (re.compile(r"(?<=sb-hc-rendezvous=)[\w.-]+"), "{secret}"),
    (re.compile(r"(?<=Sec-WebSocket-Key: )\S+"), "{key}"),
    (re.compile(r'(?<="Sec-WebSocket-Key":")[^"]+'), "{key}"),
    (re.compile(r"(?<=Sec-WebSocket-Accept: )\S+"), "{accept}"),
    (re.compile(r"(?<=Date: )[^\r\n]+"), "{date}"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "{time}"),
    (re.compile(r"(?<=localhost:)\d+"), "{port}"),
    (re.compile(r"(?<=localhost%3A)\d+"), "{port}"),
)
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Track:
    """One connection: its name, and what each side said."""

    name: str
    client: list[Any] = field(default_factory=list)
    relay: list[Any] = field(default_factory=list)
    _message: bytearray = field(default_factory=bytearray, repr=False)
    _kind: str = ""

    def head(self, side: str, text: str) -> None:
        """A request's or an answer's head, as lines."""
        self._lines(side).append(text.split("\r\n"))

    def body(self, side: str, content: bytes) -> None:
        """The body of a request or an answer, when there is one."""
        if content:
            self._lines(side).append({"body": _shown(content)})

    def sent(self, kind: str, fin: bool, payload: bytes) -> None:
        """A frame of the client, exactly."""
        self.client.append([kind, *([] if fin else ["continues"]), _shown(payload)])

    def received(self, kind: str, fin: bool, payload: bytes) -> None:
        """A frame, or a part of one, of the relay; a message is kept when it is whole."""
        if kind in ("text", "binary"):
            self._kind, self._message = kind, bytearray()
        if kind in ("text", "binary", "continuation"):
            self._message += payload
            if not fin:
                return
            kind, payload = self._kind, bytes(self._message)
        self.relay.append([kind, _shown(payload, whole=kind == "text")])

    def closed(self, side: str, code: int | None, reason: str) -> None:
        """A Close frame."""
        self._lines(side).append(["close", code, reason])

    def ended(self, how: str) -> None:
        """How the relay ended the connection below the protocol, where that matters."""
        self.relay.append([how])

    def _lines(self, side: str) -> list[Any]:
        return self.client if side == "client" else self.relay


class Tape:
    """The connections of one conversation."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.writers: list[asyncio.StreamWriter] = []

    def track(self, name: str, writer: asyncio.StreamWriter) -> Track:
        """A connection that was opened."""
        self.writers.append(writer)
        self.tracks.append(Track(name))
        return self.tracks[-1]

    def hang_up(self) -> None:
        """Abort whatever is open still."""
        for writer in self.writers:
            writer.transport.abort()

    def told(self, about: str) -> dict[str, Any]:
        """The conversation with its placeholders."""
        names: dict[str, str] = {}
        tracks = [{"connection": each.name, "client": each.client, "relay": each.relay} for each in self.tracks]
        told: dict[str, Any] = {"about": about, "connections": _without_chance(tracks, names)}
        return told


def compare(tape: Tape, file: str, about: str) -> None:
    """Hold the conversation against `tests/vectors/{file}.json`, or write that file."""
    told = tape.told(about)
    path = VECTORS / f"{file}.json"
    if os.environ.get("RECORD_TRANSCRIPTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(_written(told), "utf-8")
    if told != json.loads(kept := path.read_text("utf-8")):
        lines = unified_diff(kept.splitlines(), _written(told).splitlines(), "kept", "now", lineterm="", n=0)
        raise AssertionError("\n".join(["the conversation went differently; RECORD_TRANSCRIPTS=1 keeps it:", *lines]))


def _written(told: dict[str, Any]) -> str:
    """JSON with a line for each thing that was said."""

    def lines(said: list[Any]) -> str:
        return ",\n".join(f"        {json.dumps(each, ensure_ascii=False)}" for each in said)

    separator = ",\n"
    tracks = [
        f'    {{\n      "connection": {json.dumps(each["connection"])},\n'
        f'      "client": [\n{lines(each["client"])}\n      ],\n'
        f'      "relay": [\n{lines(each["relay"])}\n      ]\n    }}'
        for each in told["connections"]
    ]
    return f'{{\n  "about": {json.dumps(told["about"])},\n  "connections": [\n{separator.join(tracks)}\n  ]\n}}\n'


def _shown(payload: bytes, *, whole: bool = False) -> Any:
    if len(payload) > SHOWN_BYTES and not whole:
        try:
            if payload[:1] == b"{":
                return payload.decode()
        except UnicodeDecodeError:
            pass
        return {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return {"hex": payload.hex()}
    return text if text.isprintable() else {"hex": payload.hex()}


def _without_chance(value: Any, names: dict[str, str]) -> Any:
    """`value` with each changing part replaced; the same GUID has the same name everywhere."""
    if isinstance(value, dict):
        return {key: _without_chance(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_chance(each, names) for each in value]
    if not isinstance(value, str):
        return value
    for pattern, placeholder in _CHANGING:
        value = pattern.sub(placeholder, value)
    value = re.sub(r'"port":\d+', '"port":{port}', value)
    return _GUID.sub(lambda found: names.setdefault(found.group(), f"{{id{len(names) + 1}}}"), value)
