"""Tickets: short-lived stand-ins for a token, for places where a token should not be written, such as a URL.

A ticket is random text that means something to this gateway only, while it runs. It lets its holder do at most what
the token behind it does, and ends with that.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.access.grant import Grant, Limit
from app.access.sas import INVALID_SIGNATURE
from app.errors import ClaimMissing, QuotaExceeded, TokenExpired, Unauthorized
from app.namespace import Mark, Namespace

PREFIX = "fanway-ticket-"
MAX_TICKETS = 10_000  # of one namespace at a time
MAX_SECONDS = 3600.0
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket stands for; `usable_until` is when it can no longer open anything, in unix seconds."""

    grant: Grant
    usable_until: float
    is_single: bool


def is_ticket(text: str) -> bool:
    return text.startswith(PREFIX)


def mark_of(text: str) -> Mark:
    """The name under which this very token or ticket may be revoked."""
    return Mark("token", hashlib.sha256(text.encode()).hexdigest())


class Tickets:
    """The tickets of all namespaces, in memory. `clock` is unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[Namespace, dict[bytes, Ticket]] = {}

    def issue(
        self, grant: Grant, ends_at: float, seconds: float, limit: Limit | None = None, *, is_single: bool = False
    ) -> tuple[str, Ticket]:
        """A ticket that can be used for `seconds`; what it opens ends at `ends_at`. `limit` narrows the grant.

        Raises `ClaimMissing` for the holder of a ticket, `QuotaExceeded`.
        """
        if grant.by_ticket:
            raise ClaimMissing("A ticket gives no tickets; ask with a token.")
        now = self._clock()
        held = self._held.setdefault(grant.namespace, {})
        if len(held) >= MAX_TICKETS:
            for digest in [digest for digest, ticket in held.items() if ticket.usable_until < now]:
                del held[digest]
        if len(held) >= MAX_TICKETS:
            raise QuotaExceeded(f"There are {MAX_TICKETS} tickets in use.", retry_after=10)
        text = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        limits = grant.limits if limit is None else (*grant.limits, limit)
        narrowed = replace(
            grant, expires_at=ends_at, limits=limits, marks=(*grant.marks, mark_of(text)), by_ticket=True
        )
        ticket = Ticket(narrowed, min(now + seconds, ends_at), is_single)
        held[_digest(text)] = ticket
        return text, ticket

    def take(self, text: str, namespace: Namespace) -> Grant:
        """The grant behind a ticket, for one call. Raises `Unauthorized` for one that nobody issued here or that was
        for a single use, `TokenExpired` when its time is over."""
        held = self._held.get(namespace, {})
        digest = _digest(text)
        ticket = held.get(digest)
        if ticket is None:
            raise Unauthorized(INVALID_SIGNATURE)
        if self._clock() > ticket.usable_until:
            del held[digest]
            raise TokenExpired("ExpiredToken: The ticket is expired.")
        if ticket.is_single:
            del held[digest]
        return ticket.grant

    def forget(self, namespace: Namespace) -> None:
        """The namespace is gone."""
        self._held.pop(namespace, None)


def _digest(text: str) -> bytes:
    """Tickets are found by this, so that how long the search takes says nothing of them."""
    return hashlib.sha256(text.encode()).digest()
