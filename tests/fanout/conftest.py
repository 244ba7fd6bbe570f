"""A world for the engine: a router and a tick whose scheduler the test drives by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fanout.address import check_pattern
from fanout.event import Event
from fanout.filters import parse_filter
from fanout.router import Router
from fanout.subscription import Subscription, Verdict
from fanout.tick import Receipt, Tick


class LineEncoding:
    """One line per event, `address offset`; counts what it is asked to do."""

    name = "lines"

    def __init__(self) -> None:
        self.encoded = self.joined = 0

    def encode(self, event: Event) -> bytes:
        self.encoded += 1
        return f"{event.address} {event.offset}\n".encode()

    def join(self, parts: list[bytes]) -> bytes:
        self.joined += 1
        return b"".join(parts)


class RecordingOutlet:
    """Keeps what it is given; answers `verdict`; runs `on_write` inside its write."""

    def __init__(self, encoding: LineEncoding) -> None:
        self.encoding = encoding
        self.verdict = Verdict.QUEUED
        self.writes: list[bytes] = []
        self.skips: list[tuple[str, int, int]] = []
        self.offers = 0
        self.denied: set[str] = set()
        self.on_write: Callable[[], None] = lambda: None

    def admit(self) -> Verdict:
        return self.verdict

    def offer(self, data: bytes) -> Verdict:
        self.offers += 1
        if self.verdict is Verdict.QUEUED:
            self.writes.append(data)
            self.on_write()
        return self.verdict

    def skip(self, relay: str, first: int, last: int) -> None:
        self.skips.append((relay, first, last))

    def may_receive(self, address: str) -> bool:
        return address not in self.denied

    @property
    def received(self) -> list[tuple[str, int]]:
        """Address and offset of every event written."""
        lines = b"".join(self.writes).decode().splitlines()
        return [(address, int(offset)) for address, offset in (line.rsplit(" ", 1) for line in lines)]


class World:
    """The relay of an address is its first segment."""

    def __init__(self, **options: int) -> None:
        limits = {name: options.pop(name) for name in ("plan_limit", "patch_limit") if name in options}
        self.scheduled: list[Callable[[], None]] = []
        self.tick = Tick(self.scheduled.append, **options)
        self.router = Router(self.tick, **limits)
        self.encoding = LineEncoding()
        self.heads: dict[str, int] = {}
        self.receipts: dict[int, Receipt] = {}
        self.published: list[Event] = []

    def outlet(self, encoding: LineEncoding | None = None) -> RecordingOutlet:
        return RecordingOutlet(encoding or self.encoding)

    def subscribe(
        self, pattern: str, outlet: RecordingOutlet | None = None, *, is_exclusive: bool = False, filter: Any = None
    ) -> Subscription:
        """`filter` is as in JSON, or None."""
        outlet = outlet or self.outlet()
        parsed = check_pattern(pattern)
        wanted = None if filter is None else parse_filter(filter)
        subscription = Subscription(parsed.segments[0], parsed, outlet, outlet.may_receive, is_exclusive, wanted)
        self.router.subscribe(subscription)
        return subscription

    def publish(self, address: str, payload: bytes = b"", type: str | None = None) -> int:
        """Publish and ask for the receipt; the number of the event, under which its receipt will lie."""
        number = len(self.published)
        event = self._accept(address, payload, type)
        plan = self.router.plan(address.partition("/")[0], address)
        self.tick.publish(plan, event, lambda receipt: self.receipts.__setitem__(number, receipt))
        return number

    def publish_run(self, address: str, types: Sequence[str | None]) -> None:
        """Publish several events at once, asking for no receipt."""
        events = [self._accept(address, b"", type) for type in types]
        self.tick.publish_run(self.router.plan(address.partition("/")[0], address), events)

    def publish_all(self, places: Sequence[tuple[str, str | None]]) -> None:
        """Publish events of one relay, each an address and a type, at once, asking for no receipt."""
        events = [self._accept(address, b"", type) for address, type in places]
        self.router.publish(events[0].address.partition("/")[0], events)

    def _accept(self, address: str, payload: bytes, type: str | None) -> Event:
        relay = address.partition("/")[0]
        self.heads[relay] = self.heads.get(relay, 0) + 1
        event = Event(address, self.heads[relay], str(len(self.published)), payload, type=type)
        self.published.append(event)
        return event

    def step(self) -> None:
        """Let the loop come round once."""
        due, self.scheduled[:] = self.scheduled[:], []
        for callback in due:
            callback()


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    """Call it for a world of one's own (hypothesis wants one per example)."""
    return World


@pytest.fixture
def world() -> World:
    return World()
