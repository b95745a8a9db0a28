"""Algorithm 1 and Eqs. (1)–(4) in plaintext: what the encrypted run is held to."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import BdnError, UsageError
from bdn.learning import (
    Data,
    LocalResult,
    PaperCNN,
    TooFewDevicesError,
    TrainingSettings,
    accuracy,
    apply_update,
    device_generator,
    federated,
    global_loss,
    local_gradient,
    local_update,
    split,
    train,
    weighted_sum,
)
from bdn.randomness import SeededRandomness
from bdn.trace import Recorder

RULES = TrainingSettings(epochs=3, iterations=4, batch_size=16)


@dataclass(frozen=True)
class Bowl:
    """F_k(w) = ½‖w − c_k‖²: a device whose Algorithm 1 can be done on paper."""

    centre: tuple[float, ...]
    sample_count: int

    def loss(self, w: Any) -> float:
        return float(((w - np.array(self.centre)) ** 2).sum() / 2)

    def gradient(self, w: Any) -> Any:
        return w - np.array(self.centre, np.float32)

    def update(self, w: Any, rules: Any, epoch: int, rng: Any, global_gradient: Any) -> LocalResult:
        local = w.copy()
        for _ in range(rules.iterations):
            correction = 0 if global_gradient is None else global_gradient - self.gradient(w)
            local = local - np.float32(rules.step_size) * (self.gradient(local) + correction)
        return LocalResult(local, self.loss(w), self.sample_count)


@dataclass(frozen=True)
class Broken(Bowl):
    """Fails, or diverges, in the epochs that it is told."""

    epochs: tuple[int, ...] = ()
    diverges: bool = False

    def update(self, w: Any, rules: Any, epoch: int, rng: Any, global_gradient: Any) -> LocalResult:
        result = super().update(w, rules, epoch, rng, global_gradient)
        if epoch not in self.epochs:
            return result
        if self.diverges:
            return replace(result, w=result.w * np.nan, diverged=True, reason="not finite")
        raise RuntimeError("the battery is empty")


@st.composite
def bowls(draw: st.DrawFn) -> dict[str, Bowl]:
    """Any number of devices, any dimension, any sample counts."""
    size, devices = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    number = st.integers(-20, 20).map(lambda n: n / 4)
    centre = st.lists(number, min_size=size, max_size=size).map(tuple)
    return {f"device {k}": Bowl(draw(centre), draw(st.integers(1, 500))) for k in range(devices)}


def centre_of(devices: dict[str, Bowl]) -> np.ndarray:
    s = sum(d.sample_count for d in devices.values())
    return sum(np.array(d.centre) * d.sample_count for d in devices.values()) / s


@given(bowls())
def test_equation_4_is_fedavgs_weighted_mean(devices: dict[str, Bowl]) -> None:
    """w^(p-1) + (1/s) Σ s_k (w_k − w^(p-1)) = (1/s) Σ s_k w_k, over the rationals and in floats."""
    start = np.ones(len(next(iter(devices.values())).centre), np.float32)
    weights = [d.sample_count for d in devices.values()]
    local = [np.array(d.centre, np.float32) for d in devices.values()]
    ours = apply_update(start, weighted_sum([w - start for w in local], weights), sum(weights))
    for i in range(len(start)):
        exact = sum(Fraction(float(w[i])) * s_k for w, s_k in zip(local, weights, strict=True))
        assert float(ours[i]) == pytest.approx(float(exact / sum(weights)), abs=1e-5)


@given(bowls())
def test_equation_1_weights_each_loss_by_its_samples(devices: dict[str, Bowl]) -> None:
    """F(w) = Σ s_k F_k(w) / s."""
    start = np.zeros(len(next(iter(devices.values())).centre), np.float32)
    rules = TrainingSettings(epochs=1, iterations=2, step_size=0.25)
    result = train(None, devices, rules, w=start)[0]
    s = sum(d.sample_count for d in devices.values())
    expected = sum(d.sample_count * d.loss(result.w) for d in devices.values()) / s
    assert result.global_loss == pytest.approx(expected, abs=1e-9)


@given(bowls(), st.sampled_from(["sgd", "svrg"]))
def test_algorithm_1_on_bowls_is_what_paper_and_pencil_give(
    devices: dict[str, Bowl], rule: str
) -> None:
    """With F_k = ½‖w − c_k‖² each epoch shrinks w − c̄ by (1 − λ)^T, under both rules."""
    start = np.full(len(next(iter(devices.values())).centre), 3, np.float32)
    rules = TrainingSettings(rule, epochs=4, iterations=3, step_size=0.25)
    results = train(None, devices, rules, w=start)
    centre = centre_of(devices)
    for result in results:
        shrunk = centre + (start - centre) * 0.75 ** (3 * result.epoch)
        np.testing.assert_allclose(result.w, shrunk, atol=1e-4)


@given(bowls())
def test_equation_2_the_best_model_is_the_one_with_the_least_loss(devices: dict[str, Bowl]) -> None:
    """Algorithm 1, line 13, also when the steps are so long that the loss grows."""
    start = np.full(len(next(iter(devices.values())).centre), 3, np.float32)
    rules = TrainingSettings(epochs=4, iterations=1, step_size=2.5)
    last = train(None, devices, rules, w=start)[-1]
    seen = [start] + [r.w for r in train(None, devices, rules, w=start)]
    F = [sum(d.sample_count * d.loss(w) for d in devices.values()) for w in seen]
    assert F[last.best_epoch] == pytest.approx(min(F), rel=1e-6, abs=1e-6)
    assert np.array_equal(last.best_w, seen[last.best_epoch])


def test_it_stops_when_a_step_is_within_the_threshold() -> None:
    """Section 4.1: until ‖w^(p) − w^(p-1)‖ ≤ ε."""
    devices = {"a": Bowl((0.0,), 1)}
    rules = TrainingSettings(epochs=50, iterations=1, step_size=0.5, tolerance=0.1)
    results = train(None, devices, rules, w=np.ones(1, np.float32))
    norms = [r.step_norm for r in results]
    assert norms[-1] <= 0.1 < norms[-2]
    assert [r.stopped for r in results] == [False] * (len(results) - 1) + [True]


def test_two_epochs_with_the_cnn_are_algorithm_1_line_by_line(digits: Data) -> None:
    """svrg: gradient phase, local updates from named substreams, Eq. (4); nothing else."""
    cnn, rng = PaperCNN(), SeededRandomness(5)
    devices = dict(zip("abc", split(digits.train.subset(np.arange(90)), 3, "size"), strict=True))
    rules = TrainingSettings("svrg", epochs=2, iterations=3, step_size=0.5, batch_size=4)
    results = train(cnn, devices, rules, rng=rng)
    w = cnn.parameters()
    s = sum(map(len, devices.values()))
    for p in (1, 2):
        G = sum(len(d) * local_gradient(cnn, w, d).astype(float) for d in devices.values()) / s
        local = {
            name: local_update(cnn, w, d, "svrg", 3, 0.5, 4,
                               device_generator(SeededRandomness(5), name, p),
                               G.astype(np.float32)).w
            for name, d in devices.items()
        }
        mean = sum(len(devices[name]) * v.astype(float) for name, v in local.items()) / s
        w = mean.astype(np.float32)
        np.testing.assert_allclose(results[p - 1].w, w, atol=1e-6)
    assert results[-1].global_loss == pytest.approx(
        global_loss(cnn, results[-1].w, list(devices.values())))


def test_devices_together_beat_each_device_alone(digits: Data) -> None:
    """Section 5: the global model is better than local ones at equal iterations."""
    cnn = PaperCNN()
    devices = split(digits.train, 5)
    rules = TrainingSettings(epochs=5)
    together = accuracy(cnn, train(cnn, devices, rules)[-1].w, digits.test)
    alone = [accuracy(cnn, train(cnn, {str(k): d}, rules)[-1].w, digits.test)
             for k, d in enumerate(devices[:2])]
    assert together > max(alone)
    assert together > 0.92


def test_a_failing_device_is_named_and_the_epoch_goes_on() -> None:
    """If enough remain."""
    devices = {"a": Bowl((1.0,), 2), "b": Broken((9.0,), 5, epochs=(2,)), "c": Bowl((3.0,), 2)}
    rules = TrainingSettings(epochs=3, iterations=1, step_size=1.0)
    results = train(None, devices, rules, w=np.zeros(1, np.float32), minimum_contributors=2)
    assert [r.contributors for r in results] == [("a", "b", "c"), ("a", "c"), ("a", "b", "c")]
    assert "battery" in results[1].refused["b"]
    assert not results[2].refused
    assert results[1].w[0] == pytest.approx(2.0)


def test_a_diverged_model_is_named_and_not_averaged() -> None:
    devices = {"a": Bowl((1.0,), 2), "b": Broken((9.0,), 5, epochs=(1,), diverges=True)}
    rules = TrainingSettings(epochs=1, iterations=1, step_size=1.0)
    result = train(None, devices, rules, w=np.zeros(1, np.float32))[0]
    assert result.w[0] == pytest.approx(1.0)
    assert "diverged" in result.refused["b"]


def test_with_too_few_devices_left_the_run_ends_and_says_who_failed() -> None:
    devices = {"a": Bowl((1.0,), 2), "b": Broken((9.0,), 5, epochs=(1,))}
    with pytest.raises(TooFewDevicesError, match="b: RuntimeError: the battery is empty"):
        train(None, devices, RULES, w=np.zeros(1, np.float32), minimum_contributors=2)


def test_the_hook_sees_each_vector_that_a_device_would_seal(digits: Data) -> None:
    """Quantising in the hook moves w by at most half a step: the bound of the chain's oracle."""
    cnn, devices = PaperCNN(), split(digits.train.subset(np.arange(60)), 3)
    rules = replace(RULES, rule="svrg", epochs=1)
    seen: list[tuple[str, int, str]] = []
    step = 2.0**-12

    def quantise(device: str, epoch: int, phase: str, vector: Any) -> Any:
        seen.append((device, epoch, phase))
        return np.round(vector / step) * step if phase == "weights" else vector

    exact = train(cnn, devices, rules)[0]
    rounded = train(cnn, devices, rules, post_process=quantise)[0]
    assert seen == [(d, 1, phase) for phase in ("gradient", "weights") for d in "012"]
    assert 0 < abs(exact.w - rounded.w).max() <= step / 2 + 1e-6


def test_the_seed_repeats_a_run_and_the_trace_hears_each_epoch(digits: Data) -> None:
    cnn, devices = PaperCNN(), split(digits.train.subset(np.arange(60)), 3)
    trace = Recorder()
    one = train(cnn, devices, RULES, rng=SeededRandomness(1), trace=trace)
    two = train(cnn, devices, RULES, rng=SeededRandomness(1))
    other = train(cnn, devices, RULES, rng=SeededRandomness(2))
    assert np.array_equal(one[-1].w, two[-1].w)
    assert not np.array_equal(one[-1].w, other[-1].w)
    assert [e["epoch"] for e in trace.events] == [1, 2, 3]


def test_impossible_runs_are_refused(digits: Data) -> None:
    cnn = PaperCNN()
    for call in (
        lambda: train(cnn, []),
        lambda: train(None, [digits.test]),
        lambda: train(None, {"a": Bowl((1.0,), 1)}),
        lambda: train(cnn, [digits.test], TrainingSettings(rule="adam")),
        lambda: train(cnn, [digits.test], minimum_contributors=0),
    ):
        with pytest.raises(UsageError):
            call()
    assert issubclass(TooFewDevicesError, BdnError)
    assert next(iter(federated(cnn, [digits.test], RULES))).epoch == 1
