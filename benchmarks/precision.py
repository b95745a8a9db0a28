"""Fig. 3: precision of each device alone and with BlockDeepNet, 5 and 10 devices; baselines.

Every figure "with BlockDeepNet" comes from a real run: 2048-bit threshold Paillier, PBFT among four
edge servers, contracts, light clients. The baselines train on the same samples from the same w^(0)
with the same batches: Algorithm 1 in plaintext (FedAvg), each device alone with as many iterations
as it makes in the run, one trainer with all devices' data (as many iterations as a device makes,
and as many as all devices make together, so that it sees as many samples), and FedAvg whose updates
pass through the quantisation of Flower's SecAgg+. All models are judged on the same test images
by the precision averaged over the classes (the paper's mPA is not defined) and by accuracy.

    python benchmarks/precision.py [--quick] [--data idx:DIR|voc:DIR] [--json FILE] [--plot FILE]

Differences are taken seed by seed, with Student's 95 % interval over five seeds (three with
``--quick``, which leaves out Fashion-MNIST and trains less).
"""

import argparse
import functools
import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from evaluation import (
    DIGITS,
    FASHION,
    QUICK_SEEDS,
    SEEDS,
    SHARED,
    Setting,
    participants,
    photographs,
    workers,
)
from harness import Interval, Report

from bdn.experiments.participants import Participants
from bdn.experiments.run import opened_run
from bdn.learning import (
    CnnLearner,
    Dataset,
    EpochResult,
    Evaluation,
    Learner,
    TrainingSettings,
    open_executor,
    train,
)
from bdn.learning.federated import weighted_sum
from bdn.learning.types import Doubles, Floats
from bdn.nodes.device.work import fit_to_clips
from bdn.paillier.vector.fixedpoint import FixedPoint
from bdn.randomness import SeededRandomness

SIZES = (5, 10)
FLOWER_CLIP, FLOWER_RANGE, FLOWER_WEIGHT = 8.0, 1 << 22, 1000.0
"""Defaults of flwr's SecAggPlusWorkflow: clipping_range, quantization_range, max_weight."""

CHAIN, PLAIN, FLOWER = "BlockDeepNet", "plaintext FedAvg", "FedAvg, SecAgg+ quantisation"
ALONE, BEST_ALONE = "a device alone, mean", "a device alone, best"
CENTRAL, CENTRAL_ALL = "central, a device's iterations", "central, all devices' iterations"
OURS, THEIRS = "BlockDeepNet: 16 bits over ±1", "Flower SecAgg+: 22 bits over ±8"
Read = Callable[[Evaluation], float]

METHODS = (CHAIN, PLAIN, FLOWER, CENTRAL, CENTRAL_ALL, ALONE, BEST_ALONE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed with one number of devices.

    Attributes:
        figures: by method.
        errors: (largest, root mean square) error of the first epoch's mean update, by code.
        apart: largest |entry| by which the run's last model differs from plaintext FedAvg's: the
            fixed-point steps, magnified by further training.
        equal: whether it equals FedAvg's whose updates pass through our fixed-point code.
    """

    figures: dict[str, Evaluation]
    errors: dict[str, tuple[float, float]]
    apart: float
    equal: bool


# --- one seed -----------------------------------------------------------------------------------


def alone(setting: Setting, devices: int, seed: int) -> list[Evaluation]:
    """Each device by itself, with as many iterations; who else takes part makes no difference."""
    people = participants(setting, devices, seed)
    return [people.judge(teach(people, setting, seed, {name: learner})[-1].best_w)
            for name, learner in _named(people).items()]


def play(setting: Setting, devices: int, seed: int) -> Outcome:
    """The run and the baselines that learn from all its devices."""
    people = participants(setting, devices, seed)
    learners = _named(people)
    weights = [learner.sample_count for learner in people.learners]
    updates: list[Floats] = []
    w_best, w_last = chain(setting, devices, seed, people)
    results = teach(people, setting, seed, learners,
                    post_process=lambda *call: _keep(updates, *call))
    models = {CHAIN: w_best, PLAIN: results[-1].best_w}
    exact, s = weighted_sum(updates, weights), sum(weights)
    code = FixedPoint(len(people.w), 1.0, 16, s)
    coded = in_fixed_point(people, setting, seed)
    levels = [code.quantise(_fitting(δ)) * s_k for δ, s_k in zip(updates, weights, strict=True)]
    sums = {OURS: code.to_values(np.sum(levels, axis=0))}
    if harness.version("flwr") is not None:
        flower = FlowerCode(max(FLOWER_WEIGHT, *weights), dict(zip(learners, weights, strict=True)))
        models[FLOWER] = teach(people, setting, seed, learners, post_process=flower)[-1].best_w
        sums[THEIRS] = weighted_sum([flower(name, 1, "weights", δ) for name, δ in
                                     zip(learners, updates, strict=True)], weights)
    for method, factor in ((CENTRAL, 1), (CENTRAL_ALL, devices)):
        many = replace(setting, iterations=setting.iterations * factor)
        centre = {"centre": CnnLearner(people.model, _pool(people.learners))}
        models[method] = teach(people, many, seed, centre)[-1].best_w
    return Outcome(
        figures={method: people.judge(w) for method, w in models.items()},
        errors={name: _error((total - exact) / s) for name, total in sums.items()},
        apart=float(np.abs(w_last - results[-1].w).max()),
        equal=np.array_equal(w_last, coded[-1].w),
    )


def in_fixed_point(people: Participants, setting: Setting, seed: int) -> list[EpochResult]:
    """Algorithm 1 on updates that passed through our fixed-point code: what a real run equals.

    As in a run, an update beyond its clip is scaled down to fit.
    """
    code = FixedPoint(len(people.w), 1.0, 16, sum(each.sample_count for each in people.learners))
    return teach(people, setting, seed, _named(people), post_process=lambda _name, _epoch, _phase,
                 δ: code.to_values(code.quantise(_fitting(δ))))


def _fitting(δ: Floats) -> Doubles:
    wide = δ.astype(np.float64)
    return fit_to_clips(wide, np.ones(len(wide)), with_loss=False)[0]


def without_chain(setting: Setting, devices: int, seed: int) -> float:
    """The precision of a seed that is only computed, not run."""
    people = participants(setting, devices, seed)
    return people.judge(in_fixed_point(people, setting, seed)[-1].best_w).mean_precision


def teach(
    people: Participants, setting: Setting, seed: int, learners: Mapping[str, Learner],
    **options: Any,
) -> list[EpochResult]:
    """Algorithm 1 in plaintext, with the batches that the run's devices draw."""
    rules = TrainingSettings("sgd", setting.epochs, setting.iterations, setting.step_size,
                             setting.batch_size)
    return train(None, learners, rules, rng=SeededRandomness(seed), w=people.w, **options)


def chain(
    setting: Setting, devices: int, seed: int, people: Participants
) -> tuple[Floats, Floats]:
    """(the model with the least F, the last model) of a real run."""
    with opened_run(setting.config(devices, seed), participants=people) as run:
        run.runner.run(run.is_over)
        progress = run.reference.progress
        return progress.best, progress.w


def _keep(updates: list[Floats], _name: str, epoch: int, _phase: str, δ: Floats) -> Floats:
    if epoch == 1:
        updates.append(δ)
    return δ


@dataclass(frozen=True, slots=True)
class FlowerCode:
    """What an update becomes on its way through Flower's SecAgg+, whose masks cancel.

    A client multiplies its update by q/R with q = round(R·s_k/max_weight), quantises the product
    to R levels over ±clip with random rounding, and the server divides the sum by Σ q/R.

    Attributes: max_weight; weights: s_k by device.
    """

    max_weight: float
    weights: dict[str, int]

    def __call__(self, name: str, epoch: int, _phase: str, δ: Floats) -> Doubles:
        """δ, so that Σ s_k·result is the server's sum (up to the rounding of q)."""
        quantize, dequantize = _flower()
        factor = round(FLOWER_RANGE * self.weights[name] / self.max_weight) / FLOWER_RANGE
        state = np.random.get_state()  # noqa: NPY002 - flwr rounds by numpy's global generator
        np.random.seed((epoch, sum(name.encode())))  # noqa: NPY002 - as above
        coded = quantize([δ.astype(np.float64) * factor], FLOWER_CLIP, FLOWER_RANGE)
        np.random.set_state(state)  # noqa: NPY002 - as above
        opened: Doubles = dequantize(coded, FLOWER_CLIP, FLOWER_RANGE)[0] / factor
        return opened


@functools.cache
def _flower() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what flwr imports warns of its own age
        module = importlib.import_module("flwr.common.secure_aggregation.quantization")
    return module.quantize, module.dequantize


def _pool(learners: Iterable[Any]) -> Dataset:
    parts = [learner.dataset for learner in learners]
    return replace(parts[0], inputs=np.concatenate([part.inputs for part in parts]),
                   labels=np.concatenate([part.labels for part in parts]))


def _named(people: Participants) -> dict[str, Learner]:
    return {f"device-{k + 1}": learner for k, learner in enumerate(people.learners)}


def _error(difference: Doubles) -> tuple[float, float]:
    return float(np.abs(difference).max()), float(np.sqrt(np.mean(difference**2)))


# --- all seeds ----------------------------------------------------------------------------------


def measure(report: Report) -> None:
    """Both sizes on every data set that is there."""
    seeds = QUICK_SEEDS if report.quick else SEEDS
    settings = [DIGITS]
    if report.quick:
        settings = [replace(DIGITS, epochs=2, iterations=100, computed=5)]
    if report.options.data is not None:
        settings.append(report.options.data)
    elif not report.quick and (SHARED / FASHION).is_dir():
        settings.append(photographs(f"idx:{SHARED / FASHION}"))
    else:
        report.missing.append("quick, or no Fashion-MNIST beside the repository: only the digits "
                              "(--data idx:DIR or voc:DIR adds a data set)")
    report.peer("flwr")
    compare(report, settings, SIZES, seeds, workers(report.quick))


def compare(
    report: Report, settings: Sequence[Setting], sizes: Sequence[int], seeds: Sequence[int],
    executor: str = "serial",
) -> None:
    """Fill ``report`` with runs of ``seeds`` for every setting and size."""
    cases = [(setting, n, seed) for setting in settings for n in sizes for seed in seeds]
    by_device = [(setting, max(sizes), seed) for setting in settings for seed in seeds]
    computed = [(setting, n, seed) for setting in settings for n in sizes
                for seed in _more(setting, seeds)]
    with open_executor(executor) as pool:
        found = pool.run([*((play, case) for case in cases), *((alone, case) for case in by_device),
                          *((without_chain, case) for case in computed)])
    results = iter(found)
    played, singles, plain = (dict(zip(keys, results, strict=False))
                              for keys in (cases, by_device, computed))
    for setting in settings:
        by_size = {n: Size([played[setting, n, seed] for seed in seeds],
                           [singles[setting, max(sizes), seed][:n] for seed in seeds],
                           [plain[setting, n, seed] for seed in _more(setting, seeds)])
                   for n in sizes}
        for n, size in by_size.items():
            _rows(report, setting, n, size)
        _judge(report, setting, by_size)
    setting = settings[0]
    report.notes.append(
        f"Seeds {', '.join(map(str, seeds))}; "
        + "; ".join(f"{s.name}: P = {s.epochs}, T = {s.iterations}, λ = {s.step_size}, "
                    f"b = {s.batch_size}" for s in settings)
        + f"; keys of {setting.key_bits} bits. A model is the one with the least F "
        "(Algorithm 1, line 13). The paper trains P = 1, T = 1500, λ = 0.5 on VOC crops.")


def _more(setting: Setting, seeds: Sequence[int]) -> range:
    return range(max(seeds) + 1, max(seeds) + 1 + setting.computed)


@dataclass(frozen=True, slots=True)
class Size:
    """All seeds of one setting with n devices: runs, each device alone, seeds only computed."""

    played: list[Outcome]
    singles: list[list[Evaluation]]
    computed: list[float]

    def interval(self, method: str, read: Read) -> Interval:
        """A figure of a method over the seeds."""
        if method == ALONE:
            return Interval.of([float(np.mean([read(e) for e in some])) for some in self.singles])
        if method == BEST_ALONE:
            return Interval.of([max(read(e) for e in some) for some in self.singles])
        return Interval.of([read(o.figures[method]) for o in self.played])

    def of_device(self, k: int) -> Interval:
        """The precision of device k (from 0) alone."""
        return Interval.of([some[k].mean_precision for some in self.singles])


def _precision(figures: Evaluation) -> float:
    return figures.mean_precision


def _accuracy(figures: Evaluation) -> float:
    return figures.accuracy


def _rows(report: Report, setting: Setting, n: int, size: Size) -> None:
    for method in METHODS:
        if method in size.played[0].figures or method in (ALONE, BEST_ALONE):
            report.add(data=setting.name, devices=n, method=method,
                       precision=size.interval(method, _precision),
                       accuracy=size.interval(method, _accuracy))
    together = size.interval(CHAIN, _precision)
    for k in range(n):
        single = size.of_device(k)
        report.add(data=setting.name, of=n, device=f"R-{k + 1}", alone=single, together=together,
                   gain=together.minus(single))
    for code in size.played[0].errors:
        largest, mean = zip(*(o.errors[code] for o in size.played), strict=True)
        report.add(**{"data": setting.name, "devices": n, "mean update coded by": code,
                      "largest error": max(largest), "rms error": float(np.mean(mean))})
    report.add(**{"data": setting.name, "devices": n,
                  "largest |w − w of plaintext FedAvg| after P epochs":
                      max(o.apart for o in size.played)})


def _judge(report: Report, setting: Setting, by_size: dict[int, Size]) -> None:
    """The findings. How much more devices bring is small beside the chance of a seed, so it is
    looked at over more seeds, computed by the plaintext algorithm that the runs equal."""
    few, many = min(by_size), max(by_size)
    before, after = (
        Interval.of([*by_size[n].interval(CHAIN, _precision).values, *by_size[n].computed])
        for n in (few, many))
    gain, computed = after.minus(before), len(by_size[few].computed)
    report.finding(
        "§5, Fig. 3", f"More devices, higher precision ({setting.name}).",
        f"{few} → {many} devices: {before.mean:.3f} → {after.mean:.3f}, difference {gain.text()} "
        f"over {len(gain.values)} seeds, {computed} of them by Algorithm 1 in fixed point",
        gain.above(), "the 95 % interval of the paired differences lies above 0", gain.below(0))
    for n, size in by_size.items():
        together = size.interval(CHAIN, _precision)
        gains = [together.minus(size.of_device(k)) for k in range(n)]
        lead = together.minus(size.interval(ALONE, _precision))
        ahead = sum(value > 0 for gain in gains for value in gain.values)
        report.finding(
            "§5, Fig. 3", f"With BlockDeepNet above each of {n} devices alone ({setting.name}).",
            f"ahead of the devices' mean by {lead.text()}, of single devices by "
            f"{min(g.mean for g in gains):.3f} to {max(g.mean for g in gains):.3f}, and in {ahead} "
            f"of {n * len(together.values)} comparisons; of each seed's best device by "
            f"{together.minus(size.interval(BEST_ALONE, _precision)).text()}",
            lead.above() and all(gain.mean > 0 for gain in gains),
            "the 95 % interval of the paired lead over the devices' mean lies above 0, and the "
            "mean lead over every single device is positive", lead.below(0))
    difference = Interval.of([
        a - b for size in by_size.values()
        for a, b in zip(size.interval(CHAIN, _precision).values,
                        size.interval(PLAIN, _precision).values, strict=True)])
    equal = [o.equal for size in by_size.values() for o in size.played]
    report.finding(
        "§4.2, Eq. (5)", f"Encryption and ledger do not change what is learned ({setting.name}).",
        f"{sum(equal)} of {len(equal)} runs end with the model of Algorithm 1 on fixed-point "
        f"updates, bit for bit; precision beside FedAvg in floating point: {difference.text(4)}",
        all(equal), "every run's last model equals plaintext FedAvg's under the same fixed-point "
        "code", not all(equal))


# --- the plot -----------------------------------------------------------------------------------


def draw(whole: dict[str, Any], path: Path) -> None:
    """Fig. 3: a panel for each data set and size; device by device, means and 95 % intervals."""
    import plots

    bars = [row for row in whole["rows"] if "device" in row]
    panels = list(dict.fromkeys((row["data"], row["of"]) for row in bars))
    data = list(dict.fromkeys(name for name, _ in panels))
    figure, axes = plots.subplots(len(data), len(panels) // len(data), sharey="row",
                                  figsize=(10, 3.4 * len(data)))
    for axis, panel in zip(axes.flat, panels, strict=True):
        rows = [row for row in bars if (row["data"], row["of"]) == panel]
        for offset, key, colour, marker, label in (
            (-0.12, "alone", plots.RED, "o", "alone"),
            (0.12, "together", plots.BLUE, "s", "with BlockDeepNet")):
            centres, sides = plots.whiskers([row[key] for row in rows])
            axis.errorbar([k + offset for k in range(len(rows))], centres, sides, color=colour,
                          fmt=marker, capsize=3, label=label)
        axis.set_xticks(range(len(rows)), [row["device"] for row in rows])
        axis.set_title(f"{panel[0]}, {panel[1]} devices")
        axis.grid(visible=False, axis="x")
    for row in axes:
        row[0].set_ylabel("mean precision over classes")
        row[0].set_ylim(top=min(1.0, row[0].get_ylim()[1]))  # an interval may reach beyond
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plots.save(figure, path)


def options(parser: argparse.ArgumentParser) -> None:
    """``--data``."""
    parser.add_argument("--data", type=photographs, metavar="idx:DIR",
                        help="or voc:DIR: another data set beside the digits")


if __name__ == "__main__":
    harness.main("Fig. 3: precision alone and together", measure, ["flwr"], draw=draw,
                 more=options)
