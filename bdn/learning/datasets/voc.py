"""Object crops of PASCAL VOC for the classifier, whole pictures for the detector: ``voc:DIR``.

The paper trains on 27,450 and validates on 13,841 instances; these are the counts of non-difficult
objects in VOC2012's trainval and val, so its validation lies inside its training set. Here `train`
trains and `val` judges, which share no picture.

Objects are cut out by their boxes, made grey and 28×28. Pictures are decoded
one at a time and only the crops stay, as bytes: 784 an object. What a detector is judged on stays
on disk until it is looked at.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bdn.learning.datasets.annotations import Annotation, annotations, find_year, uses_eleven_points
from bdn.learning.datasets.dataset import Data, Dataset, Picture
from bdn.learning.datasets.pictures import Box, crop, overlap, read_grey
from bdn.learning.errors import DataError
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Floats, Integers, Pixels

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The twenty classes of 2007 to 2012, in their official (alphabetic) order."""

BACKGROUND = "background"
"""Name of the extra class, always the last."""


PAPERS_INSTANCES = (27_450, 13_841)
"""Non-difficult objects of VOC2012's trainval and val, which the paper trains and validates on."""


def load_voc(
    folder: Path, classes: Sequence[str] | None = None, background: int = 0, seed: int = 0
) -> Data:
    """Crops of ``train`` (to train on) and ``val`` (to judge on), and ``val``'s whole pictures.

    All annotations are read, and all pictures found, before the first one is decoded.

    Args:
        folder: one year of a VOCdevkit, or a devkit with one year (`find_year`).
        classes: their names in order; by default the names that ``train`` holds, sorted, which for
            the real set gives `VOC_CLASSES`.
        background: so many crops without an object are taken from each picture and make a class of
            their own, the last; what a detector needs. With 0 the output layer is (128, classes).
        seed: of the background crops.

    Raises:
        DataError: a missing or broken file (named), or a part without objects.
        UsageError: Pillow is missing.
    """
    folder = find_year(folder)
    parts = {part: list(annotations(folder, part)) for part in ("train", "val")}
    if classes is None:
        classes = sorted({thing.name for page in parts["train"] for thing in page.objects})
    names = (*classes, BACKGROUND) if background else tuple(classes)
    data = {}
    for number, (part, pages) in enumerate(parts.items()):
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        data[part] = _crops(folder, part, pages, names, background, rng)
    return Data(
        f"voc:{folder.name}", data["train"], data["val"], names,
        tuple(_notes(folder, parts, data, names)), pictures(parts["val"]),
        object_sides(parts["train"]), uses_eleven_points(folder),
    )  # fmt: skip


def pictures(pages: Sequence[Annotation]) -> tuple[Picture, ...]:
    """Whole pictures with what is to be found on them; each is decoded when it is read."""
    return tuple(Picture(page.identity, page.objects, partial(_read, page))
                 for page in pages)


def _read(page: Annotation) -> Floats:
    """The page's picture, in the frame that its boxes were drawn in."""
    return read_grey(page.picture, (page.width, page.height))


def object_sides(pages: Sequence[Annotation], rarest: float = 0.05) -> tuple[int, int]:
    """Sides of squares as large as the objects, without the ``rarest`` part at either end."""
    sides = [(thing.box.area) ** 0.5 for page in pages for thing in page.objects
             if not thing.difficult and thing.box.area > 0]
    smallest, largest = np.quantile(sides or [SIDE], [rarest, 1 - rarest])
    return max(4, int(smallest)), max(4, int(largest + 1))


def _notes(
    folder: Path, parts: dict[str, list[Annotation]], data: dict[str, Dataset],
    names: tuple[str, ...],
) -> Iterator[str]:  # fmt: skip
    """What a report must say about the crops."""
    train, val = len(data["train"]), len(data["val"])
    pages = [len(parts[part]) for part in ("train", "val")]
    yield (f"{train} training crops from {pages[0]} pictures and {val} validation crops from "
           f"{pages[1]} pictures of {folder.name}")
    first, second = PAPERS_INSTANCES
    yield (f"the paper's {first:,} training and {second:,} validation instances are VOC2012's "
           "trainval and val without difficult ones: it validates on pictures that it trains on; "
           "here train trains and val judges")
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
    images: list[Pixels] = []
    labels: list[int] = []
    for page in pages:
        counted = [thing for thing in page.objects if not thing.difficult and thing.name in names]
        picture = _read(page)  # also where nothing is cut out: a broken file shows now
        boxes = [thing.box for thing in counted]
        labels += [names.index(thing.name) for thing in counted]
        empty = empty_boxes([thing.box for thing in page.objects], picture, background, rng)
        labels += [len(names) - 1] * len(empty)
        for box in (*boxes, *empty):
            try:
                images.append(_as_bytes(crop(picture, box)))
            except DataError as error:
                raise DataError(f"{page.picture}: {error}") from error
    if not images or len(names) < 2:
        raise DataError(f"{folder}: {part} holds no objects of at least two classes")
    return Dataset(np.stack(images), np.array(labels, np.int64), len(names))


def _as_bytes(image: Floats) -> Pixels:
    pixels: Pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return pixels


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
