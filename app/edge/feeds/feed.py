"""The way of one subscription from its start to the present.

Theory. A `Feed` is one subscription with its mouth. If it begins in the past it is *behind*: the engine counts it so,
and it reads history in slices, never more than its peer takes. When a slice ends at the head of the stream and
nothing is pending in the tick, it becomes live in the same breath. So there is no gap, no copy and no
reordering at the seam; what history has lost meanwhile is told as a gap. A peer too slow for the live stream may fall
behind again (the policy `catch-up`), and comes back by the same way. Slices that are not in memory are read from disk,
one at a time, while everything goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from app.edge.feeds.beginning import Beginning, find_beginning
from app.edge.feeds.client import Client, transport_of
from app.edge.feeds.gate import Gate
from app.edge.feeds.mouth import Mouth
from app.edge.feeds.reader import Missing, Reader
from app.edge.feeds.walk import Walk
from app.edge.presence import Following, Kind, Particulars, RollCall, is_presence
from app.errors import RelayError
from app.namespace import Relay
from app.wire.native.query import Start
from fanout.address import Pattern
from fanout.event import Event
from fanout.filters import Filter
from fanout.history import Cursor, Gap
from fanout.subscription import Encoding, Outlet, Subscription, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context

SLICE_BYTES = 128 * 1024
HEARTBEAT_SECONDS = 15.0


class Feed:
    """One subscription. To the engine it is an outlet itself as long as it is behind."""

    __slots__ = (
        "_client",
        "_context",
        "_filter",
        "_following",
        "_gate",
        "_held",
        "_is_scheduled",
        "_is_sole",
        "_not_before",
        "_reader",
        "_since",
        "_starts_with_retained",
        "_walk",
        "is_over",
        "mouth",
        "number",
        "offset",
        "pattern",
    )

    kind: Kind = "subscriber"

    def __init__(
        self,
        context: Context,
        client: Client,
        mouth: Mouth,
        pattern: Pattern,
        gate: Gate,
        filter: Filter | None = None,
        *,
        is_sole: bool,
    ) -> None:
        self._client = client
        self._context = context
        self._following: Following | None = None  # of system addresses: who comes and goes
        self._gate = gate
        self._filter = filter
        self._is_sole = is_sole
        self._held: Subscription | None = None  # what the engine has of us: behind with this, live with the mouth
        self.offset = 0  # while behind: all events up to here were sent, or were not for this subscription
        self._not_before = -inf  # what was received earlier is not asked for
        self._reader: Reader | None = None  # while behind; most that are live were never
        self._is_scheduled = False
        self._since = mouth.realm.now()
        self._starts_with_retained = False
        self._walk: Walk | None = None  # through what the relay retains, before it reads history
        self.is_over = False
        self.number = 0
        self.mouth = mouth
        self.pattern = pattern

    @property
    def encoding(self) -> Encoding:
        return self.mouth.encoding

    @property
    def is_live(self) -> bool:
        return self._held is not None and self._held.outlet is self.mouth

    @property
    def is_caught_up(self) -> bool:
        """Whether everything was told that happened before now."""
        call = self._call
        return self.offset == self.mouth.history.head and self._walk is None and (call is None or call.is_told)

    @property
    def is_telling_retained(self) -> bool:
        return self._walk is not None and not self._walk.is_torn

    # --- what its connection asks ---

    def find_beginning(self, start: Start) -> Beginning:
        """Where it begins. The caller has flushed the tick; it tells the cursor, then calls `begin`."""
        beginning = self._find_beginning(start)
        self.offset = beginning.after
        if start == "retained" and (retained := self.mouth.history.retained) is not None:
            self._starts_with_retained = True
            self._walk = Walk(retained, self.pattern, beginning.after)
        return beginning

    def begin(self, beginning: Beginning) -> None:
        """Take up the stream at what `find_beginning` has found."""
        self._not_before = beginning.since
        if beginning.gap is not None:
            self.send_gap(beginning.gap)
        if self.is_caught_up:
            self._go_live()
        else:
            self._hold(self)
            self.catch_up()
        if not self.is_over:
            self.mouth.realm.presence.come(self)
            if beginning.gap is not None:
                self._note(beginning.gap)

    def on_writable(self) -> None:
        """The peer has caught up with its bytes."""
        if self.is_live:
            self.mouth.on_drained()
        else:
            self.catch_up()

    def tell_position(self) -> None:
        """The heartbeat: how far the peer has come, where that is certain."""
        if self.is_live:
            self.mouth.tell_position()

    def regate(self, gate: Gate) -> None:
        """The grant changed: from now this gate decides."""
        if gate != self._gate and self._held is not None:
            self._gate = gate
            self._hold(self._held.outlet)

    def end(self) -> None:
        """No event of it is written from now on."""
        if self.is_over:
            return
        self.is_over = True
        held, self._held = self._held, None
        if held is not None:
            self.mouth.leave(self)
            self.mouth.realm.router.unsubscribe(held)
        if self._following is not None:
            self._following.end()
        self.mouth.realm.presence.go(self)

    # --- what its mouth asks ---

    def fall_behind(self, after: int) -> None:
        """Leave the live stream; of what came after the offset `after` nothing was written."""
        if self.is_over:
            return
        self.offset = max(self.offset, after)  # it may have gone live after that
        self._hold(self)
        if not self.is_over:
            self.on_behind()

    def catch_up(self) -> None:
        """Read slices until the peer has enough for now, or the present is reached."""
        self._is_scheduled = False
        held = self._held
        if held is None or self.is_live or self.mouth.outflow.is_paused:
            return
        now, earliest = self.mouth.realm.now(), self._not_before
        events = self._read(held, now)
        if self.is_over or (self._reader is not None and self._reader.is_waiting):
            return
        permitted = [event for event in events if event.received_at >= earliest and held.accepts(event, now)]
        if (call := self._call) is not None:
            permitted = [call.place(event) for event in permitted if not is_presence(event.address)]
            permitted += call.take(held, now)
        if permitted:
            self.send(permitted, self.mouth.history.epoch if call is None else call.epoch)
        if not self.is_over and self.is_caught_up:
            self.mouth.realm.tick.flush()
        if self.is_over:
            return
        if self.is_caught_up:
            self._go_live()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._context.loop.call_soon(self.catch_up)

    # --- who it is, for those who ask who is there ---

    @property
    def relay(self) -> Relay:
        return self.mouth.relay

    @property
    def place(self) -> str:
        return self.pattern.text

    @property
    def prefix(self) -> str:
        return self.pattern.prefix

    @property
    def count(self) -> int:
        return self.mouth.realm.router.count_at(self.relay.key, self.place)

    def particulars(self) -> Particulars:
        client = self._client
        transport, holder = transport_of(self.encoding), self._gate.grant.holder
        return Particulars(transport, holder, client.peer_address(), self._since, {"session": client.session_id})

    # --- overridden where a replay sounds different ---

    def send(self, events: list[Event], epoch: str) -> None:
        """Write events that are for this subscription alone."""
        self.mouth.outflow.write(self.encoded(events, epoch))

    def encoded(self, events: list[Event], epoch: str) -> bytes:
        """Events of a stream of this epoch as the bytes of one write."""
        encoding = self.mouth.encoding.in_epoch(epoch)
        data: bytes = encoding.join([encoding.encode(event) for event in events])
        return data

    def send_gap(self, gap: Gap) -> None:
        data = self.mouth.encoding.gap(self.mouth.relay.name, gap.from_, gap.to, gap.why)
        if data:
            self.mouth.outflow.write(data)

    def on_retained(self) -> None:
        """What the relay retains is told: whoever returns goes on from here, not from those older places."""
        history = self.mouth.history
        data = self.mouth.encoding.position(self.mouth.relay.name, Cursor(history.epoch, self.offset))
        if data:
            self.mouth.outflow.write(data)

    def on_live(self) -> None:
        """The past is told; what comes now comes as it happens."""

    def on_behind(self) -> None:
        """It was live, and reads from history again."""

    # --- what the engine asks while it is behind ---

    def admit(self) -> Verdict:
        return Verdict.BEHIND

    def offer(self, data: bytes) -> Verdict:
        return Verdict.BEHIND

    def skip(self, relay: str, first: int, last: int) -> None:
        """It reads them from history."""

    # --- inside ---

    def _find_beginning(self, start: Start) -> Beginning:
        history = self.mouth.history
        following = self._following = self.mouth.realm.presence.follow(self.mouth.relay, self.pattern)
        beginning = find_beginning(history, start)
        if following is None or (start != "now" and beginning.gap is None and following.can_begin(start)):
            return beginning
        place, gap = following.call_roll(), beginning.gap
        if start != "now":  # what follows the cursor is lost
            why = "history" if gap is None else gap.why
            gap = Gap(beginning.cursor, place, why)
        return Beginning(place if gap is None else beginning.cursor, gap, history.head)

    def _hold(self, outlet: Outlet) -> None:
        """Be subscribed with this outlet, instead of what was before."""
        router = self.mouth.realm.router
        self.mouth.realm.tick.flush()
        if self.is_over:  # by that flush
            return
        if self._held is not None:
            router.unsubscribe(self._held)
        if outlet is self.mouth:
            self.mouth.join(self)
            self._reader = None
        else:
            self.mouth.leave(self)
        is_exclusive = self._is_sole and outlet is self.mouth
        self._held = Subscription(
            self.mouth.relay.key, self.pattern, outlet, self._gate, is_exclusive, self._filter, holder=self
        )
        router.subscribe(self._held)

    @property
    def _call(self) -> RollCall | None:
        """The roll call that this subscription is in the midst of."""
        return None if self._following is None else self._following.call

    def _read(self, held: Subscription, now: float) -> Sequence[Event]:
        """The next slice of what is retained, or of history; if what comes next is lost, that is told, and the next
        slice goes on behind it. Nothing if it has to be read from disk first."""
        history = self.mouth.history
        size = min(SLICE_BYTES, self.mouth.budget)
        if self._walk is not None:
            found = self._walk.read(size)
            if self._walk.is_torn:
                self._tell_torn([event for event in found if held.accepts(event, now)])
                return []
            if found or not self._walk.is_over:
                return found
            self._walk = None
            self.on_retained()
        if self._call is not None and is_presence(self.pattern.prefix):
            self.offset = history.head  # the roll call tells it all
        reader = self._reader = self._reader or Reader(self.mouth.realm, history, self._on_slice, self._on_unreadable)
        try:
            events = reader.read(self.offset, size)
        except Missing as missing:
            reached, self.offset = self.offset, missing.to
            gap = Gap(Cursor(history.epoch, reached), Cursor(history.epoch, missing.to), "history")
            self.send_gap(gap)
            self._note(gap)
            return ()
        except LookupError:
            self._tell_gap()
            return ()
        if events:
            self.offset = events[-1].offset
        return events

    def _on_slice(self) -> None:
        """What was on disk has come."""
        if not self.is_over:
            self.catch_up()

    def _on_unreadable(self, error: RelayError) -> None:
        if not self.is_over:
            self._client.on_unreadable(error)

    def _tell_gap(self) -> None:
        """What comes next is lost. Who follows presence is told anew who is there."""
        history, following = self.mouth.history, self._following
        reached = Cursor(history.epoch, self.offset)
        if following is None:
            after, gap = history.resume(reached)
            if self._starts_with_retained and (retained := history.retained) is not None:
                self._walk = Walk(retained, self.pattern, after, after=self.offset, is_torn=True)
                if gap is not None:
                    self._note(gap)  # one, though it is told in pieces
                return
            self.offset = after
        else:
            reached = reached if following.call is None else following.call.cursor
            self.offset, gap = history.head, Gap(reached, following.call_roll(), "history")
        if gap is not None:
            self._note(gap)
            self.send_gap(gap)

    def _note(self, gap: Gap) -> None:
        self.mouth.realm.slowness.note_gap(self.mouth, (self,), gap.from_, gap.to, gap.why)

    def _tell_torn(self, events: list[Event]) -> None:
        """What is retained of lost history, and the gaps between."""
        walk, epoch = self._walk, self.mouth.history.epoch
        assert walk is not None
        for event in events:
            self._tell_lost(event.offset - 1)
            self.send([event], epoch)
            self.offset = event.offset
        if walk.is_over:
            self._walk = None
            self._tell_lost(walk.up_to)

    def _tell_lost(self, up_to: int) -> None:
        if up_to > self.offset:
            epoch = self.mouth.history.epoch
            self.send_gap(Gap(Cursor(epoch, self.offset), Cursor(epoch, up_to), "history"))
            self.offset = up_to

    def _go_live(self) -> None:
        if self._following is not None and (call := self._following.call) is not None:
            history = self.mouth.history
            self._following.end_roll()
            self.send([call.closing(history.head, self.mouth.realm.now())], history.epoch)
            if self.is_over:  # a poll, answered
                return
        self._hold(self.mouth)
        if not self.is_over:
            self.on_live()
