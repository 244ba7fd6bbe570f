"""Exchanges of the events door: publishing by POST, preflights, and what every GET does first."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.closes import Close
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.feeds.beginning import Beginning, check_start
from app.edge.feeds.callers import cors_headers, grant_for, may_publish, may_subscribe, preflight_headers, token_of
from app.edge.feeds.checks import max_event_bytes
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.intake import publish_all
from app.edge.feeds.lease import Lease
from app.edge.feeds.mouth import policy_of
from app.edge.origin import is_secure, remote_endpoint
from app.edge.realm import Realm
from app.edge.refusal import refusal
from app.edge.wheel import Deadline
from app.errors import BadRequest, PayloadTooLarge, RelayError, Unsupported
from app.namespace import Relay
from app.wire.http import Head
from app.wire.native.publication import parse_publications
from app.wire.native.query import Query, Start, Transport, parse_query, parse_start
from app.wire.native.receipt import CONTENT_TYPE, PublishReceipt, encode_receipt, encode_receipts
from fanout.address import Pattern, parse_address, parse_pattern
from fanout.history import Cursor

if TYPE_CHECKING:
    from app.edge.seam import Seam

DOOR = "/-/events"


def raw_address(head: Head) -> str:
    """What stands behind the door's own path, percent-encoded; empty for the door itself."""
    return head.path[len(DOOR) + 1 :]


class EventsExchange(Exchange):
    """What all exchanges of this door share: pages of other origins can read their refusals."""

    def refuse(self, error: RelayError, *, tracking_id: str | None = None) -> None:
        if self.is_over:
            return
        if self.is_answering:
            self.abort()
            return
        status, reason, headers, body = refusal(self.context, self.head, error, self.door, tracking_id)
        self.respond(status, headers + cors_headers(self.context, self.head), body, reason)

    def fail(self, error: Exception) -> None:
        """Refuse because of any exception; one of ours is reported."""
        self.refuse(self.context.shown(error))


class Preflight(EventsExchange):
    """OPTIONS, which needs no token."""

    def start(self) -> None:
        self.respond(204, preflight_headers(self.context, self.head))


class Misdirected(EventsExchange):
    """A request that no exchange of this door can serve."""

    def __init__(self, seam: Seam, head: Head, error: RelayError) -> None:
        super().__init__(seam, head)
        self._error = error

    def start(self) -> None:
        self.refuse(self._error)


class WholeBody(EventsExchange):
    """What is answered once the whole body is here, of `most_bytes` at most."""

    most_bytes: int

    def await_body(self) -> None:
        """Read it, then `on_whole_body`. Raises PayloadTooLarge where its head already says so."""
        self._parts: list[bytes] = []
        self._size = 0
        self._check_size(self.head.content_length or 0)
        self.welcome_body()
        if not self.head.has_body:
            self.on_whole_body(b"")

    def on_whole_body(self, body: bytes) -> None:
        raise NotImplementedError

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        try:
            self._check_size(self._size)
        except PayloadTooLarge as error:
            self._parts = []
            self.refuse(error)
        else:
            self._parts.append(data)

    def on_end(self) -> None:
        try:
            self.on_whole_body(b"".join(self._parts))
        except Exception as error:
            self.fail(error)

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise PayloadTooLarge(f"A body here may hold at most {self.most_bytes} bytes.")


class Publish(WholeBody):
    """POST: the body is gathered, checked whole, published, and answered with receipts after the flush."""

    def start(self) -> None:
        self._receipts: list[PublishReceipt | None] = []
        self._patience: Deadline | None = None
        self._leave: Callable[[], None] = lambda: None
        limits = self.context.settings.limits
        self.most_bytes = max(limits.batch_bytes, 2 * limits.event_bytes)  # twice: base64 and the envelope around it
        self._query = parse_query(self.head.query, Transport.POST)
        self._address = parse_address(raw_address(self.head), allow_system=True)
        self._credential = credential_of(self.context, self.seam.transport, self.head, token_of(self.head))
        self._grant: Grant | None = None
        self._admit()
        self.await_body()

    def _admit(self) -> tuple[Realm, Relay, str]:
        realm = self.context.realm(self.head.host)
        owner = realm.find(self._address)
        is_open = owner is not None and not owner.requires_client_authorization
        grant = self._grant
        if grant is None or grant.is_anonymous or not self.context.is_live(grant):  # a ticket may be good once only
            grant = self._grant = grant_for(self.context, realm, None if is_open else self._credential, self._address)
        is_by_tls = is_secure(self.context, self.seam.transport, self.head)
        return realm, *may_publish(realm, grant, self._address, is_secure=is_by_tls)

    def on_whole_body(self, body: bytes) -> None:
        realm, relay, address = self._admit()  # again: the body may have taken its time
        if realm.backpressure.holds(relay):
            self._wait_for_room(realm, relay, body)
            return
        self._stop_waiting()
        limits, event_bytes = self.context.settings.limits, max_event_bytes(self.context, relay)
        events, self._is_batch = parse_publications(
            self.head.headers, body, event_bytes, limits.batch_bytes, limits.batch_lines
        )
        terms, key = self._query.terms, self._query.key
        if terms is not None or key is not None:
            events = [event.wishing(terms, key) for event in events]
        self._receipts = [None] * len(events)
        self._awaited = len(events)
        self.context.turns.note(self.seam, perf_counter())
        now = self.context.clock()
        if not events:
            self._answer()
        publish_all(realm, relay, address, events, now, self._on_receipt, self.refuse)

    def _wait_for_room(self, realm: Realm, relay: Relay, body: bytes) -> None:
        """Publish when the relay has room; if that takes too long, say so."""

        def go_on() -> None:
            try:
                self.on_whole_body(body)
            except Exception as error:
                self.fail(error)

        def give_up() -> None:
            self._stop_waiting()
            self.refuse(realm.backpressure.refuse(relay))

        realm.backpressure.wait(relay, go_on)
        self._leave = lambda: realm.backpressure.leave(relay, go_on)
        if self._patience is None:
            self._patience = self.context.wheel.after(self.context.settings.deadlines.block_seconds, give_up)

    def on_lost(self) -> None:
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        self._leave()
        if self._patience is not None:
            self._patience.cancel()

    def _on_receipt(self, place: int, receipt: PublishReceipt) -> None:
        """One event was flushed; the last of them brings the answer."""
        self._receipts[place] = receipt
        self._awaited -= 1
        if not self._awaited and not self.is_over:
            self._answer()

    def _answer(self) -> None:
        receipts = [receipt for receipt in self._receipts if receipt is not None]
        body = encode_receipts(receipts) if self._is_batch else encode_receipt(receipts[0])
        self.respond(202, [("Content-Type", CONTENT_TYPE), *cors_headers(self.context, self.head)], body)


class Subscribe(EventsExchange):
    """What every GET does first: who asks, for what, from where."""

    transport: Transport
    is_endless = True
    session_id: str | None = None

    def start(self) -> None:
        self.admit()
        self.feed = self.make_feed(self.pattern, Gate.of(self.grant, self.relay))
        self.context.lives.add(self)
        self.realm.tick.flush()
        beginning = self.feed.find_beginning(self.beginning_at)
        self.open(beginning)
        self.feed.begin(beginning)

    def admit(self) -> None:
        """Understand what is asked, and see whether it may be. Raises RelayError."""
        if self.head.version != "1.1":
            raise Unsupported("Events are delivered by HTTP/1.1 only.", status=505)
        self.query = parse_query(self.head.query, self.transport)
        self.beginning_at: Start = self._start_of(self.query)
        asked = parse_pattern(raw_address(self.head), allow_system=True)
        self.realm = self.context.realm(self.head.host)
        credential = credential_of(self.context, self.seam.transport, self.head, token_of(self.head))
        self.grant: Grant = grant_for(self.context, self.realm, credential, asked.prefix)
        self.relay, self.pattern = may_subscribe(self.realm, self.grant, asked, self.query.filter)
        self.policy = policy_of(self.relay, self.query.policy)
        check_start(self.relay, self.beginning_at)
        if self.query.sharing is not None and self.query.sharing.group is not None:
            self.context.groups.check(self.relay, self.pattern, self.query.filter, self.query.sharing)
        self.realm.touch(self.relay)
        self.lease = Lease(self.context, self.realm, self.relay, self.grant, self.end, self.pattern.prefix)

    # --- overridden by subclasses ---

    def make_feed(self, pattern: Pattern, gate: Gate) -> Feed:
        """The feed in this transport's encoding."""
        raise NotImplementedError

    def open(self, beginning: Beginning) -> None:
        """The subscription is granted; what follows is fed to it."""

    def end(self, close: Close) -> None:
        """End in good order, saying why."""
        raise NotImplementedError

    # --- life and end ---

    def review(self) -> None:
        self.lease.review()

    def peer_address(self) -> str:
        """Where it comes from; behind a trusted proxy what that says."""
        return remote_endpoint(self.context, self.seam.transport, self.head)[0]

    def on_unreadable(self, error: RelayError) -> None:
        self.release()
        self.refuse(error)

    def abort(self) -> None:
        self.release()
        super().abort()

    def on_lost(self) -> None:
        self.release()

    def release(self) -> None:
        """Nothing is fed to this connection any more."""
        self.lease.release()
        self.context.lives.discard(self)
        self.feed.end()
        self.realm.vacate(self.relay)

    def _start_of(self, query: Query) -> Start:
        last_id = self.head.get("last-event-id")
        if last_id:
            start = parse_start(last_id)
            if not isinstance(start, Cursor):
                raise BadRequest("Last-Event-ID is not a cursor.")
            return start
        return "now" if query.start is None else query.start
