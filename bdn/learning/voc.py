"""PASCAL VOC: annotations, image sets, and object crops for the classifier: ``voc:DIR``.

DIR is one year of a VOCdevkit, such as ``VOCdevkit/VOC2012``, with Annotations/, ImageSets/Main/
and JPEGImages/. The paper trains on 27,450 and validates on 13,841 instances; these are the counts
of non-difficult objects in VOC2012's trainval and val, so its validation lies inside its training
set. Here `train` trains and `val` judges, which share no picture.

Objects are cut out by their boxes, made grey and 28×28 (DESIGN section 3). Pictures are decoded
one at a time; only the crops stay.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdn.learning.dataset import Data, Dataset
from bdn.learning.errors import DataError
from bdn.learning.imaging import Box, crop, overlap, read_grey
from bdn.learning.shapes import SIDE
from bdn.learning.types import Floats, Integers

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The twenty classes of 2007 to 2012, in their official (alphabetic) order."""

BACKGROUND = "background"
"""Name of the extra class, always the last."""

MAX_ANNOTATION = 1 << 20
"""Bytes of an annotation file; real ones have a few thousand."""


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
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_ANNOTATION or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{path}: no VOC annotation (too long, or with a document type)")
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


def annotations(folder: Path, part: str) -> Iterator[Annotation]:
    """The pictures of ImageSets/Main/PART.txt, one after the other.

    Raises `DataError` naming the file or folder that is missing or broken.
    """
    for needed in ("Annotations", "ImageSets/Main", "JPEGImages"):
        if not (folder / needed).is_dir():
            raise DataError(f"{folder} is no year of a VOCdevkit: it has no {needed}/")
    listing = folder / "ImageSets" / "Main" / f"{part}.txt"
    try:
        lines = listing.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: cannot be read ({error})") from error
    for line in lines:
        words = line.split()
        if not words:
            continue
        if Path(words[0]).name != words[0] or "\0" in words[0]:
            raise DataError(f"{listing}: {words[0]!r} is no picture's name")
        yield read_annotation(folder / "Annotations" / f"{words[0]}.xml", folder / "JPEGImages")


def load_voc(
    folder: Path, classes: Sequence[str] | None = None, background: int = 0, seed: int = 0
) -> Data:
    """Crops of ``train`` (to train on) and ``val`` (to judge on).

    Args:
        folder: one year of a VOCdevkit.
        classes: their names in order; by default the names that ``train`` holds, sorted, which for
            the real set gives `VOC_CLASSES`.
        background: so many crops without an object are taken from each picture and make a class of
            their own, the last; what a detector needs. With 0 the output layer is (128, classes).
        seed: of the background crops.

    Raises:
        DataError: a missing or broken file (named), or a part without objects.
        UsageError: Pillow is missing.
    """
    parts = {part: list(annotations(folder, part)) for part in ("train", "val")}
    if classes is None:
        classes = sorted({thing.name for page in parts["train"] for thing in page.objects})
    names = (*classes, BACKGROUND) if background else tuple(classes)
    data = {}
    for number, (part, pages) in enumerate(parts.items()):
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        data[part] = _crops(folder, part, pages, names, background, rng)
    return Data(f"voc:{folder.name}", data["train"], data["val"], names,
                tuple(_notes(folder, parts, data, names)))


def _notes(
    folder: Path, parts: dict[str, list[Annotation]], data: dict[str, Dataset],
    names: tuple[str, ...],
) -> Iterator[str]:  # fmt: skip
    """What a report must say about the crops."""
    train, val = len(data["train"]), len(data["val"])
    yield f"{train} training and {val} validation crops of {folder.name}"
    both = {page.identity for page in parts["train"]} & {page.identity for page in parts["val"]}
    if both:
        yield f"{len(both)} pictures are in train and in val: the judgement is too kind"
    unknown = {thing.name for page in parts["val"] for thing in page.objects} - set(names)
    if unknown:
        yield f"val holds classes that are not trained, and left out: {', '.join(sorted(unknown))}"


def _crops(
    folder: Path, part: str, pages: Sequence[Annotation], names: tuple[str, ...], background: int,
    rng: np.random.Generator,
) -> Dataset:  # fmt: skip
    images: list[Floats] = []
    labels: list[int] = []
    for page in pages:
        picture = read_grey(page.picture)
        counted = [thing for thing in page.objects if not thing.difficult and thing.name in names]
        for thing in counted:
            images.append(crop(picture, thing.box))
            labels.append(names.index(thing.name))
        for box in empty_boxes([thing.box for thing in page.objects], picture, background, rng):
            images.append(crop(picture, box))
            labels.append(len(names) - 1)
    if not images or len(names) < 2:
        raise DataError(f"{folder}: {part} holds no objects of at least two classes")
    pixels = np.rint(np.clip(np.stack(images), 0, 1) * 255).astype(np.uint8)
    return Dataset(pixels, np.array(labels, np.int64), len(names))


def empty_boxes(
    objects: Sequence[Box], picture: Floats, count: int, rng: np.random.Generator,
    most_overlap: float = 0.4, attempts: int = 60,
) -> list[Box]:  # fmt: skip
    """At most ``count`` square boxes that overlap no object by more than ``most_overlap``.

    Half of them are drawn near an object, where a detector would otherwise answer too often.
    """
    height, width = picture.shape
    shortest = min(height, width)
    found: list[Box] = []
    for _ in range(attempts if count else 0):
        if objects and rng.random() < 0.7:
            near = objects[int(rng.integers(len(objects)))]
            side = max(near.width, near.height) * rng.uniform(0.4, 1.8)
            x = near.xmin + near.width / 2 + rng.uniform(-0.7, 0.7) * near.width - side / 2
            y = near.ymin + near.height / 2 + rng.uniform(-0.7, 0.7) * near.height - side / 2
        else:
            side = rng.uniform(min(SIDE / 2, shortest), shortest / 2 + 1)
            x, y = rng.uniform(1, width - side + 1), rng.uniform(1, height - side + 1)
        box = Box(round(x), round(y), round(x + side) - 1, round(y + side) - 1)
        inside = box.xmin >= 1 and box.ymin >= 1 and box.xmax <= width and box.ymax <= height
        if inside and box.width >= 8 and all(overlap(box, o) <= most_overlap for o in objects):
            found.append(box)
            if len(found) == count:
                break
    return found


def label_counts(dataset: Dataset) -> Integers:
    """Images of each class, (classes,)."""
    return np.bincount(dataset.labels, minlength=dataset.classes)
