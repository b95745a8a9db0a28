"""How the step size λ changes from epoch to epoch, and when a run stops learning.

| ``--schedule`` | λ in epoch p |
|---|---|
| ``constant`` | λ |
| ``step:N:FACTOR`` | λ · FACTOR^⌊(p − 1)/N⌋ |
| ``exponential:FACTOR`` | λ · FACTOR^(p − 1) |
| ``cosine:N`` | λ (1 + cos(π (p − 1)/N)) / 2 up to epoch N, and λ · 10⁻³ at least |

The cosine is Loshchilov and Hutter's (2017), without restarts. None of them depends on P, so that a
run that is extended goes on as the longer run would have.
"""

import math
from collections.abc import Sequence

from bdn.arguments import parse_count
from bdn.errors import UsageError

CONSTANT = "constant"
USAGE = "constant, step:N:FACTOR, exponential:FACTOR or cosine:N"
LEAST = 1e-3
"""The smallest part of λ that the cosine comes to."""

MAX_EPOCHS = 1_000_000


def scheduled(step_size: float, schedule: str, epoch: int) -> float:
    """Return λ in ``epoch``, from 1. Raises `UsageError` for a schedule that is none."""
    kind, *numbers = schedule.split(":", 3)
    try:
        match kind, *numbers:
            case ("constant",):
                return step_size
            case ("step", every, factor):
                return step_size * _factor(factor) ** ((epoch - 1) // _epochs(every))
            case ("exponential", factor):
                return float(step_size * _factor(factor) ** (epoch - 1))
            case ("cosine", every):
                turn = min((epoch - 1) / _epochs(every), 1.0)
                return step_size * max(LEAST, (1 + math.cos(math.pi * turn)) / 2)
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"a schedule is {USAGE}, with N from 1 to {MAX_EPOCHS:,} and FACTOR above 0 "
                     f"and at most 1; not {schedule[:60]!r}")


def _factor(text: str) -> float:
    factor = float(text)
    if not 0 < factor <= 1:
        raise ValueError("out of range")
    return factor


def _epochs(text: str) -> int:
    count = parse_count(text, MAX_EPOCHS)
    if count < 1:
        raise ValueError("out of range")
    return count


def stagnates(losses: Sequence[float], patience: int) -> bool:
    """Return whether the least of ``losses`` is ``patience`` or more losses old; 0: never.

    ``losses`` are the F(w) that the devices opened, in order.
    """
    if patience == 0 or len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])
