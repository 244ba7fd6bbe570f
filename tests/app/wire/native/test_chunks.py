"""Chunks of an HTTP/1.1 body."""

from __future__ import annotations

from app.wire.native.chunks import LAST_CHUNK, chunk


def test_a_chunk_names_its_length_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_the_last_chunk_is_empty() -> None:
    assert LAST_CHUNK == b"0\r\n\r\n"
