"""The results page: docs/results.md from the JSON that the benchmarks wrote. Nothing is typed.

    python benchmarks/run_all.py          # measure: JSON and plots in benchmarks/results
    python benchmarks/render.py           # publish: docs/results/ and docs/results.md
    python benchmarks/render.py --check   # exit 1 if docs/results.md is not its rendering

Publishing copies each JSON file and plot to docs/results/, where a topic that was not measured
anew keeps its old ones, and writes the page from what then lies there. A test renders the page
again and compares.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import harness
from harness import Interval
from topics import TOPICS, Topic

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCS = HERE.parent / "docs"

KEYS = frozenset({"topic", "quick", "machine", "rows", "missing", "notes", "findings"})
FINDING = frozenset({"place", "claim", "ours", "verdict", "rule"})
"""What every result, and every finding of one, holds."""

ABOUT = (
    "Made by `python benchmarks/render.py` from the JSON files in `results/`; not edited by hand. "
    "A value is a median with its quartiles, or a mean over seeds with Student's 95 % interval, "
    "both as “middle (low … high)”."
)
RULES = (
    "Each verdict is computed from the figures by the rule beside it. “Not shown” means that the "
    "figures are too few or too close to tell."
)

Result = dict[str, Any]


class ResultError(Exception):
    """A file is no result of a benchmark."""


def read(folder: Path) -> dict[str, Result]:
    """The results in ``folder`` by topic, in the topics' order; raises `ResultError`."""
    found = {}
    for topic in TOPICS:
        path = folder / f"{topic.name}.json"
        if not path.is_file():
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ResultError(f"{path} is no JSON: {error}") from error
        if not isinstance(result, dict) or KEYS - result.keys() or any(
                FINDING - finding.keys() for finding in result["findings"]):
            raise ResultError(f"{path} is no result of a benchmark; measure it again")
        found[topic.name] = result
    if not found:
        raise ResultError(f"{folder} holds no results; run benchmarks/run_all.py first")
    return found


def publish(results: Path, docs: Path) -> Path:
    """Copy JSON and plots to ``docs``/results and write ``docs``/results.md; returns the page."""
    kept = docs / "results"
    kept.mkdir(parents=True, exist_ok=True)
    for name in read(results):
        for ending in ("json", "svg"):
            source = results / f"{name}.{ending}"
            if source.is_file():
                shutil.copyfile(source, kept / source.name)
    path = docs / "results.md"
    path.write_text(page(kept), encoding="utf-8")
    return path


def page(folder: Path) -> str:
    """The page about the results in ``folder``, which stands beside it."""
    results = read(folder)
    topics = [topic for topic in TOPICS if topic.name in results]
    parts = ["# Results", "", ABOUT, "", *_machines(topics, results),
             *_findings(topics, results)]
    parts += ["## The paper's figures and tables", ""]
    for topic in topics:
        if topic.place:
            parts += _section(topic, results[topic.name], folder)
    costs = [topic for topic in topics if not topic.place]
    if costs:
        parts += ["## What each part costs, beside what one would use instead", ""]
    for topic in costs:
        parts += _section(topic, results[topic.name], folder)
    return "\n".join(parts).rstrip() + "\n"


# --- parts of the page --------------------------------------------------------------------------


def _machines(topics: Sequence[Topic], results: dict[str, Result]) -> list[str]:
    rows = []
    machines: dict[str, list[str]] = {}
    for topic in topics:
        result = results[topic.name]
        about = result["machine"]
        machines.setdefault(_machine(about), []).append(topic.name)
        rows.append([f"[{result['topic']}](#{anchor(_title(topic, result))})",
                     "quick" if result["quick"] else "full", about.get("date", ""),
                     f"{about.get('seconds', 0):.0f} s", f"{about['load']}"])
    full = [r["machine"].get("seconds", 0) for r in results.values() if not r["quick"]]
    lines = ["## What was measured, where", "",
             *table(["benchmark", "profile", "date", "took", "load at the end"], rows), ""]
    if full:
        lines += [f"The full profiles here took {sum(full) / 60:.0f} minutes together.", ""]
    for text, names in machines.items():
        whole = len(machines) == 1
        lines += [f"- {text}" + ("" if whole else f" ({', '.join(names)})")]
    return [*lines, ""]


def _machine(about: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {about['packages'][name]}"
                         for name in ("numpy", "gmpy2", "cryptography"))
    return (f"{about['cpu']}, {about['cores']} cores; {about['system']}; {about['python']}; "
            f"{packages}; {about['blas']}")


def _findings(topics: Sequence[Topic], results: dict[str, Result]) -> list[str]:
    findings = [(topic, finding) for topic in topics for finding in results[topic.name]["findings"]]
    if not findings:
        return []
    rows = [[f["place"], f["claim"], f["ours"], f"**{f['verdict']}**",
             f["rule"]] for _, f in findings]
    lines = ["## The paper's findings, checked", "", RULES, "",
             *table(["paper", "claim", "ours", "verdict", "holds when"], rows), ""]
    open_ones = [f for _, f in findings if f["verdict"] != "holds"]
    if open_ones:
        lines += ["Where ours differs from the paper, or does not show what it says:", ""]
        lines += [f"- {f['place']}: {f['claim']} Ours: {f['ours']}. **{f['verdict']}**"
                  for f in open_ones]
    else:
        lines.append("Ours shows all of them.")
    return [*lines, ""]


def _title(topic: Topic, result: Result) -> str:
    """The section's headline; a topic may name its figure already."""
    title: str = result["topic"]
    return f"{topic.place}: {title}" if topic.place and topic.place not in title else title


def _section(topic: Topic, result: Result, folder: Path) -> list[str]:
    command = f"python benchmarks/{topic.name}.py{' --quick' if result['quick'] else ''}"
    lines = [f"### {_title(topic, result)}", "", f"`{command}`", ""]
    if topic.paper:
        lines += [f"The paper: {topic.paper}", ""]
    peers = [f"{name} {version}" for name, version in result["machine"]["packages"].items()
             if version and name not in ("numpy", "gmpy2", "cryptography")]
    if peers:
        lines += [f"Beside: {', '.join(peers)}.", ""]
    if (folder / f"{topic.name}.svg").is_file():
        lines += [f"![{result['topic']}](results/{topic.name}.svg)", ""]
    for columns, rows in harness.tables(result["rows"]).items():
        lines += [*table(columns, [[cell(row[c]) for c in columns] for row in rows]), ""]
    for note in (*result["notes"], *result["missing"]):
        lines += [note, ""]
    return lines


# --- Markdown -----------------------------------------------------------------------------------


def table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table's lines."""
    names = [_escape(column) for column in columns]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_escape(value) for value in row)} |" for row in rows]
    return lines


def cell(value: Any) -> str:
    """A JSON value of a row as text."""
    if isinstance(value, dict) and "repeats" in value:
        middle, low, high = (harness.duration(value[key]) for key in ("median", "low", "high"))
        return middle if value["repeats"] < 2 else f"{middle} ({low} … {high})"
    if isinstance(value, dict) and "values" in value:
        interval = Interval(value["mean"], value["low"], value["high"], tuple(value["values"]))
        return interval.text(digits_for(interval))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def digits_for(interval: Interval) -> int:
    """Decimals with which the interval's ends differ: two digits of its width, three at least."""
    width = interval.high - interval.low
    digits = 3
    while digits < 7 and 0 < width * 10**digits < 10:
        digits += 1
    return digits


def anchor(title: str) -> str:
    """The link target that Markdown renderers give a headline."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/results.md from benchmark results.")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR")
    parser.add_argument("--check", action="store_true",
                        help="compare the page with its rendering; write nothing")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            path = options.docs / "results.md"
            same = path.read_text(encoding="utf-8") == page(options.docs / "results")
            print(f"{path.name} is {'' if same else 'not '}what its results render to")
            return 0 if same else 1
        print(publish(options.results, options.docs))
    except (ResultError, OSError) as error:
        print(f"render: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
