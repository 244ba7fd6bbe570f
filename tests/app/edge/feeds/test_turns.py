"""Turns: long alone, short as soon as two send; steps that follow what they cost."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from subscribers import receive, session, socket
from wires import masked
from worlds import World

from app.closes import DRAINING
from app.edge.feeds import turns
from app.edge.feeds.socket import FeedSocket
from app.edge.feeds.turns import LEAST_STEP_BYTES, LONG_SECONDS, MOST_STEP_BYTES, SHORT_SECONDS, Turns, next_step
from app.wire.frames import TEXT


def test_a_turn_is_long_while_one_sends_and_short_while_two_do() -> None:
    kept, one, other = Turns(), object(), object()
    for now in (0.0, 0.1):
        kept.note(one, now)
        assert kept.length(now) == LONG_SECONDS
    kept.note(other, 0.2)
    assert kept.length(0.2) == SHORT_SECONDS
    kept.note(one, 0.3)
    assert kept.length(0.3 + turns.CONTENDED_SECONDS / 2) == SHORT_SECONDS
    kept.note(one, 0.4)
    assert kept.length(0.31 + turns.CONTENDED_SECONDS) == LONG_SECONDS


def test_who_comes_after_one_that_left_is_alone() -> None:
    kept, one, other = Turns(), object(), object()
    kept.note(one, 0.0)
    kept.leave(other)
    kept.leave(one)
    kept.note(other, 0.1)
    assert kept.length(0.1) == LONG_SECONDS


@given(st.floats(1e-9, 1e-3), st.sampled_from([SHORT_SECONDS, LONG_SECONDS]), st.integers(0, 6))
def test_steps_settle_near_an_eighth_of_a_turn_whatever_a_byte_costs(
    byte_seconds: float, turn: float, doublings: int
) -> None:
    step = LEAST_STEP_BYTES << doublings
    for _ in range(12):
        step = next_step(step, step * byte_seconds, turn)
    assert LEAST_STEP_BYTES <= step <= MOST_STEP_BYTES
    took = step * byte_seconds
    assert took <= turn / 4 or step == LEAST_STEP_BYTES
    assert took >= turn / 16 or step == MOST_STEP_BYTES


async def test_what_a_turn_leaves_over_comes_in_order_in_the_next_ones(world: World) -> None:
    """With turns of no time at all each step is a turn: nothing is lost, doubled or out of order."""
    world.gateway.context.turns = NoTime()
    async with session(world) as watcher, socket(world, "orders/eu?mode=publish") as publisher:
        await watcher.subscribe(1, "orders/**")
        publisher.transport.write(b"".join(masked(TEXT, b"%d" % number * 9) for number in range(20_000)))
        for number in range(20_000):
            header, payload = await watcher.next()
            assert payload == b"%d" % number * 9
            assert header["c"].endswith(f":{number + 1}")


async def test_a_close_waits_for_what_was_sent_before_it(world: World) -> None:
    world.gateway.context.turns = NoTime()
    async with session(world) as watcher, session(world) as peer:
        await watcher.subscribe(1, "orders/**")
        header = json.dumps({"t": "pub", "address": "orders/eu"}).encode()
        frames = b"".join(masked(TEXT, header + b"\n%d" % number) for number in range(500))
        peer.websocket.transport.write(frames + masked(8, b"\x03\xe8"))
        for number in range(500):
            assert (await watcher.next())[1] == b"%d" % number


async def test_nothing_is_answered_behind_the_goodbye(world: World) -> None:
    """What waits for its turn as the session ends is worked on first."""
    world.gateway.context.turns = NoTime()
    async with session(world) as peer:
        [live] = [live for live in world.gateway.context.lives if isinstance(live, FeedSocket)]
        live.receive(b"".join(masked(TEXT, b'{"t":"ping","r":%d}' % number) for number in range(300)))
        live.end(DRAINING)
        told = [await peer.header() for _ in range(301)]
        assert [header["r"] for header in told[:-1]] == list(range(300))
        assert told[-1]["t"] == "bye"


async def test_others_are_served_between_the_turns_of_one(world: World) -> None:
    """A flood in one read, and an event of another publisher right behind it: that does not wait for all of it."""
    world.gateway.context.turns = NoTime()
    async with (
        socket(world, "orders/eu") as subscriber,
        socket(world, "orders/eu?mode=publish") as other,
        socket(world, "orders/flood?mode=publish") as flood,
    ):
        flooder = next(
            live for live in world.gateway.context.lives if isinstance(live, FeedSocket) and live.head is None
        )
        assert flooder.realm.history(world.namespace.relays["orders"]).head == 0
        flood.transport.write(b"".join(masked(TEXT, b"x" * 50) for _ in range(50_000)))
        await other.send("now")
        assert await receive(subscriber) == "now"
        assert flooder.realm.history(world.namespace.relays["orders"]).head < 50_001


class NoTime(Turns):
    """Turns that are over at once."""

    def length(self, now: float) -> float:
        return 1e-9
