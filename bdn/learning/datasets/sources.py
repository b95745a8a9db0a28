"""`load`: a data set by its name, as ``bdn run --data`` takes it."""

from pathlib import Path

from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Data
from bdn.learning.datasets.digits import load_digits
from bdn.learning.datasets.idx import load_idx
from bdn.learning.datasets.scenes import load_scenes
from bdn.learning.datasets.voc import load_voc

SOURCES = """digits             1,797 real handwritten digits, embedded
idx:DIR            MNIST's files, plain or gzipped (Fashion-MNIST too)
voc:DIR            one year of a VOCdevkit; its objects, cropped
voc+background:DIR the same with a class for background, which a detector needs
scenes             made scenes of digits, cropped, with background"""
"""What `load` understands."""

VOC_BACKGROUNDS = 4
"""Background crops from a picture, about as many as it has objects twice."""


def load(name: str) -> Data:
    """The data set called ``name``, one of `SOURCES`.

    Raises `UsageError` for an unknown name, `DataError` (naming the file) for broken or missing
    data.
    """
    kind, colon, rest = name.partition(":")
    folder = Path(rest)
    match kind, bool(colon and rest):
        case "digits", False if not colon:
            return load_digits()
        case "scenes", False if not colon:
            return load_scenes()
        case "idx", True:
            return load_idx(folder)
        case "voc", True:
            return load_voc(folder)
        case "voc+background", True:
            return load_voc(folder, background=VOC_BACKGROUNDS)
    raise UsageError(f"no data called {name!r}; there are:\n{SOURCES}")
