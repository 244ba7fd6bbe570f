"""One relay's live stream to one peer, and what becomes of a peer that is slow.

The engine asks a `Mouth` once a tick whether it may be fed; it looks at the bytes still owed and closes a slow peer, or
skips events and tells the gap as soon as it can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from app.edge.outflow import Outflow
from app.edge.realm import Realm
from app.namespace import Relay
from app.wire.native.query import Policy
from fanout.history import Cursor
from fanout.subscription import Encoding, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context


class Voice(Encoding, Protocol):
    """An encoding that can also say what is no event; empty where it has no words for it."""

    def ready(self, relay: str, cursor: Cursor) -> bytes: ...

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes: ...

    def position(self, relay: str, cursor: Cursor) -> bytes: ...

    def in_epoch(self, epoch: str) -> Voice:
        """The same for another stream."""


class Mouth:
    """The outlet of one relay's stream to one peer. `on_slow` must end the connection, or at least this mouth."""

    __slots__ = ("_missed", "_on_slow", "budget", "encoding", "history", "outflow", "policy", "realm", "relay")

    def __init__(
        self,
        realm: Realm,
        relay: Relay,
        outflow: Outflow,
        encoding: Voice,
        on_slow: Callable[[], None],
        policy: Policy,
        budget: int,
    ) -> None:
        self.realm = realm
        self.relay = relay
        self.history = realm.history(relay)
        self.outflow = outflow
        self.encoding = encoding
        self._on_slow = on_slow
        self._missed: tuple[int, int] | None = None  # first and last offset skipped and not yet told
        self.limit(policy, budget)

    def limit(self, policy: Policy, budget: int) -> None:
        """From now a peer that is owed more than `budget` bytes is slow, and `policy` says what then."""
        self.policy, self.budget = policy, budget
        self.outflow.lower_mark(budget)  # so that the transport tells when it has drained so far

    # --- what the engine asks ---

    def admit(self) -> Verdict:
        """By the bytes owed before this tick. A slow peer with the policy `close` is on its way out after this."""
        if self.outflow.is_paused and self.outflow.backlog() > self.budget:
            if self.policy == "close":
                self._on_slow()
            return Verdict.DROPPED
        return Verdict.QUEUED

    def offer(self, data: bytes) -> Verdict:
        outflow = self.outflow
        if outflow.is_paused and self.admit() is Verdict.DROPPED:  # unless paused it owes less than any budget
            return Verdict.DROPPED
        if self._missed is not None:
            self.tell_missed()
        outflow.write(data)
        return Verdict.QUEUED

    def skip(self, relay: str, first: int, last: int) -> None:
        self._missed = (first if self._missed is None else self._missed[0], last)

    # --- what its connection asks ---

    def tell_missed(self) -> None:
        """Tell the gap that skipping has torn, if there is one; call it when the peer reads again."""
        if self._missed is not None:
            (first, last), self._missed = self._missed, None
            epoch = self.history.epoch
            gap = self.encoding.gap(self.relay.name, Cursor(epoch, first - 1), Cursor(epoch, last), "slow")
            self.outflow.write(gap)

    def tell_position(self) -> None:
        """The heartbeat of a live stream that is not slow: everything up to here was seen."""
        if self.outflow.is_paused:
            return
        self.realm.tick.flush()
        self.tell_missed()
        data = self.encoding.position(self.relay.name, self.history.cursor)
        if data:
            self.outflow.write(data)


def budget_of(context: Context, relay: Relay, wanted: int | None) -> int:
    """The bytes a connection may be owed: the least of what the gateway, the relay and the subscriber say."""
    allowed = min(relay.budget, context.settings.budgets.connection_bytes)
    return allowed if wanted is None else min(allowed, wanted)
