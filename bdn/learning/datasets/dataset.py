"""A data set: labelled samples of any shape, which may be larger than memory.

`Dataset` keeps its samples as they are stored (float32, or uint8, possibly a memory map of a file)
and gives float32 only for the rows that a step asks for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from bdn.learning.datasets.annotations import VocObject
from bdn.learning.errors import DataError
from bdn.learning.models.classifier import chunks
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Floats, Integers, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled samples, all of one shape.

    Attributes:
        inputs: (B, …), float32 (images in [0, 1]) or uint8 in 0…255 (read as [0, 1]).
        labels: (B,) int64 in [0, classes).
        classes: how many classes there are, also those without a sample here.

    Raises `DataError` where the three do not fit together.
    """

    inputs: Pixels
    labels: Integers
    classes: int = 10

    def __post_init__(self) -> None:
        if self.inputs.ndim < 2 or not all(self.inputs.shape[1:]):
            raise DataError("inputs must have shape (samples, …) with at least one value each, not "
                            f"{self.inputs.shape}")
        if self.inputs.dtype not in (np.float32, np.uint8):
            raise DataError(f"inputs must be float32 or uint8, not {self.inputs.dtype}")
        if self.labels.shape != (len(self.inputs),):
            raise DataError(f"{len(self.inputs)} samples, but labels of shape {self.labels.shape}")
        if self.labels.dtype != np.int64:
            raise DataError(f"labels must be int64, not {self.labels.dtype}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.classes:
            raise DataError(f"labels must lie in 0…{self.classes - 1}; found "
                            f"{self.labels.min()}…{self.labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, such as (28, 28)."""
        return self.inputs.shape[1:]

    @property
    def images(self) -> Floats:
        """All samples as float32, (B, …); the stored array itself where it is float32."""
        return as_floats(self.inputs)

    def batch(self, indices: Integers) -> tuple[Floats, Integers]:
        """Return the samples (b, …) as float32 and the labels (b,) of the rows ``indices``."""
        return as_floats(self.inputs[indices]), self.labels[indices]

    def stream(self) -> Iterator[tuple[Floats, Integers]]:
        """Yield all rows in order, a few hundred at a time, as `batch` gives them."""
        for part in chunks(len(self)):
            yield as_floats(self.inputs[part]), self.labels[part]

    def subset(self, indices: Integers) -> "Dataset":
        """Return a data set of its own with the rows ``indices``, in their order."""
        return Dataset(np.ascontiguousarray(self.inputs[indices]), self.labels[indices],
                       self.classes)


def as_floats(inputs: Pixels) -> Floats:
    """Return bytes as float32 in [0, 1], and float32 as it is."""
    if inputs.dtype == np.float32:
        return inputs
    return inputs.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A whole picture of the held-out part, for a detector.

    Attributes:
        identity: its name, of which there is one in a part.
        objects: what is to be found on it.
        read: the grey picture (height, width), float32 in [0, 1]; decoded at each call.
    """

    identity: str
    objects: tuple[VocObject, ...]
    read: Callable[[], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What `load` gives: a training and a held-out part of one source.

    Attributes:
        name: as it was asked for, such as "digits".
        train, test: the parts; no sample is in both.
        class_names: one name a class.
        notes: what a report should say about the source (origin, licence, overlap).
        pictures: the held-out part's whole pictures, where the source has any.
        object_sides: how small and large objects of the training part are, in pixels.
        eleven_point: whether the source's own average precision is the 11-point one.
    """

    name: str
    train: Dataset
    test: Dataset
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    pictures: tuple[Picture, ...] = field(default=())
    object_sides: tuple[int, int] = (SIDE, SIDE)
    eleven_point: bool = False
