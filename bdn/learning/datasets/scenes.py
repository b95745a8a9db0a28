"""Made scenes: real digits on larger, noisy pictures, with boxes; in memory or as a VOC folder.

They stand in for the paper's camera pictures where no VOC is at hand. A scene holds one to four
digits of different sizes; its box is the digit's whole cell, as the writer's 8×8 bitmap was cut.
Scenes of the training part are made of training digits, those of the validation part of held-out
ones, so a detector is judged on handwriting that no device has seen.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.annotations import VocObject
from bdn.learning.datasets.dataset import Data, Dataset, Picture
from bdn.learning.datasets.digits import load_digits
from bdn.learning.datasets.pictures import Box, crop, overlap, resize, write_grey
from bdn.learning.datasets.voc import BACKGROUND, empty_boxes
from bdn.learning.types import Floats
from bdn.randomness import SeededRandomness, numpy_generator

HEIGHT, WIDTH = 120, 160
"""Pixels of a scene."""

SMALLEST, LARGEST = 22, 48
"""Side of a digit's cell, in pixels."""

BACKGROUNDS = 14
"""Crops without a digit that are taken from a scene, for the background class."""

JITTER = 0.08
"""A training crop is displaced and scaled by up to this part of its side: windows never fit."""

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture (120, 160) float32 and the objects on it."""

    picture: Floats
    objects: tuple[VocObject, ...]


def make_scenes(digits: Dataset, count: int, rng: Rng) -> list[Scene]:
    """``count`` scenes; each takes the next digits of a random order of ``digits``."""
    order: list[int] = []
    scenes = []
    for _ in range(count):
        picture = _clutter(rng)
        objects: list[VocObject] = []
        for _ in range(int(rng.integers(1, 5))):
            box = _free_place([thing.box for thing in objects], rng)
            if box is None:
                continue
            order = order or rng.permutation(len(digits)).tolist()
            chosen = order.pop()
            _place(picture, digits.images[chosen], box, float(rng.uniform(0.75, 1.0)))
            objects.append(VocObject(str(digits.labels[chosen]), box))
        scenes.append(Scene(picture, tuple(objects)))
    return scenes


def _clutter(rng: Rng) -> Floats:
    """A dim background: a smooth field, a few strokes, and sensor noise."""
    field = resize(rng.uniform(0, 0.25, (4, 5)).astype(np.float32), HEIGHT, WIDTH)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        angle, length = rng.uniform(0, math.pi), rng.uniform(15, 60)
        along = np.linspace(0, length, int(2 * length))
        rows = np.rint(y + along * math.sin(angle)).astype(int)
        columns = np.rint(x + along * math.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH)
        field[rows[inside], columns[inside]] += np.float32(rng.uniform(0.2, 0.5))
    field += rng.normal(0, 0.03, field.shape).astype(np.float32)
    return np.clip(field, 0, 1)


def _free_place(taken: list[Box], rng: Rng) -> Box | None:
    """A square that overlaps none of ``taken`` noticeably, or None after many attempts."""
    for _ in range(40):
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        x, y = int(rng.integers(1, WIDTH - side + 2)), int(rng.integers(1, HEIGHT - side + 2))
        box = Box(x, y, x + side - 1, y + side - 1)
        if all(overlap(box, other) <= 0.02 for other in taken):
            return box
    return None


def _place(picture: Floats, digit: Floats, box: Box, brightness: float) -> None:
    """Draw ``digit`` into its box: ink covers what lies below it."""
    side = int(box.width)
    ink = resize(digit, side, side) * np.float32(brightness)
    top, left = int(box.ymin) - 1, int(box.xmin) - 1
    cell = picture[top : top + side, left : left + side]
    np.maximum(cell, ink, out=cell)


def load_scenes(train: int = 400, val: int = 100, seed: int = 0) -> Data:
    """Crops for a classifier of ten digits and background (so 11 classes).

    Training crops are jittered, several of each digit; validation crops are exact. The scenes
    themselves come from `scene_part` with the same seed.
    """
    names = (*(str(digit) for digit in range(10)), BACKGROUND)
    rng = numpy_generator(SeededRandomness(seed).substream("scene-crops"))
    held_out = scene_part("val", val, seed)
    parts = [_crops(scene_part("train", train, seed), 3, rng), _crops(held_out, 0, rng)]
    notes = (f"{train} made training scenes, {val} made validation scenes; UCI digits, CC BY 4.0",)
    return Data("scenes", parts[0], parts[1], names, notes, pictures(held_out),
                (SMALLEST, LARGEST))


def pictures(scenes: list[Scene]) -> tuple[Picture, ...]:
    """The scenes as pictures for a detector."""
    return tuple(Picture(f"{number:05d}", scene.objects, partial(np.copy, scene.picture))
                 for number, scene in enumerate(scenes))


def scene_part(part: str, count: int, seed: int = 0) -> list[Scene]:
    """The scenes of ``part`` ("train" or "val"), from the matching part of the digits."""
    digits = load_digits()
    if part not in ("train", "val"):
        raise UsageError(f"scenes have the parts train and val, not {part!r}")
    rng = numpy_generator(SeededRandomness(seed).substream(f"scenes/{part}"))
    return make_scenes(digits.train if part == "train" else digits.test, count, rng)


def _crops(scenes: list[Scene], jittered: int, rng: Rng) -> Dataset:
    images: list[Floats] = []
    labels: list[int] = []
    for scene in scenes:
        for thing in scene.objects:
            boxes = [_jittered(thing.box, rng) for _ in range(jittered)] or [thing.box]
            images += [crop(scene.picture, box) for box in boxes]
            labels += [int(thing.name)] * len(boxes)
        boxes = [thing.box for thing in scene.objects]
        for box in empty_boxes(boxes, scene.picture, BACKGROUNDS, rng):
            images.append(crop(scene.picture, box))
            labels.append(10)
    return Dataset(np.stack(images), np.array(labels, np.int64), 11)


def _jittered(box: Box, rng: Rng) -> Box:
    side = box.width * (1 + rng.uniform(-JITTER, JITTER))
    x = box.xmin + (box.width - side) / 2 + rng.uniform(-JITTER, JITTER) * box.width
    y = box.ymin + (box.height - side) / 2 + rng.uniform(-JITTER, JITTER) * box.height
    return Box(x, y, x + side - 1, y + side - 1)


def write_voc(folder: Path, train: int = 400, val: int = 100, seed: int = 0) -> None:
    """Write the scenes as one year of a VOCdevkit (PNG pictures); ``folder`` must not exist.

    Raises `UsageError` where it does, or without Pillow.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists; scenes are written to a new folder")
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for part, count in (("train", train), ("val", val)):
        identities = []
        for number, scene in enumerate(scene_part(part, count, seed)):
            identity = f"{part}_{number:05d}"
            identities.append(identity)
            write_grey(folder / "JPEGImages" / f"{identity}.png", scene.picture)
            xml = annotation_xml(f"{identity}.png", scene)
            (folder / "Annotations" / f"{identity}.xml").write_text(xml, encoding="utf-8")
        listing = folder / "ImageSets" / "Main" / f"{part}.txt"
        listing.write_text("".join(f"{identity}\n" for identity in identities), encoding="utf-8")


def annotation_xml(filename: str, scene: Scene) -> str:
    """A scene's annotation as VOC writes it."""
    height, width = scene.picture.shape
    objects = "".join(
        f"  <object>\n    <name>{escape(thing.name)}</name>\n    <pose>Unspecified</pose>\n"
        f"    <truncated>0</truncated>\n    <difficult>{int(thing.difficult)}</difficult>\n"
        "    <bndbox>" + "".join(f"<{key}>{value:g}</{key}>"
                                 for key, value in thing.box._asdict().items())
        + "</bndbox>\n  </object>\n"
        for thing in scene.objects
    )
    return (f"<annotation>\n  <folder>scenes</folder>\n  <filename>{escape(filename)}</filename>\n"
            f"  <size><width>{width}</width><height>{height}</height><depth>1</depth></size>\n"
            f"  <segmented>0</segmented>\n{objects}</annotation>\n")
