"""The heart of a subscription that several share: each event goes to one of them; where acknowledged, until it is.

Theory. Events are *taken* in order from a relay's stream and stay *pending* until they are settled. The place in the
stream up to which events were taken, together with the pending ones, is the whole state; so it is small however
many consumers there are. A pending event waits, is under way to a member, is put off for a while, or is dead: delivered
in vain as often as may be. What waits for one certain member, or for nobody that is here, is parked, so that it
holds up nothing else and costs nothing while nothing changes.

Clocks are passed in: `now` counts on (deadlines), `wall` is Unix seconds (expiry of events).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import NamedTuple

from fanout.event import Event
from fanout.members import Gate, Member, Members

MOST_BYTES = 16 << 20  # of payload that may be pending; one event always


class Terms(NamedTuple):
    """How events are dealt out. `key` names the attribute whose value chooses the member; None: any member will do.

    Without `wants_acks` an event is settled when it is given to a member, and what no member may receive is passed
    over. With it a delivery ends `ack_wait` seconds after it began, after `max_deliveries` an event is dead (0: never).
    At most `window` events are pending.
    """

    wants_acks: bool
    key: str | None = None
    ack_wait: float = 30.0
    max_deliveries: int = 0
    window: int = 1024


class Pending:
    """An event that was taken and is not settled. `number` is that of the delivery under way, 0 where none is.

    `attempts` counts deliveries, that one included; `reason` is why the last one failed. `until` is when what it is in
    ends by itself: the delivery, or the delay before the next.
    """

    __slots__ = ("attempts", "event", "is_settled", "key", "member", "number", "reason", "until")

    def __init__(self, event: Event, key: str | None, attempts: int) -> None:
        self.event = event
        self.key = key
        self.attempts = attempts
        self.number = 0
        self.member: Member | None = None
        self.until = inf
        self.reason = ""
        self.is_settled = False

    def __lt__(self, other: Pending) -> bool:
        return self.event.offset < other.event.offset


class State(NamedTuple):
    """What has to be kept to go on later: all up to `position` is settled but `pending`, by offset their attempts."""

    position: int
    pending: Mapping[int, int]

    @property
    def floor(self) -> int:
        """All up to here is settled."""
        return min(self.pending, default=self.position + 1) - 1


class Pool:
    """What pends in all of a gateway's shared subscriptions: beyond `most_bytes` of payload each has to settle what it
    has before it takes more."""

    __slots__ = ("held", "most_bytes")

    def __init__(self, most_bytes: float = inf) -> None:
        self.most_bytes = most_bytes
        self.held = 0


class Shared:
    """One shared subscription. `take` events in order, then `assign`; `settle` in some way what was delivered."""

    def __init__(self, terms: Terms, state: State, pool: Pool | None = None) -> None:
        self.terms = terms
        self._pool = Pool() if pool is None else pool
        self.members = Members()
        self.dead: deque[Pending] = deque()  # for the caller to do something about, then `bury`
        self.redelivered = 0  # deliveries that were not the first of their event
        self.position = state.floor  # all up to here was taken, or is not for this subscription
        self._known = state.position  # up to here only what was pending is taken again
        self._earlier = dict(state.pending)  # of those the attempts
        self._pending: dict[int, Pending] = {}  # by offset
        self._bytes = 0
        self._under_way: dict[int, Pending] = {}  # by number of the delivery
        self._numbers = count(1)
        self._waiting: list[Pending] = []  # a heap
        self._parked: dict[Member | None, list[Pending]] = {}  # until this one can take more; None: anybody who may
        self._timed: list[tuple[float, int, Pending]] = []  # a heap of `until`, stale ones among them
        self._order = count()
        self._pins: dict[str, tuple[Member, int]] = {}  # by key the member with deliveries of it, and how many

    @property
    def state(self) -> State:
        pending = self._earlier | {offset: each.attempts for offset, each in self._pending.items()}
        return State(max(self.position, self._known), pending)

    @property
    def in_flight(self) -> int:
        """How many deliveries are under way."""
        return len(self._under_way)

    @property
    def room(self) -> int:
        """How many events may be taken now: none while nobody could be given one, or while too many are pending."""
        if self._bytes >= MOST_BYTES or self.is_crowded or not self.members.can_take:
            return 0
        return max(0, self.terms.window - len(self._pending))

    @property
    def is_crowded(self) -> bool:
        """Whether it is for what pends elsewhere, too, that there is no room; nobody tells when that is over."""
        return self._bytes > 0 and self._pool.held >= self._pool.most_bytes

    @property
    def next_due(self) -> float:
        """When `expire` has something to do; infinity: nothing to wait for."""
        timed = self._timed
        while timed and (timed[0][2].is_settled or timed[0][2].until != timed[0][0]):
            heappop(timed)
        return timed[0][0] if timed else inf

    # --- who shares ---

    def join(self, member: Member) -> bool:
        """Let a member in; whether some address may be received now that could not be before."""
        is_new_gate = self.members.add(member)
        self._unpark_all()
        return is_new_gate

    def leave(self, member: Member, now: float) -> bool:
        """Let a member go: what is under way to it goes to others. Whether some address has no receiver any more."""
        is_last_gate = self.members.remove(member)
        if member.holder is member:
            for pending in [each for each in self._under_way.values() if each.member is member]:
                self._return(pending, now, now, "Its consumer left.")
        self._unpark_all()
        return is_last_gate

    def regate(self, member: Member, gate: Gate) -> None:
        """The permissions of a member changed."""
        self.members.regate(member, gate)
        self._unpark_all()

    def wake(self, member: Member) -> None:
        """A member takes more again."""
        self.members.wake(member)
        self._unpark(member)
        self._unpark(None)

    def lend(self, member: Member, credit: int) -> None:
        """Give a member more credit."""
        if member.credit is not None:
            member.credit += credit
            self.wake(member)

    # --- events in, deliveries out ---

    def take(self, events: Iterable[Event], upto: int) -> None:
        """Take the next matching events, at most `room`; with them all up to offset `upto` was looked at."""
        for event in events:
            attempts = 0
            if event.offset <= self._known:
                earlier = self._earlier.pop(event.offset, None)
                if earlier is None:
                    continue
                attempts = earlier
            key = None if self.terms.key is None else event.attributes.get(self.terms.key)
            pending = self._pending[event.offset] = Pending(event, key, attempts)
            self._hold(len(event.payload))
            if not self._is_spent(pending):
                heappush(self._waiting, pending)
        self.skip(upto)

    def skip(self, upto: int) -> int:
        """Nothing more comes up to this offset; how many that were pending earlier are lost by it."""
        self.position = max(self.position, upto)
        lost = [offset for offset in self._earlier if offset <= self.position]
        for offset in lost:
            del self._earlier[offset]
        return len(lost)

    def assign(self, now: float, wall: float, most_bytes: int) -> dict[Member, list[Pending]]:
        """Give waiting events to members, about `most_bytes` of payload; each gets its own in increasing offset."""
        given: dict[Member, list[Pending]] = {}
        known: dict[tuple[Gate, str], bool] = {}  # each distinct gate is asked once for an address
        while self._waiting and most_bytes >= 0 and self.members.can_take:
            pending = heappop(self._waiting)
            if pending.event.expires_at <= wall:
                self._settle(pending)
                continue
            member = self._choose(pending, known)
            if member is not None:
                self._give(pending, member, now)
                given.setdefault(member, []).append(pending)
                most_bytes -= len(pending.event.payload)
        return given

    # --- how a delivery ends ---

    def ack(self, holder: object, number: int) -> Pending | None:
        """It arrived. None: the delivery is not under way to this holder (any more)."""
        pending = self._held(holder, number)
        if pending is not None:
            self._end(pending)
            self._settle(pending)
        return pending

    def nack(self, holder: object, number: int, now: float, delay: float, reason: str) -> Pending | None:
        """It did not; after so many seconds it is tried again, unless this was its last attempt (then it is `dead`)."""
        pending = self._held(holder, number)
        if pending is not None:
            self._return(pending, now, now + delay, reason)
        return pending

    def reject(self, holder: object, number: int, reason: str) -> Pending | None:
        """No attempt can help: it is dead."""
        pending = self._held(holder, number)
        if pending is not None:
            self._end(pending)
            pending.reason = reason
            self.dead.append(pending)
        return pending

    def give_back(self, holder: object, number: int, now: float) -> Pending | None:
        """It was not tried: this delivery does not count."""
        pending = self._held(holder, number)
        if pending is not None:
            pending.attempts -= 1
            self._return(pending, now, now, pending.reason)
        return pending

    def expire(self, now: float) -> int:
        """End deliveries whose deadline has passed, and delays; how many deliveries."""
        expired = 0
        while self.next_due <= now:
            pending = heappop(self._timed)[2]
            if pending.number:
                expired += 1
                self._return(pending, now, now, "It was not acknowledged in time.")
            else:
                pending.until = inf
                heappush(self._waiting, pending)
        return expired

    def bury(self, pending: Pending) -> None:
        """A dead event was seen to."""
        if not pending.is_settled:
            self._settle(pending)

    def seek(self, position: int) -> None:
        """Go on after this offset, whatever was pending."""
        for pending in list(self._under_way.values()):
            self._end(pending)
        for pending in self._pending.values():
            pending.is_settled = True
        self._pending.clear()
        self._earlier.clear()
        self._waiting.clear()
        self._parked.clear()
        self._timed.clear()
        self.dead.clear()
        self._hold(-self._bytes)
        self.position = self._known = position

    def close(self) -> None:
        """It is over: what pends in it counts no more."""
        self._pool.held -= self._bytes
        self._pool = Pool()

    # --- inside ---

    def _choose(self, pending: Pending, known: dict[tuple[Gate, str], bool]) -> Member | None:
        """The member that gets it now; else it is parked, or passed over."""
        address, key = pending.event.address, pending.key

        def permits(member: Member) -> bool:
            asked = member.gate, address
            answer = known.get(asked)
            if answer is None:
                answer = known[asked] = member.gate(address)
            return answer

        if key is None:
            member = self.members.choose(permits)
        else:
            member = self._home(key, permits)
            if member is not None and not (member in self.members and member.can_take):
                self._parked.setdefault(member, []).append(pending)
                return None
        if member is None:
            if self.terms.wants_acks or self.members.permits(address):
                self._parked.setdefault(None, []).append(pending)
            else:
                self._settle(pending)
        return member

    def _home(self, key: str, permits: Callable[[Member], bool]) -> Member | None:
        """Where a key goes: while deliveries of it are under way, to where those are."""
        pinned = self._pins.get(key)
        if pinned is not None and permits(pinned[0]):
            return pinned[0]
        return self.members.home(key, permits)

    def _give(self, pending: Pending, member: Member, now: float) -> None:
        pending.attempts += 1
        self.redelivered += pending.attempts > 1
        self.members.charge(member, stays=self.terms.wants_acks)
        if not self.terms.wants_acks:
            self._settle(pending)
            return
        pending.number, pending.member = next(self._numbers), member
        self._under_way[pending.number] = pending
        self._time(pending, now + self.terms.ack_wait)
        if pending.key is not None:
            self._pins[pending.key] = member, self._pins.get(pending.key, (member, 0))[1] + 1

    def _held(self, holder: object, number: int) -> Pending | None:
        pending = self._under_way.get(number)
        return pending if pending is not None and pending.member and pending.member.holder is holder else None

    def _end(self, pending: Pending) -> None:
        """The delivery is over."""
        del self._under_way[pending.number]
        member, pending.member, pending.number, pending.until = pending.member, None, 0, inf
        assert member is not None
        had_credit = member.credit != 0
        self.members.discharge(member)
        key = pending.key
        if key is not None:
            pinned, deliveries = self._pins.pop(key)
            if deliveries > 1:
                self._pins[key] = pinned, deliveries - 1
            else:
                self._unpark(pinned)
        if not had_credit:
            self._unpark(member)
            self._unpark(None)

    def _return(self, pending: Pending, now: float, at: float, reason: str) -> None:
        """The delivery failed."""
        self._end(pending)
        pending.reason = reason
        if self._is_spent(pending):
            return
        if at > now:
            self._time(pending, at)
        else:
            heappush(self._waiting, pending)

    def _is_spent(self, pending: Pending) -> bool:
        """Whether it was delivered as often as may be; then it is dead."""
        is_spent = 0 < self.terms.max_deliveries <= pending.attempts
        if is_spent:
            self.dead.append(pending)
        return is_spent

    def _settle(self, pending: Pending) -> None:
        pending.is_settled = True
        del self._pending[pending.event.offset]
        self._hold(-len(pending.event.payload))

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._pool.held += size

    def _time(self, pending: Pending, until: float) -> None:
        pending.until = until
        heappush(self._timed, (until, next(self._order), pending))

    def _unpark(self, member: Member | None) -> None:
        for pending in self._parked.pop(member, ()):
            heappush(self._waiting, pending)

    def _unpark_all(self) -> None:
        for member in list(self._parked):
            self._unpark(member)
