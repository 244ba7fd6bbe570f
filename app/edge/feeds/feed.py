"""The way of one subscription from its start to the present.

Theory. A `Feed` is one subscription with its mouth. If it begins in the past it is *behind*: the engine counts it so,
and it reads history in slices, never more than its peer takes. When a slice ends at the head of the stream and
nothing is pending in the tick, it becomes live in the same breath. So there is no gap, no copy and no
reordering at the seam; what history has lost meanwhile is told as a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.edge.feeds.gate import Gate
from app.edge.feeds.mouth import Mouth
from app.wire.native.query import Start
from fanout.address import Pattern
from fanout.event import Event
from fanout.history import Cursor, Gap, History
from fanout.subscription import Encoding, Outlet, Subscription, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context

SLICE_BYTES = 128 * 1024
HEARTBEAT_SECONDS = 15.0


class Beginning(NamedTuple):
    """Where a subscription begins: what its reader stands at, what it is told to be missing, what follows."""

    cursor: Cursor
    gap: Gap | None
    after: int


def find_beginning(history: History, start: Start) -> Beginning:
    """The place in the stream that `start` means. What cannot be had any more is a gap, never silence."""
    epoch = history.epoch
    if isinstance(start, Cursor):
        after, gap = history.resume(start)
        return Beginning(start if gap else Cursor(epoch, after), gap, after)
    if isinstance(start, float):
        after = history.at(start)
        if history.cut_at >= start:
            zero = Cursor(epoch, 0)
            return Beginning(zero, Gap(zero, Cursor(epoch, after), "history"), after)
    else:
        after = history.head if start == "now" else history.oldest - 1
    return Beginning(Cursor(epoch, after), None, after)


class Feed:
    """One subscription. To the engine it is an outlet itself as long as it is behind."""

    __slots__ = ("_context", "_gate", "_held", "_is_scheduled", "_is_sole", "_offset", "is_over", "mouth", "pattern")

    def __init__(self, context: Context, mouth: Mouth, pattern: Pattern, gate: Gate, *, is_sole: bool) -> None:
        self._context = context
        self._gate = gate
        self._is_sole = is_sole
        self._held: Subscription | None = None  # what the engine has of us: behind with this, live with the mouth
        self._offset = 0  # all events up to here were sent, or were not for this subscription
        self._is_scheduled = False
        self.is_over = False
        self.mouth = mouth
        self.pattern = pattern

    @property
    def encoding(self) -> Encoding:
        return self.mouth.encoding

    @property
    def is_live(self) -> bool:
        return self._held is not None and self._held.outlet is self.mouth

    # --- what its connection asks ---

    def begin(self, beginning: Beginning) -> None:
        """Take up the stream. The caller has flushed the tick, asked `find_beginning` and told the cursor."""
        self._offset = beginning.after
        if beginning.gap is not None:
            self.send_gap(beginning.gap)
        if self._offset == self.mouth.history.head:
            self._go_live()
        else:
            self._hold(self)
            self._catch_up()

    def on_writable(self) -> None:
        """The peer has caught up with its bytes."""
        if self.is_live:
            self.mouth.tell_missed()
        else:
            self._catch_up()

    def regate(self, gate: Gate) -> None:
        """The grant changed: from now this gate decides."""
        if gate != self._gate and self._held is not None:
            self._gate = gate
            self._hold(self._held.outlet)

    def end(self) -> None:
        """No event of it is written from now on."""
        self.is_over = True
        held, self._held = self._held, None
        if held is not None:
            self.mouth.realm.router.unsubscribe(held)

    # --- overridden where a replay sounds different ---

    def send(self, events: list[Event]) -> None:
        """Write events from history."""
        encoding = self.mouth.encoding
        self.mouth.outflow.write(encoding.join([encoding.encode(event) for event in events]))

    def send_gap(self, gap: Gap) -> None:
        data = self.mouth.encoding.gap(self.mouth.relay.name, gap.from_, gap.to, gap.why)
        if data:
            self.mouth.outflow.write(data)

    def on_live(self) -> None:
        """The past is told; what comes now comes as it happens."""

    # --- what the engine asks while it is behind ---

    def admit(self) -> Verdict:
        return Verdict.BEHIND

    def offer(self, data: bytes) -> Verdict:
        return Verdict.BEHIND

    def skip(self, relay: str, first: int, last: int) -> None:
        """It reads them from history."""

    # --- inside ---

    def _hold(self, outlet: Outlet) -> None:
        """Be subscribed with this outlet, instead of what was before."""
        router = self.mouth.realm.router
        self.mouth.realm.tick.flush()
        if self.is_over:  # by that flush
            return
        if self._held is not None:
            router.unsubscribe(self._held)
        is_exclusive = self._is_sole and outlet is self.mouth
        self._held = Subscription(self.mouth.relay.key, self.pattern, outlet, self._gate, is_exclusive)
        router.subscribe(self._held)

    def _catch_up(self) -> None:
        """Read slices until the peer has enough for now, or the present is reached."""
        self._is_scheduled = False
        history, held = self.mouth.history, self._held
        if held is None or self.is_live or self.mouth.outflow.is_paused:
            return
        try:
            events = history.events_after(self._offset, SLICE_BYTES)
        except LookupError:
            self._offset, gap = history.resume(Cursor(history.epoch, self._offset))
            if gap is not None:
                self.send_gap(gap)
            events = history.events_after(self._offset, SLICE_BYTES)
        permitted = [event for event in events if held.accepts(event)]
        if events:
            self._offset = events[-1].offset
        if permitted:
            self.send(permitted)
        if self.is_over:
            return
        if self._offset == history.head:
            self.mouth.realm.tick.flush()
        if self._offset == history.head:
            self._go_live()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._context.loop.call_soon(self._catch_up)

    def _go_live(self) -> None:
        self._hold(self.mouth)
        if not self.is_over:
            self.on_live()
