"""Publishes to durable relays, on their way to the disk: nobody hears of an event before it is there.

Theory. What is published while one group commit is under way waits for the next. Events get their offsets when that is
formed, from the heads of their streams, which move only once it has succeeded: so a commit that fails has used up no
offset, and nobody has seen an event that is not kept. Then all go on as if they had just come, in the order they came.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Protocol

from app.edge.feeds.intake import OnFailure, OnReceipt, accept, accept_run
from app.edge.journal import EventLog, Journal, Statement
from app.errors import EndpointNotFound, Overloaded, RelayError, as_relay_error
from app.namespace import Relay
from fanout.event import Event, new_event
from fanout.history import History

if TYPE_CHECKING:
    from app.edge.realm import Realm

_log = logging.getLogger("fanway.edge")

EVENT_BYTES = 512  # that an event takes besides its payload, about


class Publisher(Protocol):
    """A connection that is read no further while much of what it published is not on disk: `unsaved` bytes."""

    unsaved: int

    def on_saved(self) -> None:
        """Some of it is, or will never be."""


class _Entry:
    """What was published at once: consecutive events of one relay, which have their places from `place` on."""

    __slots__ = ("along", "events", "on_failure", "on_receipt", "publisher", "realm", "relay", "size")

    def __init__(
        self,
        realm: Realm,
        relay: Relay,
        events: Sequence[Event],
        on_receipt: OnReceipt | None,
        on_failure: OnFailure | None,
        publisher: Publisher | None,
        along: Statement | None,
    ) -> None:
        self.realm = realm
        self.relay = relay
        self.events = events
        self.on_receipt = on_receipt
        self.on_failure = on_failure
        self.publisher = publisher
        self.along = along
        self.size = sum([len(event.payload) for event in events]) + EVENT_BYTES * len(events)

    @property
    def is_plain(self) -> bool:
        """Whether it may be part of a run."""
        return self.on_receipt is None and self.events[0].expires_at == inf

    @property
    def is_gone(self) -> bool:
        """Whether its relay was deleted meanwhile."""
        return self.realm.namespace.relays.get(self.relay.key) is not self.relay

    def place(self, head: int) -> None:
        """Give its events the offsets after `head`."""
        if self.events[0].offset != head + 1:
            self.events = [
                new_event(Event, (event[0], offset, *event[2:])) for offset, event in enumerate(self.events, head + 1)
            ]


class Appender:
    """All publishes of a gateway that wait for the disk, at most `limit_bytes` of them."""

    def __init__(self, journal: Journal, log: EventLog, limit_bytes: int) -> None:
        self.log = log
        self._journal = journal
        self._limit = limit_bytes
        self._bytes = 0
        self._waiting: list[_Entry] = []
        self._batch: list[_Entry] = []  # whose commit is under way
        self._parts: dict[History, list[Event]] = {}  # of that
        self._held: dict[Publisher, None] = {}

    @property
    def is_crowded(self) -> bool:
        """Whether publishers that can be held should be, until some of what waits is on disk."""
        return self._bytes * 2 > self._limit

    def admit(self) -> None:
        """Return if more may wait. Raises Overloaded."""
        if self._bytes > self._limit:
            raise Overloaded("More is waiting for the disk than may. Try again.", retry_after=1)

    def append(
        self,
        realm: Realm,
        relay: Relay,
        events: Sequence[Event],
        on_receipt: OnReceipt | None,
        on_failure: OnFailure | None,
        publisher: Publisher | None,
        along: Statement | None = None,
    ) -> None:
        """Publish events of a durable relay once they are on disk; their offsets are given then.

        `on_receipt` is for a single one; `on_failure` is told if they are not kept. `along` is
        committed with them.
        """
        entry = _Entry(realm, relay, events, on_receipt, on_failure, publisher, along)
        self._bytes += entry.size
        if publisher is not None:
            publisher.unsaved += entry.size
        self._waiting.append(entry)
        if len(self._waiting) == 1:
            self._journal.write(self._prepare, self._done)

    def hold(self, publisher: Publisher) -> None:
        """Tell this one when something has been written, whoever's it was."""
        self._held[publisher] = None

    # --- inside ---

    def _prepare(self) -> Sequence[Statement]:
        self._batch, self._waiting = self._waiting, []
        self._parts = {}
        for entry in self._batch:
            history = entry.realm.history(entry.relay) if not entry.is_gone else None
            if history is None or history.log is None:
                continue  # gone, or not on disk any more
            part = self._parts.setdefault(history, [])
            entry.place(history.head + len(part))
            part += entry.events
        along = [entry.along for entry in self._batch if entry.along is not None]
        return [*self.log.statements(self._parts), *along]

    def _done(self, error: RelayError | None) -> None:
        batch, self._batch = self._batch, []
        parts, self._parts = self._parts, {}
        for entry in batch:
            self._bytes -= entry.size
            if entry.publisher is not None:
                entry.publisher.unsaved -= entry.size
        if error is None:
            self._accept(batch)
            self.log.appended(parts)
        else:
            for entry in batch:
                _fail(entry, error)
        held, self._held = self._held, {}
        for publisher in held:
            publisher.on_saved()

    def _accept(self, batch: Sequence[_Entry]) -> None:
        """They are on disk: now they are published. What follows each other in one relay goes as a run."""
        run: list[Event] = []
        last: _Entry | None = None
        for entry in batch:
            if last is not None and (entry.relay is not last.relay or not entry.is_plain):
                self._publish_run(last, run)
                run, last = [], None
            if entry.is_gone:
                _fail(entry, EndpointNotFound("The relay was deleted."))
                continue
            history = entry.realm.history(entry.relay)
            entry.place(history.head + len(run))  # others, if it is not on disk any more
            if entry.is_plain:
                run += entry.events
                last = entry
                continue
            try:
                accept(entry.realm, entry.relay, entry.events[0], entry.realm.now(), entry.on_receipt)
            except Exception as error:  # it keeps nothing from the others, whose places in their streams are given
                _log.exception("an event that is on disk could not be given out")
                _fail(entry, as_relay_error(error))
        if last is not None:
            self._publish_run(last, run)

    def _publish_run(self, last: _Entry, run: Sequence[Event]) -> None:
        try:
            accept_run(last.realm, last.relay, run, last.realm.now())
        except Exception:
            _log.exception("events that are on disk could not be given out")


def _fail(entry: _Entry, error: RelayError) -> None:
    if entry.on_failure is not None:
        entry.on_failure(as_relay_error(error))
