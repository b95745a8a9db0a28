"""The six parameter arrays of the paper's CNN (Section 5) inside one flat vector.

A device trains, seals and uploads one float32 vector. This table says which part of it is which
array; for 10 classes the shapes are exactly the paper's, 252,398 values in all.

| name | shape | what |
|---|---|---|
| w1 | (10, 1, 3, 3) | ten 3×3 filters over one grey channel |
| b1 | (10, 1) | their biases |
| w2 | (1960, 128) | fully connected, 10·14·14 inputs |
| b2 | (1, 128) | |
| w3 | (128, classes) | output layer |
| b3 | (1, classes) | |
"""

import math
from typing import NamedTuple

from bdn.learning.models.classifier import split_vector
from bdn.learning.types import Floats

SIDE = 28
"""Height and width of an input image."""

FILTERS = 10
"""Filters of the convolution."""

POOLED = SIDE // 2
"""Height and width after pooling."""

FEATURES = FILTERS * POOLED * POOLED
"""Inputs of the fully connected layer: 1,960."""

HIDDEN = 128
"""Outputs of the fully connected layer."""


class Layers(NamedTuple):
    """Views into a flat vector, in its order."""

    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats
    w3: Floats
    b3: Floats


def shape_table(classes: int) -> dict[str, tuple[int, ...]]:
    """Name → shape, in the order of the flat vector."""
    return {
        "w1": (FILTERS, 1, 3, 3), "b1": (FILTERS, 1),
        "w2": (FEATURES, HIDDEN), "b2": (1, HIDDEN),
        "w3": (HIDDEN, classes), "b3": (1, classes),
    }  # fmt: skip


def parameter_count(classes: int) -> int:
    """Length of the flat vector: 252,398 for 10 classes."""
    return sum(math.prod(shape) for shape in shape_table(classes).values())


def split_layers(w: Floats, classes: int) -> Layers:
    """The six arrays as views of ``w`` (writing to them writes to ``w``).

    Raises `ModelError` where ``w`` is no float32 vector of `parameter_count` values.
    """
    return Layers(*split_vector(w, shape_table(classes), f"a CNN with {classes} classes"))
