"""The preamble of a `net.tcp` session, as far as its via is concerned ([MC-NMF] 2.2.3), without I/O.

WCF services compare a session's via with their own address. Behind a relay it is the relay's, so whoever stands
beside the service replaces it. Nothing else of the stream is looked at.
"""

from __future__ import annotations

VIA_BYTES = 2048  # what .NET's services take
_BEFORE_VIA = ((0x00, 3), (0x01, 2))  # version and mode: type, length of the whole record
_VIA = 0x02
_SIZE_BYTES = 5


class ViaRewriter:
    """Passes a stream on, the via of the preamble that it begins with replaced by `via`.

    A stream that begins otherwise is passed on untouched: to refuse it is the service's business.
    """

    def __init__(self, via: str) -> None:
        self._via = via.encode()
        self._held: bytes | None = b""

    def feed(self, data: bytes) -> bytes:
        """What to pass on of the stream so far: nothing, until the via is complete."""
        if self._held is None:
            return data
        self._held += data
        found = _find_via(self._held)
        if found is None:
            return b""
        whole, self._held = self._held, None
        start, end = found
        if not end:
            return whole
        return whole[:start] + encode_size(len(self._via)) + self._via + whole[end:]


def encode_size(size: int) -> bytes:
    """A size, seven bits to a byte, the lowest first."""
    coded = bytearray()
    while size > 0x7F:
        coded.append(size & 0x7F | 0x80)
        size >>= 7
    coded.append(size)
    return bytes(coded)


def _find_via(data: bytes) -> tuple[int, int] | None:
    """Where the via's size begins, and where the via ends, which is 0 if none can follow.

    None as long as it is not complete.
    """
    at = 0
    for kind, length in _BEFORE_VIA:
        if len(data) > at and data[at] != kind:
            return 0, 0
        at += length
    if len(data) <= at:
        return None
    if data[at] != _VIA:
        return 0, 0
    size, start = 0, at + 1
    for index in range(_SIZE_BYTES):
        if len(data) <= start + index:
            return None
        byte = data[start + index]
        size |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            break
    if byte & 0x80 or size > VIA_BYTES:
        return 0, 0
    end = start + index + 1 + size
    return (start, end) if len(data) >= end else None
