"""Every row runs against every server, in sizes that only show that it does; figures are not looked at."""

from __future__ import annotations

import math
import sys

import pytest

from bench.generator import library
from bench.report import render_row
from bench.results import Measured, Run
from bench.rivals import NATS
from bench.row import TINY, Line, Row, side_by_side
from bench.rows import ROWS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")
needs_compiler = pytest.mark.skipif(library.missing() is not None, reason=library.missing() or "")

RUN = Run("a date", "a command", 0.0, "a machine", "a system", "versions", "rounds")


@needs_compiler
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_measures_every_server_that_is_here_and_names_the_others(row: Row) -> None:
    lines = row.measure(TINY, None)
    absent = {peer.name for peer in row.peers if peer.missing()}
    assert all(line.samples or line.skipped for line in lines)
    assert {name for line in lines for name in line.samples} >= {peer.name for peer in row.peers} - absent
    assert {name for line in lines for name in line.skipped} == absent
    figures = [sample.value for line in lines for samples in line.samples.values() for sample in samples]
    assert all(map(math.isfinite, figures))
    assert {line.base for line in lines} - {""} <= {line.setting for line in lines}
    text = render_row(row, Measured(RUN, lines))
    assert all(f"| {peer.name} |" in text for peer in row.peers)


def test_each_row_has_a_name_and_a_heading_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len({row.title for row in ROWS}) == len(ROWS)


def test_a_server_that_is_not_installed_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NATS, "program", "nats-server-that-nobody-has")
    line = Line("here")
    with side_by_side([NATS], [line], None) as servers:
        assert servers == []
    text = render_row(ROWS[0], Measured(RUN, [line]))
    assert "| here | NATS | not installed: nats-server-that-nobody-has (make peers) |" in text
