"""A model on disk (``.npz``) and the history of a training (JSON or CSV)."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdn.arguments import read_bounded
from bdn.errors import UsageError
from bdn.learning.errors import DataError, ModelError
from bdn.learning.federated import EpochResult
from bdn.learning.models.cnn import PaperCNN
from bdn.learning.models.shapes import split_layers
from bdn.learning.types import Floats

MAX_MODEL = 1 << 30
"""Bytes of a model's file."""

COLUMNS = ("epoch", "global_loss", "step_norm", "contributors", "refused", "best_epoch",
           "best_loss", "stopped")


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """A trained model: its shape, its parameters, and what its classes are called (if known)."""

    cnn: PaperCNN
    w: Floats
    class_names: tuple[str, ...] | None = None


def save_checkpoint(path: Path, checkpoint: SavedModel) -> None:
    """Write ``w``, ``classes`` and ``class_names`` to an ``.npz``, whole or not at all."""
    arrays: dict[str, Any] = {"w": checkpoint.w, "classes": checkpoint.cnn.classes}
    if checkpoint.class_names is not None:
        arrays["class_names"] = np.array(checkpoint.class_names)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    _write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> SavedModel:
    """Read what `save_checkpoint` or a run wrote; no pickled object is ever loaded.

    Raises `DataError` for a file that is missing, broken, or holds no such model.
    """
    try:
        with np.load(io.BytesIO(read_bounded(path, MAX_MODEL)), allow_pickle=False) as arrays:
            w, classes = arrays["w"], int(arrays["classes"])
            names = (tuple(str(name) for name in arrays["class_names"])
                     if "class_names" in arrays else None)
        cnn = PaperCNN(classes)
        split_layers(w, classes)  # raises where the shapes do not fit
    except ModelError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # numpy's and zipfile's readers raise anything on broken bytes
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{path}: no model of bdn ({reason})") from error
    if names is not None and len(names) != classes:
        raise DataError(f"{path}: {len(names)} names for {classes} classes")
    if not np.isfinite(w).all():
        raise DataError(f"{path}: the parameters are not finite")
    return SavedModel(cnn, w, names)


def history_rows(results: Sequence[EpochResult]) -> list[dict[str, Any]]:
    """One plain row an epoch, without the parameters."""
    return [{"epoch": r.epoch, "global_loss": r.global_loss, "step_norm": r.step_norm,
             "contributors": list(r.contributors), "refused": dict(r.refused),
             "best_epoch": r.best_epoch, "best_loss": r.best_loss, "stopped": r.stopped}
            for r in results]


def write_history(path: Path, results: Sequence[EpochResult]) -> None:
    """Write the history as ``.json`` or ``.csv``, whole or not at all.

    In CSV, contributors and refusals are joined with semicolons. Raises `UsageError` for another
    ending.
    """
    rows = history_rows(results)
    if path.suffix == ".json":
        text = json.dumps(rows, indent=1) + "\n"
    elif path.suffix == ".csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            refused = "; ".join(f"{name}: {why}" for name, why in row["refused"].items())
            writer.writerow({**row, "contributors": ";".join(row["contributors"]),
                             "refused": refused})
        text = stream.getvalue()
    else:
        raise UsageError(f"a history is written as .json or .csv, not {path.suffix!r}")
    _write_whole(path, text.encode())


def _write_whole(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename, so that no reader sees half of it."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
