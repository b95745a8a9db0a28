"""The norm check under encryption (docs/norm-check.md), and what a boosted update does without it.

Played with softmax regression on the digits (7,850 parameters), so that the packed cipher, which
the check needs, takes seconds also with 2048-bit keys.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.lab.finding import POISONING, Experiment, Finding
from bdn.experiments.lab.poison import GROUP
from bdn.experiments.norms import norm_records
from bdn.experiments.participants import Participants
from bdn.experiments.run import Run, opened_run
from bdn.learning import Dataset, Evaluation, load, split
from bdn.learning.local import LocalResult
from bdn.learning.types import Floats

FACTOR = 3.0
BOOST = 10.0
PROBES = 8


# --- who learns ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class LinearLearner:
    """Softmax regression on one device's images: scores = images·W + b.

    Attributes:
        data: its samples.
        boost: how many times its update it sends; 1 for an honest device.
    """

    data: Dataset
    boost: float = 1.0

    @property
    def sample_count(self) -> int:
        """s_k."""
        return len(self.data)

    def loss(self, w: Floats) -> float:
        """F_k(w), in nats."""
        return _loss_and_gradient(w, self.data)[0]

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w)."""
        return _loss_and_gradient(w, self.data)[1]

    def update(
        self, w: Floats, rules: Any, epoch: int, rng: np.random.Generator,  # noqa: ARG002 - Learner's signature
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """T steps of gradient descent on batches; the rule ``sgd`` alone."""
        if global_gradient is not None:
            raise UsageError("this learner knows the rule sgd alone")
        w_local = w
        for _ in range(rules.iterations):
            size = min(rules.batch_size, len(self.data))
            rows = rng.choice(len(self.data), size, replace=False)
            step = _loss_and_gradient(w_local, self.data.subset(rows))[1]
            w_local = w_local - np.float32(rules.step_size) * step
        boosted = w + np.float32(self.boost) * (w_local - w)
        return LocalResult(boosted, self.loss(w), len(self.data))


def _loss_and_gradient(w: Floats, data: Dataset) -> tuple[float, Floats]:
    X = data.images.reshape(len(data), -1)
    W = w[: -data.classes].reshape(-1, data.classes)
    scores = (X @ W + w[-data.classes :]).astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    chances /= chances.sum(axis=1, keepdims=True)
    rows = np.arange(len(data))
    loss = float(-np.log(chances[rows, data.labels]).mean())
    chances[rows, data.labels] -= 1
    slope = (chances / len(data)).astype(np.float32)
    return loss, np.concatenate([(X.T @ slope).ravel(), slope.sum(axis=0)])


def linear_participants(config: RunConfig, boosts: dict[int, float] | None = None) -> Participants:
    """Softmax regression at every device; ``boosts`` by position (0, 1, …)."""
    data = load("digits")
    parts = split(data.train, config.devices, config.split, config.alpha, config.seed)
    count = config.samples or min(map(len, parts))
    learners = tuple(
        LinearLearner(part.subset(np.arange(min(count, len(part)))), (boosts or {}).get(k, 1.0))
        for k, part in enumerate(parts))
    classes = data.train.classes
    w = np.zeros((data.train.pixels[0].size + 1) * classes, dtype=np.float32)

    def judge(model: Floats) -> Evaluation:
        test = data.test
        scores = test.images.reshape(len(test), -1) @ model[:-classes].reshape(-1, classes)
        right = float(((scores + model[-classes:]).argmax(axis=1) == test.labels).mean())
        return Evaluation(right, right, (), (), LinearLearner(test).loss(model), len(test))

    return Participants(learners, w, judge, classes)


def norm_run(key_bits: int, **options: Any) -> RunConfig:
    """Five devices under the packed cipher, with a clip that a boosted update fits."""
    plain: dict[str, Any] = {
        "devices": 5, "threshold": 2, "epochs": 1, "iterations": 10, "batch_size": 32,
        "samples": 100, "step_size": 0.1, "cipher": "packed", "weight_clip": 2.0,
        "key_bits": key_bits, "norm_probes": PROBES, "deterministic": True, "seed": 3,
    }  # fmt: skip
    return RunConfig(**{**plain, **options})


# --- the experiment -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """A finished run, as far as the finding tells of it."""

    accuracy: float
    w: np.ndarray
    left_out: tuple[dict[str, Any], ...]


def _play(config: RunConfig, boost: float, without_last: bool = False) -> Played:
    """The run with its last device boosted, or without that device."""
    people = linear_participants(config, {config.devices - 1: boost})
    if without_last:
        config = RunConfig(**{**_plain(config), "devices": config.devices - 1})
        people = Participants(people.learners[:-1], people.w, people.judge, people.classes)
    with opened_run(config, participants=people) as run:
        run.runner.run(run.is_over)
        w = run.reference.progress.w
        return Played(people.judge(w).accuracy, w, tuple(left_out(run)))


def _plain(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def norm_check(key_bits: int) -> Finding:
    """A device boosts its update; random sums of it, opened before adding, give it away."""
    checked = norm_run(key_bits, norm_check=FACTOR)
    honest = _play(norm_run(key_bits), 1.0, without_last=True)
    poisoned = _play(norm_run(key_bits), BOOST)
    stopped = _play(checked, BOOST)
    nobody = _play(checked, 1.0)
    same = np.array_equal(stopped.w, honest.w)
    seen = [f"epoch {item['epoch']}: {item['device']}, {item['times_median']:.1f} × median"
            for item in stopped.left_out]
    return Finding(
        tried=f"One of {checked.devices} devices sends its update times {BOOST:g}, within the "
              f"clip; the norm check leaves out norms above {FACTOR:g} × the median.",
        happened=(
            (f"Without the check: accuracy {poisoned.accuracy:.1%}; without that device it is "
            f"{honest.accuracy:.1%}."),
            f"With the check: left out in {'; '.join(seen) or 'no epoch'}.",
            (f"The model is {'the same' if same else 'NOT the same'}, bit for bit, as that of a "
            f"run without the device; accuracy {stopped.accuracy:.1%}."),
            f"With all devices honest, {len(nobody.left_out)} updates were left out.",
        ),
        claimed="Table 1, data poisoning: the mining contract verifies local updates before they "
                "are added up.",
        not_covered="Updates of ordinary norm: flipped labels, slow drift; a majority of devices "
                    "that moves the median; a shaped update passes with a small chance; a lying "
                    "device costs nothing but its update. What the sums reveal: "
                    "docs/norm-check.md.",
        held=(same and not nobody.left_out and len(stopped.left_out) == checked.epochs
              and poisoned.accuracy <= honest.accuracy),
    )


def left_out(run: Run) -> list[dict[str, Any]]:
    """Whom the norm check left out in ``run``, by epoch."""
    names = {identity.address: name for identity, name in
             zip(run.material.devices, run.material.device_names, strict=True)}
    records = norm_records(run.edges[0].ledger, names, run.material.settings)
    return [item for record in records for item in record["left_out"]]


EXPERIMENTS = (Experiment("norm-check", GROUP, POISONING, norm_check),)
