"""What every benchmark shares: the machine's description, paired timing, a table and JSON.

Two ways of doing a thing are timed in alternation, in one run: ``a b a b …``, so that a noisy
machine disturbs both alike. What is reported is the ratio of the medians, with the quartiles beside
it. `main` gives every benchmark the same command line::

    python benchmarks/TOPIC.py [--quick] [--json FILE]
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


@dataclass(slots=True)
class Report:
    """Rows of results, and what is needed to judge them."""

    topic: str
    quick: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        """One row; its keys become the table's columns. Rows with other keys make a new table."""
        self.rows.append(row)

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
    """The machine, then one table for each kind of row, then what is missing."""
    console = console if console is not None else Console()
    packages = ", ".join(f"{name} {v}" for name, v in about["packages"].items() if v is not None)
    console.print(f"[bold]{report.topic}[/bold]{' (quick)' if report.quick else ''}")
    console.print(f"{about['cpu']}, {about['cores']} cores; {about['python']}; {packages}; "
                  f"{about['blas']}; load {about['load']}", highlight=False)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in report.rows:
        groups.setdefault(tuple(row), []).append(row)
    for columns, rows in groups.items():
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_text(row[column]) for column in columns))
        console.print(table)
    for line in (*report.notes, *report.missing):
        console.print(line, highlight=False)


def _text(value: Any) -> str:
    if isinstance(value, Timing):
        return duration(value.median)
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
    whole = {"topic": report.topic, "quick": report.quick, "machine": about, "rows": report.rows,
             "missing": report.missing, "notes": report.notes}
    path.write_text(json.dumps(whole, indent=1, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    if isinstance(value, Timing):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a report cannot carry a {type(value).__name__}")


def main(
    topic: str, measure: Callable[[Report], None], packages: Sequence[str] = (),
    arguments: Sequence[str] | None = None,
) -> Report:  # fmt: skip
    """Parse the command line, call ``measure(report)``, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=topic)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    report = Report(topic, options.quick)
    measure(report)
    about = machine(packages)
    show(report, about)
    if options.json is not None:
        write_json(report, about, options.json)
    return report
