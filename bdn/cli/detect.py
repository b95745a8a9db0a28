"""``bdn detect``: boxes over the objects that a run's model finds in pictures."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bdn.errors import UsageError
from bdn.experiments.folder import CONFIG, MODEL, RunFolder
from bdn.learning import (
    Checkpoint,
    Detection,
    DetectorSettings,
    draw,
    load,
    load_checkpoint,
    read_grey,
)
from bdn.learning import detect as find_objects


@click.command()
@click.option("--model", "source", required=True, metavar="RUN",
              type=click.Path(path_type=Path), help="A run folder, or a model's .npz file.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…",
                type=click.Path(path_type=Path))
@click.option("--out", "target", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Where the pictures with boxes go, as PNG.")
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1),
              help="Least confidence of an answer.")
@click.option("--smallest", default=20, show_default=True, type=click.IntRange(min=4),
              help="Side of the smallest window, in pixels.")
@click.option("--largest", default=0, show_default=True, type=click.IntRange(min=0),
              help="Side of the largest window; 0: as large as the picture allows.")
@click.option("--json", "as_json", is_flag=True, help="Print the detections as JSON.")
def detect(
    source: Path, images: tuple[Path, ...], target: Path, threshold: float, smallest: int,
    largest: int, as_json: bool,
) -> None:  # fmt: skip
    """Find objects in each IMAGE and write it, with boxes over them, to DIR.

    A model that was trained with a background class (``--data scenes``, ``voc+background:DIR``)
    finds objects; one without takes background for something, too.
    """
    names = [f"{image.stem}.png" for image in images]
    if len(set(names)) < len(names):
        raise UsageError("two images have the same name; call detect once for each")
    for image, name in zip(images, names, strict=True):
        if (target / name).resolve() == image.resolve():
            raise UsageError(f"--out would overwrite {image}; choose another folder")
    model, class_names = _model(source)
    settings = DetectorSettings(smallest, largest, threshold=threshold)
    found = {image: find_objects(model.cnn, model.w, class_names, read_grey(image), settings)
             for image in images}  # all of it before anything is written
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {target}: {error.strerror}") from error
    for (image, detections), name in zip(found.items(), names, strict=True):
        draw(image, detections, target / name)
    if as_json:
        click.echo(json.dumps({str(image): [_plain(answer) for answer in answers]
                               for image, answers in found.items()}))
    else:
        _print(found, target)


def _model(source: Path) -> tuple[Checkpoint, tuple[str, ...]]:
    """The model and its classes' names, from the file or from the run's data."""
    path = source / MODEL if source.is_dir() else source
    if not path.is_file():
        raise UsageError(f"there is no model at {path}; give a finished run's folder or an .npz")
    model = load_checkpoint(path)
    if model.class_names is not None:
        return model, model.class_names
    if source.is_dir() and (source / CONFIG).is_file():
        return model, load(RunFolder.open(source).config.data).class_names
    return model, tuple(str(label) for label in range(model.cnn.classes))


def _plain(answer: Detection) -> dict[str, Any]:
    return {"name": answer.name, "confidence": round(answer.confidence, 4),
            "box": [round(coordinate, 1) for coordinate in answer.box]}


def _print(found: dict[Path, list[Detection]], target: Path) -> None:
    table = Table("image", "object", "confidence", "box (xmin, ymin, xmax, ymax)")
    for image, answers in found.items():
        for answer in answers:
            table.add_row(image.name, answer.name, f"{answer.confidence:.2f}",
                          ", ".join(f"{coordinate:.0f}" for coordinate in answer.box))
        if not answers:
            table.add_row(image.name, "nothing", "", "")
    console = Console()
    console.print(table)
    console.print(f"Pictures with boxes: {target}", highlight=False)
