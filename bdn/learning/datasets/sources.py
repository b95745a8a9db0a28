"""`load`: a data set by its name, as ``bdn run --data`` takes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.arrays import assemble, load_csv, load_npz
from bdn.learning.datasets.dataset import Data
from bdn.learning.datasets.digits import load_digits
from bdn.learning.datasets.folder import load_folder, parse_options
from bdn.learning.datasets.idx import load_idx
from bdn.learning.datasets.scenes import load_scenes
from bdn.learning.datasets.voc import load_voc
from bdn.learning.plugins import call_factory

VOC_BACKGROUNDS = 4
"""Background crops from a picture, about as many as it has objects twice."""


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of data.

    Attributes:
        usage: what the user writes, such as ``idx:DIR``.
        help: what it is, in a line.
        load: the data set, from what stands behind the colon ("" where nothing may).
    """

    usage: str
    help: str
    load: Callable[[str], Data]


def _images(text: str) -> Data:
    folder, _, options = text.partition("?")
    return load_folder(_path(folder), parse_options(options))


def _clouds(count: int = 600, spread: float = 0.6) -> Data:
    """Three Gaussian clouds around the corners of a triangle: a lesson that takes a second."""
    rng = np.random.default_rng(0)
    corner = np.arange(count) % 3
    angle = 2 * np.pi * corner / 3
    points = np.column_stack([np.cos(angle), np.sin(angle)]) + spread * rng.normal(size=(count, 2))
    names = np.array(["east", "north-west", "south-west"])
    return assemble("clouds", "clouds", [(points.astype(np.float32), names[corner])])


def _path(text: str) -> Path:
    return Path(text).expanduser()


TABLE: dict[str, Source] = {
    "digits": Source("digits", "1,797 real handwritten digits, embedded", lambda _: load_digits()),
    "idx": Source("idx:DIR", "MNIST's files, plain or gzipped (Fashion-MNIST too)",
                  lambda text: load_idx(_path(text))),
    "npz": Source("npz:FILE", "arrays x and y, with x_test and y_test if there is a test part",
                  lambda text: load_npz(_path(text))),
    "csv": Source("csv:FILE", "a table of numbers with a header line and a label column",
                  lambda text: load_csv(_path(text))),
    "images": Source("images:DIR", "a folder of pictures per class; DIR?size=WxH resamples them",
                     _images),
    "voc": Source("voc:DIR", "one year of a VOCdevkit; its objects, cropped",
                  lambda text: load_voc(_path(text))),
    "voc+background": Source(
        "voc+background:DIR", "the same with a class for background, which a detector needs",
        lambda text: load_voc(_path(text), background=VOC_BACKGROUNDS)),
    "scenes": Source("scenes", "made scenes of digits, cropped, with background",
                     lambda _: load_scenes()),
    "clouds": Source("clouds", "made points of the plane in three clouds; for softmax and mlp",
                     lambda _: _clouds()),
}
"""What `load` understands, by the word before the colon. A new source is one line here."""

BY_NAME = tuple(name for name, source in TABLE.items() if ":" not in source.usage)
"""Sources that are written by their name alone."""

SOURCES = "\n".join(f"{source.usage:<20}{source.help}" for source in TABLE.values()) + (
    f"\n{'MODULE:FUNCTION':<20}a Python function that returns a bdn.learning.Data")
"""The table, for people."""


def load(name: str) -> Data:
    """Return the data set called ``name``, one of `SOURCES`.

    Raises `UsageError` for an unknown name, `DataError` (naming the file) for broken or missing
    data.
    """
    kind, colon, rest = name.partition(":")
    source = TABLE.get(kind)
    if source is not None:
        if (":" in source.usage) != bool(rest) or (colon and not rest):
            raise UsageError(f"data {kind} is written {source.usage}; there are:\n{SOURCES}")
        return source.load(rest)
    if colon:
        return call_factory(name, "--data", Data)
    raise UsageError(f"no data called {name[:80]!r}; there are:\n{SOURCES}")
