"""The records of the .NET Message Framing Protocol ([MC-NMF] 2.2), which `net.tcp` is made of: encode and decode.

A record is one byte of type and what that type says: nothing, a byte or two, a text, a message of known size, or
a message in chunks. Sizes are written seven bits to a byte, the lowest first, the top bit saying that more
follow; 31 bits at most. A size padded with zeros is understood, as .NET's own reader does, and never written.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from app.errors import FramingError
from app.wire.nettcp.faults import CONTENT_TYPE_TOO_LONG, MALFORMED, TOO_LARGE, UPGRADE_INVALID, VIA_TOO_LONG

VIA_BYTES = 2048  # the defaults of .NET's services
CONTENT_TYPE_BYTES = 256
FAULT_BYTES = 256
UPGRADE_BYTES = 256
SIZE_BYTES = 5
MAX_SIZE = (1 << 31) - 1
ENVELOPE_BYTES = 16 << 20


class Kind(IntEnum):
    """The type of a record."""

    VERSION = 0x00
    MODE = 0x01
    VIA = 0x02
    KNOWN_ENCODING = 0x03
    EXTENSIBLE_ENCODING = 0x04
    UNSIZED_ENVELOPE = 0x05
    SIZED_ENVELOPE = 0x06
    END = 0x07
    FAULT = 0x08
    UPGRADE_REQUEST = 0x09
    UPGRADE_RESPONSE = 0x0A
    PREAMBLE_ACK = 0x0B
    PREAMBLE_END = 0x0C


class Mode(IntEnum):
    """What a session is for: one message in chunks each way, many both ways, many one way, or one message."""

    SINGLETON = 1
    DUPLEX = 2
    SIMPLEX = 3
    SINGLETON_SIZED = 4


class Record(NamedTuple):
    """One record. `value`: (major, minor) of a version, a mode's or known encoding's number, the text of a via,
    an extensible encoding, a fault or an upgrade request, a sized envelope's bytes, an unsized one's chunks."""

    kind: Kind
    value: int | str | bytes | tuple[int, int] | tuple[bytes, ...] | None = None


class _Text(NamedTuple):
    """How long the text of a record may be, and the fault of one that is longer."""

    most_bytes: int
    fault: str


_TEXTS = {
    Kind.VIA: _Text(VIA_BYTES, VIA_TOO_LONG),
    Kind.EXTENSIBLE_ENCODING: _Text(CONTENT_TYPE_BYTES, CONTENT_TYPE_TOO_LONG),
    Kind.FAULT: _Text(FAULT_BYTES, MALFORMED),
    Kind.UPGRADE_REQUEST: _Text(UPGRADE_BYTES, UPGRADE_INVALID),
}
_EMPTY = (Kind.END, Kind.UPGRADE_RESPONSE, Kind.PREAMBLE_ACK, Kind.PREAMBLE_END)
_KINDS = {kind.value: kind for kind in Kind}


class _Incomplete(Exception):
    """More bytes are needed."""


class RecordReader:
    """Takes records out of a stream however it is cut into reads. Messages may have `most_bytes` at most."""

    def __init__(self, most_bytes: int = ENVELOPE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what was read."""
        self._held += data

    def peek(self) -> int | None:
        """The type of the next record, known or not, as soon as its first byte is there."""
        return self._held[0] if self._held else None

    def next(self) -> Record | None:
        """The next record that is complete. Raises FramingError for one that can never be."""
        try:
            record, end = self._read()
        except _Incomplete:
            return None
        del self._held[:end]
        return record

    def rest(self) -> bytes:
        """What follows the records taken so far; the reader is empty then."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _read(self) -> tuple[Record, int]:
        kind = self._kind()
        if kind in _EMPTY:
            return Record(kind), 1
        if kind is Kind.VERSION:
            major, minor = self._bytes(1, 2)
            return Record(kind, (major, minor)), 3
        if kind in (Kind.MODE, Kind.KNOWN_ENCODING):
            return Record(kind, self._bytes(1, 1)[0]), 2
        if kind is Kind.UNSIZED_ENVELOPE:
            return self._read_chunks()
        size, at = read_size(self._held, 1)
        text = _TEXTS.get(kind)
        if text is None:
            if not size:
                raise FramingError("A sized message may not be empty.", MALFORMED)
            self._check_message(size)
            return Record(kind, self._bytes(at, size)), at + size
        if size > text.most_bytes:
            raise FramingError(f"A {kind.name} record may have {text.most_bytes} bytes at most.", text.fault)
        try:
            return Record(kind, self._bytes(at, size).decode()), at + size
        except UnicodeDecodeError:
            raise FramingError(f"The text of a {kind.name} record is not UTF-8.", MALFORMED) from None

    def _kind(self) -> Kind:
        if not self._held:
            raise _Incomplete
        kind = _KINDS.get(self._held[0])
        if kind is None:
            raise FramingError(f"There is no record of type 0x{self._held[0]:02X}.", MALFORMED)
        return kind

    def _read_chunks(self) -> tuple[Record, int]:
        chunks: list[bytes] = []
        at, total = 1, 0
        while True:
            size, at = read_size(self._held, at)
            if not size:
                break
            total += size
            self._check_message(total)
            chunks.append(self._bytes(at, size))
            at += size
        if not chunks:
            raise FramingError("A message in chunks has one at least.", MALFORMED)
        return Record(Kind.UNSIZED_ENVELOPE, tuple(chunks)), at

    def _check_message(self, size: int) -> None:
        if size > self._most_bytes:
            raise FramingError(f"A message may have {self._most_bytes} bytes at most.", TOO_LARGE)

    def _bytes(self, at: int, size: int) -> bytes:
        if len(self._held) < at + size:
            raise _Incomplete
        return bytes(self._held[at : at + size])


def encode_record(record: Record) -> bytes:
    """The bytes of a record. Raises ValueError for a value that does not belong to its kind."""
    kind, value = record
    if kind in _EMPTY and value is None:
        return bytes([kind])
    if kind is Kind.VERSION and isinstance(value, tuple):
        return bytes([kind, *value])
    if kind in (Kind.MODE, Kind.KNOWN_ENCODING) and isinstance(value, int):
        return bytes([kind, value])
    if kind is Kind.UNSIZED_ENVELOPE and isinstance(value, tuple) and value:
        parts = [chunk for chunk in value if isinstance(chunk, bytes) and chunk]
        return b"".join([bytes([kind]), *(encode_size(len(part)) + part for part in parts), b"\0"])
    if kind in _TEXTS and isinstance(value, str):
        value = value.encode()
    elif kind is not Kind.SIZED_ENVELOPE or not value:
        value = None
    if not isinstance(value, bytes):
        raise ValueError(f"a {kind.name} record does not hold such a value")
    return bytes([kind]) + encode_size(len(value)) + value


def read_size(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A size that begins at `at`, and where it ends. Raises FramingError beyond 31 bits."""
    size = 0
    for index in range(SIZE_BYTES):
        if at + index >= len(data):
            raise _Incomplete
        byte = data[at + index]
        size |= (byte & 0x7F) << 7 * index
        if index == SIZE_BYTES - 1 and byte & 0xF8:
            raise FramingError("A size has more than 31 bits.", MALFORMED)
        if not byte & 0x80:
            return size, at + index + 1
    raise AssertionError("the fifth byte either ends a size or is refused")


def encode_size(size: int) -> bytes:
    """A size in as few bytes as it needs. Raises ValueError beyond 31 bits."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError("a size has 31 bits at most")
    coded = bytearray()
    while size > 0x7F:
        coded.append(size & 0x7F | 0x80)
        size >>= 7
    coded.append(size)
    return bytes(coded)
