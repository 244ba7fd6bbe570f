"""What an event is in a row of the journal."""

from __future__ import annotations

from math import inf

from app.store.event_rows import COLUMNS, columns_of, event_of
from fanout.event import NO_ATTRIBUTES, Event


def test_an_event_comes_back_from_its_row_to_the_microsecond() -> None:
    event = Event(
        "a/b", 7, "id", b"\0x", False, "text/x", "t", "/s", "now", 1769860800.123456, {"k": "é"}, 1769860801.5
    )
    assert tuple(event_of(7, *columns_of(event))) == tuple(event)


def test_what_an_event_has_not_is_null() -> None:
    row = dict(zip(COLUMNS.split(", "), columns_of(Event("a", 1, "", b"")), strict=True))
    assert (row["attributes"], row["expires_at"], row["type"]) == (None, None, None)
    back = event_of(1, *row.values())
    assert (back.attributes, back.expires_at) == (NO_ATTRIBUTES, inf)
