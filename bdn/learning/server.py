"""What becomes of an opened mean: Eq. (4), or a server-side optimiser (Reddi et al. 2021).

There is no server. The mean Δ = Σ s_k δ_k / s is public among the devices, so each device takes the
same step by itself, and all have the same model. For that the step is made of additions,
multiplications, divisions and square roots of single float64 numbers, in the order written here:
IEEE 754 rounds each of them exactly, so every machine computes the same. There are no sums over
entries, whose order could differ. The result is rounded to float32 once.

| letter | meaning |
|---|---|
| Δ | mean of the contributors' δ_k |
| m, v | the optimiser's moments, float64 (|w|,), zero at the start (v: τ²) |
| η | server step size |
| β₁, β₂ | server momentum, and `SECOND_MOMENT` |
| τ | `ADAPTIVITY` |

- ``mean``: w ← w + Δ, Eq. (4).
- ``fedavgm`` (Hsu et al. 2019): m ← β₁ m + Δ, w ← w + η m.
- ``fedadam`` (Reddi et al. 2021, Algorithm 2): m ← β₁ m + (1 − β₁) Δ,
  v ← β₂ v + (1 − β₂) Δ², w ← w + η m / (√v + τ). It has no bias correction.

An epoch whose sum was spoiled takes no step and leaves m and v as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bdn.learning.types import Doubles, Floats

SECOND_MOMENT = 0.99
"""β₂ of FedAdam, Reddi et al.'s choice."""

ADAPTIVITY = 1e-3
"""τ of FedAdam, Reddi et al.'s default."""

MEAN = "mean"


class Moments(NamedTuple):
    """An optimiser's state; empty vectors before the first step, and where it has none."""

    m: Doubles
    v: Doubles


NO_MOMENTS = Moments(np.zeros(0), np.zeros(0))


class ServerSettings(Protocol):
    """What a step needs to know: `TrainingSettings`, or a run's own settings."""

    @property
    def server_rule(self) -> str:
        """One of `SERVER_RULES`."""

    @property
    def server_step_size(self) -> float:
        """η."""

    @property
    def server_momentum(self) -> float:
        """β₁."""


@dataclass(frozen=True, slots=True)
class ServerRule:
    """A way of taking the opened mean.

    Attributes:
        step_size: η where none is asked for.
        step: (Δ, moments, η, β₁) → (what is added to w, the new moments).
    """

    step_size: float
    step: Callable[[Doubles, Moments, float, float], tuple[Doubles, Moments]]


def _mean(delta: Doubles, moments: Moments, _η: float, _β1: float) -> tuple[Doubles, Moments]:
    return delta, moments


def _fedavgm(delta: Doubles, moments: Moments, η: float, β1: float) -> tuple[Doubles, Moments]:
    m = (moments.m * β1 + delta) if len(moments.m) else delta
    return m * η, Moments(m, moments.v)


def _fedadam(delta: Doubles, moments: Moments, η: float, β1: float) -> tuple[Doubles, Moments]:
    m, v = moments if len(moments.m) else (np.zeros(len(delta)),
                                           np.full(len(delta), ADAPTIVITY * ADAPTIVITY))
    m = m * β1 + delta * (1 - β1)
    v = v * SECOND_MOMENT + delta * delta * (1 - SECOND_MOMENT)
    return m * η / (np.sqrt(v) + ADAPTIVITY), Moments(m, v)


SERVER_RULES: dict[str, ServerRule] = {
    MEAN: ServerRule(1.0, _mean),
    "fedavgm": ServerRule(1.0, _fedavgm),
    "fedadam": ServerRule(0.01, _fedadam),
}
"""Every server-side rule by its name. A new one is a function above and a line here."""


def server_update(
    settings: ServerSettings, w: Floats, total: Doubles, s: int, moments: Moments
) -> tuple[Floats, Moments]:
    """Return w^(p) and the new moments from the opened sum Σ s_k δ_k of s samples.

    With ``mean`` this is Eq. (4), bit for bit.
    """
    step, moments = SERVER_RULES[settings.server_rule].step(
        total / s, moments, settings.server_step_size, settings.server_momentum)
    return (w.astype(np.float64) + step).astype(np.float32), moments
