"""The embedded data: 1,797 real handwritten digits (UCI, CC BY 4.0; see ``data/README.md``).

Two things are fixed here for good, so that figures of different years can be compared:

*Enlarging.* An 8×8 image becomes 28×28 by bilinear interpolation with half-pixel centres: row i of
the result lies at (i + 1/2)·8/28 − 1/2 = (4i − 5)/14 of the original, repeated at the border. All
weights are fourteenths, so the sums are exact integers: every machine gets the same floats.

*Held-out part.* Of each digit, the ⌈n/5⌉ images whose index has the smallest SHA-256. That is
stratified, random enough, and needs no generator whose stream might change.
"""

from importlib import resources

import numpy as np

from bdn.encoding import digest
from bdn.learning.datasets.dataset import Data, Dataset
from bdn.learning.errors import DataError
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Floats, Integers, Pixels

SMALL = 8
"""Side of the original images."""

LEVELS = 16
"""The original's brightest value."""

HELD_OUT = 5
"""One image in so many is held out."""


def load_digits() -> Data:
    """1,433 training and 364 held-out digits, 28×28 float32; raises `DataError` if damaged."""
    small, labels = _read()
    images = enlarge(small)
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        ordered = sorted(members, key=lambda i: digest("bdn/digits", int(i).to_bytes(4, "big")))
        held_out[ordered[: -(-len(members) // HELD_OUT)]] = True
    return Data(
        "digits",
        Dataset(images[~held_out], labels[~held_out]),
        Dataset(images[held_out], labels[held_out]),
        tuple(str(digit) for digit in range(10)),
        ("UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), CC BY 4.0",),
    )


def enlarge(small: Pixels) -> Floats:
    """(B, 8, 8) of 0…16 → (B, 28, 28) float32 in [0, 1], bilinear."""
    A = _fourteenths()
    exact = A @ small.astype(np.int64) @ A.T  # (B, 28, 28), in units of 1/196 level
    images: Floats = (exact / (14 * 14 * LEVELS)).astype(np.float32)
    return images


def _fourteenths() -> Integers:
    """Interpolation weights, times 14, from 8 rows to 28: (28, 8)."""
    A = np.zeros((SIDE, SMALL), np.int64)
    for i in range(SIDE):
        row, part = divmod(4 * i - 5, 14)
        A[i, max(row, 0)] += 14 - part
        A[i, min(row + 1, SMALL - 1)] += part
    return A


def _read() -> tuple[Pixels, Integers]:
    path = resources.files("bdn.learning.datasets") / "data" / "digits.npz"
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            small, labels = arrays["images"], arrays["labels"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the embedded digits are damaged ({error}); install bdn anew") from error
    return small, labels
