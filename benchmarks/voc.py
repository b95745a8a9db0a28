"""Reading a VOCdevkit of VOC2012's size: time, and memory beside what all pictures would take.

No VOC is needed: a devkit is made with as many pictures and objects as VOC2012 has (train 5,717 and
13,609, val 5,823 and 13,841; Everingham et al., the challenge's own table), 500×375 JPEG in colour.
A few hundred different pictures are written and the rest are links to them: decoding costs the
same, the disk does not. Each reading is a process of its own, so that peak memory is its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import numpy as np

from bdn.learning import VOC_CLASSES
from bdn.learning.datasets.pictures import load_pillow

SIZES = {"train": (5_717, 13_609), "val": (5_823, 13_841)}
"""Pictures and objects of VOC2012's two parts."""

WIDTH, HEIGHT = 500, 375
DIFFERENT = 200
QUICK = 10
"""The quick profile reads a tenth."""

READER = """
import json, os, resource, sys, time
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from bdn.learning import load
from bdn.learning.datasets.pictures import load_pillow
load_pillow()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
data = load(sys.argv[1])
seconds = time.perf_counter() - started
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "before_mb": before / 1024, "after_mb": after / 1024,
                  "crops": len(data.train) + len(data.test), "classes": data.train.classes}))
"""


def write_devkit(folder: Path, part_of: int, rng: np.random.Generator) -> int:
    """A year with 1/``part_of`` of VOC2012's pictures; returns how many there are."""
    pillow = load_pillow()
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for number in range(DIFFERENT):
        coarse = pillow.fromarray(rng.integers(0, 256, (38, 50, 3)).astype(np.uint8))
        picture = np.asarray(coarse.resize((WIDTH, HEIGHT)), np.int64)
        noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        pillow.fromarray(noisy).save(folder / f"{number}.jpg", quality=90)
    written = 0
    for part, (pictures, objects) in SIZES.items():
        names = [f"{part}_{number:06d}" for number in range(pictures // part_of)]
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names) + "\n")
        owners = np.sort(rng.integers(0, len(names), objects // part_of))
        for number, name in enumerate(names):
            os.link(folder / f"{number % DIFFERENT}.jpg", folder / "JPEGImages" / f"{name}.jpg")
            count = int((owners == number).sum())
            (folder / "Annotations" / f"{name}.xml").write_text(annotation(name, count, rng))
        written += len(names)
    return written


def annotation(name: str, objects: int, rng: np.random.Generator) -> str:
    """The XML of a picture with so many objects of random classes."""
    boxes = []
    for _ in range(objects):
        x, y = int(rng.integers(1, WIDTH - 60)), int(rng.integers(1, HEIGHT - 60))
        right, low = int(rng.integers(x + 40, WIDTH + 1)), int(rng.integers(y + 40, HEIGHT + 1))
        boxes.append(
            f"<object><name>{VOC_CLASSES[int(rng.integers(20))]}</name><pose>Left</pose>"
            "<truncated>0</truncated><difficult>0</difficult><bndbox>"
            f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax><ymax>{low}</ymax></bndbox>"
            "</object>")
    return (f"<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename><size>"
            f"<width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
            f"{''.join(boxes)}</annotation>")


def measure(report: harness.Report) -> None:
    """Read the same devkit without and with background crops."""
    part_of = QUICK if report.quick else 1
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        year = Path(folder) / "VOCdevkit" / "VOC2012"
        started = time.perf_counter()
        pictures = write_devkit(year, part_of, rng)
        report.notes.append(f"{pictures} pictures of {WIDTH}×{HEIGHT}, made in "
                            f"{time.perf_counter() - started:.0f} s; as float32 all of them would "
                            f"take {pictures * WIDTH * HEIGHT * 4 / 2**20:,.0f} MB")
        for name in (f"voc:{folder}", f"voc+background:{folder}"):
            done = subprocess.run([sys.executable, "-c", READER, name], capture_output=True,
                                  text=True, check=True)
            figures = json.loads(done.stdout)
            report.add(
                data=name.partition(":")[0], pictures=pictures, crops=figures["crops"],
                classes=figures["classes"], s=round(figures["seconds"], 1),
                ms_each=round(1000 * figures["seconds"] / pictures, 2),
                crops_mb=round(figures["crops"] * 784 / 2**20, 1),
                grew_mb=round(figures["after_mb"] - figures["before_mb"], 1),
            )


if __name__ == "__main__":
    harness.main("Reading a VOCdevkit of VOC2012's size", measure)
