"""What is known after a run: figures by epoch and device, time by kind of work, rewards.

However a run was driven, `judge` looks at each new global model and `conclude` writes down what
was learned. What is known only while the run lasts (an epoch's figures, seconds by phase, refusals)
is told to the trace as it is made, and `Meter` reads it from there, also after a resumption.
"""

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from bdn.chain import Ledger, block_size, device_numbers, encode_seal
from bdn.errors import BdnError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import Participants
from bdn.experiments.provisioning import TREASURY, Material
from bdn.learning import Evaluation, Executor, Learner, Model, train
from bdn.nodes.device.progress import Progress
from bdn.nodes.device.work import Vector
from bdn.nodes.settings import WEIGHTS, Settings
from bdn.nodes.shared_work import SharedWork
from bdn.randomness import SeededRandomness
from bdn.runfolder import METRICS, MODEL, metrics
from bdn.runfolder.trace import REFUSALS
from bdn.trace import Trace

PHASES = {
    "train": "training", "seal": "sealing", "verify-update": "verification",
    "aggregate": "aggregation", "check-block": "consensus", "propose": "consensus",
    "step": "consensus", "share": "opening", "open": "opening", "key": "key", "compare": "baseline",
    "evaluate": "evaluation", "find-objects": "detection", "load-data": "data",
}
"""Trace event → the phase of the latency table that it counts for."""

MATRIX_CLASSES = 100
"""Of more classes no confusion matrix is kept: nobody could read it."""


class Meter:
    """Adds up what the trace tells: seconds by phase, refusals, figures by epoch, bytes by node."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.scaled: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.epochs: dict[int, dict[str, Any]] = {}
        """The "epoch-done" events by epoch."""
        self.sent: dict[str, int] = defaultdict(int)
        self.received: dict[str, int] = defaultdict(int)

    def hear(self, record: dict[str, Any]) -> None:
        """Take one trace event."""
        event = record["event"]
        kind = record["kind"] if event == "work" else event
        if "seconds" in record and kind in PHASES and not record.get("shared"):
            self.seconds[PHASES[kind]] += record["seconds"]
        if event == "scaled":
            self.scaled.append(record)
        elif event in REFUSALS:
            self.refused.append(record)
        elif event == "epoch-done":
            self.epochs.setdefault(record["epoch"], record)
        elif event == "message":
            self.sent[record["source"]] += record["bytes"]
            if not record["lost"]:
                self.received[record["target"]] += record["bytes"]

    def why_stalled(self) -> str:
        """What a run that gets no further says: the devices whose own work failed last, or the
        usual cause."""
        failed = {r["node"]: r["reason"] for r in self.refused if "work" in r}
        if not failed:
            return "too many devices or edge servers are gone"
        node, reason = list(failed.items())[-1]
        others = f" (and {len(failed) - 1} more devices)" if len(failed) > 1 else ""
        return (reason if node in reason else f"{node} failed: {reason}") + others


class TrainedDevice(Protocol):
    """A device, as far as its model goes."""

    @property
    def progress(self) -> Progress:
        """Algorithm 1 as it saw it."""


class FullNode(Protocol):
    """An edge server, as far as its ledger goes."""

    @property
    def name(self) -> str:
        """As the trace calls it."""

    @property
    def index(self) -> int:
        """Its replica index."""

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""

    @property
    def view(self) -> int:
        """The view of its consensus."""


@dataclass(frozen=True, slots=True)
class ClosedEdge:
    """An edge server after the run: its ledger, and the last view that is known of it."""

    name: str
    index: int
    ledger: Ledger
    view: int


@dataclass(frozen=True, slots=True)
class ClosedDevice:
    """A device after the run."""

    progress: Progress


class FinishedRun(Protocol):
    """A run whose devices have finished.

    Attributes:
        config, material, folder, trace, meter: as they were at its start; what the meter counted.
        work: what the nodes shared; None where each did all of its own.
        executor: trains the devices alone.
    """

    config: RunConfig
    material: Material
    folder: RunFolder | None
    trace: Trace
    meter: Meter
    work: SharedWork | None
    executor: Executor

    @property
    def reference(self) -> TrainedDevice:
        """A device that is still there; all hold the same model."""

    @property
    def edges(self) -> Sequence[FullNode]:
        """The edge servers by index."""

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node."""


# --- while it lasts, and at its end -------------------------------------------------------------


def judge(run: FinishedRun, epoch: int, w: Vector, now_ms: float) -> None:
    """Judge the global model after ``epoch`` on the held-out samples, once.

    The trace is told, and in a folder `metrics.csv` gets its row, so that the figures of an
    interrupted run are kept too.
    """
    if epoch in run.meter.epochs:
        return
    with run.trace.span("evaluate", epoch=epoch):
        figures = run.material.participants.judge(w)
    run.trace.event("epoch-done", epoch=epoch, accuracy=_known(figures.accuracy),
                    mean_precision=_known(figures.mean_precision),
                    test_loss=_known(figures.loss),
                    virtual_ms=round(now_ms, 3), **_details(figures))
    if run.folder is not None:
        people = run.material.participants
        if run.config.keep_models:
            run.folder.write_model(
                run.folder.epoch_model(epoch), {"w": w}, {"epoch_best": epoch}, people.classes,
                people.class_names, people.sample_shape)
        names = class_names(people, len(figures.precision))
        metrics.append_row(run.folder.path / METRICS, names, run.meter.epochs[epoch])


def _details(figures: Evaluation) -> dict[str, Any]:
    """An epoch's figures by class; the confusion matrix where it is small enough to be read."""
    small = len(figures.confusion) <= MATRIX_CLASSES
    return {"precision": figures.precision, "recall": figures.recall,
            "confusion": figures.confusion if small and figures.confusion else None}


def conclude(run: FinishedRun, started: float) -> dict[str, Any]:
    """The history of ``run``, which began at ``started`` (`time.perf_counter`).

    In a folder, history and model are written before anything else is computed, then the devices
    alone and the detector are judged and the history is written again; at last the ledgers that
    say the same are dropped.
    """
    people, progress = run.material.participants, run.reference.progress
    history = compile_history(run)
    if run.folder is not None:
        run.folder.write_model(
            run.folder.path / MODEL, {"w": progress.best, "w_last": progress.w},
            {"epoch_best": progress.best_epoch, "epoch_last": progress.done},
            people.classes, people.class_names, people.sample_shape)
        if people.exports is not None:
            run.folder.write_exports(people.exports(progress.best))
        run.folder.write_history({**history, "seconds": time.perf_counter() - started})
    if run.config.baseline:
        with run.trace.span("compare"):
            baselines = alone(run.material, run.config, run.executor)
            for row, baseline in zip(history["devices"], baselines, strict=True):
                row.update(baseline.to_plain())
    if people.find is not None:
        with run.trace.span("find-objects"):
            history["detection"] = people.find(progress.best).to_plain()
    history |= {"complete": True, "seconds": time.perf_counter() - started,
                "phases": dict(run.meter.seconds)}
    if run.folder is not None:
        run.folder.write_history(history)
        _drop_copies(run, run.folder)
    return history


def _drop_copies(run: FinishedRun, folder: RunFolder) -> None:
    """Keep one ledger, once all edge servers are found to agree on every block."""
    if len(run.edges) < run.config.edges:
        return  # the ledger that would be kept may be the one that is missing
    first = run.edges[0].ledger
    for edge in run.edges[1:]:
        height = min(edge.ledger.height, first.height)
        if edge.ledger.store.header(height) != first.store.header(height):
            return  # keep the evidence
        if edge.ledger.height > first.height:
            return  # ledger.sqlite is behind: `bdn resume` can still catch up
    for edge in run.edges[1:]:
        edge.ledger.close()
    first.store.leave_write_ahead()  # from now on the ledger is only read
    folder.end()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a device reaches alone: its test accuracy, or why there is none."""

    accuracy: float | None
    failure: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """As the device's row in the history holds it."""
        return {"accuracy_alone": self.accuracy, "alone_failed": self.failure}


def alone(material: Material, config: RunConfig, executor: Executor) -> list[Baseline]:
    """Each device alone: Algorithm 1 with n = 1, as many iterations in all.

    A device that diverges without the others has no accuracy; that is a result, and no error.
    """
    people, rules = material.participants, replace(material.settings, epochs=config.epochs)
    if config.clients is not None:  # their training is their own affair, and may cost much
        return [Baseline(None) for _ in people.learners]
    results = executor.run(
        (_train_alone, (people.model, name, learner, rules, config.seed, people.w))
        for name, learner in zip(material.device_names, people.learners, strict=True))
    return [Baseline(None, result) if isinstance(result, str)
            else Baseline(people.judge(result).accuracy) for result in results]


def _train_alone(
    model: Model | None, name: str, learner: Learner, rules: Settings, seed: int, w: Vector
) -> Vector | str:
    """Return the last model of a device alone, or why there is none."""
    try:
        return train(model, {name: learner}, rules, rng=SeededRandomness(seed), w=w)[-1].w
    except BdnError as error:
        return str(error)


def compile_history(run: FinishedRun) -> dict[str, Any]:
    """The run's history as plain JSON values, without what `conclude` computes afterwards."""
    material, progress = run.material, run.reference.progress
    names = material.device_names
    epochs = []
    for record in progress.history:
        found = run.meter.epochs.get(record.epoch, {})
        closing = record.closing
        epochs.append({
            "epoch": record.epoch,
            "closing": closing,
            "loss_before": record.loss,
            "spoiled": record.spoiled,
            "norm": record.norm,
            "norm_bound": material.settings.bound_of(WEIGHTS, record.epoch),
            "contributors": [names[number] for number in device_numbers(record.contributors)],
            "samples": record.total_samples,
            **{name: None if closing else found.get(name) for name in
               ("accuracy", "mean_precision", "test_loss", "precision", "recall")},
            "virtual_ms": found.get("virtual_ms"),
        })
    figures = material.participants.judge(progress.best)
    best = _known(figures.accuracy)
    traffic = run.traffic()
    return {
        "complete": False,
        "config": asdict(run.config),
        "seconds": 0.0,
        "phases": dict(run.meter.seconds),
        "shared_work": run.work.tallies() if run.work is not None else None,
        "epochs": epochs,
        "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss if math.isfinite(progress.best_loss) else None,
        "accuracy": best,
        "mean_precision": _known(figures.mean_precision),
        "held_out": figures.images,
        "by_class": _by_class(material, figures),
        "confusion": _details(figures)["confusion"],
        "detection": None,
        "notes": list(material.participants.notes),
        "devices": [
            {
                "name": name,
                "samples": learner.sample_count,
                "accuracy_alone": None,
                "alone_failed": None,
                "accuracy_together": best,
                "sent_bytes": traffic[name][0],
                "received_bytes": traffic[name][1],
                "tokens": _balance(run, identity.address),
            }
            for name, learner, identity in zip(
                material.device_names, material.participants.learners, material.devices,
                strict=True)
        ],
        "edges": [
            {"name": edge.name, "height": edge.ledger.height, "view": edge.view,
             "sent_bytes": traffic[edge.name][0], "received_bytes": traffic[edge.name][1],
             "tokens": _balance(run, material.edges[edge.index].address)}
            for edge in run.edges
        ],
        "treasury": _balance(run, TREASURY),
        "supply": run.edges[0].ledger.call("learning", "total_supply"),
        "blocks": block_rows(longest_ledger(run.edges)),
        "scaled": run.meter.scaled,
        "refused": run.meter.refused,
    }


def _by_class(material: Material, figures: Evaluation) -> list[dict[str, Any]]:
    """Precision and recall of the best model by class, where the judge gives them by class."""
    names = class_names(material.participants, len(figures.precision))
    return [{"name": name, "precision": precision, "recall": recall} for name, precision, recall
            in zip(names, figures.precision, figures.recall, strict=True)]


def class_names(people: Participants, count: int) -> tuple[str, ...]:
    """What ``count`` judged classes are called: their names, or else their numbers."""
    names = people.class_names
    return names if names is not None and len(names) == count else tuple(map(str, range(count)))


def _known(value: float) -> float | None:
    """``value``, or None where it is no number: what nobody can tell."""
    return None if math.isnan(value) else value


def _balance(run: FinishedRun, account: bytes) -> int:
    return int(longest_ledger(run.edges).call("learning", "balance_of", account))


def longest_ledger(edges: Sequence[FullNode]) -> Ledger:
    """The ledger with the most blocks."""
    return max((edge.ledger for edge in edges), key=lambda ledger: ledger.height)


def block_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Height, kind, epoch, view, transactions and bytes of every sealed block."""
    rows = []
    for height in range(1, ledger.height + 1):
        block, seal = ledger.store.block(height), ledger.store.seal(height)
        assert seal is not None, "every block above genesis is sealed"
        rows.append({
            "height": height, "kind": block.header.kind, "epoch": block.header.epoch,
            "view": getattr(seal, "view", None), "time": block.header.time,
            "transactions": len(block.envelopes),
            "bytes": block_size(block, encode_seal(seal)).total,
        })
    return rows
