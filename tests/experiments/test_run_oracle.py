"""The chain-borne run against Algorithm 1 in plaintext: the same model, epoch by epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.learning import federated
from bdn.nodes.ciphers import clips
from bdn.nodes.device.device import Device
from bdn.paillier.vector.fixedpoint import FixedPoint
from bdn.randomness import SeededRandomness

Tiny = Callable[..., RunConfig]


def models_by_epoch(config: RunConfig) -> tuple[list[np.ndarray], Any]:
    """w^(1) … w^(P) of a chain-borne run, and the run's material."""
    models: dict[int, np.ndarray] = {}
    with opened_run(config) as run:
        device: Device = run.devices[0]

        def watch(record: dict[str, Any]) -> None:
            if record["event"] == "opened" and record["node"] == device.name:
                models.setdefault(len(device.progress.history), device.progress.w)

        run.listen(watch)
        run.complete()
        for other in run.devices[1:]:  # every device computes the same model by itself
            assert np.array_equal(other.progress.w, device.progress.w)
        material = run.material
        ordered = [models[p] for p in sorted(models) if p in range(1, config.epochs + 1)]
        return ordered, material


@pytest.mark.parametrize(("cipher", "rule", "model"), [
    ("ring-masked", "sgd", "paper-cnn"), ("ring-masked", "svrg", "softmax"),
    ("packed", "sgd", "softmax")])
def test_every_epoch_equals_algorithm_1_up_to_the_fixed_point_step(
    tiny: Tiny, cipher: str, rule: str, model: str
) -> None:
    """Algorithm 1 in plaintext is the oracle of the whole run.

    Rounding each δ_k to the nearest level moves a mean by at most half a level; later epochs train
    from a model that far apart, so the bound is asserted for the first epoch, and against the
    oracle that rounds alike (whose float sums may differ in the last bit) for all of them.
    """
    key_bits = 256 if cipher == "packed" else 512
    config = tiny(rule=rule, cipher=cipher, model=model, key_bits=key_bits)
    models, material = models_by_epoch(config)
    settings = material.settings
    people = material.participants
    named = dict(zip(material.device_names, people.learners, strict=True))
    bounds = {phase: clips(settings, phase) for phase in ("weights", "gradient")}

    def rounded(_device: str, _epoch: int, phase: str, vector: np.ndarray) -> np.ndarray:
        clip = bounds[phase][: len(vector)]
        code = FixedPoint(len(vector), clip, settings.value_bits, settings.total_weight)
        return code.to_values(code.quantise(vector.astype(np.float64)))

    options = {"rng": SeededRandomness(config.seed)}
    oracle = [r.w for r in federated(people.model, named, settings, post_process=rounded,
                                     **options)]
    assert len(models) == len(oracle) == config.epochs
    for ours, theirs in zip(models, oracle, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)

    exact = next(iter(federated(people.model, named, settings, **options))).w
    step = 2 * settings.weight_clip / (2**settings.value_bits - 1)
    slack = step * (0.5 if rule == "sgd" else 4)  # svrg trains on a rounded ∇F too
    assert np.abs(models[0] - exact).max() <= slack
    assert np.abs(models[0] - people.w).max() > 10 * step, "it did learn"


def test_the_ledgers_loss_is_the_global_loss(tiny: Tiny) -> None:
    """Eq. (1) with the weights of its text: the loss that the aggregate reveals is F(w^(p-1))."""
    config = tiny(epochs=1)
    with opened_run(config) as run:
        run.complete()
        progress = run.devices[0].progress
        material = run.material
    results = list(federated(
        material.participants.model,
        dict(zip(material.device_names, material.participants.learners, strict=True)),
        material.settings, rng=SeededRandomness(config.seed)))
    closing = progress.history[-1]
    assert closing.loss == pytest.approx(results[0].global_loss, abs=2e-3)
    assert progress.best_epoch == results[0].best_epoch
