"""Who follows presence knows who is there, however people come and go and however slowly he reads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pipe import Pipe

from app.access.grant import Grant
from app.edge import presence
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.mouth import Mouth
from app.edge.outflow import Outflow
from app.edge.presence import LINGER_SECONDS, Particulars, address_of
from app.edge.realm import Realm
from app.edge.system import tell
from app.namespace import HistoryLimits, Namespace, Relay, Right
from app.wire.frames import MessageReader
from app.wire.native.cloudevents import CloudEventFrames
from app.wire.native.query import Policy
from fanout.address import check_pattern
from fanout.history import parse_cursor
from fanout.tick import Tick

NO_REGISTRY: Any = None  # nothing here comes into being by use
AMPLE = 1 << 30
NO_APPENDER: Any = None  # nothing here is durable
NO_DELAYED: Any = None
FOLLOWED = ["-/sys/presence/**", "-/sys/presence/news/a/**", "-/sys/presence/news", "-/sys/*/news/**", "-/**"]


class World:
    """A realm without sockets, on a loop of its own, whose system events are soon forgotten."""

    def __init__(self, kept: int) -> None:
        self.soon: deque[Callable[[], None]] = deque()
        self.now = 1000.0
        self.relay = Relay("news")
        namespace = Namespace("test")
        namespace.relays["news"] = self.relay
        self.realm = Realm(
            namespace,
            Tick(self.soon.append, slice_size=2),
            lambda: self.now,
            NO_REGISTRY,
            NO_APPENDER,
            NO_DELAYED,
            is_open=False,
        )
        self.realm.system = Relay("-", history=HistoryLimits("memory", kept, 1e6, 1 << 30), is_system=True)
        self.context: Any = SimpleNamespace(loop=SimpleNamespace(call_soon=self.soon.append), counters=Counter())
        self.grant = Grant(namespace, Right.MANAGE | Right.LISTEN, None, "", "rule", "key", float("inf"))

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def settle(self) -> None:
        while self.soon:
            self.turn()


class Peer:
    """A subscriber behind a pipe."""

    session_id = None

    def __init__(self, world: World, relay: Relay, pattern: str, start: Any = "now", budget: int = AMPLE) -> None:
        self.world = world
        self.pipe = Pipe()
        self.pipe.high, self.pipe.low = 2000, 500  # a few events
        self.outflow = Outflow(self.pipe)  # type: ignore[arg-type]
        self.pipe.on_writable = self.on_writable
        voice = CloudEventFrames(world.realm.history(relay).epoch)
        policy: Policy = "close" if budget == AMPLE else "catch-up"
        mouth = Mouth(
            world.context, world.realm, relay, self.outflow, voice, lambda close: self.close(), policy, budget
        )
        asked = check_pattern(pattern, allow_system=True)
        self.feed = Feed(world.context, self, mouth, asked, Gate.of(world.grant, relay), is_sole=True)
        world.realm.tick.flush()
        beginning = self.feed.find_beginning(start)
        self.outflow.write(voice.ready(relay.name, beginning.cursor))
        self.feed.begin(beginning)

    def peer_address(self) -> str:
        return "192.0.2.1"

    def on_writable(self, is_writable: bool) -> None:
        if not is_writable:
            self.outflow.pause()
            return
        self.outflow.resume()
        if not self.feed.is_over:
            self.feed.on_writable()

    def close(self) -> None:
        self.feed.end()


class FakeListener:
    """A listener without a control channel."""

    kind = "listener"

    def __init__(self, relay: Relay, address: str) -> None:
        self.number = 0
        self.relay, self.place, self.prefix = relay, address, address

    count = 1

    def particulars(self) -> Particulars:
        return Particulars("websocket", "rule x", "192.0.2.2", 1.0, {"listener": None})


class Follower:
    """What a client makes of what it is told: the set of who is there. It may return with its cursor."""

    def __init__(self, world: World, pattern: str, budget: int = AMPLE) -> None:
        self.world = world
        self.budget = budget
        self.pattern = check_pattern(pattern, allow_system=True)
        self.there: set[str] = set()
        self.is_complete = False
        self.reports: list[int] = []  # of another kind of system event
        self.gaps = 0
        self.cursor = ""
        self.peer = Peer(world, world.realm.system, pattern, budget=budget)
        self.reader = MessageReader(1 << 24, masked=False)

    def read(self, count: int) -> None:
        before = len(self.peer.pipe.taken)
        self.peer.pipe.take(count)
        for _, text in self.reader.feed(bytes(self.peer.pipe.taken[before:])):
            self.hear(orjson.loads(text))

    def hear(self, told: dict[str, Any]) -> None:
        self.cursor = told["fanwaycursor"]
        data, kind = told["data"], told["type"].removeprefix("fanway.")
        match kind:
            case "gap":
                self.there.clear()
                self.is_complete = False
                self.gaps += 1
            case "presence.here":
                assert not self.is_complete
                assert data["id"] not in self.there
                self.there.add(data["id"])
            case "presence.joined":
                assert self.is_complete
                assert data["id"] not in self.there
                self.there.add(data["id"])
            case "presence.left":
                self.there.remove(data["id"])
            case "presence.complete":
                assert not self.is_complete
                assert data["count"] == len(self.there)
                self.is_complete = True
            case "report":
                self.reports.append(data["n"])
            case _:
                assert kind in ("ready", "presence.followed")

    def return_(self) -> None:
        """Come again with the cursor that was read last, be it from the midst of a roll call."""
        self.peer.close()
        system, cursor = self.world.realm.system, parse_cursor(self.cursor)
        self.peer = Peer(self.world, system, self.pattern.text, cursor, self.budget)
        self.reader = MessageReader(1 << 24, masked=False)

    def returned(self) -> bool:
        """Whether it is there, or could come again."""
        if self.peer.feed.is_over and self.cursor:
            self.return_()
        return not self.peer.feed.is_over

    def read_all(self) -> None:
        self.world.settle()
        while self.peer.pipe.pending:
            self.read(len(self.peer.pipe.pending))
            self.world.settle()


class PresenceMachine(RuleBasedStateMachine):
    """Coming, going, following, reading slowly, returning with a cursor, turns of the loop, in any order."""

    @initialize(kept=st.sampled_from([0, 5, 1000]), there=st.integers(0, 12))
    def begin(self, kept: int, there: int) -> None:
        self.slice, presence.SLICE = presence.SLICE, 3
        self.world = World(kept)
        self.members: list[Peer | FakeListener] = []
        self.followers: list[Follower] = []
        self.reports = 0
        for number in range(there):
            self.subscribe(("news/a", "news/**", "news/a/*/b")[number % 3])

    @rule(pattern=st.sampled_from(["news/a", "news/**", "news/a/*", "news/a/b"]), count=st.integers(1, 5))
    def subscribe(self, pattern: str, count: int = 1) -> None:
        for _ in range(count):
            self.members.append(Peer(self.world, self.world.relay, pattern))

    @rule(address=st.sampled_from(["news", "news/a", "news/a/c"]))
    def listen(self, address: str) -> None:
        listener: Any = FakeListener(self.world.relay, address)
        self.world.realm.roster.add("news", address, listener)
        self.world.realm.presence.come(listener)
        self.members.append(listener)

    @precondition(lambda self: self.members)
    @rule(which=st.integers(0, 100), count=st.integers(1, 4))
    def go(self, which: int, count: int) -> None:
        for _ in range(min(count, len(self.members))):
            member: Any = self.members.pop(which % len(self.members))
            if isinstance(member, Peer):
                member.close()
            else:
                self.world.realm.roster.remove(member)
                self.world.realm.presence.go(member)

    @rule()
    def report(self) -> None:
        """Something else is told at a system address."""
        self.reports += 1
        tell(self.world.realm, "-/sys/status/news", "fanway.report", {"n": self.reports})

    @precondition(lambda self: len(self.followers) < 4)
    @rule(pattern=st.sampled_from(FOLLOWED), budget=st.sampled_from([AMPLE, 600]))
    def follow(self, pattern: str, budget: int) -> None:
        """With the smaller budget it falls behind and catches up; what is forgotten meanwhile is a gap."""
        follower = Follower(self.world, pattern, budget)
        follower.reports.append(self.reports)  # the last before it came
        self.followers.append(follower)

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3), count=st.sampled_from([200, 1500, 100_000]))
    def read(self, which: int, count: int) -> None:
        self.followers[which % len(self.followers)].read(count)

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3))
    def return_(self, which: int) -> None:
        follower = self.followers[which % len(self.followers)]
        if follower.cursor:
            follower.return_()

    @precondition(lambda self: self.followers)
    @rule(is_long=st.booleans())
    def leave_all(self, is_long: bool) -> None:
        """Nobody follows for a while."""
        for follower in self.followers:
            follower.peer.close()
        self.wait(is_long)

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule(is_long=st.booleans())
    def wait(self, is_long: bool) -> None:
        self.world.now += LINGER_SECONDS * 2 if is_long else 1
        self.world.realm.presence.sweep()

    @invariant()
    def a_roll_call_keeps_no_more_than_was_ever_there_at_once(self) -> None:
        for follower in getattr(self, "followers", []):
            following = follower.peer.feed._following
            assert following is not None
            if following.call is not None:
                assert len(following.call.census._untold) <= len(self.members)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        presence.SLICE = self.slice
        self.followers = [follower for follower in self.followers if follower.returned()]
        for follower in self.followers:
            follower.read_all()
            there = {
                str(member.number)
                for member in (m.feed if isinstance(m, Peer) else m for m in self.members)
                if follower.pattern.matches(address_of(member))  # type: ignore[arg-type]
            }
            assert follower.is_complete
            assert follower.there == there
            if follower.pattern.matches("-/sys/status/news") and not follower.gaps:
                assert follower.reports == list(range(follower.reports[0], self.reports + 1))
        for follower in self.followers:
            follower.peer.close()
        self.go(0, len(self.members)) if self.members else None
        assert self.world.realm.router.is_empty
        assert self.world.realm._epochs == {history.epoch for _, history in self.world.realm._histories.values()}


PresenceMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPresence = PresenceMachine.TestCase


def test_a_roll_call_of_10000_lets_the_loop_breathe() -> None:
    world = World(1000)
    members = [Peer(world, world.relay, f"news/{number}") for number in range(10_000)]
    follower = Follower(world, "-/sys/presence/**")
    follower.peer.pipe.high = follower.peer.pipe.low = 1 << 30
    follower.peer.outflow.resume()
    follower.read(1 << 30)
    turns = 1
    while not follower.is_complete:
        before = len(follower.there)
        world.turn()
        follower.read(1 << 30)
        assert len(follower.there) - before <= presence.SLICE
        turns += 1
    assert (len(follower.there), turns) == (10_000, -(-10_000 // presence.SLICE))
    assert len(members) == 10_000


def test_nothing_is_kept_while_nobody_follows() -> None:
    world = World(1000)
    members = [Peer(world, world.relay, "news/**") for _ in range(10)]
    members.pop().close()
    assert not world.realm.remembers(world.realm.system)
    assert [member.feed.number for member in members] == list(range(1, 10))
