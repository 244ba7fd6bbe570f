"""Bare frames: the payload and nothing else."""

from __future__ import annotations

import pytest

from app.wire.frames import BINARY, TEXT, MessageReader
from app.wire.native.bare import BARE
from fanout.event import Event


@pytest.mark.parametrize(("is_text", "opcode"), [(True, TEXT), (False, BINARY)])
def test_a_payload_travels_as_it_was_published(is_text: bool, opcode: int) -> None:
    events = [Event("orders", offset, "e", b"x" * offset, is_text) for offset in (0, 125, 126, 70_000)]
    data = BARE.join([BARE.encode(event) for event in events])
    assert MessageReader(1 << 20, masked=False).feed(data) == [(opcode, event.payload) for event in events]
