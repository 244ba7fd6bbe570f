"""HTTP/1.1 chunked bodies, written by hand: one chunk per write (RFC 9112, section 7.1)."""

from __future__ import annotations

LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; it must not be empty, for the empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
