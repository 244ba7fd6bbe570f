"""What a row of the table is, how long and large its measurements are, and one measured round."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.load import Span
from bench.peers import Peer, Server, running


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. Seconds are per round."""

    rounds: int = 5
    seconds: float = 1.0
    warm_seconds: float = 0.3
    subscribers: int = 100
    windows: tuple[int, ...] = (1, 64, 512)  # events in flight
    clients: int = 64
    idle_connections: int = 2000


TINY = Sizes(rounds=1, seconds=0.05, warm_seconds=0.02, subscribers=3, windows=(1, 8), clients=4, idle_connections=20)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: the figure, and how busy server and generator were (1.0: one core)."""

    value: float
    server_cpu: float
    load_cpu: float


@dataclass(slots=True)
class Line:
    """The rounds of one setting, by the name of the server; a server that cannot do it is missing."""

    setting: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def add(self, server: Server, sample: Sample) -> None:
        self.samples.setdefault(server.peer.name, []).append(sample)

    def median(self, name: str) -> float:
        return median(sample.value for sample in self.samples[name])


@dataclass(frozen=True, slots=True)
class Row:
    """A row: what is counted, what it proves, what it leaves out, and the measurement."""

    name: str
    title: str
    unit: str
    proves: str
    leaves_out: str
    measure: Callable[[Sizes, int | None], list[Line]]
    is_more_better: bool = True


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


@contextlib.contextmanager
def side_by_side(peers: Sequence[Peer], core: int | None) -> Iterator[list[Server]]:
    """All these servers running at once; only the one being measured has work."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(peer, core)) for peer in peers]
