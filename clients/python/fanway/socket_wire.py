"""WebSocket frames of a client (RFC 6455, 5.2), without I/O: encode with a mask, read a header.

Relayed sockets need what the `websockets` library does by itself and cannot be told to leave: it
answers a Close frame at once, which would cut a half-closed stream.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from websockets.frames import Close

from fanway.errors import RelayError

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library's own fallback, in Python
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KNOWN = {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}


class FrameError(RelayError):
    """The peer broke the framing rules."""


class FrameHead(NamedTuple):
    """The first two bytes of a frame: `length` is final unless it is 126 or 127 (then 2 or 8 bytes follow)."""

    opcode: int
    is_final: bool
    length: int

    @property
    def extra_bytes(self) -> int:
        return {126: 2, 127: 8}.get(self.length, 0)


class Fragment(NamedTuple):
    """A piece of a message as it arrived: `opcode` is TEXT or BINARY also for continuations."""

    opcode: int
    data: bytes
    is_final: bool


def parse_head(two: bytes) -> FrameHead:
    """The first two bytes of a frame from a server. Raises FrameError."""
    first, second = two
    opcode = first & 0x0F
    if first & 0x70 or opcode not in _KNOWN:
        raise FrameError("The peer sent a frame with reserved bits or an unknown opcode.")
    if second & 0x80:
        raise FrameError("The gateway sent a masked frame.")
    if opcode >= CLOSE and (not first & 0x80 or second > 125):
        raise FrameError("The peer sent a fragmented or oversized control frame.")
    return FrameHead(opcode, bool(first & 0x80), second)


def parse_length(extra: bytes) -> int:
    """The extended length of a frame. Raises FrameError when its top bit is set."""
    length = int.from_bytes(extra)
    if length >> 63:
        raise FrameError("The peer sent a frame with an impossible length.")
    return length


def encode_frame(opcode: int, data: bytes, is_final: bool = True) -> bytes:
    """A masked frame."""
    length = len(data)
    first = opcode | (0x80 if is_final else 0)
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((first, 0xFE)) + length.to_bytes(2)
    else:
        head = bytes((first, 0xFF)) + length.to_bytes(8)
    mask = os.urandom(4)
    return head + mask + apply_mask(data, mask)


def encode_close(code: int, reason: str) -> bytes:
    """A Close frame; code 1005 means an empty one. The reason is cut at 123 bytes of UTF-8."""
    if code in (1005, 1006, 1015):
        return encode_frame(CLOSE, b"" if code == 1005 else (1011).to_bytes(2))
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return encode_frame(CLOSE, code.to_bytes(2) + text)


def parse_close(data: bytes) -> tuple[int, str]:
    """(code, reason) of a Close frame's payload; an empty one is 1005. Raises FrameError."""
    try:
        close = Close.parse(data)
    except Exception as error:
        raise FrameError(f"The peer sent a malformed Close frame: {error}") from None
    return int(close.code), close.reason
