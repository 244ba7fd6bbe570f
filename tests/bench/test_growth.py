"""Every plot can be drawn from a measurement in sizes that only show that it runs; figures are not looked at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice

import pytest

from bench import engine, growth, overload
from bench.fanout import Audience
from bench.generator import library
from bench.growth import GROWTHS, Growth
from bench.load import LoadError
from bench.overload import Point
from bench.plot import draw
from bench.row import TINY, Sizes, Steps
from fanout.address import MAX_SEGMENTS, check_pattern

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")
needs_compiler = pytest.mark.skipif(library.missing() is not None, reason=library.missing() or "")


@needs_compiler
@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: growth.name)
def test_growth_is_measured_and_drawn(growth: Growth) -> None:
    charts = growth.measure(TINY, None)
    assert charts
    for chart in charts:
        assert chart.curves[0].points
        assert chart.sees
        assert chart.title in draw(chart, "made by a test")


def test_each_plot_has_steps_up_to_what_is_promised() -> None:
    steps = Steps()
    assert (steps.crowds[0], steps.crowds[-1]) == (1, 10_000)
    assert (steps.patterns[0], steps.patterns[-1]) == (1, 1_000_000)
    assert (steps.depths[0], steps.depths[-1]) == (1, MAX_SEGMENTS)


def test_thirty_in_a_hundred_patterns_have_wildcards_and_no_two_are_alike() -> None:
    texts = list(islice(engine.patterns(), 1000))
    assert len(set(texts)) == 1000
    assert sum("*" in text for text in texts) == 300
    assert all(check_pattern(text).text == text for text in texts)


def test_a_server_that_fails_a_large_crowd_is_named_and_the_others_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def rates(servers: Sequence[str], sizes: Sizes, audience: Audience) -> dict[str, float]:
        if audience.each == 10_000 and "NATS" in servers:
            raise LoadError("NATS is late")
        return dict.fromkeys(servers, 1e6)

    monkeypatch.setattr(growth, "side_by_side", lambda *_: nullcontext(["Fanway", "redis", "NATS"]))
    monkeypatch.setattr(growth, "raise_file_limit", lambda wanted: None)
    monkeypatch.setattr(growth, "_rates", rates)
    (chart,) = growth.measure_crowds(Sizes(), None)
    assert {curve.name: curve.points[-1][0] for curve in chart.curves} == {
        "Fanway": 10_000,
        "redis": 10_000,
        "NATS": 3000,
    }
    assert chart.sees.endswith("At 10,000 subscribers: NATS is late (in 30 s).")


def test_goodput_beyond_saturation_is_told_as_a_share_of_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point(load * 1000, min(load, 1) * 1e5, 500, 2000, 2**20) for load in overload.LOADS]
    points[-1] = Point(2000, 0.9e5, 500, 2000, 3 * 2**20)
    monkeypatch.setattr(overload, "measure", lambda sizes, core: {"Fanway": points})
    delay, goodput = growth.measure_overload(TINY, None)
    assert "Fanway 2.0 ms" in delay.sees
    assert goodput.sees == (
        "At 2 times the saturating load the goodput is of Fanway 90% of its highest, with 3 MiB in memory where it "
        "had 1 at the lightest load."
    )
    assert [curve.name for curve in delay.curves] == ["Fanway p50", "Fanway p99"]
