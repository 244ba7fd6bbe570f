"""What a subscriber costs that is connected and gets nothing."""

from __future__ import annotations

import contextlib
import resource
import time

from bench.load import LoadError
from bench.peers import PEERS, Server, running
from bench.row import Line, Meter, Row, Sample, Sizes

FIRST_CONNECTIONS = 10  # opened before the measurement, so that what is loaded only once is not counted
SETTLE_SECONDS = 0.3
SPARE_FILES = 100


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    _raise_file_limit(sizes.idle_connections + SPARE_FILES)
    line = Line(f"{sizes.idle_connections} connections")
    for _ in range(sizes.rounds):
        for peer in PEERS:
            with running(peer, core) as server:  # a fresh process each time: what was used once is not given back
                line.add(server, _round(server, sizes))
    return [line]


def _round(server: Server, sizes: Sizes) -> Sample:
    with contextlib.ExitStack() as stack:
        for _ in range(FIRST_CONNECTIONS):
            stack.enter_context(server.peer.open_subscriber(server))
        time.sleep(SETTLE_SECONDS)
        before = server.resident_bytes()
        for _ in range(sizes.idle_connections):
            stack.enter_context(server.peer.open_subscriber(server))
        time.sleep(SETTLE_SECONDS)
        grown = server.resident_bytes() - before
        meter = Meter(server, sizes)
        meter.begin()
        time.sleep(sizes.seconds)
        meter.end()
        return meter.sample(grown / 1024 / sizes.idle_connections)


def _raise_file_limit(wanted: int) -> None:
    """For this process and the servers it starts. Raises LoadError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise LoadError(f"{wanted} open files are needed, {hard} are allowed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


ROW = Row(
    name="idle",
    title="Idle: resident memory for each of 2,000 subscribers that get nothing",
    unit="KiB/subscriber",
    proves="What a quiet subscriber costs in the server's own memory; the shares say how much processor time 2,000 of "
    "them take while nothing happens.",
    leaves_out="Kernel memory of the connections (the same for everybody), what a busy or slow subscriber holds, "
    "sessions with many subscriptions, TLS.",
    measure=measure,
    is_more_better=False,
)
