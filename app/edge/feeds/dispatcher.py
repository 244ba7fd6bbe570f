"""A subscription that several share, at work: it reads its relay's stream and deals the events out to consumers.

Theory. To the engine a dispatcher is one outlet. While it is *live* each tick brings it the events; when nobody takes
more, it falls behind, and reads on from history as soon as somebody does, in slices, until it has reached the present
again. It reads nothing that it could not deal out, so it holds little, however far behind it is. Which consumer gets
what is decided when it is written, never before, so nothing is lost with a consumer that was only chosen. The decisions
are `fanout.shared`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Protocol

from app.edge.feeds.beginning import Beginning
from app.edge.feeds.feed import SLICE_BYTES
from app.edge.feeds.gate import Gate
from app.edge.feeds.reader import Missing, Reader
from app.edge.presence import Following
from app.edge.realm import Realm
from app.edge.wheel import Timer
from app.errors import RelayError
from app.namespace import Relay
from fanout.address import Pattern
from fanout.event import Event
from fanout.filters import Filter
from fanout.history import Cursor, Gap
from fanout.members import Member
from fanout.shared import Pending, Shared, State, Terms
from fanout.subscription import EVENTS, Subscription, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context

UNREADABLE_SECONDS = 1.0  # until history that could not be read is tried again
CROWDED_SECONDS = 1.0  # until one that takes nothing more, for what pends in others, tries again
MOST_UNTOLD = 16  # gaps that nobody is there to be told of


class Consumer(Protocol):
    """One of those who share, as a dispatcher sees it."""

    @property
    def member(self) -> Member: ...

    def deliver(self, deliveries: Sequence[Pending]) -> None:
        """Write these, in increasing offset."""

    def tell_gap(self, gap: Gap) -> None:
        """Say that events are missing, to all who share."""

    def on_over(self, error: RelayError) -> None:
        """The subscription is over."""


class Dispatcher:
    """One shared subscription, from `start` to `close`. Its outlet methods are the engine's."""

    encoding = EVENTS

    def __init__(
        self,
        context: Context,
        realm: Realm,
        relay: Relay,
        pattern: Pattern,
        filter: Filter | None,
        terms: Terms,
    ) -> None:
        self.context = context
        self.realm = realm
        self.relay = relay
        self.pattern = pattern
        self.filter = filter
        self.history = realm.history(relay)
        self._reader = Reader(realm, self.history, self.schedule, self._on_unreadable)
        self.terms = terms
        self.is_closed = False
        self.gaps = 0
        self._consumers: dict[Member, Consumer] = {}
        self._untold: list[Gap] = []
        self._ahead: Sequence[Event] = ()  # what was read of the stream, and could not be dealt out yet
        self._since = -inf  # what was received earlier is not for this subscription
        self.is_live = False
        self._is_scheduled = False
        self._timer = Timer(context.wheel)
        self._retry = Timer(context.wheel)
        self._held: Subscription | None = None
        self._following: Following | None = None  # of who is there: without being told first who is

    def start(self, epoch: str, state: State) -> None:
        """Take up the stream at this state, of this epoch of it."""
        self.epoch = epoch  # of the cursor; the history's own, once it was read
        self.shared = Shared(self.terms, state, self.context.pending)
        self._following = self.realm.presence.follow(self.relay, self.pattern)
        self._held = Subscription(self.relay.key, self.pattern, self, self.may_receive, filter=self.filter)
        self.realm.router.subscribe(self._held, is_admitted=True)  # it was, perhaps before a restart

    def begin(self, beginning: Beginning) -> None:
        """Take up the stream at its beginning."""
        self._since = beginning.since
        self.start(self.history.epoch, State(beginning.after, {}))
        if beginning.gap is not None:
            self.note_gap(beginning.gap)

    def close(self, error: RelayError | None = None) -> None:
        """No event of it is delivered from now on; consumers that are still here are told why."""
        self.is_closed = True
        self.shared.close()
        self._timer.close()
        self._retry.close()
        held, self._held = self._held, None
        if held is not None:
            self.realm.router.unsubscribe(held)
            self.realm.vacate(self.relay)
        if self._following is not None:
            self._following.end()
        for consumer in self.consumers:
            if error is not None:
                consumer.on_over(error)

    # --- overridden by subclasses ---

    def may_receive(self, address: str) -> bool:
        """Whether events of this address are for this subscription at all."""
        return self.shared.members.permits(address)

    def on_progress(self) -> None:
        """The state has changed."""

    def see_to_dead(self) -> None:
        """Do something about what was delivered in vain."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing is delivered for now."""
        return False

    # --- who shares ---

    @property
    def cursor(self) -> Cursor:
        """All up to here is settled."""
        return Cursor(self.epoch, self.shared.state.floor)

    def deadline(self) -> float:
        """Until when a delivery that begins now may be settled; Unix seconds."""
        return self.context.clock() + self.terms.ack_wait

    @property
    def consumers(self) -> Sequence[Consumer]:
        return list(self._consumers.values())

    def join(self, consumer: Consumer) -> None:
        """Let a consumer take its part from now."""
        self._consumers[consumer.member] = consumer
        if self.shared.join(consumer.member):
            self.on_regated()
        untold, self._untold = self._untold, []
        for gap in untold:
            consumer.tell_gap(gap)
        self.schedule()

    def leave(self, consumer: Consumer) -> None:
        """A consumer goes; its part goes to the others."""
        if self._consumers.pop(consumer.member, None) is None:
            return
        if self.shared.leave(consumer.member, self.context.wheel.now()):
            self.on_regated()
        if not self._consumers:
            self._ahead = ()
        self.on_progress()
        self.schedule()

    def regate(self, consumer: Consumer, gate: Gate) -> None:
        """Its grant changed: from now this gate decides for it."""
        self.shared.regate(consumer.member, gate)
        self.on_regated()
        self.schedule()

    def wake(self, consumer: Consumer) -> None:
        """It has taken what it was owed."""
        self.shared.wake(consumer.member)
        self.schedule()

    def lend(self, consumer: Consumer, credit: int) -> None:
        """It may be given so many deliveries more."""
        self.shared.lend(consumer.member, credit)
        self.schedule()

    def ack(self, holder: object, numbers: Sequence[int]) -> list[int]:
        """These arrived; those of them that are not under way to this holder."""
        unknown = [number for number in numbers if self.shared.ack(holder, number) is None]
        self._settled()
        return unknown

    def nack(self, holder: object, numbers: Sequence[int], delay: float, reason: str) -> list[int]:
        """These did not, and are tried again after so many seconds; those that are not under way to this holder."""
        now = self.context.wheel.now()
        unknown = [number for number in numbers if self.shared.nack(holder, number, now, delay, reason) is None]
        self._settled()
        return unknown

    def reject(self, holder: object, number: int, reason: str) -> None:
        """No attempt can help with this delivery; nothing is done where it is not under way to this holder."""
        if self.shared.reject(holder, number, reason) is not None:
            self._settled()

    def give_back(self, holder: object, number: int) -> None:
        """This delivery was not tried, so that it does not count; the same."""
        if self.shared.give_back(holder, number, self.context.wheel.now()) is not None:
            self._settled()

    def note_gap(self, gap: Gap) -> None:
        """Tell everybody that events are missing; if nobody is here, whoever comes first."""
        self.gaps += 1
        self.context.counters["shared_gaps"] += 1
        for consumer in self.consumers:
            consumer.tell_gap(gap)
        if not self._consumers:
            self._untold = [*self._untold, gap][-MOST_UNTOLD:]

    # --- what the engine asks ---

    def admit(self) -> Verdict:
        return Verdict.QUEUED if self.is_live and self.shared.room else self._behind

    def offer(self, data: Sequence[Event]) -> Verdict:
        if not self.is_live:
            return self._behind
        events = [event for event in data if event.offset > self.shared.position]
        taken = events[: self.shared.room]
        if taken:
            self.shared.take(taken, taken[-1].offset)
            self._deal()
        if len(taken) == len(events):
            return Verdict.QUEUED
        self.is_live = False
        return self._behind

    def skip(self, relay: str, first: int, last: int) -> None:
        """It reads them from history."""
        self.is_live = False
        self._try_again_when_crowded()

    # --- inside ---

    @property
    def _behind(self) -> Verdict:
        return Verdict.DROPPED if self.relay.history.keep == "none" else Verdict.BEHIND

    def fall_behind(self) -> None:
        """What is published now is read later."""
        self.is_live = False

    def schedule(self) -> None:
        """Go on soon."""
        if not self._is_scheduled and not self.is_closed:
            self._is_scheduled = True
            self.context.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Deal out what waits; then read a slice, unless the present is reached or nobody takes more."""
        self._is_scheduled = False
        if self.is_closed or self.is_paused:
            return
        self._deal()
        if self.is_live or not self.shared.room:
            return
        self._read()
        self._deal()
        if not (self.is_live or self._reader.is_waiting) and self.shared.room:
            self.schedule()

    def _read(self) -> None:
        """Take the next slice of history."""
        history, shared = self.history, self.shared
        place = history.resume(Cursor(self.epoch, shared.position))
        if place.gap is not None:
            self._skip(place.gap, place.events_from)
        events, self._ahead = self._ahead, ()
        try:
            if not events or events[0].offset != shared.position + 1:
                events = self._reader.read(shared.position, SLICE_BYTES)
        except Missing as missing:
            reached, there = Cursor(self.epoch, shared.position), Cursor(self.epoch, missing.to)
            self._skip(Gap(reached, there, "history"), missing.to)
            return
        if self._reader.is_waiting:
            return
        held = self._held
        assert held is not None
        now, since = self.context.clock(), self._since
        matching = [event for event in events if event.received_at >= since and held.accepts(event, now)]
        taken = matching[: shared.room]
        is_whole = len(taken) == len(matching)
        upto = taken[-1].offset if not is_whole else events[-1].offset if events else shared.position
        shared.take(taken, upto)
        if not is_whole:
            self._ahead = [event for event in events if event.offset > upto]
        if shared.position == history.head:
            self.realm.tick.flush()
            self.is_live = shared.position == history.head and not self.is_closed
        self.on_progress()

    def _on_unreadable(self, error: RelayError) -> None:
        """The disk will be asked again."""
        self.context.wheel.after(UNREADABLE_SECONDS, self.schedule)

    def _skip(self, gap: Gap, go_on_after: int) -> None:
        """Go on behind events that are gone."""
        if gap.why == "history":
            self.shared.skip(go_on_after)
        else:
            self.shared.seek(go_on_after)
        self.epoch = self.history.epoch
        self.note_gap(gap)

    def _deal(self) -> None:
        """Give what waits to whoever can take it."""
        if self.is_paused:
            return
        given = self.shared.assign(self.context.wheel.now(), self.context.clock(), SLICE_BYTES)
        for member, deliveries in given.items():
            if (consumer := self._consumers.get(member)) is not None:  # else it ended in the middle of this
                consumer.deliver(deliveries)
        if self.shared.dead:
            self.see_to_dead()
        if given:
            self.on_progress()
            self.schedule()
        self._try_again_when_crowded()
        self._set_timer()

    def _try_again_when_crowded(self) -> None:
        if self.shared.is_crowded and not self.is_closed:
            self._retry.set(CROWDED_SECONDS, self.schedule)

    def _settled(self) -> None:
        """Deliveries ended."""
        self.on_progress()
        self.schedule()

    def on_regated(self) -> None:
        """The addresses that somebody here may receive may be others now."""
        if self._held is not None:
            self.realm.router.refresh(self)

    def _set_timer(self) -> None:
        due = self.shared.next_due
        if self.is_closed or due == inf:
            self._timer.stop()
        else:
            self._timer.set(max(0.0, due - self.context.wheel.now()), self._on_due)

    def _on_due(self) -> None:
        expired = self.shared.expire(self.context.wheel.now())
        self.context.counters["deliveries_expired"] += expired
        self._settled()
