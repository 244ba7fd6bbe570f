"""How connections end that no error ends: codes, words, and whether the client should come back."""

from __future__ import annotations

from typing import NamedTuple


class Close(NamedTuple):
    """How a connection ends: a WebSocket close code, words, and whether the client should come back."""

    code: int
    reason: str
    reconnect: bool


NORMAL = Close(1000, "", False)
ENTITY_GONE = Close(1001, "The relay was deleted.", False)
RELAY_MOVED = Close(1012, "The address belongs to another relay now.", True)
DRAINING = Close(1012, "The gateway is restarting.", True)
KEY_REVOKED = Close(1008, "The key or rule behind this connection is gone.", False)
PEER_REFUSED = Close(1008, "Unauthorized access.", False)
TOKEN_REVOKED = Close(1008, "The token behind this connection was revoked.", False)
TOKEN_EXPIRED = Close(1008, "ExpiredToken: The token is expired.", True)
SLOW_CONSUMER = Close(1013, "Slow consumer: more bytes were owed than the budget allows.", True)
BLOCKING_CONSUMER = Close(1013, "Slow consumer: it held up publishers, and took too little meanwhile.", True)
UNRESPONSIVE = Close(1011, "The peer did not answer pings.", True)
SENDER_LEFT = Close(1001, "The sender has left.", False)
RECYCLED = Close(1011, "NameRenewalFailed: The control channel's life is over.", True)
REPLACED = Close(1008, "Another listener with the same sb-hc-id took this one's place.", False)

REVOCATIONS = (TOKEN_REVOKED, KEY_REVOKED, PEER_REFUSED)
"""Ends after which a peer gets nothing more of what was queued for it."""

CLOSES: dict[str, Close] = {
    "NORMAL": NORMAL,
    "ENTITY_GONE": ENTITY_GONE,
    "RELAY_MOVED": RELAY_MOVED,
    "DRAINING": DRAINING,
    "KEY_REVOKED": KEY_REVOKED,
    "PEER_REFUSED": PEER_REFUSED,
    "TOKEN_REVOKED": TOKEN_REVOKED,
    "TOKEN_EXPIRED": TOKEN_EXPIRED,
    "SLOW_CONSUMER": SLOW_CONSUMER,
    "BLOCKING_CONSUMER": BLOCKING_CONSUMER,
    "UNRESPONSIVE": UNRESPONSIVE,
    "SENDER_LEFT": SENDER_LEFT,
    "RECYCLED": RECYCLED,
    "REPLACED": REPLACED,
}
