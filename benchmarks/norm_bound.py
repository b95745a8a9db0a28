"""What a norm bound gives up and keeps: accuracy over the bound, with 0, 1 and 2 attackers.

The same training as ``bdn run`` (five devices, T = 20, λ = 0.1, batches of 64, the fixed-point code
of the ciphers), in plaintext::

    python benchmarks/norm_bound.py [--quick] [--fashion DIR] [--json FILE]

An attacker sends its honest update turned round and stretched to the bound in every epoch, which is
what most hurts the average. The aggregation rules at the end see all updates in the clear: the
average within the bound, coordinate-wise median, trimmed mean (one device cut from each end) and
Krum (Blanchard et al., NeurIPS 2017). Of these only the average within a bound can be had from a
sum of ciphertexts.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from harness import Interval, Report, main

from bdn.learning import (
    CnnLearner,
    Data,
    Dataset,
    PaperCNN,
    TrainingSettings,
    device_generator,
    load,
    split,
)
from bdn.learning import accuracy as accuracy_of
from bdn.nodes.settings import NORM_BOUND
from bdn.randomness import SeededRandomness

DEVICES, EPOCHS = 5, 10
Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(updates (devices, parameters), weights) → their aggregate."""


def average(updates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Eq. (4)'s weighted mean."""
    return weights @ updates / weights.sum()


def median(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """The coordinate-wise median."""
    return np.median(updates, axis=0)


def trimmed_mean(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """The coordinate-wise mean without the largest and the smallest value."""
    return np.sort(updates, axis=0)[1:-1].mean(axis=0)


def krum(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """The update with the nearest n − f − 2 neighbours, f = 1."""
    distances = np.square(updates[:, None, :] - updates[None, :, :]).sum(axis=-1)
    near = np.sort(distances, axis=1)[:, 1 : len(updates) - 2]
    return updates[int(near.sum(axis=1).argmin())]


def bounded(update: np.ndarray, bound: float | None) -> np.ndarray:
    """What an honest device seals: scaled down to the bound, whole."""
    norm = float(np.linalg.norm(update))
    return update if bound is None or norm <= bound else update * (bound / norm)


def accuracy(
    data: tuple[list[Dataset], Dataset], seed: int, bound: float | None, attackers: int = 0,
    rule: Rule = average, attack: str = "reverse", norms: list[float] | None = None,
) -> float:
    """Accuracy on held-out samples of Algorithm 1's result: the w with the least global loss."""
    parts, test = data
    network, rules = PaperCNN(classes=10, seed=seed), TrainingSettings(epochs=EPOCHS)
    learners = [CnnLearner(network, part) for part in parts]
    if attack == "flip labels":
        learners[:attackers] = [
            CnnLearner(network, Dataset(part.inputs, 9 - part.labels))
            for part in parts[:attackers]]
    weights = np.array([learner.sample_count for learner in learners], dtype=np.float64)
    w = best = network.parameters()
    least = math.inf
    for epoch in range(1, EPOCHS + 1):
        updates = []
        for k, learner in enumerate(learners):
            generator = device_generator(SeededRandomness(seed), str(k), epoch)
            update = (learner.update(w, rules, epoch, generator, None).w - w).astype(np.float64)
            if norms is not None:
                norms.append(float(np.linalg.norm(update)))
            update = bounded(update, bound)
            if k < attackers and attack == "reverse":
                length = bound if bound is not None else 10 * float(np.linalg.norm(update))
                update = -update * (length / float(np.linalg.norm(update)))
            updates.append(update)
        w = (w + rule(np.stack(updates), weights)).astype(np.float32)
        if not np.isfinite(w).all():
            break
        loss = float(weights @ [learner.loss(w) for learner in learners]) / weights.sum()
        if loss < least:
            best, least = w, loss
    return float(accuracy_of(network, best, test))


Parts = Callable[[int], tuple[list[Dataset], Dataset]]
"""Seed → (the devices' samples, the held-out ones)."""


def settings(report: Report) -> dict[str, Parts]:
    """Data and splits by name."""
    sources = {"digits": load("digits")}
    if report.options.fashion is not None:
        sources["fashion"] = load(f"idx:{report.options.fashion}")
    else:
        report.missing.append("no --fashion DIR: Fashion-MNIST's rows are absent")
    return {f"{name}, {kind}": parts_of(data, kind) for name, data in sources.items()
            for kind in ("iid", "dirichlet")}


def parts_of(data: Data, kind: str) -> Parts:
    """``data`` over the devices; a data set of more than 5,000 samples gives 5,000 of them."""
    def parts(seed: int) -> tuple[list[Dataset], Dataset]:
        most = data.train
        if len(most.labels) > 5000:
            chosen = np.random.default_rng(seed).choice(len(most.labels), 5000, replace=False)
            most = Dataset(most.inputs[chosen], most.labels[chosen])
        return split(most, DEVICES, kind, alpha=0.5, seed=seed), data.test
    return parts


def over(seeds: Sequence[int], run: Callable[[int], float]) -> Interval:
    """One figure with its interval over the seeds."""
    return Interval.of([run(seed) for seed in seeds])


def measure(report: Report) -> None:
    """Norms of honest updates, the curve, and the robust rules."""
    seeds = range(1, 4 if report.quick else 6)
    made = settings(report)
    free: dict[str, Interval] = {}
    for name, data in made.items():
        norms: list[float] = []
        free[name] = over(seeds, lambda s, d=data: accuracy(d(s), s, None, norms=norms))  # noqa: B023 - called at once
        largest = max(norms)
        report.add(setting=name, **{"median ‖δ‖": float(np.median(norms)), "largest ‖δ‖": largest,
                                    "without a bound": free[name]})
    for name, data in made.items():
        found = over(seeds, lambda s, d=data: accuracy(d(s), s, NORM_BOUND))
        report.add(setting=name, bound=NORM_BOUND, accuracy=found,
                   difference=found.minus(free[name]))
    digits = made["digits, iid"]
    for bound in (0.5, 1.0, 2.0, 3.0, 5.0, 10.0):
        report.add(bound=bound, **{f"{k} attackers": over(
            seeds, lambda s, b=bound, k=k: accuracy(digits(s), s, b, attackers=k))
            for k in (0, 1, 2)})
    report.add(bound=math.inf, **{f"{k} attackers": over(
        seeds, lambda s, k=k: accuracy(digits(s), s, None, attackers=k)) for k in (0, 1, 2)})
    rules: dict[str, Rule] = {"average": average, "median": median, "trimmed mean": trimmed_mean,
                              "Krum": krum}
    for name, rule in rules.items():
        bound = NORM_BOUND if name == "average" else None
        report.add(rule=f"{name} within the bound" if bound else name, **{
            "no attack": over(seeds, lambda s, r=rule, b=bound: accuracy(
                digits(s), s, b, rule=r)),
            "1 reversed": over(seeds, lambda s, r=rule, b=bound: accuracy(
                digits(s), s, b, 1, r)),
            "1 flips labels": over(seeds, lambda s, r=rule, b=bound: accuracy(
                digits(s), s, b, 1, r, attack="flip labels")),
        })
    report.notes.append("An attacker at ∞ stretches its reversed update tenfold.")


def more(parser: argparse.ArgumentParser) -> None:
    """Where Fashion-MNIST lies."""
    parser.add_argument("--fashion", type=Path, metavar="DIR", help="Fashion-MNIST's four files")


if __name__ == "__main__":
    sys.exit(0 if main("A norm bound's price and worth", measure, more=more) else 1)
