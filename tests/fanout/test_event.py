"""Events are frozen values with an identity."""

from __future__ import annotations

import pytest

from fanout.event import Event


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
