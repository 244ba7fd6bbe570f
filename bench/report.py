"""The table and the page around it, in Markdown."""

from __future__ import annotations

import os
import platform
import textwrap
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench import fanout, idle, requests, sockets
from bench.peers import FANWAY, Peer
from bench.row import Line, Row, Sizes

PACKAGES = ("fanway-gateway", "uvicorn", "uvloop", "httptools", "websockets", "fastapi")
PEERS: tuple[Peer, ...] = tuple(dict.fromkeys((*fanout.PEERS, *sockets.PEERS, *requests.PEERS, *idle.PEERS)))
Results = Mapping[str, Sequence[Line]]

_NOT_SHOWN = """\
## What the figures do not show

- **One core for each server, one machine, loopback.** Server and generator have a core each. Nothing here says what
  several cores, a network card, a real network or TLS do.
- **Events in flight decide the fan-out figure.** Joining events needs more than one of them at a time: at a low rate
  every server pays one write for each delivery. So the row gives 8, 64, 327 and 2,000 events in flight, and the gain
  at 2,000 says nothing about a quiet address.
- **The load generator is on the same machine.** Where its share is near 100 %, the figure is a lower bound for the
  server. It reads and follows frames, but hands events to nobody; real clients do something with them.
- **The peers do other work.** None checks a token or a permission here, keeps a history or answers a receipt. NATS,
  redis, mosquitto and nginx are set up without authentication, log and store; nginx only passes on, to a server that
  was there already. FastAPI and `websockets` are what one would write first with these libraries, not the best that
  can be built on them.
- **Rounds are short and a shared machine is noisy.** Servers alternate within one run so that a disturbance hits all;
  medians with the lowest and highest round are given. Take a ratio below 1.2 as a tie.
- **Hardly any latency.** Rates at saturation say nothing about the delay of one event or request; only for one message
  to and fro at rest is a median given.
"""


def render_page(rows: Sequence[Row], results: Results, sizes: Sizes, command: str) -> str:
    """docs/performance.md. A row without results says that it was not measured."""
    peers = "\n".join(f"- **{peer.name}**: {peer.about}." for peer in PEERS)
    parts = ["# Performance\n", "`make bench` prints these tables anew on any Linux machine.\n", _NOT_SHOWN]
    if results:
        parts.append(f"## The run\n\n{describe_run(sizes, command)}\n")
        parts.append(f"## Where Fanway is behind\n\n{_behind(rows, results)}\n")
    parts.append(f"## The servers\n\n{peers}\n")
    parts += [render_row(row, results.get(row.name)) for row in rows]
    return "\n".join(parts)


def render_row(row: Row, lines: Sequence[Line] | None) -> str:
    """One row as a section: title, table, what it proves and leaves out."""
    table = _table(row, lines) if lines else "Not measured yet.\n"
    return (
        f"## {row.title}\n\n`python -m bench --row {row.name}`\n\n{table}\n"
        f"{_wrapped(f'Proves: {row.proves}')}\n\n{_wrapped(f'Leaves out: {row.leaves_out}')}\n"
    )


def describe_run(sizes: Sizes, command: str) -> str:
    """When, where, with what."""
    versions = ", ".join([f"{name} {version(name)}" for name in PACKAGES] + [v for p in PEERS if (v := p.version())])
    rounds = f"{sizes.rounds} of {sizes.seconds:g} s, each after {sizes.warm_seconds:g} s to warm up; servers alternate"
    lines = [
        f"- Date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        f"- Command: `{command}`",
        f"- Machine: {_processor()}, {os.cpu_count()} cores, {platform.machine()}; load average before the run "
        f"{_load_before:.2f}",
        f"- System: {platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        f"- Versions: {versions}",
        f"- Rounds: {rounds}",
    ]
    return "\n".join(lines)


def _table(row: Row, lines: Sequence[Line]) -> str:
    head = f"| | Server | {row.unit}, median | lowest to highest | Fanway is | server CPU | generator CPU |"
    table = [head, "|---|---|---:|---:|---:|---:|---:|"]
    for line in lines:
        for name, samples in line.samples.items():
            values = sorted(sample.value for sample in samples)
            cells = [
                line.setting,
                name,
                _number(line.median(name)),
                f"{_number(values[0])} to {_number(values[-1])}",
                _praise(row, _ratio(row, line, name)),
                _share([sample.server_cpu for sample in samples]),
                _share([sample.load_cpu for sample in samples]),
            ]
            table.append(f"| {' | '.join(cells)} |")
        table += [f"| {line.setting} | {name} | {reason} | | | | |" for name, reason in line.skipped.items()]
    return "\n".join(table) + "\n"


def _behind(rows: Sequence[Row], results: Results) -> str:
    """The rows that are lost, one by one."""
    items = []
    for row in rows:
        for line in results.get(row.name, ()):
            for name in line.samples:
                ratio = _ratio(row, line, name)
                if ratio is not None and ratio < 1:
                    items.append(f"- {row.name}, {line.setting}: {_praise(row, ratio)} as {name}.")
    return "\n".join(items) or "In no row of this run."


def _ratio(row: Row, line: Line, name: str) -> float | None:
    """How many times as good the gateway is."""
    if name == FANWAY.name or FANWAY.name not in line.samples:
        return None
    ours, theirs = line.median(FANWAY.name), line.median(name)
    best, other = (ours, theirs) if row.is_more_better else (theirs, ours)
    return best / other if other > 0 else None


def _praise(row: Row, ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x as {row.praise}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False, break_long_words=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def _share(shares: Sequence[float]) -> str:
    return f"{sum(shares) / len(shares):.0%}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


_load_before = os.getloadavg()[0]
