"""`PaperCNN`: the paper's network (Section 5) over one flat float32 vector.

The network holds no parameters. Whoever trains it passes ``w``, so that a device, the oracle and a
worker process all call the same pure functions. Two formulations compute them: ``plain`` is the
one to read, ``fast`` the one to run; tests hold them equal.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bdn.arguments import as_integer
from bdn.learning.errors import ModelError
from bdn.learning.models import fast, plain
from bdn.learning.models.shapes import (
    FEATURES,
    HIDDEN,
    SIDE,
    Layers,
    parameter_count,
    shape_table,
    split_layers,
)
from bdn.learning.types import Floats, Integers
from bdn.randomness import SeededRandomness, numpy_generator

KERNELS: dict[str, ModuleType] = {"fast": fast, "plain": plain}

CHUNK = 256
"""Images in one forward pass over a long set: what stays in a core's cache."""


@dataclass(frozen=True, slots=True)
class PaperCNN:
    """Input → Conv → ReLU → Maxpool → Fully Connected → ReLU → Output.

    Attributes:
        classes: outputs; with 10 the shapes are exactly the paper's.
        seed: of the initial parameters w^(0), the same for every device (Algorithm 1, line 4).
        kernel: "fast" or "plain".
        threads: of convolution and pooling in the fast kernel; no result depends on it.
    """

    classes: int = 10
    seed: int = 0
    kernel: str = "fast"
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("seed", None), ("threads", 1)):
            number = as_integer(getattr(self, name), f"{name} of a network", least)
            object.__setattr__(self, name, number)  # NumPy's scalars become plain integers
        if self.kernel not in KERNELS:
            raise ModelError(f"kernel must be one of {', '.join(KERNELS)}, not {self.kernel!r}")

    @property
    def size(self) -> int:
        """Length of ``w``: 252,398 for 10 classes."""
        return parameter_count(self.classes)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the six arrays, in the order of ``w``."""
        return shape_table(self.classes)

    def layers(self, w: Floats) -> Layers:
        """The six arrays as views of ``w``; raises `ModelError` where ``w`` does not fit."""
        return split_layers(w, self.classes)

    def parameters(self) -> Floats:
        """w^(0), a fresh copy, from ``seed``: normal with variance 2/inputs before a ReLU (He et
        al. 2015) and 1/inputs before the softmax (LeCun et al. 1998), zero biases.
        """
        rng = numpy_generator(SeededRandomness(self.seed).substream("w0"))
        w = np.zeros(self.size, np.float32)
        layers = self.layers(w)
        for weights, variance in (
            (layers.w1, 2 / 9), (layers.w2, 2 / FEATURES), (layers.w3, 1 / HIDDEN)
        ):  # fmt: skip
            weights[:] = rng.standard_normal(weights.shape, np.float32) * math.sqrt(variance)
        return w

    def loss_and_gradient(
        self, w: Floats, images: Floats, labels: Integers, out: Floats | None = None
    ) -> tuple[float, Floats]:
        """Mean softmax cross-entropy of a batch and its gradient.

        Args:
            w: flat float32, `size` values.
            images: (B, 28, 28) float32 in [0, 1].
            labels: (B,) integers in [0, classes).
            out: receives the gradient, if given.

        Returns:
            the loss in nats, and the gradient, flat float32.

        Raises:
            ModelError: a shape, type or label that does not fit.
        """
        X, y = self._checked(images, labels)
        kernel = KERNELS[self.kernel]
        loss, gradient = kernel.loss_and_gradient(w, X, y, self.classes, out, self.threads)
        return float(loss), gradient

    def scores(self, w: Floats, images: Floats) -> Floats:
        """The classes' scores before softmax, (B, classes), for a set of any length."""
        X = self._images(images)
        kernel = KERNELS[self.kernel]
        parts = [kernel.scores(w, X[part], self.classes, self.threads) for part in chunks(len(X))]
        return np.concatenate(parts)

    def probabilities(self, w: Floats, images: Floats) -> Floats:
        """Softmax of the scores, (B, classes)."""
        S = self.scores(w, images)
        S -= S.max(axis=1, keepdims=True)
        np.exp(S, out=S)
        S /= S.sum(axis=1, keepdims=True)
        return S

    def predict(self, w: Floats, images: Floats) -> Integers:
        """The class of each image, (B,); the first of equal scores."""
        best: Integers = self.scores(w, images).argmax(axis=1)
        return best

    def loss(self, w: Floats, images: Floats, labels: Integers) -> float:
        """Mean softmax cross-entropy over a set of any length, in nats."""
        X, y = self._checked(images, labels)
        S = self.scores(w, X).astype(np.float64)
        S -= S.max(axis=1, keepdims=True)
        losses = np.log(np.exp(S).sum(axis=1)) - S[np.arange(len(y)), y]
        return float(losses.mean())

    def _images(self, images: Floats) -> Floats:
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or len(images) == 0:
            raise ModelError(f"images must have shape (B, {SIDE}, {SIDE}) with B ≥ 1, "
                             f"not {images.shape}")
        if images.dtype != np.float32:
            raise ModelError(f"images must be float32 in [0, 1], not {images.dtype}")
        return images

    def _checked(self, images: Floats, labels: Integers) -> tuple[Floats, Integers]:
        X = self._images(images)
        if labels.shape != (len(X),) or not np.issubdtype(labels.dtype, np.integer):
            raise ModelError(f"{len(X)} images need as many integer labels, "
                             f"not {labels.dtype} {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ModelError(f"labels must lie in 0…{self.classes - 1}; found "
                             f"{labels.min()}…{labels.max()}")
        return X, labels


def chunks(count: int) -> Iterator[slice]:
    """Consecutive slices of at most `CHUNK` that cover range(count)."""
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))
