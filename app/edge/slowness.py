"""Slow subscribers and what they lost, told as events: `-/sys/status/{relay}`.

A peer that stalls may overrun its budget at every event. So it is told by episodes: one event when a peer is found too
slow, one when it first loses something, and one with the totals when it is well again, found by a sweep, or gone.
Nothing is told of who reads too slowly what is told here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from app.edge.presence import Member
from app.edge.system import STATUS, tell
from fanout.history import Cursor

if TYPE_CHECKING:
    from app.edge.feeds.mouth import Mouth
    from app.edge.realm import Realm

State = Literal["closed", "dropped", "behind", "blocked"]
"""What a slow peer came to."""


class Subscriber(Member, Protocol):
    """A subscription that is fed by a mouth."""

    @property
    def is_over(self) -> bool: ...

    @property
    def is_live(self) -> bool:
        """Whether it gets what comes as it comes."""


@dataclass(slots=True)
class _Episode:
    """What has happened since a peer was found too slow; cursors hold what was lost in between."""

    subscribers: Sequence[Subscriber]
    since: float
    gaps: int = 0
    from_: Cursor | None = None
    to: Cursor | None = None


class Slowness:
    """Tells of the slow subscribers of one realm."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._episodes: dict[Mouth, _Episode] = {}

    def begin(self, mouth: Mouth, state: State, subscribers: Sequence[Subscriber]) -> None:
        """A peer owes more than its budget, and this is what it comes to; told unless it was known."""
        if not self._is_followed(mouth) or (mouth in self._episodes and state != "closed"):
            return
        self._tell("slow", mouth, subscribers, {"state": state, "policy": mouth.policy, **_debt(mouth)})
        if state == "closed":
            self._episodes.pop(mouth, None)
        else:
            self._episodes[mouth] = _Episode(subscribers, self._realm.now())

    def note_gap(self, mouth: Mouth, subscribers: Sequence[Subscriber], from_: Cursor, to: Cursor, why: str) -> None:
        """A subscriber was told of a gap; told unless it is one more of the same episode."""
        if not self._is_followed(mouth):
            return
        if (episode := self._episodes.get(mouth)) is not None:
            episode.gaps += 1
            episode.from_, episode.to = episode.from_ or from_, to
            if episode.gaps > 1:
                return
        self._tell("gap", mouth, subscribers, {"why": why, "from": str(from_), "to": str(to)})

    def sweep(self) -> None:
        """Who has been slow and is not any more?"""
        for mouth, episode in list(self._episodes.items()):
            there = [each for each in episode.subscribers if not each.is_over]
            if there and (mouth.is_slow or not all(each.is_live for each in there)):
                continue
            del self._episodes[mouth]
            about: dict[str, Any] = {"state": "recovered" if there else "gone", "policy": mouth.policy}
            about |= {"seconds": round(self._realm.now() - episode.since, 3), "gaps": episode.gaps}
            if episode.gaps:
                about |= {"from": str(episode.from_), "to": str(episode.to)}
            self._tell("slow", mouth, there or episode.subscribers, about)

    def _is_followed(self, mouth: Mouth) -> bool:
        return not mouth.relay.is_system and self._realm.remembers(self._realm.system)

    def _tell(self, type: str, mouth: Mouth, subscribers: Sequence[Subscriber], about: dict[str, Any]) -> None:
        about["relay"] = mouth.relay.name
        if subscribers:
            first = subscribers[0]
            described = self._realm.presence.describe(first, "left" if first.is_over else None)
            about |= {name: described[name] for name in _NAMES if name in described}
            about["subscriptions"] = len(subscribers)
        tell(self._realm, f"{STATUS}/{mouth.relay.name}", f"fanway.subscriber.{type}", about)


_NAMES = ("id", "pattern", "transport", "holder", "remoteAddress", "session")


def _debt(mouth: Mouth) -> dict[str, int]:
    return {"owed": mouth.outflow.backlog(), "budget": mouth.budget}
