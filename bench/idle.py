"""What a subscriber costs that is connected and gets nothing, and how fast subscribers come."""

from __future__ import annotations

import contextlib
import gc
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from bench.load import LoadError
from bench.native import connections
from bench.peers import FANWAY, WEBSOCKETS, Peer, Server, running
from bench.rivals import NATS, REDIS
from bench.row import Line, Meter, Row, Sample, Sizes, present

PEERS: tuple[Peer, ...] = (FANWAY, NATS, REDIS, WEBSOCKETS)
FIRST_CONNECTIONS = 10  # opened before the measurement, so that what is loaded only once is not counted
SETTLE_SECONDS = 0.3
SPARE_FILES = 200
PARALLEL = 64  # connections on their way at a time
PATIENCE_SECONDS = 60.0


def measure_memory(sizes: Sizes, core: int | None, peers: Sequence[Peer] = PEERS) -> list[Line]:
    raise_file_limit(sizes.idle_connections + SPARE_FILES)
    process, everything = Line("the process"), Line("with the kernel's share")
    for _ in range(sizes.rounds):
        for peer in present(peers, (process, everything)):
            with running(peer, core) as server:  # a fresh process each time: what was used once is not given back
                own, kernel = _memory(server, sizes)
            process.add(server, own)
            everything.add(server, kernel)
    return [process, everything]


def measure_connects(sizes: Sizes, core: int | None) -> list[Line]:
    raise_file_limit(sizes.idle_connections + SPARE_FILES)
    line = Line(f"{sizes.idle_connections} connections, {PARALLEL} at a time")
    for _ in range(sizes.rounds):
        for peer in present(PEERS, [line]):
            with running(peer, core) as server:
                line.add(server, _connects(server, sizes))
    return [line]


def _memory(server: Server, sizes: Sizes) -> tuple[Sample, Sample]:
    dialogue, count = server.peer.dialogue(server), sizes.idle_connections
    with contextlib.ExitStack() as stack:
        stack.enter_context(connections(server.port, FIRST_CONNECTIONS, PARALLEL, dialogue, PATIENCE_SECONDS))
        gc.collect()
        time.sleep(SETTLE_SECONDS)
        own, kernel = server.resident_bytes(), _kernel_bytes()
        stack.enter_context(connections(server.port, count, PARALLEL, dialogue, PATIENCE_SECONDS))
        time.sleep(SETTLE_SECONDS)
        own, kernel = server.resident_bytes() - own, _kernel_bytes() - kernel
        meter = Meter(server, sizes)
        meter.begin()
        time.sleep(sizes.seconds)
        meter.end()
        each = own / 1024 / count
        return meter.sample(each), meter.sample(each + kernel / 2 / 1024 / count)


def _connects(server: Server, sizes: Sizes) -> Sample:
    dialogue = server.peer.dialogue(server)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connections(server.port, FIRST_CONNECTIONS, PARALLEL, dialogue, PATIENCE_SECONDS))
        time.sleep(SETTLE_SECONDS)
        meter = Meter(server, sizes)
        meter.begin()
        stack.enter_context(connections(server.port, sizes.idle_connections, PARALLEL, dialogue, PATIENCE_SECONDS))
        meter.end()
        return meter.rate(sizes.idle_connections)


def _kernel_bytes() -> int:
    """What the kernel of this machine holds in tables and in buffers of TCP."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    kilobytes = sum(int(fields[name].split()[0]) for name in ("Slab", "PageTables"))
    tcp = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    return kilobytes * 1024 + int(tcp.rpartition("mem ")[2]) * resource.getpagesize()


def raise_file_limit(wanted: int) -> None:
    """For this process and the servers it starts. Raises LoadError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise LoadError(f"{wanted} open files are needed, {hard} are allowed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


MEMORY = Row(
    name="idle",
    title="Idle: memory for each of 10,000 subscribers that get nothing, over plain TCP",
    unit="KiB/subscriber",
    proves="What a quiet subscriber costs in the server's own resident memory, and together with the kernel's: "
    "sockets, files, buffers. The shares say how much processor time all of them take while nothing happens.",
    leaves_out="What a busy or slow subscriber holds, sessions with many subscriptions, TLS. The kernel's share is "
    "half of what the whole machine's kernel memory grew by (the other half is the generator's ends), so that other "
    "work on the machine shows in it. mosquitto and FastAPI, the slowest to connect, are not in it.",
    peers=PEERS,
    measure=measure_memory,
    is_more_better=False,
    praise="small",
)

CONNECTS = Row(
    name="connects",
    title="Connecting: 10,000 subscribers over plain TCP, from SYN to subscribed",
    unit="connects/s",
    proves="What it costs to accept a subscriber: to read its head, to verify its token and permission, to answer.",
    leaves_out="TLS, disconnecting, a rush of more than 64 at a time. Fanway and `websockets` are done with one "
    "request; NATS takes a message more, redis has no handshake. mosquitto and FastAPI are not in it.",
    peers=PEERS,
    measure=measure_connects,
)

ROWS = (MEMORY, CONNECTS)
