"""Follows one direction of a `net.tcp` session without keeping any of it, to know where it ends.

A client of .NET puts a connection whose session has ended into a pool and begins the next session on it, with a new
preamble that may name another service. So the gateway must see the End records pass. Behind an upgrade to TLS they
are hidden, but the records of TLS (RFC 8446, 5.1) are not, and the next preamble stands behind them in the clear.
Behind any other upgrade, behind anything that it does not know, and behind a read of very many tiny records, which
would cost more time than the end is worth, it sees no more.
"""

from __future__ import annotations

from app.wire.nettcp.records import SIZE_BYTES, Kind

_FIXED = {Kind.VERSION: 2, Kind.MODE: 1, Kind.KNOWN_ENCODING: 1, Kind.PREAMBLE_ACK: 0, Kind.PREAMBLE_END: 0}
_SIZED = (
    Kind.VIA,
    Kind.EXTENSIBLE_ENCODING,
    Kind.SIZED_ENVELOPE,
    Kind.UNSIZED_ENVELOPE,
    Kind.FAULT,
    Kind.UPGRADE_REQUEST,
)
MOST_STEPS = 8192  # in one read: a few milliseconds
_TLS_TYPES = range(0x14, 0x19)
_TLS_HEAD_BYTES = 5
_TLS_MAJOR_VERSION = 3


class Trail:
    """Where in a stream of records one is, from its first byte on.

    `begins_another` once the preamble of another session has come where this one was inside TLS.
    """

    __slots__ = ("_head", "_in_chunks", "_in_tls", "_left", "_size", "_size_bytes", "begins_another", "is_blind")

    def __init__(self) -> None:
        self.is_blind = False
        self.begins_another = False
        self._left = 0  # bytes of a record that are still to come
        self._size: int | None = None  # a size being read
        self._size_bytes = 0
        self._in_chunks = False
        self._in_tls = False  # or where it begins
        self._head = b""  # of a TLS record

    def follow(self, data: bytes | memoryview) -> int | None:
        """How many of these bytes belong to the session, once it ends in them."""
        at, end, steps = 0, len(data), 0
        while at < end and not self.is_blind:
            steps += 1
            if steps > MOST_STEPS:
                self.is_blind = True
            elif self._left:
                skipped = min(self._left, end - at)
                self._left -= skipped
                at += skipped
            elif self._read(data[at]):
                return at if self.begins_another else at + 1
            else:
                at += 1
        return None

    def _read(self, byte: int) -> bool:
        """Read a byte that means something; whether the session ends with it, or before it."""
        if self._size is not None or self._in_chunks:
            self._read_size(byte)
        elif self._in_tls:
            self._read_tls(byte)
        elif byte == Kind.END:
            self.is_blind = True
            return True
        else:
            self._read_type(byte)
        return self.begins_another

    def _read_type(self, byte: int) -> None:
        if byte in _SIZED:
            self._size = 0
            self._in_chunks = byte == Kind.UNSIZED_ENVELOPE
            self._in_tls = byte == Kind.UPGRADE_REQUEST
        elif byte in _FIXED:
            self._left = _FIXED[byte]  # type: ignore[index]
        elif byte == Kind.UPGRADE_RESPONSE:
            self._in_tls = True
        else:
            self.is_blind = True

    def _read_size(self, byte: int) -> None:
        self._size = (self._size or 0) | (byte & 0x7F) << 7 * self._size_bytes
        self._size_bytes += 1
        if byte & 0x80:
            self.is_blind = self._size_bytes >= SIZE_BYTES
            return
        self._left, self._size, self._size_bytes = self._size, None, 0
        if not self._left:  # the terminator of a message in chunks
            self._in_chunks = False

    def _read_tls(self, byte: int) -> None:
        if not self._head and byte == Kind.VERSION:
            self.is_blind = self.begins_another = True
            return
        self._head += bytes([byte])
        if len(self._head) == _TLS_HEAD_BYTES:
            kind, major, _, high, low = self._head
            self.is_blind = kind not in _TLS_TYPES or major != _TLS_MAJOR_VERSION
            self._left, self._head = high << 8 | low, b""
