"""Events are frozen values with an identity."""

from __future__ import annotations

import pytest

from fanout.event import NO_ATTRIBUTES, Event, new_event


def test_event_cannot_be_changed() -> None:
    event = Event("orders", 1, "id", b"{}")
    with pytest.raises(AttributeError):
        event.offset = 2  # type: ignore[misc]


def test_event_attributes_are_empty_and_read_only_by_default() -> None:
    event = Event("orders", 1, "id", b"{}")
    assert dict(event.attributes) == {}
    with pytest.raises(TypeError):
        event.attributes["x"] = "y"  # type: ignore[index]


def test_event_shows_no_payload_in_its_repr() -> None:
    assert "secret" not in repr(Event("orders", 1, "id", b"secret"))


def test_two_events_with_the_same_content_are_different_events() -> None:
    assert Event("orders", 1, "id", b"") != Event("orders", 1, "id", b"")


def test_an_event_without_an_id_is_named_by_its_place() -> None:
    assert Event("a", 7, "own", b"").id_in("0a1b2c3d") == "own"
    names = {Event("a", offset, "", b"").id_in(epoch) for offset in range(3) for epoch in ("0a1b2c3d", "0a1b2c3e")}
    assert len(names) == 6


def test_the_quick_way_makes_the_same_event() -> None:
    fields = ("a", 1, "id", b"x", True, "text/plain", "made", "/s", None, 2.0, NO_ATTRIBUTES, 9.0, False)
    quick = new_event(Event, fields)
    assert isinstance(quick, Event)
    assert tuple(quick) == tuple(Event(*fields))
    assert quick != Event(*fields)
