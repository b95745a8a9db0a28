"""`history.json`: the figures of a finished run, by epoch and by device.

The file is written twice: as soon as the devices have finished, and again when each device's model
alone is known. In between, ``complete`` is false, and `bdn resume` does the rest.
"""

from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.runfolder import HISTORY
from bdn.runfolder.files import read_json

History = dict[str, Any]

_FIGURE = (float, None)

_NODE = {"name": str, "sent_bytes": int, "received_bytes": int, "tokens": int}

_AVERAGES = {"all_point": _FIGURE, "eleven_point": _FIGURE}

SHAPE = {
    "complete?": bool,
    "config": {"devices": int, "edges": int, "threshold": int, "key_holders": (int, None),
               "data": str, "rule": str, "cipher": str, "key_bits": int,
               "key": frozenset({"dealer", "joint"}), "norm_bound?": [float],
               "consensus": str, "seed": int, "deterministic": bool},
    "seconds": float,
    "phases": {str: float},
    "shared_work?": ({str: {"nodes": int, "computed": int, "seconds": float, "charged": float}},
                     None),
    "epochs": [{
        "epoch": int, "closing": bool, "loss_before": _FIGURE, "spoiled?": bool, "norm": float,
        "norm_bound?": _FIGURE, "contributors": [str], "samples": int, "accuracy": _FIGURE,
        "mean_precision": _FIGURE, "test_loss": _FIGURE, "virtual_ms": _FIGURE,
        "precision?": ([_FIGURE], None), "recall?": ([_FIGURE], None)}],
    "best_epoch": int,
    "best_loss": _FIGURE,
    "accuracy": _FIGURE,
    "mean_precision": _FIGURE,
    "held_out": int,
    "by_class": [{"name": str, "precision": _FIGURE, "recall": _FIGURE}],
    "confusion?": ([[int]], None),
    "detection": ({
        "mean_average_precision": float, **_AVERAGES, "rule": str, "pictures": int, "of": int,
        "objects": int, "overlap": float,
        "classes": {str: {"objects": int, "true_positives": int, "false_positives": int,
                          **_AVERAGES}}}, None),
    "notes": [str],
    "devices": [{**_NODE, "samples": int, "accuracy_alone": _FIGURE, "alone_failed?": (str, None),
                 "accuracy_together": _FIGURE}],
    "edges": [{**_NODE, "height": int, "view": int}],
    "treasury": int,
    "supply": int,
    "blocks": [{"height": int, "kind": str, "epoch": int, "view": (int, None), "time": int,
                "transactions": int, "bytes": int}],
    "scaled": [{"node?": str, "epoch?": int, "factor?": float, "limit?": str}],
    "refused": [{"event": str, "node?": (str, None), "reason?": (str, None)}],
}
"""What everybody who reads a history may rely on; `bdn.runfolder.files` says how it is written."""


def read_history(folder: Path) -> History:
    """The history in a run folder; `UsageError` naming the place where it is missing or damaged."""
    path = folder / HISTORY
    advice = f"bdn resume {folder} makes it from the ledger and the journals"
    if not path.exists():
        raise UsageError(f"{folder} holds no {HISTORY}: the run did not end; {advice}")
    try:
        history: History = read_json(path, SHAPE)
    except UsageError as error:
        raise UsageError(f"{error}; {advice}") from error
    if not history["devices"] or not history["edges"]:
        raise UsageError(f"{path} is damaged: it has no devices or edge servers; {advice}")
    return history
