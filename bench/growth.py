"""How cost grows: what is drawn, each with what it leaves out, and the measurements over the network."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench import engine, load, overload
from bench.fanout import Audience, under_load
from bench.idle import FIRST_CONNECTIONS, PARALLEL, PATIENCE_SECONDS, SETTLE_SECONDS, SPARE_FILES, raise_file_limit
from bench.load import LoadError
from bench.native import connections
from bench.peers import FANWAY, Peer, Server, running
from bench.plot import Axis, Chart, Curve, readable
from bench.rivals import NATS, REDIS
from bench.row import Sizes, present, side_by_side

WINDOW = 327  # events in flight
LARGE_CROWD = 3000  # of which one round must do
CONNECTED_AT_ONCE = 12_000  # subscribers that this process holds of all servers together
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Growth:
    """Plots that are measured together, and what they leave out."""

    name: str
    leaves_out: str
    measure: Callable[[Sizes, int | None], list[Chart]]


def measure_crowds(sizes: Sizes, core: int | None) -> list[Chart]:
    """Deliveries a second against the subscribers of one address."""
    steps = sizes.steps
    raise_file_limit(max(steps.crowds) + SPARE_FILES)
    points: dict[str, Points] = {}
    failed: list[str] = []
    with side_by_side((FANWAY, REDIS, NATS), [], core) as servers:  # NATS, busy for long after a large crowd, last
        for crowd in steps.crowds:
            rounds = steps.rounds if crowd < LARGE_CROWD else 1
            seconds = steps.seconds + crowd * steps.seconds_each  # a window's deliveries take longer to more
            its = replace(sizes, rounds=rounds, seconds=seconds, warm_seconds=seconds / 3)
            is_small = crowd * len(servers) <= CONNECTED_AT_ONCE
            for group in [servers] if is_small else [[server] for server in servers]:
                try:
                    for name, rate in _rates(group, its, Audience(1, crowd)).items():
                        points.setdefault(name, []).append((crowd, rate))
                except LoadError as error:
                    failed.append(f" At {crowd:,} subscribers: {error} (in {load.PATIENCE_SECONDS:.0f} s).")
    ours = points[FANWAY.name]
    best = max(ours, key=lambda point: point[1])
    last = ", ".join(f"{name} {readable(its[-1][1])} (at {its[-1][0]:,})" for name, its in points.items())
    return [
        Chart(
            name="subscribers",
            title="Fan-out against the number of subscribers",
            note=f"1 publisher, 64-byte events, {WINDOW} in flight",
            sees=f"Fanway's rate is highest, {readable(best[1])} deliveries/s, at {best[0]:,} subscribers. At the "
            f"right end of each line there are of deliveries/s: {last}. With few subscribers all pay for each event, "
            f"with many for each write.{''.join(failed)}",
            x=Axis("subscribers"),
            y=Axis("deliveries/s"),
            curves=_by_server(points),
        )
    ]


def _rates(servers: Sequence[Server], sizes: Sizes, audience: Audience) -> dict[str, float]:
    """Medians by server; those that are connected at once take turns."""
    rates: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        ends = [(server, *audience.connect(server, stack)) for server in servers]
        for _ in range(sizes.rounds):
            for server, publisher, subscribers in ends:
                sample = under_load(server, sizes, audience, WINDOW, publisher, [sock for sock, _ in subscribers])
                rates.setdefault(server.peer.name, []).append(sample.value)
    return {name: median(samples) for name, samples in rates.items()}


def measure_memory(sizes: Sizes, core: int | None) -> list[Chart]:
    """Resident memory of the server against its connections, all and each."""
    steps = sizes.steps
    raise_file_limit(max(steps.connections) + SPARE_FILES)
    total: dict[str, Points] = {}
    for peer in present((FANWAY, NATS), []):
        total[peer.name] = [(float(count), held / 2**20) for count, held in _memory(peer, steps.connections, core)]
    each = {name: [(count, held * 1024 / count) for count, held in points] for name, points in total.items()}
    last = steps.connections[-1]
    note = "subscribers over plain TCP that get nothing; the process alone, less what it held before"
    x = Axis("connections", is_log=False)
    sees_total = ", ".join(f"{name} {points[-1][1]:,.0f} MiB" for name, points in total.items())
    sees_each = ", ".join(f"{name} {points[0][1]:.1f} and {points[-1][1]:.1f} KiB" for name, points in each.items())
    return [
        Chart(
            name="memory",
            title="Memory of all connections",
            note=note,
            sees=f"With {last:,} connections: {sees_total}. A process may open 20,000 files on this machine: there "
            "the plot has to end.",
            x=x,
            y=Axis("MiB", is_log=False),
            curves=_by_server(total),
        ),
        Chart(
            name="memory-each",
            title="Memory of each connection",
            note=note,
            sees=f"A connection among {steps.connections[0]:,} and one among {last:,} take: {sees_each}.",
            x=x,
            y=Axis("KiB a connection", is_log=False),
            curves=_by_server(each),
        ),
    ]


def _memory(peer: Peer, counts: Sequence[int], core: int | None) -> list[tuple[int, int]]:
    """Bytes that a fresh process has come to hold by each of these numbers of connections."""
    points, held = [], 0
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(peer, core))
        dialogue = peer.dialogue(server)
        stack.enter_context(connections(server.port, FIRST_CONNECTIONS, PARALLEL, dialogue, PATIENCE_SECONDS))
        gc.collect()
        time.sleep(SETTLE_SECONDS)
        before = server.resident_bytes()
        for count in counts:
            stack.enter_context(connections(server.port, count - held, PARALLEL, dialogue, PATIENCE_SECONDS))
            held = count
            time.sleep(SETTLE_SECONDS)
            points.append((count, server.resident_bytes() - before))
    return points


def measure_overload(sizes: Sizes, core: int | None) -> list[Chart]:
    """Delay and goodput against the offered load, to twice what saturates the server."""
    steps = sizes.steps
    sizes = replace(sizes, rounds=steps.rounds, seconds=steps.load_seconds, warm_seconds=steps.load_seconds / 3)
    found = overload.measure(sizes, core)
    delays, goodput, sees = [], [], []
    for colour, (name, its) in enumerate(found.items()):
        offered = [point.offered * sizes.subscribers for point in its]
        p50, p99 = ([getattr(point, which) / 1000 for point in its] for which in ("p50_us", "p99_us"))
        delays.append(Curve(f"{name} p50", list(zip(offered, p50, strict=True)), colour))
        delays.append(Curve(f"{name} p99", list(zip(offered, p99, strict=True)), colour, 1))
        rates = [point.goodput for point in its]
        goodput.append(Curve(name, list(zip(overload.LOADS, rates, strict=True)), colour))
        first, last = its[0].resident_bytes / 2**20, its[-1].resident_bytes / 2**20
        sees.append(
            f"of {name} {rates[-1] / max(rates):.0%} of its highest, with {last:,.0f} MiB in memory where it had "
            f"{first:,.0f} at the lightest load"
        )
    half = overload.LOADS.index(0.5)
    rest = ", ".join(f"{name} {its[half].p99_us / 1000:.1f} ms" for name, its in found.items())
    note = f"1 publisher, {sizes.subscribers} subscribers, 64-byte events that are due at a fixed rate"
    return [
        Chart(
            name="load-delay",
            title="Delay against offered load",
            note=note,
            sees=f"At half of the load that saturates the server, p99 is: {rest}. Beyond saturation, what is due waits "
            "with the publisher, the longer the longer it lasts, and that counts.",
            x=Axis("deliveries/s offered"),
            y=Axis("ms from due to read"),
            curves=delays,
        ),
        Chart(
            name="load-goodput",
            title="Goodput against offered load",
            note=note,
            sees=f"At {overload.LOADS[-1]:g} times the saturating load the goodput is {'; '.join(sees)}.",
            x=Axis("offered load, in times what saturates this server", is_log=False),
            y=Axis("deliveries/s", is_log=False),
            curves=goodput,
        ),
    ]


def _by_server(points: dict[str, Points]) -> list[Curve]:
    """The same server has the same colour on every plot."""
    colours = {FANWAY.name: 0, NATS.name: 1, REDIS.name: 2}
    return [Curve(name, its, colours[name]) for name, its in points.items()]


CROWDS = Growth(
    name="subscribers",
    leaves_out="few events in flight, many addresses, large events, TLS. redis speaks over plain TCP without frames. "
    "From 3,000 subscribers on there is one round only: to deliver one window takes some servers long.",
    measure=measure_crowds,
)

ENGINE = Growth(
    name="patterns",
    leaves_out="all that comes before and after: to read an event, to ask permissions, to write it to those who are "
    "found. At most 16,384 addresses are kept as seen before; beyond that they are looked up anew.",
    measure=engine.measure,
)

MEMORY = Growth(
    name="memory",
    leaves_out="the kernel's share (the row `idle` has it), busy and slow connections, TLS.",
    measure=measure_memory,
)

OVERLOAD = Growth(
    name="load",
    leaves_out="many publishers and addresses, subscribers slower than others, TLS. The load that saturates is each "
    "server's own and is found by a run with 2,000 events in flight.",
    measure=measure_overload,
)

GROWTHS: tuple[Growth, ...] = (CROWDS, OVERLOAD, ENGINE, MEMORY)
