"""What one device computes in an epoch: the local update rules of Section 4.1, as pure functions.

| letter | meaning |
|---|---|
| w | parameters; w^(p-1) those that the epoch started from |
| T | local iterations |
| λ | step size |
| b | samples in a step |
| s_k | samples of the device |
| F_k, F | loss of the device, of all devices |
| ∇F_k, ∇F | their full-batch gradients; ∇f_b the mean gradient of b samples |

- ``sgd``, the rule above Eq. (3): w ← w − λ ∇f_b(w).
- ``svrg``, Eq. (3) with stochastic gradients: w ← w − (λ b / s_k) ([∇f_b(w) − ∇f_b(w^(p-1))] +
  ∇F(w^(p-1))), both gradients over the same b samples. With b = 1 it is the single-sample rule of
  FSVRG (Konečný et al. 2016) and BlockFL (Kim et al. 2018), from which Eq. (3) comes.
- ``svrg-literal``, Eq. (3) as printed: full-batch ∇F_k with λ / s_k; the b is not used.

A step over b samples moves by λ b / s_k, so that one pass over the device's data moves by λ in all,
whatever b is. Batches are consecutive pieces of random permutations: a pass sees each sample once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.models.classifier import CHUNK, Model
from bdn.learning.types import Floats, Integers

RULES = ("sgd", "svrg", "svrg-literal")

FLAT = 1e-5
"""Scores that vary less than this over the images do not depend on them (see `why_diverged`)."""


class TrainingRules(Protocol):
    """What Algorithm 1 needs to know: `TrainingSettings`, or a run's own settings."""

    @property
    def rule(self) -> str:
        """One of `RULES`."""

    @property
    def epochs(self) -> int:
        """P."""

    @property
    def iterations(self) -> int:
        """T."""

    @property
    def step_size(self) -> float:
        """λ."""

    @property
    def batch_size(self) -> int:
        """b."""

    @property
    def tolerance(self) -> float:
        """ε."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalResult:
    """What a device has after its local iterations.

    Attributes:
        w: w_k^(p), flat float32.
        local_loss: F_k(w^(p-1)), at the parameters that the epoch started from.
        sample_count: s_k.
        diverged: True where ``w`` must not be averaged.
        reason: why, in words; empty where it is sound.
    """

    w: Floats
    local_loss: float
    sample_count: int
    diverged: bool = False
    reason: str = ""


def local_update(
    model: Model,
    w: Floats,
    dataset: Dataset,
    rule: str,
    iterations: int,
    step_size: float,
    batch_size: int,
    rng: np.random.Generator,
    global_gradient: Floats | None = None,
) -> LocalResult:
    """T local iterations from w^(p-1) (Algorithm 1, lines 7–9).

    Args:
        model: what is trained.
        w: w^(p-1), flat float32; not changed.
        dataset: the device's own samples.
        rule: one of `RULES`.
        iterations: T.
        step_size: λ.
        batch_size: b; a device with fewer samples uses all of them in each step.
        rng: draws the batches, and nothing else.
        global_gradient: ∇F(w^(p-1)), needed by both svrg rules.

    Raises:
        UsageError: an unknown rule, numbers out of range, or a missing global gradient.
    """
    check_rule(rule, iterations, step_size, batch_size)
    loss = local_loss(model, w, dataset)
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is reported in the result
        if rule == "sgd":
            w_local = _sgd(model, w, dataset, iterations, step_size, batch_size, rng)
        else:
            if global_gradient is None:
                raise UsageError(f"rule {rule} needs the global gradient ∇F(w^(p-1))")
            if rule == "svrg":
                w_local = _svrg(model, w, dataset, iterations, step_size, batch_size, rng,
                                global_gradient)
            else:
                w_local = _svrg_literal(model, w, dataset, iterations, step_size, global_gradient)
        reason = why_diverged(model, w_local, dataset)
    return LocalResult(w_local, loss, len(dataset), bool(reason), reason)


def local_loss(model: Model, w: Floats, dataset: Dataset) -> float:
    """F_k(w), the mean loss over the device's samples, in nats."""
    total = sum(model.loss(w, X, y) * len(y) for X, y in dataset.stream())
    return total / len(dataset)


def local_gradient(model: Model, w: Floats, dataset: Dataset) -> Floats:
    """∇F_k(w), the full-batch gradient: what a device seals in the gradient phase."""
    if len(dataset) <= CHUNK:  # also what svrg-literal calls T times
        return model.loss_and_gradient(w, dataset.images, dataset.labels)[1]
    total = np.zeros(model.size, np.float64)
    for X, y in dataset.stream():
        total += model.loss_and_gradient(w, X, y)[1] * np.float64(len(y))
    return (total / len(dataset)).astype(np.float32)


def check_rule(rule: str, iterations: int, step_size: float, batch_size: int) -> None:
    """Raise `UsageError` unless the four make a local update."""
    if rule not in RULES:
        raise UsageError(f"a rule is one of {', '.join(RULES)}, not {rule!r}")
    if iterations < 1 or batch_size < 1:
        raise UsageError("iterations and batch size must be at least 1, not "
                         f"{iterations} and {batch_size}")
    if not 0 < step_size < float("inf"):
        raise UsageError(f"the step size λ must be positive and finite, not {step_size}")


def why_diverged(model: Model, w: Floats, dataset: Dataset) -> str:
    """Why ``w`` must not be averaged; empty where it may.

    Two ends of a diverged run are told apart. Values that are not finite; and a *dead* network: its
    hidden units answer no image any more, so the scores are the same for every image, the loss is
    stuck at that of a constant guess (ln classes for balanced data) and the gradient of everything
    but the last bias is zero for good. At most a few hundred images are looked at.
    """
    if not np.isfinite(w).all():
        return "parameters are not finite"
    X, y = next(dataset.stream())
    scores = model.scores(w, X)
    if not np.isfinite(scores).all():
        return "scores are not finite"
    if len(X) > 1 and np.ptp(scores, axis=0).max() <= FLAT and np.ptp(X, axis=0).max() > 0:
        return f"stuck: every image gets the same scores (loss {model.loss(w, X, y):.3f})"
    return ""


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Endless batches of ``min(size, count)`` indices, cut from random permutations of all."""
    size = min(size, count)
    waiting = np.empty(0, np.int64)
    while True:
        if len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def _sgd(
    model: Model, start: Floats, dataset: Dataset, T: int, λ: float, b: int,
    rng: np.random.Generator,
) -> Floats:  # fmt: skip
    w, step = start.copy(), np.empty_like(start)
    for _, indices in zip(range(T), batches(len(dataset), b, rng), strict=False):
        model.loss_and_gradient(w, *dataset.batch(indices), out=step)
        step *= np.float32(λ)
        w -= step
    return w


def _svrg(
    model: Model, start: Floats, dataset: Dataset, T: int, λ: float, b: int,
    rng: np.random.Generator, global_gradient: Floats,
) -> Floats:  # fmt: skip
    w, step, anchor = start.copy(), np.empty_like(start), np.empty_like(start)
    s_k = len(dataset)
    scale = np.float32(λ * min(b, s_k) / s_k)
    for _, indices in zip(range(T), batches(s_k, b, rng), strict=False):
        X, y = dataset.batch(indices)
        model.loss_and_gradient(w, X, y, out=step)
        model.loss_and_gradient(start, X, y, out=anchor)
        step -= anchor
        step += global_gradient
        step *= scale
        w -= step
    return w


def _svrg_literal(
    model: Model, start: Floats, dataset: Dataset, T: int, λ: float, global_gradient: Floats
) -> Floats:
    w = start.copy()
    correction = global_gradient - local_gradient(model, start, dataset)
    scale = np.float32(λ / len(dataset))
    for _ in range(T):
        step = local_gradient(model, w, dataset)
        step += correction
        step *= scale
        w -= step
    return w
