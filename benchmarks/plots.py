"""Plots as SVG files, by matplotlib: light background, colours that all readers can tell apart.

The palette is Okabe and Ito's ("Color Universal Design", 2008). The same JSON gives the same
picture under one version of matplotlib: no date is written, identifiers do not depend on chance.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#999999"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY)

STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.edgecolor": "#555555",
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "font.size": 10,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "legend.frameon": False, "svg.hashsalt": "bdn",
}


def subplots(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure and its axes in the house style; ``axes`` is always an array (rows, columns)."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    pyplot.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    return pyplot.subplots(rows, columns, squeeze=False, layout="constrained", **options)


def save(figure: Any, path: Path) -> None:
    """Write ``figure`` as SVG and close it."""
    figure.savefig(path, format="svg", metadata={"Date": None})
    importlib.import_module("matplotlib.pyplot").close(figure)


def whiskers(values: Sequence[dict[str, Any]]) -> tuple[list[float], list[list[float]]]:
    """(centres, [below, above]) of intervals or timings as JSON holds them, for ``errorbar``."""
    centres = [value.get("mean", value.get("median")) for value in values]
    below = [max(0.0, c - v["low"]) for c, v in zip(centres, values, strict=True)]
    above = [max(0.0, v["high"] - c) for c, v in zip(centres, values, strict=True)]
    return centres, [below, above]


def is_measured(value: Any) -> bool:
    """Whether a cell is a timing or an interval."""
    return isinstance(value, dict) and "low" in value


# --- any benchmark's tables ---------------------------------------------------------------------


def draw_tables(whole: dict[str, Any], path: Path) -> None:
    """Bars of every table: its timings side by side, or its last number where it has none."""
    panels = [(columns[0], *panel) for columns, rows in harness.tables(whole["rows"]).items()
              if (panel := _panel(columns, rows))]
    if not panels:
        raise SystemExit(f"{whole['topic']}: no row holds a number that could be drawn")
    heights = [1.2 + 0.28 * len(labels) * len(series) for _, _, labels, series in panels]
    figure, axes = subplots(len(panels), 1, figsize=(9, sum(heights)), height_ratios=heights)
    for axis, (title, unit, labels, series) in zip(axes[:, 0], panels, strict=True):
        axis.set_title(title)
        _bars(axis, unit, labels, series)
    figure.suptitle(whole["topic"], x=0.01, ha="left", fontweight="bold")
    save(figure, path)


SECONDS = "time (median, quartiles)"
Series = dict[str, list[dict[str, Any]]]


def _panel(
    columns: tuple[str, ...], rows: list[dict[str, Any]]
) -> tuple[str, list[str], Series] | None:
    """(unit, label of each row, values by column) of one table; None where nothing is a number."""
    numbers = [c for c in columns if any(is_measured(row[c]) for row in rows)]
    unit = SECONDS
    if not numbers:
        plain = [c for c in columns[1:] if all(_is_number(row[c]) for row in rows)]
        if not plain:
            return None
        plain.sort(key=lambda c: len({row[c] for row in rows}) > 1)  # one that varies comes last
        numbers, unit = plain[-1:], plain[-1]
        rows = [{**row, unit: _exactly(row[unit])} for row in rows]
    elif any("mean" in row[c] for row in rows for c in numbers if is_measured(row[c])):
        unit = "mean, 95 % interval"
    kept = [row for row in rows if any(_as_measured(row[c]) for c in numbers)]
    labels = _labels([c for c in columns if c not in numbers], kept)
    series = {c: [_as_measured(row[c]) for row in kept] for c in numbers}
    return unit, labels, series


def _bars(axis: Any, unit: str, labels: list[str], series: Series) -> None:
    width = 0.8 / len(series)
    largest = smallest = None
    for position, (name, values) in enumerate(series.items()):
        places = [row + position * width for row, value in enumerate(values) if value]
        centres, sides = whiskers([value for value in values if value])
        axis.barh(places, centres, width * 0.9, xerr=sides, color=PALETTE[position % len(PALETTE)],
                  label=name, ecolor=BLACK)
        positive = [c for c in centres if c > 0]
        largest = max([*positive, *([largest] if largest else [])], default=largest)
        smallest = min([*positive, *([smallest] if smallest else [])], default=smallest)
    axis.set_yticks([row + 0.4 - width / 2 for row in range(len(labels))], labels)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    if largest and smallest and largest > 30 * smallest:
        axis.set_xscale("log")
    axis.set_xlabel(unit)
    if unit == SECONDS:
        ticker = importlib.import_module("matplotlib.ticker")
        axis.xaxis.set_major_formatter(ticker.EngFormatter("s"))
    if len(series) > 1:
        axis.legend(fontsize=8, frameon=True, edgecolor="none", framealpha=0.9)


def _as_measured(value: Any) -> dict[str, Any]:
    """A timing or an interval; empty for what is neither, which is not drawn."""
    return value if isinstance(value, dict) and is_measured(value) else {}


def _exactly(number: float) -> dict[str, float]:
    return {"mean": number, "low": number, "high": number}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _labels(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """The first column, and as many more as it takes to tell the rows apart."""
    labels = [_short(columns[0], row[columns[0]]) for row in rows] if columns else [""] * len(rows)
    for column in columns[1:]:
        if len(set(labels)) == len(labels):
            break
        if len({str(row[column]) for row in rows}) > 1:
            labels = [f"{label}, {_short(column, row[column])}"
                      for label, row in zip(labels, rows, strict=True)]
    return labels


def _short(column: str, value: Any) -> str:
    return value.strip() if isinstance(value, str) else f"{column} {value}"
