"""`python -m bench`: all rows, or some; `--write` renews docs/performance.md."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import fanout, idle, requests, sockets
from bench.load import LoadError
from bench.report import describe_run, render_page, render_row
from bench.row import TINY, Line, Row, Sizes

ROWS: tuple[Row, ...] = (*fanout.ROWS, *sockets.ROWS, requests.ROW, *idle.ROWS)
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], help="only this row (repeatable)")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} from all rows")
    parser.add_argument(
        "--tiny", action="store_true", help="sizes that only show that it runs; the figures mean nothing"
    )
    options = parser.parse_args(arguments)
    if options.write and (options.row or options.tiny):
        parser.error("--write takes all rows at their full sizes")
    if sys.platform != "linux":
        print("The measurements need Linux: they pin processes to cores and read /proc.", file=sys.stderr)
        return 1
    sizes = TINY if options.tiny else Sizes()
    command = shlex.join(["python", "-m", "bench", *arguments])
    core = _take_cores()
    print(describe_run(sizes, command) + "\n", flush=True)
    results: dict[str, list[Line]] = {}
    for row in ROWS:
        if options.row and row.name not in options.row:
            continue
        started = time.monotonic()
        try:
            results[row.name] = row.measure(sizes, core)
        except LoadError as error:
            print(f"{row.name}: {error}", file=sys.stderr)
            return 1
        print(render_row(row, results[row.name]))
        print(f"({time.monotonic() - started:.0f} s)\n", flush=True)
    if options.write:
        PAGE.write_text(render_page(ROWS, results, sizes, command), "utf-8")
        print(f"written: {PAGE}")
    return 0


def _take_cores() -> int:
    """Move this process to the last core it may use; the first is the servers'."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    if len(cores) == 1:
        print("There is one core only: servers and generator share it, the figures are of little use.\n")
    return cores[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
