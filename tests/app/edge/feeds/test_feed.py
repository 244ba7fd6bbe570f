"""Feeds against a peer that reads as it pleases: nothing twice, nothing out of order, nothing lost in silence."""

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
from app.closes import Close
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.intake import publish
from app.edge.feeds.mouth import Mouth
from app.edge.outflow import Outflow
from app.edge.realm import Realm
from app.namespace import HistoryLimits, Namespace, Relay, Right
from app.wire.frames import MessageReader
from app.wire.native.cloudevents import CloudEventFrames
from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt
from fanout.address import check_pattern
from fanout.filters import parse_filter
from fanout.history import Cursor
from fanout.tick import Tick

NO_REGISTRY: Any = None  # nothing here comes into being by use
NO_APPENDER: Any = None  # nothing here is durable
NO_DELAYED: Any = None
FILTERS: list[Any] = [[], {"suffix": {"fanwayaddress": "/b"}}, {"not": {"exact": {"fanwayaddress": "news/a"}}}]


class World:
    """A realm without sockets, on a loop of its own."""

    def __init__(self, limits: HistoryLimits) -> None:
        self.soon: deque[Callable[[], None]] = deque()
        self.namespace = Namespace("test")
        self.relay = Relay("news", history=limits, retain="last")
        self.namespace.relays["news"] = self.relay
        self.realm = Realm(
            self.namespace,
            Tick(self.soon.append, slice_size=2),
            lambda: 0.0,
            NO_REGISTRY,
            NO_APPENDER,
            NO_DELAYED,
            is_open=False,
        )
        self.context: Any = SimpleNamespace(loop=SimpleNamespace(call_soon=self.soon.append), counters=Counter[str]())
        self.grant = Grant(self.namespace, Right.LISTEN, None, "", "rule", "key", float("inf"))

    def publish(self, address: str, size: int, on_receipt: Callable[[PublishReceipt], None]) -> None:
        body = b"%d" % self.realm.history(self.relay).next_offset()
        publication = Publication("", body.ljust(size, b" "))
        publish(self.realm, self.relay, address, publication, 0.0, on_receipt)

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def settle(self) -> None:
        while self.soon:
            self.turn()


class Peer:
    """A subscriber behind a pipe."""

    session_id = None

    def __init__(self, world: World, pattern: str, filter: Any, start: Any, policy: Any, budget: int) -> None:
        self.world = world
        self.pipe = Pipe()
        self.outflow = Outflow(self.pipe)  # type: ignore[arg-type]
        self.pipe.on_writable = self.on_writable
        self.is_closed = False
        self.start, self.policy, self.began_at = start, policy, 0
        self.last: dict[str, int] = {}  # offset last told of each address
        history = world.realm.history(world.relay)
        voice = CloudEventFrames(history.epoch)
        mouth = Mouth(world.context, world.realm, world.relay, self.outflow, voice, self.on_slow, policy, budget)
        gate = Gate.of(world.grant, world.relay)
        self.pattern, self.filter = check_pattern(pattern), parse_filter(filter)
        self.feed = Feed(world.context, self, mouth, self.pattern, gate, self.filter, is_sole=True)
        world.realm.tick.flush()
        beginning = self.feed.find_beginning(start)
        self.outflow.write(voice.ready("news", beginning.cursor))
        self.feed.begin(beginning)

    def peer_address(self) -> str:
        return "192.0.2.1"

    def on_slow(self, close: Close) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self.feed.end()

    def on_writable(self, is_writable: bool) -> None:
        if not is_writable:
            self.outflow.pause()
            return
        self.outflow.resume()
        if not self.is_closed:
            self.feed.on_writable()

    def take_all(self) -> None:
        while self.pipe.pending:
            self.pipe.take(len(self.pipe.pending))
            self.world.settle()

    def check(self, addresses: list[str]) -> int:
        """Everything between the beginning and the last word was told, once and in order; the offset reached."""
        reached = None
        retained = 0
        for _, text in MessageReader(1 << 24, masked=False).feed(bytes(self.pipe.taken)):
            told = orjson.loads(text)
            offset = Cursor(*told["fanwaycursor"].split(":")).offset
            here = int(offset)
            if told["type"] == "fanway.ready":
                assert reached is None
                reached = self.began_at = here
                continue
            assert reached is not None
            if told["type"] == "fanway.gap":
                since = int(told["data"]["from"].partition(":")[2])
                assert since >= reached
                self.assert_none_between(addresses, reached, since)
            else:
                assert told["data"].strip() == str(here)
                assert self.wants(told["fanwayaddress"])
                self.last[told["fanwayaddress"]] = here
                if self.start == "retained" and here <= self.began_at:
                    assert retained < here
                    assert reached == self.began_at
                    retained = here
                    continue
                assert here > reached
                self.assert_none_between(addresses, reached, here - 1)
            reached = here
        assert reached is not None
        return reached

    def assert_none_between(self, addresses: list[str], after: int, up_to: int) -> None:
        assert not [address for address in addresses[after:up_to] if self.wants(address)]

    def wants(self, address: str) -> bool:
        is_filtered = self.filter is not None and not self.filter.holds({"fanwayaddress": address})
        return self.pattern.matches(address) and not is_filtered


class FeedMachine(RuleBasedStateMachine):
    """Publishing, reading, pausing, subscribing anywhere in the past, turns of the loop, in any order."""

    @initialize(events=st.integers(0, 30), slow=st.booleans())
    def begin(self, events: int, slow: bool) -> None:
        self.world = World(HistoryLimits("memory", events, 1000.0, 1 << 30))
        self.addresses: list[str] = []
        self.peers: list[Peer] = []
        self.receipts: list[PublishReceipt] = []

    @rule(address=st.sampled_from(["news/a", "news/b", "news/a/c"]), size=st.sampled_from([1, 3000, 70_000]))
    def publish(self, address: str, size: int) -> None:
        self.addresses.append(address)
        self.world.publish(address, size, self.receipts.append)

    @rule(count=st.integers(1, 20))
    def publish_many(self, count: int) -> None:
        for number in range(count):
            self.publish(("news/a", "news/b", "news/a/c")[number % 3], 4000)

    @precondition(lambda self: len(self.peers) < 6)
    @rule(
        pattern=st.sampled_from(["news/a", "news/**", "news/*"]),
        filter=st.sampled_from(FILTERS),
        back=st.none() | st.sampled_from(["start", "retained"]) | st.integers(0, 60),
        policy=st.sampled_from(["close", "drop", "catch-up"]),
        budget=st.sampled_from([1000, 20_000, 200_000]),
    )
    def subscribe(self, pattern: str, filter: Any, back: Any, policy: str, budget: int) -> None:
        history = self.world.realm.history(self.world.relay)
        start: Any = "now" if back is None else back
        if isinstance(back, int):
            start = Cursor(history.epoch, max(0, history.head - back))
        self.peers.append(Peer(self.world, pattern, filter, start, policy, budget))

    @rule(which=st.integers(0, 5), count=st.sampled_from([1, 5000, 100_000]))
    def take(self, which: int, count: int) -> None:
        if which < len(self.peers):
            self.peers[which].pipe.take(count)

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule(which=st.integers(0, 5))
    def leave(self, which: int) -> None:
        if which < len(self.peers):
            self.peers[which].close()

    @invariant()
    def every_receipt_adds_up(self) -> None:
        for receipt in getattr(self, "receipts", []):
            assert receipt.matched == receipt.queued + receipt.behind + receipt.dropped

    @invariant()
    def nobody_is_owed_without_bound(self) -> None:
        for peer in getattr(self, "peers", []):
            assert len(peer.pipe.pending) < 1 << 20

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.settle()
        for peer in self.peers:
            peer.take_all()
            peer.feed.mouth.tell_missed()
            peer.take_all()
            reached = peer.check(self.addresses)
            if not peer.is_closed:
                assert peer.feed.is_live
                peer.assert_none_between(self.addresses, reached, len(self.addresses))
                if peer.start == "retained" and peer.policy != "drop":
                    last = {address: offset for offset, address in enumerate(self.addresses, 1)}
                    assert peer.last == {a: offset for a, offset in last.items() if peer.wants(a)}
            peer.close()
        assert self.world.realm.router.is_empty
        assert len(self.receipts) == len(self.addresses)


FeedMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFeeds = FeedMachine.TestCase


def test_gates_of_different_tokens_with_the_same_reach_are_equal() -> None:
    namespace, relay = Namespace("test"), Relay("news")
    one = Grant(namespace, Right.LISTEN, None, "news", "rule", "key", 1.0)
    other = Grant(namespace, Right.LISTEN, None, "news", "rule", "other", 2.0)
    narrow = Grant(namespace, Right.LISTEN, None, "news/a", "rule", "key", 1.0)
    assert Gate.of(one, relay) == Gate.of(other, relay)
    assert hash(Gate.of(one, relay)) == hash(Gate.of(other, relay))
    assert Gate.of(one, relay) != Gate.of(narrow, relay)
    assert Gate.of(narrow, relay)("news/a/b")
    assert not Gate.of(narrow, relay)("news/b")
