"""A data set: labelled 28×28 grey images that may be larger than memory.

`Dataset` keeps pixels as they are stored (float32 in [0, 1], or uint8, possibly a memory map of a
file) and gives float32 only for the rows that a step asks for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from bdn.learning.datasets.annotations import VocObject
from bdn.learning.errors import DataError
from bdn.learning.models.cnn import chunks
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Floats, Integers, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled images.

    Attributes:
        pixels: (B, 28, 28), float32 in [0, 1] or uint8 in 0…255.
        labels: (B,) int64 in [0, classes).
        classes: how many classes there are, also those without an image here.

    Raises `DataError` where the three do not fit together.
    """

    pixels: Pixels
    labels: Integers
    classes: int = 10

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[1:] != (SIDE, SIDE):
            raise DataError(f"images must be {SIDE}×{SIDE}, not {self.pixels.shape[1:]}")
        if self.pixels.dtype not in (np.float32, np.uint8):
            raise DataError(f"pixels must be float32 or uint8, not {self.pixels.dtype}")
        if self.labels.shape != (len(self.pixels),):
            raise DataError(f"{len(self.pixels)} images, but labels of shape {self.labels.shape}")
        if self.labels.dtype != np.int64:
            raise DataError(f"labels must be int64, not {self.labels.dtype}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.classes:
            raise DataError(f"labels must lie in 0…{self.classes - 1}; found "
                            f"{self.labels.min()}…{self.labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Floats:
        """All images as float32 in [0, 1], (B, 28, 28); the stored array itself where it is."""
        return as_floats(self.pixels)

    def batch(self, indices: Integers) -> tuple[Floats, Integers]:
        """Images (b, 28, 28) as float32 and labels (b,) of the rows ``indices``."""
        return as_floats(self.pixels[indices]), self.labels[indices]

    def stream(self) -> Iterator[tuple[Floats, Integers]]:
        """All rows in order, a few hundred at a time, as `batch` gives them."""
        for part in chunks(len(self)):
            yield as_floats(self.pixels[part]), self.labels[part]

    def subset(self, indices: Integers) -> "Dataset":
        """A data set of its own with the rows ``indices``, in their order."""
        return Dataset(np.ascontiguousarray(self.pixels[indices]), self.labels[indices],
                       self.classes)


def as_floats(pixels: Pixels) -> Floats:
    """Pixels as float32 in [0, 1]."""
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(255)


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
        train, test: the parts; no image is in both.
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
