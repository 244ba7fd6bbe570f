"""Long polls of a durable subscription: each takes some of what is to be delivered, and is answered with it.

A delivery outlives the poll that took it. It is settled at the door of acknowledgements (`app.edge.feeds.acks`), by its
id, which names the attempt and the start of the gateway; or its deadline ends it.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.closes import Close
from app.edge.feeds.callers import cors_headers
from app.edge.feeds.durable import Durable
from app.edge.feeds.exchange import Subscribe
from app.edge.feeds.gate import Gate
from app.edge.feeds.long_poll import CONTENT_TYPE
from app.edge.presence import Kind, Particulars
from app.edge.wheel import Deadline
from app.errors import RelayError
from app.wire.http import Headers
from app.wire.native.cloudevents import encode_delivery, encode_gap
from app.wire.native.query import Transport
from fanout.history import Gap
from fanout.members import Member
from fanout.shared import Pending


class DurablePoll(Subscribe):
    """A GET that waits for something to be dealt to it."""

    transport = Transport.LONG_POLL
    is_endless = False
    kind: Kind = "subscriber"
    number = 0

    def start(self) -> None:
        self._durable: Durable | None = None
        self._patience: Deadline | None = None
        self._found: list[bytes] = []
        self._since = self.context.clock()
        self.admit()
        self.context.lives.add(self)
        self.realm.tick.flush()
        sharing = self.query.sharing
        assert sharing is not None
        self.context.durables.open(
            self.realm, self.relay, self.pattern, self.query.filter, sharing, self.grant, self.beginning_at, self._begin
        )

    def end(self, close: Close) -> None:
        """Whatever the reason, the caller may ask again and then hears of it."""
        self._answer()

    def release(self) -> None:
        durable, self._durable = self._durable, None
        if durable is not None:
            durable.leave(self)
            self.realm.presence.go(self)
        if self._patience is not None:
            self._patience.cancel()
        self.lease.release()
        self.context.lives.discard(self)
        self.realm.vacate(self.relay)

    # --- what its subscription asks ---

    def deliver(self, deliveries: Sequence[Pending]) -> None:
        durable = self._durable
        if durable is not None:
            epoch, deadline = durable.history.epoch, durable.deadline()
            self._found += [
                encode_delivery(each.event, epoch, durable.id_of(each.number), each.attempts, deadline)
                for each in deliveries
            ]
            self._answer()

    def tell_gap(self, gap: Gap) -> None:
        self._found.append(encode_gap(self.relay.name, gap.from_, gap.to, gap.why))

    def on_over(self, error: RelayError) -> None:
        self.release()
        self.refuse(error)

    # --- who it is, for those who ask who is there ---

    @property
    def place(self) -> str:
        return self.pattern.text

    @property
    def prefix(self) -> str:
        return self.pattern.prefix

    @property
    def count(self) -> int:
        return 0 if self._durable is None else len(self._durable.consumers)

    def particulars(self) -> Particulars:
        names = {"durable": None if self._durable is None else self._durable.name}
        return Particulars("long-poll", self.grant.holder, self.peer_address(), self._since, names)

    # --- inside ---

    def _begin(self, found: Durable | RelayError) -> None:
        """It is there, and kept; or it may not be."""
        if self.is_over:
            return
        if isinstance(found, RelayError):
            self.release()
            self.refuse(found)
            return
        self._durable = found
        gate = Gate.of(self.grant, self.relay)
        self.member = Member(gate, lambda: self._durable is not None, self.query.most, found.holder)
        self._patience = self.context.wheel.after(self.query.wait_seconds, self._answer)
        found.join(self)
        if self._durable is not None:
            self.realm.presence.come(self, is_sharer=True)

    def _answer(self) -> None:
        if self.is_over:
            return
        durable = self._durable
        self.release()
        headers: Headers = [("Content-Type", CONTENT_TYPE)]
        if durable is not None:
            headers.append(("Fanway-Cursor", str(durable.cursor)))
        headers += [("Cache-Control", "no-store"), *cors_headers(self.context, self.head)]
        self.respond(200, headers, b"[" + b",".join(self._found) + b"]")
