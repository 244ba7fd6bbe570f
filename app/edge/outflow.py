"""What one connection still owes its peer, in bytes, plain or under TLS; and how sockets are tuned.

Under TLS a transport reports nothing of the ciphertext it has handed down, so writes are cut small and
counted since the last time the transport said that it had drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

HIGH_BYTES = 64 * 1024
LOW_BYTES = 16 * 1024
TLS_SLICE_BYTES = 64 * 1024
UNJOINED_BYTES = 4096
USER_TIMEOUT_SECONDS = 120


class Outflow:
    """The writing half of a transport. Its protocol passes `pause_writing` and `resume_writing` on."""

    __slots__ = ("_high", "_since_resumed", "is_paused", "is_tls", "transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        self._since_resumed = 0
        self._high = HIGH_BYTES
        self.is_paused = False
        # Queue bytes; one system call if the peer keeps up. Kept, because it is called for every connection and tick.
        self.write: Callable[[bytes], None] = self._write_sliced if self.is_tls else transport.write
        transport.set_write_buffer_limits(high=HIGH_BYTES, low=LOW_BYTES)

    def _write_sliced(self, data: bytes) -> None:
        self._since_resumed += len(data)
        if len(data) <= TLS_SLICE_BYTES:
            self.transport.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), TLS_SLICE_BYTES):
            self.transport.write(view[start : start + TLS_SLICE_BYTES])

    def lower_mark(self, high: int) -> None:
        """From now be paused at a backlog of `high` bytes already; the least that anybody asked for counts."""
        if high < self._high:
            self._high = high
            self.transport.set_write_buffer_limits(high=high, low=high // 4)

    def write_all(self, parts: list[bytes], size: int) -> None:
        """Queue `parts`, of about `size` bytes in all: joined, or as they are if they are so large that a copy costs
        more than the system's way through a list."""
        if self.is_tls or size < UNJOINED_BYTES * len(parts):
            self.write(b"".join(parts))
        else:
            self.transport.writelines(parts)

    def backlog(self) -> int:
        """Bytes owed; under TLS an upper bound while the transport is paused."""
        if not self.is_tls:
            return self.transport.get_write_buffer_size()
        if self.is_paused:
            return self._since_resumed
        self._since_resumed = 0
        return self.transport.get_write_buffer_size()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._since_resumed = 0


def tune_listening(sock: socket.socket) -> None:
    """TCP keep-alive and a user timeout, so that a vanished peer is noticed, for all that `sock` will accept.

    Set once here, because accepted sockets inherit it (tcp(7)) and five system calls each would be a tenth of
    what a connection costs. A user timeout cuts a peer that acknowledges nothing for so long.
    """
    level = socket.IPPROTO_TCP
    for name, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_SECONDS * 1000),
    ):
        with contextlib.suppress(OSError, AttributeError):  # no TCP, or an option that this system has not
            sock.setsockopt(level, getattr(socket, name), value)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def be_patient(transport: asyncio.Transport) -> None:
    """No user timeout: for a spliced socket, whose reader may rightly pause for hours."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
