"""`PaperCNN`: the paper's network (Section 5) over one flat float32 vector.

The network holds no parameters. Whoever trains it passes ``w``, so that a device, the oracle and a
worker process all call the same pure functions. Two formulations compute them: ``plain`` is the
one to read, ``fast`` the one to run; tests hold them equal.
"""

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bdn.arguments import as_integer
from bdn.learning.errors import ModelError
from bdn.learning.models import fast, plain
from bdn.learning.models.classifier import Classifier
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


@dataclass(frozen=True, slots=True)
class PaperCNN(Classifier):
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
            number = as_integer(getattr(self, name), f"{name} of a network", least, ModelError)
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

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return (SIDE, SIDE)

    def _scores(self, w: Floats, X: Floats) -> Floats:
        scores: Floats = KERNELS[self.kernel].scores(w, X, self.classes, self.threads)
        return scores

    def _loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None
    ) -> tuple[float, Floats]:
        kernel = KERNELS[self.kernel]
        loss, gradient = kernel.loss_and_gradient(w, X, y, self.classes, out, self.threads)
        return loss, gradient
