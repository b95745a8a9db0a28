"""`trace.jsonl`: what happened in a run, one event per line.

A kill can cut the last line short, and files get damaged; `read_trace` leaves such lines out and
counts them, so that whoever reads the rest may rely on the fields that `FIELDS` names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bdn.runfolder.files import MAX_NUMBER, printable, read_json_lines

Record = dict[str, Any]
"""One line of the trace: ``{"event": …, "at": seconds, …}``."""

_NUMBER = (int, float)

REFUSALS = ("refused", "transaction-refused", "failed", "share-withheld")
"""Events that tell what a node refused or could not do, and why."""

FIELDS: dict[str, dict[str, Any]] = {
    "message": {"source": str, "target": str, "bytes": int, "kind": str, "lost": bool,
                "virtual_ms": _NUMBER},
    "work": {"node": str, "kind": str, "seconds": _NUMBER, "virtual_ms": _NUMBER},
    "submit": {"node": str, "kind": str},
    "opened": {"node": str, "epoch": int, "phase": str},
    "spoiled": {"node": str, "epoch": int, "phase": str},
    "sealed": {"node": str, "height": int, "kind": str, "transactions": int,
               "view": (int, type(None))},
    "new-view": {"node": str, "view": int},
    "new-view-sent": {"node": str, "view": int},
    "epoch-done": {"epoch": int, "accuracy": _NUMBER, "mean_precision": _NUMBER,
                   "test_loss": (int, float, type(None)), "virtual_ms": _NUMBER},
    "scaled": {"node": str, "epoch": int, "factor": _NUMBER, "limit": str},
    **{event: {"node": str, "reason": str} for event in REFUSALS},
}
"""The fields that readers use, by event. No number among them is negative."""


def read_trace(path: Path) -> tuple[list[Record], int]:
    """The events in order, and how many lines could not be read; none where the file is missing.

    Raises `UsageError` where ``path`` is no file.
    """
    records, damaged = [], 0
    for _, record in read_json_lines(path):
        if is_sound(record):
            records.append(record)
        else:
            damaged += 1
    return records, damaged


def is_sound(record: Any) -> bool:
    """Whether ``record`` is an event whose fields are what `FIELDS` says."""
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return False
    for name, value in record.items():
        if isinstance(value, (int, float)) and not abs(value) <= MAX_NUMBER:
            return False
        if isinstance(value, str):
            record[name] = printable(value)
    if not _fits(record, {"seconds": _NUMBER, "node": str}, required=False):
        return False
    return _fits(record, FIELDS.get(record["event"], {}), required=True)


def _fits(record: Record, fields: Mapping[str, Any], required: bool) -> bool:
    return all(_is(record.get(name), kind) for name, kind in fields.items()
               if required or name in record)


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not (isinstance(value, (int, float)) and value < 0)
