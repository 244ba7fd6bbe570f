"""A chart is well-formed, says what it shows and covers its data, whatever these are."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plot import MOST_TICKS, Axis, Chart, Curve, Scale, draw, readable

SVG = "{http://www.w3.org/2000/svg}"
positive = st.floats(1e-9, 1e15)


X, Y = Axis("subscribers"), Axis("deliveries/s")


def chart(*curves: Curve, x: Axis = X, y: Axis = Y) -> Chart:
    return Chart("rate", "Rate <of> all & more", "one publisher", "It grows.", x, y, curves)


def drawn(*curves: Curve, **axes: Axis) -> ElementTree.Element:
    return ElementTree.fromstring(draw(chart(*curves, **axes), "on a day, by `make bench`"))


def test_a_chart_names_itself_its_axes_and_its_curves_as_text() -> None:
    root = drawn(Curve("Fanway", [(1, 10), (100, 2e6)], 0), Curve("NATS & co", [(1, 5), (100, 3e5)], 1, 1))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for text in ("Rate <of> all & more", "one publisher", "subscribers", "deliveries/s", "Fanway", "NATS & co"):
        assert text in texts
    assert root.findtext(f"{SVG}title") == "Rate <of> all & more"
    assert root.findtext(f"{SVG}desc") == "one publisher. on a day, by `make bench`"


def test_a_chart_has_every_point_and_its_figures() -> None:
    root = drawn(Curve("Fanway", [(1, 10), (3, 1500), (10, 40)], 0))
    assert [title.text for circle in root.iter(f"{SVG}circle") for title in circle] == [
        "Fanway: 1, 10",
        "Fanway: 3, 1.5k",
        "Fanway: 10, 40",
    ]


def test_a_chart_follows_the_readers_ground() -> None:
    assert "prefers-color-scheme: dark" in draw(chart(Curve("Fanway", [(1, 1)], 0)), "")


@given(
    st.lists(st.lists(st.tuples(positive, positive), min_size=1, max_size=4), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_all_that_is_drawn_lies_within_the_axes(
    all_points: list[list[tuple[float, float]]], is_log_x: bool, is_log_y: bool
) -> None:
    curves = [Curve(f"curve {number}", points, number) for number, points in enumerate(all_points)]
    root = drawn(*curves, x=Axis("x", is_log_x), y=Axis("y", is_log_y))
    text = ElementTree.tostring(root, "unicode")
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)
    lines = [element for element in root.iter(f"{SVG}line") if element.get("class") == "axis"]
    left, right = sorted({float(line.get(name, "")) for line in lines for name in ("x1", "x2")})
    top, bottom = sorted({float(line.get(name, "")) for line in lines for name in ("y1", "y2")})
    for circle in root.iter(f"{SVG}circle"):
        assert left - 0.1 <= float(circle.get("cx", "")) <= right + 0.1
        assert top - 0.1 <= float(circle.get("cy", "")) <= bottom + 0.1


@given(st.lists(positive, min_size=1, max_size=5), st.booleans())
def test_ticks_are_few_round_and_around_the_figures(figures: list[float], is_log: bool) -> None:
    ticks = Scale(figures, is_log, 0, 100).ticks
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= min(figures) * (1 + 1e-6)
    assert ticks[-1] >= max(figures) * (1 - 1e-6)
    for tick in ticks:
        leading = tick / 10 ** math.floor(math.log10(tick) + 1e-9) if tick else 0
        assert leading == pytest.approx(round(leading, 1))


def test_ticks_are_those_that_one_would_choose() -> None:
    assert Scale([1, 10_000], True, 0, 1).ticks == [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]
    assert Scale([1, 1_000_000], True, 0, 1).ticks == [10**power for power in range(7)]
    assert Scale([0, 32], False, 0, 1).ticks == [0, 5, 10, 15, 20, 25, 30, 35]


@pytest.mark.parametrize("figure", [math.nan, math.inf, 0.0, -1.0])
def test_a_figure_that_has_no_place_is_refused(figure: float) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw(chart(Curve("Fanway", [(1, figure)], 0)), "")


def test_figures_at_an_axis_are_short() -> None:
    assert [readable(figure) for figure in (0, 0.5, 42, 3000, 2.5e6, 1e9)] == ["0", "0.5", "42", "3k", "2.5M", "1G"]
