"""The growth of the engine alone: how long the router of `fanout` takes to find who gets an event.

No socket, no event loop and no delivery is in it. It runs in a process of its own, so that a million patterns weigh on
nothing else, with what is built frozen as the gateway does it.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import cast

from bench.plot import Axis, Chart, Curve
from bench.row import Sizes, Steps
from fanout.address import check_pattern
from fanout.router import Router
from fanout.subscription import Outlet, Subscription
from fanout.tick import Tick

RELAY = "bench"
ROUNDS = 5
SEEN = 1000  # addresses that are looked up again and again: fewer than the cache holds
WORST_LOOKUPS = 3  # a round
HELD_EACH = 100  # subscriptions of one outlet


@dataclass(frozen=True, slots=True)
class Point:
    """At so many patterns, or at that depth: microseconds a look-up, and bytes a pattern."""

    at: int
    unseen_us: float
    seen_us: float
    pattern_bytes: float = 0.0


class _Nobody:
    """An outlet in name only: nothing is ever published."""

    encoding = "none"


class _Engine:
    """A router that patterns are put into."""

    def __init__(self) -> None:
        self.router = Router(Tick(lambda callback: None))
        self._outlet = _Nobody()

    def subscribe(self, patterns: Sequence[str]) -> None:
        gc.disable()  # building is not what is measured
        for number, text in enumerate(patterns):
            if number % HELD_EACH == 0:
                self._outlet = _Nobody()
            self.router.subscribe(Subscription(RELAY, check_pattern(text), cast(Outlet, self._outlet), _allow))
        gc.enable()
        gc.collect()
        gc.freeze()

    def look_up(self, addresses: Iterator[str], lookups: int) -> float:
        """Microseconds of processor time for the plan of one address: the median of some rounds."""
        rounds = []
        for _ in range(ROUNDS):
            taken = list(islice(addresses, lookups))
            plan, begin = self.router.plan, time.process_time()
            for address in taken:
                plan(RELAY, address)
            rounds.append((time.process_time() - begin) / len(taken) * 1e6)
        return median(rounds)

    def look_up_again(self, addresses: Iterator[str], lookups: int) -> float:
        """The same for addresses that were looked up before and are kept."""
        seen = list(islice(addresses, min(SEEN, lookups)))
        for address in seen * 2:
            self.router.plan(RELAY, address)
        return self.look_up(iter(random.Random(1).choices(seen, k=ROUNDS * lookups)), lookups)


def measure(sizes: Sizes, core: int | None) -> list[Chart]:
    """Look-ups against the number of patterns, and against the depth of the addresses."""
    steps = sizes.steps
    widths = _apart(_by_patterns, steps, core)
    depths, worst = _apart(_by_depth, steps, core), _apart(_by_depth_at_worst, steps, core)
    last, deep = widths[-1], depths[-1]
    width = Chart(
        name="patterns",
        title="Finding who gets an event, against the number of patterns",
        note="the engine alone, processor time; 30 % of the patterns have wildcards; 4 segments",
        sees=f"With {last.at:,} patterns a look-up takes {last.unseen_us:.1f} µs for an address not seen before and "
        f"{last.seen_us:.2f} µs for one seen before; with {widths[0].at:,} it takes {widths[0].unseen_us:.1f} and "
        f"{widths[0].seen_us:.2f} µs. A pattern takes {last.pattern_bytes:,.0f} bytes.",
        x=Axis("patterns"),
        y=Axis("µs a look-up"),
        curves=_curves(widths),
    )
    depth = Chart(
        name="depth",
        title="Finding who gets an event, against the depth of the address",
        note=f"the engine alone, processor time; {steps.deep_patterns:,} patterns, 30 % with wildcards",
        sees=f"At {deep.at} segments a look-up takes {deep.unseen_us:.1f} µs for an address not seen before and "
        f"{deep.seen_us:.2f} µs for one seen before. The dotted line is the worst that so many patterns can do: all "
        "of `*` and one and the same word, each matching up to the last segment and there no more: "
        f"{worst[-1].unseen_us / 1000:,.1f} ms at {worst[-1].at} segments, once for each address.",
        x=Axis("segments of the address", is_log=False),
        y=Axis("µs a look-up"),
        curves=[*_curves(depths), Curve("not seen before, at worst", _points(worst), 0, 2)],
    )
    return [width, depth]


def _curves(points: Sequence[Point]) -> list[Curve]:
    seen = [(float(point.at), point.seen_us) for point in points]
    return [Curve("not seen before", _points(points), 0), Curve("seen before", seen, 1)]


def _points(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(float(point.at), point.unseen_us) for point in points]


def _apart(work: Callable[[Steps], list[Point]], steps: Steps, core: int | None) -> list[Point]:
    """In a fresh process, on the servers' core."""
    pinning = None if core is None else {core}
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_pin, initargs=(pinning,)) as pool:
        return pool.submit(work, steps).result()


def _pin(cores: set[int] | None) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _by_patterns(steps: Steps) -> list[Point]:
    engine, points = _Engine(), []
    texts, addresses = patterns(), count()
    held, before = 0, _resident_bytes()
    for wanted in steps.patterns:
        engine.subscribe(list(islice(texts, wanted - held)))
        held = wanted
        bytes_each = (_resident_bytes() - before) / held
        groups, draw = max(1, held // 100), random.Random(7)
        fresh = (f"{RELAY}/g{draw.randrange(groups)}/d{draw.randrange(10)}/u{next(addresses)}" for _ in count())
        unseen, seen = engine.look_up(fresh, steps.lookups), engine.look_up_again(fresh, steps.lookups)
        points.append(Point(held, unseen, seen, bytes_each))
    return points


def patterns() -> Iterator[str]:
    """Without end: a hundred for each of many groups: seventy addresses, and ten each of three kinds with wildcards."""
    for group in count():
        for device in range(10):
            yield from (f"{RELAY}/g{group}/d{device}/m{metric}" for metric in range(7))
            yield from (
                f"{RELAY}/g{group}/d{device}/**",
                f"{RELAY}/g{group}/*/m{device}",
                f"{RELAY}/*/d{device}/x{group}",
            )


def _by_depth(steps: Steps) -> list[Point]:
    points: list[Point] = []
    for depth in steps.depths:
        engine, draw = _Engine(), random.Random(7)
        paths = [[f"s{number}", *draw.choices("abcdefgh", k=depth - 1)] for number in range(steps.deep_patterns)]
        engine.subscribe(["/".join(_widened(path, number, draw)) for number, path in enumerate(paths)])
        fresh = iter(["/".join(path) for path in draw.sample(paths, len(paths))])
        lookups = max(1, min(steps.lookups, len(paths) // (2 * ROUNDS)))
        points.append(Point(depth, engine.look_up(fresh, lookups), engine.look_up_again(fresh, lookups)))
    return points


def _widened(path: Sequence[str], number: int, draw: random.Random) -> list[str]:
    """A pattern that matches this address: itself, or with `*` or `**` in 15 % each."""
    share = number % 20
    if share < 3:
        return [*path[: draw.randrange(min(len(path), 31)) + 1], "**"]
    if share < 6 and len(path) > 1:
        at = draw.randrange(1, len(path))
        return [*path[:at], "*", *path[at + 1 :]]
    return list(path)


def _by_depth_at_worst(steps: Steps) -> list[Point]:
    """Patterns that all match an address but for its last segment."""
    points: list[Point] = []
    for depth in (depth for depth in steps.depths if depth > 1):
        engine, draw = _Engine(), random.Random(7)
        texts = {
            "/".join(["a", *draw.choices("a*", k=depth - 2), f"z{number}"]) for number in range(steps.deep_patterns)
        }
        engine.subscribe(sorted(texts))
        address = "/".join(["a"] * (depth - 1))
        fresh = (f"{address}/u{number}" for number in count())
        points.append(Point(depth, engine.look_up(fresh, WORST_LOOKUPS), 0.0))
    return points


def _allow(address: str) -> bool:
    return True


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
