"""One tick of the gateway: events are gathered, then each connection gets one write.

Events are noted per cohort. Outlets that are due the same events in the same encoding share the very
same joined bytes, whichever cohorts brought them there. So work is per event, and per connection and
tick, never per delivery, and every outlet sees a relay's events in increasing offset, each once.
Scheduling is passed in; a sweep over many outlets goes in slices so that the loop breathes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fanout.event import Event
from fanout.plan import Cohort, Plan
from fanout.subscription import Encoding, Outlet, Verdict


class Receipt(NamedTuple):
    """What became of an event, in outlets: `matched` (after permission) = queued + behind + dropped."""

    matched: int
    queued: int
    behind: int
    dropped: int


class _Share:
    """Outlets that are due the same events of a tick, in one encoding. The bytes are made when first wanted."""

    __slots__ = ("behind", "data", "dropped", "encoding", "indexes", "outlets", "queued")

    def __init__(self, encoding: Encoding, indexes: tuple[int, ...]) -> None:
        self.encoding = encoding
        self.indexes = indexes
        self.outlets: list[Outlet] = []
        self.data: bytes | None = None
        self.queued = self.behind = self.dropped = 0  # how many outlets so far


class _Sweep:
    """A gathered tick on its way out: its events, who is due which, and the counts so far."""

    def __init__(
        self,
        events: list[Event],
        relays: list[str],
        due: dict[Cohort, list[int]],
        callbacks: dict[int, Callable[[Receipt], None]],
    ) -> None:
        self.events = events
        self.relays = relays  # the key of each event's relay
        self.due = due
        self.shares: list[_Share] = []
        self.recheck: set[Outlet] = set()  # whose subscriptions or permissions changed since the gathering
        self._callbacks = callbacks
        self._encoded: dict[Encoding, dict[int, bytes]] = {}

    def deliver(self, share: _Share, outlet: Outlet) -> None:
        """Offer the outlet what it is due: the share's bytes, or fewer if it lost a right to some meanwhile."""
        if outlet in self.recheck:
            share = self._reduced(share, outlet)
            if not share.indexes:
                return
        verdict = outlet.admit()
        if verdict is Verdict.QUEUED:
            share.queued += 1
            if share.data is None:
                share.data = self._joined(share)
            outlet.write(share.data)
        elif verdict is Verdict.BEHIND:
            share.behind += 1
        else:
            share.dropped += 1
            for relay, (first, last) in self._spans(share.indexes).items():
                outlet.skip(relay, first, last)

    def permitted(self, outlet: Outlet) -> tuple[int, ...]:
        """The events the outlet is due by its subscriptions and permissions as they stand, asked one by one."""
        found: set[int] = set()
        for cohort, indexes in self.due.items():
            subscriptions = cohort.of(outlet)
            if subscriptions:
                addresses = ((index, self.events[index].address) for index in indexes)
                found.update(i for i, address in addresses if any(s.may_receive(address) for s in subscriptions))
        return tuple(sorted(found))

    def receipts(self) -> Iterator[tuple[Callable[[Receipt], None], Receipt]]:
        """What became of the events for which someone asked."""
        counts = {index: [0, 0, 0] for index in self._callbacks}
        for share in self.shares:
            for index in share.indexes if counts else ():
                if (count := counts.get(index)) is not None:
                    count[0] += share.queued
                    count[1] += share.behind
                    count[2] += share.dropped
        for index, callback in self._callbacks.items():
            yield callback, Receipt(sum(counts[index]), *counts[index])

    def _reduced(self, share: _Share, outlet: Outlet) -> _Share:
        """A share of its own for an outlet that is still due some of these events; the others count as dropped."""
        permitted = set(self.permitted(outlet))
        lost = _Share(share.encoding, tuple(index for index in share.indexes if index not in permitted))
        lost.dropped = 1
        kept = _Share(share.encoding, tuple(index for index in share.indexes if index in permitted))
        self.shares += (lost, kept)
        return kept

    def _joined(self, share: _Share) -> bytes:
        """The bytes of a share; an event that several shares hold is encoded once."""
        encoding, events = share.encoding, self.events
        if len(share.indexes) == len(events) and encoding not in self._encoded:
            parts = [encoding.encode(event) for event in events]
            self._encoded[encoding] = dict(enumerate(parts)) if len(self.shares) > 1 else {}
            return encoding.join(parts)
        encoded = self._encoded.setdefault(encoding, {})
        for index in share.indexes:
            if index not in encoded:
                encoded[index] = encoding.encode(events[index])
        return encoding.join([encoded[index] for index in share.indexes])

    def _spans(self, indexes: tuple[int, ...]) -> dict[str, tuple[int, int]]:
        """The first and last offset of these events, per relay."""
        spans: dict[str, tuple[int, int]] = {}
        for index in indexes:
            relay, offset = self.relays[index], self.events[index].offset
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
        max_bytes: int = 256 * 1024,
        slice_size: int = 256,
    ) -> None:
        self._schedule = schedule
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._slice_size = slice_size
        self._is_scheduled = False
        self._is_sweeping = False
        # The tick being collected.
        self._events: list[Event] = []
        self._relays: list[str] = []
        self._bytes = 0
        self._due: dict[Cohort, list[int]] = {}
        self._careful: set[Outlet] = set()
        self._callbacks: dict[int, Callable[[Receipt], None]] = {}
        # The tick being written.
        self._sweep: _Sweep | None = None
        self._targets: Iterator[tuple[_Share, Outlet]] = iter(())
        self._receipts: deque[tuple[Callable[[Receipt], None], Receipt]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting to be written or told."""
        return not (self._events or self._sweep or self._receipts)

    def publish(self, plan: Plan, event: Event, on_flushed: Callable[[Receipt], None] | None = None) -> None:
        """Queue an event for all of its plan; `on_flushed` gets its receipt after this tick's writes."""
        if on_flushed is not None:
            self._callbacks[len(self._events)] = on_flushed
        elif not plan.cohorts:
            return
        self._collect(plan, (event,))

    def publish_run(self, plan: Plan, events: Sequence[Event]) -> None:
        """The same for consecutive events of one plan, of which nobody wants receipts."""
        if plan.cohorts:
            self._collect(plan, events)

    def _collect(self, plan: Plan, events: Sequence[Event]) -> None:
        first = len(self._events)
        self._events += events
        count = len(self._events)
        self._relays += (plan.relay,) * (count - first)
        self._bytes += sum([len(event.payload) for event in events])
        for cohort in plan.cohorts:
            self._due.setdefault(cohort, []).extend(range(first, count))
        if plan.restricted:
            self._careful |= plan.restricted
        if count >= self._max_events or self._bytes >= self._max_bytes:
            self.flush()
        else:
            self._wake()

    def flush(self) -> None:
        """Write out everything pending now, an unfinished sweep first.

        Called from within a write or a receipt it does nothing: what is pending goes out right after.
        """
        if self._is_sweeping:
            return
        try:
            while not self.is_idle:
                self._advance(None)
        finally:  # an outlet that raises keeps nothing from the others
            self._wake()

    def recheck(self, outlet: Outlet) -> None:
        """Its subscriptions or permissions shrank: what is still unwritten is asked again, event by event."""
        if self._events:
            self._careful.add(outlet)
        if self._sweep is not None:
            self._sweep.recheck.add(outlet)

    def _wake(self) -> None:
        if not self._is_scheduled and not self.is_idle:
            self._is_scheduled = True
            self._schedule(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        try:
            if not self._is_sweeping:
                self._advance(self._slice_size)
        finally:
            self._wake()

    def _advance(self, limit: int | None) -> None:
        """Serve at most `limit` outlets of the current sweep (all if None); at its end tell the receipts."""
        self._is_sweeping = True
        try:
            if self._sweep is None and self._events:
                self._begin()
            if (sweep := self._sweep) is not None:
                for share, outlet in self._targets:
                    sweep.deliver(share, outlet)
                    if limit is not None and (limit := limit - 1) <= 0:
                        return
                self._sweep = None
                self._receipts.extend(sweep.receipts())
            while self._receipts:
                callback, receipt = self._receipts.popleft()
                callback(receipt)
        finally:
            self._is_sweeping = False

    def _begin(self) -> None:
        """Turn what was collected into a sweep; collecting begins anew."""
        sweep = _Sweep(self._events, self._relays, self._due, self._callbacks)
        shares = _shares(sweep, self._careful)
        sweep.shares = list(shares)  # with those that turn up on the way
        self._sweep, self._targets = sweep, _Targets(shares)
        self._events, self._relays, self._due, self._callbacks = [], [], {}, {}
        self._careful = set()
        self._bytes = 0


class _Targets(Iterator[tuple[_Share, Outlet]]):
    """The outlets of all shares, one by one. Unlike a generator it survives an exception of its user."""

    def __init__(self, shares: list[_Share]) -> None:
        self._shares = iter(shares)
        self._share: _Share | None = None
        self._outlets: Iterator[Outlet] = iter(())

    def __next__(self) -> tuple[_Share, Outlet]:
        while True:
            for outlet in self._outlets:
                assert self._share is not None
                return self._share, outlet
            self._share = next(self._shares)
            self._outlets = iter(self._share.outlets)


def _shares(sweep: _Sweep, careful: set[Outlet]) -> list[_Share]:
    """Who is due which events: each outlet in exactly one share."""
    shares: dict[tuple[Encoding, tuple[int, ...]], _Share] = {}

    def share(encoding: Encoding, indexes: tuple[int, ...]) -> _Share:
        key = (encoding, indexes)
        if key not in shares:
            shares[key] = _Share(encoding, indexes)
        return shares[key]

    several: dict[Outlet, list[Cohort]] = {}
    for cohort, indexes in sweep.due.items():
        groups = list(cohort.exclusive.items())
        if len(sweep.due) == 1:
            groups += cohort.ordered.items()  # nothing it could overlap with
        else:
            for members in cohort.ordered.values():
                for outlet in members:
                    several.setdefault(outlet, []).append(cohort)
        for encoding, members in groups:
            plain = [outlet for outlet in members if outlet not in careful] if careful else members
            if plain:
                share(encoding, tuple(indexes)).outlets.extend(plain)
    unions: dict[tuple[Cohort, ...], tuple[int, ...]] = {}
    for outlet, cohorts in several.items():
        if outlet not in careful:
            key = tuple(cohorts)
            if key not in unions:
                unions[key] = tuple(sorted(set().union(*(sweep.due[cohort] for cohort in cohorts))))
            share(outlet.encoding, unions[key]).outlets.append(outlet)
    for outlet in careful:
        indexes_permitted = sweep.permitted(outlet)
        if indexes_permitted:
            share(outlet.encoding, indexes_permitted).outlets.append(outlet)
    return list(shares.values())
