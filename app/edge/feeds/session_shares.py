"""What a session shares with others: its parts in groups and durable subscriptions, and its acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.edge.feeds.dispatcher import Dispatcher
from app.edge.feeds.durable import Durable
from app.edge.feeds.gate import Gate
from app.edge.presence import Kind, Particulars
from app.errors import BadRequest, ClaimMissing, EndpointNotFound, RelayError, UnknownDelivery
from app.namespace import Relay, Right
from app.wire.native.query import SESSION_PROTOCOL
from app.wire.native.session import Ack, Credit, Nack, Sub
from app.wire.native.session_frames import (
    encode_delivery,
    encode_ok,
    encode_session_gap,
    encode_subscribed,
)
from app.wire.native.sharing import Sharing
from fanout.address import Pattern
from fanout.history import Gap
from fanout.members import Member
from fanout.shared import Pending

if TYPE_CHECKING:
    from app.edge.feeds.session import SessionSocket

CREDIT = 256  # deliveries that a session has not settled, unless it says another number


class SessionShares:
    """The parts of one session, by the number that its client gave each."""

    __slots__ = ("_awaited", "_session", "_shares")

    def __init__(self, session: SessionSocket) -> None:
        self._session = session
        self._shares: dict[int, SessionShare] = {}
        self._awaited: dict[int, Sub] = {}  # what is on its way

    def __len__(self) -> int:
        return len(self._shares) + len(self._awaited)

    def __contains__(self, sub: int) -> bool:
        return sub in self._shares or sub in self._awaited

    def subscribe(self, message: Sub, sharing: Sharing, relay: Relay, pattern: Pattern) -> None:
        """Take part, and answer, perhaps later. Raises RelayError where it may not be."""
        session, sub = self._session, message.sub
        if sharing.durable is None:
            group = session.context.groups.open(session.realm, relay, pattern, message.filter, sharing, message.start)
            self._join(message, group, sharing.credit)
            return
        self._awaited[sub] = message

        def then(found: Durable | RelayError) -> None:
            if session.is_ending or session.is_lost:
                return
            if self._awaited.get(sub) is message:
                del self._awaited[sub]
            else:  # the number may be another's by now
                found = EndpointNotFound("It was unsubscribed before it began.")
            if isinstance(found, Durable):
                if found.is_closed:
                    found = EndpointNotFound("The durable subscription was deleted.")
                elif not session.lease.grant.covers(Right.SUBSCRIBE, relay, pattern):  # it was renewed meanwhile
                    found = ClaimMissing("The renewed token does not cover this subscription.")
            if isinstance(found, RelayError):
                session.answer_err(found, r=message.r)
            else:
                self._join(message, found, CREDIT if sharing.credit is None else sharing.credit)

        session.context.durables.open(
            session.realm, relay, pattern, message.filter, sharing, session.lease.grant, message.start, then
        )

    def drop(self, sub: int) -> None:
        """End it: what was under way to it goes to others."""
        self._awaited.pop(sub, None)
        share = self._shares.pop(sub, None)
        if share is not None:
            share.dispatcher.leave(share)
            self._session.realm.presence.go(share)

    def ack(self, message: Ack) -> None:
        """Raises EndpointNotFound."""
        share = self._share(message.sub)
        self._answer(message, share.dispatcher.ack(share.member, message.d))

    def nack(self, message: Nack) -> None:
        """Raises EndpointNotFound."""
        share = self._share(message.sub)
        self._answer(message, share.dispatcher.nack(share.member, message.d, message.delay, message.reason))

    def lend(self, message: Credit) -> None:
        """Raises EndpointNotFound, BadRequest."""
        share = self._share(message.sub)
        if share.member.credit is None:
            raise BadRequest(f"The subscription {message.sub} was begun without 'credit', so that none is counted.")
        share.dispatcher.lend(share, message.n)
        if message.r is not None:
            self._session.outflow.write(encode_ok(message.r, message.sub))

    def regrant(self, grant: Grant) -> None:
        """The session rests on another grant now; what that does not cover ends."""
        for sub, share in list(self._shares.items()):
            dispatcher = share.dispatcher
            if grant.covers(Right.SUBSCRIBE, dispatcher.relay, dispatcher.pattern):
                dispatcher.regate(share, Gate.of(grant, dispatcher.relay))
            else:
                self.lose(sub, ClaimMissing("The renewed token does not cover this subscription."))

    def review(self) -> None:
        """Something provisioned changed."""
        for sub, share in list(self._shares.items()):
            dispatcher = share.dispatcher
            close = self._session.realm.ending(dispatcher.relay, dispatcher.pattern.prefix)
            if close is not None:
                self.lose(sub, EndpointNotFound(f"{close.reason} Subscribe again."))

    def on_writable(self) -> None:
        """The peer has taken what it was owed."""
        for share in list(self._shares.values()):
            share.dispatcher.wake(share)

    def end(self) -> None:
        """Nothing of any of them follows."""
        for sub in [*self._shares, *self._awaited]:
            self.drop(sub)

    # --- inside ---

    def _join(self, message: Sub, dispatcher: Dispatcher, credit: int | None) -> None:
        session = self._session
        share = SessionShare(session, self, message, dispatcher, credit)
        self._shares[message.sub] = share
        answer = (message.r, message.sub, dispatcher.relay.name, dispatcher.cursor)
        session.outflow.write(encode_subscribed(*answer, is_behind=False))
        dispatcher.join(share)
        if message.sub in self._shares:
            session.realm.presence.come(share, is_sharer=True)

    def lose(self, sub: int, error: RelayError) -> None:
        """It ends, not by its client's wish."""
        self.drop(sub)
        self._session.answer_err(error, sub=sub)

    def _share(self, sub: int) -> SessionShare:
        share = self._shares.get(sub)
        if share is None:
            raise EndpointNotFound(f"There is no subscription {sub} that is shared.")
        return share

    def _answer(self, message: Ack | Nack, unknown: Sequence[int]) -> None:
        session = self._session
        if unknown:
            error = UnknownDelivery(
                "These deliveries are not under way: they were settled before, their deadline has passed, "
                "or they were never this subscription's."
            )
            session.answer_err(error, r=message.r, sub=message.sub, d=unknown)
        elif message.r is not None:
            session.outflow.write(encode_ok(message.r, message.sub))


class SessionShare:
    """One part; what is dealt to it is written as `dl`."""

    __slots__ = ("_outflow", "_session", "_shares", "_sharing", "_since", "_sub", "dispatcher", "member", "number")

    kind: Kind = "subscriber"

    def __init__(
        self, session: SessionSocket, shares: SessionShares, message: Sub, dispatcher: Dispatcher, credit: int | None
    ) -> None:
        self.dispatcher = dispatcher
        self.number = 0
        self._since = session.realm.now()
        self._session = session
        self._shares = shares
        self._sub = message.sub
        self._sharing = message.sharing
        gate = Gate.of(session.lease.grant, dispatcher.relay)
        self._outflow = session.outflow
        self.member = Member(gate, self._is_ready, credit)

    def deliver(self, deliveries: Sequence[Pending]) -> None:
        epoch, sub = self.dispatcher.history.epoch, self._sub
        deadline = self.dispatcher.deadline()
        self._outflow.write(
            b"".join(
                [encode_delivery(each.event, epoch, sub, each.attempts, each.number, deadline) for each in deliveries]
            )
        )

    def tell_gap(self, gap: Gap) -> None:
        relay = self.dispatcher.relay.name
        self._outflow.write(encode_session_gap(relay, gap.from_, gap.to, gap.why, self._sub))

    def on_over(self, error: RelayError) -> None:
        self._shares.lose(self._sub, error)

    # --- who it is, for those who ask who is there ---

    @property
    def relay(self) -> Relay:
        return self.dispatcher.relay

    @property
    def place(self) -> str:
        return self.dispatcher.pattern.text

    @property
    def prefix(self) -> str:
        return self.dispatcher.pattern.prefix

    @property
    def count(self) -> int:
        return len(self.dispatcher.consumers)

    def particulars(self) -> Particulars:
        session, sharing = self._session, self._sharing or Sharing()
        names = {"session": session.session_id, "group": sharing.group, "durable": sharing.durable}
        holder = session.lease.grant.holder
        return Particulars(SESSION_PROTOCOL, holder, session.peer_address(), self._since, names)

    # --- inside ---

    def _is_ready(self) -> bool:
        return not self._outflow.is_paused
