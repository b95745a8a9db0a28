"""Charts as SVG and HTML text; colours come from the page's style sheet by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 34
"""The plot's margins, in the units of the chart's view box."""

NEAR = 1e-9
"""Values whose distance is a smaller part of them than this are drawn as one."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        name: for the legend and the tooltips.
        style: the CSS class that colours it.
        points: (x, y).
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal reference line."""

    name: str
    y: float


def line_chart(
    title: str, lines: Sequence[Line], levels: Sequence[Level] = (), *, x_name: str = "epoch",
    y_name: str, low: float | None = None, high: float | None = None,
) -> str:
    """A figure with curves and reference lines; the y axis reaches ``low`` and ``high``."""
    points = [point for line in lines for point in line.points if isfinite(point[1])]
    if not points:
        return ""
    values = [y for _, y in points] + [level.y for level in levels]
    ends = [end for end in (low, high) if end is not None]
    ticks = _ticks(min(values + ends), max(values + ends))
    xs = [x for x, _ in points]
    plot = _Plot(min(xs), max(xs), ticks[0], ticks[-1])
    parts = [*_axes(plot, ticks, x_name)]
    for level in levels:
        y = plot.y(level.y)
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"><title>{escape(level.name)}: {level.y:.4f}</title></line>')
    for line in lines:
        parts += _curve(plot, line)
    return (f'<figure class="chart"><figcaption><b>{escape(title)}</b> {_legend(lines, levels)}'
            f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(_spoken(title, y_name, lines))}">{"".join(parts)}</svg></figure>')


@dataclass(frozen=True, slots=True)
class _Plot:
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        span = self.x1 - self.x0 or 1.0
        return LEFT + (value - self.x0) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        span = self.y1 - self.y0 or 1.0
        return HEIGHT - BOTTOM - (value - self.y0) / span * (HEIGHT - TOP - BOTTOM)


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    span = high - low
    if span <= NEAR * max(abs(low), abs(high), 1.0):  # one value, as far as a chart can tell
        span = abs(high) if abs(high) > NEAR else 1.0
    rough = span / wanted
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _axes(plot: _Plot, ticks: Sequence[float], x_name: str) -> list[str]:
    parts = []
    for tick in ticks:
        y = plot.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/><text class="tick end" x="{LEFT - 7}" y="{y + 4:.1f}">'
                     f'{tick:g}</text>')
    for tick in _ticks(plot.x0, plot.x1, 8):
        if plot.x0 <= tick <= plot.x1 and tick == int(tick):
            parts.append(f'<text class="tick mid" x="{plot.x(tick):.1f}" y="{HEIGHT - 16}">'
                         f'{int(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick mid" x="{middle:.0f}" y="{HEIGHT - 2}">{escape(x_name)}'
                 "</text>")
    return parts


def _curve(plot: _Plot, line: Line) -> list[str]:
    places = [(x, y, plot.x(x), plot.y(y)) for x, y in line.points if isfinite(y)]
    path = " ".join(f"{px:.1f},{py:.1f}" for _, _, px, py in places)
    dots = "".join(
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{3 if len(places) <= 40 else 1.5}">'
        f"<title>{escape(line.name)}, {x:g}: {y:.4f}</title></circle>" for x, y, px, py in places)
    return [f'<g class="curve {line.style}"><polyline points="{path}"/>{dots}</g>']


def _legend(lines: Sequence[Line], levels: Sequence[Level]) -> str:
    keys = [f'<span class="key {line.style}">{escape(line.name)}</span>' for line in lines]
    if levels:
        keys.append('<span class="key dashed">each device alone</span>')
    return "".join(keys)


def _spoken(title: str, y_name: str, lines: Sequence[Line]) -> str:
    """The chart in a sentence, for those who do not see it."""
    ends = [f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
            for line in lines if line.points]
    return f"{title}, {y_name}: " + "; ".join(ends)


# --- bars ---------------------------------------------------------------------------------------


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], unit: str = "s"
) -> str:
    """One horizontal bar a row, split in the parts that ``names`` name."""
    longest = max((sum(parts) for _, parts in rows), default=0.0) or 1.0
    legend = "".join(f'<span class="key stage-{i}">{escape(name)}</span>'
                     for i, name in enumerate(names))
    body = []
    for label, parts in rows:
        pieces = "".join(
            f'<i class="stage-{i}" style="width:{part / longest * 100:.2f}%" '
            f'title="{escape(name)}: {part:.2f} {unit}"></i>'
            for i, (name, part) in enumerate(zip(names, parts, strict=True)) if part > 0)
        body.append(f'<div class="bar"><span>{escape(label)}</span><div class="track">{pieces}'
                    f"</div><span>{sum(parts):.2f} {unit}</span></div>")
    return f'<div class="legend">{legend}</div><div class="bars">{"".join(body)}</div>'


def plain_bars(rows: Sequence[tuple[str, float]], unit: str = "s") -> str:
    """One horizontal bar a row."""
    longest = max((value for _, value in rows), default=0.0) or 1.0
    body = "".join(
        f'<div class="bar"><span>{escape(label)}</span><div class="track"><i class="plain" '
        f'style="width:{value / longest * 100:.2f}%"></i></div>'
        f"<span>{value:.2f} {unit}</span></div>"
        for label, value in rows)
    return f'<div class="bars">{body}</div>'
