"""Every row runs against every server, in sizes that only show that it does; figures are not looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.__main__ import ROWS, main
from bench.peers import PEERS
from bench.report import render_page, render_row
from bench.row import TINY, Line, Row, Sample, Sizes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_measures_every_server_that_can_do_it(row: Row) -> None:
    lines = row.measure(TINY, None)
    wanted = {peer.name for peer in PEERS if peer.relays_requests or row.name != "requests"}
    assert all(set(line.samples) == wanted for line in lines)
    assert all(len(samples) == TINY.rounds for line in lines for samples in line.samples.values())
    text = render_row(row, lines)
    assert all(f"| {name} |" in text for name in wanted)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_page_says_what_each_row_is_and_is_not(row: Row) -> None:
    page = " ".join(PAGE.read_text("utf-8").split())
    assert f"python -m bench --row {row.name}" in page
    assert f"Proves: {row.proves} Leaves out: {row.leaves_out}" in page


def test_the_page_begins_with_what_it_does_not_show() -> None:
    headings = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("## ")]
    assert headings[0] == "## What the figures do not show"
    assert all(f"## {row.title}" in headings for row in ROWS)


def test_a_page_of_results_gives_medians_ratios_and_shares() -> None:
    line = Line("here")
    line.samples = {
        "Fanway": [Sample(value, 0.9, 0.5) for value in (300.0, 100.0, 200.0)],
        "websockets": [Sample(value, 1.0, 0.25) for value in (80.0, 100.0, 120.0)],
    }
    page = render_page(ROWS, {ROWS[0].name: [line]}, Sizes(), "python -m bench --write")
    assert "| here | Fanway | 200 | 100 to 300 |  | 90% | 50% |" in page
    assert "| here | websockets | 100 | 80.0 to 120 | 2.00 x as fast | 100% | 25% |" in page
    assert "- Command: `python -m bench --write`" in page


def test_the_page_is_written_from_all_rows_or_not_at_all() -> None:
    with pytest.raises(SystemExit):
        main(["--row", "idle", "--write"])
