"""The models that a run leaves in its folder, and those that a run may begin with.

`model.npz` holds the best model and the last one; with ``--keep-models``, `models/epoch-P.npz`
holds the one after epoch P. A run can begin with any of them (``--init FILE``).
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdn.arguments import parse_count, read_bounded
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.learning import Model, make_model
from bdn.learning.model_files import MAX_CLASSES, stored_integers, stored_names
from bdn.learning.schedules import MAX_EPOCHS
from bdn.learning.types import Floats
from bdn.runfolder import MODEL

MAX_FILE = 1 << 30
"""Bytes of a model's file."""

MAX_EXTENT = 1 << 24
"""Extent of a sample along one axis."""

ARRAYS = {"best": "w", "last": "w_last"}
"""The arrays in `model.npz`."""


@dataclass(frozen=True, slots=True, eq=False)
class RunModel:
    """A run's model with what is needed to use it.

    Attributes:
        model: computes scores.
        w: its parameters, float32 (|w|,).
        sample_shape: of one sample.
        class_names: one name per class.
        epoch: after which epoch the devices had it.
    """

    model: Model
    w: Floats
    sample_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    epoch: int


def read_model(folder: RunFolder, which: str) -> RunModel:
    """Return the model ``which``, "best", "last" or an epoch's number, of the run in ``folder``.

    Raises `UsageError` where there is no such model, or where clients of a user's own trained it.
    """
    config = folder.config
    if config.clients is not None:
        raise UsageError(f"the run in {folder.path} was trained by {config.clients}, whose model "
                         f"bdn does not know: read {folder.path / MODEL} with numpy")
    if which in ARRAYS:
        path = folder.path / MODEL
    else:
        try:
            path = folder.epoch_model(parse_count(which, MAX_EPOCHS))
        except UsageError as error:
            raise UsageError("--model takes best, last or an epoch's number, not "
                             f"{which[:40]!r}") from error
    if not path.is_file():
        raise UsageError(f"there is no {path}: " + (
            "the run has not ended" if which in ARRAYS else
            "bdn run --keep-models keeps the model of each epoch"))
    stored = _read(path)
    if "sample_shape" not in stored:
        raise UsageError(f"{path} is of an older version of bdn: make the run anew")
    shape = stored_integers(stored, "sample_shape", path, 1, MAX_EXTENT, axes=1)
    (classes,) = stored_integers(stored, "classes", path, 1, MAX_CLASSES)
    w = _parameters(stored, ARRAYS.get(which, "w"), path)
    names = stored_names(stored, classes, path) or tuple(map(str, range(classes)))
    (epoch,) = stored_integers(stored, f"epoch_{which}" if which in ARRAYS else "epoch_best", path,
                               0, MAX_EPOCHS)
    model = make_model(config.model, shape, classes, config.seed)
    if len(w) != model.size:
        raise UsageError(f"{path} holds {len(w)} parameters, and --model {config.model} has "
                         f"{model.size}")
    return RunModel(model, w, shape, names, epoch)


def read_initial(path: Path, size: int) -> Floats:
    """Return w^(0) of ``size`` parameters from a file that a run wrote: its array ``w``.

    Raises `UsageError` where there is none, or it is of another size.
    """
    if path.is_dir():
        path = path / MODEL
    if not path.is_file():
        raise UsageError(f"--init: there is no {path}")
    w = _parameters(_read(path), "w", path)
    if len(w) != size:
        raise UsageError(f"--init: {path} holds {len(w)} parameters, and the model has {size}")
    return w


def _read(path: Path) -> dict[str, Any]:
    """The arrays of a model's file; no pickled object is ever loaded."""
    try:
        with np.load(io.BytesIO(read_bounded(path, MAX_FILE)), allow_pickle=False) as arrays:
            return dict(arrays.items())
    except UsageError:
        raise
    except Exception as error:  # numpy's and zipfile's readers raise anything on broken bytes
        reason = str(error).partition("\n")[0][:200]
        raise UsageError(f"{path}: no model of bdn ({reason})") from error


def _parameters(stored: dict[str, Any], name: str, path: Path) -> Floats:
    w = stored.get(name)
    if not (isinstance(w, np.ndarray) and w.dtype == np.float32 and w.ndim == 1
            and np.isfinite(w).all()):
        raise UsageError(f"{path}: no model of bdn (no finite float32 array {name})")
    found: Floats = w
    return found
