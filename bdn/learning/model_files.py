"""A model on disk (``.npz``) and the history of a training (JSON or CSV)."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
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

MAX_CLASSES = 1_000_000
"""Outputs of a stored model."""

MAX_AXES = 8
"""Axes of a sample of a stored model."""

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
            w, stored = arrays["w"], dict(arrays.items())
        (classes,) = stored_integers(stored, "classes", path, 1, MAX_CLASSES)
        names = stored_names(stored, classes, path)
        cnn = PaperCNN(classes)
        split_layers(w, classes)  # raises where the shapes do not fit
    except DataError:
        raise
    except ModelError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # numpy's and zipfile's readers raise anything on broken bytes
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{path}: no model of bdn ({reason})") from error
    if not np.isfinite(w).all():
        raise DataError(f"{path}: the parameters are not finite")
    return SavedModel(cnn, w, names)


def stored_integers(
    stored: Mapping[str, Any], name: str, path: Path, least: int, most: int, axes: int = 0
) -> tuple[int, ...]:
    """Return the integers in the array ``name`` of a model's file.

    Args:
        stored: the file's arrays by name.
        name: of the array.
        path: of the file, for messages.
        least, most: what each may be.
        axes: 0 for one integer, 1 for a list of at most `MAX_AXES`.

    Raises `DataError` where the array is missing or holds anything else.
    """
    array = stored.get(name)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: no model of bdn (it has no array {name})")
    if (array.dtype.kind not in "iu" or array.ndim != axes or array.size > MAX_AXES
            or not all(least <= value <= most for value in array.ravel().tolist())):
        kind = "an integer" if axes == 0 else f"at most {MAX_AXES} integers"
        raise DataError(f"{path}: no model of bdn ({name} must be {kind} from {least:,} to "
                        f"{most:,})")
    return tuple(array.ravel().tolist())


def stored_names(stored: Mapping[str, Any], classes: int, path: Path) -> tuple[str, ...] | None:
    """Return ``class_names`` of a model's file; None where it has none.

    Raises `DataError` unless they are one text per class.
    """
    if "class_names" not in stored:
        return None
    array = stored["class_names"]
    if not isinstance(array, np.ndarray) or array.dtype.kind != "U" or array.ndim != 1:
        raise DataError(f"{path}: no model of bdn (class_names must be one text per class)")
    if len(array) != classes:
        raise DataError(f"{path}: {len(array)} names for {classes} classes")
    return tuple(array.tolist())


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
