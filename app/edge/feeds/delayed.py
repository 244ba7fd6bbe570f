"""Events that wait for their time: accepted once they are on disk, published when they are due.

Theory. What waits is in the journal alone; in memory are how many, and when to look next. When that time comes a slice
of what is due is read, published by the ordinary way in, and removed; in a durable relay by the very commit that keeps
the event, so that it is published once, whatever happens; elsewhere it is removed first. Then the next slice is read.
The right to publish was asked when the event was accepted; who may receive it is asked at its time.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from app.edge.feeds.duplicates import key_from
from app.edge.feeds.intake import OnFailure, OnReceipt, accept
from app.edge.journal import DelayedTable, Journal, Statement
from app.edge.wheel import Timer, Wheel
from app.errors import BadRequest, Conflict, EndpointNotFound, Overloaded, QuotaExceeded, RelayError
from app.namespace import Namespace, Relay
from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt
from app.wire.native.terms import NO_TERMS, Terms
from fanout.event import DelayedEvent, Event, rfc3339

if TYPE_CHECKING:
    from app.config import Limits
    from app.edge.realm import Realm

_log = logging.getLogger("fanway.delayed")

SLICE_EVENTS = 256
LONGEST_SECONDS = 60.0  # between two looks: the wall clock may be set
RETRY_SECONDS = 5.0
UNSAVED_BYTES = 32 << 20  # that may wait for the disk at once


class Delayed:
    """All events of a gateway that wait. `load` it once its realms are there, which `serve` names to it.

    How long an event may wait, and how many of a relay may, is in `limits`.
    """

    def __init__(
        self,
        journal: Journal,
        table: DelayedTable,
        wheel: Wheel,
        clock: Callable[[], float],
        limits: Limits,
    ) -> None:
        self.table = table
        self._journal = journal
        self._clock = clock
        self._most_seconds = limits.delay_seconds
        self._most_events = limits.delayed_events
        self._timer = Timer(wheel)
        self._realms: dict[str, Realm] = {}
        self._counts: Counter[tuple[str, str]] = Counter()  # by namespace and relay
        self._last = 0  # number given
        self._unsaved = 0
        self._next = inf  # when the next is due, as far as is known
        self._is_busy = False  # something that is due is being published
        self._leaving: set[int] = set()  # is
        self._cancelled: set[int] = set()  # meanwhile
        self._awaited = 0  # parts of a slice
        self._is_failing = False

    def serve(self, realm: Realm) -> None:
        """Events may wait there from now."""
        self._realms[realm.namespace.name] = realm

    def leave(self, realm: Realm) -> None:
        """The namespace is gone, and all that waits there with it."""
        self._realms.pop(realm.namespace.name, None)
        for namespace, relay in list(self._counts):
            if namespace == realm.namespace.name:
                self.drop(namespace, relay)

    async def load(self) -> None:
        """Take up what waits since before; what is overdue goes at once. Raises StoreUnavailable."""
        self._last = await self.table.last_number()
        lost: list[Statement] = []
        for namespace, key, made_at, address, count in await self.table.counts():
            realm = self._realms.get(namespace)
            relay = realm.namespace.relays.get(key) if realm is not None else None
            if realm is not None and relay is None and made_at == 0:
                relay = realm.reopen(address)
            if relay is None or made_at not in (0, made_at_of(relay)):
                _log.warning("%d delayed events of the relay %s, which is gone, are dropped", count, key)
                lost.append(self.table.remove_of(namespace, key, made_at))
            else:
                self._counts[namespace, key] += count
        if lost:
            await self._journal.commit(*lost)
        await self._load_ids()
        self._look(0.0)

    async def _load_ids(self) -> None:
        """Whoever repeats what waits shall be told so."""
        now = self._clock()
        longest = max(
            (relay.dedup_seconds for realm in self._realms.values() for relay in realm.namespace.relays.values()),
            default=0.0,
        )
        for waiting in await self.table.since(now - longest) if longest else ():
            realm = self._realms[waiting.namespace]
            relay, event = realm.namespace.relays.get(waiting.relay), waiting.event
            if relay is not None and event.received_at >= now - relay.dedup_seconds:
                key = key_from(event.source, event.address, event.id)
                realm.duplicates(relay).note(key, _receipt(waiting), event.received_at)

    # --- coming ---

    def check(self, realm: Realm, relay: Relay, dues: Sequence[float], now: float) -> None:
        """Return when so many more events may wait there until then. Raises BadRequest, QuotaExceeded, Overloaded."""
        if max(dues) > now + self._most_seconds:
            raise BadRequest(f"An event may wait for at most {self._most_seconds / 86_400:g} days.")
        if self.count(realm.namespace, relay) + len(dues) > self._most_events:
            raise QuotaExceeded(f"At most {self._most_events} events may wait at '{relay.name}'.", retry_after=60)
        if self._unsaved > UNSAVED_BYTES:
            raise Overloaded("More is waiting for the disk than may. Try again.", retry_after=1)

    def hold(
        self,
        realm: Realm,
        relay: Relay,
        address: str,
        publication: Publication,
        now: float,
        on_receipt: OnReceipt | None,
        on_failure: OnFailure | None,
    ) -> None:
        """Keep an event until it is due; the receipt comes once it is on disk. The caller has asked `check`."""
        terms = publication.terms or NO_TERMS
        due = terms.due(now)
        self._last = number = max(self._last + 1, int(now * 1e6))  # never that of an earlier one, whatever was removed
        held = publication._replace(
            id=publication.id or secrets.token_hex(12),
            terms=Terms(expires_at=None if terms.expiry(due) == inf else terms.expiry(due), retain=terms.retain),
        )
        place = number, realm.namespace.name, relay.key, made_at_of(relay), due
        waiting = DelayedEvent(*place, held.as_event(address, 0, now), len(held.payload))
        self._counts[place[1], place[2]] += 1
        self._unsaved += waiting.size

        def done(error: RelayError | None) -> None:
            self._unsaved -= waiting.size
            if error is None and not realm.has(relay):
                error = EndpointNotFound("The relay was deleted.")
            elif error is not None:
                self._counts[place[1], place[2]] -= 1
            if error is not None:
                if on_failure is not None:
                    on_failure(error)
                return
            if due < self._next:
                self._look(due - self._clock())
            if on_receipt is not None:
                on_receipt(_receipt(waiting))

        realm.touch(relay)
        self._journal.write(lambda: [self.table.put(waiting)], done)

    # --- what is asked about it ---

    def count(self, namespace: Namespace, relay: Relay) -> int:
        """How many wait at a relay."""
        return self._counts[namespace.name, relay.key]

    async def of(self, namespace: Namespace, relay: Relay, limit: int) -> list[DelayedEvent]:
        """Those of a relay, the next first, without their payloads. Raises StoreUnavailable."""
        found = await self.table.of(namespace.name, relay.key, limit)
        return [waiting for waiting in found if waiting.made_at in (0, made_at_of(relay))]  # not of one before it

    async def one(self, namespace: Namespace, number: int) -> DelayedEvent | None:
        """The one of that number. Raises StoreUnavailable."""
        return await self.table.one(namespace.name, number)

    async def cancel(self, waiting: DelayedEvent) -> None:
        """It is not published. Raises Conflict where that is under way, EndpointNotFound, StoreUnavailable."""
        if waiting.number in self._leaving:
            raise Conflict("It is just being published.")
        if waiting.number in self._cancelled:
            raise EndpointNotFound("No such event waits.")
        await self._cancel([waiting])

    async def cancel_all(self, namespace: Namespace, relay: Relay) -> None:
        """None of a relay is published, but for those where that is under way. Raises StoreUnavailable."""
        apart = self._leaving | self._cancelled
        found = await self.of(namespace, relay, self._most_events)
        await self._cancel([waiting for waiting in found if waiting.number not in apart | self._leaving])

    async def _cancel(self, waiting: Sequence[DelayedEvent]) -> None:
        numbers = [each.number for each in waiting]
        self._cancelled.update(numbers)
        try:
            await self._journal.commit(self.table.remove(numbers))
            for each in waiting:
                self._counts[each.namespace, each.relay] -= 1
                self._forget(each)
        except RelayError:
            self._cancelled.difference_update(numbers)  # what was passed over meanwhile is due at the next look
            raise
        if not self._is_busy:
            self._cancelled.difference_update(numbers)

    def _forget(self, waiting: DelayedEvent) -> None:
        """Its id is free again."""
        realm, event = self._realms.get(waiting.namespace), waiting.event
        relay = realm.namespace.relays.get(waiting.relay) if realm is not None else None
        if realm is not None and relay is not None:
            realm.duplicates(relay).forget(key_from(event.source, event.address, event.id))

    def drop(self, namespace: str, relay: str) -> None:
        """The relay is gone, and all that waits there with it; where that fails, it is found to be another relay's."""
        if self._counts.pop((namespace, relay), 0):
            self._journal.write(lambda: [self.table.remove_of(namespace, relay)], lambda error: None)

    # --- going ---

    def _look(self, seconds: float) -> None:
        """Look what is due, after that time."""
        self._next = self._clock() + seconds
        self._timer.set(min(max(seconds, 0.0), LONGEST_SECONDS), self._ring)

    def _ring(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self.table.due(self._clock(), SLICE_EVENTS, self._release)

    def _release(self, due: list[DelayedEvent], error: RelayError | None) -> None:
        """Publish a slice of what is due."""
        if error is not None:
            self._rest(RETRY_SECONDS)
            return
        due = [waiting for waiting in due if waiting.number not in self._cancelled]
        self._leaving = {waiting.number for waiting in due}
        if not due:
            self.table.next_due(self._on_next)
            return
        apart: list[tuple[DelayedEvent, Realm | None, Relay | None]] = []
        self._awaited = 1
        for waiting in due:
            realm, relay = self._place(waiting)
            if realm is not None and relay is not None and realm.history(relay).log is not None:
                self._awaited += 1
                self._append(waiting, realm, relay)
            else:
                apart.append((waiting, realm, relay))
        numbers = [waiting.number for waiting, _, _ in apart]

        def done(error: RelayError | None) -> None:
            for waiting, realm, relay in apart if error is None else ():
                self._counts[waiting.namespace, waiting.relay] -= 1
                if realm is not None and relay is not None and realm.has(relay):
                    accept(
                        realm, relay, _event(waiting, realm, relay), realm.now(), partial(_note, waiting, realm, relay)
                    )
            self._ended(error)

        if numbers:
            self._journal.write(lambda: [self.table.remove(numbers)], done)
        else:
            self._ended(None)

    def _append(self, waiting: DelayedEvent, realm: Realm, relay: Relay) -> None:
        """Publish one in a durable relay, and remove it by the same commit."""

        def on_receipt(receipt: PublishReceipt) -> None:
            _note(waiting, realm, relay, receipt)
            self._counts[waiting.namespace, waiting.relay] -= 1
            self._ended(None)

        event, removal = _event(waiting, realm, relay), self.table.remove([waiting.number])
        realm.appender.append(realm, relay, (event,), on_receipt, self._ended, None, removal)

    def _ended(self, error: RelayError | None) -> None:
        """One part of the slice came to its end."""
        self._awaited -= 1
        if error is not None:
            self._is_failing = True
        if self._awaited:
            return
        failing, self._is_failing = self._is_failing, False
        self._leaving = set()
        if failing:
            self._rest(RETRY_SECONDS)
        else:
            self.table.due(self._clock(), SLICE_EVENTS, self._release)

    def _on_next(self, due: float | None, error: RelayError | None) -> None:
        if error is not None:
            self._rest(RETRY_SECONDS)
        else:
            self._rest(LONGEST_SECONDS if due is None else due - self._clock())

    def _rest(self, seconds: float) -> None:
        self._is_busy = False
        self._cancelled.clear()
        self._look(seconds)

    def _place(self, waiting: DelayedEvent) -> tuple[Realm | None, Relay | None]:
        """Where one is to be published; nowhere if its relay is gone, or its address is another's by now."""
        realm = self._realms.get(waiting.namespace)
        relay = realm.namespace.find(waiting.event.address) if realm is not None else None
        if relay is None or relay.key != waiting.relay or waiting.made_at not in (0, made_at_of(relay)):
            _log.warning("a delayed event for %s is dropped: its relay is gone", waiting.event.address)
            return realm, None
        return realm, relay


def made_at_of(relay: Relay) -> float:
    """What tells a relay from others that had its name before; those that came into being by use are all one."""
    return 0.0 if relay.is_dynamic else relay.created_at


def _event(waiting: DelayedEvent, realm: Realm, relay: Relay) -> Event:
    """It, as published now, at the next place of its relay; it is the last of its address if there is room for that."""
    history, event = realm.history(relay), waiting.event
    is_retained = event.is_retained and (
        history.retained is None or history.retained.has_room(event.address, len(event.payload))
    )
    return event._replace(offset=history.next_offset(), received_at=realm.now(), is_retained=is_retained)


def _note(waiting: DelayedEvent, realm: Realm, relay: Relay, receipt: PublishReceipt) -> None:
    """Who repeats it from now is told where it is."""
    event = waiting.event
    if relay.dedup_seconds:
        realm.duplicates(relay).note(key_from(event.source, event.address, event.id), receipt, realm.now())


def _receipt(waiting: DelayedEvent) -> PublishReceipt:
    due, id = rfc3339(waiting.due), waiting.event.id
    return PublishReceipt(id, None, 0, 0, 0, 0, due=due, number=waiting.number)
