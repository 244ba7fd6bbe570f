"""Plans: the cached answer to "who gets events of this address", and the bounded cache of them.

A plan does not list subscribers. It lists cohorts (all subscriptions of one relay with one pattern and
no filter), which plans share: a subscriber joins or leaves a cohort in one step, however many plans use
it, and 10,000 plans over one `orders/**` cost no more than their own few references. Cohorts with a
filter stand behind the sieve of their pattern, which says for each event who is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from fanout.address import Pattern
from fanout.subscription import Encoding, Outlet, Subscription

if TYPE_CHECKING:
    from fanout.sieve import Sieve

_Members = dict[Encoding, dict[Outlet, tuple[Subscription, ...]]]
_NOBODY: _Members = {}  # never filled
_NONE: frozenset[Outlet] = frozenset()


class Cohort:
    """The subscriptions of one relay with one pattern and filter, by encoding: exclusive outlets, and all others.

    An outlet with several subscriptions of this same pattern is one member.
    """

    __slots__ = ("count", "exclusive", "gates", "is_restricted", "ordered", "pattern", "relay", "sole")

    def __init__(self, relay: str, pattern: Pattern) -> None:
        self.relay = relay
        self.pattern = pattern
        self.exclusive: _Members = _NOBODY
        self.ordered: _Members = _NOBODY
        self.sole: Outlet | None = None  # the only outlet, if it is exclusive: the commonest audience of all
        self.gates: dict[Callable[[str], bool], int] = {}  # the distinct permission checks, counted
        self.count = 0  # of its subscriptions
        self.is_restricted = False  # some gate once refused an address that the pattern matches

    def join(self, subscription: Subscription) -> None:
        members = self._members(subscription).setdefault(subscription.outlet.encoding, {})
        members[subscription.outlet] = (*members.get(subscription.outlet, ()), subscription)
        self.gates[subscription.may_receive] = self.gates.get(subscription.may_receive, 0) + 1
        self.count += 1
        self._find_sole()

    def leave(self, subscription: Subscription) -> None:
        by_encoding = self._members(subscription)
        encoding = subscription.outlet.encoding
        members = by_encoding[encoding]
        rest = tuple(other for other in members.pop(subscription.outlet) if other is not subscription)
        if rest:
            members[subscription.outlet] = rest
        elif not members:
            del by_encoding[encoding]
        self.count -= 1
        self.gates[subscription.may_receive] -= 1
        if not self.gates[subscription.may_receive]:
            del self.gates[subscription.may_receive]
        self._find_sole()

    def of(self, outlet: Outlet) -> tuple[Subscription, ...]:
        """This outlet's subscriptions here."""
        for by_encoding in (self.ordered, self.exclusive):
            found = by_encoding.get(outlet.encoding, {}).get(outlet)
            if found:
                return found
        return ()

    def subscriptions(self) -> list[Subscription]:
        """All that stand here."""
        return [
            s
            for by in (self.exclusive, self.ordered)
            for members in by.values()
            for held in members.values()
            for s in held
        ]

    def outlets(self) -> list[Outlet]:
        return [o for by in (self.exclusive, self.ordered) for members in by.values() for o in members]

    def refused(self, address: str) -> set[Outlet]:
        """The outlets with a subscription here that may not receive `address`; each distinct gate is asked once."""
        closed = {gate for gate in self.gates if not gate(address)}
        if not closed:
            return set()
        self.is_restricted = True
        return {o for o in self.outlets() if any(s.may_receive in closed for s in self.of(o))}

    def _find_sole(self) -> None:
        self.sole = None
        if len(self.exclusive) == 1 and not self.ordered:
            [members] = self.exclusive.values()
            if len(members) == 1:
                [self.sole] = members

    def _members(self, subscription: Subscription) -> _Members:
        """Where the subscription stands or is to stand; most cohorts never need both."""
        if subscription.is_exclusive:
            if self.exclusive is _NOBODY:
                self.exclusive = {}
            return self.exclusive
        if self.ordered is _NOBODY:
            self.ordered = {}
        return self.ordered


class Plan:
    """Who gets events of one address of one relay: its cohorts, the sieves of those who want only some of them, and
    the outlets to be asked event by event.

    `restricted` outlets hold a matching subscription that may not receive this address; whether another
    of theirs may is decided when the tick is written.
    """

    __slots__ = ("address", "cohorts", "is_used", "relay", "restricted", "sieves")

    def __init__(self, relay: str, address: str, cohorts: list[Cohort], sieves: tuple[Sieve, ...] = ()) -> None:
        self.relay = relay
        self.address = address
        self.cohorts = cohorts
        self.sieves = sieves
        self.restricted: set[Outlet] | frozenset[Outlet] = _NONE
        for cohort in self._all():
            if refused := cohort.refused(address):
                self.restricted = refused | self.restricted
        self.is_used = False  # looked up since the cache last considered dropping it

    @property
    def size(self) -> int:
        """How many outlets would get an event now, if all filters let it pass. Walks them all: for people."""
        outlets = {outlet for cohort in self._all() for outlet in cohort.outlets()}
        return len(outlets) - sum(not self.reaches(outlet) for outlet in self.restricted & outlets)

    def reaches(self, outlet: Outlet) -> bool:
        """Whether any of the outlet's matching subscriptions may receive this address now."""
        return any(s.may_receive(self.address) for cohort in self._all() for s in cohort.of(outlet))

    def review(self, outlet: Outlet) -> None:
        """Ask the outlet's permission checks anew."""
        restricted = self.restricted if isinstance(self.restricted, set) else set()
        restricted.discard(outlet)
        for cohort in self._all():
            if not all(s.may_receive(self.address) for s in cohort.of(outlet)):
                cohort.is_restricted = True
                restricted.add(outlet)
        self.restricted = restricted or _NONE

    def _all(self) -> Collection[Cohort]:
        return [*self.cohorts, *(sieve.everybody for sieve in self.sieves)] if self.sieves else self.cohorts


class PlanCache:
    """At most `limit` plans. A new plan stands in a short queue of newcomers; only one that is looked up
    again before it has passed through is kept, so that one-off addresses displace each other and nothing
    else. Among the kept, those not looked up lately go first (S3-FIFO, Yang et al., SOSP 2023).
    """

    def __init__(self, limit: int) -> None:
        self._newcomers_limit = max(1, limit // 8)
        self._kept_limit = max(1, limit - self._newcomers_limit)
        self._newcomers: deque[Plan] = deque()
        self._kept: deque[Plan] = deque()
        self._plans: dict[str, dict[str, Plan]] = {}  # by relay, then address: never by a joined text

    def __len__(self) -> int:
        return sum(map(len, self._plans.values()))

    def find(self, relay: str, address: str) -> Plan | None:
        """The cached plan; being found is what keeps it."""
        try:
            plan = self._plans[relay][address]
        except KeyError:
            return None
        plan.is_used = True
        return plan

    def peek(self, relay: str, address: str) -> Plan | None:
        """The cached plan, without keeping it for that."""
        plans = self._plans.get(relay)
        return None if plans is None else plans.get(address)

    def of(self, relay: str) -> Collection[Plan]:
        """All cached plans of a relay."""
        return self._plans.get(relay, {}).values()

    def add(self, plan: Plan) -> None:
        plans = self._plans.get(plan.relay)
        if plans is None:
            plans = self._plans[plan.relay] = {}
        plans[plan.address] = plan
        self._newcomers.append(plan)
        if len(self._newcomers) > self._newcomers_limit:
            oldest = self._newcomers.popleft()
            if not oldest.is_used:
                self._forget(oldest)
            elif self._holds(oldest):
                self._keep(oldest)

    def drop(self, relay: str) -> None:
        """Forget all plans of a relay; they are built again when wanted."""
        for plan in self._plans.pop(relay, {}).values():  # each still stands in a queue: let go of the subscribers
            plan.cohorts, plan.sieves, plan.restricted = [], (), _NONE

    def _keep(self, plan: Plan) -> None:
        while len(self._kept) >= self._kept_limit:
            oldest = self._kept.popleft()
            if oldest.is_used and self._holds(oldest):
                oldest.is_used = False
                self._kept.append(oldest)
            else:
                self._forget(oldest)
        plan.is_used = False
        self._kept.append(plan)

    def _holds(self, plan: Plan) -> bool:
        """Whether it was not dropped while it stood in a queue (and perhaps built anew since)."""
        return self.peek(plan.relay, plan.address) is plan

    def _forget(self, plan: Plan) -> None:
        plans = self._plans.get(plan.relay)
        if plans is not None and plans.get(plan.address) is plan:
            del plans[plan.address]
            if not plans:
                del self._plans[plan.relay]
