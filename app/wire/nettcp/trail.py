"""Follows one direction of a `net.tcp` session without keeping any of it, to know where it ends.

A client of .NET puts a connection whose session has ended into a pool and begins the next session on it, with a new
preamble that may name another service. So the gateway must see the End records pass. Behind an upgrade, and behind
anything that it does not know, it sees no more.
"""

from __future__ import annotations

from app.wire.nettcp.records import SIZE_BYTES, Kind

_FIXED = {Kind.VERSION: 2, Kind.MODE: 1, Kind.KNOWN_ENCODING: 1, Kind.PREAMBLE_ACK: 0, Kind.PREAMBLE_END: 0}
_SIZED = (Kind.VIA, Kind.EXTENSIBLE_ENCODING, Kind.SIZED_ENVELOPE, Kind.UNSIZED_ENVELOPE, Kind.FAULT)


class Trail:
    """Where in a stream of records one is, from its first byte on."""

    __slots__ = ("_in_chunks", "_left", "_size", "_size_bytes", "is_blind")

    def __init__(self) -> None:
        self.is_blind = False
        self._left = 0  # bytes of a message that are still to come
        self._size: int | None = None  # a size being read
        self._size_bytes = 0
        self._in_chunks = False

    def follow(self, data: bytes | memoryview) -> int | None:
        """How many of these bytes belong to the session, once it ends in them."""
        at, end = 0, len(data)
        while at < end and not self.is_blind:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            byte = data[at]
            at += 1
            if self._size is not None or self._in_chunks:
                self._read_size(byte)
            elif byte in _SIZED:
                self._size = 0
                self._in_chunks = byte == Kind.UNSIZED_ENVELOPE
            elif byte == Kind.END:
                self.is_blind = True
                return at
            elif byte in _FIXED:
                self._left = _FIXED[byte]  # type: ignore[index]
            else:
                self.is_blind = True
        return None

    def _read_size(self, byte: int) -> None:
        self._size = (self._size or 0) | (byte & 0x7F) << 7 * self._size_bytes
        self._size_bytes += 1
        if byte & 0x80:
            self.is_blind = self._size_bytes >= SIZE_BYTES
            return
        self._left, self._size, self._size_bytes = self._size, None, 0
        if not self._left:  # the terminator of a message in chunks
            self._in_chunks = False
