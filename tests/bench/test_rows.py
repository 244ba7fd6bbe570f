"""Every row runs against every server, in sizes that only show that it does; figures are not looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import fanout, idle, native, requests, sockets
from bench.__main__ import ROWS, main
from bench.peers import Peer
from bench.report import render_page, render_row
from bench.rivals import NATS
from bench.row import TINY, Line, Row, Sample, Sizes, side_by_side

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")
needs_compiler = pytest.mark.skipif(native.missing() is not None, reason=native.missing() or "")

PEERS_OF: dict[str, tuple[Peer, ...]] = {
    **{row.name: module.PEERS for module in (fanout, sockets, idle) for row in module.ROWS},
    requests.ROW.name: requests.PEERS,
}

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


@needs_compiler
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_measures_every_server_that_is_here_and_names_the_others(row: Row) -> None:
    lines = row.measure(TINY, None)
    peers = PEERS_OF[row.name]
    absent = {peer.name for peer in peers if peer.missing()}
    assert all(set(line.samples) == {peer.name for peer in peers} - absent for line in lines)
    assert all(set(line.skipped) == absent for line in lines)
    assert all(len(samples) == TINY.rounds for line in lines for samples in line.samples.values())
    text = render_row(row, lines)
    assert all(f"| {peer.name} |" in text for peer in peers)


def test_a_server_that_is_not_installed_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NATS, "program", "nats-server-that-nobody-has")
    line = Line("here")
    with side_by_side([NATS], [line], None) as servers:
        assert servers == []
    assert "| here | NATS | not installed: nats-server-that-nobody-has (make peers) |" in render_row(ROWS[0], [line])


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
        "NATS": [Sample(400.0, 1.0, 0.25)],
    }
    page = render_page(ROWS, {ROWS[0].name: [line]}, Sizes(), "python -m bench --write")
    assert "| here | Fanway | 200 | 100 to 300 |  | 90% | 50% |" in page
    assert "| here | websockets | 100 | 80.0 to 120 | 2.00 x as fast | 100% | 25% |" in page
    assert "- Command: `python -m bench --write`" in page
    behind = page.partition("## Where Fanway is behind\n\n")[2].partition("\n\n")[0]
    assert behind == "- fanout, here: 0.50 x as fast as NATS."


def test_the_page_is_written_from_all_rows_or_not_at_all() -> None:
    with pytest.raises(SystemExit):
        main(["--row", "idle", "--write"])
