"""Fig. 4, similarity: how much of one device's update can be rebuilt from what others see.

The index of a reconstruction û of an update u is 1/(1 + ‖u − û‖/‖u‖): 1 for u itself, ½ for someone
who knows nothing and says û = 0, below ½ for a guess that is worse than none. The paper draws it
over a "calculation level" that it does not define; we take the number of updates in the sum that is
opened. The updates are those of real runs of ten devices with unequal sample counts, and the sums
are what the sealed form opens, to the last bit: each run's next model shows it.

From an opened sum Σ s_k u_k of m updates, the attacker makes

- the mean update, Σ s_k u_k / s, which every participant can compute;
- the mean times the factor α_m that was best in the run's *other* epochs (least squares);
- the mean times a + b·m·s_k/s, with knowledge of the device's sample count, fitted likewise.

An aggregate also tells what *all* devices learn. So the same is done for a device that is **not**
in the sum; only what lies above that is about the device. Single updates (m = 1) are never opened:
the least number of contributors is t + 1. From ciphertexts: see `ciphertext_attacks`.

    python benchmarks/similarity.py [--quick] [--json FILE] [--plot FILE.svg]
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ciphertext_attacks as attacks
import harness
import numpy as np
from evaluation import DIGITS, PARTS, QUICK_SEEDS, SEEDS, Setting, participants, workers
from harness import Interval, Report

from bdn.experiments.run import opened_run
from bdn.learning import Learner, apply_update, open_executor
from bdn.learning.local import LocalResult, TrainingRules
from bdn.learning.types import Doubles, Floats
from bdn.paillier.vector.fixedpoint import FixedPoint

SUBSETS = 40
"""Sums of each size that are looked at, drawn at random where there are more."""

PACKED_VALUES = 2000
"""Entries of an update in the attacks on packed Paillier, whose partial decryptions are slow."""

SETTING = replace(DIGITS, split="size")

SURE = 5.0
"""Standard deviations that a cosine may lie from 0 by chance alone: 1/√d for d entries."""


@dataclass(slots=True, eq=False)
class Recorded:
    """A learner whose updates are kept: what the attacker would like to know."""

    learner: Learner
    started: list[Floats] = field(default_factory=list)
    updates: list[Floats] = field(default_factory=list)

    @property
    def sample_count(self) -> int:
        """s_k."""
        return self.learner.sample_count

    def loss(self, w: Floats) -> float:
        """F_k(w)."""
        return self.learner.loss(w)

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w)."""
        return self.learner.gradient(w)

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """The local iterations, noted down."""
        result = self.learner.update(w, rules, epoch, rng, global_gradient)
        self.started.append(w)
        self.updates.append(result.w - w)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """A run as an attacker's tests need it.

    Attributes:
        weights: s_k.
        grams: by epoch, inner products (2n, 2n) of the updates u_k (first n) and of what their
            sealed form holds, q_k (last n): every distance follows from them.
        updates: u_k of the first epoch.
    """

    weights: tuple[int, ...]
    grams: tuple[Doubles, ...]
    updates: tuple[Floats, ...]


def play(setting: Setting, seed: int, devices: int) -> Played:
    """A real run; checks that what it opened is the sum of the recorded updates."""
    people = participants(setting, devices, seed)
    learners = tuple(Recorded(learner) for learner in people.learners)
    weights = tuple(learner.sample_count for learner in learners)
    with opened_run(setting.config(devices, seed),
                    participants=replace(people, learners=learners)) as run:
        run.runner.run(run.is_over)
        last = run.reference.progress.w
    code = FixedPoint(len(people.w), 1.0, 16, sum(weights))
    grams = []
    models = [*learners[0].started, last]
    for p in range(setting.epochs):
        u = [learner.updates[p] for learner in learners]
        levels = [code.quantise(each) for each in u]
        total = sum(s_k * q for s_k, q in zip(weights, levels, strict=True))
        if not np.array_equal(apply_update(models[p], code.to_values(total), sum(weights)),
                              models[p + 1]):
            raise SystemExit(f"epoch {p + 1} of seed {seed} did not open the devices' sum")
        rows = np.stack([*u, *map(code.to_values, levels)]).astype(np.float64)
        grams.append(rows @ rows.T)
    return Played(weights, tuple(grams), tuple(learner.updates[0] for learner in learners))


# --- reconstruction from sums -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """A device and a sum, as inner products.

    Attributes:
        uu, ua, aa: ‖u‖², u·A, ‖A‖² for the update u and the sum's mean A.
        part: m·s_k/s, 1 where all have as many samples.
    """

    uu: float
    ua: float
    aa: float
    part: float

    def index(self, factor: float) -> float:
        """1/(1 + ‖u − αA‖/‖u‖)."""
        error = max(0.0, self.uu - 2 * factor * self.ua + factor**2 * self.aa)
        return 1 / (1 + (error / self.uu) ** 0.5)


def pairs(played: Played, epoch: int, m: int, inside: bool, rng: np.random.Generator) -> list[Pair]:
    """Devices and sums of ``m`` updates of an epoch, with the device in the sum or not."""
    n, gram, s = len(played.weights), played.grams[epoch], np.array(played.weights, float)
    subsets = list(itertools.combinations(range(n), m))
    if len(subsets) > SUBSETS:
        subsets = [subsets[i] for i in rng.choice(len(subsets), SUBSETS, replace=False)]
    found = []
    for subset in subsets:
        mix = np.zeros(2 * n)
        mix[[n + k for k in subset]] = s[list(subset)] / s[list(subset)].sum()
        products = gram @ mix
        for k in range(n):
            if (k in subset) == inside:
                found.append(Pair(gram[k, k], products[k], float(mix @ products),
                                  m * s[k] / s[list(subset)].sum()))
    return found


def indices(played: Played, m: int, inside: bool, seed: int) -> dict[str, list[float]]:
    """Mean index by epoch for each way of making û; factors are fitted on the other epochs."""
    rng = np.random.default_rng((seed, m))
    by_epoch = [pairs(played, p, m, inside, rng) for p in range(len(played.grams))]
    out: dict[str, list[float]] = {"mean": [], "scaled": [], "counts": []}
    for p, here in enumerate(by_epoch):
        others = [pair for q, some in enumerate(by_epoch) if q != p for pair in some]
        alpha = sum(x.ua for x in others) / sum(x.aa for x in others)
        a, b = _fit(others)
        out["mean"].append(float(np.mean([x.index(1.0) for x in here])))
        out["scaled"].append(float(np.mean([x.index(alpha) for x in here])))
        out["counts"].append(float(np.mean([x.index(a + b * x.part) for x in here])))
    return out


def _fit(some: Iterable[Pair]) -> tuple[float, float]:
    """Least squares of u on A and part·A: (a, b)."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for x in some:
        basis = np.array([1.0, x.part])
        normal += np.outer(basis, basis) * x.aa
        right += basis * x.ua
    a, b = np.linalg.lstsq(normal, right, rcond=None)[0]
    return float(a), float(b)


def sums(report: Report, played: Sequence[Played], minimum: int) -> None:
    """Rows by number of updates in the sum, and the finding."""
    n = len(played[0].weights)
    curve: dict[int, Interval] = {}
    outside: dict[int, Interval] = {}
    for m in range(1, n + 1):
        inside = [indices(one, m, True, seed) for seed, one in enumerate(played)]
        by_way = {way: Interval.of([float(np.mean(one[way])) for one in inside])
                  for way in ("mean", "scaled", "counts")}
        curve[m] = by_way["scaled"]
        if m < n:
            outside[m] = Interval.of([
                float(np.mean(indices(one, m, False, seed)["scaled"]))
                for seed, one in enumerate(played)])
        report.add(**{
            "updates in the sum": m, "opened": "yes" if m >= minimum else "never",
            "mean update": by_way["mean"], "times a factor": by_way["scaled"],
            "with sample counts": by_way["counts"],
            "device not in the sum": outside.get(m, ""),
            "about the device alone": curve[m].minus(outside[m]) if m < n else ""})
    _early_and_late(report, played)
    _judge(report, curve, outside, minimum)


def _early_and_late(report: Report, played: Sequence[Played]) -> None:
    n = len(played[0].weights)
    for p in range(len(played[0].grams)):
        cosines = []
        for one in played:
            gram = one.grams[p][:n, :n]
            lengths = np.sqrt(np.diagonal(gram))
            table = gram / np.outer(lengths, lengths)
            cosines.append(float(table[~np.eye(n, dtype=bool)].mean()))
        whole = [indices(one, n, True, seed)["scaled"][p] for seed, one in enumerate(played)]
        report.add(**{"epoch": p + 1, "cosine of two devices' updates": Interval.of(cosines),
                      f"index from the sum of {n}": Interval.of(whole)})


def _judge(
    report: Report, curve: dict[int, Interval], outside: dict[int, Interval], minimum: int
) -> None:
    n, last = max(curve), max(outside)
    falls = [curve[m + 1].minus(curve[m]) for m in range(1, n)]
    report.finding(
        "§5, Fig. 4b", "Similarity falls as more updates are aggregated.",
        f"{curve[1].mean:.3f} for one update, {curve[minimum].mean:.3f} for {minimum} (the least "
        f"that is opened), {curve[n].mean:.3f} for {n}; it falls at "
        f"{sum(f.below(0) for f in falls)} of {n - 1} steps",
        all(f.below(0) for f in falls),
        "at every step the 95 % interval of the paired differences lies below 0",
        any(f.above() for f in falls))
    rest = {m: curve[m].minus(outside[m]) for m in outside}
    report.finding(
        "§5, Fig. 4b", "Privacy increases with the level: what a sum tells of its contributors, "
        "beyond what it tells of everybody, shrinks.",
        f"index above that of a device not in the sum: {rest[1].text()} for one update, "
        f"{rest[minimum].text()} for {minimum}, {rest[last].text()} for {last}",
        rest[last].minus(rest[1]).below(0) and rest[last].minus(rest[minimum]).below(0),
        f"the 95 % intervals of the paired differences {last} − 1 and {last} − {minimum} lie "
        "below 0")


# --- reconstruction from ciphertexts ------------------------------------------------------------


def ciphertexts(report: Report, played: Sequence[Played], key_bits: int) -> None:
    """Rows by attack, and the finding."""
    tries = [attacks.attack_all(one.updates, one.weights, key_bits, seed, PACKED_VALUES)
             for seed, one in enumerate(played)]
    for cipher, name in tries[0]:
        some = [one[cipher, name] for one in tries]
        report.add(**{
            "cipher": cipher, "attack": name, "index": Interval.of([x.index for x in some]),
            "best factor in hindsight": Interval.of([x.best for x in some]),
            "largest |cosine|": max(abs(x.cosine) for x in some),
            "levels exactly right": Interval.of([x.exact for x in some])})
    lengths = {"ring-masked": len(played[0].updates[0]), "packed": PACKED_VALUES}
    real = [(cipher, x) for one in tries for (cipher, name), x in one.items()
            if cipher in lengths and name != attacks.CONTROL]
    controls = [x for one in tries for (cipher, name), x in one.items()
                if cipher not in lengths or name == attacks.CONTROL]
    blind = all(abs(x.cosine) < SURE / lengths[cipher] ** 0.5 for cipher, x in real)
    report.finding(
        "§5, Fig. 4b; §4.2", "From an encrypted update, without t shares, nothing of the update "
        "can be rebuilt.",
        f"best of {len(real)} tries, scaled with hindsight: index "
        f"{max(x.best for _, x in real):.5f} (knowing nothing gives 0.5); with t shares "
        f"{min(x.index for x in controls):.3f}",
        blind and min(x.index for x in controls) > 0.9,
        f"every try's cosine lies within {SURE:g}/√d of 0, chance's reach; controls above 0.9",
        not blind)


# --- all ----------------------------------------------------------------------------------------


def measure(report: Report) -> None:
    """Runs, then sums, then ciphertexts."""
    seeds = QUICK_SEEDS if report.quick else SEEDS
    setting = replace(SETTING, epochs=3) if report.quick else SETTING
    study(report, setting, seeds, PARTS, workers(report.quick))
    report.notes.append(
        f"Ten devices with 1 : 2 : … : 10 parts of the digits; P = {setting.epochs}, "
        f"T = {setting.iterations}, b = {setting.batch_size}; seeds "
        f"{', '.join(map(str, seeds))}; keys of {setting.key_bits} bits.")


def study(
    report: Report, setting: Setting, seeds: Sequence[int], devices: int, executor: str = "serial"
) -> None:
    """Fill ``report`` from one run a seed."""
    with open_executor(executor) as pool:
        played = pool.run([(play, (setting, seed, devices)) for seed in seeds])
    sums(report, played, setting.config(devices, seeds[0]).minimum)
    ciphertexts(report, played, setting.key_bits)


def draw(whole: dict[str, Any], path: Path) -> None:
    """Fig. 4b: the index over the number of updates; the attacks on ciphertexts beside it."""
    import plots

    figure, axes = plots.subplots(1, 2, figsize=(11, 4.4), width_ratios=(1.25, 1))
    _draw_curves(axes[0, 0], [row for row in whole["rows"] if "updates in the sum" in row])
    _draw_attacks(axes[0, 1], [row for row in whole["rows"] if "attack" in row])
    plots.save(figure, path)


def _draw_curves(axis: Any, rows: list[dict[str, Any]]) -> None:
    import plots

    for key, colour, marker, label in (
        ("mean update", plots.ORANGE, "s", "the mean update"),
        ("times a factor", plots.BLUE, "o", "the mean times a factor"),
        ("with sample counts", plots.GREEN, "^", "the same, with sample counts"),
        ("device not in the sum", plots.GREY, "D", "device not in the sum"),
    ):
        some = [row for row in rows if row[key] != ""]
        centres, sides = plots.whiskers([row[key] for row in some])
        axis.errorbar([row["updates in the sum"] for row in some], centres, sides, color=colour,
                      marker=marker, markersize=4, capsize=2, label=label)
    never = [row["updates in the sum"] for row in rows if row["opened"] == "never"]
    if never:
        axis.axvspan(0.5, max(never) + 0.5, color="#dddddd", label="never opened")
    axis.axhline(0.5, color=plots.BLACK, linestyle=":", linewidth=1, label="knowing nothing")
    axis.set_xticks([row["updates in the sum"] for row in rows])
    axis.set_xlabel("updates in the opened sum")
    axis.set_ylabel("similarity index")
    axis.set_title("From an opened sum")
    axis.legend(fontsize=8, frameon=True, edgecolor="none", framealpha=1)


def _draw_attacks(axis: Any, rows: list[dict[str, Any]]) -> None:
    import plots

    centres, sides = plots.whiskers([row["best factor in hindsight"] for row in rows])
    short = {"weights applied by the edge (not ours)": "edge-applied weights"}
    names = [f"{short.get(row['cipher'], row['cipher'])}:\n{row['attack']}" for row in rows]
    colours = [plots.RED if centre > 0.75 else plots.BLUE for centre in centres]
    axis.barh(range(len(rows)), centres, xerr=sides, color=colours, ecolor=plots.BLACK)
    axis.set_yticks(range(len(rows)), names, fontsize=7)
    axis.invert_yaxis()
    axis.axvline(0.5, color=plots.BLACK, linestyle=":", linewidth=1)
    axis.set_xlim(0, 1.02)
    axis.set_xlabel("similarity index, best factor in hindsight")
    axis.set_title("From ciphertexts (red: controls)")
    axis.grid(visible=False, axis="y")


if __name__ == "__main__":
    harness.main("Fig. 4b: similarity of reconstructions", measure, draw=draw)
