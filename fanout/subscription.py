"""A subscription, the mouth of the connection that holds it, and what that mouth answers.

`Subscription.accepts` is the single gate to events: live plans, replay and long poll all ask it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from fanout.address import Pattern
from fanout.event import Event
from fanout.filters import Filter


class Verdict(Enum):
    """What a connection answers when it is offered a tick's bytes."""

    QUEUED = "queued"
    BEHIND = "behind"  # slow; it catches up from history by itself
    DROPPED = "dropped"


class Encoding(Protocol):
    """How events become what one kind of outlet is offered; a hashable singleton, so that it is made once for all.

    Connections are offered bytes; whoever has to look at each event is offered the events (`EVENTS`).
    """

    @property
    def name(self) -> str: ...

    def encode(self, event: Event) -> Any:
        """One event, framed."""
        ...

    def join(self, parts: list[Any]) -> Any:
        """Several encoded events as the one thing that is offered; it has a length."""
        ...


class _Events:
    """Events as they are."""

    name = "events"

    def encode(self, event: Event) -> Event:
        return event

    def join(self, parts: list[Event]) -> list[Event]:
        return parts


EVENTS = _Events()
"""For outlets that take a list of events, all that are due to them in the tick, in increasing offset."""


class Outlet(Protocol):
    """One connection's mouth. Hashed by identity. Its methods may end its subscriptions, but not add any."""

    @property
    def encoding(self) -> Encoding: ...

    def admit(self) -> Verdict:
        """What `offer` would answer now. Asked before bytes are made that perhaps nobody takes.

        Over budget with the policy `close`, it begins the close and answers DROPPED; so does `offer`.
        """
        ...

    def offer(self, data: Any) -> Verdict:
        """What the tick brings, offered at most once per tick: queued, if the backlog before them allows it."""
        ...

    def skip(self, relay: str, first: int, last: int) -> None:
        """Told after DROPPED and BEHIND: of this relay key, events between these offsets (inclusive) were not given."""
        ...


@dataclass(slots=True, eq=False)
class Subscription:
    """A pattern held by a connection. Identity is the object.

    `relay` is the key of the relay that owns the pattern's addresses. `may_receive` is the permission
    check per concrete address; give equal callables to subscriptions with one grant and the engine asks
    each only once. `is_exclusive` promises that the outlet has this one subscription and never another.
    `filter` narrows it to some of the pattern's events; those with equal ones have them asked only once.
    `holder` is whoever has it, for those who ask who subscribes; the engine does not.
    """

    relay: str
    pattern: Pattern
    outlet: Outlet
    may_receive: Callable[[str], bool]
    is_exclusive: bool = False
    filter: Filter | None = None
    holder: object = None

    def accepts(self, event: Event, now: float) -> bool:
        """Whether it gets this event of its relay at Unix time `now`, which need not be when it was published.

        The event has not expired, pattern and filter match, and the address is permitted.
        """
        address = event.address
        if now >= event.expires_at or not (self.pattern.matches(address) and self.may_receive(address)):
            return False
        return self.filter is None or self.filter.matches(event)
