"""All benchmarks, one after the other, each in a process of its own.

    python benchmarks/run_all.py [--quick] [--paper] [--out DIR] [TOPIC …]

Each writes DIR/TOPIC.json and, where matplotlib is installed, DIR/TOPIC.svg; DIR/results.md shows
them. A benchmark that fails is named at the end, and the exit status is 1; the others still run.
``make bench`` runs the quick profile, ``make bench FULL=1`` the full one, ``bdn bench`` either.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import harness
import render
from rich.console import Console
from rich.table import Table
from topics import TOPICS, by_name


def run(name: str, quick: bool, out: Path, plot: bool) -> tuple[int, float]:
    """(exit status, seconds) of one benchmark; what it prints goes to the terminal."""
    command = [sys.executable, str(render.HERE / f"{name}.py"), "--json", str(out / f"{name}.json")]
    if quick:
        command.append("--quick")
    if plot:
        command += ["--plot", str(out / f"{name}.svg")]
    started = time.perf_counter()
    status = subprocess.run(command, check=False, env=dict(os.environ)).returncode
    return status, time.perf_counter() - started


def run_all(names: Sequence[str], quick: bool, out: Path, console: Console) -> int:
    """Run ``names``; the exit status."""
    out.mkdir(parents=True, exist_ok=True)
    plot = harness.version("matplotlib") is not None
    if not plot:
        console.print("matplotlib is not installed (extra report): no plots are drawn")
    summary = Table("benchmark", "seconds", "ended")
    failed = []
    started = time.perf_counter()
    for name in names:
        console.rule(f"{name} ({'quick' if quick else 'full'})")
        status, seconds = run(name, quick, out, plot)
        summary.add_row(name, f"{seconds:.0f}", "well" if status == 0 else f"status {status}")
        if status != 0:
            failed.append(name)
    total = time.perf_counter() - started
    summary.add_row("all", f"{total:.0f}", f"{total / 60:.1f} minutes")
    console.print(summary)
    try:
        console.print(f"see {render.publish(out, out)}", highlight=False)
    except render.ResultError as error:  # an older result lies there, or nothing was measured
        console.print(f"no page: {error}", highlight=False)
    if failed:
        console.print(f"failed: {', '.join(failed)}", highlight=False)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("topics", nargs="*", metavar="TOPIC",
                        help=f"which ones; all by default: {', '.join(by_name())}")
    parser.add_argument("--quick", action="store_true", help="the quick profile")
    parser.add_argument("--paper", action="store_true", help="only the paper's figures and tables")
    parser.add_argument("--out", type=Path, default=render.RESULTS, metavar="DIR")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.topics) - set(by_name()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(by_name())}")
    names = options.topics or [topic.name for topic in TOPICS if topic.place or not options.paper]
    try:
        return run_all(names, options.quick, options.out, Console())
    except KeyboardInterrupt:
        print("interrupted; what was measured before is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
