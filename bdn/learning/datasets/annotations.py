"""PASCAL VOC on disk: a devkit's years, image sets, annotations (Everingham et al. 2010, 2015).

A year is a folder such as ``VOCdevkit/VOC2012`` with Annotations/ (an XML file a picture),
ImageSets/Main/ (one picture's name a line; files such as ``cat_train.txt`` add -1, 0 or 1) and
JPEGImages/. `find_year` takes the year, the devkit above it, or the folder that holds the devkit.

What the real files do, and is read as they mean it: boxes are 1-based, with both corners inside,
and may touch or leave the border; coordinates of 2011 and 2012 may have fractions; ``difficult``
and other flags may be absent; persons have ``<part>`` objects within (heads, hands, feet), which
are no objects of their own; pictures may hold no object; test sets from 2008 on come without
annotations.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bdn.arguments import read_bounded
from bdn.errors import UsageError
from bdn.learning.datasets.pictures import Box
from bdn.learning.errors import DataError

MAX_ANNOTATION = 1 << 20
MAX_LISTING = 1 << 26
"""Bytes of a list of pictures."""
"""Bytes of an annotation file; real ones have a few thousand."""

NEEDED = ("Annotations", "ImageSets/Main", "JPEGImages")
"""Folders of a year."""

ALL_POINT_SINCE = 2010
"""The first year whose challenge took the area under the whole precision–recall curve."""


@dataclass(frozen=True, slots=True)
class VocObject:
    """One annotated object; `difficult` ones are not counted in an evaluation."""

    name: str
    box: Box
    difficult: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """One picture: its file's path, its size in pixels, its objects."""

    identity: str
    picture: Path
    width: int
    height: int
    objects: tuple[VocObject, ...]


def read_annotation(path: Path, pictures: Path) -> Annotation:
    """One XML file of Annotations/; its picture is looked for in ``pictures``.

    Coordinates may have fractions (some of 2011 and later do); the flags ``difficult``,
    ``truncated``, ``occluded`` and ``pose`` may be absent. Raises `DataError` naming the file.
    """
    try:
        data = read_bounded(path, MAX_ANNOTATION)
    except UsageError as error:
        raise DataError(f"{path}: no VOC annotation (too long)") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{path}: no VOC annotation (with a document type)")
    try:
        root = ET.fromstring(data)  # noqa: S314 - document types, and with them entities, are refused above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: broken XML ({error})") from error
    if root.tag != "annotation":
        raise DataError(f"{path}: <annotation> expected, found <{root.tag}>")
    width, height = (_number(root, f"size/{key}", path) for key in ("width", "height"))
    if not (1 <= width <= 1e6 and 1 <= height <= 1e6):
        raise DataError(f"{path}: a picture of {width:g}×{height:g} pixels")
    objects = tuple(_object(node, path) for node in root.findall("object"))
    name = _text(root, "filename", path)
    if Path(name).name != name:
        raise DataError(f"{path}: file name {name!r} leaves its folder")
    return Annotation(path.stem, pictures / name, int(width), int(height), objects)


def _object(node: ET.Element, path: Path) -> VocObject:
    box = Box(*(_number(node, f"bndbox/{key}", path) for key in ("xmin", "ymin", "xmax", "ymax")))
    if box.xmin > box.xmax or box.ymin > box.ymax:
        raise DataError(f"{path}: a box with its corners exchanged, {tuple(box)}")
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise DataError(f"{path}: difficult is 0 or 1, not {difficult!r}")
    return VocObject(_text(node, "name", path), box, difficult == "1")


def _text(node: ET.Element, key: str, path: Path) -> str:
    text = (node.findtext(key) or "").strip()
    if not text:
        raise DataError(f"{path}: <{key}> is missing or empty")
    return text


def _number(node: ET.Element, key: str, path: Path) -> float:
    text = _text(node, key, path)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: <{key}> is no number: {text!r}")
    return value


# --- devkits ------------------------------------------------------------------------------------


def find_year(folder: Path) -> Path:
    """The year that ``folder`` is, or the only one that it holds, also in a ``VOCdevkit`` below it.

    Raises `DataError` where there is none, or more than one to choose from.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give a VOCdevkit or one of its years")
    if _looks_like_a_year(folder):
        return folder
    below = (folder, folder / "VOCdevkit")
    years = sorted(path for place in below if place.is_dir() for path in place.iterdir()
                   if _looks_like_a_year(path))
    if len(years) > 1:
        choices = ", ".join(str(path.relative_to(folder)) for path in years)
        raise DataError(f"{folder} holds several years, {choices}: choose one, such as "
                        f"{years[-1]}")
    if not years:
        raise DataError(f"{folder} is no year of a VOCdevkit and holds none: it has no "
                        f"{NEEDED[0]}/")
    return years[0]


def _looks_like_a_year(folder: Path) -> bool:
    """Also one that is not complete: `annotations` then says what is missing."""
    return any((folder / part).is_dir() for part in NEEDED)


def uses_eleven_points(folder: Path) -> bool:
    """Whether the challenge of this year took 11-point average precision (2007 to 2009)."""
    year = re.search(r"(20\d\d)$", folder.resolve().name)
    return year is not None and int(year[1]) < ALL_POINT_SINCE


def read_part(folder: Path, part: str) -> Iterator[str]:
    """Names of the pictures in ImageSets/Main/PART.txt.

    Raises `DataError` for a missing or broken list, one that names a picture twice, or none.
    """
    listing = folder / "ImageSets" / "Main" / f"{part}.txt"
    try:
        lines = read_bounded(listing, MAX_LISTING).decode().splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no image set {part!r}: {listing} is missing") from error
    except (OSError, UsageError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: cannot be read ({error})") from error
    seen: set[str] = set()
    for line in filter(str.strip, lines):
        name = line.split()[0]
        if Path(name).name != name or "\0" in name:
            raise DataError(f"{listing}: {name!r} is no picture's name")
        if name in seen:
            raise DataError(f"{listing}: {name} stands there twice")
        seen.add(name)
        yield name
    if not seen:
        raise DataError(f"{listing} names no picture")


def annotations(folder: Path, part: str) -> Iterator[Annotation]:
    """The pictures of an image set, one after the other; none of them is decoded.

    Raises `DataError` naming the folder, the list, the annotation or the picture that is missing
    or broken.
    """
    for needed in NEEDED:
        if not (folder / needed).is_dir():
            raise DataError(f"{folder} is no year of a VOCdevkit: it has no {needed}/")
    for name in read_part(folder, part):
        path = folder / "Annotations" / f"{name}.xml"
        if not path.is_file():
            raise DataError(f"{path}: there is no such annotation, so {part!r} can neither train "
                            "nor judge (test sets since 2008 come without)")
        page = read_annotation(path, folder / "JPEGImages")
        if not page.picture.is_file():
            raise DataError(f"{path}: its picture {page.picture} is missing")
        yield page
