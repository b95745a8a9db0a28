"""What a norm bound gives up and keeps: accuracy with and without it, and under attack.

The same training as ``bdn run`` (five devices, T = 20, λ = 0.1, batches of 64), in plaintext and
without rounding to levels::

    python benchmarks/norm_bound.py [--quick] [--fashion DIR] [--json FILE] [--plot FILE.svg]

1. *Honest devices.* Accuracy with the default bound and without one, after 1, 2, 3 and 10 epochs,
   for digits and Fashion-MNIST (2,500 samples), spread evenly and by a Dirichlet split (α = 0.5).
   The quick profile has two epochs of four iterations: it shows that all of this runs, no more.
2. *Attackers.* Each sends its honest update turned round and stretched to the bound in every epoch:
   it pushes against the model with all that the bound allows. The bounds of all epochs are scaled
   together.
3. *Robust rules.* What an aggregator that sees all updates in the clear could do: coordinate-wise
   median and trimmed mean (Yin et al., ICML 2018), Krum and multi-Krum (Blanchard et al., NeurIPS
   2017). Of these rules only the mean of bounded updates can be had from a sum of ciphertexts.

Differences are taken seed by seed: both runs of a pair have the same data, w^(0) and batches.
"""

import argparse
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import FASHION, SHARED
from harness import Interval, Report, main

from bdn.learning import (
    CnnLearner,
    Data,
    Dataset,
    PaperCNN,
    TrainingSettings,
    device_generator,
    evaluate,
    load,
    split,
)
from bdn.nodes.settings import NORM_BOUND, Bounds
from bdn.paillier.norm_proof import SLACK
from bdn.randomness import SeededRandomness

DEVICES = 5
SAMPLES, HELD_OUT = 2500, 2000
"""At most so many samples of a data set are spread over the devices, and used for judging."""

LOUD = 10.0
"""How far an attacker stretches its own update where no bound stops it."""

# --- rules that aggregate updates -----------------------------------------------------------------
#
# n updates (n, parameters) and their weights s_k → one update. All but the mean count each device
# alike, and are set for f = 1 attacker.

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
ATTACKERS = 1


def mean(updates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Eq. (4)'s weighted mean: the only rule that a sum of ciphertexts gives."""
    return weights @ updates / weights.sum()


def median(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """Return the coordinate-wise median (Yin et al. 2018, definition 1)."""
    return np.median(updates, axis=0)


def trimmed_mean(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """Return the coordinate-wise mean without the f largest and f smallest values (Yin et al. 2018,
    definition 2, β = f/n).
    """
    return np.sort(updates, axis=0)[ATTACKERS : len(updates) - ATTACKERS].mean(axis=0)


def krum(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """Return the update that is nearest to its n − f − 2 nearest others (Blanchard et al. 2017,
    section 4).
    """
    return updates[int(krum_scores(updates).argmin())]


def multi_krum(updates: np.ndarray, _weights: np.ndarray) -> np.ndarray:
    """Return the mean of the n − f updates that Krum likes best (section 5 of the same)."""
    return updates[np.argsort(krum_scores(updates))[: len(updates) - ATTACKERS]].mean(axis=0)


def krum_scores(updates: np.ndarray) -> np.ndarray:
    """Return for each update the sum of squared distances to its n − f − 2 nearest others."""
    distances = np.stack([np.square(updates - update).sum(axis=1) for update in updates])
    np.fill_diagonal(distances, math.inf)
    return np.sort(distances, axis=1)[:, : len(updates) - ATTACKERS - 2].sum(axis=1)


RULES: dict[str, Rule] = {
    "mean": mean, "median": median, "trimmed mean": trimmed_mean, "Krum": krum,
    "multi-Krum": multi_krum,
}

# --- training -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of aggregating, and what the first ``attackers`` devices do to it in every epoch.

    Attributes:
        bounds: B of each epoch, as in `bdn.nodes.settings.Settings`; empty for none.
        attackers: how many of the five.
        kind: "reverse" their updates, or "flip labels" (y becomes 9 − y, trained honestly).
        stretch: length of a reversed update, in bounds; in lengths of its own without a bound.
        rule: one of `RULES`.
    """

    bounds: Bounds = ()
    attackers: int = 0
    kind: str = "reverse"
    stretch: float = 1.0
    rule: str = "mean"

    def sent(self, update: np.ndarray, epoch: int, k: int) -> np.ndarray:
        """Return what device ``k`` sends: scaled down to the bound as a whole, or an attack."""
        norm = float(np.linalg.norm(update)) or 1.0
        bound = self.bounds[min(epoch, len(self.bounds)) - 1] if self.bounds else math.inf
        if k < self.attackers and self.kind == "reverse":
            return update * (-self.stretch * (bound / norm if self.bounds else 1.0))
        return update * min(1.0, bound / norm)


FREE, KEPT = Variant(), Variant(NORM_BOUND)


@dataclass(slots=True)
class Course:
    """A training run: where it stands, and what came of each epoch.

    Attributes:
        w: w^(p).
        best, least: the w of least global loss so far, and its loss (Algorithm 1, line 13).
        accuracy: p → accuracy of the best model of a run of p epochs.
        norms: ‖δ_k‖ of the devices as they learned it, by epoch.
    """

    w: np.ndarray
    best: np.ndarray
    least: float = math.inf
    accuracy: dict[int, float] = field(default_factory=dict)
    norms: list[list[float]] = field(default_factory=list)


def courses(
    parts: Sequence[Dataset], test: Dataset, seed: int, rules: TrainingSettings,
    marks: Sequence[int], variants: Sequence[Variant],
) -> dict[Variant, Course]:
    """Train once for each variant, side by side; measure accuracy after ``marks`` epochs.

    What devices learn from the same w is learned once: all variants share the first epoch, and a
    bound that nobody reaches costs nothing.
    """
    network = PaperCNN(classes=10, seed=seed)
    honest = [CnnLearner(network, part) for part in parts]
    flipped = [CnnLearner(network, Dataset(part.inputs, 9 - part.labels)) for part in parts]
    weights = np.array([learner.sample_count for learner in honest], dtype=np.float64)
    w = network.parameters()
    runs = {variant: Course(w, w) for variant in variants}
    for epoch in range(1, rules.epochs + 2):  # the last one tells the loss of w^(P)
        learned: dict[tuple[bytes, int, bool], tuple[np.ndarray, float]] = {}
        for variant, run in runs.items():
            results = []
            for k in range(len(parts)):
                flips = k < variant.attackers and variant.kind == "flip labels"
                name = (hashlib.sha256(run.w).digest(), k, flips)
                if name not in learned:
                    learner = (flipped if flips else honest)[k]
                    learned[name] = learn(learner, run.w, rules, epoch, seed, k)
                results.append(learned[name])
            loss = float(weights @ [loss for _, loss in results]) / weights.sum()
            if loss < run.least and epoch > 1:
                run.best, run.least = run.w, loss
            if epoch - 1 in marks:
                run.accuracy[epoch - 1] = evaluate(network, run.best, test).accuracy
            if epoch <= rules.epochs:
                run.norms.append([float(np.linalg.norm(update)) for update, _ in results])
                sent = [variant.sent(update, epoch, k) for k, (update, _) in enumerate(results)]
                step = RULES[variant.rule](np.stack(sent), weights)
                run.w = (run.w + step).astype(np.float32)
    return runs


def learn(
    learner: CnnLearner, w: np.ndarray, rules: TrainingSettings, epoch: int, seed: int, k: int
) -> tuple[np.ndarray, float]:
    """Return δ_k and F_k(w^(p-1)), as device ``k`` of a run learns them; after P only the loss."""
    if epoch > rules.epochs:
        return np.empty(0), learner.loss(w)
    generator = device_generator(SeededRandomness(seed), str(k), epoch)
    result = learner.update(w, rules, epoch, generator, None)
    return (result.w - w).astype(np.float64), result.local_loss


def spread(data: Data, kind: str, seed: int) -> tuple[list[Dataset], Dataset]:
    """Return the devices' samples and the held-out ones."""
    train, test = data.train, data.test
    if len(train) > SAMPLES:
        chosen = np.random.default_rng(seed).choice(len(train), SAMPLES, replace=False)
        train = train.subset(chosen)
    return (split(train, DEVICES, kind, alpha=0.5, seed=seed),
            test.subset(np.arange(min(HELD_OUT, len(test)))))


# --- measuring ------------------------------------------------------------------------------------

DIGITS = "digits, iid"
ATTACK = Variant(NORM_BOUND, 1)
FORGED = Variant(NORM_BOUND, 1, stretch=SLACK)
SCALES = (0.5, 1.0, 2.0, math.inf)


def scaled(scale: float, attackers: int) -> Variant:
    """Return reversing attackers under the default bounds times ``scale``; ∞ for none."""
    if scale < math.inf:
        return Variant(tuple(scale * bound for bound in NORM_BOUND), attackers)
    return Variant((), attackers, stretch=LOUD if attackers else 1.0)


def under_attack(bounds: Bounds, rule: str) -> dict[str, Variant]:
    """Return a rule's three columns."""
    return {
        "no attack": Variant(bounds, rule=rule),
        "1 of 5 reversed": Variant(bounds, 1, stretch=1.0 if bounds else LOUD, rule=rule),
        "1 of 5 flips labels": Variant(bounds, 1, "flip labels", rule=rule),
    }


COLUMNS = {"mean within the bound": under_attack(NORM_BOUND, "mean"),
           **{name: under_attack((), name) for name in RULES}}
SOME = {FORGED, *(scaled(scale, count) for scale in SCALES for count in (0, 1, 2)),
        *(variant for row in COLUMNS.values() for variant in row.values())}
"""What is measured for fewer seeds."""


@dataclass(slots=True)
class Runs:
    """Every run that was made, by setting and variant, each a list over the seeds."""

    made: dict[tuple[str, Variant], list[Course]] = field(default_factory=dict)

    def accuracy(self, setting: str, variant: Variant, epochs: int, seeds: int = 0) -> Interval:
        """Return the accuracy after ``epochs``, over all or the first ``seeds`` seeds."""
        found = self.made[setting, variant][: seeds or None]
        return Interval.of([run.accuracy[epochs] for run in found])


def measure(report: Report) -> None:
    """Honest devices, attackers, and robust rules."""
    marks = (1, 2) if report.quick else (1, 2, 3, 10)
    seeds, few = (2, 1) if report.quick else (10, 3)
    rules = TrainingSettings(epochs=marks[-1], iterations=4 if report.quick else 20)
    runs, data = Runs(), sources(report)
    settings = [f"{name}, {kind}" for name in data for kind in ("iid", "dirichlet")]
    for setting in settings:
        name, kind = setting.split(", ")
        for seed in range(1, seeds + 1):
            variants = {FREE, KEPT}
            if setting == DIGITS:
                variants |= {ATTACK} | (SOME if seed <= few else set())
            made = courses(*spread(data[name], kind, seed), seed, rules, marks, list(variants))
            for variant, run in made.items():
                runs.made.setdefault((setting, variant), []).append(run)
    within = honest(report, runs, settings, marks)
    costs = attackers(report, runs, marks[-1], few)
    for name, row in COLUMNS.items():
        report.add(rule=name, **{"works on ciphertexts": name.startswith("mean")}, **{
            label: runs.accuracy(DIGITS, variant, marks[-1], few)
            for label, variant in row.items()})
    report.notes += [
        ("B is written as one number for each epoch; the last one holds for all later ones. The "
         f"default is {text_of(NORM_BOUND)}."),
        ("Aim 1, the default bound costs honest devices nothing that chance would not explain (no "
         f"interval of a difference lies below 0): {within}."),
        ("Aim 2, one attacker of five at the bound costs at most 2 points of accuracy on digits: "
         f"{costs}."),
        f"Without a bound an attacker stretches its reversed update {LOUD:g} times.",
    ]


def honest(report: Report, runs: Runs, settings: Sequence[str], marks: Sequence[int]) -> str:
    """Add the rows of honest devices; return whether the first aim is reached, in words."""
    for setting in settings:
        found = np.array([run.norms for run in runs.made[setting, FREE]])  # (seeds, epochs, n)
        report.add(setting=setting, **{
            "median ‖δ‖ by epoch": " ".join(f"{x:.2f}" for x in np.median(found, axis=(0, 2))),
            "largest": " ".join(f"{x:.2f}" for x in found.max(axis=(0, 2)))})
    worse = []
    for setting in settings:
        for epochs in marks:
            free, kept = (runs.accuracy(setting, v, epochs) for v in (FREE, KEPT))
            difference = kept.minus(free)
            report.add(setting=setting, epochs=epochs, difference=difference,
                       **{"without a bound": free, "with the default": kept})
            if difference.high < 0:
                worse.append(f"{setting}, P = {epochs} ({100 * difference.mean:+.1f} points)")
    chance = f"of {len(settings) * len(marks)} intervals chance puts one in forty below 0"
    return f"missed for {'; '.join(worse)}; {chance}" if worse else "reached"


def attackers(report: Report, runs: Runs, epochs: int, few: int) -> str:
    """Add the rows of attackers on digits; return whether the second aim is reached, in words."""
    costs = {}
    for name, variant in {"at the bound": ATTACK, f"at {SLACK:g} times the bound": FORGED}.items():
        hit = runs.accuracy(DIGITS, variant, epochs)
        costs[variant] = hit.minus(runs.accuracy(DIGITS, FREE, epochs, len(hit.values)))
        report.add(**{"one attacker of five": name, "seeds": len(hit.values), "accuracy": hit,
                      "against honest devices without a bound": costs[variant]})
    for scale in SCALES:
        report.add(B=text_of(scaled(scale, 0).bounds), scale=f"{scale:g}", **{
            f"{count} attackers": runs.accuracy(DIGITS, scaled(scale, count), epochs, few)
            for count in (0, 1, 2)})
    cost = -100 * costs[ATTACK].mean
    return f"{cost:.1f} points, {'reached' if cost <= 2 else 'missed'}"


def text_of(bounds: Bounds) -> str:
    """Return bounds as ``--norm-bound`` takes them."""
    return ",".join(f"{bound:g}" for bound in bounds) or "none"


def sources(report: Report) -> dict[str, Data]:
    """Return the data by name."""
    found = {"digits": load("digits")}
    folder = report.options.fashion
    if report.quick:
        return found
    if folder.is_dir():
        found["Fashion-MNIST"] = load(f"idx:{folder}")
    else:
        report.missing.append(f"{folder.name}: no such folder, so Fashion-MNIST's rows are absent; "
                              "give it with --fashion DIR")
    return found


# --- drawing --------------------------------------------------------------------------------------


def draw(whole: dict[str, Any], path: Path) -> None:
    """Differences of honest runs; accuracy over the bound; the rules under both attacks."""
    import plots

    figure, axes = plots.subplots(1, 3, figsize=(12, 4.6), width_ratios=(1.1, 1, 1.15))
    _draw_honest(plots, axes[0, 0], [row for row in whole["rows"] if "difference" in row])
    _draw_attackers(plots, axes[0, 1], [row for row in whole["rows"] if "scale" in row])
    _draw_rules(plots, axes[0, 2], [row for row in whole["rows"] if "rule" in row])
    plots.save(figure, path)


def _draw_honest(plots: Any, axis: Any, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["setting"] for row in rows))
    for name, colour in zip(names, plots.PALETTE, strict=False):
        mine = [(y, row) for y, row in enumerate(rows) if row["setting"] == name]
        centres, around = plots.whiskers([row["difference"] for _, row in mine])
        axis.errorbar([100 * c for c in centres], [y for y, _ in mine],
                      xerr=[[100 * x for x in side] for side in around], fmt="o", color=colour,
                      capsize=3, label=name)
    axis.axvline(0, color=plots.BLACK, linewidth=1)
    axis.set_yticks(range(len(rows)), [f"P = {row['epochs']}" for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("accuracy with the bound − without, points")
    axis.set_title("Honest devices, P epochs")
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, fontsize=9)


def _draw_attackers(plots: Any, axis: Any, rows: list[dict[str, Any]]) -> None:
    styles = zip((0, 1, 2), (plots.GREEN, plots.ORANGE, plots.RED), ("o", "s", "^"), strict=True)
    for count, colour, marker in styles:
        centres, around = plots.whiskers([row[f"{count} attackers"] for row in rows])
        axis.errorbar(range(len(rows)), centres, yerr=around, color=colour, marker=marker,
                      capsize=3, label=f"{count} of 5 attack")
    axis.set_xticks(range(len(rows)), [
        "none" if row["scale"] == "inf" else "default" if row["scale"] == "1" else
        f"×{row['scale']}" for row in rows])
    axis.set_xlabel("norm bound")
    axis.set_ylabel("accuracy on digits")
    axis.set_ylim(0, 1)
    axis.set_title("Attackers at the bound")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, fontsize=9)


def _draw_rules(plots: Any, axis: Any, rows: list[dict[str, Any]]) -> None:
    labels = ("no attack", "1 of 5 reversed", "1 of 5 flips labels")
    styles = zip(labels, (plots.GREEN, plots.ORANGE, plots.PURPLE), ("o", "s", "D"),
                 (-0.2, 0.0, 0.2), strict=True)
    for label, colour, marker, shift in styles:
        centres, around = plots.whiskers([row[label] for row in rows])
        axis.errorbar(centres, [y + shift for y in range(len(rows))], xerr=around, fmt=marker,
                      color=colour, capsize=3, label=label)
    axis.set_yticks(range(len(rows)), [
        row["rule"] + ("\n(works on ciphertexts)" if row["works on ciphertexts"] else "")
        for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("accuracy on digits")
    axis.set_title("Rules that aggregate")
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=1, fontsize=9)


def more(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where Fashion-MNIST lies."""
    parser.add_argument("--fashion", type=Path, metavar="DIR", default=SHARED / FASHION,
                        help="Fashion-MNIST's four files")


if __name__ == "__main__":
    sys.exit(0 if main("The price and the worth of a norm bound", measure, draw=draw, more=more)
             else 1)
