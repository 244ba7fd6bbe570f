"""Fanway in Python: publish, subscribe, listen, ask and open at a self-hosted relay.

`async with fanway.connect() as relay:` finds the gateway; see `Relay` for the verbs.
"""

from __future__ import annotations

from fanway.asking import Answer, Asking, ListenerAnswer, Summary
from fanway.errors import (
    AuthorizationFailedError,
    ConfigurationError,
    ConnectionClosedError,
    ConnectionLostError,
    EndpointAlreadyExistsError,
    EndpointNotFoundError,
    InvalidAddressError,
    QuotaExceededError,
    RelayError,
    RelayTimeoutError,
    ServerBusyError,
    UnknownDeliveryError,
)
from fanway.event import Event, Receipt
from fanway.exchange import Request, Response
from fanway.relay import Relay, connect
from fanway.socket import Socket
from fanway.status import ConnectionState
from fanway.subscription import Subscription
from fanway.tickets import Ticket

__all__ = [
    "Answer",
    "Asking",
    "AuthorizationFailedError",
    "ConfigurationError",
    "ConnectionClosedError",
    "ConnectionLostError",
    "ConnectionState",
    "EndpointAlreadyExistsError",
    "EndpointNotFoundError",
    "Event",
    "InvalidAddressError",
    "ListenerAnswer",
    "QuotaExceededError",
    "Receipt",
    "Relay",
    "RelayError",
    "RelayTimeoutError",
    "Request",
    "Response",
    "ServerBusyError",
    "Socket",
    "Subscription",
    "Summary",
    "Ticket",
    "UnknownDeliveryError",
    "connect",
]
