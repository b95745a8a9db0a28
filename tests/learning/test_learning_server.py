"""Server-side rules against PyTorch's and Flower's optimisers; schedules and early stopping."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import apply_update
from bdn.learning.schedules import LEAST, scheduled, stagnates
from bdn.learning.server import (
    ADAPTIVITY,
    NO_MOMENTS,
    SECOND_MOMENT,
    SERVER_RULES,
    server_update,
)

SIZE, STEPS = 50, 6


def settings(rule: str, η: float, β: float = 0.9) -> Any:
    return SimpleNamespace(server_rule=rule, server_step_size=η, server_momentum=β)


def means() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(scale=10.0 ** rng.integers(-4, 0), size=SIZE) for _ in range(STEPS)]


def ours(rule: str, η: float, β: float = 0.9) -> list[np.ndarray]:
    """w after each step from zero; totals are of 7 samples."""
    w, moments, found = np.zeros(SIZE, np.float32), NO_MOMENTS, []
    for delta in means():
        w, moments = server_update(settings(rule, η, β), w, delta * 7, 7, moments)
        found.append(w)
    return found


def test_the_plain_mean_is_eq_4_bit_for_bit() -> None:
    w = np.linspace(-1, 1, SIZE).astype(np.float32)
    for delta in means():
        updated, moments = server_update(settings("mean", 1.0), w, delta * 7, 7, NO_MOMENTS)
        assert updated.tobytes() == apply_update(w, delta * 7, 7).tobytes()
        assert moments is NO_MOMENTS


def test_fedavgm_is_pytorchs_sgd_with_momentum() -> None:
    """The mean is the negative gradient; float32 rounding after each step is all that differs."""
    torch = pytest.importorskip("torch")
    w = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=0.7, momentum=0.9)
    for delta, mine in zip(means(), ours("fedavgm", 0.7), strict=True):
        w.grad = -torch.from_numpy(delta)
        optimiser.step()
        np.testing.assert_allclose(mine, w.detach().numpy(), rtol=1e-6, atol=1e-7)


def test_fedadam_is_pytorchs_adam_without_bias_correction() -> None:
    """Reddi et al., Algorithm 2, by torch.optim.Adam whose corrections are cancelled.

    Adam steps by lr/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε). With lr = η (1 − β₁ᵗ)/√(1 − β₂ᵗ) and
    ε = τ/√(1 − β₂ᵗ) that is η m/(√v + τ).
    """
    torch = pytest.importorskip("torch")
    η, β1, β2 = 0.05, 0.9, SECOND_MOMENT
    w = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=1.0, betas=(β1, β2), eps=1.0)
    optimiser.state[w] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(w),
                          "exp_avg_sq": torch.full_like(w, ADAPTIVITY**2)}
    for t, (delta, mine) in enumerate(zip(means(), ours("fedadam", η), strict=True), 1):
        root = math.sqrt(1 - β2**t)
        optimiser.param_groups[0].update(lr=η * (1 - β1**t) / root, eps=ADAPTIVITY / root)
        w.grad = -torch.from_numpy(delta)
        optimiser.step()
        np.testing.assert_allclose(mine, w.detach().numpy(), rtol=1e-6, atol=1e-7)


def test_fedavgm_is_flowers_strategy() -> None:
    flwr = pytest.importorskip("flwr")
    strategy_module = pytest.importorskip("flwr.server.strategy")
    common = flwr.common
    strategy = strategy_module.FedAvgM(
        server_learning_rate=0.7, server_momentum=0.9,
        initial_parameters=common.ndarrays_to_parameters([np.zeros(SIZE)]))
    w = np.zeros(SIZE)
    for turn, (delta, mine) in enumerate(zip(means(), ours("fedavgm", 0.7), strict=True), 1):
        sent = common.ndarrays_to_parameters([w + delta])
        result = common.FitRes(common.Status(common.Code.OK, ""), sent, 7, {})
        parameters, _ = strategy.aggregate_fit(turn, [(None, result)], [])
        w = common.parameters_to_ndarrays(parameters)[0]
        np.testing.assert_allclose(mine, w, rtol=1e-6, atol=1e-7)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6),
       st.sampled_from(sorted(SERVER_RULES)))
def test_an_entry_does_not_depend_on_the_others(delta: list[float], rule: str) -> None:
    """What makes every device's result the same: no sums over entries, whose order could differ."""
    whole, _ = server_update(settings(rule, 0.3), np.zeros(len(delta), np.float32),
                             np.array(delta), 3, NO_MOMENTS)
    for at, value in enumerate(delta):
        alone, _ = server_update(settings(rule, 0.3), np.zeros(1, np.float32),
                                 np.array([value]), 3, NO_MOMENTS)
        assert alone[0] == whole[at]


def test_schedules_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    for text, make in (
        ("constant", lambda o: schedulers.ConstantLR(o, 1.0)),
        ("step:3:0.5", lambda o: schedulers.StepLR(o, 3, 0.5)),
        ("exponential:0.9", lambda o: schedulers.ExponentialLR(o, 0.9)),
        ("cosine:10", lambda o: schedulers.CosineAnnealingLR(o, 10)),
    ):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
        scheduler = make(optimiser)
        for epoch in range(1, 11):
            assert scheduled(0.4, text, epoch) == pytest.approx(
                scheduler.get_last_lr()[0], rel=1e-9)
            optimiser.step()
            scheduler.step()
    assert scheduled(0.4, "cosine:10", 50) == 0.4 * LEAST


@pytest.mark.parametrize("text", ["", "linear", "step", "step:0:0.5", "step:3", "step:3:2",
                                  "exponential:0", "exponential:nan", "cosine:x", "cosine:1:2",
                                  "cosine:" + "9" * 400, "step:1:0.5:x"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a schedule is"):
        scheduled(0.1, text, 1)


def test_a_run_stagnates_when_its_least_loss_is_old() -> None:
    assert not stagnates([], 2)
    assert not stagnates([3.0, 2.0, 2.5], 2)
    assert stagnates([3.0, 2.0, 2.5, 2.0], 2)
    assert not stagnates([3.0, 2.0, 2.5, 1.9], 2)
    assert not stagnates([1.0] * 9, 0)
