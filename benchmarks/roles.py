"""Fig. 5: CPU and memory of an edge server and of a device, with and without BlockDeepNet.

Every role has an operating-system process of its own (`bdn.experiments.processes`), so what psutil
reads of a process (user + system time, resident memory) belongs to the role alone. *With*: devices
train and seal, four edge servers verify, add up and agree, devices open. *Without*, as the paper
has it: devices send their raw data to one server, which does as many iterations as all of them
together and sends the model back; no ciphers, no ledger. *Idle* is the interpreter with the role's
imports and nothing else; it is subtracted from nothing.

    python benchmarks/roles.py [--quick] [--json FILE] [--plot FILE.svg]

An epoch lasts from the start of local training until the last device has the model. All processes
share this machine's cores, so the CPU time is the figure to look at; utilisation is CPU time over
the time that the epoch took here. Both cases run in alternation.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from evaluation import DIGITS, Setting, participants
from harness import Interval, Report, Timing

from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import Participants
from bdn.experiments.processes.central_run import CentralRun
from bdn.experiments.processes.run import opened_processes
from bdn.experiments.provisioning import encode_share
from bdn.paillier import deal

SAMPLE_SECONDS = 0.05
MIB = 1 << 20
DEVICES = 5
REPEATS, QUICK_REPEATS = 5, 2

WITH, WITHOUT, IDLE = "BlockDeepNet", "raw data to a server", "idle"
EDGE, DEVICE = "edge server", "device"

IMPORTS = {
    (EDGE, WITH): "bdn.experiments.processes.hosts",
    (DEVICE, WITH): "bdn.experiments.processes.hosts",
    (EDGE, WITHOUT): "bdn.experiments.processes.central_nodes",
    (DEVICE, WITHOUT): "bdn.experiments.processes.central_nodes",
}
"""What a role's process loads before it is given its part, besides the driver."""

CPU, SHARE, MEMORY = "CPU seconds an epoch", "CPU % of a core", "resident MiB"


@dataclass(slots=True)
class Samples:
    """What was read of one process: times (s), CPU seconds since its start, resident bytes."""

    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


class Sampler:
    """Reads every process of a run again and again, and hears from the trace when epochs begin."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._processes: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._offset: float | None = None
        self.samples: dict[str, Samples] = defaultdict(Samples)
        self.begin: float | None = None
        self.ends: dict[int, float] = {}
        """When the last device had the model of an epoch."""

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def hear(self, record: dict[str, Any]) -> None:
        """Take one trace event."""
        match record["event"]:
            case "process-started":
                if "at" in record:
                    self._offset = time.time() - record["at"]
                with self._lock:
                    self._processes[record["node"]] = self._psutil.Process(record["pid"])
            case "work" if record["kind"] == "train":
                started = record["virtual_ms"] / 1000
                self.begin = started if self.begin is None else min(self.begin, started)
            case "opened" if record["phase"] == "weights" and self._offset is not None:
                at = self._offset + record["at"]
                self.ends[record["epoch"]] = max(at, self.ends.get(record["epoch"], 0.0))
            case "epoch-done" if "at" not in record:
                self.ends[record["epoch"]] = time.time()

    def _read_on(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            with self._lock:
                processes = list(self._processes.items())
            for name, process in processes:
                self._read(name, process)

    def _read(self, name: str, process: Any) -> None:
        try:
            with process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
        except (self._psutil.NoSuchProcess, self._psutil.ZombieProcess):
            return
        found = self.samples[name]
        found.times.append(time.time())
        found.cpu.append(cpu.user + cpu.system)
        found.resident.append(memory.rss)

    def epochs(self) -> list[tuple[float, float]]:
        """(begin, end) of every epoch."""
        assert self.begin is not None, "somebody has trained"
        ends = [self.ends[epoch] for epoch in sorted(self.ends)]
        return list(zip([self.begin, *ends], ends, strict=False))


@dataclass(slots=True)
class Case:
    """The values of one role in one case: for each repeat, one for each process."""

    cpu: list[list[float]] = field(default_factory=list)
    share: list[list[float]] = field(default_factory=list)
    resident: list[list[float]] = field(default_factory=list)
    """One for each sample within the epochs."""
    peak: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    """CPU seconds of a process before the first epoch: imports, keys, registration, raw data."""

    def take(self, sampler: Sampler, names: Sequence[str]) -> None:
        """One repeat's values of the processes ``names``."""
        epochs = sampler.epochs()
        cpu, share, resident = [], [], []
        begin, end = epochs[0][0], epochs[-1][1]
        for name in names:
            found = sampler.samples[name]
            times = np.array(found.times)
            used = float(np.interp(end, times, found.cpu) - np.interp(begin, times, found.cpu))
            cpu.append(used / len(epochs))
            share.append(100 * used / (end - begin))
            inside = (times >= begin) & (times <= end)
            resident += [value / MIB for value in np.array(found.resident)[inside]]
            self.peak.append(max(found.resident) / MIB)
            self.before.append(float(np.interp(begin, times, found.cpu)))
        self.cpu.append(cpu)
        self.share.append(share)
        self.resident.append(resident)


Cases = dict[tuple[str, str], Case]


def measure(report: Report) -> None:
    """All cases in alternation, their boxes, and the paper's claims."""
    if not report.peer("psutil"):
        return
    setting = replace(DIGITS, epochs=2 if report.quick else 3)
    people = participants(setting, DEVICES, seed=1)
    cases: Cases = defaultdict(Case)
    figures = play(setting, people, QUICK_REPEATS if report.quick else REPEATS, cases)
    tabulate(report, cases)
    for role in (EDGE, DEVICE):
        for case in (WITH, WITHOUT):
            idle(report, role, case)
    for case in (WITH, WITHOUT):
        report.add(**{"case": case, "an epoch took": figures[case],
                      "CPU seconds an epoch, all processes": everybody(cases, case)})
    judge(report, cases)
    config = setting.config(DEVICES, 1)
    report.notes.append(
        f"{DEVICES} devices, {config.edges} edge servers against one server; T = "
        f"{setting.iterations}, b = {setting.batch_size}, P = {setting.epochs}, "
        f"{sum(learner.sample_count for learner in people.learners)} images in all, ring-masked "
        f"sealing under {setting.key_bits}-bit keys, threshold {config.threshold}. Every figure "
        "is of one process; memory is resident, so libraries that processes share count in each.")


def play(
    setting: Setting, people: Participants, repeats: int, cases: Cases
) -> dict[str, Timing]:
    """Both cases ``repeats`` times, in changing order; returns the length of an epoch by case."""
    config = setting.config(DEVICES, 1)
    public_key, shares = deal(config.holders, config.threshold, config.key_bits)
    keys = [(f"key share/{i}", encode_share(share)) for i, share in enumerate(shares)]
    keys.append(("public key", public_key.to_bytes()))
    lengths: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for turn in range(repeats):
        for case in (WITH, WITHOUT) if turn % 2 == 0 else (WITHOUT, WITH):
            sampler = play_with(config, people, keys) if case == WITH else (
                play_without(config, people))
            devices = [name for name in sampler.samples if name.startswith("device-")]
            edges = [name for name in sampler.samples if name not in devices]
            cases[EDGE, case].take(sampler, edges)
            cases[DEVICE, case].take(sampler, devices)
            lengths[case] += [end - begin for begin, end in sampler.epochs()]
    return {case: Timing.of(seconds) for case, seconds in lengths.items()}


def play_with(
    config: RunConfig, people: Participants, keys: Sequence[tuple[str, bytes]]
) -> Sampler:
    """A real run in processes, with a key that exists already."""
    with tempfile.TemporaryDirectory() as place, Sampler() as sampler:
        folder = RunFolder.create(Path(place) / "run", config)
        with opened_processes(
            config, folder, listen=sampler.hear, participants=people, keys=keys
        ) as run:
            run.drive()
    return sampler


def play_without(config: RunConfig, people: Participants) -> Sampler:
    """Raw data to a server."""
    with Sampler() as sampler:
        CentralRun(config, sampler.hear, people).complete()
    return sampler


def idle(report: Report, role: str, case: str) -> None:
    """A process that has loaded what the role needs, and waits."""
    import psutil

    lines = ("import sys, bdn.experiments.processes.child", f"import {IMPORTS[role, case]}",
             "print(1, flush=True)", "sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", "; ".join(lines)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = psutil.Process(process.pid)
        cpu, resident = found.cpu_times(), found.memory_info().rss
        process.communicate()
    report.add(**{"role": role, "case": case, "idle: resident MiB": resident / MIB,
                  "idle: CPU seconds to start": cpu.user + cpu.system})


def tabulate(report: Report, cases: Cases) -> None:
    """The boxes: minimum, quartiles and maximum over processes (memory: samples) and repeats."""
    for role in (EDGE, DEVICE):
        for case in (WITH, WITHOUT):
            found = cases[role, case]
            for name, values in ((CPU, found.cpu), (SHARE, found.share), (MEMORY, found.resident)):
                box(report, role, case, name, [value for each in values for value in each])
    for (role, case), found in cases.items():
        report.add(**{"role": role, "case": case,
                      "CPU seconds before the first epoch": statistics.median(found.before),
                      "peak resident MiB": max(found.peak)})


def box(report: Report, role: str, case: str, name: str, values: Sequence[float]) -> None:
    """One box of the plot as a row."""
    low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    report.add(role=role, case=case, measure=name, minimum=float(low), q1=float(first),
               median=float(middle), q3=float(third), maximum=float(high), values=len(values))


def everybody(cases: Cases, case: str) -> Interval:
    """CPU seconds an epoch of all processes together, by repeat."""
    both = zip(cases[EDGE, case].cpu, cases[DEVICE, case].cpu, strict=True)
    return Interval.of([sum(edges) + sum(devices) for edges, devices in both])


def judge(report: Report, cases: Cases) -> None:
    """The paper's text beside the differences, repeat by repeat."""
    def means(role: str, case: str, values: str) -> Interval:
        return Interval.of([statistics.fmean(each) for each in getattr(cases[role, case], values)])

    claims = {
        EDGE: "With BlockDeepNet, the edge server uses additional CPU and memory.",
        DEVICE: "Without BlockDeepNet, a device uses less CPU and memory.",
    }
    for role, claim in claims.items():
        cpu = means(role, WITH, "cpu").minus(means(role, WITHOUT, "cpu"))
        memory = means(role, WITH, "resident").minus(means(role, WITHOUT, "resident"))
        report.add(**{"role": role, "more CPU seconds an epoch with BlockDeepNet": cpu,
                      "more resident MiB with BlockDeepNet": memory})
        for values, what, more, unit in (("cpu", "CPU", cpu, "s an epoch"),
                                         ("resident", "memory", memory, "MiB")):
            with_it, without = means(role, WITH, values).mean, means(role, WITHOUT, values).mean
            report.finding(
                "§5, Fig. 5", f"{claim} ({what})",
                f"{with_it:.2f} against {without:.2f} {unit}; {more.text(2)} more",
                more.above(0.0), "the whole 95 % interval of with − without lies above 0, of one "
                "process, repeat by repeat", more.below(0.0))
    share = means(EDGE, WITH, "share").minus(means(EDGE, WITHOUT, "share"))
    report.finding(
        "§5, after Fig. 5", "CPU is higher without BlockDeepNet (read as the server's utilisation; "
        "as an amount it would contradict the figure).",
        f"{means(EDGE, WITHOUT, 'share').mean:.0f} % of a core without, "
        f"{means(EDGE, WITH, 'share').mean:.0f} % with; an epoch without is short, and all of it "
        "is the server's work", share.below(0.0),
        "the whole 95 % interval of with − without lies below 0", share.above(0.0))


# --- the plot -----------------------------------------------------------------------------------


def draw(whole: dict[str, Any], path: Path) -> None:
    """Box plots: whiskers reach to minimum and maximum."""
    import plots

    boxes = [row for row in whole["rows"] if "measure" in row]
    idles = {(row["role"], row["case"]): row["idle: resident MiB"]
             for row in whole["rows"] if "idle: resident MiB" in row}
    figure, axes = plots.subplots(2, 3, figsize=(10, 6))
    for down, role in enumerate((EDGE, DEVICE)):
        for across, measure_name in enumerate((CPU, SHARE, MEMORY)):
            axis = axes[down, across]
            for place, case in enumerate((WITH, WITHOUT)):
                [row] = [each for each in boxes if (each["role"], each["case"],
                                                    each["measure"]) == (role, case, measure_name)]
                _box(axis, place, row, plots.PALETTE[place], plots.BLACK)
                if measure_name == MEMORY:
                    axis.hlines(idles[role, case], place - 0.35, place + 0.35, colors=plots.BLACK,
                                linestyles="dotted", label=None if place else "idle")
            axis.set_xticks([0, 1], ["with", "without"])
            axis.set_title(role)
            axis.set_ylabel(measure_name)
            axis.set_ylim(bottom=0)
            axis.grid(visible=False, axis="x")
    axes[0, 2].legend(fontsize=8)
    figure.suptitle("Fig. 5: one process of each role, with and without BlockDeepNet", x=0.01,
                    ha="left", fontweight="bold")
    plots.save(figure, path)


def _box(axis: Any, place: int, row: dict[str, Any], colour: str, line: str) -> None:
    stats = {"med": row["median"], "q1": row["q1"], "q3": row["q3"], "whislo": row["minimum"],
             "whishi": row["maximum"], "label": "", "fliers": []}
    axis.bxp([stats], positions=[place], widths=0.5, patch_artist=True, manage_ticks=False,
             boxprops={"facecolor": colour, "alpha": 0.8}, medianprops={"color": line})


if __name__ == "__main__":
    harness.main("Fig. 5: CPU and memory of each role", measure, ["psutil"], draw=draw)
