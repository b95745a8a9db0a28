"""``bdn predict``: what a run's model says of new pictures or data."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Column, Table
from rich.text import Text

from bdn.cli.options import NamedPath
from bdn.cli.screen import PlainConsole
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.experiments.models import RunModel, read_model
from bdn.learning import load
from bdn.learning.datasets.folder import ENDINGS, read_picture
from bdn.learning.plugins import users_code
from bdn.learning.types import Floats

MANY_ROWS = 20
"""Of more samples the table shows the first ones; ``--json`` has all."""


@click.command()
@click.argument("folder", metavar="RUN", type=NamedPath())
@click.argument("sources", metavar="IMAGE|DATA", nargs=-1, required=True)
@click.option("--model", "which", default="best", show_default=True, metavar="best|last|P",
              help="The best model, the last one, or that of epoch P (bdn run --keep-models).")
@click.option("--top", default=1, show_default=True, type=click.IntRange(min=1),
              help="So many classes of each sample, the likeliest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(
    folder: Path, sources: tuple[str, ...], which: str, top: int, as_json: bool
) -> None:  # fmt: skip
    """Classify pictures, or the held-out part of a data set, with the model of the run in RUN.

    Each IMAGE is resampled to the size that the model takes, grey or in colour. DATA is a source as
    bdn run --data takes it, such as npz:FILE; its held-out samples are classified, and compared
    with their labels.
    """
    model = read_model(RunFolder.open(folder), which)
    names, labels, X = _samples(sources, model)
    with users_code("the run's model"), np.errstate(all="ignore"):
        S = np.asarray(model.model.scores(model.w, X), np.float64)
    if S.shape != (len(X), len(model.class_names)) or not np.isfinite(S).all():
        raise UsageError(f"the model of {folder} does not give a finite score per class: its "
                         "training diverged, or its file was changed")
    P = np.exp(S - S.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    rows = [_row(name, label, chances, model, top)
            for name, label, chances in zip(names, labels, P, strict=True)]
    known = [row for row in rows if row["label"] is not None]
    accuracy = sum(row["classes"][0]["name"] == row["label"] for row in known) / len(known) \
        if known else None
    if as_json:
        click.echo(json.dumps({"epoch": model.epoch, "accuracy": accuracy, "predictions": rows}))
    else:
        _print(rows, accuracy, model)


def _samples(
    sources: tuple[str, ...], model: RunModel
) -> tuple[list[str], list[str | None], Floats]:
    """What each sample is called, its label where it is known, and the samples (B, …)."""
    pictures = [Path(source).suffix.lower() in ENDINGS for source in sources]
    if all(pictures):
        shape = model.sample_shape
        if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
            raise UsageError(f"the model takes samples of shape {shape}, which are no pictures: "
                             "give DATA, such as npz:FILE")
        X = np.stack([read_picture(Path(source), (shape[1], shape[0]), len(shape) == 3)
                      for source in sources])
        return list(sources), [None] * len(sources), X.astype(np.float32) / np.float32(255)
    if len(sources) != 1:
        raise UsageError("give pictures, or one DATA: "
                         f"{sources[pictures.index(False)][:80]} is no picture")
    data = load(sources[0])
    if data.test.sample_shape != model.sample_shape:
        raise UsageError(f"the model takes samples of shape {model.sample_shape}, and those of "
                         f"{sources[0][:80]} have shape {data.test.sample_shape}")
    labels: list[str | None] = [data.class_names[label] for label in data.test.labels]
    return [f"{data.name} {i}" for i in range(len(labels))], labels, data.test.images


def _row(
    name: str, label: str | None, chances: Floats, model: RunModel, top: int
) -> dict[str, Any]:  # fmt: skip
    order = np.argsort(-chances, kind="stable")[:top]
    return {"input": name, "label": label, "classes": [
        {"name": model.class_names[c], "confidence": round(float(chances[c]), 6)} for c in order]}


def _print(rows: list[dict[str, Any]], accuracy: float | None, model: RunModel) -> None:
    console = PlainConsole()
    table = Table(Column("input", overflow="fold"), "class", "confidence")
    if accuracy is not None:
        table.add_column("label")
    for row in rows[:MANY_ROWS]:
        for place, answer in enumerate(row["classes"]):
            cells: list[Text | str] = [
                Text(row["input"] if place == 0 else ""), Text(answer["name"]),
                f"{answer['confidence']:.4f}"]
            if accuracy is not None:
                cells.append(Text(row["label"]))
            table.add_row(*cells)
    console.print(table)
    if len(rows) > MANY_ROWS:
        console.print(f"… and {len(rows) - MANY_ROWS} more: --json prints all.")
    right = "" if accuracy is None else f"; accuracy {accuracy:.4f} on {len(rows)} samples"
    console.print(f"Model of epoch {model.epoch}{right}.")
