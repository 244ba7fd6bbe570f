"""Sieves: the filtered subscriptions of one pattern, and which of them an event passes to.

Subscriptions with equal filters are one cohort, whose filter is asked once for an event, whatever their number. A
filter that requires an attribute to be a certain text, or to begin or end with it (`exact`, `prefix`, `suffix`, alone
or within `all`; `any` of such), lies under that text, so that events with others never meet it: 10,000 of those cost an
event one look-up. What all other filters, and those that meet at one text, may cost together is bounded, by a `Load`;
who would exceed it is refused when he subscribes, so that nobody waits when somebody publishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeVar

from fanout.address import Pattern
from fanout.errors import FiltersTooCostly
from fanout.filters import Filter, Probe
from fanout.plan import Cohort
from fanout.subscription import Subscription

T = TypeVar("T", bound=Hashable)

MAX_COST = 512
"""Comparisons that an event may take by filters that it must be asked whatever its attributes are."""
MAX_VALUE_COST = 64
"""The same by filters that lie under one text; the further ones lie with those that are always asked."""
MAX_PROBES = 32
"""Looks at attributes, and at the beginnings and ends of some length; the same then."""


class Load:
    """What filters may cost an event: those of one concrete pattern, or of all of a relay's wildcards together."""

    __slots__ = ("_probes", "_rest", "_values")

    def __init__(self) -> None:
        self._rest = 0
        self._values: Counter[tuple[Probe, str]] = Counter()
        self._probes: Counter[Probe] = Counter()

    def check(self, filter: Filter) -> None:
        """Raises `FiltersTooCostly` if a new filter would cost an event more than it may."""
        if self.place(filter) is None and self._rest + filter.cost > MAX_COST:
            raise FiltersTooCostly(
                "The filters on these addresses take as many comparisons already as an event may cost. "
                "Use one that others use, or have it require an exact text, beginning or end of an attribute."
            )

    def place(self, filter: Filter) -> Probe | None:
        """The probe under whose texts a new filter is to lie, or None."""
        found: Probe | None = None
        cost, least = _cost_under(filter), MAX_VALUE_COST + 1
        for probe, values in filter.required.items():
            if probe in self._probes or len(self._probes) < MAX_PROBES:
                fullest = max((self._values[probe, value] for value in values), default=0) + cost
                if fullest < least:
                    found, least = probe, fullest
        return found

    def change(self, filter: Filter, probe: Probe | None, times: int) -> None:
        """Count a filter in (`times` 1) or out (-1) that lies under this probe, or under none."""
        if probe is None:
            self._rest += times * filter.cost
            return
        _count(self._probes, probe, times)
        cost = times * _cost_under(filter)
        for value in filter.required[probe] if cost else ():
            _count(self._values, (probe, value), cost)


class Sieve:
    """The filtered cohorts of one relay with one pattern. `everybody` in them is a cohort too, which asks no filter."""

    __slots__ = ("_asked", "_cohorts", "_indexed", "_load", "everybody")

    def __init__(self, relay: str, pattern: Pattern, load: Load) -> None:
        self.everybody = Cohort(relay, pattern)
        self._load = load
        self._cohorts: dict[Filter, tuple[Cohort, Probe | None]] = {}  # and under which it lies
        self._asked: dict[Cohort, Filter] = {}  # for every event
        self._indexed: dict[Probe, dict[str, dict[Cohort, Filter | None]]] = {}  # None: the text alone decides

    def check(self, filter: Filter) -> None:
        """Raises `FiltersTooCostly` if a subscription with this filter would be refused."""
        if filter not in self._cohorts:
            self._load.check(filter)

    def join(self, subscription: Subscription) -> None:
        filter = subscription.filter
        assert filter is not None
        if filter not in self._cohorts:
            self._insert(filter)
        self._cohorts[filter][0].join(subscription)
        self.everybody.join(subscription)

    def leave(self, subscription: Subscription) -> None:
        filter = subscription.filter
        assert filter is not None
        self.everybody.leave(subscription)
        cohort, probe = self._cohorts[filter]
        cohort.leave(subscription)
        if not cohort.gates:
            self._remove(filter, cohort, probe)

    def passed(self, attributes: Mapping[str, str]) -> list[Cohort]:
        """The cohorts whose filter holds for an event with these attributes, each once."""
        found = [cohort for cohort, filter in self._asked.items() if filter.holds(attributes)]
        for probe, by_value in self._indexed.items():
            candidates = by_value.get(probe.of(attributes))
            if candidates is not None:
                found += [c for c, filter in candidates.items() if filter is None or filter.holds(attributes)]
        return found

    def _insert(self, filter: Filter) -> None:
        probe = self._load.place(filter)
        self._load.change(filter, probe, 1)
        cohort = Cohort(self.everybody.relay, self.everybody.pattern)
        self._cohorts[filter] = cohort, probe
        if probe is None:
            self._asked[cohort] = filter
            return
        by_value = self._indexed.setdefault(probe, {})
        for value in filter.required[probe]:
            by_value.setdefault(value, {})[cohort] = None if filter.is_membership else filter

    def _remove(self, filter: Filter, cohort: Cohort, probe: Probe | None) -> None:
        self._load.change(filter, probe, -1)
        del self._cohorts[filter]
        if probe is None:
            del self._asked[cohort]
            return
        by_value = self._indexed[probe]
        for value in filter.required[probe]:
            del by_value[value][cohort]
            if not by_value[value]:
                del by_value[value]
        if not by_value:
            del self._indexed[probe]


def _cost_under(filter: Filter) -> int:
    """What it costs an event that has one of the texts under which it lies."""
    return 0 if filter.is_membership else filter.cost


def _count(counter: Counter[T], key: T, change: int) -> None:
    counter[key] += change
    if not counter[key]:
        del counter[key]
