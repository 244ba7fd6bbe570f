"""`python -m bench`: all rows, or some. `--write` and `--plots` renew docs/performance.md."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import results
from bench.growth import GROWTHS, Growth
from bench.load import LoadError
from bench.plot import draw
from bench.report import PLOTS_FOLDER, describe_place, render_page, render_row
from bench.results import Drawn, Measured, Pictured, Results, Run
from bench.row import TINY, Row, Sizes
from bench.rows import ROWS

DOCS = Path(__file__).parents[1] / "docs"
PAGE, KEPT = "performance.md", "performance.json"


def main(arguments: Sequence[str], docs: Path = DOCS) -> int:
    """Measure and print; the exit code."""
    options = _options(arguments)
    if sys.platform != "linux":
        print("The measurements need Linux: they pin processes to cores and read /proc.", file=sys.stderr)
        return 1
    kept = results.load(docs / KEPT)
    failures = 0
    if not options.page:
        sizes = TINY if options.tiny else Sizes()
        peers = dict.fromkeys(peer for row in ROWS for peer in row.peers)
        run = results.describe(peers, sizes, shlex.join(["python", "-m", "bench", *arguments]))
        core = _take_cores()
        print(f"- Date: {run.date}\n{describe_place(run)}\n", flush=True)
        for one in (*options.row, *options.plots):
            started = time.monotonic()
            try:
                if isinstance(one, Row):
                    _measure_row(one, sizes, core, run, kept)
                else:
                    _measure_growth(one, sizes, core, run, kept, docs / PLOTS_FOLDER)
            except LoadError as error:
                print(f"{one.name}: {error}\n", file=sys.stderr)
                failures += 1
            else:
                print(f"({time.monotonic() - started:.0f} s)\n", flush=True)
                if options.is_kept:
                    results.save(docs / KEPT, kept)  # at once: it is not lost with what comes after
    if options.is_kept:
        (docs / PAGE).write_text(render_page(ROWS, GROWTHS, results.load(docs / KEPT)), "utf-8")
        print(f"written: {docs / PAGE}")
    return 1 if failures else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """`row` and `plots` as what is to be measured, and `is_kept`: whether it goes into the page."""
    rows, growths = {row.name: row for row in ROWS}, {growth.name: growth for growth in GROWTHS}
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--row", nargs="+", action="extend", choices=rows, metavar="ROW", help=f"only these: {', '.join(rows)}")
    add("--plots", nargs="*", choices=growths, metavar="PLOT", help=f"draw anew, all or these: {', '.join(growths)}")
    add("--write", action="store_true", help=f"renew docs/{PAGE} with these rows, or with all rows and plots")
    add("--page", action="store_true", help=f"write docs/{PAGE} from what is kept, and measure nothing")
    add("--tiny", action="store_true", help="sizes that only show that it runs; the figures mean nothing")
    options = parser.parse_args(arguments)
    if options.tiny and (options.write or options.plots is not None):
        parser.error("the figures of --tiny mean nothing and are not written")
    if options.page and len(arguments) > 1:
        parser.error("--page measures nothing and goes with no other option")
    options.is_kept = options.write or options.page or options.plots is not None
    is_all = not (options.row or options.page or options.plots is not None)
    if options.plots == [] or (is_all and options.write):
        options.plots = list(growths)
    options.plots = [growths[name] for name in options.plots or ()]
    options.row = list(ROWS) if is_all else [rows[name] for name in options.row or ()]
    return options


def _measure_row(row: Row, sizes: Sizes, core: int | None, run: Run, kept: Results) -> None:
    """Raises LoadError."""
    kept.rows[row.name] = measured = Measured(run.now(), row.measure(sizes, core))
    print(render_row(row, measured))


def _measure_growth(growth: Growth, sizes: Sizes, core: int | None, run: Run, kept: Results, folder: Path) -> None:
    """Raises LoadError."""
    run, plots = run.now(), []
    folder.mkdir(exist_ok=True)
    for chart in growth.measure(sizes, core):
        path = folder / f"{chart.name}.svg"
        path.write_text(draw(chart, f"{run.date}, {run.command}, {run.machine}"), "utf-8")
        plots.append(Drawn(chart.name, chart.title, chart.sees))
        print(f"{path}: {chart.sees}")
    kept.growths[growth.name] = Pictured(run, plots)


def _take_cores() -> int:
    """Move this process to the last core it may use; the first is the servers'."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    if len(cores) == 1:
        print("There is one core only: servers and generator share it, the figures are of little use.\n")
    return cores[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
