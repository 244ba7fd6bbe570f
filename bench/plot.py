"""Line charts as SVG: two axes, linear or logarithmic, a legend, text that stays text, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 78, 22, 78, 58  # margins around the plotted area
MOST_TICKS = 9

# Colours that differ also in lightness, so that they can be told apart by everybody, on either ground.
_STYLE = """\
svg { background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #24292f; } .title { font-size: 16px; font-weight: 600; } .note, .tick { fill: #57606a; font-size: 12px; }
.grid { stroke: #d8dee4; } .axis { stroke: #57606a; }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.c0 { stroke: #0969da; --c: #0969da; } .c1 { stroke: #bc4c00; --c: #bc4c00; } .c2 { stroke: #1a7f37; --c: #1a7f37; }
.c3 { stroke: #8250df; --c: #8250df; } .dot { fill: var(--c); stroke: none; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; }
  text { fill: #e6edf3; } .note, .tick { fill: #9198a1; } .grid { stroke: #30363d; } .axis { stroke: #9198a1; }
  .c0 { stroke: #58a6ff; --c: #58a6ff; } .c1 { stroke: #f0883e; --c: #f0883e; } .c2 { stroke: #3fb950; --c: #3fb950; }
  .c3 { stroke: #bc8cff; --c: #bc8cff; }
}"""
COLOURS = 4
DASHES = ("", "7 4", "2 4")  # of the lines that share a colour


@dataclass(frozen=True, slots=True)
class Axis:
    """What is counted along it, with its unit."""

    label: str
    is_log: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y) in order. `colour` and `dash` are numbers: COLOURS of the one, len(DASHES) of the other."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dash: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture to be: its file's name, its title, what one sees on it in a sentence or two."""

    name: str
    title: str
    note: str  # the setting, shown beneath the title
    sees: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]


class Scale:
    """From figures to places along one axis, and the round figures to be marked on it.

    Raises ValueError if a figure is not finite, or not positive on a logarithmic axis.
    """

    def __init__(self, figures: Sequence[float], is_log: bool, begin: float, end: float) -> None:
        if not figures or not all(math.isfinite(figure) and (figure > 0 or not is_log) for figure in figures):
            raise ValueError(f"these cannot be drawn: {figures}")
        self.is_log = is_log
        self._begin, self._end = begin, end
        self.ticks = _log_ticks(min(figures), max(figures)) if is_log else _linear_ticks(0.0, max(figures))
        self.first, self.last = self.ticks[0], self.ticks[-1]

    def place(self, figure: float) -> float:
        """Where it lies in the picture."""
        low, high, here = (self._way(number) for number in (self.first, self.last, figure))
        return self._begin + (self._end - self._begin) * (here - low) / (high - low)

    def _way(self, figure: float) -> float:
        return math.log10(figure) if self.is_log else figure


def draw(chart: Chart, origin: str) -> str:
    """The picture as a document of its own; `origin` says when and how it was made, in its description.

    Raises ValueError if a figure cannot be drawn.
    """
    points = [point for curve in chart.curves for point in curve.points]
    x = Scale([at for at, _ in points], chart.x.is_log, LEFT, WIDTH - RIGHT)
    y = Scale([at for _, at in points], chart.y.is_log, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img">',
        f"<title>{escape(chart.title)}</title>",
        f"<desc>{escape(f'{chart.note}. {origin}')}</desc>",
        f"<style>{_STYLE}</style>",
        _text(LEFT, 24, chart.title, "title"),
        _text(LEFT, 42, chart.note, "note"),
        *_axes(chart, x, y),
        *(_curve(curve, x.place, y.place) for curve in chart.curves),
        *_legend(chart.curves),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def readable(figure: float) -> str:
    """A figure as it stands at an axis: short, with k and M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(figure) >= size:
            return f"{figure / size:.4g}{unit}"
    return f"{figure:.4g}"


def _axes(chart: Chart, x: Scale, y: Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in x.ticks:
        at = x.place(tick)
        parts += [_line(at, TOP, at, bottom, "grid"), _text(at, bottom + 18, readable(tick), "tick", "middle")]
    for tick in y.ticks:
        at = y.place(tick)
        parts += [_line(LEFT, at, right, at, "grid"), _text(LEFT - 8, at + 4, readable(tick), "tick", "end")]
    parts += [_line(LEFT, bottom, right, bottom, "axis"), _line(LEFT, TOP, LEFT, bottom, "axis")]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 14, chart.x.label, "label", "middle"))
    middle = (TOP + bottom) / 2
    parts.append(_text(18, middle, chart.y.label, "label", "middle", f' transform="rotate(-90 18 {middle:g})"'))
    return parts


def _curve(curve: Curve, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    places = [(x(one), y(other)) for one, other in curve.points]
    way = " ".join(f"{one:.1f},{other:.1f}" for one, other in places)
    dots = "".join(
        f'<circle class="dot" cx="{one:.1f}" cy="{other:.1f}" r="3.2"><title>{escape(curve.name)}: '
        f"{readable(point[0])}, {readable(point[1])}</title></circle>"
        for (one, other), point in zip(places, curve.points, strict=True)
    )
    return f'<g class="c{curve.colour % COLOURS}"><polyline class="curve" points="{way}"{_dashed(curve)}/>{dots}</g>'


def _legend(curves: Sequence[Curve]) -> list[str]:
    """One after the other above the plotted area."""
    parts, at = [], float(LEFT)
    for curve in curves:
        parts.append(
            f'<g class="c{curve.colour % COLOURS}"><line class="curve" x1="{at:g}" y1="60" x2="{at + 24:g}" y2="60"'
            f"{_dashed(curve)}/></g>"
        )
        parts.append(_text(at + 30, 64, curve.name, "label"))
        at += 30 + 7.4 * len(curve.name) + 18  # text is as wide as the reader's font makes it: this is ample
    return parts


def _dashed(curve: Curve) -> str:
    dash = DASHES[curve.dash % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around the figures; where these are few, 1, 2, 5 or 1, 3."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    decades = last - first
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        begin = max((tick for tick in ticks if tick <= low * (1 + 1e-9)), default=ticks[0])
        end = min((tick for tick in ticks if tick >= high * (1 - 1e-9)), default=ticks[-1])
        chosen = sorted({begin, *inside, end})
        if len(chosen) > 1 and len(chosen) <= MOST_TICKS:
            return chosen
    step = math.ceil(decades / (MOST_TICKS - 1)) or 1
    return [10.0**power for power in range(first, first + step * max(1, math.ceil(decades / step)) + 1, step)]


def _linear_ticks(low: float, high: float) -> list[float]:
    """From `low` to at least `high` in steps of 1, 2 or 5 times a power of ten."""
    reach = high - low or 1.0
    rough = reach / (MOST_TICKS - 2)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * (1 - 1e-9))
    return [low + number * step for number in range(math.ceil(reach / step - 1e-9) + 1)]
