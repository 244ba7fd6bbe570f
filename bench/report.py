"""The tables and the page around them, in Markdown, from what is kept of each row and plot."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from bench.growth import Growth
from bench.peers import FANWAY
from bench.results import Measured, Pictured, Results, Run
from bench.row import Line, Row

PLOTS_FOLDER = "plots"

_NOT_SHOWN = """\
## What the figures do not show

- **One core for each server, one machine, loopback.** Server and generator have a core each. Nothing here says what
  several cores, a network card or a real network do.
- **Events in flight decide the fan-out figure.** Joining events needs more than one of them at a time: at a low rate
  every server pays one write for each delivery. So the row `fanout` gives 8, 64, 327 and 2,000 events in flight, and
  the gain at 2,000 says nothing about a quiet address.
- **The load generator is on the same machine.** Where its share is near 100 %, the figure is a lower bound for the
  server. It reads and follows frames, but hands events to nobody; real clients do something with them.
- **The peers do other work.** None checks a token or a permission here, keeps a history or answers a receipt. NATS,
  redis, mosquitto and nginx are set up without authentication, log and store; nginx only passes on, to a server that
  was there already. FastAPI and `websockets` are what one would write first with these libraries, not the best that
  can be built on them.
- **Rounds are short and a shared machine is noisy.** Servers alternate within one run so that a disturbance hits all;
  medians with the lowest and highest round are given. Take a ratio below 1.2 as a tie.
- **Not all rows are of one run.** Each says when it was measured; its servers ran side by side, two rows perhaps not.
  Compare within a row.
- **A rate at saturation is no latency.** It says nothing about the delay of one event or request. Delays are given
  only where a row or plot says so, and there the tail is this machine's as much as the server's.
"""


def render_page(rows: Sequence[Row], growths: Sequence[Growth], results: Results) -> str:
    """docs/performance.md. A row without results says that it was not measured."""
    peers = dict.fromkeys(peer for row in rows for peer in row.peers)
    parts = ["# Performance\n", "`make bench` prints these tables anew on any Linux machine.\n", _NOT_SHOWN]
    parts.append(f"## Where Fanway is behind\n\n{_behind(rows, results)}\n")
    parts.append(f"## All rows\n\n{_summary(rows, results)}\n")
    parts.append("## How cost grows\n\n" + "\n".join(_pictures(growth, results) for growth in growths))
    parts.append(f"## The runs\n\n{_runs(rows, growths, results)}\n")
    parts.append("## The servers\n\n" + "\n".join(f"- **{peer.name}**: {peer.about}." for peer in peers) + "\n")
    parts += [render_row(row, results.rows.get(row.name)) for row in rows]
    return "\n".join(parts)


def render_row(row: Row, measured: Measured | None) -> str:
    """One row as a section: title, table, what it proves and leaves out."""
    when = f" on {measured.run.date}, load average before it {measured.run.load_before:.2f}" if measured else ""
    table = _table(row, measured.lines) if measured else "Not measured yet.\n"
    return (
        f"## {row.title}\n\n`python -m bench --row {row.name}`{when}\n\n{table}\n"
        f"{_wrapped(f'Proves: {row.proves}')}\n\n{_wrapped(f'Leaves out: {row.leaves_out}')}\n"
    )


def describe_place(run: Run) -> str:
    """Where, with what, how often."""
    lines = (f"- Machine: {run.machine}", f"- System: {run.system}", f"- Versions: {run.versions}")
    return "\n".join((*lines, f"- Rounds: {run.rounds}"))


def _table(row: Row, lines: Sequence[Line]) -> str:
    head = f"| | Server | {row.unit}, median | lowest to highest | Fanway is | server CPU | generator CPU |"
    table = [head, "|---|---|---:|---:|---:|---:|---:|"]
    for line in lines:
        setting = f"{line.setting}, {line.unit}" if line.unit else line.setting
        for name, samples in line.samples.items():
            values = sorted(sample.value for sample in samples)
            cells = [
                setting,
                name,
                _number(line.median(name)),
                f"{_number(values[0])} to {_number(values[-1])}",
                _comparison(row, lines, line, name),
                _share([sample.server_cpu for sample in samples]),
                _share([sample.load_cpu for sample in samples]),
            ]
            table.append(f"| {' | '.join(cells)} |")
        table += [f"| {setting} | {name} | {reason} | | | | |" for name, reason in line.skipped.items()]
    return "\n".join(table) + "\n"


def _summary(rows: Sequence[Row], results: Results) -> str:
    """A line for each line of each row: Fanway's figure, and how it compares with each of the others."""
    table = ["| Row | Setting | Fanway | times as good as |", "|---|---|---:|---|"]
    for row in rows:
        link = f"[{row.name}](#{_slug(row.title)})"
        measured = results.rows.get(row.name)
        if measured is None:
            table.append(f"| {link} | not measured yet | | |")
            continue
        for line in measured.lines:
            ours = f"{_number(line.median(FANWAY.name))} {line.unit or row.unit}" if FANWAY.name in line.samples else ""
            others = [f"{name} {ratio:.2f}" for name, ratio in _ratios(row, line).items()]
            if line.base and ours:
                others.append(_comparison(row, measured.lines, line, FANWAY.name))
            table.append(f"| {link} | {line.setting} | {ours} | {', '.join(others)} |")
    return "\n".join(table)


def _behind(rows: Sequence[Row], results: Results) -> str:
    """What is lost, line by line."""
    items = []
    for row in rows:
        measured = results.rows.get(row.name)
        names = {peer.name for peer in row.peers}
        for line in measured.lines if measured else ():
            lost = [
                f"{_praise(row, line, ratio)} as {name}"
                for name, ratio in _ratios(row, line).items()
                if ratio < 1 and name in names
            ]
            if lost:
                items.append(_wrapped(f"- {row.name}, {line.setting}: {', '.join(lost)}.", "  "))
    if not items:
        items.append("In no row that was measured.")
    missing = [row.name for row in rows if row.name not in results.rows]
    if missing:
        items.append("\n" + _wrapped(f"Not measured yet: {', '.join(missing)}."))
    return "\n".join(items)


def _pictures(growth: Growth, results: Results) -> str:
    """The plots of a growth, each with what one sees on it, and what they leave out."""
    pictured = results.growths.get(growth.name)
    command = f"`python -m bench --plots {growth.name}`"
    if pictured is None:
        return f"{command}: not measured yet.\n"
    plots = [f"![{plot.title}]({PLOTS_FOLDER}/{plot.name}.svg)\n\n{_wrapped(plot.sees)}\n\n" for plot in pictured.plots]
    leaves_out = _wrapped(f"Leaves out: {growth.leaves_out} {command}, {pictured.run.date}.")
    return f"{''.join(plots)}{leaves_out}\n"


def _runs(rows: Sequence[Row], growths: Sequence[Growth], results: Results) -> str:
    """Which rows and plots were measured where; those of one place together."""
    places: dict[tuple[str, ...], list[tuple[str, Run]]] = {}
    kept: list[tuple[str, Mapping[str, Measured] | Mapping[str, Pictured]]] = [
        *((row.name, results.rows) for row in rows),
        *((growth.name, results.growths) for growth in growths),
    ]
    for name, found in kept:
        if name in found:
            run = found[name].run
            places.setdefault(run.place, []).append((name, run))
    parts = []
    for group in places.values():
        dates = sorted({run.date for _, run in group})
        names = ", ".join(dict.fromkeys(name for name, _ in group))
        commands = ", ".join(f"`{command}`" for command in dict.fromkeys(run.command for _, run in group))
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        parts.append(f"- Of: {names}\n- Date: {when}\n- Command: {commands}\n{describe_place(group[0][1])}")
    return "\n\n".join(parts) or "None yet."


def _comparison(row: Row, lines: Sequence[Line], line: Line, name: str) -> str:
    """How Fanway is, compared with this server; or how this figure is, compared with that of the line's base."""
    if not line.base:
        ratio = _ratios(row, line).get(name)
        return "" if ratio is None else _praise(row, line, ratio)
    base = next((other for other in lines if other.setting == line.base and name in other.samples), None)
    if base is None or base.median(name) <= 0:
        return ""
    return f"{line.median(name) / base.median(name):.2f} x that of: {line.base}"


def _ratios(row: Row, line: Line) -> dict[str, float]:
    """How many times as good Fanway is, by the name of the other."""
    if line.base or FANWAY.name not in line.samples:
        return {}
    ours = line.median(FANWAY.name)
    is_more_better = row.is_more_better if line.is_more_better is None else line.is_more_better
    ratios = {}
    for name in line.samples:
        best, other = (ours, line.median(name)) if is_more_better else (line.median(name), ours)
        if name != FANWAY.name and other > 0:
            ratios[name] = best / other
    return ratios


def _praise(row: Row, line: Line, ratio: float) -> str:
    return f"{ratio:.2f} x as {line.praise or row.praise}"


def _slug(title: str) -> str:
    """The anchor that a heading gets where the page is shown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False, break_long_words=False, subsequent_indent=indent)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _share(shares: Sequence[float]) -> str:
    return f"{sum(shares) / len(shares):.0%}"
