"""What a session has subscribed to.

All live subscriptions of a session to one relay share a mouth, so that overlapping ones bring one copy; a
subscription that is behind, because it begins in the past or was too slow, is told its history apart, marked with its
number. One with a filter has a mouth of its own, whose events are all marked: by its pattern alone the client could
not tell which are for it. What is shared with other sessions is apart too (`session_shares`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.edge.feeds.beginning import check_start
from app.edge.feeds.callers import may_subscribe
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.mouth import Mouth, budget_of, policy_of, strictest
from app.edge.feeds.session_shares import SessionShares
from app.errors import BadRequest, ClaimMissing, EndpointNotFound, QuotaExceeded
from app.namespace import Relay, Right
from app.wire.native.query import Policy
from app.wire.native.session import Sub, Unsub
from app.wire.native.session_frames import (
    SessionFrames,
    encode_behind,
    encode_cursor,
    encode_ok,
    encode_replayed,
    encode_session_gap,
    encode_subscribed,
)
from fanout.address import Pattern
from fanout.event import Event
from fanout.history import Cursor, Gap

if TYPE_CHECKING:
    from app.edge.feeds.session import SessionSocket

MAX_SUBSCRIPTIONS = 1024


class SessionFeeds:
    """The subscriptions of one session, by the number that its client gave each."""

    __slots__ = ("_context", "_feeds", "_mouths", "_outflow", "_realm", "_session", "shares")

    def __init__(self, session: SessionSocket) -> None:
        self._session = session
        self._context = session.context
        self._realm = session.realm
        self._outflow = session.outflow
        self._feeds: dict[int, SessionFeed] = {}
        self._mouths: dict[Relay, Mouth] = {}
        self.shares = SessionShares(session)

    def subscribe(self, message: Sub) -> None:
        """Begin what is asked for, and answer. Raises RelayError where it may not be."""
        if message.sub in self._feeds or message.sub in self.shares:
            raise BadRequest(f"The subscription {message.sub} exists already.")
        if len(self._feeds) + len(self.shares) >= MAX_SUBSCRIPTIONS:
            raise QuotaExceeded(f"A session holds at most {MAX_SUBSCRIPTIONS} subscriptions.")
        relay, pattern = may_subscribe(self._realm, self._session.lease.grant, message.pattern, message.filter)
        policy = policy_of(relay, message.policy)
        check_start(relay, message.start)
        self._realm.touch(relay)
        self._realm.tick.flush()
        if self._session.is_ending:  # found too slow in that flush
            return
        if message.sharing is not None:
            self.shares.subscribe(message, message.sharing, relay, pattern)
            return
        mouth = self._mouth(relay) if message.filter is None else self._new_mouth(relay, message.sub)
        budget = budget_of(self._context, relay, message.budget)
        feed = SessionFeed(self._session, mouth, pattern, self._gate(relay), message, policy, budget)
        self._feeds[message.sub] = feed
        self._tune(mouth)
        beginning = feed.find_beginning(message.start)
        feed.is_told_behind = not feed.is_caught_up
        answer = (message.r, message.sub, relay.name, beginning.cursor)
        self._outflow.write(encode_subscribed(*answer, is_behind=feed.is_told_behind))
        feed.begin(beginning)

    def unsubscribe(self, message: Unsub) -> None:
        """End it, and answer. Raises EndpointNotFound."""
        if message.sub not in self._feeds and message.sub not in self.shares:
            raise EndpointNotFound(f"There is no subscription {message.sub}.")
        self._realm.tick.flush()
        if not self._session.is_ending:
            self._drop(message.sub)
            self._outflow.write(encode_ok(message.r, message.sub))

    def regrant(self, grant: Grant) -> None:
        """The session rests on another grant now; what that does not cover ends."""
        self.shares.regrant(grant)
        for sub, feed in list(self._feeds.items()):
            if grant.covers(Right.SUBSCRIBE, feed.mouth.relay, feed.pattern):
                feed.regate(self._gate(feed.mouth.relay))
            else:
                self._drop(sub)
                self._session.answer_err(ClaimMissing("The renewed token does not cover this subscription."), sub=sub)

    def review(self) -> None:
        """Something provisioned changed: a subscription ends with its relay."""
        self.shares.review()
        for sub, feed in list(self._feeds.items()):
            close = self._realm.ending(feed.mouth.relay, feed.pattern.prefix)
            if close is not None:
                self._drop(sub)
                self._session.answer_err(EndpointNotFound(f"{close.reason} Subscribe again."), sub=sub)

    def on_writable(self) -> None:
        """The peer has taken what it was owed."""
        for feed in list(self._feeds.values()):
            feed.on_writable()
        self.shares.on_writable()

    def tell_positions(self) -> None:
        """The position in each relay, but not while a subscription there is still behind it."""
        behind = {feed.mouth for feed in self._feeds.values() if not feed.is_live}
        for mouth in dict.fromkeys(feed.mouth for feed in self._feeds.values()):
            if mouth not in behind:
                mouth.tell_position()

    def end(self) -> None:
        """Nothing of any of them follows."""
        for sub in list(self._feeds):
            self._drop(sub)
        self.shares.end()

    # --- inside ---

    def _gate(self, relay: Relay) -> Gate:
        return Gate.of(self._session.lease.grant, relay)

    def _mouth(self, relay: Relay) -> Mouth:
        mouth = self._mouths.get(relay)
        if mouth is None:
            mouth = self._mouths[relay] = self._new_mouth(relay)
        return mouth

    def _new_mouth(self, relay: Relay, sub: int | None = None) -> Mouth:
        """One for the subscription `sub` alone, or for all whose events bear no mark."""
        voice, end = SessionFrames(self._realm.history(relay).epoch, sub), self._session.end
        return Mouth(self._context, self._realm, relay, self._outflow, voice, end, "close", relay.budget)

    def _tune(self, mouth: Mouth) -> None:
        """A mouth follows the strictest of its subscriptions."""
        feeds = [feed for feed in self._feeds.values() if feed.mouth is mouth]
        if not feeds:
            if self._mouths.get(mouth.relay) is mouth:
                del self._mouths[mouth.relay]
            return
        mouth.limit(strictest([feed.policy for feed in feeds]), min(feed.budget for feed in feeds))

    def _drop(self, sub: int) -> None:
        if sub in self.shares:
            self.shares.drop(sub)
            return
        feed = self._feeds.pop(sub)
        feed.end()
        self._realm.vacate(feed.mouth.relay)
        self._tune(feed.mouth)


class SessionFeed(Feed):
    """A subscription of a session; its history goes to it alone, and with a filter its live events too."""

    __slots__ = ("_sub", "budget", "is_told_behind", "policy")

    def __init__(
        self,
        session: SessionSocket,
        mouth: Mouth,
        pattern: Pattern,
        gate: Gate,
        wanted: Sub,
        policy: Policy,
        budget: int,
    ) -> None:
        super().__init__(
            session.context, session, mouth, pattern, gate, wanted.filter, is_sole=wanted.filter is not None
        )
        self._sub = wanted.sub
        self.policy: Policy = policy
        self.is_told_behind = False  # so that its client takes live events for it from the next `cur` on only
        self.budget = budget

    def send(self, events: list[Event], epoch: str) -> None:
        self.mouth.outflow.write(b"".join([encode_replayed(event, epoch, self._sub) for event in events]))

    def send_gap(self, gap: Gap) -> None:
        relay = self.mouth.relay.name
        self.mouth.outflow.write(encode_session_gap(relay, gap.from_, gap.to, gap.why, self._sub))

    def on_retained(self) -> None:
        """The `cur` that says that it is live tells the place."""

    def on_behind(self) -> None:
        self.is_told_behind = True
        self._write_place(encode_behind)

    def on_live(self) -> None:
        if self.is_told_behind:
            self.is_told_behind = False
            self._write_place(encode_cursor)

    def _write_place(self, encode: Callable[[str, Cursor, int], bytes]) -> None:
        place = Cursor(self.mouth.history.epoch, self.offset)
        self.mouth.outflow.write(encode(self.mouth.relay.name, place, self._sub))
