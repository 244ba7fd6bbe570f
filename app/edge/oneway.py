"""One-way messages: a POST that is handed on and answered 202 at once (WCF Relay's NetOneway and NetEvent).

A `netOneway` relay hands it to one listener that takes it, a `netEvent` relay to every listener, and as an event to
those who subscribe at our own door. Delivery is at most once and nobody is told of it: a listener that cannot take
the message now does not get it, and whatever a listener answers is read past.
"""

from __future__ import annotations

from collections.abc import Callable

from app.edge.admission import admit, check_admitted, find_listener
from app.edge.asked import Asked
from app.edge.control import ControlChannel
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.feeds.checks import check_event
from app.edge.feeds.intake import publish
from app.edge.origin import remote_endpoint, told_scheme
from app.edge.passage import check_passage
from app.edge.realm import NO_ENDPOINT, Admitted
from app.edge.refusal import Door
from app.edge.soap import may_bring_token
from app.errors import (
    EndpointNotFound,
    KeysPending,
    MethodNotAllowed,
    NoListener,
    PayloadTooLarge,
    RelayError,
    TooSlow,
)
from app.namespace import Profile, Relay, Right
from app.telemetry import new_tracking_id
from app.wire.azure.choices import SENTENCES
from app.wire.azure.commands import encode_request
from app.wire.azure.handshake import matching_path, request_address
from app.wire.azure.listeners import listener_filter
from app.wire.azure.soap import TokenSearch
from app.wire.native.publication import bare_publication
from fanout.address import check_address
from fanout.errors import InvalidAddress

MAX_BODY_BYTES = 64 * 1024
TOO_LARGE = f"A one-way message holds at most {MAX_BODY_BYTES} bytes."


class OneWay(Exchange):
    """A message for the listeners of a one-way relay."""

    door = Door.AZURE
    has_timed_body = False

    def start(self) -> None:
        head, context = self.head, self.context
        self._parts: list[bytes] = []
        self._size = 0
        self._asked = Asked(head, self.context.settings.azure)
        self._realm = context.realm(head.host)
        if context.faults is not None:
            context.faults.refuse(self._realm.namespace, "request", matching_path(self._asked.raw_path))
        self._search = TokenSearch(head.headers) if may_bring_token(head) else None
        if self._search is None or head.method != "POST":
            self.admit()
        if head.method != "POST":
            raise MethodNotAllowed("A one-way relay takes messages by POST only.")
        if (head.content_length or 0) > MAX_BODY_BYTES:
            raise PayloadTooLarge(TOO_LARGE)
        if not head.has_body:
            self._send(b"")
            return
        self.welcome_body()
        self._await_body()

    def on_body(self, data: bytes) -> None:
        self._await_body()
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise PayloadTooLarge(TOO_LARGE)
        self._parts.append(data)

    def on_end(self) -> None:
        body = b"".join(self._parts)
        if self._search is not None:
            body = self._without_token(self._search, body)
        try:
            self._send(body)
        except KeysPending as pending:  # of a token that the message brought
            pending.then(lambda: self._send_later(body))

    def _without_token(self, search: TokenSearch, body: bytes) -> bytes:
        """What is left of a SOAP message once the token that it brought along is ours."""
        relay = self._realm.find(matching_path(self._asked.raw_path))
        try:
            if not search.feed(body):
                search.close()
        except RelayError:
            if relay is None or relay.requires_client_authorization:
                raise
            return body  # where anybody may send, nothing is refused for the sake of a token
        self._asked.token = search.token
        return search.message

    def on_lost(self) -> None:
        self.seam.patience.stop()

    def refuse(self, error: RelayError, *, tracking_id: str | None = None) -> None:
        self.seam.patience.stop()
        self._parts = []
        super().refuse(error, tracking_id=tracking_id)

    _admitted: Admitted | None = None

    def admit(self) -> Admitted:
        """Whether the sender may send here. Raises AccessError, EndpointNotFound, TransportSecurityRequired."""
        asked = self._asked
        admitted = self._admitted
        if admitted is None or not admitted[2].by_ticket:  # a ticket may be good once only
            credential = credential_of(self.context, self.seam.transport, self.head, asked.token)
            admitted = self._admitted = admit(self.context, self._realm, Right.ASK, asked.raw_path, credential)
        else:
            check_admitted(self.context, self._realm, admitted)
        check_passage(self.context, self.seam.transport, self.head, admitted[0])
        if not admitted[0].profile.is_one_way:  # made anew since the head came
            raise EndpointNotFound(NO_ENDPOINT)
        return admitted

    def _send(self, body: bytes) -> None:
        self.seam.patience.stop()
        relay, address, grant = self.admit()  # again: the body may have taken its time
        if self._realm.backpressure.holds(relay):  # nobody waits here: a sender is answered at once
            raise self._realm.backpressure.refuse(relay)
        asked, head, context = self._asked, self.head, self.context
        via = asked.host or self._realm.namespace.name
        scheme = told_scheme(context, self.seam.transport, head, relay)
        headers = asked.headers(asked.is_authorization and not grant.is_anonymous, via, scheme)
        peer = remote_endpoint(context, self.seam.transport, head)
        id = new_tracking_id(None, context.node)
        secret = context.nowhere.secret(id)
        target = asked.target_as_sent if relay.keeps_path else asked.target

        def hand(listener: ControlChannel) -> bool:
            """Whether the listener takes the message."""
            nowhere = request_address(listener.base, asked.entity(relay), id, secret)
            command = encode_request(nowhere, id, target, head.method, headers, head.has_body, peer)
            try:
                listener.deliver(command, body if head.has_body else None)
            except RelayError:
                return False
            return True

        context.counters["one_way_messages"] += 1
        if relay.profile is Profile.NET_EVENT:
            publication, now = bare_publication(head.get("content-type"), body), context.clock()
            check_event(relay, publication)  # before anybody has it
            self._hand_to_all(relay, hand)
            publish(self._realm, relay, _event_address(relay, address), publication, now)
        else:
            self._hand_to_one(relay, address, hand)
        self.respond(202, [("Date", self.seam.date())])

    def _send_later(self, body: bytes) -> None:
        if self.is_over:
            return
        try:
            self._send(body)
        except Exception as error:
            self.refuse(self.context.shown(error))

    def _hand_to_all(self, relay: Relay, hand: Callable[[ControlChannel], bool]) -> None:
        """Every listener that the sender admits. Raises NoListener where nobody is there at all."""
        listeners = self._realm.roster.listeners(relay.key)
        if (wanted := listener_filter(self.head)) is not None:
            listeners = [listener for listener in listeners if wanted.admits(listener.id, listener.instance)]
        if not listeners and not self._realm.router.subscriptions(relay.key):
            raise NoListener(SENTENCES[NoListener])
        self.context.counters["one_way_losses"] += sum([not hand(listener) for listener in listeners])

    def _hand_to_one(self, relay: Relay, address: str, hand: Callable[[ControlChannel], bool]) -> None:
        """One listener that takes it, chosen fairly. Raises NoListener where nobody is there at all."""
        listener: ControlChannel | None = find_listener(self._realm, relay, address, self.head)
        refused: list[ControlChannel] = []
        while listener is not None and not hand(listener):
            refused.append(listener)
            try:
                listener = find_listener(self._realm, relay, address, self.head, refused)
            except NoListener:
                listener = None
        self.context.counters["one_way_losses"] += listener is None

    def _await_body(self) -> None:
        self.seam.patience.set(self.context.settings.deadlines.idle_seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self.is_keep_alive = False
        self.refuse(TooSlow("The request's body did not arrive in time."))


def _event_address(relay: Relay, address: str) -> str:
    """Where subscribers see an event that was sent to `address`: there, unless that is no address for events.

    What follows the relay's own path is the application's and may be anything.
    """
    try:
        return check_address(address)
    except InvalidAddress:
        return relay.name
