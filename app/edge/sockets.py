"""The door `/$hc/`: listen, connect, accept, request (protocol guide, "Interaction model")."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from app.access.grant import Grant
from app.closes import DRAINING, ENTITY_GONE, REPLACED, Close
from app.edge.admission import admit, find_listener
from app.edge.allowances import accept_seconds, most_listeners
from app.edge.asker import Asker
from app.edge.control import ControlChannel
from app.edge.credentials import credential_of
from app.edge.discovery import show_as
from app.edge.nowhere import NowhereSocket
from app.edge.origin import remote_endpoint, told_scheme
from app.edge.passage import check_passage, check_terms, terms_of
from app.edge.peers import check_address
from app.edge.realm import Realm
from app.edge.request_socket import RequestSocket
from app.edge.splice import SplicedSocket, join
from app.edge.websocket import Socket
from app.edge.wheel import Deadline
from app.errors import (
    AcceptTimeout,
    BadAnswer,
    BadRequest,
    EndpointNotFound,
    GatewayDraining,
    Gone,
    ListenerGone,
    NoListener,
    Rejected,
    RelayError,
    RendezvousExpired,
    TooManyListeners,
    Unauthorized,
)
from app.namespace import Relay, Right
from app.telemetry import new_secret, new_tracking_id
from app.wire.azure.choices import SENTENCES, Choices
from app.wire.azure.commands import encode_accept
from app.wire.azure.handshake import (
    Action,
    Handshake,
    accept_address,
    agreed_subprotocol,
    connect_headers,
    parse_handshake,
    token_from,
)
from app.wire.azure.headers import origin_headers
from app.wire.azure.listeners import instance_name
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

SETTLED_SECONDS = 2.0  # who came later than that is no lost listener: two would replace each other without end
ENTRIES = (Action.LISTEN, Action.CONNECT)  # which need a token


class Wish(NamedTuple):
    """What an upgrade at this door asks for, and by which token: all of it that the head alone decides."""

    handshake: Handshake
    token: str | None
    is_authorization: bool  # the token stands in `Authorization`


def parse_wish(head: Head, path: str, choices: Choices) -> Wish:
    """Understand the head, `path` being what it asks for at this door. Raises UnknownAction, BadRequest."""
    handshake = parse_handshake(path, head.query, choices)
    if handshake.action not in ENTRIES:  # the secret is the credential
        return Wish(handshake, None, False)
    return Wish(handshake, *token_from(head.headers, head.query, choices))


def open_socket(context: Context, transport: asyncio.Transport, head: Head) -> Socket:
    """The socket that an upgrade at `/$hc/` becomes. Raises RelayError where it may not."""
    wish = head.memo if isinstance(head.memo, Wish) else parse_wish(head, head.path, context.settings.azure)
    handshake = wish.handshake
    if handshake.action in ENTRIES and handshake.id is None:  # nothing in it is for one time only
        head.memo = wish
    if context.is_draining and handshake.action in ENTRIES:
        raise GatewayDraining("The gateway is restarting.", retry_after=1)
    if handshake.action is Action.LISTEN:
        try:
            return _listen(context, transport, head, wish)
        except Exception as error:
            if (held := context.storms.shelter(transport, head, context.shown(error))) is not None:
                return held
            raise
    if handshake.action is Action.CONNECT:
        return _connect(context, transport, head, wish)
    appointment = context.rendezvous.get(handshake.secret or "")
    if context.has_network_rules and isinstance(appointment, WaitingSender | Asker):
        check_address(appointment.listener.realm, remote_endpoint(context, transport, head)[0])  # not only the Host's
    if handshake.action is Action.ACCEPT and isinstance(appointment, WaitingSender):
        return _accept(context, transport, head, handshake, appointment)
    if handshake.action is Action.REQUEST and isinstance(appointment, Asker):
        return RequestSocket(context, transport, head, appointment)
    if handshake.action is Action.REQUEST and context.nowhere.knows(handshake.id or "", handshake.secret or ""):
        return NowhereSocket(context, transport, head)
    raise RendezvousExpired("The rendezvous is unknown, was used already, or has expired.")


def open_below(context: Context, transport: asyncio.Transport, head: Head, address: str) -> Socket:
    """The socket that an upgrade on a host which leads to `address` becomes: whatever its path, it is a sender's."""
    head = head.under(address)
    choices = context.settings.azure.model_copy(update={"missing_action_connects": True})
    wish = parse_wish(head, f"/$hc{head.path}", choices)
    if wish.handshake.action is not Action.CONNECT:
        raise BadRequest("This host name leads to an address, where sockets are opened; listen at /$hc/{address}.")
    if context.is_draining:
        raise GatewayDraining("The gateway is restarting.", retry_after=1)
    return _connect(context, transport, head, wish)


def _listen(context: Context, transport: asyncio.Transport, head: Head, wish: Wish) -> Socket:
    handshake, token, _ = wish
    realm = context.realm(head.host)
    if context.faults is not None:
        context.faults.refuse(realm.namespace, "listen", handshake.path)
    terms = terms_of(head)
    instance = instance_name(head.headers, head.query)
    credential = credential_of(context, transport, head, token)
    relay, address, grant = admit(context, realm, Right.ACCEPT, handshake.raw_path, credential, opens_dynamic=terms)
    check_terms(terms, relay, handshake.path)
    place = relay.listen_address(address)
    _make_room(context, realm, relay, place, handshake.id)
    show_as(realm, relay, terms)
    return ControlChannel(context, transport, head, realm, relay, place, grant, handshake.id, instance)


def _make_room(context: Context, realm: Realm, relay: Relay, place: str, id: str | None) -> None:
    """Let one more listen on the relay. Where it is full, one that comes back takes the place of the listener that
    it was, which nobody has missed yet. Raises TooManyListeners."""
    most = most_listeners(context, relay)
    if most is None or realm.roster.count(relay.key) < most:
        return
    before = next((each for each in realm.roster.listeners(relay.key) if id and each.is_same(id, place)), None)
    if before is None or context.loop.time() - before.since < SETTLED_SECONDS:
        raise TooManyListeners(
            f"QuotaExceeded: The endpoint has {most} listeners, the most it may have (MaximumListenersPerEndpoint)."
        )
    before.end(REPLACED)


def _connect(context: Context, transport: asyncio.Transport, head: Head, wish: Wish) -> Socket:
    handshake, token, is_authorization = wish
    realm = context.realm(head.host)
    if context.faults is not None:
        context.faults.refuse(realm.namespace, "connect", handshake.path)
    credential = credential_of(context, transport, head, token)
    relay, address, grant = admit(context, realm, Right.OPEN, handshake.raw_path, credential)
    check_passage(context, transport, head, relay, is_socket=True)
    listener = find_listener(realm, relay, address, head)
    is_consumed = is_authorization and not grant.is_anonymous
    return WaitingSender(context, transport, head, realm, relay, address, grant, handshake, listener, is_consumed)


def _accept(
    context: Context, transport: asyncio.Transport, head: Head, handshake: Handshake, sender: WaitingSender
) -> Socket:
    """A listener came: to join its sender, or to turn it away (then its own upgrade ends in 410)."""
    if handshake.rejection is not None:
        status, description = handshake.rejection
        sender.turn_away(Rejected(description, status=status))
        raise Gone("The sender has been turned away.")
    try:
        sub_protocol = agreed_subprotocol(sender.head.headers if sender.head else [], head.headers)
    except BadAnswer as error:
        sender.turn_away(error)
        raise
    return sender.counterpart(context, transport, head, sub_protocol)


class WaitingSender(SplicedSocket):
    """A sender whose upgrade is held until its listener comes to the rendezvous.

    A listener that takes no command, or that is lost before it came, is replaced by another, each asked once, under
    one deadline. What the first was sent is worth nothing then: each gets a secret of its own.
    """

    __slots__ = ("_address", "_asked", "_handshake", "_is_consumed", "_patience", "_secret", "listener", "tracking_id")

    own_headers: ClassVar[Mapping[str, str]] = {}  # what the gateway says of such a sender

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        realm: Realm,
        relay: Relay,
        address: str,
        grant: Grant,
        handshake: Handshake,
        listener: ControlChannel,
        is_consumed: bool,
    ) -> None:
        super().__init__(context, transport, head, realm, relay, grant)
        self._address = address
        self._handshake = handshake
        self._is_consumed = is_consumed
        self._secret = ""
        self._patience: Deadline | None = None
        self._asked: tuple[ControlChannel, ...] = ()
        self.listener = listener
        self.tracking_id = new_tracking_id(handshake.id, context.node)

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.context.lives.add(self)
        self.context.counters["senders"] += 1
        self._patience = self.context.wheel.after(accept_seconds(self.context, self.relay), self._on_timeout)
        self._offer()

    def on_listener_gone(self) -> None:
        """The listener that was asked is lost; its address is dead from here on."""
        self.context.rendezvous.pop(self._secret, None)
        self._offer(ListenerGone("The listener left before it came to the rendezvous."))

    def _offer(self, fault: RelayError | None = None) -> None:
        """Tell a listener where to come: the one that was chosen or, after `fault`, one that was not asked yet.

        Where none is left, the last fault is the answer.
        """
        assert self.head is not None
        try:
            while True:
                if fault is not None:
                    self.listener = find_listener(self.realm, self.relay, self._address, self.head, self._asked)
                    self.context.counters["offered_again"] += 1
                self._asked = (*self._asked, self.listener)
                command = self._invitation()
                try:
                    self.listener.deliver(command)
                except RelayError as error:
                    fault = error
                    continue
                self.context.rendezvous[self._secret] = self
                self.listener.expect_visit(self)
                return
        except RelayError as error:
            self.turn_away(fault if fault is not None and isinstance(error, NoListener) else error)

    def _invitation(self) -> bytes:
        """The `accept` command for the listener, under a fresh secret. Raises HeadTooLarge."""
        head, handshake = self.head, self._handshake
        assert head is not None
        self._secret = new_secret()
        address = accept_address(
            self.listener.base, handshake.raw_path, handshake.user_query, self.tracking_id, self._secret
        )
        scheme = told_scheme(self.context, self.transport, head, self.relay)
        origin = origin_headers(head.mount, scheme) if scheme else {}
        headers = connect_headers(head.headers, self._is_consumed, {**origin, **self.own_headers})
        return encode_accept(address, self.tracking_id, headers, remote_endpoint(self.context, self.transport, head))

    def counterpart(
        self, context: Context, transport: asyncio.Transport, head: Head, sub_protocol: str | None
    ) -> AcceptingListener:
        """The other end of this rendezvous."""
        return AcceptingListener(context, transport, head, self, sub_protocol)

    def meet(self, listener: SplicedSocket, sub_protocol: str | None) -> None:
        """The listener is here: both upgrades are answered, the rendezvous is used up."""
        self._forget()
        self._asked = ()
        join(self, listener, sub_protocol)

    def turn_away(self, error: RelayError) -> None:
        """Answer the held upgrade with a refusal."""
        self._forget()
        self.refuse(error, self.tracking_id)

    def on_lost(self) -> None:
        self._forget()
        super().on_lost()

    def end(self, close: Close) -> None:
        if self.is_open:
            super().end(close)
        elif close is DRAINING:
            self.turn_away(GatewayDraining(close.reason, retry_after=1))
        elif close is ENTITY_GONE:
            self.turn_away(EndpointNotFound(SENTENCES[EndpointNotFound]))
        else:
            self.turn_away(Unauthorized(close.reason))

    def _forget(self) -> None:
        self.context.rendezvous.pop(self._secret, None)
        self.listener.forget_visit(self)
        if self._patience is not None:
            self._patience.cancel()

    def _on_timeout(self) -> None:
        self.turn_away(AcceptTimeout(SENTENCES[AcceptTimeout]))


class AcceptingListener(SplicedSocket):
    """A listener's end of a rendezvous; it lives on the grant of its control channel."""

    __slots__ = ("_sender", "_sub_protocol")

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        sender: WaitingSender,
        sub_protocol: str | None,
    ) -> None:
        super().__init__(context, transport, head, sender.realm, sender.relay, sender.listener.grant)
        self._sender = sender
        self._sub_protocol = sub_protocol

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        if self._sender.is_lost or self._sender.is_open or self._sender.is_ending:
            self.refuse(RendezvousExpired("The sender has left."))
            return
        self._sender.meet(self, self._sub_protocol)
