"""WebSocket frames without I/O (RFC 6455, section 5): streaming parse, unmask, encode.

Every byte that a client sends passes here, so the parser's shape follows its costs: the frames that are common are
taken in one loop without calls of ours, the rest of a read that ends within a frame is all that is copied, and small
frames are cut from bytes, large ones from the reader's memory.

The parser never holds more than one frame of `WHOLE_FRAME_BYTES`: smaller frames come out whole,
larger ones as they arrive, cut into pieces no larger than that, so that a message of any size passes in bounded
memory, and to clients that take no larger frame.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from struct import Struct

from app.errors import PayloadTooLarge, PeerWireError

try:
    from websockets.speedups import apply_mask as _speedy_mask
except ImportError:  # a platform without the compiled extension
    from websockets.utils import apply_mask as _slow_mask

    def _speedy_mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
        return _slow_mask(data, bytes(mask))


_unmask: Callable[..., bytes] = _speedy_mask  # data and mask may be views

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KNOWN = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))

WHOLE_FRAME_BYTES = 64 * 1024
MAX_REASON_BYTES = 123
EMPTY_CLOSE = b"\x88\x00"

_SMALL_HEADS = {
    opcode | fin: [bytes((opcode | fin, length)) for length in range(126)] for opcode in _KNOWN for fin in (0, 128)
}

_LENGTH_AND_MASK = Struct("!H4s").unpack_from
_MIDDLE_HEAD, _LARGE_HEAD = Struct("!BBH").pack, Struct("!BBQ").pack

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


Piece = tuple[int, bool, bytes]
"""Opcode, FIN, payload: a frame, or a part of a large one (CONTINUATION for all but a message's first piece)."""


class FrameParser:
    """Bytes in, pieces out. Checks masking, reserved bits, lengths, control frames and continuation.

    Feed it until it raises; after `PeerWireError` (whose `.close` is the code to send) it must be dropped.
    """

    __slots__ = ("_fin", "_is_inside", "_left", "_mask", "_masked", "_opcode", "_rest", "_wanted")

    def __init__(self, *, masked: bool = True) -> None:
        self._masked = masked  # frames from clients are masked, those from servers are not
        self._rest: bytearray | None = None  # the beginning of a frame whose end did not come yet
        self._wanted = 0  # bytes to come before it is worth another look
        self._is_inside = False  # between the first and the last frame of a message
        self._left = 0  # bytes still to come of a large frame
        self._mask = b""
        self._opcode = 0
        self._fin = True

    def feed(self, data: bytes | memoryview) -> list[Piece]:
        """The pieces that `data` completes. Raises PeerWireError on the first broken frame."""
        pieces: list[Piece] = []
        at = 0 if self._rest is None else self._take_rest(data, pieces)
        end = len(data)
        if self._masked and not (self._is_inside or self._left):
            if at + 1 < end and data[at + 1] < 254:  # small frames: slices of bytes cost less than views
                data = bytes(data)
            at = self._take_usual(data, at, end, pieces)
        if at < end:
            at = self._take(data, at, end, pieces)
            if at < end:
                self._rest = bytearray(data[at:])
        return pieces

    def _take_rest(self, data: bytes | memoryview, pieces: list[Piece]) -> int:
        """Complete the frame that the last read has cut, copying no more than that. The place after it."""
        rest, at = self._rest, 0
        while rest is not None:
            part = data[at : at + self._wanted]
            rest += part
            at += len(part)
            if len(part) < self._wanted:
                self._wanted -= len(part)
                break
            if self._take(memoryview(rest), 0, len(rest), pieces):
                self._rest = rest = None
        return at

    def _take(self, buffer: bytes | memoryview, at: int, end: int, pieces: list[Piece]) -> int:
        """All frames that are whole, and parts of large ones. The place after them."""
        while at < end:
            if self._left:
                stop = min(at + self._left, at + WHOLE_FRAME_BYTES, end)  # no client need take a larger frame
                pieces.append(self._take_part(buffer[at:stop]))
                at = stop
                continue
            start = at + 2
            if start <= end:
                first, second = buffer[at], buffer[at + 1]
                opcode, length = first & 15, second & 127
                self._check(first, second, opcode, length)
                width = 0 if length < 126 else 2 if length == 126 else 8
                start += width + (4 if self._masked else 0)
            if start > end:
                self._wanted = start - end
                break
            if width:
                length = self._read_length(buffer, at + 2, width)
            mask = bytes(buffer[start - 4 : start]) if self._masked else b""
            if length > WHOLE_FRAME_BYTES:
                self._left, self._fin, self._opcode, self._mask = length, first >= 128, opcode, mask
                self._is_inside = True
                at = start
                continue
            stop = start + length
            if stop > end:
                self._wanted = stop - end
                break
            payload = buffer[start:stop]
            pieces.append((opcode, first >= 128, _unmask(payload, mask) if mask else bytes(payload)))
            if opcode < 8:
                self._is_inside = first < 128
            at = stop
            if self._masked and not self._is_inside:
                at = self._take_usual(buffer, at, end, pieces)
        return at

    @staticmethod
    def _take_usual(buffer: bytes | memoryview, at: int, end: int, pieces: list[Piece]) -> int:
        """The common case, many to a read: whole messages in one masked frame below 64 KiB. The place after them."""
        while end - at >= 8:
            first, second = buffer[at], buffer[at + 1]
            if first != 0x82 and first != 0x81:
                break
            if second < 254:
                start = at + 6
                stop = start + second - 128
                if second < 128 or stop > end:
                    break
                mask = buffer[at + 2 : start]
            else:
                length, mask = _LENGTH_AND_MASK(buffer, at + 2)
                start = at + 8
                stop = start + length
                if second == 255 or length < 126 or stop > end:
                    break
            pieces.append((first & 15, True, _unmask(buffer[start:stop], mask)))
            at = stop
        return at

    @staticmethod
    def _read_length(buffer: bytes | memoryview, at: int, width: int) -> int:
        length = int.from_bytes(buffer[at : at + width], "big")
        if length >> 63 or length < (126 if width == 2 else 65536):
            raise PeerWireError("The frame's length is not encoded as RFC 6455, 5.2 demands.")
        return length

    def _check(self, first: int, second: int, opcode: int, length: int) -> None:
        if first & 0x70:
            raise PeerWireError("A reserved bit is set, but no extension was agreed.")
        if opcode not in _KNOWN:
            raise PeerWireError(f"Opcode {opcode} is not defined.")
        if (second >= 128) is not self._masked:
            raise PeerWireError("Frames from a client must be masked, frames from a server must not.")
        if opcode >= 8:
            if length > 125 or first < 128:
                raise PeerWireError("A control frame must be whole and hold at most 125 bytes.")
        elif (opcode == CONTINUATION) is not self._is_inside:
            raise PeerWireError("A continuation frame without a message, or a new message inside another.")

    def _take_part(self, part: bytes | memoryview) -> Piece:
        size = len(part)
        if self._masked:
            payload = _unmask(part, self._mask)
            turn = size & 3
            self._mask = self._mask[turn:] + self._mask[:turn]
        else:
            payload = bytes(part)
        self._left -= size
        fin = self._fin and not self._left
        piece = (self._opcode, fin, payload)
        self._opcode = CONTINUATION
        if not self._left:
            self._is_inside = not fin
        return piece


class MessageReader:
    """Pieces in, whole messages out, each at most `max_bytes`. Control frames come out as they are."""

    __slots__ = ("_max_bytes", "_opcode", "_parser", "_parts")

    def __init__(self, max_bytes: int, *, masked: bool = True) -> None:
        self._parser = FrameParser(masked=masked)
        self._max_bytes = max_bytes
        self._parts = bytearray()  # of an unfinished message; fragments may be many and tiny
        self._opcode = 0

    def feed(self, data: bytes | memoryview) -> list[tuple[int, bytes]]:
        """The messages that `data` completes, as (opcode, payload). Raises PeerWireError, PayloadTooLarge (1009)."""
        messages: list[tuple[int, bytes]] = []
        max_bytes = self._max_bytes
        for opcode, fin, payload in self._parser.feed(data):
            if opcode >= 8 or (fin and opcode and len(payload) <= max_bytes):
                messages.append((opcode, payload))
                continue
            if opcode:
                self._opcode = opcode
            if len(self._parts) + len(payload) > max_bytes:
                raise PayloadTooLarge(f"A message here may hold at most {max_bytes} bytes.")
            self._parts += payload
            if fin:
                messages.append((self._opcode, bytes(self._parts)))
                self._parts.clear()
        return messages


def frame_head(opcode: int, length: int, fin: bool = True) -> bytes:
    """The head of an unmasked frame."""
    first = opcode | 128 if fin else opcode
    if length < 126:
        return _SMALL_HEADS[first][length]
    if length < 65536:
        return _MIDDLE_HEAD(first, 126, length)
    return _LARGE_HEAD(first, 127, length)


def encode_frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A whole unmasked frame, as a server sends it."""
    return frame_head(opcode, len(payload), fin) + payload


def encode_fragments(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A message, or the next part of one, in frames of at most `WHOLE_FRAME_BYTES`: Jetty's clients take no larger."""
    if len(payload) <= WHOLE_FRAME_BYTES:
        return encode_frame(opcode, payload, fin)
    frames = bytearray()
    for at in range(0, len(payload), WHOLE_FRAME_BYTES):
        part = payload[at : at + WHOLE_FRAME_BYTES]
        frames += encode_frame(CONTINUATION if at else opcode, part, fin and at + len(part) == len(payload))
    return bytes(frames)


def encode_close(code: int, reason: str = "") -> bytes:
    """A Close frame; the reason is cut to 123 bytes of UTF-8. 1005 (no status) is an empty Close."""
    if code == 1005:
        return EMPTY_CLOSE
    text = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return encode_frame(CLOSE, code.to_bytes(2, "big") + text)


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame's payload; 1005 when empty. Raises PeerWireError."""
    if not payload:
        return 1005, ""
    if len(payload) < 2:
        raise PeerWireError("A Close frame holds no payload or at least a two-byte code.")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        raise PeerWireError(f"Close code {code} may not be sent.")
    try:
        return code, payload[2:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise PeerWireError("The close reason is not UTF-8.", close=1007) from error


def is_utf8(payload: bytes) -> bool:
    """Whether a text message is what RFC 6455, 5.6 demands."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()
