"""What a row of the table is, how long and large its measurements are, and one measured round."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.generator.library import Times
from bench.load import Span
from bench.peers import Peer, Server, running


@dataclass(frozen=True, slots=True)
class Steps:
    """Where the plots have their points."""

    rounds: int = 3
    seconds: float = 0.2
    seconds_each: float = 0.0003  # more for each subscriber
    crowds: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)  # subscribers of one address
    load_seconds: float = 0.3
    connections: tuple[int, ...] = (1000, 3000, 10_000, 19_000)
    patterns: tuple[int, ...] = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 24, 32)  # segments of an address
    deep_patterns: int = 10_000
    lookups: int = 2000  # of the engine, a round


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. Seconds are per round."""

    rounds: int = 5
    seconds: float = 0.6
    warm_seconds: float = 0.2
    subscribers: int = 100
    windows: tuple[int, ...] = (8, 64, 327, 2000)  # events in flight
    single_windows: tuple[int, ...] = (8, 327)  # for servers to which the window makes no difference
    scale: int = 1000  # subscribers of the large fan-out, and of the rows with many addresses
    checked_deliveries: int = 50_000  # whose order is verified, of each server
    pairs: int = 100
    meetings: int = 32  # rendezvous on their way at a time
    clients: int = 64
    bodies: int = 8  # requests with a large body at a time
    body_bytes: int = 5_000_000
    streams: int = 50
    large_bytes: int = 1 << 30  # of one message
    pause_seconds: float = 30.0
    idle_connections: int = 10_000
    relays: int = 10_000
    filters: int = 10_000
    steps: Steps = Steps()

    @property
    def times(self) -> Times:
        return Times(self.warm_seconds, self.seconds)


TINY = Sizes(
    rounds=1,
    seconds=0.05,
    warm_seconds=0.02,
    subscribers=3,
    windows=(1, 8),
    single_windows=(1, 8),
    scale=20,
    checked_deliveries=100,
    pairs=3,
    meetings=2,
    clients=4,
    bodies=2,
    body_bytes=200_000,
    streams=3,
    large_bytes=2 << 20,
    pause_seconds=0.1,
    idle_connections=20,
    relays=30,
    filters=30,
    steps=Steps(
        rounds=1,
        seconds=0.05,
        load_seconds=0.05,
        crowds=(1, 3),
        connections=(20, 30),
        patterns=(1, 200),
        depths=(1, 2, 32),
        deep_patterns=40,
        lookups=4,
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: the figure, and how busy server and generator were (1.0: one core)."""

    value: float
    server_cpu: float
    load_cpu: float


@dataclass(slots=True)
class Line:
    """The rounds of one figure in one setting, by the name of the server, and why the others were left out.

    A measurement that gives several figures (p50, p99) fills one line for each.
    """

    setting: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unit: str = ""  # this and the next two: where they are not the row's
    is_more_better: bool | None = None
    praise: str = ""
    base: str = ""  # the setting of another line, with which a server's figure is compared instead of with Fanway's

    def add(self, server: Server | str, sample: Sample) -> None:
        """Of a server, or of what is no server, such as `direct`."""
        self.samples.setdefault(server if isinstance(server, str) else server.peer.name, []).append(sample)

    def median(self, name: str) -> float:
        return median(sample.value for sample in self.samples[name])


@dataclass(frozen=True, slots=True)
class Row:
    """A row: what is counted, what it proves, what it leaves out, the servers in it, and the measurement."""

    name: str
    title: str
    unit: str
    proves: str
    leaves_out: str
    peers: tuple[Peer, ...]
    measure: Callable[[Sizes, int | None], list[Line]]
    is_more_better: bool = True
    praise: str = "fast"  # what a server with a better figure is


class Meter:
    """Measures the span of one round: its seconds, and the processor time that server and generator used."""

    def __init__(self, server: Server, sizes: Sizes) -> None:
        self._server = server
        self.span = Span(sizes.warm_seconds, sizes.seconds, self.begin, self.end)

    def begin(self) -> None:
        self._at, self._mine, self._its = time.perf_counter(), time.process_time(), self._server.cpu_seconds()

    def end(self) -> None:
        self.seconds = time.perf_counter() - self._at
        self.server_cpu = (self._server.cpu_seconds() - self._its) / self.seconds
        self.load_cpu = (time.process_time() - self._mine) / self.seconds

    def rate(self, count: float) -> Sample:
        """So many a second."""
        return self.sample(count / self.seconds)

    def sample(self, value: float) -> Sample:
        return Sample(value, self.server_cpu, self.load_cpu)


def present(peers: Sequence[Peer], lines: Iterable[Line]) -> list[Peer]:
    """Those that can run here; the lines are told of the others."""
    reasons = {peer: peer.missing() for peer in peers}
    for line in lines:
        line.skipped |= {peer.name: reason for peer, reason in reasons.items() if reason}
    return [peer for peer, reason in reasons.items() if not reason]


@contextlib.contextmanager
def side_by_side(peers: Sequence[Peer], lines: Iterable[Line], core: int | None) -> Iterator[list[Server]]:
    """All these servers running at once; only the one being measured has work."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(peer, core)) for peer in present(peers, lines)]
