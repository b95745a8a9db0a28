"""Shared by the learning tests: the embedded digits, and a made VOCdevkit with the real quirks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from bdn.learning import VOC_CLASSES, Data, load


@pytest.fixture(scope="session")
def digits() -> Data:
    return load("digits")


@dataclass
class MadeObject:
    """An object of a made picture: its class and its box as VOC writes it."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool | None = False
    """None leaves the tag out, as some files do."""
    parts: Sequence[str] = ()


@dataclass
class MadePicture:
    """A made picture of a devkit."""

    name: str
    objects: list[MadeObject]
    size: tuple[int, int] = (160, 120)
    grey: bool = False
    pixels: np.ndarray = field(init=False)

    def paint(self, rng: np.random.Generator) -> None:
        """Noise, and in each box the stripes that stand for its class."""
        width, height = self.size
        self.pixels = rng.integers(60, 100, (height, width, 3)).astype(np.uint8)
        rows, columns = np.mgrid[:height, :width]
        for thing in self.objects:
            number = VOC_CLASSES.index(thing.name)
            angle, period = np.pi * (number % 5) / 5, 4 + 3 * (number // 5)
            wave = np.sin(2 * np.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / period)
            x0, y0, x1, y1 = (round(value) for value in thing.box)
            inside = np.s_[max(y0 - 1, 0):y1, max(x0 - 1, 0):x1]
            self.pixels[inside] = (150 + 100 * wave[inside])[..., None]

    def xml(self, year: str) -> str:
        """The annotation in VOC's layout; coordinates and flags in the orders that occur."""
        width, height = self.size
        return (
            f"<annotation>\n\t<folder>{year}</folder>\n\t<filename>{self.name}.jpg</filename>\n"
            "\t<source>\n\t\t<database>The VOC Database</database>\n\t\t<annotation>PASCAL VOC"
            "</annotation>\n\t\t<image>flickr</image>\n\t</source>\n"
            f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n"
            f"\t\t<depth>{1 if self.grey else 3}</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
            + "".join(object_xml(thing) for thing in self.objects) + "</annotation>\n")


def object_xml(thing: MadeObject) -> str:
    """One <object>, with its parts before the corners that count, as 2012's persons have them."""
    x0, y0, x1, y1 = thing.box
    flag = "" if thing.difficult is None else f"\t\t<difficult>{int(thing.difficult)}</difficult>\n"
    parts = "".join(
        f"\t\t<part>\n\t\t\t<name>{part}</name>\n\t\t\t<bndbox>\n\t\t\t\t<xmin>2</xmin>\n"
        "\t\t\t\t<ymin>3</ymin>\n\t\t\t\t<xmax>8.5</xmax>\n\t\t\t\t<ymax>9</ymax>\n"
        "\t\t\t</bndbox>\n\t\t</part>\n" for part in thing.parts)
    return (f"\t<object>\n{parts}\t\t<name>{thing.name}</name>\n\t\t<pose>Left</pose>\n"
            f"\t\t<truncated>1</truncated>\n\t\t<occluded>0</occluded>\n{flag}\t\t<bndbox>\n"
            f"\t\t\t<xmax>{x1}</xmax>\n\t\t\t<xmin>{x0}</xmin>\n\t\t\t<ymax>{y1}</ymax>\n"
            f"\t\t\t<ymin>{y0}</ymin>\n\t\t</bndbox>\n\t</object>\n")


def special_pictures(prefix: str) -> list[MadePicture]:
    """One picture for each oddity of the real set."""
    return [
        MadePicture(f"{prefix}_grey", [MadeObject("cat", (20, 20, 75, 75))], grey=True),
        MadePicture(f"{prefix}_border", [MadeObject("dog", (1, 1, 160, 120))]),
        MadePicture(f"{prefix}_float", [MadeObject("bus", (12.40000057220459, 8.5, 90.7, 88.25))]),
        MadePicture(f"{prefix}_parts", [
            MadeObject("person", (30, 10, 99, 110), parts=("head", "hand", "foot"))]),
        MadePicture(f"{prefix}_untagged", [MadeObject("car", (40, 30, 120, 100), None)]),
        MadePicture(f"{prefix}_difficult", [MadeObject("sofa", (30, 20, 130, 100), True)]),
        MadePicture(f"{prefix}_empty", []),
        MadePicture(f"{prefix}_tall", [MadeObject("bottle", (50, 10, 69, 190))], size=(90, 200)),
    ]


def ordinary_pictures(prefix: str, each: int) -> list[MadePicture]:
    """``each`` pictures of every class, with one square object."""
    made = []
    for number, name in enumerate(VOC_CLASSES * each):
        side, x, y = 44 + 7 * (number % 5), 5 + 11 * (number % 6), 3 + 7 * (number % 4)
        made.append(MadePicture(f"{prefix}_{number:06d}",
                                [MadeObject(name, (x, y, x + side, y + side))]))
    return made


def write_year(folder: Path, seed: int = 0, each: int = 2) -> list[MadePicture]:
    """Write one year: train, val and trainval, class lists, and a test set without annotations."""
    from PIL import Image

    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    parts = {part: [*ordinary_pictures(part, each), *special_pictures(part)]
             for part in ("train", "val")}
    for page in (*parts["train"], *parts["val"]):
        page.paint(rng)
        image = Image.fromarray(page.pixels[..., 0] if page.grey else page.pixels)
        image.save(folder / "JPEGImages" / f"{page.name}.jpg", quality=95)
        (folder / "Annotations" / f"{page.name}.xml").write_text(page.xml(folder.name))
    Image.new("RGB", (60, 50)).save(folder / "JPEGImages" / "test_000001.jpg")
    parts["trainval"] = parts["train"] + parts["val"]
    main = folder / "ImageSets" / "Main"
    (main / "test.txt").write_text("test_000001\n")
    for part, pages in parts.items():
        (main / f"{part}.txt").write_text("".join(f"{page.name}\n" for page in pages))
        for name in VOC_CLASSES:
            rows = [f"{page.name} {presence(page, name):2d}\n" for page in pages]
            (main / f"{name}_{part}.txt").write_text("".join(rows))
    return parts["trainval"]


def presence(page: MadePicture, name: str) -> int:
    """VOC's flag of a class list: 1 there, 0 only difficult ones, -1 not there."""
    found = [thing.difficult for thing in page.objects if thing.name == name]
    return -1 if not found else 0 if all(found) else 1


@pytest.fixture(scope="session")
def make_year() -> Callable[..., list[MadePicture]]:
    """Writes a made year of a devkit: (folder, seed=0, each=2) → its pictures."""
    pytest.importorskip("PIL", reason="pictures need Pillow (extra report)")
    return write_year


@pytest.fixture(scope="session")
def devkit(tmp_path_factory: pytest.TempPathFactory, make_year: Callable[..., object]) -> Path:
    """A VOCdevkit with the year 2012, for reading only."""
    folder = tmp_path_factory.mktemp("voc") / "VOCdevkit"
    make_year(folder / "VOC2012")
    return folder
