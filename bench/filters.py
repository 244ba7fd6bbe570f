"""What filters cost an event: the engine alone, in this process, with outlets that count what they are offered."""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.wire.native.bare import BARE
from bench.fanout import PAYLOAD
from bench.load import LoadError
from bench.peers import FANWAY, RELAY
from bench.row import Line, Row, Sample, Sizes
from fanout.address import check_pattern
from fanout.event import Event
from fanout.filters import parse_filter
from fanout.router import Router
from fanout.sieve import MAX_COST
from fanout.subscription import Subscription, Verdict
from fanout.tick import Tick

BY_ADDRESS, ALL_ASKED, UNFILTERED = "by address", "all asked", "no filter"
EVENTS = 8192
A_TICK = 64  # events
_DIALECTS = ("exact", "prefix", "suffix")

Publish = Callable[[Sequence[Event]], None]


class _Counter:
    """An outlet that takes everything, and forgets it."""

    encoding = BARE

    def __init__(self) -> None:
        self.offered = 0

    def admit(self) -> Verdict:
        return Verdict.QUEUED

    def offer(self, data: bytes) -> Verdict:
        self.offered += len(data)
        return Verdict.QUEUED

    def skip(self, relay: str, first: int, last: int) -> None:
        """Never called."""


class _Audience:
    """Subscribers by pattern and filter, and how events come to them: by the engine, or by asking each of them."""

    def __init__(self, wanted: Iterable[tuple[str, Any]], *, is_asked_each: bool = False) -> None:
        self._tick = Tick(lambda callback: None)
        self._router = Router(self._tick)
        self._subscriptions = [_subscription(pattern, filter) for pattern, filter in wanted]
        self.publish: Publish = self._ask_each if is_asked_each else self._by_engine
        if not is_asked_each:
            for subscription in self._subscriptions:
                self._router.subscribe(subscription)

    def verify(self, events: Sequence[Event], deliveries: int) -> None:
        """Raises LoadError unless so many deliveries come of these events, and each to whom it is due."""
        self.publish(events)
        size = len(BARE.encode(events[0]))
        for subscription in self._subscriptions:
            outlet = subscription.outlet
            assert isinstance(outlet, _Counter)
            due = size * sum(subscription.accepts(event, 0.0) for event in events)
            if outlet.offered != due:
                raise LoadError(f"an outlet got {outlet.offered} bytes of {due}")
            deliveries -= due // size
        if deliveries:
            raise LoadError(f"{deliveries} deliveries are missing")

    def _by_engine(self, events: Sequence[Event]) -> None:
        self._router.publish(RELAY, events)
        self._tick.flush()

    def _ask_each(self, events: Sequence[Event]) -> None:
        for event in events:
            due = [subscription.outlet for subscription in self._subscriptions if subscription.accepts(event, 0.0)]
            if due:
                data = BARE.join([BARE.encode(event)])
                for outlet in due:
                    outlet.offer(data)


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    count = sizes.filters
    few = min(count, MAX_COST // 2)
    everywhere = f"{RELAY}/**"
    one, others, shared = (
        Line(f"{count:,} filters, each event for one"),
        Line(f"{few:,} filters that every event is asked, each event for one"),
        Line(f"{count:,} with the same filter, each event for all"),
    )
    found = [(everywhere, {_DIALECTS[number % 3]: {"type": _type(number)}}) for number in range(count)]
    either = [(everywhere, _either(_type(number))) for number in range(few)]
    same = [(everywhere, {"exact": {"source": "/bench"}})] * count
    rows: list[tuple[Line, str, list[Event], int, _Audience]] = []
    for line, wanted, due in ((one, found, 1), (others, either, 1), (shared, same, count)):
        events = _events(len(wanted))
        rows.append((line, FANWAY.name, events, due, _Audience(wanted)))
        if line is shared:
            rows.append((line, UNFILTERED, events, due, _Audience([(everywhere, None)] * count)))
        else:
            addresses = [(f"{RELAY}/{_type(number)}", None) for number in range(len(wanted))]
            rows.append((line, BY_ADDRESS, events, due, _Audience(addresses)))
        rows.append((line, ALL_ASKED, events, due, _Audience(wanted, is_asked_each=True)))
    gc.collect()
    gc.freeze()
    for _, _, events, due, audience in rows:
        audience.verify(events[:A_TICK], A_TICK * due)
    for _ in range(sizes.rounds):
        for line, name, events, _, audience in rows:
            line.add(name, _rate(audience.publish, events, sizes))
    gc.unfreeze()
    return [one, others, shared]


def _subscription(pattern: str, filter: Any) -> Subscription:
    wanted = None if filter is None else parse_filter(filter)
    return Subscription(RELAY, check_pattern(pattern), _Counter(), _allow, is_exclusive=True, filter=wanted)


def _events(count: int) -> list[Event]:
    """Of as many types, each at an address of its own; the same for all."""
    draw = random.Random(7)
    types = [_type(draw.randrange(count)) for _ in range(EVENTS)]
    return [
        Event(f"{RELAY}/{type}", offset, "", PAYLOAD, True, type=type, source="/bench")
        for offset, type in enumerate(types, 1)
    ]


def _either(type: str) -> dict[str, Any]:
    """Two comparisons, neither of which must hold."""
    return {"any": [{"exact": {"type": type}}, {"prefix": {"subject": type}}]}


def _type(number: int) -> str:
    """None begins or ends with another."""
    return f"t{number:05}"


def _allow(address: str) -> bool:
    return True


def _rate(publish: Publish, events: Sequence[Event], sizes: Sizes) -> Sample:
    ticks = itertools.cycle([events[at : at + A_TICK] for at in range(0, len(events), A_TICK)])
    count, began_at, busy = 0, time.perf_counter(), time.process_time()
    end_at = began_at + sizes.seconds
    while (now := time.perf_counter()) < end_at:
        publish(next(ticks))
        count += A_TICK
    return Sample(count / (now - began_at), (time.process_time() - busy) / (now - began_at), 0.0)


ROW = Row(
    name="filters",
    title="Filters: 10,000 subscriptions that want only some of a pattern's events",
    unit="events/s",
    proves="What an event costs the engine, with what it becomes on the wire, until its last outlet has been offered "
    "it. In the first two lines each filter is another, in the first `exact`, `prefix` and `suffix` in turn; `by "
    "address` is the same audience without filters, each at an address of its own, and `all asked` evaluates the "
    "filter of every subscription for every event. The second line has as many filters as a relay takes of those that "
    "cannot be found by a text. In the third all have one filter, which is asked once; `no filter` has none. That the "
    "events came to whom they were due was checked.",
    leaves_out="The network, and reading what is published.",
    peers=(FANWAY,),
    measure=measure,
)
