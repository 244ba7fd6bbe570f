"""What one client published to a relay that is held up: it waits for room, in its order."""

from __future__ import annotations

from collections.abc import Iterable

from app.namespace import Relay

MUCH_BYTES = 64 * 1024  # before the client is read no further


class Waiting:
    """Messages that wait until `relay` has room, and the peer's Close, if it came behind them."""

    __slots__ = ("_size", "close", "messages", "relay")

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.messages: list[tuple[int, bytes]] = []
        self.close: bytes | None = None
        self._size = 0

    def add(self, messages: Iterable[tuple[int, bytes]]) -> None:
        for message in messages:
            self.messages.append(message)
            self._size += len(message[1])

    @property
    def is_much(self) -> bool:
        return self._size > MUCH_BYTES
