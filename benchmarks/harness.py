"""What every benchmark shares: machine, paired timing, intervals, findings, table, JSON and plot.

Two ways of doing a thing are timed in alternation, in one run: ``a b a b …``, so that a noisy
machine disturbs both alike. What is reported is the ratio of the medians, with the quartiles beside
it. Where chance matters there are several seeds, and `Interval` is the mean with its 95 % interval.
A claim of the paper is checked by `Report.finding`, whose verdict the benchmark computes. `main`
gives every benchmark the same command line::

    python benchmarks/TOPIC.py [--quick] [--json FILE] [--plot FILE.svg]
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, and before numpy

import numpy as np
from rich.console import Console
from rich.table import Table

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                    "OPENBLAS_CORETYPE")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: median and quartiles over ``repeats`` calls."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """The figures of a list of measurements."""
        if len(seconds) < 2:
            return cls(seconds[0], seconds[0], seconds[0], len(seconds))
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high, len(seconds))


STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
           2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
           2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
"""The 0.975 quantile of Student's t with 1 … 30 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of independent repeats (seeds), and where the true mean lies with 95 %.

    Attributes:
        mean: of ``values``.
        low, high: mean ± t·s/√n (Student); equal to the mean where there is one value only, which
            says nothing about chance.
        values: by seed, in the seeds' order, so that two of them can be compared in pairs.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """The interval of at least one value."""
        found = tuple(float(value) for value in values)
        mean, n = statistics.fmean(found), len(found)
        if n < 2:
            return cls(mean, mean, mean, found)
        t = STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96 + 2.4 / (n - 1)
        half = t * statistics.stdev(found) / n**0.5
        return cls(mean, mean - half, mean + half, found)

    def minus(self, other: "Interval") -> "Interval":
        """The interval of the differences, pair by pair; both must have the same seeds."""
        return Interval.of([a - b for a, b in zip(self.values, other.values, strict=True)])

    def above(self, level: float = 0.0) -> bool:
        """Whether the whole interval lies above ``level``, and there is more than one value."""
        return len(self.values) > 1 and self.low > level

    def below(self, level: float) -> bool:
        """Whether the whole interval lies below ``level``, and there is more than one value."""
        return len(self.values) > 1 and self.high < level

    def text(self, digits: int = 3) -> str:
        """As "0.912 (0.905 … 0.919)"."""
        if len(self.values) < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f} … {self.high:.{digits}f})"


@dataclass(slots=True)
class Report:
    """Rows of results, and what is needed to judge them.

    Attributes:
        topic: for the headline.
        quick: whether it is the quick profile.
        rows: see `add`.
        missing: peers that are not installed, data that is not there.
        notes: what a reader must know to judge the figures.
        findings: see `finding`.
        options: the command line's, for benchmarks that add their own.
    """

    topic: str
    quick: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    options: argparse.Namespace = field(default_factory=argparse.Namespace)

    def add(self, **row: Any) -> None:
        """One row; its keys become the table's columns. Rows with other keys make a new table."""
        self.rows.append(row)

    def finding(
        self, place: str, claim: str, ours: str, holds: bool, rule: str, against: bool = False
    ) -> None:
        """A claim of the paper beside what was measured.

        Args:
            place: where the paper says it, as "§5, Fig. 3".
            claim: what it says, in a sentence.
            ours: what came out, with figures computed from the rows.
            holds: the verdict, computed from the same figures by ``rule``.
            rule: when it counts as held, in words.
            against: whether the figures speak against the claim; otherwise, what does not hold is
                not shown.
        """
        verdict = "holds" if holds else "contradicted" if against else "not shown"
        self.findings.append({"place": place, "claim": claim, "ours": ours, "verdict": verdict,
                              "rule": rule})

    def peer(self, package: str, extra: str = "peers") -> bool:
        """Whether ``package`` is installed; otherwise its absence is named in the report."""
        found = version(package) is not None
        if not found:
            self.missing.append(f"{package} is not installed (extra {extra}): its rows are absent")
        return found


def timed(function: Callable[[], Any], repeats: int = 5, warm_up: int = 1) -> Timing:
    """``function`` alone, ``repeats`` times after ``warm_up`` calls that do not count."""
    for _ in range(warm_up):
        function()
    return Timing.of([_seconds(function) for _ in range(repeats)])


def paired(
    a: Callable[[], Any], b: Callable[[], Any], repeats: int = 5, warm_up: int = 1
) -> tuple[Timing, Timing]:
    """``a`` and ``b`` in alternation, so that noise disturbs both; the order changes each round."""
    for _ in range(warm_up):
        a(), b()
    of_a, of_b = [], []
    for turn in range(repeats):
        if turn % 2:
            of_b.append(_seconds(b))
            of_a.append(_seconds(a))
        else:
            of_a.append(_seconds(a))
            of_b.append(_seconds(b))
    return Timing.of(of_a), Timing.of(of_b)


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def version(package: str) -> str | None:
    """The installed version of ``package``, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Processor, system, Python, the libraries that matter, and every thread setting."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    names = ("numpy", "gmpy2", "cryptography", *packages)
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version(name) for name in names},
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "environment": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(report: Report, about: dict[str, Any], console: Console | None = None) -> None:
    """The machine, one table for each kind of row, what is missing, and the findings."""
    console = console if console is not None else Console()
    packages = ", ".join(f"{name} {v}" for name, v in about["packages"].items() if v is not None)
    console.print(f"[bold]{report.topic}[/bold]{' (quick)' if report.quick else ''}")
    console.print(f"{about['cpu']}, {about['cores']} cores; {about['python']}; {packages}; "
                  f"{about['blas']}; load {about['load']}", highlight=False)
    for columns, rows in tables(report.rows).items():
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_shortened(_text(row[column])) for column in columns))
        console.print(table)
    for line in (*report.notes, *report.missing):
        console.print(line, highlight=False)
    for finding in report.findings:
        console.print(f"{finding['place']}: {finding['claim']} {finding['verdict'].upper()}: "
                      f"{finding['ours']}",
                      highlight=False, markup=False)


def tables(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Rows with the same keys, in the order of their first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


def _shortened(text: str, most: int = 70) -> str:
    """For the terminal; the JSON and the page have all of it."""
    return text if len(text) <= most else f"{text[:most - 1]}…"


def _text(value: Any) -> str:
    if isinstance(value, Timing):
        return duration(value.median)
    if isinstance(value, Interval):
        return value.text()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds with a fitting unit and three digits: "1.23 ms"."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def write_json(report: Report, about: dict[str, Any], path: Path) -> None:
    """Everything that `show` shows, and the quartiles, as one JSON object."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(_dump(report, about), encoding="utf-8")
    part.replace(path)  # a reader never sees half a file


def as_json(report: Report, about: dict[str, Any]) -> dict[str, Any]:
    """What `write_json` writes, as a reader of the file gets it."""
    whole: dict[str, Any] = json.loads(_dump(report, about))
    return whole


def _dump(report: Report, about: dict[str, Any]) -> str:
    whole = {"topic": report.topic, "quick": report.quick, "machine": about, "rows": report.rows,
             "missing": report.missing, "notes": report.notes, "findings": report.findings}
    return json.dumps(whole, indent=1, default=_jsonable, allow_nan=False) + "\n"


def _jsonable(value: Any) -> Any:
    if isinstance(value, (Timing, Interval)):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a report cannot carry a {type(value).__name__}")


Draw = Callable[[dict[str, Any], Path], None]
"""Draws what `write_json` wrote, read back, as an SVG file."""


def main(
    topic: str, measure: Callable[[Report], None], packages: Sequence[str] = (),
    arguments: Sequence[str] | None = None, draw: Draw | None = None,
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Report:  # fmt: skip
    """Parse the command line, call ``measure(report)``, print the tables, write JSON and plot.

    Args:
        topic: the headline.
        measure: fills the report.
        packages: peers whose versions are named.
        arguments: instead of the command line's.
        draw: the benchmark's own plot; bars of every table where it is None.
        more: adds options; ``report.options`` holds them.
    """
    parser = argparse.ArgumentParser(description=topic)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them here")
    if more is not None:
        more(parser)
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    report = Report(topic, options.quick, options=options)
    started = time.perf_counter()
    measure(report)
    about = machine(packages)
    about["date"] = time.strftime("%Y-%m-%d", time.gmtime())
    about["seconds"] = round(time.perf_counter() - started, 1)
    show(report, about)
    if options.json is not None:
        write_json(report, about, options.json)
    if options.plot is not None:
        whole = as_json(report, about)
        if draw is not None:
            draw(whole, options.plot)
        else:
            import plots  # matplotlib comes with the extra "report"

            plots.draw_tables(whole, options.plot)
    return report
