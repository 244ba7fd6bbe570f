"""Frames agree with the `websockets` library and survive anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from fanway.socket_wire import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    FrameError,
    encode_close,
    encode_frame,
    parse_close,
    parse_head,
    parse_length,
)


def parsed(data: bytes) -> Frame:
    """A client's frame as the library's server side reads it."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=True)
    try:
        next(parser)
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    raise AssertionError("incomplete frame")


@given(st.sampled_from([CONTINUATION, TEXT, BINARY]), st.booleans(), st.sampled_from([0, 1, 125, 126, 65535, 65536]))
def test_an_encoded_frame_is_read_back(opcode: int, is_final: bool, length: int) -> None:
    frame = parsed(encode_frame(opcode, b"x" * length, is_final))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode(opcode), is_final, b"x" * length)


@given(st.binary(min_size=2, max_size=2))
def test_any_head_is_read_or_refused(two: bytes) -> None:
    try:
        head = parse_head(two)
    except FrameError:
        return
    assert head.extra_bytes in (0, 2, 8)
    assert head.opcode < 8 or (head.is_final and head.length <= 125)


@pytest.mark.parametrize("two", [b"\x81\x80", b"\xc1\x01", b"\x83\x00", bytes((PING, 0)), b"\x89\x7e"])
def test_a_broken_head_is_refused(two: bytes) -> None:
    """S36"""
    with pytest.raises(FrameError):
        parse_head(two)


def test_a_length_with_the_top_bit_set_is_refused() -> None:
    """S36"""
    with pytest.raises(FrameError):
        parse_length(b"\x80" + bytes(7))


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "From Test Code"), (4999, "ü" * 80), (1005, "")])
def test_a_close_frame_keeps_code_and_reason(code: int, reason: str) -> None:
    frame = parsed(encode_close(code, reason))
    got_code, got_reason = parse_close(bytes(frame.data))
    assert got_code == code
    assert reason.startswith(got_reason)
    assert len(frame.data) <= 125


@given(st.binary(max_size=125))
def test_any_close_payload_is_read_or_refused(data: bytes) -> None:
    try:
        code, _ = parse_close(data)
    except FrameError:
        return
    assert code == 1005 or 1000 <= code < 5000
