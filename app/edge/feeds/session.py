"""Sessions: many subscriptions and publishes on one WebSocket, by the protocol `fanway.v1`.

Most of what a busy session says is publishes under headers that it, or another like it, has used before. So a header
that was read and permitted once is looked up by its bytes, and what one read brings becomes one run.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from app.access.grant import Grant
from app.closes import Close
from app.edge.feeds.callers import may_publish, may_publish_everywhere
from app.edge.feeds.checks import max_event_bytes
from app.edge.feeds.feed import HEARTBEAT_SECONDS
from app.edge.feeds.intake import publish, publish_run
from app.edge.feeds.session_feeds import MAX_SUBSCRIPTIONS, SessionFeeds
from app.edge.feeds.socket import FeedSocket
from app.edge.origin import is_secure
from app.edge.realm import Realm, Recurring
from app.errors import (
    KeysPending,
    RelayError,
    as_relay_error,
)
from app.namespace import Relay
from app.telemetry import new_tracking_id
from app.wire.frames import TEXT, is_utf8
from app.wire.http import Head
from app.wire.native.publication import Publication
from app.wire.native.query import SESSION_PROTOCOL
from app.wire.native.receipt import PublishReceipt
from app.wire.native.session import (
    MAX_HEADER_BYTES,
    Ack,
    Credit,
    Nack,
    Ping,
    Pub,
    Renew,
    SessionError,
    Sub,
    Unsub,
    parse_message,
    plain_address,
)
from app.wire.native.session_frames import (
    encode_err,
    encode_hi,
    encode_pong,
    encode_published,
    encode_renewed,
    encode_session_bye,
)
from fanout.errors import FanoutError
from fanout.event import Event, new_event

if TYPE_CHECKING:
    from app.edge.context import Context

REMEMBERED = 128  # addresses whose permission to publish is remembered, where it is not the whole relay's
MOST_HEADER_BYTES = 256  # of a header that is remembered

_NOTHING_ELSE = Publication("")

K = TypeVar("K")
V = TypeVar("V")


class SessionSocket(FeedSocket):
    """One session. What is refused is answered with `err`; only broken messages and lost grants end it."""

    __slots__ = ("_feeds", "_is_secure", "_places", "_recurring", "_whole", "session_id")

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head, realm: Realm, grant: Grant) -> None:
        limit = MAX_HEADER_BYTES + 1 + context.settings.limits.event_bytes
        super().__init__(context, transport, head, realm, None, grant, limit)
        self._feeds = SessionFeeds(self)
        self._places: dict[str, tuple[Relay, str]] = {}
        self._whole: dict[Relay, Relay] = {}  # where every address may be published to
        self._recurring = realm.recurring_of(grant)
        self._is_secure = is_secure(context, transport, head)
        self.session_id = secrets.token_hex(8)

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.answer(SESSION_PROTOCOL)
        self.start_life()
        expires_at = self.lease.grant.expires_at
        hi = encode_hi(
            self.session_id,
            self.realm.namespace.name,
            max_event_bytes=self.context.settings.limits.event_bytes,
            max_subs=MAX_SUBSCRIPTIONS,
            heartbeat_seconds=int(HEARTBEAT_SECONDS),
            expires_at=expires_at if math.isfinite(expires_at) else None,
        )
        self.outflow.write(hi)
        self.start_reading()

    # --- what the client says ---

    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        """Publishes under a header that came before become runs; everything else is read closely, in its turn."""
        now = self.context.clock()
        run: list[Event] = []
        relay: Relay | None = None
        offset = 0
        for opcode, data in messages:
            header, _, payload = data.partition(b"\n")
            recurring = self._recurring.get(header) or self._recognise(header)
            is_text = opcode == TEXT
            if recurring is None or len(payload) > recurring.max_bytes or (is_text and not is_utf8(payload)):
                self._publish_run(relay, run, now)
                relay, run = None, []
                if self.is_ending:
                    return
                self.on_message(opcode, data)
                continue
            if recurring.relay is not relay:
                self._publish_run(relay, run, now)
                if self.is_ending:
                    return
                relay, run = None, []
                if self.must_wait(recurring.relay):
                    self.wait_for_room(recurring.relay, [(opcode, data)])
                    continue
                relay = recurring.relay
                offset = self.realm.history(relay).head
            offset += 1
            _, _, _, content_type, type, source, time, attributes, _ = recurring.shared
            address = recurring.address
            about = (content_type, type, source, time, now, attributes, math.inf, True)
            run.append(new_event(Event, (address, offset, "", payload, is_text, *about)))
        self._publish_run(relay, run, now)

    def on_message(self, opcode: int, payload: bytes) -> None:
        try:
            limit = self.context.settings.limits.event_bytes
            message = parse_message(opcode, payload, limit)
        except SessionError as error:
            self.answer_err(error.error, r=error.r)
            return
        if not isinstance(message, Ping):
            self.note_work()
        try:
            match message:
                case Pub():
                    self._publish(message, opcode, payload)
                case Sub():
                    self._feeds.subscribe(message)
                case Unsub():
                    self._feeds.unsubscribe(message)
                case Ack():
                    self._feeds.shares.ack(message)
                case Nack():
                    self._feeds.shares.nack(message)
                case Credit():
                    self._feeds.shares.lend(message)
                case Renew():
                    self._renew(message)
                case Ping():
                    self.outflow.write(encode_pong(message.r))
        except (RelayError, FanoutError) as error:
            self.answer_err(as_relay_error(error), r=message.r)

    def _publish(self, message: Pub, opcode: int, data: bytes) -> None:
        relay, address = self._place(message.address)
        if self.must_wait(relay):
            self.wait_for_room(relay, [(opcode, data)])
            return
        if message.may_recur:
            self._recur(data.partition(b"\n")[0], relay, address, message.publication._replace(payload=b""))
        r = message.r

        def answer(receipt: PublishReceipt) -> None:
            if r is not None and not (self.is_ending or self.is_lost):
                self.outflow.write(encode_published(r, receipt))

        def refuse(error: RelayError) -> None:
            self.answer_err(error, r=r)

        on_receipt, now = None if r is None else answer, self.context.clock()
        publish(self.realm, relay, address, message.publication, now, on_receipt, refuse, self)

    def _recognise(self, header: bytes) -> Recurring | None:
        """A header that need not be parsed, and names an address where this session may publish."""
        address = plain_address(header)
        if address is None:
            return None
        try:
            relay, address = self._place(address)
        except RelayError:
            return None  # said when it is read closely
        return self._recur(header, relay, address, _NOTHING_ELSE)

    def _recur(self, header: bytes, relay: Relay, address: str, shared: Publication) -> Recurring | None:
        """Remember a header, unless it is too long, or its events must be looked at one by one."""
        if relay.requires_transport_security or len(header) > MOST_HEADER_BYTES:  # other sessions share the memory
            return None
        if relay.event_schema or relay.retain == "last":
            return None
        recurring = Recurring(relay, address, shared, max_event_bytes(self.context, relay))
        return self.realm.recur(self._recurring, header, recurring)

    def _place(self, address: str) -> tuple[Relay, str]:
        """The relay of an address and its canonical form. Raises what `may_publish` does."""
        relay = self.realm.find(address)
        if relay in self._whole:
            return relay, self.realm.namespace.canonical(relay, address)
        place = self._places.get(address)
        if place is None:
            place = may_publish(self.realm, self.lease.grant, address, is_secure=self._is_secure)
            if may_publish_everywhere(self.lease.grant, place[0]):
                _remember(self._whole, place[0], place[0])
            else:
                _remember(self._places, address, place)
        return place

    def _publish_run(self, relay: Relay | None, run: list[Event], now: float) -> None:
        if relay is not None and run:
            self.note_work()
            try:
                publish_run(self.realm, relay, run, now, self.answer_err, self)
            except RelayError as error:
                self.answer_err(error)

    def _renew(self, message: Renew) -> None:
        try:
            grant = self.context.authorizer.authorize(message.token, self.realm.namespace, None)
        except KeysPending as pending:
            pending.then(lambda: self._renew_held(message))
            return
        self.lease.renew(grant)
        self._forget()
        self.outflow.write(encode_renewed(message.r, grant.expires_at))
        self._feeds.regrant(grant)

    def _renew_held(self, message: Renew) -> None:
        if self.is_ending or self.is_lost:
            return
        try:
            self._renew(message)
        except RelayError as error:
            self.answer_err(error, r=message.r)

    # --- life and end ---

    def review(self) -> None:
        """Something provisioned changed: the session ends with its grant, a subscription with its relay."""
        self._forget()
        self.lease.review()
        self._feeds.review()

    def end(self, close: Close) -> None:
        self.finish_unread()  # nothing is answered behind the goodbye
        if self.is_open and not (self.is_ending or self.is_lost or self.cuts(close)):
            self.outflow.write(encode_session_bye(close))
        super().end(close)

    def on_release(self) -> None:
        self._feeds.end()

    def on_heartbeat(self) -> None:
        self._feeds.tell_positions()

    def on_caught_up(self) -> None:
        self._feeds.on_writable()

    # --- inside ---

    def _forget(self) -> None:
        """What may be published where is asked anew."""
        self._whole.clear()
        self._places.clear()
        self._recurring = self.realm.recurring_of(self.lease.grant)

    def answer_err(
        self, error: RelayError, *, r: int | None = None, sub: int | None = None, d: Sequence[int] = ()
    ) -> None:
        """Answer the message `r`, or tell what became of the subscription `sub`, or of deliveries `d` of it."""
        self.context.counters["refusals"] += 1
        if not (self.is_ending or self.is_lost):
            self.outflow.write(encode_err(error, new_tracking_id(None, self.context.node), r, sub, d))


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
