"""What is kept comes back as it was, one row a line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import results
from bench.peers import FANWAY
from bench.results import Drawn, Measured, Pictured, Results, Run
from bench.row import TINY, Line, Sample

RUN = Run("2026-01-02 03:04 UTC", "python -m bench", 0.25, "a machine", "a system", "a 1", "5 rounds")


def lines(figure: float = 0.5) -> list[Line]:
    made = Line("p99, here", skipped={"NATS": "not installed"}, unit="ms", is_more_better=False, base="alone")
    made.add("Fanway", Sample(figure, 1.0, 0.25))
    return [made]


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Results({"one": Measured(RUN, lines())}, {"memory": Pictured(RUN, [Drawn("each", "Each", "Flat.")])})
    results.save(tmp_path / "kept.json", kept)
    assert results.load(tmp_path / "kept.json") == kept


def test_nothing_is_kept_before_the_first_time(tmp_path: Path) -> None:
    assert results.load(tmp_path / "kept.json") == Results()


def test_a_renewed_row_is_one_changed_line(tmp_path: Path) -> None:
    kept = Results({name: Measured(RUN, lines()) for name in ("one", "two", "three")})
    path = tmp_path / "kept.json"
    results.save(path, kept)
    before = path.read_text("utf-8").splitlines()
    kept.rows["two"] = Measured(RUN, lines(0.75))
    results.save(path, kept)
    after = path.read_text("utf-8").splitlines()
    assert [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [2]


@pytest.mark.parametrize("figure", [math.nan, math.inf])
def test_a_figure_that_is_none_is_not_kept(figure: float, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    with pytest.raises(ValueError, match="JSON"):
        results.save(path, Results({"one": Measured(RUN, lines(figure))}))
    assert not path.exists()


def test_a_run_says_when_where_and_with_what() -> None:
    run = results.describe([FANWAY, FANWAY], TINY, "python -m bench --tiny")
    assert run.command == "python -m bench --tiny"
    assert run.versions.startswith("fanway-gateway ")
    assert f"{TINY.rounds} of {TINY.seconds:g} s" in run.rounds
    assert run.now().place == run.place
