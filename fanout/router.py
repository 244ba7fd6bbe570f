"""The router of one namespace: who gets what is published at an address.

`plan` is one look-up when the plan is cached. Subscribing and unsubscribing patch the cached plans
that they touch; nothing is rebuilt but when more plans would have to be patched than is worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fanout.event import Event
from fanout.plan import Cohort, Plan, PlanCache
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
    """The cohorts of one relay: all by the text of their pattern, and those of wildcards by match."""

    __slots__ = ("cohorts", "wildcards")

    def __init__(self) -> None:
        self.cohorts: dict[str, Cohort] = {}
        self.wildcards: PatternTrie[Cohort] = PatternTrie()

    def match(self, address: str) -> list[Cohort]:
        """The cohorts whose pattern matches a concrete address."""
        found = self.wildcards.match(address) if self.wildcards else []
        if (cohort := self.cohorts.get(address)) is not None:  # no address holds a wildcard
            found.append(cohort)
        return found


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
            plan = Plan(relay_key, address, interest.match(address) if interest else [])
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

    def subscribe(self, subscription: Subscription) -> None:
        """Begin: it gets what is published from now on. What was published before is flushed first.

        Raises ValueError if it would break an outlet's promise to be exclusive.
        """
        held = self._held.get(subscription.outlet, [])
        if held and (subscription.is_exclusive or held[0].is_exclusive):
            raise ValueError("an exclusive outlet has one subscription")
        self._tick.flush()
        self._held.setdefault(subscription.outlet, []).append(subscription)
        interest = self._interests.setdefault(subscription.relay, _Interest())
        cohort = interest.cohorts.get(subscription.pattern.text)
        if cohort is None:
            cohort = Cohort(subscription.relay, subscription.pattern)
            interest.cohorts[subscription.pattern.text] = cohort
            if not subscription.pattern.is_concrete:
                interest.wildcards.insert(subscription.pattern, cohort)
            for plan in self._touched(cohort):
                plan.cohorts.append(cohort)
        is_known_gate = subscription.may_receive in cohort.gates
        cohort.join(subscription)
        if cohort.is_restricted or not is_known_gate:
            for plan in self._touched(cohort):
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
            cohort = self._interests[subscription.relay].cohorts[subscription.pattern.text]
            for plan in self._touched(cohort):
                plan.review(outlet)

    def snapshot(self) -> Snapshot:
        """How much there is of everything."""
        return Snapshot(
            outlets=len(self._held),
            subscriptions=sum(map(len, self._held.values())),
            patterns=sum(len(interest.cohorts) for interest in self._interests.values()),
            plans=len(self._plans),
        )

    def subscriptions(self, relay_key: str) -> int:
        """How many subscriptions a relay has."""
        interest = self._interests.get(relay_key)
        return sum(sum(cohort.gates.values()) for cohort in interest.cohorts.values()) if interest else 0

    def _withdraw(self, subscription: Subscription) -> None:
        interest = self._interests[subscription.relay]
        cohort = interest.cohorts[subscription.pattern.text]
        cohort.leave(subscription)
        self._tick.recheck(subscription.outlet)
        if cohort.is_restricted:
            for plan in self._touched(cohort):
                plan.review(subscription.outlet)
        if cohort.gates:
            return
        for plan in self._touched(cohort):
            plan.cohorts.remove(cohort)
        if not subscription.pattern.is_concrete:
            interest.wildcards.remove(subscription.pattern, cohort)
        del interest.cohorts[subscription.pattern.text]
        if not interest.cohorts:
            del self._interests[subscription.relay]

    def _touched(self, cohort: Cohort) -> list[Plan]:
        """The cached plans that an event for this cohort would use; none when it was cheaper to drop them."""
        if cohort.pattern.is_concrete:
            plan = self._plans.peek(cohort.relay, cohort.pattern.text)
            return [] if plan is None else [plan]
        plans = self._plans.of(cohort.relay)
        if len(plans) > self._patch_limit:
            self._plans.drop(cohort.relay)
            return []
        return [plan for plan in plans if cohort.pattern.matches(plan.address)]
