"""Grey images as arrays: enlarging and shrinking, cropping, and (with Pillow) files.

A picture is a float32 array (height, width) in [0, 1]. The arithmetic is here, in two matrix
products, so that training crops, detection windows and made scenes are resampled alike and need no
image library; Pillow (extra ``report``) only reads and writes files, and draws.
"""

import functools
import importlib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bdn.errors import UsageError
from bdn.learning.errors import DataError
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Doubles, Floats

MAX_PIXELS = 64_000_000
"""A larger picture is refused before it is decoded."""

DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes for pictures with more than 8 bits per sample, which its ``convert`` clips."""


class Box(NamedTuple):
    """A rectangle by VOC's rule: 1-based, both corners inside. Fractions are allowed."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.xmax - self.xmin + 1

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.ymax - self.ymin + 1

    @property
    def area(self) -> float:
        """Pixels inside."""
        return self.width * self.height


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, with VOC's inclusive corners."""
    shared = _shared(a, b)
    return shared / (a.area + b.area - shared)


def _shared(a: Box, b: Box) -> float:
    width = min(a.xmax, b.xmax) - max(a.xmin, b.xmin) + 1
    height = min(a.ymax, b.ymax) - max(a.ymin, b.ymin) + 1
    return max(width, 0.0) * max(height, 0.0)


def areas(boxes: Doubles) -> Doubles:
    """Pixels inside each row (xmin, ymin, xmax, ymax) of ``boxes``, (n, 4) → (n,)."""
    sizes: Doubles = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    return sizes


def shared_areas(boxes: Doubles, box: Box) -> Doubles:
    """Pixels that each row of ``boxes`` shares with ``box``, (n, 4) → (n,)."""
    corner = np.array(box, np.float64)
    extents = np.minimum(boxes[:, 2:], corner[2:]) - np.maximum(boxes[:, :2], corner[:2]) + 1
    shared: Doubles = np.maximum(extents, 0.0).prod(axis=1)
    return shared


def resize(picture: Floats, height: int, width: int) -> Floats:
    """Resampled with a triangle filter: bilinear upwards, averaging downwards; half-pixel centres.

    Takes (…, h, w) and gives (…, height, width).
    """
    rows = _triangle(picture.shape[-2], height)
    columns = _triangle(picture.shape[-1], width)
    result: Floats = np.matmul(np.matmul(rows, picture), columns.T)
    return result


@functools.lru_cache(maxsize=256)
def _triangle(before: int, after: int) -> Floats:
    """Weights (after, before) of the filter, each row adding up to 1."""
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before)[None, :] - centres[:, None]) / reach
    weights = np.maximum(1 - distance, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def crop(picture: Floats, box: Box, side: int = SIDE) -> Floats:
    """The inside of ``box`` as a (side, side) image; what lies outside the picture is cut off.

    Raises `DataError` where nothing of the box lies in the picture.
    """
    height, width = picture.shape
    left, right = max(round(box.xmin) - 1, 0), min(round(box.xmax), width)
    top, bottom = max(round(box.ymin) - 1, 0), min(round(box.ymax), height)
    if left >= right or top >= bottom:
        raise DataError(f"box {tuple(box)} lies outside a picture of {width}×{height}")
    return resize(picture[top:bottom, left:right], side, side)


def read_grey(path: Path, size: tuple[int, int] | None = None) -> Floats:
    """Read a picture file as grey (ITU-R 601 luma, by Pillow), the way up that its EXIF tag says.

    Samples of 16 bits are scaled by 65,535; floating-point samples must lie in [0, 1].

    Args:
        path: the file, in any format that Pillow reads.
        size: (width, height) in pixels that an annotation states. The picture must have it, either
            upright or as it is stored: some annotations were drawn on the stored picture.

    Raises:
        DataError: the file is missing, broken, larger than `MAX_PIXELS`, of another size than
            ``size``, or holds samples whose range is not known.
        UsageError: Pillow is missing.
    """
    image, upright = _open_upright(path)
    if size is not None and size != upright.size:
        if size != image.size:
            width, height = upright.size
            raise DataError(f"{path}: the picture has {width}×{height} pixels, but its annotation "
                            f"says {size[0]}×{size[1]}; correct the one that is wrong")
        upright = image
    return _grey(path, upright)


def _open_upright(path: Path) -> tuple[Any, Any]:
    """The decoded picture as it is stored, and turned as its EXIF orientation says."""
    pillow, operations = load_pillow(), load_pillow("ImageOps")
    if not path.is_file():
        raise DataError(f"no picture {path}")
    try:
        # Pillow warns of large pictures and odd tags, past our own one line; its errors are raised
        with warnings.catch_warnings(action="ignore"), pillow.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.width}×{image.height} pixels are too many")
            image.load()
            return image, operations.exif_transpose(image)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: no readable picture ({error})") from error


def _grey(path: Path, image: Any) -> Floats:
    """The samples of a decoded picture, scaled to [0, 1]."""
    if image.mode in DEEP_MODES:
        samples = np.asarray(image, np.float64)
        if samples.min() < 0 or samples.max() > 65535:
            raise DataError(f"{path}: samples of {samples.min():.0f} to {samples.max():.0f}; those "
                            "of a deep picture are read as 16 bits, 0 to 65535")
        return (samples / 65535).astype(np.float32)
    if image.mode == "F":
        grey: Floats = np.asarray(image, np.float32)
        if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= 1):
            raise DataError(f"{path}: floating-point samples must lie in [0, 1]; scale the picture")
        return grey
    return np.asarray(_on_white(image).convert("L"), np.float32) / np.float32(255)


def _on_white(image: Any) -> Any:
    """A picture with transparent parts as a viewer shows it; others as they are.

    Pillow would show the colour that a transparent pixel happens to store, which is often black.
    """
    if not image.has_transparency_data:
        return image
    pixels = image.convert("RGBA")
    white = load_pillow().new("RGBA", pixels.size, "white")
    return load_pillow().alpha_composite(white, pixels).convert("RGB")


def read_colour(path: Path) -> Any:
    """Return a picture as an 8-bit RGB Pillow image, upright; raises as `read_grey` does."""
    _, image = _open_upright(path)
    if image.mode == "F" or image.mode in DEEP_MODES:
        pixels = np.rint(_grey(path, image) * 255).astype(np.uint8)
        return load_pillow().fromarray(pixels).convert("RGB")
    return _on_white(image).convert("RGB")


def write_grey(path: Path, picture: Floats) -> None:
    """Write a picture; the file's ending says the format."""
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    load_pillow().fromarray(pixels).save(path)


def load_pillow(module: str = "Image") -> Any:
    """Pillow's ``module``; raises `UsageError` where the extra is missing."""
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise UsageError("pictures need Pillow: pip install 'bdn[report]'") from error
