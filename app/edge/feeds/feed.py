"""Events in and out: publishing, and the way of one subscription from its start to the present.

Theory. A `Mouth` is one relay's stream to one peer. The engine asks it once a tick whether it may be fed; it
looks at the bytes still owed and closes a slow peer, or skips events and tells the gap as soon as it can. A
`Feed` is one subscription with its mouth. If it begins in the past it is *behind*: the engine counts it so,
and it reads history in slices, never more than its peer takes. When a slice ends at the head of the stream and
nothing is pending in the tick, it becomes live in the same breath. So there is no gap, no copy and no
reordering at the seam; what history has lost meanwhile is told as a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.access.grant import Grant
from app.edge.outflow import Outflow
from app.edge.realm import Reach, Realm
from app.namespace import Relay, Right
from app.wire.native.publication import Publication
from app.wire.native.query import Policy, Start
from app.wire.native.receipt import PublishReceipt
from fanout.address import Pattern
from fanout.event import Event
from fanout.history import Cursor, Gap, History
from fanout.subscription import Encoding, Outlet, Subscription, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context

SLICE_BYTES = 128 * 1024
HEARTBEAT_SECONDS = 15.0


def publish(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: Callable[[PublishReceipt], None] | None = None,
) -> None:
    """Accept an event: it has its place in the stream when this returns; the receipt comes after its flush.

    The permission was checked by `app.edge.feeds.callers.may_publish`, which also gave the canonical address.
    """
    history = realm.history(relay)
    event = publication.as_event(address, history.next_offset(), now)
    history.append(event, now)
    realm.touch(relay)
    plan = realm.router.plan(relay.key, address)
    if on_receipt is None:
        realm.tick.publish(plan, event)
        return
    cursor, tell = str(history.cursor), on_receipt
    realm.tick.publish(plan, event, lambda receipt: tell(PublishReceipt(event.id_in(history.epoch), cursor, *receipt)))


def publish_run(realm: Realm, relay: Relay, events: Sequence[Event], now: float) -> None:
    """Accept events of one relay, which ask for no receipt; their offsets are the next ones of its history."""
    realm.history(relay).extend(events, now)
    realm.touch(relay)
    realm.router.publish(relay.key, events)


@dataclass(frozen=True, slots=True)
class Gate:
    """The permission check of a subscription: the grant, asked for each concrete address.

    Gates are equal when they let the same through, whichever token they came from, so that a plan asks once
    for all.
    """

    grant: Grant = field(compare=False)
    relay: Relay
    reach: Reach

    @classmethod
    def of(cls, grant: Grant, relay: Relay) -> Gate:
        return cls(grant, relay, grant.reach)

    def __call__(self, address: str) -> bool:
        return self.grant.permits(Right.SUBSCRIBE, self.relay, address)


class Voice(Encoding, Protocol):
    """An encoding that can also say what is no event; empty where it has no words for it."""

    def ready(self, relay: str, cursor: Cursor) -> bytes: ...

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes: ...

    def position(self, relay: str, cursor: Cursor) -> bytes: ...


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


class Mouth:
    """The outlet of one relay's stream to one peer. `on_slow` must end the connection, or at least this mouth."""

    __slots__ = ("_missed", "_on_slow", "budget", "encoding", "history", "outflow", "policy", "realm", "relay")

    def __init__(
        self,
        realm: Realm,
        relay: Relay,
        outflow: Outflow,
        encoding: Voice,
        on_slow: Callable[[], None],
        policy: Policy,
        budget: int,
    ) -> None:
        self.realm = realm
        self.relay = relay
        self.history = realm.history(relay)
        self.outflow = outflow
        self.encoding = encoding
        self._on_slow = on_slow
        self._missed: tuple[int, int] | None = None  # first and last offset skipped and not yet told
        self.limit(policy, budget)

    def limit(self, policy: Policy, budget: int) -> None:
        """From now a peer that is owed more than `budget` bytes is slow, and `policy` says what then."""
        self.policy, self.budget = policy, budget
        self.outflow.lower_mark(budget)  # so that the transport tells when it has drained so far

    # --- what the engine asks ---

    def admit(self) -> Verdict:
        """By the bytes owed before this tick. A slow peer with the policy `close` is on its way out after this."""
        if self.outflow.is_paused and self.outflow.backlog() > self.budget:
            if self.policy == "close":
                self._on_slow()
            return Verdict.DROPPED
        return Verdict.QUEUED

    def offer(self, data: bytes) -> Verdict:
        outflow = self.outflow
        if outflow.is_paused and self.admit() is Verdict.DROPPED:  # unless paused it owes less than any budget
            return Verdict.DROPPED
        if self._missed is not None:
            self.tell_missed()
        outflow.write(data)
        return Verdict.QUEUED

    def skip(self, relay: str, first: int, last: int) -> None:
        self._missed = (first if self._missed is None else self._missed[0], last)

    # --- what its connection asks ---

    def tell_missed(self) -> None:
        """Tell the gap that skipping has torn, if there is one; call it when the peer reads again."""
        if self._missed is not None:
            (first, last), self._missed = self._missed, None
            epoch = self.history.epoch
            gap = self.encoding.gap(self.relay.name, Cursor(epoch, first - 1), Cursor(epoch, last), "slow")
            self.outflow.write(gap)

    def tell_position(self) -> None:
        """The heartbeat of a live stream that is not slow: everything up to here was seen."""
        if self.outflow.is_paused:
            return
        self.realm.tick.flush()
        self.tell_missed()
        data = self.encoding.position(self.relay.name, self.history.cursor)
        if data:
            self.outflow.write(data)


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
        """Never called: it has not dropped anything."""

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
        permitted = [event for event in events if held.accepts(event.address)]
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


def budget_of(context: Context, relay: Relay, wanted: int | None) -> int:
    """The bytes a connection may be owed: the least of what the gateway, the relay and the subscriber say."""
    allowed = min(relay.budget, context.settings.budgets.connection_bytes)
    return allowed if wanted is None else min(allowed, wanted)
