"""The paper's CNN (Section 5): shapes, equal formulations, true gradients."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bdn.learning import ModelError, PaperCNN
from bdn.learning.models import plain as plain_kernel
from bdn.learning.types import Floats, Integers


def random_batch(seed: int, B: int) -> tuple[Floats, Integers]:
    """Noise of 8 bits a pixel: with `dyadic_parameters`, convolution is exact in float32."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 257, (B, 28, 28)).astype(np.float32) / 256
    return pixels, rng.integers(0, 10, B)


def tied_batch(seed: int, B: int) -> tuple[Floats, Integers]:
    """Images of few grey levels and flat areas: most pool windows hold equal maxima."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (B, 7, 7)).astype(np.float32) / 2
    return coarse.repeat(4, axis=1).repeat(4, axis=2), rng.integers(0, 10, B)


def dyadic_parameters(seed: int) -> Floats:
    """Parameters of few bits, so that convolution, bias and pooling are exact in float32."""
    cnn = PaperCNN(seed=seed)
    w = cnn.parameters()
    layers = cnn.layers(w)
    layers.w1[:] = np.round(layers.w1 * 8) / 8
    layers.b1[:] = np.random.default_rng(seed).integers(-4, 5, layers.b1.shape) / 8
    return w


def away_from_kinks(w: Floats, X: Floats) -> None:
    """Discard a case where rounding may decide whether a hidden unit answers: there the gradient
    jumps, and two right answers differ. (Convolution and pooling are exact here.)
    """
    layers = PaperCNN().layers(w)
    A = plain_kernel._forward(layers, X).pooled @ layers.w2 + layers.b2
    assume(abs(A).min() > 1e-5)


def test_shapes_are_the_papers_for_ten_classes() -> None:
    """Section 5: w1 (10,1,3,3), b1 (10,1), w2 (1960,128), b2 (1,128), w3 (128,10), b3 (1,10)."""
    cnn = PaperCNN()
    assert cnn.shapes == {
        "w1": (10, 1, 3, 3), "b1": (10, 1), "w2": (1960, 128), "b2": (1, 128),
        "w3": (128, 10), "b3": (1, 10),
    }  # fmt: skip
    assert cnn.size == 252_398
    assert cnn.parameters().shape == (252_398,)
    assert cnn.parameters().dtype == np.float32


def test_with_vocs_twenty_classes_only_the_output_layer_grows() -> None:
    """For VOC w3 becomes (128, 20)."""
    assert PaperCNN(classes=20).shapes["w3"] == (128, 20)
    assert PaperCNN(classes=20).size == 252_398 + 128 * 10 + 10


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    """Algorithm 1, line 4: all devices start from the same values."""
    assert np.array_equal(PaperCNN(seed=3).parameters(), PaperCNN(seed=3).parameters())
    assert not np.array_equal(PaperCNN(seed=3).parameters(), PaperCNN(seed=4).parameters())


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_fast_equals_plain_on_random_images(seed: int, B: int) -> None:
    """Same loss, scores and gradient up to float32 rounding."""
    plain, fast = PaperCNN(kernel="plain"), PaperCNN(kernel="fast")
    w, (X, y) = dyadic_parameters(seed % 1000), random_batch(seed, B)
    away_from_kinks(w, X)
    (loss, gradient), (fast_loss, fast_gradient) = (
        cnn.loss_and_gradient(w, X, y) for cnn in (plain, fast)
    )
    assert fast_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(fast.scores(w, X), plain.scores(w, X), atol=1e-5)
    np.testing.assert_allclose(fast_gradient, gradient, atol=2e-6 * max(1, abs(gradient).max()))


@given(st.integers(0, 2**32))
def test_fast_equals_plain_where_pool_windows_are_tied(seed: int) -> None:
    """The first of equal maxima wins in both (exact arithmetic makes the ties exact)."""
    plain, fast = PaperCNN(kernel="plain"), PaperCNN(kernel="fast")
    w, (X, y) = dyadic_parameters(seed % 1000), tied_batch(seed, 4)
    away_from_kinks(w, X)
    gradient = plain.loss_and_gradient(w, X, y)[1]
    fast_gradient = fast.loss_and_gradient(w, X, y)[1]
    np.testing.assert_allclose(fast_gradient, gradient, atol=3e-6 * max(1, abs(gradient).max()))


def test_the_tied_case_tells_the_first_from_the_last() -> None:
    """Negative control: routing to the last of equals gives another gradient for w1."""
    w, (X, y) = dyadic_parameters(1), tied_batch(1, 8)
    cnn = PaperCNN()
    first = cnn.layers(cnn.loss_and_gradient(w, X, y)[1]).w1
    mirrored = w.copy()
    layers = cnn.layers(mirrored)
    layers.w1[:] = layers.w1[:, :, ::-1, ::-1]
    squares = layers.w2.reshape(10, 14, 14, 128)
    squares[:] = squares[:, ::-1, ::-1].copy()
    turned = np.ascontiguousarray(X[:, ::-1, ::-1])
    last = cnn.layers(cnn.loss_and_gradient(mirrored, turned, y)[1]).w1[:, :, ::-1, ::-1]
    assert cnn.loss(mirrored, turned, y) == pytest.approx(cnn.loss(w, X, y), rel=1e-5)
    assert abs(first - last).max() > 1e-3


@pytest.mark.parametrize("kernel", ["plain", "fast"])
def test_gradient_agrees_with_finite_differences(kernel: str) -> None:
    """Central differences of the loss in each of the six arrays.

    The direction is half random, half the gradient's own, so that the slope stands out from
    float32 rounding.
    """
    cnn = PaperCNN(kernel=kernel)
    w, (X, y) = cnn.parameters(), random_batch(5, 6)
    gradient = cnn.loss_and_gradient(w, X, y)[1]
    rng = np.random.default_rng(1)
    for part in cnn.layers(np.arange(cnn.size, dtype=np.float32)):
        inside = slice(int(part.flat[0]), int(part.flat[-1]) + 1)
        direction = np.zeros(cnn.size, np.float32)
        random = rng.standard_normal(inside.stop - inside.start)
        own = gradient[inside]
        direction[inside] = random / np.linalg.norm(random) + own / np.linalg.norm(own)
        direction /= np.linalg.norm(direction)
        h = np.float32(5e-4)
        slope = (cnn.loss(w + h * direction, X, y) - cnn.loss(w - h * direction, X, y)) / (2 * h)
        assert slope == pytest.approx(float(gradient @ direction), rel=0.02, abs=5e-4)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is the oracle here (torch==2.13.0)")


def torch_gradient(torch: Any, w: Floats, X: Floats, y: Integers) -> tuple[float, Floats]:
    """Loss and flat gradient by PyTorch's autograd."""
    layers = [torch.tensor(part.copy(), requires_grad=True) for part in PaperCNN().layers(w)]
    w1, b1, w2, b2, w3, b3 = layers
    functional = torch.nn.functional
    hidden = functional.conv2d(torch.tensor(X)[:, None], w1, b1[:, 0], padding="same")
    pooled = functional.max_pool2d(functional.relu(hidden), 2).flatten(1)
    scores = functional.relu(pooled @ w2 + b2) @ w3 + b3
    loss = functional.cross_entropy(scores, torch.tensor(y))
    loss.backward()
    return loss.item(), np.concatenate([part.grad.numpy().ravel() for part in layers])


@pytest.mark.parametrize("kernel", ["plain", "fast"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_pytorchs(torch: Any, kernel: str, tied: bool, seed: int) -> None:
    """An independent oracle, for random images and for tied pool windows."""
    X, y = tied_batch(seed, 8) if tied else random_batch(seed, 8)
    w = dyadic_parameters(seed)
    loss, gradient = PaperCNN(kernel=kernel).loss_and_gradient(w, X, y)
    expected_loss, expected = torch_gradient(torch, w, X, y)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=3e-6 * max(1, abs(expected).max()))


def test_out_receives_the_gradient_whatever_it_held() -> None:
    cnn = PaperCNN()
    w, (X, y) = cnn.parameters(), random_batch(0, 4)
    out = np.full(cnn.size, np.nan, np.float32)
    _, gradient = cnn.loss_and_gradient(w, X, y, out=out)
    assert gradient is out
    assert np.array_equal(out, cnn.loss_and_gradient(w, X, y)[1])


def test_a_long_set_is_judged_in_chunks_without_a_difference() -> None:
    cnn = PaperCNN()
    w, (X, y) = cnn.parameters(), random_batch(0, 300)
    alone = np.concatenate([cnn.scores(w, X[i : i + 1]) for i in range(300)])
    np.testing.assert_allclose(cnn.scores(w, X), alone, atol=1e-5)
    assert cnn.loss(w, X, y) == pytest.approx(cnn.loss_and_gradient(w, X, y)[0], rel=1e-5)
    np.testing.assert_allclose(cnn.probabilities(w, X).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((2, 28, 27), np.float32), np.zeros(2, np.int64)),
        (np.zeros((0, 28, 28), np.float32), np.zeros(0, np.int64)),
        (np.zeros((2, 28, 28), np.float64), np.zeros(2, np.int64)),
        (np.zeros((2, 28, 28), np.float32), np.zeros(3, np.int64)),
        (np.zeros((2, 28, 28), np.float32), np.zeros(2, np.float32)),
        (np.zeros((2, 28, 28), np.float32), np.array([0, 10])),
        (np.zeros((2, 28, 28), np.float32), np.array([0, -1])),
    ],
)
def test_input_that_does_not_fit_is_refused(X: Any, y: Any) -> None:
    with pytest.raises(ModelError):
        PaperCNN().loss_and_gradient(PaperCNN().parameters(), X, y)


def test_threads_change_nothing() -> None:
    """Blocks are added up in one order, however many threads there are: equal bit for bit."""
    one, two = PaperCNN(), PaperCNN(threads=2)
    w, (X, y) = one.parameters(), random_batch(0, 70)
    loss, gradient = one.loss_and_gradient(w, X, y)
    other_loss, other = two.loss_and_gradient(w, X, y)
    assert loss == other_loss
    assert np.array_equal(gradient, other)
    assert np.array_equal(one.scores(w, X), two.scores(w, X))
    with pytest.raises(ModelError):
        PaperCNN(threads=0)


def test_parameters_that_do_not_fit_are_refused() -> None:
    X, y = random_batch(0, 2)
    with pytest.raises(ModelError, match="252398"):
        PaperCNN().loss_and_gradient(np.zeros(5, np.float32), X, y)
    with pytest.raises(ModelError):
        PaperCNN(classes=1)
    with pytest.raises(ModelError):
        PaperCNN(kernel="quick")
