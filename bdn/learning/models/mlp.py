"""A multilayer perceptron with one hidden layer: the smallest model that is not convex.

| letter | meaning | shape |
|---|---|---|
| X | samples, flattened | (B, d) |
| W1, b1 | hidden layer | (d, hidden), (hidden,) |
| A | X W1 + b1, before ReLU | (B, hidden) |
| W2, b2 | output layer | (hidden, classes), (classes,) |
| S | scores, ReLU(A) W2 + b2 | (B, classes) |
| dY | gradient of the mean loss with respect to Y | as Y |
"""

import math
from dataclasses import dataclass

import numpy as np

from bdn.arguments import as_integer
from bdn.learning.errors import ModelError
from bdn.learning.models.classifier import Classifier, cross_entropy, split_vector
from bdn.learning.types import Floats, Integers
from bdn.randomness import SeededRandomness, numpy_generator


@dataclass(frozen=True, slots=True)
class MultilayerPerceptron(Classifier):
    """Flatten → fully connected → ReLU → fully connected → softmax.

    Attributes:
        sample_shape: of one sample, such as (28, 28).
        classes: number of outputs, at least 2.
        seed: of w^(0).
        hidden: units of the hidden layer, at least 1.
    """

    sample_shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    seed: int = 0
    hidden: int = 32

    def __post_init__(self) -> None:
        as_integer(self.classes, "the number of classes", 2, ModelError)
        as_integer(self.hidden, "the number of hidden units", 1, ModelError)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the four arrays, in the order of ``w``."""
        inputs = math.prod(self.sample_shape)
        return {"W1": (inputs, self.hidden), "b1": (self.hidden,),
                "W2": (self.hidden, self.classes), "b2": (self.classes,)}

    @property
    def size(self) -> int:
        """Length of ``w``: 25,450 for 28×28 images, ten classes and 32 hidden units."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def parameters(self) -> Floats:
        """Return w^(0) from `seed`: normal with variance 2/d before the ReLU (He et al. 2015) and
        1/hidden before the softmax (LeCun et al. 1998), zero biases.
        """
        rng = numpy_generator(SeededRandomness(self.seed).substream("w0"))
        w = np.zeros(self.size, np.float32)
        W1, _, W2, _ = self._layers(w)
        for weights, gain in ((W1, 2), (W2, 1)):
            scale = math.sqrt(gain / len(weights))
            weights[:] = rng.standard_normal(weights.shape, np.float32) * scale
        return w

    def _layers(self, w: Floats) -> list[Floats]:
        return split_vector(w, self.shapes, "this perceptron")

    def _scores(self, w: Floats, X: Floats) -> Floats:
        W1, b1, W2, b2 = self._layers(w)
        S: Floats = np.maximum(X.reshape(len(X), -1) @ W1 + b1, 0) @ W2 + b2
        return S

    def _loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None
    ) -> tuple[float, Floats]:
        W1, b1, W2, b2 = self._layers(w)
        flat = X.reshape(len(X), -1)
        A = flat @ W1 + b1
        hidden = np.maximum(A, 0)
        loss, dS = cross_entropy(hidden @ W2 + b2, y)
        gradient = np.empty_like(w) if out is None else out
        dW1, db1, dW2, db2 = self._layers(gradient)
        dW2[:] = hidden.T @ dS
        db2[:] = dS.sum(axis=0)
        dA = (dS @ W2.T) * (A > 0)  # (B, hidden); ReLU's slope at 0 is 0
        dW1[:] = flat.T @ dA
        db1[:] = dA.sum(axis=0)
        return loss, gradient
