"""What is done with a run's outcome, however it was driven: judged, compared, written down."""

import time
from typing import Any

from bdn.experiments.folder import RunFolder
from bdn.experiments.history import FinishedRun, alone, compile_history
from bdn.nodes.device.work import Vector


def judge(run: FinishedRun, epoch: int, w: Vector, now_ms: float) -> None:
    """Judge the global model after ``epoch`` on the held-out samples, once, and tell."""
    if epoch in run.evaluations:
        return
    with run.trace.span("evaluate", epoch=epoch):
        figures = run.material.participants.judge(w)
    run.evaluations[epoch] = figures
    run.trace.event("epoch-done", epoch=epoch, accuracy=figures.accuracy,
                    virtual_ms=round(now_ms, 3))


def conclude(run: FinishedRun, started: float) -> dict[str, Any]:
    """The history of ``run``, which began at ``started`` (`time.perf_counter`).

    In a folder, history and model are written, and the ledgers that say the same are dropped.
    """
    with run.trace.span("compare"):
        singles = alone(run.material, run.config)
    people, progress = run.material.participants, run.reference.progress
    found = None
    if people.find is not None:
        with run.trace.span("find-objects"):
            found = people.find(progress.best)
    seconds = time.perf_counter() - started
    history = compile_history(run, singles, seconds, found)
    if run.folder is not None:
        run.folder.write_model(progress.best, progress.w, people.classes, people.class_names)
        run.folder.write_history(history)
        _drop_copies(run, run.folder)
    return history


def _drop_copies(run: FinishedRun, folder: RunFolder) -> None:
    """Keep one ledger, once all edge servers are found to agree on every block."""
    first = run.edges[0].ledger
    for edge in run.edges[1:]:
        height = min(edge.ledger.height, first.height)
        if edge.ledger.store.header(height) != first.store.header(height):
            return  # keep the evidence
        if edge.ledger.height > first.height:
            return  # ledger.sqlite is behind: `bdn resume` can still catch up
    for edge in run.edges[1:]:
        edge.ledger.close()
    folder.drop_copies()
