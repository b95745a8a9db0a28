"""MNIST's IDX files, plain (memory-mapped) or gzipped: ``idx:DIR``.

The format (LeCun, Cortes, Burges): two zero bytes, a type byte (0x08: unsigned bytes), the number
of dimensions, each dimension as four big-endian bytes, then the values, the last dimension fastest.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from bdn.learning.datasets.dataset import Data, Dataset
from bdn.learning.errors import DataError
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Integers, Pixels

UNSIGNED_BYTE = 0x08
MAX_BYTES = 1 << 32
"""A file that claims more values is refused."""

PARTS = {"train": "train", "test": "t10k"}
"""Our name of a part → how its files' names begin."""


def load_idx(folder: Path) -> Data:
    """``train`` and ``t10k`` of a folder in MNIST's naming.

    Raises `DataError` naming the file that is missing, cut short, or not of this shape.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    raw = {part: (_pixels(folder, prefix), _labels(folder, prefix))
           for part, prefix in PARTS.items()}
    classes = max(2, 1 + max(int(labels.max(initial=0)) for _, labels in raw.values()))
    parts = {}
    for part, (pixels, labels) in raw.items():
        if len(pixels) != len(labels):
            raise DataError(f"{folder}: {len(pixels)} {part} images, but {len(labels)} labels")
        if not len(labels):
            raise DataError(f"{folder}: no {part} images")
        parts[part] = Dataset(pixels, labels, classes)
    return Data(f"idx:{folder.name}", parts["train"], parts["test"],
                tuple(str(label) for label in range(classes)))


def read_idx(path: Path) -> Pixels:
    """The uint8 array in an IDX file; a plain file stays on disk (memory map), read-only.

    Raises `DataError` for anything that is not exactly such a file.
    """
    try:
        if path.suffix == ".gz":
            return _read_gzip(path)
        with path.open("rb") as stream:
            shape = _header(stream.read(4 + 4 * 255), path)
        expected = _offset(shape) + math.prod(shape)
        if path.stat().st_size != expected:
            raise DataError(f"{path}: {path.stat().st_size} bytes, but its header says {expected}")
        if math.prod(shape) == 0:
            return np.zeros(shape, np.uint8)
        return np.memmap(path, np.uint8, "r", _offset(shape), shape)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _read_gzip(path: Path) -> Pixels:
    with gzip.open(path, "rb") as stream:
        head = stream.read(4)
        head += stream.read(4 * head[3] if len(head) == 4 else 0)
        shape = _header(head, path)
        count = math.prod(shape)
        values = stream.read(count + 1)  # one more than there may be; never the whole bomb
    if len(values) != count:
        raise DataError(f"{path}: its header says {count} values; there are "
                        f"{'more' if len(values) > count else len(values)}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _header(head: bytes, path: Path) -> tuple[int, ...]:
    """The dimensions, or `DataError`."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[3] == 0:
        raise DataError(f"{path}: no IDX file (it must begin with two zero bytes)")
    if head[2] != UNSIGNED_BYTE:
        raise DataError(f"{path}: values of type {head[2]:#04x}; only unsigned bytes are read")
    if len(head) < 4 + 4 * head[3]:
        raise DataError(f"{path}: cut short inside its header")
    shape = struct.unpack_from(f">{head[3]}I", head, 4)
    if math.prod(shape) > MAX_BYTES:
        raise DataError(f"{path}: its header claims {math.prod(shape)} values")
    return shape


def _offset(shape: tuple[int, ...]) -> int:
    return 4 + 4 * len(shape)


def _find(folder: Path, stem: str) -> Path:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} holds neither {stem} nor {stem}.gz")


def _pixels(folder: Path, prefix: str) -> Pixels:
    path = _find(folder, f"{prefix}-images-idx3-ubyte")
    pixels = read_idx(path)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{path}: images of {SIDE}×{SIDE} are needed, not shape {pixels.shape}")
    return pixels


def _labels(folder: Path, prefix: str) -> Integers:
    path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    labels = read_idx(path)
    if labels.ndim != 1:
        raise DataError(f"{path}: labels are one-dimensional, not of shape {labels.shape}")
    return labels.astype(np.int64)
