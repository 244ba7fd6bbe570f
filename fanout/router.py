"""The router of one namespace: who gets what is published at an address.

`plan` is one look-up when the plan is cached. Subscribing and unsubscribing patch the cached plans
that they touch; nothing is rebuilt but when more plans would have to be patched than is worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fanout.address import Pattern
from fanout.event import Event
from fanout.filters import Filter
from fanout.plan import Cohort, Plan, PlanCache
from fanout.sieve import Load, Sieve
from fanout.subscription import Outlet, Subscription
from fanout.tick import Tick
from fanout.trie import PatternTrie


class Snapshot(NamedTuple):
    """Counts, for people."""

    outlets: int
    subscriptions: int
    patterns: int
    plans: int


class _Interest:
    """What one relay's subscribers hold, by the text of their pattern; and the wildcards among it by match."""

    __slots__ = ("cohorts", "load", "sieves", "wildcards")

    def __init__(self) -> None:
        self.cohorts: dict[str, Cohort] = {}  # without a filter
        self.sieves: dict[str, Sieve] = {}  # with one
        self.wildcards: PatternTrie[Cohort | Sieve] = PatternTrie()
        self.load: Load | None = None  # of the filters behind wildcards, once there are any

    @property
    def is_empty(self) -> bool:
        return not (self.cohorts or self.sieves)

    @property
    def everybody(self) -> list[Cohort]:
        """All subscriptions, by their pattern, whatever their filters."""
        return [*self.cohorts.values(), *(sieve.everybody for sieve in self.sieves.values())]

    def match(self, address: str) -> tuple[list[Cohort], tuple[Sieve, ...]]:
        """What is held by patterns that match a concrete address."""
        found = self.wildcards.match(address) if self.wildcards else []
        cohorts = [each for each in found if isinstance(each, Cohort)]
        if (cohort := self.cohorts.get(address)) is not None:  # no address holds a wildcard
            cohorts.append(cohort)
        if not self.sieves:
            return cohorts, ()
        sieves = [each for each in found if isinstance(each, Sieve)]
        if (sieve := self.sieves.get(address)) is not None:
            sieves.append(sieve)
        return cohorts, tuple(sieves)


class Router:
    """Keeps the subscriptions of a namespace and answers with plans for its `tick`.

    `plan_limit` bounds the cached plans. A change that would patch more than `patch_limit` plans of a
    relay drops that relay's plans instead. Relay keys and addresses are canonical.
    """

    def __init__(self, tick: Tick, plan_limit: int = 16_384, patch_limit: int = 256) -> None:
        self._tick = tick
        self._patch_limit = patch_limit
        self._plans = PlanCache(plan_limit)
        self._interests: dict[str, _Interest] = {}  # by relay key
        self._held: dict[Outlet, list[Subscription]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody subscribes to anything, and no trace of anybody is left."""
        return not (self._interests or self._held)

    def plan(self, relay_key: str, address: str) -> Plan:
        """The plan for a concrete address of a relay. Use it now; do not keep it."""
        plan = self._plans.find(relay_key, address)
        if plan is None:
            interest = self._interests.get(relay_key)
            plan = Plan(relay_key, address, *interest.match(address)) if interest else Plan(relay_key, address, [])
            self._plans.add(plan)
        return plan

    def publish(self, relay_key: str, events: Sequence[Event]) -> None:
        """Queue consecutive events of a relay, one at least, of which nobody wants receipts."""
        addresses = dict.fromkeys([event.address for event in events])
        plans = {address: self.plan(relay_key, address) for address in addresses}
        if len(plans) == 1:
            self._tick.publish_run(plans[events[0].address], events)
        else:
            self._tick.publish_all([(plans[event.address], event) for event in events])

    def check_filter(self, relay_key: str, pattern: Pattern, filter: Filter) -> None:
        """Raises `FiltersTooCostly` if a subscription with this pattern and filter would be refused now."""
        interest = self._interests.get(relay_key) or _Interest()
        sieve = interest.sieves.get(pattern.text) or self._new_sieve(interest, relay_key, pattern)
        sieve.check(filter)

    def subscribe(self, subscription: Subscription, *, is_admitted: bool = False) -> None:
        """Begin: it gets what is published from now on. What was published before is flushed first.

        Raises `FiltersTooCostly`, unless it `is_admitted`: it was taken before, and only comes back. Raises ValueError
        if it would break an outlet's promise to be exclusive.
        """
        held = self._held.get(subscription.outlet, [])
        if held and (subscription.is_exclusive or held[0].is_exclusive):
            raise ValueError("an exclusive outlet has one subscription")
        if subscription.filter is not None and not is_admitted:
            self.check_filter(subscription.relay, subscription.pattern, subscription.filter)
        self._tick.flush()
        self._held.setdefault(subscription.outlet, []).append(subscription)
        interest = self._interests.get(subscription.relay)
        if interest is None:
            interest = self._interests[subscription.relay] = _Interest()
        holder = self._holder(interest, subscription) or self._open(interest, subscription)
        cohort = holder if isinstance(holder, Cohort) else holder.everybody
        is_known_gate = subscription.may_receive in cohort.gates
        holder.join(subscription)
        if cohort.is_restricted or not is_known_gate:
            for plan in self._touched(subscription):
                plan.review(subscription.outlet)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End: its outlet gets nothing more by it, not even what this tick already holds.

        A subscription that has ended already is no error.
        """
        held = self._held.get(subscription.outlet, [])
        if subscription in held:
            held.remove(subscription)
            if not held:
                del self._held[subscription.outlet]
            self._withdraw(subscription)

    def leave(self, outlet: Outlet) -> None:
        """End all subscriptions of an outlet, as its connection goes."""
        for subscription in self._held.pop(outlet, []):
            self._withdraw(subscription)

    def refresh(self, outlet: Outlet) -> None:
        """Its permissions changed: every plan follows at once, and so does what is still unwritten."""
        self._tick.recheck(outlet)
        for subscription in self._held.get(outlet, []):
            for plan in self._touched(subscription):
                plan.review(outlet)

    def snapshot(self) -> Snapshot:
        """How much there is of everything."""
        return Snapshot(
            outlets=len(self._held),
            subscriptions=sum(map(len, self._held.values())),
            patterns=sum(len({*interest.cohorts, *interest.sieves}) for interest in self._interests.values()),
            plans=len(self._plans),
        )

    def subscriptions(self, relay_key: str) -> int:
        """How many subscriptions a relay has."""
        interest = self._interests.get(relay_key)
        return sum([cohort.count for cohort in interest.everybody]) if interest else 0

    def count_at(self, relay_key: str, pattern: str) -> int:
        """How many subscriptions of a relay have just this pattern."""
        interest = self._interests.get(relay_key)
        if interest is None:
            return 0
        cohort, sieve = interest.cohorts.get(pattern), interest.sieves.get(pattern)
        return (cohort.count if cohort else 0) + (sieve.everybody.count if sieve else 0)

    def relay_keys(self) -> list[str]:
        """The relays to which somebody subscribes."""
        return list(self._interests)

    def subscribers(self, relay_key: str) -> list[Subscription]:
        """All subscriptions of a relay. Walks them all: for people, not for the hot path."""
        interest = self._interests.get(relay_key)
        if interest is None:
            return []
        return [subscription for cohort in interest.everybody for subscription in cohort.subscriptions()]

    def _holder(self, interest: _Interest, subscription: Subscription) -> Cohort | Sieve | None:
        """Where a subscription stands, or is to stand."""
        text = subscription.pattern.text
        return interest.cohorts.get(text) if subscription.filter is None else interest.sieves.get(text)

    def _open(self, interest: _Interest, subscription: Subscription) -> Cohort | Sieve:
        """Make that place."""
        relay, pattern = subscription.relay, subscription.pattern
        holder: Cohort | Sieve
        if subscription.filter is None:
            interest.cohorts[pattern.text] = holder = Cohort(relay, pattern)
            for plan in self._touched(subscription):
                plan.cohorts.append(holder)
        else:
            interest.sieves[pattern.text] = holder = self._new_sieve(interest, relay, pattern)
            for plan in self._touched(subscription):
                plan.sieves += (holder,)
        if not pattern.is_concrete:
            interest.wildcards.insert(pattern, holder)
        return holder

    def _new_sieve(self, interest: _Interest, relay: str, pattern: Pattern) -> Sieve:
        if pattern.is_concrete:
            return Sieve(relay, pattern, Load())
        if interest.load is None:
            interest.load = Load()
        return Sieve(relay, pattern, interest.load)

    def _close(self, interest: _Interest, holder: Cohort | Sieve, subscription: Subscription) -> None:
        """Nobody stands there any more."""
        pattern = subscription.pattern
        if isinstance(holder, Cohort):
            del interest.cohorts[pattern.text]
            for plan in self._touched(subscription):
                plan.cohorts.remove(holder)
        else:
            del interest.sieves[pattern.text]
            for plan in self._touched(subscription):
                plan.sieves = tuple(sieve for sieve in plan.sieves if sieve is not holder)
        if not pattern.is_concrete:
            interest.wildcards.remove(pattern, holder)
        if interest.is_empty:
            del self._interests[subscription.relay]

    def _withdraw(self, subscription: Subscription) -> None:
        interest = self._interests[subscription.relay]
        holder = self._holder(interest, subscription)
        assert holder is not None
        holder.leave(subscription)
        self._tick.recheck(subscription.outlet)
        cohort = holder if isinstance(holder, Cohort) else holder.everybody
        if cohort.is_restricted:
            for plan in self._touched(subscription):
                plan.review(subscription.outlet)
        if not cohort.gates:
            self._close(interest, holder, subscription)

    def _touched(self, subscription: Subscription) -> list[Plan]:
        """The cached plans that an event for this one would use; none when it was cheaper to drop them."""
        relay, pattern = subscription.relay, subscription.pattern
        if pattern.is_concrete:
            plan = self._plans.peek(relay, pattern.text)
            return [] if plan is None else [plan]
        plans = self._plans.of(relay)
        if len(plans) > self._patch_limit:
            self._plans.drop(relay)
            return []
        return [plan for plan in plans if pattern.matches(plan.address)]
