"""CloudEvents, a line each, in chunks."""

from __future__ import annotations

import orjson

from app.closes import DRAINING
from app.wire.native.chunks import chunk
from app.wire.native.ndjson import JsonLines
from fanout.event import Event
from fanout.history import Cursor

LINES = JsonLines("0a1b2c3d")


def test_a_tick_is_one_chunk_of_whole_lines() -> None:
    parts = [LINES.encode(Event("a", n, "e", b'{"x":\r\n1}', True, "application/json")) for n in (1, 2)]
    assert LINES.join(parts) == chunk(b"".join(parts))
    assert [orjson.loads(line)["fanwaycursor"] for line in b"".join(parts).splitlines()] == ["0a1b2c3d:1", "0a1b2c3d:2"]


def test_notices_are_lines_too() -> None:
    here, there = Cursor("0a1b2c3d", 1), Cursor("0a1b2c3d", 4)
    for data, kind in [
        (LINES.ready("a", here), "fanway.ready"),
        (LINES.gap("a", here, there, "history"), "fanway.gap"),
        (LINES.position("a", here), "fanway.cursor"),
        (LINES.bye("a", here, DRAINING), "fanway.bye"),
    ]:
        _, line, rest = data.split(b"\r\n")
        assert line.endswith(b"\n")
        assert orjson.loads(line)["type"] == kind
        assert rest == b""
