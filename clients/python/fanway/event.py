"""What is published and received: Event, Receipt, and how Python values become payloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fanway.errors import UnknownDeliveryError

Data = Any  # what `publish` and `ask` take: bytes and str as they are, everything else as JSON


class Receipt(NamedTuple):
    """What became of a publish: `matched = queued + behind + dropped`, counted in subscriptions.

    `duplicate`: it was published before, and has its `cursor` from then. An event that waits for its time has none yet:
    it is `due` (RFC 3339), and `number` is what it is cancelled by.
    """

    id: str
    cursor: str | None = None
    matched: int = 0
    queued: int = 0
    behind: int = 0
    dropped: int = 0
    duplicate: bool = False
    due: str | None = None
    number: int | None = None


class Delivery(Protocol):
    """How an event that wants to be acknowledged is."""

    async def ack(self) -> None: ...

    async def nack(self, delay: float | None, reason: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a subscription.

    `cursor` resumes after it; `missed` is 0 unless history was cut before it, then the number of
    the relay's events known to be missing, at least 1. Of a durable subscription `attempt` counts its
    deliveries, from 1, and `deadline` says until when (unix seconds) this one is to be acknowledged.
    """

    address: str
    cursor: str
    id: str
    data: bytes = field(repr=False)
    is_text: bool = False
    type: str | None = None
    source: str | None = None
    time: str | None = None
    content_type: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    missed: int = 0
    attempt: int = 1
    deadline: float | None = None
    _delivery: Delivery | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; raises UnicodeDecodeError if it is not."""
        return self.data.decode()

    def json(self) -> Any:
        """The payload read as JSON; raises ValueError if it is not."""
        return json.loads(self.data)

    async def ack(self) -> None:
        """Say that it was handled and need not come again; returns when the gateway has heard it.

        Does nothing if the connection it came by is gone: then it comes again. Raises UnknownDeliveryError when it
        was acknowledged or given back before, its deadline has passed, or it is of no durable subscription.
        """
        await self._known_delivery().ack()

    async def nack(self, *, delay: float | None = None, reason: str | None = None) -> None:
        """Give it back: it comes again, to whoever's turn it is, after `delay` seconds (1 unless said).

        `reason`, at most 256 characters, is what its dead letter says if this was the last attempt. Raises as `ack`.
        """
        await self._known_delivery().nack(delay, reason)

    def _known_delivery(self) -> Delivery:
        if self._delivery is None:
            raise UnknownDeliveryError("Only events of durable subscriptions are acknowledged.")
        return self._delivery


def as_payload(data: Data, content_type: str | None = None) -> tuple[bytes, bool, str | None]:
    """(bytes, is text, content type) of a value: bytes and str verbatim, everything else as JSON."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), False, content_type
    if isinstance(data, str):
        return data.encode(), True, content_type
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(), True, content_type or "application/json"
