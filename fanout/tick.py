"""One tick of the gateway: events are gathered, then each connection gets one write.

Events are noted per cohort. Outlets that are due the same events in the same encoding share the very
same joined bytes, so work is per event, and per connection and tick, never per delivery, and every outlet
sees a relay's events in increasing offset, each once. The two loops that run for each event (`publish_all`)
and for each connection (`_Sweep.serve`) are written out, without a call that is not needed: with many
addresses and few subscribers of each they are all that is paid besides the system calls.
Scheduling is passed in; a sweep over many outlets goes in slices so that the loop breathes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from fanout.event import Event
from fanout.filters import Attributes
from fanout.plan import Cohort, Plan
from fanout.subscription import Encoding, Outlet, Verdict

_ALL = 1 << 62  # outlets: no slice
SLICE_SHIFT = 16  # so many bytes to one outlet count as one outlet more


class Receipt(NamedTuple):
    """What became of an event, in outlets: `matched` (after permission and filter) = queued + behind + dropped."""

    matched: int
    queued: int
    behind: int
    dropped: int


class _Share:
    """Outlets that are due the same events of a tick, in one encoding."""

    __slots__ = ("behind", "dropped", "encoding", "indexes", "outlets", "queued", "spans")

    def __init__(self, encoding: Encoding, indexes: Sequence[int], outlets: list[Outlet]) -> None:
        self.encoding = encoding
        self.indexes = indexes
        self.outlets = outlets
        self.spans: dict[str, tuple[int, int]] | None = None  # first and last offset per relay, when first wanted
        self.queued = self.behind = self.dropped = 0  # how many outlets so far


class _Sweep:
    """A gathered tick on its way out: its events, who is due which, and the counts so far."""

    def __init__(
        self,
        events: list[Event],
        due: dict[Cohort, list[int]],
        careful: set[Outlet],
        callbacks: dict[int, Callable[[Receipt], None]],
    ) -> None:
        self._events = events
        self._due = due
        self._callbacks = callbacks
        self.recheck: set[Outlet] = set()  # whose subscriptions or permissions changed since the gathering
        self._shares: list[_Share] = []
        self._relays: dict[int, str] | None = None  # of the events, when first wanted
        self._encoded: dict[Encoding, dict[int, Any]] | None = {}  # what several shares hold is encoded once
        self._gather(careful)
        self._ahead = iter(self._shares[:])  # shares that turn up on the way are counted, not served
        self._share: _Share | None = None
        self._data: Any = None  # of this share, from the first outlet on that takes it
        self._outlets: Iterator[Outlet] = iter(())

    def serve(self, limit: int) -> bool:
        """Offer at most `limit` outlets their bytes; whether all have been. An exception of one loses only its turn."""
        recheck, queued = self.recheck, Verdict.QUEUED
        while True:
            share, data = self._share, self._data
            if share is not None:
                for outlet in self._outlets:
                    if recheck and outlet in recheck:
                        limit -= 1
                        self._offer_rest(share, outlet)
                        continue
                    if data is None:
                        data = self._data = self._first_data(share, outlet)
                    if data is None:
                        limit -= 1
                        continue
                    limit -= 1 + (len(data) >> SLICE_SHIFT)
                    verdict = outlet.offer(data)
                    if verdict is queued:
                        share.queued += 1
                    else:
                        self._refused(share, outlet, verdict)
                    if limit <= 0:
                        return False
            self._share = share = next(self._ahead, None)
            if share is None:
                return True
            self._outlets, self._data = iter(share.outlets), None

    def _first_data(self, share: _Share, outlet: Outlet) -> Any:
        """What the share offers, once an outlet takes any; None, and its refusal noted, if this one does not."""
        verdict = outlet.admit()
        if verdict is not Verdict.QUEUED:
            self._refused(share, outlet, verdict)
            return None
        try:
            return self._joined(share)
        except Exception:  # it would fail for all of them
            share.dropped += 1 + len(list(self._outlets))
            raise

    def receipts(self) -> Iterator[tuple[Callable[[Receipt], None], Receipt]]:
        """What became of the events for which someone asked."""
        counts = {index: [0, 0, 0] for index in self._callbacks}
        for share in self._shares:
            for index in share.indexes if counts else ():
                if (count := counts.get(index)) is not None:
                    count[0] += share.queued
                    count[1] += share.behind
                    count[2] += share.dropped
        for index, callback in self._callbacks.items():
            yield callback, Receipt(sum(counts[index]), *counts[index])

    def _gather(self, careful: set[Outlet]) -> None:
        """Who is due which events: each outlet in exactly one share."""
        due, shares = self._due, self._shares
        several: dict[Outlet, list[Cohort]] = {}
        for cohort, indexes in due.items():
            if (sole := cohort.sole) is not None:
                shares.append(_Share(sole.encoding, indexes, [sole]))
                continue
            for encoding, members in cohort.exclusive.items():
                shares.append(_Share(encoding, indexes, [*members]))
            for encoding, members in cohort.ordered.items():
                if len(due) == 1:  # nothing they could overlap with
                    shares.append(_Share(encoding, indexes, [*members]))
                    continue
                for outlet in members:
                    if outlet in several:
                        several[outlet].append(cohort)
                    else:
                        several[outlet] = [cohort]
        if not (several or careful) and sum(map(len, due.values())) == len(self._events):
            self._encoded = None  # no event is in two cohorts
        self._gather_overlapping(several)
        if careful:
            for share in shares:
                share.outlets = [outlet for outlet in share.outlets if outlet not in careful]
            whose: dict[Outlet, list[Cohort]] = {}
            for cohort in due:
                for outlet in careful.intersection(cohort.outlets()):
                    whose.setdefault(outlet, []).append(cohort)
            for outlet, cohorts in whose.items():
                if indexes := self._permitted(outlet, cohorts):
                    shares.append(_Share(outlet.encoding, indexes, [outlet]))
            shares[:] = [share for share in shares if share.outlets]

    def _gather_overlapping(self, several: dict[Outlet, list[Cohort]]) -> None:
        """Outlets that may be in several cohorts, by the union of what is due to those."""
        found: dict[tuple[Encoding, tuple[Cohort, ...]], _Share] = {}
        unions: dict[tuple[Cohort, ...], list[int]] = {}
        for outlet, cohorts in several.items():
            whose = tuple(cohorts)
            share = found.get((outlet.encoding, whose))
            if share is None:
                if len(whose) == 1:
                    unions[whose] = self._due[whose[0]]
                elif whose not in unions:
                    unions[whose] = sorted(set().union(*(self._due[cohort] for cohort in whose)))
                found[outlet.encoding, whose] = share = _Share(outlet.encoding, unions[whose], [])
            share.outlets.append(outlet)
        self._shares += found.values()

    def _permitted(self, outlet: Outlet, cohorts: Iterable[Cohort]) -> list[int]:
        """The events the outlet is due by its subscriptions in these cohorts and its permissions as they stand."""
        found: set[int] = set()
        for cohort in cohorts:
            subscriptions = cohort.of(outlet)
            if subscriptions:
                addresses = ((index, self._events[index].address) for index in self._due[cohort])
                found.update(i for i, address in addresses if any(s.may_receive(address) for s in subscriptions))
        return sorted(found)

    def _offer_rest(self, share: _Share, outlet: Outlet) -> None:
        """Offer what an outlet is still due of these events, as a share of its own; the others count as dropped."""
        permitted = set(self._permitted(outlet, self._due))
        lost = _Share(share.encoding, [index for index in share.indexes if index not in permitted], [])
        lost.dropped = 1
        kept = _Share(share.encoding, [index for index in share.indexes if index in permitted], [])
        self._shares += (lost, kept)
        if not kept.indexes:
            return
        verdict = outlet.admit()
        if verdict is Verdict.QUEUED:
            verdict = outlet.offer(self._joined(kept))
        if verdict is Verdict.QUEUED:
            kept.queued += 1
        else:
            self._refused(kept, outlet, verdict)

    def _refused(self, share: _Share, outlet: Outlet, verdict: Verdict) -> None:
        if verdict is Verdict.BEHIND:
            share.behind += 1
        else:
            share.dropped += 1
        if share.spans is None:
            share.spans = self._spans(share.indexes)
        for relay, (first, last) in share.spans.items():
            outlet.skip(relay, first, last)

    def _joined(self, share: _Share) -> Any:
        """What the outlets of a share are offered."""
        events, encode = self._events, share.encoding.encode
        if self._encoded is None:
            return share.encoding.join([encode(events[index]) for index in share.indexes])
        encoded = self._encoded.setdefault(share.encoding, {})
        for index in share.indexes:
            if index not in encoded:
                encoded[index] = encode(events[index])
        return share.encoding.join([encoded[index] for index in share.indexes])

    def _spans(self, indexes: Sequence[int]) -> dict[str, tuple[int, int]]:
        """The first and last offset of these events, per relay."""
        if self._relays is None:  # with many cohorts too dear to be found anew for each share
            self._relays = {index: cohort.relay for cohort, due in self._due.items() for index in due}
        spans: dict[str, tuple[int, int]] = {}
        for index in indexes:
            relay, offset = self._relays[index], self._events[index].offset
            spans[relay] = (spans.get(relay, (offset, 0))[0], offset)
        return spans


class Tick:
    """Collects published events and writes them out, once per connection, when the loop comes round.

    `schedule` runs a callback soon, not at once. At `max_events` or `max_bytes` of payload the tick is
    flushed inline; `slice_size` is how many outlets are served before the loop gets its turn.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], None],
        max_events: int = 1024,
        max_bytes: int = 512 * 1024,
        slice_size: int = 256,
    ) -> None:
        self.schedule = schedule
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._slice_size = slice_size
        self._is_scheduled = False
        self._is_sweeping = False
        # The tick being collected.
        self._events: list[Event] = []
        self._bytes = 0
        self._due: dict[Cohort, list[int]] = {}
        self._careful: set[Outlet] = set()
        self._callbacks: dict[int, Callable[[Receipt], None]] = {}
        # The tick being written.
        self._sweep: _Sweep | None = None
        self._receipts: deque[tuple[Callable[[Receipt], None], Receipt]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting to be written or told."""
        return not (self._events or self._sweep or self._receipts)

    def publish(self, plan: Plan, event: Event, on_flushed: Callable[[Receipt], None] | None = None) -> None:
        """Queue an event for all of its plan; `on_flushed` gets its receipt after this tick's writes."""
        if on_flushed is None:
            self.publish_run(plan, (event,))
            return
        self._callbacks[len(self._events)] = on_flushed
        self._collect(plan, (event,))

    def publish_run(self, plan: Plan, events: Sequence[Event]) -> None:
        """The same for consecutive events of one plan, of which nobody wants receipts."""
        if plan.cohorts or plan.sieves:
            self._collect(plan, events)

    def publish_all(self, planned: Iterable[tuple[Plan, Event]]) -> None:
        """The same for consecutive events of different plans."""
        pending, due = self._events, self._due
        index = len(pending)
        for plan, event in planned:
            if not (plan.cohorts or plan.sieves):
                continue
            pending.append(event)
            self._bytes += len(event.payload)
            for cohort in plan.cohorts:
                if cohort in due:
                    due[cohort].append(index)
                else:
                    due[cohort] = [index]
            if plan.sieves:
                self._sift(plan, (event,), index)
            if plan.restricted:
                self._careful |= plan.restricted
            index += 1
        self._settle()

    def flush(self) -> None:
        """Write out everything pending now, an unfinished sweep first.

        Called from within a write or a receipt it does nothing: what is pending goes out right after.
        """
        if self._is_sweeping:
            return
        try:
            while not self.is_idle:
                self._advance(_ALL)
        finally:  # an outlet that raises keeps nothing from the others
            self._wake()

    def recheck(self, outlet: Outlet) -> None:
        """Its subscriptions or permissions shrank: what is still unwritten is asked again, event by event."""
        if self._events:
            self._careful.add(outlet)
        if self._sweep is not None:
            self._sweep.recheck.add(outlet)

    def _collect(self, plan: Plan, events: Sequence[Event]) -> None:
        first = len(self._events)
        self._events += events
        self._bytes += sum([len(event.payload) for event in events])
        for cohort in plan.cohorts:
            self._due.setdefault(cohort, []).extend(range(first, len(self._events)))
        if plan.sieves:
            self._sift(plan, events, first)
        if plan.restricted:
            self._careful |= plan.restricted
        self._settle()

    def _sift(self, plan: Plan, events: Sequence[Event], first: int) -> None:
        """Note events, collected from index `first` on, for the cohorts whose filter each passes."""
        due = self._due
        for index, event in enumerate(events, first):
            attributes = Attributes(event)
            for sieve in plan.sieves:
                for cohort in sieve.passed(attributes):
                    if cohort in due:
                        due[cohort].append(index)
                    else:
                        due[cohort] = [index]

    def _settle(self) -> None:
        if len(self._events) >= self._max_events or self._bytes >= self._max_bytes:
            self.flush()
        else:
            self._wake()

    def _wake(self) -> None:
        if not self._is_scheduled and not self.is_idle:
            self._is_scheduled = True
            self.schedule(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        try:
            if not self._is_sweeping:
                self._advance(self._slice_size)
        finally:
            self._wake()

    def _advance(self, limit: int) -> None:
        """Serve at most `limit` outlets of the current sweep; at its end tell the receipts."""
        self._is_sweeping = True
        try:
            if self._sweep is None and self._events:
                self._begin()
            if self._sweep is not None:
                if not self._sweep.serve(limit):
                    return
                self._receipts.extend(self._sweep.receipts())
                self._sweep = None
            while self._receipts:
                callback, receipt = self._receipts.popleft()
                callback(receipt)
        finally:
            self._is_sweeping = False

    def _begin(self) -> None:
        """Turn what was collected into a sweep; collecting begins anew."""
        self._sweep = _Sweep(self._events, self._due, self._careful, self._callbacks)
        self._events, self._due, self._careful, self._callbacks = [], {}, set(), {}
        self._bytes = 0
