"""How long a round took and where the time went (the paper's Fig. 4), from the trace's marks.

The clock is virtual: devices and edge servers work side by side, each as long as its work really
took. A stage lasts until the last node has done with it, so the stages add up to the whole.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bdn.report.rounds import Rounds
from bdn.report.sequence_diagram import Mark

STAGES = ("training", "sealing", "upload and checks", "consensus", "shares", "opening")


def latency_by_epoch(marks: dict[int, Mark], rounds: Rounds) -> list[dict[str, Any]]:
    """[{"epoch", "stages": [ms in the order of `STAGES`]}] for every epoch; rounds added up."""
    epochs: dict[int, list[float]] = {}
    end = 0.0
    for number, item in enumerate(rounds.rounds):
        mark = marks.get(number)
        if mark is None:
            continue
        if item.phase == "loss":
            continue  # the closing round trains nothing
        stages, end = _stages(mark, end)
        total = epochs.setdefault(item.epoch, [0.0] * len(STAGES))
        epochs[item.epoch] = [a + b for a, b in zip(total, stages, strict=True)]
    return [{"epoch": epoch, "stages": [round(value, 2) for value in stages]}
            for epoch, stages in epochs.items()]


def median_epoch(latency: Sequence[Mapping[str, Any]]) -> tuple[float, list[float]]:
    """(an epoch's median latency, each stage's median), in ms; zeros where there is no epoch.

    Every table, tile and bar that speaks of the median takes it from here. The stages' medians
    need not add up to the epoch's.
    """
    if not latency:
        return 0.0, [0.0] * len(STAGES)
    stages = [median(each) for each in zip(*(item["stages"] for item in latency), strict=True)]
    return median(sum(item["stages"]) for item in latency), stages


def _stages(mark: Mark, previous_end: float) -> tuple[list[float], float]:
    """(durations by stage, the end), each stage starting where the one before it ended."""
    at = previous_end or mark.first
    stages = []
    uploaded = mark.proposed or mark.submitted
    for end in (mark.trained, mark.sealed, uploaded, mark.agreed, mark.shared, mark.opened):
        stages.append(max(0.0, end - at))
        at = max(at, end)
    return stages, at
