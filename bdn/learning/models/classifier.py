"""What every model of ours is: a classifier whose parameters are one flat float32 vector.

The vector is what a device trains, seals and uploads, so a model holds no parameters of its own.
Each function takes ``w`` as an argument and can run in this process, in a worker or elsewhere.

| letter | meaning | shape |
|---|---|---|
| w | parameters | (size,) float32 |
| X | samples | (B, …) float32 |
| y | labels | (B,) integers in [0, classes) |
| S | scores of the classes before softmax | (B, classes) |
| dS | gradient of the mean loss with respect to S | as S |
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from bdn.learning.errors import ModelError
from bdn.learning.types import Floats, Integers

CHUNK = 256
"""Samples in one forward pass over a long set: what stays in a core's cache."""


@runtime_checkable
class Model(Protocol):
    """What learning asks of a model; `Classifier` answers most of it."""

    @property
    def size(self) -> int:
        """Length of ``w``."""

    @property
    def classes(self) -> int:
        """Number of outputs."""

    def parameters(self) -> Floats:
        """Return w^(0), the same at every device, as a fresh flat float32 vector."""

    def loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None = None
    ) -> tuple[float, Floats]:
        """Return the mean loss of a batch in nats, and its gradient (in ``out``, if given)."""

    def training_gradient(self, w: Floats, X: Floats, y: Integers, out: Floats) -> Floats:
        """Return the gradient as a local step takes it, in ``out``.

        A model with running statistics (BatchNorm) moves those in ``w`` itself.
        """

    def scores(self, w: Floats, X: Floats) -> Floats:
        """Return S for a set of any length."""

    def loss(self, w: Floats, X: Floats, y: Integers) -> float:
        """Return the mean loss over a set of any length, in nats."""

    def predict(self, w: Floats, X: Floats) -> Integers:
        """Return the class of each sample, (B,)."""


class Classifier(ABC):
    """A softmax classifier; a subclass has the shapes, w^(0), the scores and the gradient."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of outputs."""

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Length of ``w``."""

    @abstractmethod
    def parameters(self) -> Floats:
        """Return w^(0), the same at every device, as a fresh flat float32 vector."""

    @abstractmethod
    def _scores(self, w: Floats, X: Floats) -> Floats:
        """S of one batch that fits."""

    @abstractmethod
    def _loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None
    ) -> tuple[float, Floats]:
        """`loss_and_gradient` of a batch that fits."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the arrays in ``w``, in order; one of all values where none are named."""
        return {"w": (self.size,)}

    def describe(self) -> str:
        """Return what tells this model from another of the same size, for a run's resumption."""
        return type(self).__qualname__

    def loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None = None
    ) -> tuple[float, Floats]:
        """Return the mean softmax cross-entropy of a batch and its gradient.

        Args:
            w: flat float32, `size` values.
            X: batch of B samples, (B, …) float32; images lie in [0, 1].
            y: (B,) integers in [0, classes).
            out: receives the gradient, if given; every entry is overwritten.

        Returns:
            the loss in nats, and the gradient, flat float32.

        Raises:
            ModelError: a shape, type or label that does not fit.
        """
        self._check(X, y)
        loss, gradient = self._loss_and_gradient(w, X, y, out)
        return float(loss), gradient

    def training_gradient(self, w: Floats, X: Floats, y: Integers, out: Floats) -> Floats:
        """Return the mean loss's gradient in ``out``, as a local step takes it.

        A model with running statistics moves those entries of ``w`` here, and gives them the
        gradient 0; this class has none.
        """
        return self.loss_and_gradient(w, X, y, out)[1]

    def exports(self, w: Floats) -> dict[str, bytes]:  # noqa: ARG002 - for subclasses
        """Return ``w`` in a form of the model's own as {"model.pt": bytes}; nothing here.

        A run writes no file of another name.
        """
        return {}

    def scores(self, w: Floats, X: Floats) -> Floats:
        """Return the classes' scores before softmax, (B, classes), for a set of any length."""
        self._check(X)
        return np.concatenate([self._scores(w, X[part]) for part in chunks(len(X))])

    def probabilities(self, w: Floats, X: Floats) -> Floats:
        """Return the softmax of the scores, (B, classes)."""
        S = self.scores(w, X)
        S -= S.max(axis=1, keepdims=True)
        np.exp(S, out=S)
        S /= S.sum(axis=1, keepdims=True)
        return S

    def predict(self, w: Floats, X: Floats) -> Integers:
        """Return the class of each sample, (B,); the first of equal scores."""
        best: Integers = self.scores(w, X).argmax(axis=1)
        return best

    def loss(self, w: Floats, X: Floats, y: Integers) -> float:
        """Return the mean softmax cross-entropy over a set of any length, in nats."""
        self._check(X, y)
        S = self.scores(w, X).astype(np.float64)
        S -= S.max(axis=1, keepdims=True)
        losses = np.log(np.exp(S).sum(axis=1)) - S[np.arange(len(y)), y]
        return float(losses.mean())

    def _check(self, X: Floats, y: Integers | None = None) -> None:
        shape = self.sample_shape
        if X.shape[1:] != shape or len(X) == 0:
            wanted = ", ".join(str(extent) for extent in ("B", *shape))
            raise ModelError(f"samples must have shape ({wanted}) with B ≥ 1, not {X.shape}")
        if X.dtype != np.float32:
            raise ModelError(f"samples must be float32, not {X.dtype}")
        if y is None:
            return
        if y.shape != (len(X),) or not np.issubdtype(y.dtype, np.integer):
            raise ModelError(f"{len(X)} samples need as many integer labels, "
                             f"not {y.dtype} {y.shape}")
        if y.min() < 0 or y.max() >= self.classes:
            raise ModelError(f"labels must lie in 0…{self.classes - 1}; found "
                             f"{y.min()}…{y.max()}")


def cross_entropy(S: Floats, y: Integers) -> tuple[float, Floats]:
    """Return the mean of −log softmax(S)[y], and dS = (softmax(S) − onehot) / B."""
    rows = np.arange(len(S))
    shifted = S - S.max(axis=1, keepdims=True)  # (B, classes); keeps exp from overflowing
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)  # (B, 1)
    losses = np.log(sums[:, 0]) - shifted[rows, y]  # (B,)
    dS = exponentials / sums
    dS[rows, y] -= 1
    dS /= np.float32(len(S))
    return float(losses.mean(dtype=np.float64)), dS


def split_vector(w: Floats, shapes: dict[str, tuple[int, ...]], what: str) -> list[Floats]:
    """Return the arrays of ``shapes`` as views of ``w``: writing to them writes to ``w``.

    Raises `ModelError`, saying ``what`` the parameters are of, where ``w`` is no float32 vector of
    exactly as many values.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    if w.dtype != np.float32 or w.shape != (sum(sizes),):
        raise ModelError(f"the parameters of {what} are {sum(sizes)} float32 values, "
                         f"not {w.dtype} {w.shape}")
    views, start = [], 0
    for shape, size in zip(shapes.values(), sizes, strict=True):
        views.append(w[start : start + size].reshape(shape))
        start += size
    return views


def chunks(count: int) -> Iterator[slice]:
    """Yield consecutive slices of at most `CHUNK` that cover range(count)."""
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))
