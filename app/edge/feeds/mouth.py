"""One relay's live stream to one peer, and what becomes of a peer that is slow.

The engine asks a `Mouth` once a tick whether it may be fed; it looks at the bytes still owed. A peer that owes more
than its budget is slow, and its policy says what then: `close` ends the connection; `drop` skips events and tells the
gap as soon as it can; `catch-up` takes the feeds off the live stream, and they read on from history when the peer
has drained; `block` takes what comes all the same and holds up the relay's publishers, so that little does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from app.closes import BLOCKING_CONSUMER, SLOW_CONSUMER, Close
from app.edge.outflow import Outflow
from app.edge.realm import Realm
from app.edge.slowness import State, Subscriber
from app.edge.wheel import Deadline
from app.errors import Unsupported
from app.namespace import Relay
from app.wire.native.query import Policy
from fanout.history import Cursor
from fanout.subscription import Encoding, Verdict

if TYPE_CHECKING:
    from app.edge.context import Context

_STRICTEST_FIRST: tuple[Policy, ...] = ("close", "block", "catch-up", "drop")


class Voice(Encoding, Protocol):
    """An encoding that can also say what is no event; empty where it has no words for it."""

    def ready(self, relay: str, cursor: Cursor) -> bytes: ...

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes: ...

    def position(self, relay: str, cursor: Cursor) -> bytes: ...

    def in_epoch(self, epoch: str) -> Voice:
        """The same for another stream."""


class Follower(Subscriber, Protocol):
    """A subscription that the mouth is the live outlet of."""

    def fall_behind(self, after: int) -> None:
        """Leave the live stream; of what came after the offset `after` nothing was written."""

    def catch_up(self) -> None:
        """Read on from history, as soon as the peer takes something."""


class Mouth:
    """The outlet of one relay's stream to one peer. `on_slow` must end the connection, or at least this mouth."""

    __slots__ = (
        "_blocked_at",
        "_context",
        "_deadline",
        "_followers",
        "_is_falling",
        "_missed",
        "_on_slow",
        "budget",
        "encoding",
        "history",
        "outflow",
        "policy",
        "realm",
        "relay",
    )

    def __init__(
        self,
        context: Context,
        realm: Realm,
        relay: Relay,
        outflow: Outflow,
        encoding: Voice,
        on_slow: Callable[[Close], None],
        policy: Policy,
        budget: int,
    ) -> None:
        self._context = context
        self.realm = realm
        self.relay = relay
        self.history = realm.history(relay)
        self.outflow = outflow
        self.encoding = encoding
        self._on_slow = on_slow
        self._followers: tuple[Follower, ...] = ()
        self._is_falling = False  # over its budget with the policy `catch-up`, which its followers do not know yet
        self._missed: tuple[int, int] | None = None  # first and last offset skipped and not yet told
        self._deadline: Deadline | None = None  # while it holds up publishers: when it must have taken some
        self._blocked_at = 0  # bytes owed when that was set
        self.limit(policy, budget)

    def limit(self, policy: Policy, budget: int) -> None:
        """From now a peer that is owed more than `budget` bytes is slow, and `policy` says what then."""
        self.policy, self.budget = policy, budget
        self.outflow.lower_mark(budget)  # so that the transport tells when it has drained so far
        if policy != "block":
            self._unblock()

    @property
    def is_slow(self) -> bool:
        """Whether the peer owes more than it may, or lacks something that it was not told of yet."""
        is_over_budget = self.outflow.is_paused and self.outflow.backlog() > self.budget
        return is_over_budget or self._is_falling or self._missed is not None

    # --- what the engine asks ---

    def admit(self) -> Verdict:
        """By the bytes owed before this tick. A slow peer with the policy `close` is on its way out after this."""
        if self._is_falling:
            return Verdict.BEHIND
        if self.outflow.is_paused and self.outflow.backlog() > self.budget:
            return self._find_slow()
        return Verdict.QUEUED

    def offer(self, data: bytes) -> Verdict:
        outflow = self.outflow
        if outflow.is_paused or self._missed is not None:  # else it owes less than any budget, and lacks nothing
            verdict = self.admit()
            if verdict is not Verdict.QUEUED:
                return verdict
            self.tell_missed()
        outflow.write(data)
        return Verdict.QUEUED

    def skip(self, relay: str, first: int, last: int) -> None:
        if self._missed is None:
            if self.policy == "drop":
                self._count("dropped")
            self._missed = (first, last)
        else:
            self._missed = (self._missed[0], last)

    # --- what its followers tell ---

    def join(self, follower: Follower) -> None:
        """It is fed by this mouth now."""
        if follower not in self._followers:
            self._followers += (follower,)

    def leave(self, follower: Follower) -> None:
        """It is not, any more."""
        if follower in self._followers:
            self._followers = tuple(other for other in self._followers if other is not follower)
            if not self._followers:
                self._unblock()

    # --- what its connection asks ---

    def on_drained(self) -> None:
        """The peer has taken what it was owed."""
        self._unblock()
        self.tell_missed()

    def tell_missed(self) -> None:
        """Tell the gap that skipping has torn, if there is one; call it when the peer reads again."""
        if self._missed is not None and not self._is_falling:
            (first, last), self._missed = self._missed, None
            from_, to = Cursor(self.history.epoch, first - 1), Cursor(self.history.epoch, last)
            self.outflow.write(self.encoding.gap(self.relay.name, from_, to, "slow"))
            self.realm.slowness.note_gap(self, self._followers, from_, to, "slow")

    def tell_position(self) -> None:
        """The heartbeat of a live stream that is not slow: everything up to here was seen."""
        if self.outflow.is_paused or self._is_falling:
            return
        self.realm.tick.flush()
        self.tell_missed()
        data = self.encoding.position(self.relay.name, self.history.cursor)
        if data:
            self.outflow.write(data)

    # --- inside ---

    def _find_slow(self) -> Verdict:
        """The peer owes more than its budget."""
        if self.policy == "drop":
            return Verdict.DROPPED
        if self.policy == "catch-up":
            self._count("behind")
            self._is_falling = True
            self._context.loop.call_soon(self._fall)  # the engine's outlets may not change while it writes
            return Verdict.BEHIND
        if self.policy == "block" and self.relay.slow == "block":
            if self._deadline is None:
                self._count("blocked")
                self.realm.backpressure.hold(self.relay, self)
                self._await_progress()
            return Verdict.QUEUED
        self._close(SLOW_CONSUMER)
        return Verdict.DROPPED

    def _close(self, close: Close) -> None:
        self._count("closed")
        self._on_slow(close)

    def _await_progress(self) -> None:
        self._blocked_at = self.outflow.backlog()
        self._deadline = self._context.wheel.after(self._context.settings.deadlines.block_seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        """It goes on holding up publishers only if it has taken a quarter of its budget since it was last asked."""
        if self._blocked_at - self.outflow.backlog() >= self.budget // 4:
            self._await_progress()
        else:
            self._close(BLOCKING_CONSUMER)

    def _unblock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self.realm.backpressure.release(self.relay, self)

    def _fall(self) -> None:
        """All that this mouth feeds goes on from history, just after what was written last."""
        followers, missed = self._followers, self._missed
        if missed is not None:
            for follower in followers:
                follower.fall_behind(missed[0] - 1)  # what that flushes is theirs to read, too
        self._is_falling, self._missed = False, None
        for follower in followers:
            follower.catch_up()

    def _count(self, state: State) -> None:
        """The peer was found slow: that counts once each time, and is told."""
        self._context.counters[f"slow_{state}"] += 1
        self.realm.slowness.begin(self, state, self._followers)


def policy_of(relay: Relay, wanted: Policy | None, *, has_notices: bool = True) -> Policy:
    """What becomes of a slow subscriber: what it wants, else what the relay says; `close` where there is no telling.

    Raises Unsupported where the relay does not allow, or cannot do, what is wanted.
    """
    policy = wanted or relay.slow
    if relay.is_system and policy == "drop":
        return "catch-up"  # who follows presence could not go on behind a gap
    if wanted is None and not has_notices and policy in ("drop", "catch-up"):
        return "close"
    if policy == "block" and relay.slow != "block":
        raise Unsupported(
            f"'policy=block' would hold up the publishers of '{relay.name}', whose own 'slow' is '{relay.slow}', "
            "not 'block'."
        )
    if policy == "catch-up" and relay.history.keep == "none":
        raise Unsupported(f"'policy=catch-up' reads what it missed from the history, and '{relay.name}' keeps none.")
    return policy


def strictest(policies: Iterable[Policy]) -> Policy:
    """What becomes of a peer that is slow where several of its subscriptions share a stream: no event is lost that one
    of them was not to lose, and nobody is held up for one that is to be closed."""
    return min(policies, key=_STRICTEST_FIRST.index)


def budget_of(context: Context, relay: Relay, wanted: int | None) -> int:
    """The bytes a connection may be owed: the least of what the gateway, the relay and the subscriber say."""
    allowed = min(relay.budget, context.settings.budgets.connection_bytes)
    return allowed if wanted is None else min(allowed, wanted)
