"""``bdn detect``: boxes over the objects that a run's model finds in pictures, and their mAP."""

import json
from pathlib import Path
from typing import Any

import click
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from bdn.cli.screen import PlainConsole, styled
from bdn.cli.tables import print_detection
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.learning import (
    Detection,
    DetectorSettings,
    SavedModel,
    draw,
    evaluate,
    fitting_windows,
    judge_detector,
    load,
    load_checkpoint,
    read_grey,
)
from bdn.learning import detect as find_objects
from bdn.runfolder import CONFIG, MODEL

SMALLEST = 20
"""Side of the smallest window, where nothing is said of the objects' sizes."""

THRESHOLD = 0.5
"""Least confidence of an object on a picture, where none is asked for."""


@click.command()
@click.option("--model", "source", required=True, metavar="RUN",
              type=click.Path(path_type=Path), help="A run folder, or a model's .npz file.")
@click.argument("images", nargs=-1, metavar="[IMAGE]...", type=click.Path(path_type=Path))
@click.option("--out", "target", metavar="DIR", type=click.Path(path_type=Path),
              help="Where the pictures with boxes go, as PNG.")
@click.option("--evaluate", "evaluated", is_flag=True,
              help="Judge the model on held-out pictures (mPA and mAP) instead.")
@click.option("--data", metavar="SOURCE",
              help="For --evaluate: scenes or voc:DIR  [default: what the run trained on]")
@click.option("--pictures", default=0, show_default=True, type=click.IntRange(min=0),
              help="For --evaluate: so many of them; 0: all.")
@click.option("--threshold", type=click.FloatRange(0, 1),
              help=f"Least confidence of an object  [default: {THRESHOLD}; for --evaluate 0, since "
                   "average precision looks at every answer]")
@click.option("--smallest", type=click.IntRange(min=4),
              help=f"Side of the smallest window, in pixels  [default: {SMALLEST}; for --evaluate "
                   "what fits the training objects]")
@click.option("--largest", type=click.IntRange(min=0),
              help="Side of the largest window; 0: as large as the picture allows  [default: 0; "
                   "for --evaluate what fits the training objects]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def detect(
    source: Path, images: tuple[Path, ...], target: Path | None, evaluated: bool,
    data: str | None, pictures: int, threshold: float | None, smallest: int | None,
    largest: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Find objects in each IMAGE and write it, with boxes over them, to DIR.

    A model that was trained with a background class (``--data scenes``, ``voc+background:DIR``)
    finds objects; one without takes background for something, too. With --evaluate no IMAGE is
    needed: the whole held-out pictures of the model's data are searched, and VOC's mean average
    precision is told by class.
    """
    if evaluated:
        if images or target is not None:
            raise UsageError("--evaluate takes the held-out pictures: leave out IMAGE and --out")
        _evaluate(source, data, pictures or None, (threshold or 0.0, smallest, largest), as_json)
        return
    if not images or target is None:
        raise UsageError("give pictures and --out DIR, or --evaluate to judge the model")
    if data is not None or pictures:
        raise UsageError("--data and --pictures belong to --evaluate")
    threshold = THRESHOLD if threshold is None else threshold
    settings = DetectorSettings(smallest or SMALLEST, largest or 0,
                                window=min(THRESHOLD, threshold), threshold=threshold)
    found = _find(source, images, target, settings)
    for image, detections in found.items():
        draw(image, detections, target / f"{image.stem}.png")
    if as_json:
        click.echo(json.dumps({str(image): [_plain(answer) for answer in answers]
                               for image, answers in found.items()}))
    else:
        _print(found, target)


def _find(
    source: Path, images: tuple[Path, ...], target: Path, settings: DetectorSettings
) -> dict[Path, list[Detection]]:
    """The detections on each image, and the folder ``target``: all of it before a picture is
    written.
    """
    names = [f"{image.stem}.png" for image in images]
    if len(set(names)) < len(names):
        raise UsageError("two images have the same name; call detect once for each")
    for image, name in zip(images, names, strict=True):
        if (target / name).resolve() == image.resolve():
            raise UsageError(f"--out would overwrite {image}; choose another folder")
    model, class_names = _model(source)
    found = {image: find_objects(model.cnn, model.w, class_names, read_grey(image), settings)
             for image in images}
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {target}: {error.strerror}") from error
    return found


def _evaluate(
    source: Path, name: str | None, count: int | None,
    windows: tuple[float, int | None, int | None], as_json: bool,
) -> None:  # fmt: skip
    """mPA of the classifier and mAP of the detector, on the data's held-out part."""
    model, class_names = _model(source)
    if name is None:
        if not (source / CONFIG).is_file():
            raise UsageError(f"{source} does not say on what to judge: add --data SOURCE")
        name = RunFolder.open(source).config.data
    data = load(name)
    if data.class_names != class_names:
        raise UsageError(f"the model knows {len(class_names)} classes "
                         f"({', '.join(class_names[:3])}, …), {data.name} has "
                         f"{len(data.class_names)} ({', '.join(data.class_names[:3])}, …)")
    threshold, smallest, largest = windows
    fitting = fitting_windows(data)
    settings = DetectorSettings(
        fitting.smallest if smallest is None else smallest,
        fitting.largest if largest is None else largest, threshold=threshold)
    watched = PlainConsole(stderr=True, goes_on=True)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=watched,
                  transient=True, disable=not watched.is_terminal) as progress:
        task = progress.add_task("looking for objects")
        found = judge_detector(
            model.cnn, model.w, data, count, settings=settings,
            looked=lambda done, of: progress.update(task, completed=done, total=of)).to_plain()
    figures = evaluate(model.cnn, model.w, data.test)
    if as_json:
        click.echo(json.dumps({"data": name, "accuracy": figures.accuracy, "held_out":
                               figures.images, "mean_precision": figures.mean_precision,
                               "detection": found, "notes": data.notes}))
        return
    console = PlainConsole()
    console.print(styled("Classifier on {} held-out crops: mean precision (mPA) "
                         "[bold]{:.4f}[/bold], accuracy {:.4f}", figures.images,
                         figures.mean_precision, figures.accuracy))
    print_detection(found, console)
    for note in data.notes:
        console.print(f"Note: {note}.", style="dim")


def _model(source: Path) -> tuple[SavedModel, tuple[str, ...]]:
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
    console = PlainConsole()
    console.print(table)
    console.print(f"Pictures with boxes: {target}")
