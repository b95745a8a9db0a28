"""Fig. 4, latency: how long an epoch takes for 5 … 10 devices, and where the time goes.

Latency is the time from the start of local training until the last device has opened the sum, on
the run's virtual clock: every device and edge server is a machine of its own, busy for as long as
its work really takes on this processor, and a message takes one millisecond. The stages are those
of the report (`bdn.report.latency`) and add up to the whole: a stage lasts until the last node is
through with it. Under PBFT a block is agreed when a quorum has signed it; under proof of work when
``confirmations`` blocks lie on top of it, with a difficulty that follows β (one block a second), so
there it is mostly waiting for chance. What is made once for a key or a process (the fixed-base
table of sealing, the sampler's) is made before: it is no part of an epoch, and has its own row.

    python benchmarks/latency.py [--quick] [--json FILE] [--plot FILE.svg]

The paper's testbed has Raspberry Pis, other keys and Go-Ethereum's proof of work. What can be
compared is how latency grows with the devices: fitted by a line, seed by seed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from evaluation import DIGITS, QUICK_SEEDS, SEEDS, Setting, participants
from harness import Interval, Report, Timing

from bdn.experiments.run import opened_run
from bdn.paillier.keys import PublicKey, djn_table
from bdn.report.latency import STAGES, latency_by_epoch
from bdn.report.rounds import read_rounds
from bdn.report.sequence_diagram import read_sequence

SIZES = (5, 6, 7, 8, 9, 10)
NAMES = {"pbft": "PBFT", "pow": "proof of work"}

SETTING = replace(DIGITS, epochs=2)
"""Fig. 3's, with two epochs: latency needs repeats, not a good model."""

MINED = replace(DIGITS, epochs=1)
"""Under proof of work an epoch takes many times as long to play."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of consensus, number of devices and seed."""

    consensus: str
    devices: int
    seed: int


@dataclass(frozen=True, slots=True)
class Played:
    """Seconds of one run.

    Attributes:
        epochs: by stage (in the order of `STAGES`), for every epoch.
        table: what a device spends once on the joint key's fixed-base table.
    """

    epochs: list[list[float]]
    table: float


def play(case: Case, setting: Setting) -> Played:
    """A real run."""
    config = setting.config(case.devices, case.seed, consensus=case.consensus)
    people = participants(setting, case.devices, case.seed)
    trace: list[dict[str, Any]] = []
    with opened_run(config, participants=people, listen=trace.append) as run:
        started = time.perf_counter()
        djn_table(PublicKey.from_bytes(run.material.public_key))
        table = time.perf_counter() - started
        run.runner.run(lambda: all(  # the closing round trains nothing: it is not awaited
            len(device.progress.history) >= setting.epochs for device in run.devices))
        ledger = max((edge.ledger for edge in run.edges), key=lambda ledger: ledger.height)
        rounds = read_rounds(ledger.store)
    marks = read_sequence(trace, rounds, measured=True).marks
    epochs = [[ms / 1000 for ms in epoch["stages"]] for epoch in latency_by_epoch(marks, rounds)]
    return Played(epochs, table)


def measure(report: Report) -> None:
    """Both kinds of consensus; one run after the other, so that nothing disturbs the clock."""
    play(Case("pbft", SIZES[0], 0), replace(SETTING, epochs=1))  # warms up, and does not count
    if report.quick:
        sweep(report, "pbft", (5, 7, 10), QUICK_SEEDS, replace(SETTING, epochs=1))
        sweep(report, "pow", (5, 10), QUICK_SEEDS[:2], MINED)
    else:
        sweep(report, "pbft", SIZES, SEEDS, SETTING)
        sweep(report, "pow", SIZES[::2] + SIZES[-1:], SEEDS, MINED)
    report.notes.append(
        f"Four edge servers; T = {SETTING.iterations}, b = {SETTING.batch_size}, ring-masked "
        f"sealing under keys of {SETTING.key_bits} bits, threshold 3; medians and quartiles over "
        "epochs and seeds. Virtual clock: nodes side by side, messages of 1 ms, work as measured.")


def sweep(
    report: Report, consensus: str, sizes: Sequence[int], seeds: Sequence[int], setting: Setting
) -> None:
    """Rows and the finding for one kind of consensus.

    Sizes change fastest, so that a disturbance of the machine meets all of them alike.
    """
    found: dict[int, list[Played]] = {n: [] for n in sizes}
    for seed in seeds:
        for n in sizes:
            found[n].append(play(Case(consensus, n, seed), setting))
    for n in sizes:
        epochs = [stages for run in found[n] for stages in run.epochs]
        report.add(**{
            "blocks by": NAMES[consensus], "devices": n, "epochs": len(epochs),
            "latency": Timing.of([sum(stages) for stages in epochs]),
            **{name: Timing.of([stages[i] for stages in epochs])
               for i, name in enumerate(STAGES)}})
    report.add(**{"blocks by": NAMES[consensus], "once for a key, at each device": Timing.of(
        [run.table for runs in found.values() for run in runs])})
    judge(report, consensus,
          {n: [_typical(run.epochs) for run in runs] for n, runs in found.items()})


def _typical(epochs: Sequence[Sequence[float]]) -> float:
    """A run's latency: the median of its epochs."""
    return float(np.median([sum(stages) for stages in epochs]))


def judge(report: Report, consensus: str, by_size: dict[int, list[float]]) -> None:
    """The slope and the ratio, from each seed's latency (seconds) by number of devices."""
    sizes = sorted(by_size)
    few, many = sizes[0], sizes[-1]
    per_seed = list(zip(*(by_size[n] for n in sizes), strict=True))
    slope = Interval.of([float(np.polyfit(sizes, latencies, 1)[0]) for latencies in per_seed])
    ratio = Interval.of([latencies[-1] / latencies[0] for latencies in per_seed])
    report.add(**{"blocks by": NAMES[consensus], "seconds more per device": slope,
                  f"latency of {many} devices over {few}": ratio})
    base = float(np.median(by_size[few]))
    report.finding(
        "§5, Fig. 4a", "Latency increases inconspicuously with the number of devices "
        f"({NAMES[consensus]}).",
        f"{base:.2f} s with {few} devices, {slope.mean / base:+.1%} for each device more "
        f"({slope.text()} s); with {many} devices {ratio.text(2)} times",
        ratio.below(many / few), f"{many / few:g} times the devices take less than {many / few:g} "
        "times as long: the whole 95 % interval of the ratio lies below", ratio.above(many / few))


# --- the plot -----------------------------------------------------------------------------------


def draw(whole: dict[str, Any], path: Path) -> None:
    """Fig. 4a: medians by stage, stacked; whiskers are the quartiles of the whole."""
    import plots

    rows = [row for row in whole["rows"] if "latency" in row]
    kinds = list(dict.fromkeys(row["blocks by"] for row in rows))
    figure, axes = plots.subplots(1, len(kinds), figsize=(10, 4))
    for axis, kind in zip(axes[0], kinds, strict=True):
        of_kind = [row for row in rows if row["blocks by"] == kind]
        names = [str(row["devices"]) for row in of_kind]
        floor = np.zeros(len(of_kind))
        for i, stage in enumerate(STAGES):
            heights = np.array([row[stage]["median"] for row in of_kind])
            axis.bar(names, heights, 0.7, floor, color=plots.PALETTE[i], label=stage)
            floor += heights
        centres, sides = plots.whiskers([row["latency"] for row in of_kind])
        axis.errorbar(names, centres, sides, fmt="o", color=plots.BLACK, markersize=4, capsize=3,
                      label="whole epoch, quartiles")
        axis.set_title(kind)
        axis.set_xlabel("devices")
        axis.grid(visible=False, axis="x")
    axes[0, 0].set_ylabel("latency of an epoch, seconds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plots.save(figure, path)


if __name__ == "__main__":
    harness.main("Fig. 4a: latency of an epoch", measure, draw=draw)
