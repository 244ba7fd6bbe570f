"""The page is what was kept: figures, ratios, what is lost, and where each comes from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import results
from bench.growth import GROWTHS, Growth
from bench.peers import FANWAY, WEBSOCKETS
from bench.plot import Axis, Chart, Curve
from bench.report import render_page, render_row
from bench.results import Drawn, Measured, Pictured, Results, Run
from bench.rivals import NATS
from bench.row import Line, Row, Sample, Sizes
from bench.rows import ROWS

DOCS = Path(__file__).parents[2] / "docs"
RUN = Run("2026-01-02 03:04 UTC", "python -m bench --write", 0.25, "a machine", "a system", "a 1, b 2", "5 rounds")


def row(name: str = "one", is_more_better: bool = True) -> Row:
    return Row(
        name=name,
        title=f"Row: {name}, a test",
        unit="things/s",
        proves="A.",
        leaves_out="B.",
        peers=(FANWAY, NATS, WEBSOCKETS),
        measure=lambda sizes, core: [line(Fanway=float(sizes.rounds))],
        is_more_better=is_more_better,
    )


def line(setting: str = "here", base: str = "", **figures: float) -> Line:
    made = Line(setting, base=base)
    for name, figure in figures.items():
        made.add(name, Sample(figure, 1.0, 0.5))
    return made


def page_of(row: Row, *lines: Line) -> str:
    return render_page([row], [], Results({row.name: Measured(RUN, list(lines))}))


def section(page: str, heading: str) -> str:
    return page.partition(f"## {heading}\n\n")[2].partition("\n## ")[0].strip()


def test_the_page_is_what_was_kept() -> None:
    kept = results.load(DOCS / command.KEPT)
    assert (DOCS / command.PAGE).read_text("utf-8") == render_page(ROWS, GROWTHS, kept), "python -m bench --page"


def test_every_plot_that_the_page_shows_is_there() -> None:
    kept = results.load(DOCS / command.KEPT)
    shown = {plot.name for pictured in kept.growths.values() for plot in pictured.plots}
    assert shown == {path.stem for path in (DOCS / "plots").glob("*.svg")}


def test_the_page_begins_with_what_it_does_not_show_and_what_is_lost() -> None:
    page = render_page(ROWS, GROWTHS, Results())
    headings = [text.removeprefix("## ") for text in page.splitlines() if text.startswith("## ")]
    assert headings[:3] == ["What the figures do not show", "Where Fanway is behind", "All rows"]
    assert headings[-len(ROWS) :] == [row.title for row in ROWS]
    assert page.count("Not measured yet.") == len(ROWS)


def test_a_row_gives_medians_spread_ratios_shares_and_its_date() -> None:
    figures = Line("here")
    for value in (300.0, 100.0, 200.0):
        figures.add("Fanway", Sample(value, 0.9, 0.5))
    for value in (80.0, 100.0, 120.0):
        figures.add("websockets", Sample(value, 1.0, 0.25))
    text = render_row(row(), Measured(RUN, [figures]))
    assert "| here | Fanway | 200 | 100 to 300 |  | 90% | 50% |" in text
    assert "| here | websockets | 100 | 80.0 to 120 | 2.00 x as fast | 100% | 25% |" in text
    assert "`python -m bench --row one` on 2026-01-02 03:04 UTC, load average before it 0.25" in text
    assert "Proves: A.\n\nLeaves out: B." in text


def test_what_is_lost_is_named_with_every_server_that_is_ahead() -> None:
    page = page_of(row(), line(Fanway=100, NATS=400, websockets=50), line("there", Fanway=100, NATS=125))
    assert section(page, "Where Fanway is behind").splitlines() == [
        "- one, here: 0.25 x as fast as NATS.",
        "- one, there: 0.80 x as fast as NATS.",
    ]


def test_rows_that_were_not_measured_are_named_where_the_losses_are() -> None:
    kept = Results({"one": Measured(RUN, [line(Fanway=1)])})
    page = render_page([row("one"), row("two"), row("three")], [], kept)
    assert section(page, "Where Fanway is behind").endswith("Not measured yet: two, three.")


def test_where_less_is_better_the_ratio_turns_round() -> None:
    page = page_of(row(is_more_better=False), line(Fanway=100, NATS=400, websockets=50))
    assert section(page, "Where Fanway is behind") == "- one, here: 0.50 x as fast as websockets."
    assert "| NATS | 400 | 400 to 400 | 4.00 x as fast |" in page


def test_a_line_may_have_a_unit_a_direction_and_a_praise_of_its_own() -> None:
    memory = line("memory", Fanway=2, NATS=8)
    memory.unit, memory.is_more_better, memory.praise = "MiB", False, "small"
    page = page_of(row(), memory)
    assert "| memory, MiB | NATS | 8.0 | 8.0 to 8.0 | 4.00 x as small |" in page
    assert "| memory | 2.0 MiB | NATS 4.00 |" in section(page, "All rows")


def test_what_is_no_server_is_compared_and_never_ahead() -> None:
    page = page_of(row(), line(Fanway=100, direct=400))
    assert "| here | direct | 400 | 400 to 400 | 0.25 x as fast |" in page
    assert section(page, "Where Fanway is behind") == "In no row that was measured."


def test_a_line_with_a_base_is_compared_with_the_same_server_there() -> None:
    lines = line("alone", Fanway=100), line("in a flood", base="alone", Fanway=110, NATS=300)
    page = page_of(row(is_more_better=False), *lines)
    assert "| in a flood | Fanway | 110 | 110 to 110 | 1.10 x that of: alone |" in page
    assert "| in a flood | NATS | 300 | 300 to 300 |  |" in page
    assert "| in a flood | 110 things/s | 1.10 x that of: alone |" in section(page, "All rows")
    assert section(page, "Where Fanway is behind") == "In no row that was measured."


def test_the_summary_has_a_line_for_each_line_and_a_link_to_its_section() -> None:
    page = page_of(row(), line(Fanway=1000, NATS=400, websockets=50), line("there", NATS=3))
    assert section(page, "All rows").splitlines()[2:] == [
        "| [one](#row-one-a-test) | here | 1,000 things/s | NATS 2.50, websockets 20.00 |",
        "| [one](#row-one-a-test) | there |  |  |",
    ]


def test_rows_of_one_place_are_told_of_at_once_and_those_of_another_apart() -> None:
    later = replace(RUN, date="2026-01-03 00:00 UTC", command="python -m bench --row two --write")
    elsewhere = replace(RUN, machine="another machine")
    kept = Results(
        {
            "one": Measured(RUN, [line(Fanway=1)]),
            "two": Measured(later, [line(Fanway=1)]),
            "three": Measured(elsewhere, [line(Fanway=1)]),
        }
    )
    runs = section(render_page([row("one"), row("two"), row("three")], [], kept), "The runs")
    here, _, there = runs.partition("\n\n")
    assert here.splitlines()[:3] == [
        "- Of: one, two",
        "- Date: 2026-01-02 03:04 UTC to 2026-01-03 00:00 UTC",
        "- Command: `python -m bench --write`, `python -m bench --row two --write`",
    ]
    assert there.splitlines()[0] == "- Of: three"
    assert "another machine" in there


def test_a_plot_is_shown_with_what_one_sees_what_it_leaves_out_and_its_date() -> None:
    growth = Growth("memory", "the swap.", lambda sizes, core: [])
    kept = Results(growths={"memory": Pictured(RUN, [Drawn("memory-each", "Memory", "It is flat.")])})
    grows = section(render_page([], [growth], kept), "How cost grows")
    assert "![Memory](plots/memory-each.svg)\n\nIt is flat." in grows
    assert "Leaves out: the swap. `python -m bench --plots memory`, 2026-01-02 03:04 UTC." in " ".join(grows.split())


# --- the command ---


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows and a plot that measure nothing."""
    if sys.platform != "linux":
        pytest.skip("the measurements need Linux")
    chart = Chart("bend", "Bend", "A note", "It bends.", Axis("x"), Axis("y"), [Curve("Fanway", [(1, 1), (2, 3)], 0)])
    monkeypatch.setattr(command, "ROWS", (row("one"), row("two")))
    monkeypatch.setattr(command, "GROWTHS", (Growth("bend", "All.", lambda sizes, core: [chart]),))
    monkeypatch.setattr(command, "_take_cores", lambda: None)


@pytest.mark.usefixtures("measured")
def test_writing_keeps_all_rows_and_plots(tmp_path: Path) -> None:
    assert command.main(["--write"], tmp_path) == 0
    kept = results.load(tmp_path / command.KEPT)
    assert (set(kept.rows), set(kept.growths)) == ({"one", "two"}, {"bend"})
    assert "python -m bench --write" in (tmp_path / "plots" / "bend.svg").read_text("utf-8")
    assert "It bends." in (tmp_path / command.PAGE).read_text("utf-8")


@pytest.mark.usefixtures("measured")
def test_writing_one_row_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    before = Results({name: Measured(RUN, [line(Fanway=7)]) for name in ("one", "two")})
    results.save(tmp_path / command.KEPT, before)
    assert command.main(["--row", "two", "--write"], tmp_path) == 0
    kept = results.load(tmp_path / command.KEPT)
    assert kept.rows["one"] == before.rows["one"]
    assert kept.rows["two"].run.command == "python -m bench --row two --write"
    assert kept.rows["two"].lines[0].median("Fanway") == Sizes().rounds
    assert not kept.growths


@pytest.mark.usefixtures("measured")
def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    assert command.main(["--row", "one", "two"], tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("measured")
def test_the_page_can_be_written_from_what_is_kept(tmp_path: Path) -> None:
    results.save(tmp_path / command.KEPT, Results({"one": Measured(RUN, [line(Fanway=7)])}))
    assert command.main(["--page"], tmp_path) == 0
    assert "| here | Fanway | 7.0 |" in (tmp_path / command.PAGE).read_text("utf-8")


@pytest.mark.usefixtures("measured")
def test_a_row_that_fails_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(sizes: Sizes, core: int | None) -> list[Line]:
        raise command.LoadError("a server is silent")

    monkeypatch.setattr(command, "ROWS", (replace(row("one"), measure=fail), row("two")))
    assert command.main(["--row", "one", "two", "--write"], tmp_path) == 1
    assert set(results.load(tmp_path / command.KEPT).rows) == {"two"}
    assert "one: a server is silent" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--tiny", "--write"], ["--tiny", "--plots"], ["--page", "--write"]])
def test_figures_that_mean_nothing_are_not_written(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        command.main(options, tmp_path)
    assert list(tmp_path.iterdir()) == []
