"""How long an event takes from its publisher to its subscribers, at a steady rate that no server here is near to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from bench.fanout import Audience, verify
from bench.generator.library import Times
from bench.load import LoadError
from bench.peers import FANWAY, Peer, Server
from bench.rivals import MOSQUITTO, NATS, REDIS
from bench.row import Line, Meter, Row, Sizes, side_by_side
from bench.traffic import STAMP, Pace, Supply, plain, run_traffic

PEERS: tuple[Peer, ...] = (FANWAY, NATS, REDIS, MOSQUITTO)
PAYLOAD = b"latency " + b"." * (56 - len(STAMP)) + STAMP  # 64 bytes
DELIVERIES = 40_000  # a second
SPANS = 3  # rounds are so many times as long as others: percentiles need many events


def measure(audience_of: Callable[[Sizes], int], sizes: Sizes, core: int | None) -> list[Line]:
    audience = Audience(1, audience_of(sizes))
    lines = {0.5: Line("p50"), 0.99: Line("p99")}
    with side_by_side(PEERS, lines.values(), core) as servers:
        for server in servers:
            verify(server, audience, sizes)
        for _ in range(sizes.rounds):
            for server in servers:
                _round(server, audience, sizes, lines)
    return list(lines.values())


def one_address(peer: Peer, copies: int) -> Supply:
    """Events of 64 bytes at the address `fan`."""
    frame = peer.publication(PAYLOAD)
    return Supply([plain(frame) if peer.is_framed else frame] * 64, [0] * 64, [copies] * 64)


def _round(server: Server, audience: Audience, sizes: Sizes, lines: dict[float, Line]) -> None:
    times = Times(sizes.warm_seconds, SPANS * sizes.seconds)
    with contextlib.ExitStack() as stack:
        publisher, subscribers = audience.connect(server, stack)
        sockets = [sock for sock, _ in subscribers]
        meter, pace = Meter(server, sizes), Pace(rate=DELIVERIES / audience.each)
        supply, reach = one_address(server.peer, audience.each), [[0]] * audience.each
        try:
            outcome = run_traffic(publisher, sockets, supply, pace, times, meter, reach=reach, shares=tuple(lines))
        except LoadError as error:
            raise LoadError(f"{server.peer.name}: {error}") from error
    for share, line in lines.items():
        line.add(server, meter.sample(outcome.delays[share]))


_PROVES = (
    "What an event waits for at a load that is no strain: every event is published alone, when it is due, and "
    "its delay runs from then until a subscriber reads it, over all deliveries. Every delivery was checked: that it "
    "was the next one of its publisher."
)
_LEAVES_OUT = (
    "Bursts, load near saturation (`overload`), TLS, a real network. The generator turns without rest, so that its "
    "share is always near 100 %; the reading of one subscriber after the other is part of every delay, for all servers "
    "alike. redis speaks over plain TCP without frames."
)


def _row(name: str, title: str, audience_of: Callable[[Sizes], int]) -> Row:
    return Row(
        name=name,
        title=f"Latency: 40,000 deliveries/s, {title}, 64-byte events",
        unit="µs",
        proves=_PROVES,
        leaves_out=_LEAVES_OUT,
        peers=PEERS,
        measure=partial(measure, audience_of),
        is_more_better=False,
        praise="short",
    )


ROWS = (
    _row("latency-100", "400 events/s to 100 subscribers", lambda sizes: sizes.subscribers),
    _row("latency-1000", "40 events/s to 1,000 subscribers", lambda sizes: sizes.scale),
)
