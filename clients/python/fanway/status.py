"""The state of what is kept up across reconnects: a listener, a subscription.

The three states are those of Azure's SDKs (`IConnectionStatus`): connecting, online, offline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import TypeVar

log = logging.getLogger("fanway")


class ConnectionState(StrEnum):
    """Connecting: not there yet, or lost and trying again. Online. Offline: closed, or given up for good."""

    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"


C = TypeVar("C", bound=Callable[[ConnectionState], None])


class ConnectionStatus:
    """The state now, why it was left last, and how to follow it. Begins as connecting."""

    def __init__(self) -> None:
        self._state = ConnectionState.CONNECTING
        self._last_error: Exception | None = None
        self._callbacks: list[Callable[[ConnectionState], None]] = []
        self._followers: list[asyncio.Queue[ConnectionState]] = []

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def is_online(self) -> bool:
        return self._state is ConnectionState.ONLINE

    @property
    def last_error(self) -> Exception | None:
        """Why it is not online, when that was no wish of ours; None while it is."""
        return self._last_error

    def on_state(self, callback: C) -> C:
        """Have `callback` called with each new state; also a decorator. What it raises is logged."""
        self._callbacks.append(callback)
        return callback

    async def states(self) -> AsyncIterator[ConnectionState]:
        """The state now, then each new one; ends after offline, from which nothing returns."""
        changes: asyncio.Queue[ConnectionState] = asyncio.Queue()
        self._followers.append(changes)
        try:
            state = self._state
            yield state
            while state is not ConnectionState.OFFLINE:
                state = await changes.get()
                yield state
        finally:
            self._followers.remove(changes)

    def _become(self, state: ConnectionState, error: Exception | None = None) -> None:
        """The state is this now, because of that. From offline nothing returns."""
        if self._state is ConnectionState.OFFLINE:
            return
        self._last_error = error
        if state is self._state:
            return
        self._state = state
        for changes in self._followers:
            changes.put_nowait(state)
        for callback in self._callbacks:
            try:
                callback(state)
            except Exception:
                log.exception("a callback for the connection's state failed")
