"""What a run costs each device, and what it keeps, as the devices become more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants
from bdn.experiments.run import opened_run
from bdn.learning import Evaluation, LocalResult


@dataclass(frozen=True, slots=True, eq=False)
class Idle:
    """A learner that takes a fixed step, so that a run's cost is the ledger's."""

    sample_count: int = 10

    def loss(self, w: Any) -> float:
        return 1.0

    def gradient(self, w: Any) -> Any:
        return np.zeros_like(w)

    def update(self, w: Any, *_: Any) -> LocalResult:
        return LocalResult(w + np.float32(0.125), 1.0, self.sample_count)


def idle(devices: int, size: int = 5) -> Participants:
    """``devices`` idle learners of a model with ``size`` parameters."""
    figures = Evaluation(0.5, 0.5, (), (), 0.5, 1)
    return Participants((Idle(),) * devices, np.zeros(size, np.float32), lambda _: figures, 2)


def config(devices: int, **options: Any) -> RunConfig:
    """One epoch of as many devices, of which three hold the key."""
    return RunConfig(devices=devices, threshold=2, key_holders=3, epochs=1, key_bits=256,
                     cipher="packed", norm_bound=None, deterministic=True, **options)


@pytest.fixture(scope="module")
def traffic() -> dict[int, int]:
    """Bytes sent and received by the busiest device that has no special part, by devices."""
    most = {}
    for n in (8, 40):
        with opened_run(config(n), participants=idle(n)) as run:
            run.runner.run(run.is_over)
            counts = run.traffic()
            most[n] = max(sum(counts[name]) for name in run.material.device_names[3:])
    return most


def test_what_a_device_sends_and_receives_does_not_grow_with_the_number_of_devices(
    traffic: dict[int, int]
) -> None:
    """Merkle paths grow by a hash as the devices double, and Tx_co by a bit for each of them.

    The key's blob has 96 bytes for each device, and Tx_co's receipt 200: were they sent to each
    device, 32 more devices would cost it 20,000 bytes.
    """
    assert traffic[40] - traffic[8] < 4_000
