"""Server-side rules, schedules and early stopping over the ledger, against plaintext."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import opened_run
from bdn.learning import TrainingSettings, federated, local_update
from bdn.learning.federated import device_generator
from bdn.learning.local import local_iterations
from bdn.nodes.ciphers import clips
from bdn.nodes.settings import Settings
from bdn.paillier.vector.fixedpoint import FixedPoint
from bdn.randomness import SeededRandomness

SMALL = RunConfig(model="softmax", devices=3, edges=1, threshold=2, epochs=3, iterations=2,
                  batch_size=4, samples=8, key_bits=512, deterministic=True, seed=3,
                  norm_bound=None)


@pytest.mark.parametrize("options", [
    {"server_rule": "fedadam", "schedule": "exponential:0.5"},
    {"server_rule": "fedavgm", "server_step_size": 0.5, "server_momentum": 0.5}])
def test_the_model_is_the_plaintext_algorithms_and_survives_a_restart(
    options: dict[str, object], tmp_path: Path
) -> None:
    """The run stops after an epoch and goes on: the moments come from the journal."""
    config = replace(SMALL, **options)  # type: ignore[arg-type]
    folder = RunFolder.create(tmp_path / "run", config)
    with opened_run(config, folder) as run:
        run.runner.run(lambda: run.devices[0].progress.done == 1)
    with opened_run(config, RunFolder.open(folder.path)) as run:
        run.complete()
        people, settings = run.material.participants, run.material.settings
        w = run.devices[0].progress.w
        assert all(np.array_equal(device.progress.w, w) for device in run.devices)
        named = dict(zip(run.material.device_names, people.learners, strict=True))

    def rounded(_device: str, _epoch: int, phase: str, vector: np.ndarray) -> np.ndarray:
        code = FixedPoint(len(vector), clips(settings, phase)[: len(vector)], settings.value_bits,
                          settings.total_weight)
        return code.to_values(code.quantise(vector.astype(np.float64)))

    oracle = list(federated(people.model, named, settings, w=people.w, post_process=rounded,
                            rng=SeededRandomness(config.seed)))
    np.testing.assert_allclose(w, oracle[-1].w, rtol=0, atol=1e-6)
    plain = list(federated(people.model, named, replace(settings, server_rule="mean"), w=people.w,
                           post_process=rounded, rng=SeededRandomness(config.seed)))
    assert np.abs(w - plain[-1].w).max() > 1e-3, "the rule matters"


def test_a_run_whose_loss_no_longer_falls_stops_and_all_devices_agree() -> None:
    """A step size that makes F rise: the run closes after the patience, long before its end."""
    with opened_run(replace(SMALL, epochs=9, step_size=60.0, weight_clip=50.0, loss_clip=1e4,
                            patience=2)) as run:
        history = run.complete()
        lengths = {len(device.progress.history) for device in run.devices}
    losses = [row["loss_before"] for row in history["epochs"]]
    assert len(lengths) == 1
    assert history["epochs"][-1]["closing"]
    trained = losses[:-1]
    assert len(trained) < 9
    assert min(trained[-2:]) >= min(trained[:-2])


def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in ((["--schedule", "linear"], "--schedule: a schedule is"),
                            (["--server-rule", "adam"], "--server-rule"),
                            (["--server-momentum", "1"], "--server-momentum must lie"),
                            (["--patience", "0"], "--patience must lie")):
        assert invoke(["run", *arguments]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("options", "threshold"), [
    ({}, 3), ({"devices": 2}, 1), ({"devices": 3}, 2), ({"devices": 4}, 3), ({"devices": 10}, 6),
    ({"devices": 1000, "key_holders": 16}, 9), ({"devices": 10, "participation": 0.4}, 3),
    ({"devices": 10, "minimum_contributors": 4}, 3), ({"devices": 10, "threshold": 2}, 2)])
def test_the_threshold_follows_the_devices_where_it_is_not_given(
    options: dict[str, int], threshold: int
) -> None:
    config = RunConfig(**options)  # type: ignore[arg-type]
    assert config.threshold == threshold
    assert config.threshold < config.minimum <= config.drawn
    assert RunConfig.from_json(config.to_json()) == config


def test_local_epochs_are_passes_over_each_devices_samples() -> None:
    """Devices with 1, 2 and 3 parts of the samples take as many steps more, as by hand."""
    config = replace(SMALL, split="size", samples=None, epochs=1, local_epochs=2, batch_size=50)
    with opened_run(config) as run:
        run.complete()
        people, w = run.material.participants, run.devices[0].progress.w
        names = run.material.device_names
    total, weights = np.zeros(len(w)), 0
    for name, learner in zip(names, people.learners, strict=True):
        count = learner.sample_count
        local = local_update(
            people.model, people.w, learner.dataset, "sgd", -(-2 * count // 50), 0.1, 50,
            device_generator(SeededRandomness(config.seed), name, 1))
        total += count * (local.w.astype(np.float64) - people.w)
        weights += count
    np.testing.assert_allclose(w, people.w + total / weights, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("rule", "iterations"), [("sgd", 6), ("svrg-literal", 3)])
def test_a_full_batch_rule_takes_one_iteration_per_pass(rule: str, iterations: int) -> None:
    rules = TrainingSettings(rule=rule, local_epochs=3, batch_size=5)
    assert local_iterations(rules, 10) == iterations
    assert local_iterations(TrainingSettings(rule=rule, iterations=7), 10) == 7


def test_local_epochs_beside_iterations_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--local-epochs", "2", "--iterations", "5"]) == 2
    assert "contradict each other" in capsys.readouterr().err


def test_each_layer_has_a_clip_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Values are sealed in steps of their own layer's clip; the opened model is on that grid."""
    config = replace(SMALL, model="mlp", epochs=1, value_bits=8, layer_clips="0.5,0.25,1,2")
    with opened_run(config) as run:
        run.complete()
        people, settings = run.material.participants, run.material.settings
        moved = run.devices[0].progress.w.astype(np.float64) - people.w
    assert Settings.from_plain(settings.to_plain()) == settings
    start, counts = 0, [learner.sample_count for learner in people.learners]
    for shape, clip in zip(people.model.shapes.values(), (0.5, 0.25, 1.0, 2.0), strict=True):
        size = int(np.prod(shape))
        step = FixedPoint(1, np.array([clip]), 8, sum(counts)).step
        levels = moved[start:start + size] * sum(counts) / np.broadcast_to(step, (1,))[0]
        assert np.abs(levels - np.rint(levels)).max() < 1e-2
        start += size
    for wrong, says in (("0.5,1", "must be 4 positive numbers for W1, b1, W2, b2"),
                        ("1,1,1,x", "4 positive numbers"), ("1,1,1,-1", "4 positive numbers")):
        with pytest.raises(UsageError, match=says), opened_run(replace(config, layer_clips=wrong)):
            pass
    assert invoke(["run", "--layer-clips", "1,1"]) == 2
    assert "--norm-bound none" in capsys.readouterr().err
