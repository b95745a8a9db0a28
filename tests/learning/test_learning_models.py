"""Softmax regression and the perceptron: true gradients, PyTorch's results, a convex minimum."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import ModelError, TrainingSettings, train
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.models.classifier import Classifier
from bdn.learning.models.mlp import MultilayerPerceptron
from bdn.learning.models.softmax import SoftmaxRegression

SHAPE, CLASSES = (3, 2), 4
MODELS: list[Classifier] = [SoftmaxRegression(SHAPE, CLASSES),
                            MultilayerPerceptron(SHAPE, CLASSES, hidden=5)]


def batch(seed: int, B: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((B, *SHAPE), np.float32), rng.integers(0, CLASSES, B)


def some_parameters(model: Classifier, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=model.size).astype(np.float32)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@given(seed=st.integers(0, 1000))
def test_the_gradient_agrees_with_finite_differences(model: Classifier, seed: int) -> None:
    """Along a random direction, at a point where no hidden unit changes sides within the step."""
    X, y = batch(seed)
    w = some_parameters(model, seed)
    direction = np.random.default_rng(seed + 1).normal(size=model.size)
    direction /= np.linalg.norm(direction)
    h = 2e-3
    ahead, behind = ((w + sign * h * direction).astype(np.float32) for sign in (1, -1))
    if isinstance(model, MultilayerPerceptron):
        _W1, _b1, _, _ = model._layers(w)
        answers = [np.sign(X.reshape(len(X), -1) @ model._layers(v)[0] + model._layers(v)[1])
                   for v in (ahead, behind)]
        if not np.array_equal(*answers):
            return  # a kink lies between the two points
    slope = (model.loss(ahead, X, y) - model.loss(behind, X, y)) / (2 * h)
    gradient = model.loss_and_gradient(w, X, y)[1]
    assert gradient @ direction == pytest.approx(slope, abs=2e-3)


def torch_twin(torch: Any, model: Classifier, w: np.ndarray) -> Any:
    """The same network in PyTorch, whose linear layers hold transposed weights."""
    nn = torch.nn
    inputs = int(np.prod(SHAPE))
    arrays = model._layers(w)  # type: ignore[attr-defined] - both models have it
    sizes = [inputs, *(len(b) for b in arrays[1::2])]
    linear = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for layer, W, b in zip(linear, arrays[::2], arrays[1::2], strict=True):
        layer.weight.data = torch.from_numpy(W.T.copy())
        layer.bias.data = torch.from_numpy(b.copy())
    stack = [nn.Flatten(), linear[0]]
    for layer in linear[1:]:
        stack += [nn.ReLU(), layer]
    return nn.Sequential(*stack)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_loss_gradient_and_scores_are_pytorchs(model: Classifier) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle (extra: oracles)")
    w = some_parameters(model, 3)
    X, y = batch(4, 50)
    twin = torch_twin(torch, model, w)
    S = twin(torch.from_numpy(X))
    loss = torch.nn.functional.cross_entropy(S, torch.from_numpy(y))
    loss.backward()
    theirs = np.concatenate([part for layer in twin if hasattr(layer, "weight")
                             for part in (layer.weight.grad.numpy().T.ravel(),
                                          layer.bias.grad.numpy())])
    ours_loss, ours = model.loss_and_gradient(w, X, y)
    assert ours_loss == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(model.scores(w, X), S.detach().numpy(), atol=1e-4)


def test_sizes_are_those_of_the_lessons() -> None:
    assert SoftmaxRegression().size == 7_850
    assert MultilayerPerceptron().size == 784 * 32 + 32 + 320 + 10


def test_federated_descent_on_a_convex_loss_reaches_the_common_minimum() -> None:
    """One full-batch step per epoch is gradient descent on F: it ends where ∇F is zero, though the
    devices' own minima lie elsewhere.
    """
    rng = np.random.default_rng(0)
    parts = []
    for k in range(3):
        X = rng.random((20 + 10 * k, *SHAPE), np.float32)
        y = rng.integers(0, 2, len(X)) + k % 2
        parts.append(Dataset(X, y.astype(np.int64), CLASSES))
    model = SoftmaxRegression(SHAPE, CLASSES)
    rules = TrainingSettings("sgd", epochs=3000, iterations=1, step_size=1.0, batch_size=1000)
    w = train(model, parts, rules)[-1].w
    together = Dataset(np.concatenate([part.inputs for part in parts]),
                       np.concatenate([part.labels for part in parts]), CLASSES)
    gradient = model.loss_and_gradient(w, together.batch(np.arange(len(together)))[0],
                                       together.labels)[1]
    start = model.loss_and_gradient(model.parameters(), together.inputs, together.labels)[1]
    assert np.linalg.norm(gradient) < 0.03 * np.linalg.norm(start)
    own = model.loss_and_gradient(w, parts[0].inputs, parts[0].labels)[1]
    assert np.linalg.norm(own) > 3 * np.linalg.norm(gradient)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_does_not_fit_is_refused(model: Classifier) -> None:
    X, y = batch(0)
    w = model.parameters()
    for wrong in (w[:-1], w.astype(np.float64)):
        with pytest.raises(ModelError, match=str(model.size)):
            model.loss_and_gradient(wrong, X, y)
    with pytest.raises(ModelError, match=r"\(B, 3, 2\)"):
        model.loss_and_gradient(w, X.reshape(len(X), 6), y)
    with pytest.raises(ModelError, match="labels"):
        model.loss_and_gradient(w, X, y + CLASSES)
    with pytest.raises(UsageError):
        type(model)(SHAPE, 1)  # type: ignore[call-arg] - both models take shape and classes
