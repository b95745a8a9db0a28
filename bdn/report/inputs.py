"""What the report reads from a run folder. Nothing here changes the folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdn.chain import Store
from bdn.errors import BdnError, UsageError
from bdn.runfolder import EDGES, HISTORY, LEDGER, TRACE
from bdn.runfolder.files import checked
from bdn.runfolder.findings import Lab, read_lab
from bdn.runfolder.history import History, read_history
from bdn.runfolder.trace import Record, read_trace

Confusion = tuple[str, list[str], list[list[int]]]
"""A title, the classes' names, and the counts: a row per label, a column per answer."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A finished run.

    Attributes:
        folder: where it lies.
        ledger: the path of its ledger, the longest where edge servers' differ in length.
        history: what `history.json` holds.
        trace: the trace's events in order; empty where the file is missing.
        lab: what the attack lab found; None where it was not played into the folder.
        warnings: what could not be read, in sentences.
        damage: why `lab.json` could not be read, where the reader wants the rest all the same.
    """

    folder: Path
    ledger: Path
    history: History
    trace: list[Record]
    lab: Lab | None = None
    warnings: list[str] = field(default_factory=list)
    damage: str = ""


def read_inputs(folder: Path, without_lab: bool = False) -> Inputs:
    """Read ``folder``; raises `UsageError` where it is no folder of a finished run.

    A damaged `lab.json` is an error too, unless the rest is wanted ``without_lab``.
    """
    if not (folder / LEDGER).is_file():
        raise UsageError(f"{folder} is no run folder: it holds no {LEDGER}")
    history = read_history(folder)
    trace, damaged = read_trace(folder / TRACE)
    lines = f"{damaged} line{'s' * (damaged > 1)}"
    warnings = [f"{lines} of {TRACE} could not be read and are left out."] if damaged else []
    ledger, lab, damage = longest_ledger(folder), None, ""
    try:
        lab = read_lab(folder)
    except UsageError as error:
        if not without_lab:
            raise
        damage = str(error)
    return Inputs(folder, ledger, history, trace, lab, warnings, damage)


def read_confusion(folder: Path, epoch: int | None = None) -> Confusion:
    """Return the confusion matrix of the best model, or of an epoch's, which an interrupted run has
    too; raises `UsageError` where none was kept."""
    history = read_history(folder) if epoch is None or (folder / HISTORY).exists() else None
    title = f"Confusion matrix of the model of epoch {epoch}"
    counts: Any = None
    if epoch is None:
        assert history is not None, "read above"
        counts = history.get("confusion")
        title = f"Confusion matrix of the best model, of epoch {history['best_epoch']}"
    else:
        for record in read_trace(folder / TRACE)[0]:
            if record["event"] == "epoch-done" and record["epoch"] == epoch:
                counts = record.get("confusion")
    if not counts or checked(counts, [[int]]) or any(len(row) != len(counts) for row in counts):
        raise UsageError(f"{folder} holds no confusion matrix"
                         + (f" of epoch {epoch}" if epoch is not None else ""))
    names = [row["name"] for row in history["by_class"]] if history is not None else []
    if len(names) != len(counts):
        names = [str(number) for number in range(len(counts))]
    return title, names, counts


def longest_ledger(folder: Path) -> Path:
    """The ledger with the most blocks among those that a run has left in ``folder``.

    An edge server that crashed may have left a short one, or one that cannot be read.
    """
    best, most = folder / LEDGER, -1
    for path in (folder / LEDGER, *sorted((folder / EDGES).glob("edge-*.sqlite"))):
        try:
            with Store.open(path, read_only=True) as store:
                height = store.height()
        except BdnError:
            continue
        if height > most:
            best, most = path, height
    return best
