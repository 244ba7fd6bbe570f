"""Tickets: `POST /-/tickets`, by which a browser is given something that may stand in a URL (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import httpx

from fanway.channel import innermost, unreachable
from fanway.connect import Gateway
from fanway.errors import ConnectionLostError, RelayTimeoutError, from_answer


class Ticket(NamedTuple):
    """`text` is what goes into `?sb-hc-token=`, until `usable_until`; what it opens ends at `ends_at`. Unix seconds."""

    text: str
    usable_until: float
    ends_at: float

    def __str__(self) -> str:
        return self.text


async def ask_ticket(
    gateway: Gateway,
    client: httpx.AsyncClient,
    seconds: float | None,
    until: float | None,
    once: bool,
    allow: Mapping[str, Iterable[str]] | None,
) -> Ticket:
    """One ticket for one's own token. Raises RelayError."""
    wish = wish_of(seconds, until, once, allow)
    headers = {"ServiceBusAuthorization": gateway.token()}
    try:
        answer = await client.post(f"{gateway.url}/-/tickets", json=wish, headers=headers)
    except httpx.TimeoutException:
        raise RelayTimeoutError(f"{gateway.url} did not answer in time.") from None
    except httpx.RequestError as error:
        raise unreachable(gateway.url, innermost(error)) from None
    if answer.is_error:
        raise from_answer(answer.status_code, answer.reason_phrase, answer.content, answer.headers.get("retry-after"))
    try:
        given = answer.json()
        return Ticket(str(given["ticket"]), float(given["usable_until"]), float(given["ends_at"]))
    except (ValueError, TypeError, KeyError):
        raise ConnectionLostError(f"{gateway.url} answered something that is no ticket.") from None


def wish_of(
    seconds: float | None, until: float | None, once: bool, allow: Mapping[str, Iterable[str]] | None
) -> dict[str, Any]:
    """The body of the call: only what is wished."""
    wish: dict[str, Any] = {"seconds": seconds, "until": until, "once": once or None}
    if allow is not None:
        wish["allow"] = {action: list(patterns) for action, patterns in allow.items()}
    return {name: value for name, value in wish.items() if value is not None}
