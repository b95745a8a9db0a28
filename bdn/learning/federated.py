"""Algorithm 1 in plaintext: the oracle that the chain-borne run must equal.

| letter | meaning |
|---|---|
| w^(p) | global parameters after epoch p |
| w_k^(p) | local parameters of device k after its T iterations |
| δ_k | w_k^(p) − w^(p-1), what a device uploads |
| s_k, s | samples of device k; of all contributors |
| F | global loss, Σ s_k F_k / s |
| P, ε | epochs; the run stops when ‖w^(p) − w^(p-1)‖₂ ≤ ε |

Everything that both runs must do alike is a pure function here or in `bdn.learning.local`: the
batches' generator (`device_generator`), the weighted sum (`weighted_sum`), Eq. (4)
(`apply_update`). A ``post_process`` hook sees each vector that a device would seal and gives back
what would be opened; identity by default, the fixed-point code in the test against the chain.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.errors import TooFewDevicesError
from bdn.learning.executors import Executor, Serial
from bdn.learning.learners import CnnLearner, Failure, Learner, guarded
from bdn.learning.local import RULES, LocalResult, TrainingRules, check_rule
from bdn.learning.models.classifier import Model
from bdn.learning.schedules import CONSTANT
from bdn.learning.server import MEAN, NO_MOMENTS, Moments, server_update
from bdn.learning.types import Doubles, Floats
from bdn.randomness import Randomness, SeededRandomness, numpy_generator
from bdn.trace import DISCARD, Trace

PostProcess = Callable[[str, int, str, Floats], Floats | Doubles]
"""(device, epoch, "gradient" or "weights", vector) → the vector as the aggregate would hold it."""

Devices = Sequence[Dataset | Learner] | Mapping[str, Dataset | Learner]
"""Who takes part, by name or by position."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The defaults reach about 0.975 on the digits with 5 devices within seconds.

    Attributes: rule, epochs P, iterations T, step_size λ, batch_size b, tolerance ε, local_epochs
    in the place of T, the schedule of λ (`bdn.learning.schedules`), and the server-side rule with η
    and β₁ (`bdn.learning.server`).
    """

    rule: str = "sgd"
    epochs: int = 12
    iterations: int = 20
    step_size: float = 0.1
    batch_size: int = 64
    tolerance: float = 0.0
    local_epochs: int | None = None
    schedule: str = CONSTANT
    server_rule: str = MEAN
    server_step_size: float = 1.0
    server_momentum: float = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class EpochResult:
    """What is known after an epoch.

    Attributes:
        epoch: p, from 1.
        w: w^(p), flat float32.
        global_loss: F(w^(p)) over this epoch's contributors, in nats.
        step_norm: ‖w^(p) − w^(p-1)‖₂.
        contributors: names of the devices whose updates were averaged.
        refused: device → why its update was not: it diverged, or its work failed.
        best_epoch, best_w, best_loss: the w with the least F so far (line 13); epoch 0 is w^(0).
        stopped: True in the last result of a run that reached ε.
    """

    epoch: int
    w: Floats
    global_loss: float
    step_norm: float
    contributors: tuple[str, ...]
    refused: Mapping[str, str]
    best_epoch: int
    best_w: Floats
    best_loss: float
    stopped: bool


@dataclass(slots=True, eq=False)
class _Run:
    """The arguments of `federated`, and how an epoch uses them."""

    learners: dict[str, Learner]
    rules: TrainingRules
    rng: Randomness
    executor: Executor
    post_process: PostProcess
    minimum: int
    moments: Moments = NO_MOMENTS
    refused: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, arguments: Callable[[str], tuple[Any, ...]], among: Iterable[str]
    ) -> dict[str, Any]:
        """``learner.method(…)`` of every device; who fails is named in ``refused``."""
        names = list(among)
        calls = [(guarded, (self.learners[name], method, arguments(name))) for name in names]
        good = {}
        for name, result in zip(names, self.executor.run(calls), strict=True):
            if isinstance(result, Failure):
                self.refused[name] = result.reason
            elif isinstance(result, LocalResult) and result.diverged:
                self.refused[name] = f"diverged: {result.reason}"
            else:
                good[name] = result
        if len(good) < self.minimum:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.refused.items())
            raise TooFewDevicesError(f"{len(good)} of {len(self.learners)} devices are left and "
                                     f"{self.minimum} are needed ({reasons})")
        return good

    def weights(self, names: Iterable[str]) -> list[int]:
        """s_k of the devices ``names``."""
        return [self.learners[name].sample_count for name in names]

    def mean_loss(self, w: Floats, among: Iterable[str]) -> float:
        """F(w) over the devices ``among``."""
        losses: dict[str, float] = self.ask("loss", lambda _name: (w,), among)
        weights = self.weights(losses)
        terms = (s_k * F_k for s_k, F_k in zip(weights, losses.values(), strict=True))
        return math.fsum(terms) / sum(weights)


def federated(
    cnn: Model | None,
    devices: Devices,
    rules: TrainingRules | None = None,
    rng: Randomness | None = None,
    w: Floats | None = None,
    executor: Executor | None = None,
    post_process: PostProcess | None = None,
    minimum_contributors: int = 1,
    trace: Trace = DISCARD,
) -> Iterator[EpochResult]:
    """Algorithm 1, one result an epoch; it ends after P epochs or when a step is ≤ ε.

    Args:
        cnn: the network of devices that are given as data sets; None where all are learners.
        devices: data sets or learners by device name; a list names its devices "0", "1", ….
        rules: P, T, λ, b, ε and the local rule; `TrainingSettings` by default.
        rng: its substreams draw the batches; the seed 0 by default.
        w: w^(0); ``cnn.parameters()`` by default.
        executor: runs the devices' work; one after the other in this process by default.
        post_process: what becomes of a vector on its way into an aggregate.
        minimum_contributors: fewer sound updates than this end the run.
        trace: told of each epoch.

    Raises:
        TooFewDevicesError: too many devices failed or diverged; the message names them.
        UsageError: no devices, no w^(0), or rules that make no local update.
    """
    rules = rules if rules is not None else TrainingSettings()
    check_rule(rules.rule, rules.iterations, rules.step_size, rules.batch_size)
    if minimum_contributors < 1:
        raise UsageError("an epoch needs at least one contributor")
    run = _Run(_learners(cnn, devices), rules, rng if rng is not None else SeededRandomness(0),
               executor if executor is not None else Serial(),
               post_process if post_process is not None else _unchanged, minimum_contributors)
    w_global = _first_parameters(cnn) if w is None else w
    best_epoch, best_w, best_loss = 0, w_global, math.inf
    judged: tuple[str, ...] = ()
    for p in range(1, rules.epochs + 1):
        with trace.span("epoch", epoch=p):
            run.refused = {}
            updated, contributors = _epoch(run, w_global, p)
            loss = run.mean_loss(updated, contributors)
            if contributors != judged:  # F is compared over the same contributors only
                best_loss = run.mean_loss(best_w, contributors)
                judged = contributors
        if loss < best_loss:
            best_epoch, best_w, best_loss = p, updated, loss
        norm = float(np.linalg.norm(updated.astype(np.float64) - w_global))
        w_global, stopped = updated, norm <= rules.tolerance
        yield EpochResult(p, w_global, loss, norm, contributors, dict(run.refused),
                          best_epoch, best_w, best_loss, stopped)
        if stopped:
            return


def _learners(cnn: Model | None, devices: Devices) -> dict[str, Learner]:
    named: dict[str, Dataset | Learner] = (
        dict(devices) if isinstance(devices, Mapping)
        else {str(k): device for k, device in enumerate(devices)})
    if not named:
        raise UsageError("collaborative learning needs at least one device")
    learners: dict[str, Learner] = {}
    for name, device in named.items():
        if not isinstance(device, Dataset):
            learners[name] = device
        elif cnn is None:
            raise UsageError(f"device {name} is a data set, so a network is needed for it")
        else:
            learners[name] = CnnLearner(cnn, device)
    return learners


def _first_parameters(cnn: Model | None) -> Floats:
    if cnn is None:
        raise UsageError("without a network, w^(0) must be given")
    return cnn.parameters()


def train(
    cnn: Model | None, devices: Devices, rules: TrainingRules | None = None, **options: Any
) -> list[EpochResult]:
    """All results of `federated`, whose options it takes; the last one holds the best model."""
    return list(federated(cnn, devices, rules, **options))


def _epoch(run: _Run, w_global: Floats, p: int) -> tuple[Floats, tuple[str, ...]]:
    """Lines 7–12 of Algorithm 1: (w^(p), names of the contributors)."""
    rules, among = run.rules, list(run.learners)
    global_gradient: Floats | None = None
    if RULES[rules.rule].needs_gradient:  # Eq. (3) needs ∇F(w^(p-1)), which no device knows alone
        gradients = run.ask("gradient", lambda _name: (w_global,), among)
        among = list(gradients)
        opened = [run.post_process(name, p, "gradient", g) for name, g in gradients.items()]
        weights = run.weights(among)
        global_gradient = (weighted_sum(opened, weights) / sum(weights)).astype(np.float32)
    results: dict[str, LocalResult] = run.ask(
        "update",
        lambda name: (w_global, rules, p, device_generator(run.rng, name, p), global_gradient),
        among,
    )
    δ = [run.post_process(name, p, "weights", r.w - w_global) for name, r in results.items()]
    weights = run.weights(results)
    updated, run.moments = server_update(rules, w_global, weighted_sum(δ, weights), sum(weights),
                                         run.moments)
    return updated, tuple(results)


def device_generator(rng: Randomness, device: str, epoch: int) -> np.random.Generator:
    """The generator of a device's batches in an epoch: the substream "device/NAME/epoch/P"."""
    return numpy_generator(rng.substream(f"device/{device}/epoch/{epoch}"))


def weighted_sum(vectors: Sequence[Floats | Doubles], weights: Sequence[int]) -> Doubles:
    """Σ s_k v_k in double precision, device by device in the given order."""
    total = np.zeros(len(vectors[0]), np.float64)
    for vector, weight in zip(vectors, weights, strict=True):
        total += vector.astype(np.float64) * weight
    return total


def apply_update(w_global: Floats, total: Doubles, s: int) -> Floats:
    """Eq. (4): w^(p) = w^(p-1) + (1/s) Σ s_k δ_k, rounded to float32 once, at the end."""
    return (w_global.astype(np.float64) + total / s).astype(np.float32)


def _unchanged(_device: str, _epoch: int, _phase: str, vector: Floats) -> Floats:
    return vector
