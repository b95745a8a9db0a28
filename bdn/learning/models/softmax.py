"""Softmax regression: the smallest model worth training, and a convex one.

| letter | meaning | shape |
|---|---|---|
| X | samples, flattened | (B, d) |
| W, b | weights and biases | (d, classes), (classes,) |
| S | scores, X W + b | (B, classes) |

Its loss has one minimum, so that every rule of local training can be tested against it. For 28×28
images of ten classes it has 7,850 parameters, 32 times fewer than the paper's CNN.
"""

import math
from dataclasses import dataclass

import numpy as np

from bdn.arguments import as_integer
from bdn.learning.errors import ModelError
from bdn.learning.models.classifier import Classifier, cross_entropy, split_vector
from bdn.learning.types import Floats, Integers


@dataclass(frozen=True, slots=True)
class SoftmaxRegression(Classifier):
    """Scores are linear in the sample.

    Attributes:
        sample_shape: of one sample, such as (28, 28).
        classes: number of outputs, at least 2.
        seed: unused, since w^(0) is zero; every model takes one.
    """

    sample_shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        as_integer(self.classes, "the number of classes", 2, ModelError)

    @property
    def size(self) -> int:
        """Length of ``w``: (d + 1) · classes."""
        return (math.prod(self.sample_shape) + 1) * self.classes

    def parameters(self) -> Floats:
        """Return w^(0) = 0: the loss is convex, and every start leads to the same minimum."""
        return np.zeros(self.size, np.float32)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the two arrays, in the order of ``w``."""
        return {"W": (math.prod(self.sample_shape), self.classes), "b": (self.classes,)}

    def _layers(self, w: Floats) -> list[Floats]:
        return split_vector(w, self.shapes, "this softmax regression")

    def _scores(self, w: Floats, X: Floats) -> Floats:
        W, b = self._layers(w)
        S: Floats = X.reshape(len(X), -1) @ W + b
        return S

    def _loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None
    ) -> tuple[float, Floats]:
        loss, dS = cross_entropy(self._scores(w, X), y)
        gradient = np.empty_like(w) if out is None else out
        dW, db = self._layers(gradient)
        dW[:] = X.reshape(len(X), -1).T @ dS
        db[:] = dS.sum(axis=0)
        return loss, gradient
