"""What the report reads from a run folder. Nothing here changes the folder.

The folder's layout is `bdn.experiments.folder`'s; that package stands on the same floor, so the
few names are repeated here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdn.chain import Store
from bdn.errors import UsageError
from bdn.report.table_one import Lab, read_lab

LEDGER, EDGES, HISTORY, TRACE = "ledger.sqlite", "edges", "history.json", "trace.jsonl"

Record = dict[str, Any]
"""One line of the trace: ``{"event": …, "at": seconds, …}``."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A finished run.

    Attributes:
        folder: where it lies.
        ledger: the path of its ledger, the longest where edge servers' differ in length.
        history: what `history.json` holds.
        trace: the trace's events in order; empty where the file is missing.
        lab: what the attack lab found; None where it was not played into the folder.
    """

    folder: Path
    ledger: Path
    history: dict[str, Any]
    trace: list[Record]
    lab: Lab | None = None


def read_inputs(folder: Path) -> Inputs:
    """Read ``folder``; raises `UsageError` where it is no folder of a finished run."""
    ledger = folder / LEDGER
    if not ledger.is_file():
        raise UsageError(f"{folder} is no run folder: it holds no {LEDGER}")
    try:
        history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no readable {HISTORY}: the run did not end; "
                         f"try bdn resume {folder}") from error
    if not isinstance(history, dict) or "epochs" not in history:
        raise UsageError(f"{folder / HISTORY} is no history of a run")
    return Inputs(folder, _longest(folder, ledger), history, _read_trace(folder / TRACE),
                  read_lab(folder))


def longest_ledger(folder: Path) -> Path:
    """The ledger with the most blocks among those that a run has left in ``folder``."""
    return _longest(folder, folder / LEDGER)


def _longest(folder: Path, ledger: Path) -> Path:
    """The ledger with the most blocks: an edge server that crashed may have left a short one."""
    heights = {}
    for path in (ledger, *sorted((folder / EDGES).glob("edge-*.sqlite"))):
        with Store.open(path, read_only=True) as store:
            heights[path] = store.height()
    return max(heights, key=lambda path: heights[path])


def _read_trace(path: Path) -> list[Record]:
    """The events; the last line may be half-written after a ``kill -9`` and is then left out."""
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line that a kill cut short; the run went on with the next
        if not isinstance(record, dict) or "event" not in record:
            raise UsageError(f"{path}, line {number}: no trace event")
        records.append(record)
    return records
