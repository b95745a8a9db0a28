"""A folder of pictures per class: ``images:DIR``, the ImageFolder convention.

``DIR/train/CLASS/*.png`` and ``DIR/test/CLASS/*.png`` (or ``val`` instead of ``test``); where there
is no ``train``, ``DIR/CLASS/*`` is one part, of which some pictures are held out. The classes are
the names of the folders of the training part, sorted. Pictures are grey (H, W) where all are, else
colour (H, W, 3), and must have one size unless a size is asked for.

``images:DIR?size=28x28`` resamples every picture to 28 by 28 (width by height), and
``images:DIR?colour=no`` makes them grey.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.arrays import MAX_CLASSES, MAX_VALUES, assemble
from bdn.learning.datasets.dataset import Data
from bdn.learning.datasets.pictures import read_colour, read_grey, resize
from bdn.learning.errors import DataError
from bdn.learning.types import Pixels

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"})
"""Files that are taken for pictures; others are passed over."""

MAX_SIDE = 4096
"""Longest side that may be asked for, in pixels."""


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How the pictures of a folder are read.

    Attributes:
        size: (width, height) that every picture is resampled to; None where they have one size.
        colour: True for (H, W, 3), False for grey; None: grey where every picture is.
    """

    size: tuple[int, int] | None = None
    colour: bool | None = None


def parse_options(text: str) -> PictureOptions:
    """Return the options behind the question mark of ``images:DIR?size=WxH&colour=yes|no``."""
    size: tuple[int, int] | None = None
    colour: bool | None = None
    for item in text.split("&") if text else []:
        key, _, value = item.partition("=")
        width, _, height = value.partition("x")
        if key == "size" and width.isdecimal() and height.isdecimal() and len(value) < 12:
            size = (int(width), int(height))
            if not all(1 <= side <= MAX_SIDE for side in size):
                raise UsageError(f"size: each side lies in 1…{MAX_SIDE}, not {value}")
        elif key == "colour" and value in ("yes", "no"):
            colour = value == "yes"
        else:
            raise UsageError(f"images:DIR takes size=WIDTHxHEIGHT and colour=yes|no, not "
                             f"{item[:40]!r}")
    return PictureOptions(size, colour)


def load_folder(folder: Path, options: PictureOptions | None = None) -> Data:
    """Return the pictures below ``folder``, a folder per class.

    Raises:
        DataError: a picture is broken, or of another size than the others; the message names it.
        UsageError: Pillow is missing.
    """
    options = options if options is not None else PictureOptions()
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    places = [folder / "train", *(folder / name for name in ("test", "val")
                                  if (folder / name).is_dir())][:2]
    if not places[0].is_dir():
        places = [folder]
    parts = [list(_pictures(place)) for place in places]
    if not all(parts):
        raise DataError(f"{places[0] if not parts[0] else places[1]}: no pictures in folders named "
                        "after their classes")
    colour = options.colour
    if colour is None:
        colour = any(_is_colour(path) for part in parts for path, _ in part)
    read = [(_stack([path for path, _ in part], options.size, colour),
             np.array([name for _, name in part])) for part in parts]
    return assemble(f"images:{folder.name}", str(folder), read)


def _pictures(place: Path) -> Iterator[tuple[Path, str]]:
    """(file, class) of every picture, in the order of their names."""
    names = sorted(path.name for path in place.iterdir() if path.is_dir())
    if len(names) > MAX_CLASSES:
        raise DataError(f"{place}: {len(names)} folders; at most {MAX_CLASSES} classes can be told "
                        "apart")
    for name in names:
        for path in sorted((place / name).iterdir()):
            if path.suffix.lower() in ENDINGS and path.is_file():
                yield path, name


def _is_colour(path: Path) -> bool:
    """Whether any pixel of a picture has a colour, whatever its file's mode is."""
    pixels = np.asarray(read_colour(path))
    return bool((pixels != pixels[..., :1]).any())


def _stack(paths: list[Path], size: tuple[int, int] | None, colour: bool) -> Pixels:
    """The pictures as bytes, (B, H, W) or (B, H, W, 3)."""
    stacked: Pixels | None = None
    for row, path in enumerate(paths):
        picture = read_picture(path, size, colour)
        if stacked is None:
            if len(paths) * picture.size > MAX_VALUES:
                raise DataError(f"{path.parent.parent}: {len(paths)} pictures of shape "
                                f"{picture.shape} are too many; ask for a smaller size")
            stacked = np.empty((len(paths), *picture.shape), np.uint8)
        if picture.shape != stacked.shape[1:]:
            raise DataError(f"{path}: a picture of {picture.shape[1]}×{picture.shape[0]} pixels; "
                            f"the first one has {stacked.shape[2]}×{stacked.shape[1]}. Ask for one "
                            "size: images:DIR?size=WIDTHxHEIGHT")
        stacked[row] = picture
    assert stacked is not None
    return stacked


def read_picture(path: Path, size: tuple[int, int] | None, colour: bool) -> Pixels:
    """Return a picture as bytes, (H, W) or in colour (H, W, 3), resampled to ``size`` = (W, H)."""
    planes = (np.asarray(read_colour(path), np.float32).transpose(2, 0, 1) / np.float32(255)
              if colour else read_grey(path)[None])
    if size is not None:
        planes = resize(planes, size[1], size[0])
    pixels: Pixels = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0) if colour else pixels[0]
