"""Table 1, played: the attack lab's experiments, grouped by the row of the paper's table.

The paper's Table 1 is qualitative: four research challenges, without and with BlockDeepNet. Here
each challenge is answered by experiments of `bdn lab` against the real parts, and a verdict says
whether the defence did what is documented of it. The third row, training data insufficiency, is a
matter of learning: Fig. 3 (`precision.py`) answers it.

    python benchmarks/table_one.py [--quick] [--json FILE] [--plot FILE.svg]

2,048-bit keys; ``--quick`` takes toy keys of 512 bits, under which the same code runs.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
from harness import Report

from bdn.experiments import lab
from bdn.experiments.lab.experiment import Experiment
from bdn.runfolder.findings import INSUFFICIENCY, POISONING, PRIVACY_LEAK, SINGLE_POINT, Finding

KEY_BITS, QUICK_KEY_BITS = 2048, 512

PROMISES = {
    SINGLE_POINT: "No central control: what fails or lies is replaced.",
    PRIVACY_LEAK: "A device's data and update stay with the device.",
    INSUFFICIENCY: "Shared updates give every device a better model.",
    POISONING: "Nobody updates the shared model wrongly.",
}
"""What the paper promises in each row of Table 1, in short."""


def measure(report: Report) -> None:
    """Every experiment of the lab."""
    play(report, list(lab.EXPERIMENTS.values()), QUICK_KEY_BITS if report.quick else KEY_BITS)


def play(report: Report, experiments: Sequence[Experiment], key_bits: int) -> None:
    """One row an experiment, one finding a challenge."""
    ended: dict[str, list[Finding]] = {}
    for experiment in sorted(experiments, key=_place):
        started = time.perf_counter()
        finding = experiment(key_bits)
        ended.setdefault(experiment.row, []).append(finding)
        report.add(**{
            "Table 1": experiment.row, "experiment": experiment.name,
            "outcome": finding.verdict, "what": experiment.title,
            "what happened": " ".join(finding.happened), "not covered": finding.not_covered,
            "seconds": round(time.perf_counter() - started, 1)})
    for row, promise in PROMISES.items():
        if row in ended:
            _judge(report, row, promise, ended[row])
    report.notes.append(f"Keys of {key_bits} bits. `bdn lab NAME` plays one experiment and tells "
                        "all of it. More data, better models: Fig. 3.")


def _place(experiment: Experiment) -> int:
    rows = list(PROMISES)
    return rows.index(experiment.row) if experiment.row in rows else len(rows)


def _judge(
    report: Report, row: str, promise: str, ended: Sequence[Finding]
) -> None:
    prevented = [finding.held for finding in ended if finding.prevented]
    open_ones = [finding.experiment for finding in ended if not finding.prevented]
    failed = [finding.experiment for finding in ended if not finding.held]
    ours = f"{sum(prevented)} of {len(prevented)} experiments came out as promised"
    if open_ones:
        ours += f"; not prevented, and documented so: {', '.join(open_ones)}"
    if row == POISONING:
        ours += ". The magnitude of an update is bounded by proof, its direction is not"
    if failed:
        ours += f"; not as documented: {', '.join(failed)}"
    report.finding(
        f"Table 1, {row}", promise, ours, not failed and not open_ones,
        "every experiment of the row comes out as promised", bool(failed or open_ones))


def draw(whole: dict[str, Any], path: Path) -> None:
    """The experiments by challenge, as a chart of how long each took and how it ended."""
    import plots

    rows = [row for row in whole["rows"] if "experiment" in row]
    figure, axes = plots.subplots(figsize=(9, 1.2 + 0.3 * len(rows)))
    axis = axes[0, 0]
    for number, challenge in enumerate(dict.fromkeys(row["Table 1"] for row in rows)):
        places = [i for i, row in enumerate(rows) if row["Table 1"] == challenge]
        bars = axis.barh(places, [rows[i]["seconds"] for i in places], label=challenge,
                         color=plots.PALETTE[number])
        axis.bar_label(bars, [rows[i]["outcome"] for i in places], padding=4, fontsize=8)
    axis.set_yticks(range(len(rows)), [row["experiment"] for row in rows])
    axis.invert_yaxis()
    axis.margins(x=0.3)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("seconds to play")
    figure.legend(loc="outside lower center", ncols=2)
    plots.save(figure, path)


if __name__ == "__main__":
    harness.main("Table 1: the attack lab", measure, draw=draw)
