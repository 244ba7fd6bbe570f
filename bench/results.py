"""What was measured, kept beside the page: each row and each plot with its own date, so that one can be renewed alone.

The file holds one row or plot a line, so that a renewed one is one changed line.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers import Peer
from bench.row import Line, Sample, Sizes

PACKAGES = ("fanway-gateway", "uvicorn", "uvloop", "httptools", "websockets", "fastapi")
DIGITS = 6  # kept of each figure; far more than they are worth


@dataclass(frozen=True, slots=True)
class Run:
    """When, where and with what something was measured."""

    date: str
    command: str
    load_before: float
    machine: str
    system: str
    versions: str
    rounds: str

    @property
    def place(self) -> tuple[str, ...]:
        """What results must have in common to be told of at once."""
        return (self.machine, self.system, self.versions, self.rounds)

    def now(self) -> Run:
        """The same run later on."""
        return replace(self, date=_date(), load_before=_load())


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of one row."""

    run: Run
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One plot of a growth: its file lies in docs/plots, this is what it says."""

    name: str
    title: str
    sees: str


@dataclass(frozen=True, slots=True)
class Pictured:
    """The plots of one growth."""

    run: Run
    plots: list[Drawn]


@dataclass(slots=True)
class Results:
    """All that is kept, by the name of the row and of the growth."""

    rows: dict[str, Measured] = field(default_factory=dict)
    growths: dict[str, Pictured] = field(default_factory=dict)


def load(path: Path) -> Results:
    """What was kept before; nothing if there is no such file."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": {}, "growths": {}}
    return Results(
        {
            name: Measured(Run(**one["run"]), [_line(line) for line in one["lines"]])
            for name, one in kept["rows"].items()
        },
        {
            name: Pictured(Run(**one["run"]), [Drawn(**plot) for plot in one["plots"]])
            for name, one in kept["growths"].items()
        },
    )


def save(path: Path, results: Results) -> None:
    """Keep it. Raises ValueError at a figure that is not finite."""
    rows = {
        name: {"run": asdict(measured.run), "lines": [_unline(line) for line in measured.lines]}
        for name, measured in results.rows.items()
    }
    growths = {name: asdict(pictured) for name, pictured in results.growths.items()}
    path.write_text(f'{{"rows": {_one_a_line(rows)},\n"growths": {_one_a_line(growths)}}}\n', "utf-8")


def describe(peers: Iterable[Peer], sizes: Sizes, command: str) -> Run:
    """The run that begins now."""
    versions = [f"{name} {version(name)}" for name in PACKAGES] + [v for peer in peers if (v := peer.version())]
    return Run(
        date=_date(),
        command=command,
        load_before=_load(),
        machine=f"{_processor()}, {os.cpu_count()} cores, {platform.machine()}",
        system=f"{platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        versions=", ".join(dict.fromkeys(versions)),
        rounds=f"{sizes.rounds} of {sizes.seconds:g} s, each after {sizes.warm_seconds:g} s to warm up; servers "
        "alternate",
    )


def _one_a_line(entries: dict[str, Any]) -> str:
    texts = [f"{json.dumps(name)}: {json.dumps(entry, allow_nan=False)}" for name, entry in entries.items()]
    return "{\n" + ",\n".join(texts) + "\n}"


def _unline(line: Line) -> dict[str, Any]:
    samples = {
        name: [[_rounded(figure) for figure in (s.value, s.server_cpu, s.load_cpu)] for s in samples]
        for name, samples in line.samples.items()
    }
    return asdict(line) | {"samples": samples}


def _line(kept: dict[str, Any]) -> Line:
    samples = {name: [Sample(*sample) for sample in samples] for name, samples in kept["samples"].items()}
    return Line(**{**kept, "samples": samples})


def _rounded(figure: float) -> float:
    return float(f"{figure:.{DIGITS}g}")


def _date() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
