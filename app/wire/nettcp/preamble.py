"""The preamble of a `net.tcp` session ([MC-NMF] 2.2.6): read just far enough to know where the session leads.

Theory. Version, mode, via and encoding come first and in this order, each once: so no second via can lead the
service elsewhere than the gateway was asked. What follows is the service's: an upgrade (TLS, Negotiate) or
the preamble's end, acknowledged by nobody but the service. Its type alone is looked at, since one that may not
stand there would never be answered. Sessions of mode 3 and 4 need not have anything there.
"""

from __future__ import annotations

from typing import NamedTuple

from app.errors import FramingError
from app.wire.nettcp.faults import CONTENT_TYPE_INVALID, MALFORMED, UNSUPPORTED_MODE, UNSUPPORTED_VERSION
from app.wire.nettcp.records import Kind, Mode, Record, RecordReader, encode_record

BINARY_SESSION = 8  # the highest of the known encodings
_ENCODINGS = (Kind.KNOWN_ENCODING, Kind.EXTENSIBLE_ENCODING)
_ENDINGS = (Kind.UPGRADE_REQUEST, Kind.PREAMBLE_END)
_TWO_WAY = (Mode.SINGLETON, Mode.DUPLEX)


class Preamble(NamedTuple):
    """Where a session leads and how it is encoded; `rest` is what came after, not yet interpreted."""

    minor_version: int
    mode: Mode
    via: str
    encoding: Record
    rest: bytes

    def encode(self, via: str) -> bytes:
        """The same bytes with another via."""
        records = (
            Record(Kind.VERSION, (1, self.minor_version)),
            Record(Kind.MODE, int(self.mode)),
            Record(Kind.VIA, via),
            self.encoding,
        )
        return b"".join(map(encode_record, records)) + self.rest


class PreambleReader:
    """Reads one preamble, however it is cut into reads."""

    def __init__(self) -> None:
        self._records = RecordReader()
        self._minor_version = 0
        self._mode: Mode | None = None
        self._via: str | None = None
        self._encoding: Record | None = None
        self._next = self._on_version

    def feed(self, data: bytes | memoryview) -> Preamble | None:
        """The preamble, once it is known. Raises FramingError; what has come then is never to be passed on."""
        self._records.feed(data)
        while self._encoding is None:
            self._check_order()
            record = self._records.next()
            if record is None:
                return None
            self._next(record)
        assert self._mode is not None
        assert self._via is not None
        if self._mode in _TWO_WAY:
            following = self._records.peek()
            if following is None:
                return None
            if following not in _ENDINGS:
                raise _out_of_order(following)
        return Preamble(self._minor_version, self._mode, self._via, self._encoding, self._records.rest())

    def _check_order(self) -> None:
        """Refuse a record by its first byte, before any of its text is waited for."""
        kind = self._records.peek()
        if kind is None:
            return
        expected: tuple[Kind, ...] = _ENCODINGS
        if self._next == self._on_version:
            expected = (Kind.VERSION,)
        elif self._mode is None:
            expected = (Kind.MODE,)
        elif self._via is None:
            expected = (Kind.VIA,)
        if kind not in expected:
            raise _out_of_order(kind)

    def _on_version(self, record: Record) -> None:
        assert isinstance(record.value, tuple)
        major, minor = record.value
        if major != 1:
            raise FramingError("Only version 1 of the framing is spoken.", UNSUPPORTED_VERSION)
        assert isinstance(minor, int)
        self._minor_version = minor
        self._next = self._on_mode

    def _on_mode(self, record: Record) -> None:
        try:
            self._mode = Mode(record.value)  # type: ignore[arg-type]
        except ValueError:
            raise FramingError("There is no such mode.", UNSUPPORTED_MODE) from None
        self._next = self._on_via

    def _on_via(self, record: Record) -> None:
        assert isinstance(record.value, str)
        self._via = record.value
        self._next = self._on_encoding

    def _on_encoding(self, record: Record) -> None:
        if record.kind is Kind.KNOWN_ENCODING and isinstance(record.value, int) and record.value > BINARY_SESSION:
            raise FramingError("There is no such known encoding.", CONTENT_TYPE_INVALID)
        self._encoding = record


def _out_of_order(kind: int) -> FramingError:
    return FramingError(f"A record of type 0x{kind:02X} may not stand there in a preamble.", MALFORMED)
