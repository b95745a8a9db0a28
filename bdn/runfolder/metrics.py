"""`metrics.csv`: the figures of each epoch, for spreadsheets and plotting programs.

While a run goes on, each epoch's row is added as soon as its model has been judged; the columns
that only the devices know (`OPENED`) are empty until then. When the run has ended, the file is
written anew as a whole. Figures that are not known are empty.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bdn.runfolder.files import writable, write_atomically

JUDGED = ("accuracy", "mean_precision", "test_loss")
"""Figures of the epoch's model on the held-out samples; the loss in nats."""

OPENED = ("loss_before", "norm", "contributors", "samples")
"""What the devices opened: F(w^(p-1)) in nats, ‖w^(p) − w^(p-1)‖₂, and of how many devices and
samples."""

BY_CLASS = ("precision", "recall")
"""A column for each class, such as ``precision:cat``."""


def write_metrics(path: Path, history: Mapping[str, Any]) -> None:
    """Write the rows of a run's history, whole or not at all; the closing phase has no row."""
    names = [row["name"] for row in history["by_class"]]
    rows = [{**row, "contributors": len(row["contributors"])}
            for row in history["epochs"] if not row["closing"]]
    write_atomically(path, _text(names, rows, with_header=True))


def append_row(path: Path, names: Sequence[str], figures: Mapping[str, Any]) -> None:
    """Add the row of an epoch that has just been judged, and the header to a new file."""
    target = writable(path)
    is_new = not target.exists()
    with target.open("a", encoding="utf-8", newline="") as stream:
        stream.write(_text(names, [figures], with_header=is_new))


def _text(names: Sequence[str], rows: Sequence[Mapping[str, Any]], with_header: bool) -> str:
    plain = ("epoch", *JUDGED, *OPENED)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if with_header:
        writer.writerow([*plain, *(f"{kind}:{name}" for kind in BY_CLASS for name in names)])
    for row in rows:
        by_class: list[Any] = []
        for kind in BY_CLASS:
            known = row.get(kind) or ()
            by_class += known if len(known) == len(names) else [None] * len(names)
        writer.writerow([*(row.get(name) for name in plain), *by_class])
    return stream.getvalue()
