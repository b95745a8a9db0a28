"""The local update rules of Section 4.1 and Eq. (3), one claim each."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import RULES, Data, Dataset, PaperCNN, local_gradient, local_loss, local_update
from bdn.learning.local import MOMENTUM, PROXIMAL, batches, why_diverged

CNN = PaperCNN(seed=1)


@pytest.fixture(scope="module")
def own(digits: Data) -> Dataset:
    return digits.train.subset(np.arange(40))


@pytest.fixture(scope="module")
def gradient(digits: Data) -> np.ndarray:
    return local_gradient(CNN, CNN.parameters(), digits.train.subset(np.arange(40, 100)))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_sgd_is_the_rule_above_equation_3(own: Dataset) -> None:
    """w_k^(t) = w_k^(t-1) − λ ∇F_k(w_k^(t-1)); full batches make it exact."""
    w = expected = CNN.parameters()
    for _ in range(3):
        expected = expected - np.float32(0.1) * local_gradient(CNN, expected, own)
    result = local_update(CNN, w, own, "sgd", 3, 0.1, 40, rng())
    np.testing.assert_allclose(result.w, expected, atol=1e-6)
    assert result.local_loss == pytest.approx(local_loss(CNN, w, own))
    assert (result.sample_count, result.diverged) == (40, False)


def test_the_literal_rule_is_equation_3_as_printed(own: Dataset, gradient: np.ndarray) -> None:
    """w ← w − λ/s_k ([∇F_k(w) − ∇F_k(w^(p-1))] + ∇F(w^(p-1))) with full-batch gradients."""
    w = expected = CNN.parameters()
    anchor = local_gradient(CNN, w, own)
    for _ in range(3):
        change = local_gradient(CNN, expected, own) - anchor + gradient
        expected = expected - np.float32(20 / 40) * change
    result = local_update(CNN, w, own, "svrg-literal", 3, 20.0, 1, rng(), gradient)
    np.testing.assert_allclose(result.w, expected, atol=2e-6)


@given(st.integers(1, 40))
def test_the_first_svrg_step_is_the_global_gradient(b: int) -> None:
    """At w = w^(p-1) the two local gradients cancel: the step is λ b/s_k ∇F, whatever the batch."""
    data = Dataset(np.random.default_rng(0).random((40, 28, 28), np.float32),
                   np.arange(40) % 10)
    w, G = CNN.parameters(), np.random.default_rng(1).standard_normal(CNN.size, np.float32)
    result = local_update(CNN, w, data, "svrg", 1, 0.5, b, rng(), G)
    np.testing.assert_allclose(result.w, w - np.float32(0.5 * b / 40) * G, atol=1e-6)


@pytest.mark.parametrize("b", [1, 8])
def test_svrg_is_equation_3_with_stochastic_gradients(
    own: Dataset, gradient: np.ndarray, b: int
) -> None:
    """b = 1 is the single-sample rule of FSVRG and BlockFL; one batch serves both gradients."""
    w = expected = CNN.parameters()
    for chosen in itertools.islice(batches(40, b, rng()), 4):
        part = own.subset(chosen)
        change = local_gradient(CNN, expected, part) - local_gradient(CNN, w, part) + gradient
        expected = expected - np.float32(0.5 * b / 40) * change
    result = local_update(CNN, w, own, "svrg", 4, 0.5, b, rng(), gradient)
    np.testing.assert_allclose(result.w, expected, atol=1e-6)


def test_full_batch_svrg_with_the_own_gradient_is_gradient_descent(own: Dataset) -> None:
    """A device alone (n = 1): ∇F = ∇F_k, so Eq. (3)'s correction vanishes."""
    w = CNN.parameters()
    own_gradient = local_gradient(CNN, w, own)
    svrg = local_update(CNN, w, own, "svrg", 3, 0.1, 40, rng(), own_gradient)
    sgd = local_update(CNN, w, own, "sgd", 3, 0.1, 40, rng())
    np.testing.assert_allclose(svrg.w, sgd.w, atol=1e-6)


def test_the_start_is_not_changed_and_the_generator_decides_all(own: Dataset) -> None:
    w = CNN.parameters()
    before = w.copy()
    one, two = (local_update(CNN, w, own, "sgd", 4, 0.1, 8, rng()) for _ in range(2))
    other = local_update(CNN, w, own, "sgd", 4, 0.1, 8, np.random.default_rng(8))
    assert np.array_equal(w, before)
    assert np.array_equal(one.w, two.w)
    assert not np.array_equal(one.w, other.w)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**32))
def test_a_pass_sees_each_sample_once(count: int, size: int, seed: int) -> None:
    """Batches are cut from permutations: after n·s_k draws each sample came n times."""
    size = min(size, count)
    passes = math.lcm(count, size) // count
    endless = batches(count, size, np.random.default_rng(seed))
    taken = itertools.islice(endless, passes * count // size)
    assert np.bincount(np.concatenate(list(taken)), minlength=count).tolist() == [passes] * count


def test_a_long_sets_gradient_is_the_mean_of_its_parts(digits: Data) -> None:
    w, big = CNN.parameters(), digits.train.subset(np.arange(600))
    halves = [local_gradient(CNN, w, digits.train.subset(np.arange(k, k + 200)))
              for k in (0, 200, 400)]
    np.testing.assert_allclose(local_gradient(CNN, w, big), np.mean(halves, axis=0), atol=1e-6)


def test_values_that_are_not_finite_are_reported(own: Dataset) -> None:
    """A diverged model is reported, not averaged in silence."""
    result = local_update(CNN, CNN.parameters(), own, "sgd", 6, 1e30, 40, rng())
    assert result.diverged
    assert "finite" in result.reason


def test_a_dead_network_is_reported_as_stuck(own: Dataset) -> None:
    """Stuck at the uniform loss: no hidden unit answers any image."""
    w = CNN.parameters()
    layers = CNN.layers(w)
    layers.b2[:] = -100
    layers.b3[:] = 0
    assert local_loss(CNN, w, own) == pytest.approx(math.log(10))
    assert "stuck" in why_diverged(CNN, w, own)
    assert local_update(CNN, w, own, "sgd", 2, 0.1, 8, rng()).diverged


def test_a_fresh_model_and_a_single_image_are_not_taken_for_dead(own: Dataset) -> None:
    assert why_diverged(CNN, CNN.parameters(), own) == ""
    assert why_diverged(CNN, CNN.parameters(), own.subset(np.array([3]))) == ""


@pytest.mark.parametrize(
    ("rule", "T", "λ", "b", "why"),
    [
        ("adam", 1, 0.1, 1, "rule"), ("sgd", 0, 0.1, 1, "iterations"),
        ("sgd", 1, 0.0, 1, "step size"), ("sgd", 1, math.nan, 1, "step size"),
        ("sgd", 1, 0.1, 0, "batch"), ("svrg", 1, 0.1, 1, "global gradient"),
        ("svrg-literal", 1, 0.1, 1, "global gradient"),
    ],
)  # fmt: skip
def test_impossible_rules_are_refused(
    own: Dataset, rule: str, T: int, λ: float, b: int, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        local_update(CNN, CNN.parameters(), own, rule, T, λ, b, rng())


# --- rules beyond the paper's --------------------------------------------------------------------


def recurrence(own: Dataset, steps: int, rule: str, λ: float) -> np.ndarray:
    """The rules' defining recurrences in double precision, with all samples in each step."""
    start = CNN.parameters().astype(np.float64)
    w, v = start.copy(), np.zeros_like(start)
    for _ in range(steps):
        g = CNN.loss_and_gradient(w.astype(np.float32), own.images, own.labels)[1].astype(float)
        match rule:
            case "fedprox":
                w = w - λ * (g + PROXIMAL * (w - start))
            case "momentum":
                v = MOMENTUM * v + g
                w = w - λ * v
    return w


@pytest.mark.parametrize("rule", ["fedprox", "momentum"])
def test_a_rule_follows_its_recurrence(own: Dataset, rule: str) -> None:
    w = CNN.parameters()
    result = local_update(CNN, w, own, rule, 5, 0.05, len(own), rng())
    np.testing.assert_allclose(result.w, recurrence(own, 5, rule, 0.05), atol=2e-5)
    plain = local_update(CNN, w, own, "sgd", 5, 0.05, len(own), rng())
    assert abs(result.w - plain.w).max() > 1e-4


@pytest.mark.parametrize("rule", ["momentum", "nesterov"])
def test_momentum_is_pytorchs(own: Dataset, rule: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle (extra: oracles)")
    w = torch.nn.Parameter(torch.from_numpy(CNN.parameters()))
    optimiser = torch.optim.SGD([w], lr=0.05, momentum=MOMENTUM, nesterov=rule == "nesterov")
    for _ in range(5):
        now = w.detach().numpy()
        w.grad = torch.from_numpy(CNN.loss_and_gradient(now, own.images, own.labels)[1])
        optimiser.step()
    ours = local_update(CNN, CNN.parameters(), own, rule, 5, 0.05, len(own), rng())
    np.testing.assert_allclose(ours.w, w.detach().numpy(), atol=1e-6)


def test_every_rule_trains_and_says_whether_it_needs_the_gradient(own: Dataset) -> None:
    w = CNN.parameters()
    gradient = local_gradient(CNN, w, own)
    before = local_loss(CNN, w, own)
    for name, rule in RULES.items():
        given = gradient if rule.needs_gradient else None
        result = local_update(CNN, w, own, name, 8, rule.step_size, 16, rng(), given)
        assert local_loss(CNN, result.w, own) < before
        if rule.needs_gradient:
            with pytest.raises(UsageError, match="global gradient"):
                local_update(CNN, w, own, name, 1, 0.1, 16, rng())
