"""Latency against offered load, to saturation and beyond: does what comes out shrink when too much is put in?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from statistics import median

from bench.fanout import Audience, verify
from bench.generator.library import Times
from bench.latency import one_address
from bench.load import LoadError
from bench.peers import FANWAY, Peer, Server
from bench.rivals import NATS
from bench.row import Line, Meter, Sizes, side_by_side
from bench.traffic import Outcome, Pace, run_traffic

PEERS: tuple[Peer, ...] = (FANWAY, NATS)
LOADS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0)  # of the saturating rate
WINDOW = 2000  # events in flight, with which that rate is found


@dataclass(frozen=True, slots=True)
class Point:
    """One offered load. Events a second, deliveries a second; delays from when an event was due, in microseconds."""

    offered: float
    goodput: float
    p50_us: float
    p99_us: float
    resident_bytes: int


def measure(sizes: Sizes, core: int | None) -> dict[str, list[Point]]:
    """The points of each server, by its name: medians of the rounds, the saturating rate being the server's own.

    Events are due at a fixed rate whether or not the server takes them; what it does not take waits with the
    publisher, and that counts as delay.
    """
    audience = Audience(1, sizes.subscribers)
    rounds: dict[str, list[list[Point]]] = {}
    with side_by_side(PEERS, [Line("")], core) as servers:
        rates = {}
        for server in servers:
            verify(server, audience, sizes)
            rates[server.peer.name] = _saturating(server, audience, sizes)
        for _ in range(sizes.rounds):
            for server in servers:
                rate = rates[server.peer.name]
                points = [_point(server, audience, sizes, load * rate) for load in LOADS]
                rounds.setdefault(server.peer.name, []).append(points)
    return {name: [_median(points) for points in zip(*many, strict=True)] for name, many in rounds.items()}


class _Gauge(Meter):
    """Looks at the server's memory too, at the end, when it holds most."""

    def end(self) -> None:
        super().end()
        self.resident_bytes = self._server.resident_bytes()


def _saturating(server: Server, audience: Audience, sizes: Sizes) -> float:
    """Events a second, as fast as it goes."""
    rates = []
    for _ in range(sizes.rounds):
        outcome, gauge = _run(server, audience, sizes, Pace(window=WINDOW))
        rates.append(outcome.deliveries / gauge.seconds / audience.each)
    return median(rates)


def _point(server: Server, audience: Audience, sizes: Sizes, rate: float) -> Point:
    outcome, gauge = _run(server, audience, sizes, Pace(rate=rate))
    p50, p99 = outcome.delays.values()
    return Point(rate, outcome.deliveries / gauge.seconds, p50, p99, gauge.resident_bytes)


def _run(server: Server, audience: Audience, sizes: Sizes, pace: Pace) -> tuple[Outcome, _Gauge]:
    with contextlib.ExitStack() as stack:
        publisher, subscribers = audience.connect(server, stack)
        sockets, gauge = [sock for sock, _ in subscribers], _Gauge(server, sizes)
        supply, times = one_address(server.peer, audience.each), Times(sizes.warm_seconds, sizes.seconds)
        try:
            return run_traffic(publisher, sockets, supply, pace, times, gauge, is_sampled=True), gauge
        except LoadError as error:
            raise LoadError(f"{server.peer.name}, {pace.rate:.0f} events/s: {error}") from error


def _median(points: tuple[Point, ...]) -> Point:
    return Point(
        points[0].offered,
        median(point.goodput for point in points),
        median(point.p50_us for point in points),
        median(point.p99_us for point in points),
        round(median(point.resident_bytes for point in points)),
    )
