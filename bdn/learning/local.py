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
- ``fedprox`` (Li et al. 2020): w ← w − λ (∇f_b(w) + μ (w − w^(p-1))), which holds a device back
  from its own optimum; μ is `PROXIMAL`.
- ``momentum``, the heavy ball (Polyak 1964): v ← β v + ∇f_b(w), w ← w − λ v, with v = 0 at the
  start of each epoch; β is `MOMENTUM`.
- ``nesterov`` (Nesterov 1983, as PyTorch has it): v ← β v + ∇f_b(w), w ← w − λ (∇f_b(w) + β v).

A step over b samples moves by λ b / s_k, so that one pass over the device's data moves by λ in all,
whatever b is. Batches are consecutive pieces of random permutations: a pass sees each sample once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.models.classifier import CHUNK, Model
from bdn.learning.types import Floats, Integers

PROXIMAL = 0.1
"""μ of FedProx; 0 would be ``sgd``."""

MOMENTUM = 0.9
"""β of the heavy ball; 0 would be ``sgd``."""

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
    def local_epochs(self) -> int | None:
        """Passes over a device's samples in the place of T; None or 0 where T counts."""

    @property
    def schedule(self) -> str:
        """How λ changes from epoch to epoch (`bdn.learning.schedules`)."""

    @property
    def server_rule(self) -> str:
        """What becomes of the mean (`bdn.learning.server`)."""

    @property
    def server_step_size(self) -> float:
        """η."""

    @property
    def server_momentum(self) -> float:
        """β₁."""

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
    chosen = RULES[rule]
    if chosen.needs_gradient and global_gradient is None:
        raise UsageError(f"rule {rule} needs the global gradient ∇F(w^(p-1))")
    work = LocalWork(model, w, dataset, iterations, step_size, batch_size, rng, global_gradient)
    loss = local_loss(model, w, dataset)
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is reported in the result
        w_local = chosen.iterate(work)
        reason = why_diverged(model, w_local, dataset)
    return LocalResult(w_local, loss, len(dataset), bool(reason), reason)


def local_iterations(rules: TrainingRules, samples: int) -> int:
    """Return T for a device with ``samples`` samples: as asked for, or E passes, ⌈E s_k / b⌉."""
    if not rules.local_epochs:
        return rules.iterations
    batch = samples if RULES[rules.rule].full_batch else min(rules.batch_size, samples)
    return -(-rules.local_epochs * samples // batch)


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


# --- the rules ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class LocalWork:
    """What a local rule works on.

    Attributes:
        model, dataset: what is trained, and the device's own samples.
        start: w^(p-1), flat float32; not to be changed.
        iterations: T.
        step_size: λ.
        batch_size: b.
        rng: draws the batches.
        global_gradient: ∇F(w^(p-1)), for rules that need it.
    """

    model: Model
    start: Floats
    dataset: Dataset
    iterations: int
    step_size: float
    batch_size: int
    rng: np.random.Generator
    global_gradient: Floats | None

    def steps(self) -> Iterator[tuple[Floats, Integers]]:
        """Yield the T batches (X, y)."""
        drawn = batches(len(self.dataset), self.batch_size, self.rng)
        for _, indices in zip(range(self.iterations), drawn, strict=False):
            yield self.dataset.batch(indices)


@dataclass(frozen=True, slots=True)
class LocalRule:
    """A way of making the T local iterations of an epoch.

    Attributes:
        step_size: λ where none is asked for: what trains the digits well.
        needs_gradient: whether the devices must first learn ∇F(w^(p-1)) together.
        iterate: w_k^(p) from a `LocalWork`.
        full_batch: whether an iteration is a pass over all samples, whatever b is.
    """

    step_size: float
    needs_gradient: bool
    iterate: Callable[[LocalWork], Floats]
    full_batch: bool = False


def _sgd(work: LocalWork) -> Floats:
    w, step = work.start.copy(), np.empty_like(work.start)
    for X, y in work.steps():
        work.model.training_gradient(w, X, y, step)
        step *= np.float32(work.step_size)
        w -= step
    return w


def _svrg(work: LocalWork) -> Floats:
    assert work.global_gradient is not None, "the rule says that it needs it"
    start, w = work.start, work.start.copy()
    step, anchor = np.empty_like(start), np.empty_like(start)
    s_k = len(work.dataset)
    scale = np.float32(work.step_size * min(work.batch_size, s_k) / s_k)
    for X, y in work.steps():
        work.model.training_gradient(w, X, y, step)
        work.model.loss_and_gradient(start, X, y, out=anchor)
        step -= anchor
        step += work.global_gradient
        step *= scale
        w -= step
    return w


def _svrg_literal(work: LocalWork) -> Floats:
    w = work.start.copy()
    assert work.global_gradient is not None, "the rule says that it needs it"
    correction = work.global_gradient - local_gradient(work.model, work.start, work.dataset)
    scale = np.float32(work.step_size / len(work.dataset))
    for _ in range(work.iterations):
        step = local_gradient(work.model, w, work.dataset)
        step += correction
        step *= scale
        w -= step
    return w


def _fedprox(work: LocalWork) -> Floats:
    w, step = work.start.copy(), np.empty_like(work.start)
    for X, y in work.steps():
        work.model.training_gradient(w, X, y, step)
        step += np.float32(PROXIMAL) * (w - work.start)
        step *= np.float32(work.step_size)
        w -= step
    return w


def _momentum(work: LocalWork) -> Floats:
    w, step = work.start.copy(), np.empty_like(work.start)
    v = np.zeros_like(w)
    for X, y in work.steps():
        work.model.training_gradient(w, X, y, step)
        v *= np.float32(MOMENTUM)
        v += step
        w -= np.float32(work.step_size) * v
    return w


def _nesterov(work: LocalWork) -> Floats:
    w, step = work.start.copy(), np.empty_like(work.start)
    v = np.zeros_like(w)
    for X, y in work.steps():
        work.model.training_gradient(w, X, y, step)
        v *= np.float32(MOMENTUM)
        v += step
        step += np.float32(MOMENTUM) * v
        step *= np.float32(work.step_size)
        w -= step
    return w


RULES: dict[str, LocalRule] = {
    "sgd": LocalRule(0.1, False, _sgd),
    "svrg": LocalRule(1.0, True, _svrg),
    "svrg-literal": LocalRule(0.5, True, _svrg_literal, full_batch=True),  # λ is the paper's
    "fedprox": LocalRule(0.1, False, _fedprox),
    "momentum": LocalRule(0.02, False, _momentum),
    "nesterov": LocalRule(0.02, False, _nesterov),
}
"""Every local rule by its name. A new rule is a function above and a line here."""
