"""Who shares a subscription, and the fair choice of the one that gets an event.

Without a key the member with the least in flight gets it, of those the one whose last turn is longest ago. With a key
all events of one value have a home: the member for which a hash of both is highest (rendezvous hashing, Thaler and
Ravishankar, 1998), so that one that leaves moves only its own keys, and one that joins takes a fair part of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import count

MOST_HOMES = 4096  # that are remembered

Gate = Callable[[str], bool]
"""Whether somebody may receive events of a concrete address."""


class Member:
    """One of those who share. `is_ready` says whether it takes more now, apart from its credit.

    `credit` is how many deliveries it may be given, None without a bound; of deliveries that are acknowledged it comes
    back when they are settled. `holder` is who may settle them: the member itself, unless it is one of several
    that stand for the same one after the other.
    """

    __slots__ = ("credit", "gate", "holder", "in_flight", "is_ready", "number", "place", "turn")

    def __init__(
        self, gate: Gate, is_ready: Callable[[], bool], credit: int | None = None, holder: object | None = None
    ) -> None:
        self.gate = gate
        self.is_ready = is_ready
        self.credit = credit
        self.holder: object = self if holder is None else holder
        self.in_flight = 0
        self.number = self.turn = -1  # given by `Members`
        self.place: tuple[int, int, Member] | None = None  # in the queue, where it stands in one

    def __lt__(self, other: Member) -> bool:
        return self.number < other.number

    @property
    def can_take(self) -> bool:
        """Whether it has credit and takes more now."""
        return self.credit != 0 and self.is_ready()


class Members:
    """All who share, and whose turn it is. Whoever becomes able to take more must be told of by `wake`."""

    def __init__(self) -> None:
        self._all: dict[Member, None] = {}
        self._gates: Counter[Gate] = Counter()
        self._queue: list[tuple[int, int, Member]] = []  # by what is in flight, then by turn; stale ones among them
        self._numbers = count()
        self._turns = count()
        self._homes: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, member: Member) -> bool:
        return member in self._all

    def all(self) -> list[Member]:
        """In the order in which they came."""
        return list(self._all)

    @property
    def can_take(self) -> bool:
        """Whether any of them takes more now."""
        queue = self._queue
        while queue:
            place = queue[0]
            member = place[2]
            if member.place is place:
                if member.can_take:
                    return True
                member.place = None  # until it is told of
            heappop(queue)
        return False

    def permits(self, address: str) -> bool:
        """Whether any of them may receive events of this address."""
        return any(gate(address) for gate in self._gates)

    def add(self, member: Member) -> bool:
        """Let one in; whether nobody had its permissions before."""
        member.number, member.turn = next(self._numbers), next(self._turns)
        self._all[member] = None
        self._gates[member.gate] += 1
        self._homes.clear()
        self.wake(member)
        return self._gates[member.gate] == 1

    def remove(self, member: Member) -> bool:
        """Let one go; whether nobody has its permissions now."""
        del self._all[member]
        member.place = None
        self._gates[member.gate] -= 1
        for key in [key for key, home in self._homes.items() if home is member]:
            del self._homes[key]
        if self._gates[member.gate]:
            return False
        del self._gates[member.gate]
        return True

    def regate(self, member: Member, gate: Gate) -> None:
        """From now `gate` decides for it."""
        self._gates[member.gate] -= 1
        if not self._gates[member.gate]:
            del self._gates[member.gate]
        member.gate = gate
        self._gates[gate] += 1

    def wake(self, member: Member) -> None:
        """It may take more than before."""
        if member.place is None and member in self._all and member.credit != 0:
            self._enqueue(member)

    def charge(self, member: Member, *, stays: bool) -> None:
        """It gets a delivery, which stays with it until `discharge`, or is over at once."""
        if member.credit is not None:
            member.credit -= 1
        member.in_flight += stays
        member.turn = next(self._turns)
        self._enqueue(member)

    def discharge(self, member: Member) -> None:
        """A delivery that stayed with it is over: its credit comes back."""
        member.in_flight -= 1
        if member.credit is not None:
            member.credit += 1
        if member in self._all:
            self._enqueue(member)

    def choose(self, permits: Callable[[Member], bool]) -> Member | None:
        """Whose turn it is among those who can take an event and may receive it."""
        queue, aside, chosen = self._queue, [], None
        while queue:
            place = heappop(queue)
            member = place[2]
            if member.place is not place:
                continue
            if not member.can_take:
                member.place = None  # until it is told of
                continue
            aside.append(place)
            if permits(member):
                chosen = member
                break
        for place in aside:
            heappush(queue, place)
        return chosen

    def home(self, key: str, permits: Callable[[Member], bool]) -> Member | None:
        """Where events of this key go, of those that may receive this one; whether it can take it now or not."""
        home = self._homes.get(key)
        if home is None and self._all:
            home = max(self._all, key=lambda member: _weight(key, member))
            if len(self._homes) >= MOST_HOMES:
                self._homes.clear()
            self._homes[key] = home
        if home is None or permits(home):
            return home
        return max(filter(permits, self._all), key=lambda member: _weight(key, member), default=None)

    def _enqueue(self, member: Member) -> None:
        if member.credit == 0:
            member.place = None
            return
        member.place = place = (member.in_flight, member.turn, member)
        heappush(self._queue, place)
        if len(self._queue) > 64 + 4 * len(self._all):  # most of them stale
            self._queue = [each.place for each in self._all if each.place is not None]
            heapify(self._queue)


def _weight(key: str, member: Member) -> bytes:
    return blake2b(key.encode(), digest_size=8, key=member.number.to_bytes(8, "big")).digest()
