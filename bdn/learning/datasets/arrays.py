"""Arrays and tables from files: ``npz:FILE`` and ``csv:FILE``.

Labels may be integers or texts. The classes are those that the training part holds, in sorted
order, and keep their names.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from bdn.learning.datasets.dataset import Data, Dataset
from bdn.learning.errors import DataError
from bdn.learning.types import Integers, Pixels

MAX_VALUES = 1 << 31
"""Values in one array; a file that claims more is refused before it is read."""

MAX_COLUMNS = 1 << 16
MAX_LINE = 1 << 22
MAX_ROWS = 1 << 24
"""Of a table."""

MAX_CLASSES = 10_000

HELD_OUT = 0.2
"""Part of the samples that is held out where a file has no test part of its own."""

LABEL_COLUMNS = ("label", "class", "target", "y")
"""Names of a table's label column, in the order in which they are looked for; else it is the last
column.
"""

ARRAY_NAMES = (("x", "y", "x_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"))
"""What the arrays of an ``.npz`` may be called (upper case too); the test part may be missing."""


def load_npz(path: Path) -> Data:
    """Return the arrays ``x`` (B, …), ``y`` (B,) and, if there, ``x_test``, ``y_test`` of a file.

    Keras' names ``x_train`` and ``y_train`` serve as well. Bytes are read as [0, 1]; other numbers
    become float32 and stay as they are. Raises `DataError` naming the file and the array.
    """
    arrays = _read_npz(path)
    for names in ARRAY_NAMES:
        x, y, x_test, y_test = (arrays.get(name) for name in names)
        if x is not None and y is not None:
            break
    else:
        raise DataError(f"{path}: holds {_listed(arrays)}; arrays x and y are needed (and x_test, "
                        "y_test for a test part)")
    if (x_test is None) != (y_test is None):
        raise DataError(f"{path}: x_test and y_test must come together")
    parts = [(as_inputs(x, f"{path}: {names[0]}"), y)]
    if x_test is not None:
        parts.append((as_inputs(x_test, f"{path}: {names[2]}"), y_test))
    return assemble(f"npz:{path.name}", str(path), parts)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream, _opened(stream) as stored:
            if stored is None:
                raise DataError(f"{path}: a single array; an .npz with x and y is needed")
            wanted = {name for names in ARRAY_NAMES for name in names}
            for item in stored.zip.infolist():
                if item.file_size > 8 * MAX_VALUES:
                    raise DataError(f"{path}: {item.filename[:80]} claims {item.file_size} bytes")
            return {name.lower(): stored[name] for name in stored.files if name.lower() in wanted}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except Exception as error:  # numpy's and zipfile's readers raise anything on broken bytes
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{path}: not a readable .npz file ({reason})") from error


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Any]:
    """The arrays in an ``.npz``; None where the file is a single array."""
    stored = np.load(stream, allow_pickle=False)
    if not hasattr(stored, "files"):
        yield None
        return
    with stored:
        yield stored


def load_csv(path: Path) -> Data:
    """Return a table with a header line: numeric features, and one column of labels.

    Each feature is scaled to [0, 1] by the smallest and largest value of the training part.
    Raises `DataError` naming the file and the line.
    """
    rows = _rows(path)
    header = next(rows, None)
    if header is None:
        raise DataError(f"{path}: an empty file")
    label_at = _label_column([name.strip().lower() for name in header[1]])
    features, labels = [], []
    for line, cells in rows:
        if len(cells) != len(header[1]):
            raise DataError(f"{path}, line {line}: {len(cells)} columns; the header has "
                            f"{len(header[1])}")
        labels.append(cells[label_at].strip())
        try:
            features.append([float(cell) for at, cell in enumerate(cells) if at != label_at])
        except ValueError:
            raise DataError(f"{path}, line {line}: a feature that is not a number") from None
        if len(labels) > MAX_ROWS:
            raise DataError(f"{path}: more than {MAX_ROWS} rows")
    if not labels:
        raise DataError(f"{path}: a header and no rows")
    y = np.array([int(label) for label in labels] if all(map(_is_integer, labels)) else labels)
    x = np.array(features, np.float64)
    if not np.isfinite(x).all():
        line = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0]) + 2
        raise DataError(f"{path}, line {line}: a feature that is not finite")
    training, held_out = hold_out(len(y), str(path))
    low, high = x[training].min(axis=0), x[training].max(axis=0)
    scaled = ((x - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    parts = [(scaled[rows], y[rows]) for rows in (training, held_out)]
    return assemble(f"csv:{path.name}", str(path), parts)


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """The lines of ``stream``; `DataError` for one without end, before it fills the memory."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise DataError(f"{path}: a line has {MAX_LINE:,} characters or more")
        yield line


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_lines(stream, path))
            for cells in reader:
                if len(cells) > MAX_COLUMNS:
                    raise DataError(f"{path}, line {reader.line_num}: more than {MAX_COLUMNS} "
                                    "columns")
                if cells:
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise DataError(f"{path}: cannot be read as a table ({reason})") from error


def _label_column(header: list[str]) -> int:
    for name in LABEL_COLUMNS:
        if name in header:
            return header.index(name)
    return len(header) - 1


def _is_integer(text: str) -> bool:
    return text.isascii() and len(text) < 18 and text.lstrip("-").isdigit()


# --- from arrays to a data set ------------------------------------------------------------------


def as_inputs(array: Any, where: str) -> Pixels:
    """Return an array of numbers as the inputs of a `Dataset`: bytes as they are, else float32.

    Raises `DataError`, beginning with ``where``, for anything but finite real numbers, and for
    images of 16 bits, whose range must be said by scaling them.
    """
    values = np.asarray(array)
    if values.ndim == 1:
        values = values[:, None]
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values / np.float64(65535)).astype(np.float32)
    if values.dtype.kind not in "bif" and values.dtype.kind != "u":
        raise DataError(f"{where}: numbers are needed, not {values.dtype}")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise DataError(f"{where}: holds values that are not finite in float32")
    return floats


def as_data(value: Any) -> Data:
    """Return a `Data` as it is, and arrays (x, y) or (x, y, x_test, y_test) as one.

    Without a test part, a fifth of the samples is held out. Raises `DataError` for anything else.
    """
    if isinstance(value, Data):
        return value
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 4):
        raise DataError("data are a source's name, a bdn.learning.Data, or arrays (x, y) or "
                        f"(x, y, x_test, y_test), not a {type(value).__name__}")
    pairs = [(value[at], value[at + 1]) for at in range(0, len(value), 2)]
    return assemble("arrays", "data", [(as_inputs(x, "data: x"), y) for x, y in pairs])


def assemble(name: str, where: str, parts: list[tuple[Pixels, Any]]) -> Data:
    """Return a data set of (inputs, labels) parts: the training part and the held-out one.

    A single part is divided by `hold_out`. Raises `DataError`, beginning with ``where``.
    """
    if len(parts) == 1:
        inputs, labels = parts[0]
        labels = _as_labels(labels, len(inputs), where)
        parts = [(inputs[rows], labels[rows]) for rows in hold_out(len(labels), where)]
    sides = [(inputs, _as_labels(labels, len(inputs), where)) for inputs, labels in parts]
    if sides[0][0].shape[1:] != sides[1][0].shape[1:]:
        raise DataError(f"{where}: training samples of shape {sides[0][0].shape[1:]}, test samples "
                        f"of shape {sides[1][0].shape[1:]}")
    classes = np.unique(sides[0][1])
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(f"{where}: {len(classes)} classes in the training part; 2 to {MAX_CLASSES} "
                        "can be told apart")
    numbered = [Dataset(inputs, _numbered(labels, classes, where), len(classes))
                for inputs, labels in sides]
    return Data(name, numbered[0], numbered[1], tuple(str(label) for label in classes))


def hold_out(count: int, where: str) -> tuple[Integers, Integers]:
    """Return the rows of the training and of the held-out part, the same at every call.

    Raises `DataError`, beginning with ``where``, for too few samples.
    """
    held = round(count * HELD_OUT)
    if not 0 < held < count:
        raise DataError(f"{where}: {count} samples are too few to hold some out")
    order = np.random.Generator(np.random.PCG64(0)).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _as_labels(labels: Any, samples: int, where: str) -> Any:
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (samples,):
        raise DataError(f"{where}: {samples} samples, but labels of shape {values.shape}")
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuUSb":
        raise DataError(f"{where}: labels must be integers or texts, not {values.dtype}")
    if not samples:
        raise DataError(f"{where}: no samples")
    return values


def _numbered(labels: Any, classes: Any, where: str) -> Integers:
    """The place of each label in the sorted ``classes``."""
    places = np.searchsorted(classes, labels)
    known = classes[np.minimum(places, len(classes) - 1)] == labels
    if not known.all():
        strange = str(labels[~known][0])[:40]
        raise DataError(f"{where}: the test part holds class {strange}, which the training part "
                        "does not")
    numbers: Integers = places.astype(np.int64)
    return numbers


def _listed(arrays: dict[str, Any]) -> str:
    return ", ".join(sorted(arrays)) or "no array of a known name"
