"""WebSockets of the events door: which kind an upgrade becomes, and those that carry one address or pattern.

A bare socket carries payloads and nothing else; it is live only, and closes rather than lose an event. With
the sub-protocol `cloudevents.json` every message is an envelope, and notices have envelopes too.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from app.access.grant import Grant
from app.edge.credentials import credential_of
from app.edge.feeds.beginning import check_start
from app.edge.feeds.callers import check_origin, grant_for, may_publish, may_subscribe, token_of
from app.edge.feeds.checks import max_event_bytes
from app.edge.feeds.exchange import raw_address
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.group_feed import GroupFeed
from app.edge.feeds.intake import publish, publish_run
from app.edge.feeds.mouth import Mouth, Voice, budget_of, policy_of
from app.edge.feeds.session import SessionSocket
from app.edge.feeds.socket import FeedSocket
from app.edge.origin import is_secure
from app.edge.realm import Realm
from app.edge.websocket import Socket
from app.errors import PeerWireError, Unsupported
from app.namespace import Relay
from app.wire.frames import TEXT, is_utf8
from app.wire.http import Head, sub_protocols
from app.wire.native.bare import BARE
from app.wire.native.cloudevents import CloudEventFrames
from app.wire.native.publication import Publication, parse_envelope
from app.wire.native.query import CLOUDEVENTS_PROTOCOL, Policy, Query, Transport, choose_socket, parse_query
from fanout.address import Pattern, parse_address, parse_pattern
from fanout.event import NO_ATTRIBUTES, Event, new_event

if TYPE_CHECKING:
    from app.edge.context import Context

ENVELOPE_BYTES = 16 * 1024  # what an envelope may hold besides its data

_NO_UTF8 = "A text message is not UTF-8."


class Wish(NamedTuple):
    """What an upgrade at this door asks for: all of it that the head alone decides. `pattern` and `address` are as
    sent, None where the mode has no use for them."""

    kind: Transport
    query: Query
    token: str | None
    pattern: Pattern | None
    address: str | None


def parse_wish(head: Head) -> Wish:
    """Understand the head. Raises BadRequest, Unsupported, InvalidAddress."""
    raw = raw_address(head)
    kind = choose_socket(sub_protocols(head), bool(raw))
    query = parse_query(head.query, kind)
    token = token_of(head)
    if kind is Transport.SESSION:
        return Wish(kind, query, token, None, None)
    pattern = parse_pattern(raw, allow_system=True) if query.mode != "publish" else None
    if pattern is None and (query.filter is not None or query.sharing is not None):
        what = "filter" if query.filter is not None else "group"
        raise Unsupported(f"'{what}' needs a socket that subscribes: 'mode=subscribe' or 'mode=both'.")
    if query.mode == "both" and pattern is not None and not pattern.is_concrete:
        raise Unsupported("'mode=both' needs an address without wildcards.")
    address = parse_address(raw, allow_system=True) if query.mode != "subscribe" else None
    return Wish(kind, query, token, pattern, address)


def open_socket(context: Context, transport: asyncio.Transport, head: Head) -> Socket:
    """The socket that an upgrade at this door becomes. Raises RelayError where it may not.

    A head that comes again has its wish with it; what that may get is asked each time.
    """
    check_origin(context, head)
    wish = head.memo if isinstance(head.memo, Wish) else parse_wish(head)
    head.memo = wish
    realm = context.realm(head.host)
    token = credential_of(context, transport, head, wish.token)
    if wish.kind is Transport.SESSION:
        return SessionSocket(context, transport, head, realm, grant_for(context, realm, token, ""))
    pattern, address = wish.pattern, wish.address
    if pattern is None:
        owner = realm.find(address or "")
        if owner is not None and not owner.requires_client_authorization:
            token = None
    grant = grant_for(context, realm, token, pattern.prefix if pattern is not None else address or "")
    if pattern is not None:
        relay, pattern = may_subscribe(realm, grant, pattern, wish.query.filter)
        _policy_of(relay, wish)
        check_start(relay, wish.query.start or "now")
        if wish.query.sharing is not None:
            context.groups.check(relay, pattern, wish.query.filter, wish.query.sharing)
    if address is not None:
        relay, address = may_publish(realm, grant, address, is_secure=is_secure(context, transport, head))
    return EventSocket(context, transport, head, realm, relay, grant, wish, pattern, address)


def _policy_of(relay: Relay, wish: Wish) -> Policy:
    return policy_of(relay, wish.query.policy, has_notices=wish.kind is not Transport.SOCKET)


class EventSocket(FeedSocket):
    """One address or pattern on one socket: subscribing, publishing, or both."""

    __slots__ = ("_address", "_feed", "_is_bare", "_opening", "_relay")

    session_id: str | None = None

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        realm: Realm,
        relay: Relay,
        grant: Grant,
        wish: Wish,
        pattern: Pattern | None,
        address: str | None,
    ) -> None:
        self._is_bare = wish.kind is Transport.SOCKET
        limit = context.settings.limits.event_bytes
        if not self._is_bare:
            limit = 2 * limit + ENVELOPE_BYTES  # base64, and the envelope around it
        place = pattern.prefix if pattern is not None else address or ""
        super().__init__(context, transport, head, realm, relay, grant, limit, place)
        self._relay = relay
        self._opening = None if pattern is None else (pattern, wish)  # what to subscribe to, until then
        self._address = address
        self._feed: Feed | None = None

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.answer(None if self._is_bare else CLOUDEVENTS_PROTOCOL)
        self.start_life()
        self.realm.touch(self._relay)
        if self._opening is not None:
            opening, self._opening = self._opening, None
            self._subscribe(*opening)
        self.start_reading()

    def on_message(self, opcode: int, payload: bytes) -> None:
        if self._address is None:
            raise Unsupported("This socket only subscribes; open it with ?mode=publish or ?mode=both to publish.")
        self.note_work()
        publication = self._read(opcode, payload)
        now = self.context.clock()
        publish(self.realm, self._relay, self._address, publication, now, on_failure=self.fail, publisher=self)

    def _read(self, opcode: int, payload: bytes) -> Publication:
        """One message, as it is published."""
        if self._is_bare:
            if opcode == TEXT and not is_utf8(payload):
                raise PeerWireError(_NO_UTF8, close=1007)
            return Publication("", payload, opcode == TEXT)
        if opcode != TEXT:
            raise PeerWireError("An envelope is a text message.", close=1003)
        return parse_envelope(payload, max_event_bytes(self.context, self._relay))

    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        """Bare messages that came in one read become one run: nothing about them is looked up twice."""
        address = self._address
        if address is not None and self.must_wait(self._relay):
            self.wait_for_room(self._relay, messages)
            return
        if not self._is_bare or address is None or self._relay.checks_events:
            super().on_messages(messages)
            return
        now, offset = self.context.clock(), self.realm.history(self._relay).next_offset()
        sound = len(messages)
        for place, (opcode, payload) in enumerate(messages):
            if opcode == TEXT and not payload.isascii() and not is_utf8(payload):
                sound = place
                break
        run = [
            new_event(
                Event,
                (address, place, "", payload, opcode == TEXT, None, None, None, None, now, NO_ATTRIBUTES, inf, True),
            )
            for place, (opcode, payload) in enumerate(messages[:sound], offset)
        ]
        if run:
            self.note_work()
            publish_run(self.realm, self._relay, run, now, self.fail, self)
        if sound < len(messages):
            raise PeerWireError(_NO_UTF8, close=1007)

    def on_heartbeat(self) -> None:
        self.realm.touch(self._relay)  # a publisher may be silent for longer than a dynamic relay lingers
        if self._feed is not None:
            self._feed.tell_position()

    def on_caught_up(self) -> None:
        if self._feed is not None:
            self._feed.on_writable()

    def on_release(self) -> None:
        feed, self._feed = self._feed, None  # it knows us too: two that hold each other wait for the collector
        if feed is not None:
            feed.end()
        self.realm.vacate(self._relay)

    def _subscribe(self, pattern: Pattern, wish: Wish) -> None:
        relay, query = self._relay, wish.query
        history = self.realm.history(relay)
        voice: Voice = BARE if self._is_bare else CloudEventFrames(history.epoch)
        policy, budget = _policy_of(relay, wish), budget_of(self.context, relay, query.budget)
        mouth = Mouth(self.context, self.realm, relay, self.outflow, voice, self.end, policy, budget)
        gate = Gate.of(self.lease.grant, relay)
        if query.sharing is None:
            feed = Feed(self.context, self, mouth, pattern, gate, query.filter, is_sole=True)
        else:
            feed = GroupFeed(self.context, self, mouth, pattern, gate, query.filter, query.sharing)
        self._feed = feed
        self.realm.tick.flush()
        beginning = feed.find_beginning(query.start or "now")
        ready = voice.ready(relay.name, beginning.cursor)
        if ready:
            self.outflow.write(ready)
        feed.begin(beginning)
