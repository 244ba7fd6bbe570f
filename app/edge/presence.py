"""Who is there, told as events: `-/sys/presence/{place}` tells everybody who listens or subscribes, and then who comes
and goes.

The place is a listener's address, or the part of a subscriber's pattern before its first wildcard, so that
`-/sys/presence/orders/**` tells of all at and below `orders`.

Whoever follows gets a roll call first. It is a small stream with an epoch of its own, which no history has: a cursor
out of its midst cannot be honoured later, and so leads to a fresh one. Its end carries the true cursor, and what comes
after that follows in the same breath (`fanout.census` has the theory).

Nothing is made or kept before somebody follows, nor when nobody has for five minutes; while somebody does, everything
is, so that a cursor tells no lies.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from heapq import nsmallest
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from app.edge.system import system_event, tell
from app.namespace import Relay
from app.wire.native.query import Start
from fanout.address import Pattern
from fanout.census import Census
from fanout.event import Event, rfc3339
from fanout.history import Cursor
from fanout.subscription import Subscription

if TYPE_CHECKING:
    from app.edge.realm import Realm

PRESENCE = "-/sys/presence"
SLICE = 64  # members told in one turn of the loop
LINGER_SECONDS = 300.0  # as long as the history of system events reaches

Kind = Literal["listener", "subscriber"]
State = Literal["here", "joined", "left"]

_ROOT = tuple(PRESENCE.split("/"))


class Particulars(NamedTuple):
    """What only a connection that is still there knows of itself. `since` is unix seconds."""

    transport: str
    holder: str
    remote_address: str
    since: float
    names: Mapping[str, str | None]  # by which it is known beside others


class Member(Hashable, Protocol):
    """Somebody who is there. Hashed by identity; `number` is given by `Presence.come`, 0 until then."""

    number: int

    @property
    def kind(self) -> Kind: ...

    @property
    def relay(self) -> Relay: ...

    @property
    def place(self) -> str:
        """The address, or the text of the pattern."""

    @property
    def prefix(self) -> str:
        """The same up to its first wildcard."""

    @property
    def count(self) -> int:
        """How many of its kind are at just this place."""

    def particulars(self) -> Particulars: ...


class Presence:
    """Knows who is there in one realm, and tells it to those who follow."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._numbers = count(1)
        self._sharers: dict[Member, None] = {}  # in the order in which they came
        self._followings: set[Following] = set()
        self._followed_at = 0.0  # when somebody was last seen to follow
        self._told_after: int | None = None  # the offset after which the history holds all who came and went

    # --- who comes and goes ---

    def come(self, member: Member, *, is_sharer: bool = False) -> None:
        """Somebody is there now. Who subscribes to system addresses is not told of: it would be told of itself.

        `is_sharer`: it shares a subscription with others, so that neither roster nor router know it.
        """
        if member.relay.is_system:
            return
        member.number = next(self._numbers)
        if is_sharer:
            self._sharers[member] = None
        if self._told_after is not None:
            for following in self._followings:
                following.note(member, is_here=True)
            self._tell("joined", member)

    def go(self, member: Member) -> None:
        """Somebody has gone; to be called once. One that never came is no error."""
        self._sharers.pop(member, None)
        if member.number and self._told_after is not None:
            for following in self._followings:
                following.note(member, is_here=False)
            self._tell("left", member)

    def _tell(self, state: State, member: Member) -> None:
        tell(self._realm, address_of(member), f"fanway.presence.{state}", self.describe(member, state))

    # --- who follows ---

    def follow(self, relay: Relay, pattern: Pattern) -> Following | None:
        """Follow from now on, if such a subscription would be told of anybody; `end` it."""
        if not (relay.is_system and can_match(pattern)):
            return None
        if self._told_after is None:  # with an event of its own, so that no cursor from before stands at this place
            tell(self._realm, PRESENCE, "fanway.presence.followed", {"state": "followed"})
            self._told_after = self._realm.history(relay).head
        following = Following(self)
        self._followings.add(following)
        return following

    def leave(self, following: Following) -> None:
        """That one does not follow any more."""
        self._followings.discard(following)
        self._followed_at = self._realm.now()

    def reaches(self, offset: int) -> bool:
        """Whether everything after this offset was told."""
        return self._told_after is not None and offset >= self._told_after

    def sweep(self) -> None:
        """When nobody follows any more, and no cursor could resume, nothing more is told."""
        if not self._followings and self._realm.now() - self._followed_at > LINGER_SECONDS:
            self._told_after = None

    def call_roll(self) -> RollCall:
        """Tell everybody who is there now; keep it informed of who comes and goes meanwhile."""
        return RollCall(self, self._realm.new_epoch())

    def end_roll(self, call: RollCall) -> None:
        self._realm.discard_epoch(call.epoch)

    # --- what is known ---

    def members(self, relay: Relay | None = None) -> list[Member]:
        """Who is there, on one relay or in the whole namespace."""
        roster, router = self._realm.roster, self._realm.router
        keys = {*roster.relay_keys(), *router.relay_keys()} if relay is None else {relay.key}
        found = [sharer for sharer in self._sharers if relay in (None, sharer.relay)]
        for key in keys - {self._realm.system.key}:
            found += roster.listeners(key)
            for subscription in router.subscribers(key):
                holder = cast(Member | None, subscription.holder)
                if holder is not None and holder.number:
                    found.append(holder)
        return found

    def page(self, relay: Relay | None, kind: str | None, after: int, limit: int) -> dict[str, Any]:
        """How many there are, and those whose numbers come next above `after`, at most `limit`."""
        listeners = subscribers = 0
        found: list[Member] = []
        for member in self.members(relay):
            if member.kind == "listener":
                listeners += 1
            else:
                subscribers += 1
            if member.number > after and kind in (None, member.kind):
                found.append(member)
        chosen = nsmallest(limit, found, key=lambda member: member.number)
        return {
            "listenerCount": listeners,
            "subscriptionCount": subscribers,
            "members": [self.describe(member) for member in chosen],
            "next": chosen[-1].number if len(found) > limit else None,
        }

    def describe(self, member: Member, state: State | None = None) -> dict[str, Any]:
        """A member as data: never a secret. Of one who has left what is still known."""
        about: dict[str, Any] = {} if state is None else {"state": state}
        about |= {"kind": member.kind, "id": str(member.number), "relay": member.relay.name}
        about["address" if member.kind == "listener" else "pattern"] = member.place
        about["count"] = member.count
        if state != "left":
            transport, holder, remote_address, since, names = member.particulars()
            about |= {
                "transport": transport,
                "holder": holder,
                "remoteAddress": remote_address,
                "since": rfc3339(since),
            }
            about |= {name: value for name, value in names.items() if value}
        return about


class Following:
    """How one subscription follows: by a roll call first, where it cannot go on from a cursor."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self.call: RollCall | None = None

    def call_roll(self) -> Cursor:
        """Tell everybody, from the beginning; the place before the first."""
        self.end_roll()
        self.call = self._presence.call_roll()
        return self.call.cursor

    def end_roll(self) -> None:
        """Everybody was told, or need not be any more."""
        if self.call is not None:
            self._presence.end_roll(self.call)
            self.call = None

    def can_begin(self, start: Start) -> bool:
        """Whether it can do without a roll call: past events were asked for, or all that follows a cursor was told."""
        return not isinstance(start, Cursor) or self._presence.reaches(start.offset)

    def note(self, member: Member, *, is_here: bool) -> None:
        if self.call is not None:
            (self.call.census.come if is_here else self.call.census.go)(member)

    def end(self) -> None:
        self.end_roll()
        self._presence.leave(self)


class RollCall:
    """Everybody who is there as events of a stream of their own, slice by slice, and the event that ends it."""

    def __init__(self, presence: Presence, epoch: str) -> None:
        self._presence = presence
        self._count = 0
        self._offset = 0
        self.census = Census(presence.members())
        self.epoch = epoch

    @property
    def cursor(self) -> Cursor:
        """How far it was told."""
        return Cursor(self.epoch, self._offset)

    @property
    def is_told(self) -> bool:
        """Whether what was told is exactly who is there."""
        return self.census.is_told

    def take(self, reader: Subscription, now: float) -> list[Event]:
        """The next events that the reader accepts; there may be none, though more are to come."""
        gone, here = self.census.take(SLICE)
        left, present = self._told("left", gone, reader, now), self._told("here", here, reader, now)
        self._count += len(present) - len(left)
        return left + present

    def place(self, event: Event) -> Event:
        """Another event of the system relay, told in between."""
        self._offset += 1
        return event._replace(offset=self._offset)

    def closing(self, offset: int, now: float) -> Event:
        """The event that says that everybody was told, at the place where the present goes on."""
        about = {"state": "complete", "count": self._count}
        return system_event(PRESENCE, "fanway.presence.complete", about, offset, now, f"{self.epoch}-complete")

    def _told(self, state: State, members: list[Member], reader: Subscription, now: float) -> list[Event]:
        told = []
        for member in members:
            address = address_of(member)
            if reader.pattern.matches(address):
                about = self._presence.describe(member, state)
                event = system_event(address, f"fanway.presence.{state}", about, self._offset + 1, now)
                if reader.accepts(event, now):
                    self._offset += 1
                    told.append(event)
        return told


def address_of(member: Member) -> str:
    """The system address at which a member is told of."""
    return f"{PRESENCE}/{member.prefix}"


def is_presence(address: str) -> bool:
    """Whether somebody's presence is told at this address."""
    return address.startswith(PRESENCE) and address[len(PRESENCE) : len(PRESENCE) + 1] in ("", "/")


def can_match(pattern: Pattern) -> bool:
    """Whether the pattern matches an address at which presence is told."""
    for place, root in enumerate(_ROOT):
        if place == len(pattern.segments):
            return False
        if (segment := pattern.segments[place]) != root and segment != "*":
            return segment == "**"
    return True
