"""A transport without a network, for peers that read as a test tells them to."""

from __future__ import annotations

from collections.abc import Callable


class Pipe:
    """A transport whose peer takes what it is told to take; it signals its marks as asyncio's do."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.taken = bytearray()
        self.high, self.low = 64 * 1024, 16 * 1024
        self.is_paused = False
        self.on_writable: Callable[[bool], None] = lambda is_writable: None

    def get_extra_info(self, name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.high, self.low = high, low

    def get_write_buffer_size(self) -> int:
        return len(self.pending)

    def write(self, data: bytes) -> None:
        self.pending += data
        if len(self.pending) > self.high and not self.is_paused:
            self.is_paused = True
            self.on_writable(False)

    def take(self, count: int) -> None:
        self.taken += self.pending[:count]
        del self.pending[:count]
        if self.is_paused and len(self.pending) <= self.low:
            self.is_paused = False
            self.on_writable(True)
