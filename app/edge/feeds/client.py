"""The client of a subscription, as those see it who ask who is there."""

from __future__ import annotations

from typing import Protocol

from app.errors import RelayError
from fanout.subscription import Encoding

_TRANSPORTS = {
    "sse-data": "sse",
    "sse-cloudevent": "sse",
    "cloudevents-batch": "long-poll",
    "bare": "websocket",
    "session": "fanway.v1",
}


class Client(Protocol):
    """The connection that a subscription is fed to."""

    @property
    def session_id(self) -> str | None:
        """The session, if it is one."""

    def peer_address(self) -> str:
        """Where it comes from."""

    def on_unreadable(self, error: RelayError) -> None:
        """The history that is to be replayed cannot be read: the connection ends."""


def transport_of(encoding: Encoding) -> str:
    """The transport of an encoding, by the name that is told to people."""
    return _TRANSPORTS.get(encoding.name, encoding.name)
