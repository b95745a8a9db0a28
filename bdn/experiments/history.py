"""What is known after a run: figures by epoch and device, time by kind of work, rewards."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from bdn.chain import Ledger, block_size, encode_seal
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.material import TREASURY, Material
from bdn.learning import DetectorFigures, Evaluation, train
from bdn.nodes.device.progress import Progress
from bdn.randomness import SeededRandomness
from bdn.trace import Trace

PHASES = {
    "train": "training", "seal": "sealing", "verify-update": "verification",
    "aggregate": "aggregation", "check-block": "consensus", "propose": "consensus",
    "step": "consensus", "share": "opening", "open": "opening", "key": "key", "compare": "baseline",
    "evaluate": "evaluation", "find-objects": "detection", "load-data": "data",
}
"""Trace event → the phase of the latency table that it counts for."""


class Meter:
    """Adds up what the trace tells: seconds by phase, refusals, views."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.scaled: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.epoch_virtual_ms: dict[int, float] = {}

    def hear(self, record: dict[str, Any]) -> None:
        """Take one trace event."""
        event = record["event"]
        kind = record["kind"] if event == "work" else event
        if "seconds" in record and kind in PHASES:
            self.seconds[PHASES[kind]] += record["seconds"]
        if event == "scaled":
            self.scaled.append(record)
        elif event in ("refused", "transaction-refused", "failed", "share-withheld"):
            self.refused.append(record)
        elif event == "epoch-done":
            self.epoch_virtual_ms[record["epoch"]] = record["virtual_ms"]

    def why_stalled(self) -> str:
        """What a run that gets no further says: the devices whose own work failed last, or the
        usual cause."""
        failed = {r["node"]: r["reason"] for r in self.refused if "work" in r}
        if not failed:
            return "too many devices or edge servers are gone"
        node, reason = list(failed.items())[-1]
        others = f" (and {len(failed) - 1} more devices)" if len(failed) > 1 else ""
        return (reason if node in reason else f"{node} failed: {reason}") + others


class Scholar(Protocol):
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


class FinishedRun(Protocol):
    """A run whose devices have finished.

    Attributes:
        config, material, folder, trace, meter: as they were at its start; what the meter counted.
        evaluations: figures of the global model by epoch.
    """

    config: RunConfig
    material: Material
    folder: RunFolder | None
    trace: Trace
    meter: Meter
    evaluations: dict[int, Evaluation]

    @property
    def reference(self) -> Scholar:
        """A device that is still there; all hold the same model."""

    @property
    def edges(self) -> Sequence[FullNode]:
        """The edge servers by index."""

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node."""


def alone(material: Material, config: RunConfig) -> list[float]:
    """Each device's test accuracy alone: Algorithm 1 with n = 1, as many iterations in all."""
    figures = []
    people = material.participants
    for name, learner in zip(material.device_names, people.learners, strict=True):
        results = train(people.cnn, {name: learner}, material.settings,
                        rng=SeededRandomness(config.seed), w=people.w)
        figures.append(people.judge(results[-1].w).accuracy)
    return figures


def compile_history(
    run: FinishedRun, singles: list[float], seconds: float, found: DetectorFigures | None = None
) -> dict[str, Any]:
    """The run's history as plain JSON values; ``found``: the best model as a detector."""
    material, progress = run.material, run.reference.progress
    names = {identity.address: name for identity, name in
             zip(material.devices, material.device_names, strict=True)}
    epochs = []
    for record in progress.history:
        figures = run.evaluations.get(record.epoch)
        closing = record.norm == 0.0 and record is progress.history[-1] and progress.finished
        epochs.append({
            "epoch": record.epoch,
            "closing": closing,
            "loss_before": record.loss,
            "spoiled": record.spoiled,
            "norm": record.norm,
            "contributors": [names[address] for address in record.contributors],
            "samples": record.total_samples,
            "accuracy": None if closing or figures is None else figures.accuracy,
            "mean_precision": None if closing or figures is None else figures.mean_precision,
            "test_loss": None if closing or figures is None else figures.loss,
            "virtual_ms": run.meter.epoch_virtual_ms.get(record.epoch),
        })
    figures = material.participants.judge(progress.best)
    best = figures.accuracy
    traffic = run.traffic()
    return {
        "config": asdict(run.config),
        "seconds": seconds,
        "phases": dict(run.meter.seconds),
        "epochs": epochs,
        "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss if math.isfinite(progress.best_loss) else None,
        "accuracy": best,
        "mean_precision": figures.mean_precision,
        "held_out": figures.images,
        "by_class": _by_class(material, figures),
        "detection": None if found is None else found.to_plain(),
        "notes": list(material.participants.notes),
        "devices": [
            {
                "name": name,
                "samples": learner.sample_count,
                "accuracy_alone": single,
                "accuracy_together": best,
                "sent_bytes": traffic[name][0],
                "received_bytes": traffic[name][1],
                "tokens": _balance(run, identity.address),
            }
            for name, learner, single, identity in zip(
                material.device_names, material.participants.learners, singles, material.devices,
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
    names = material.participants.class_names
    if names is None or len(names) != len(figures.precision):
        names = tuple(str(number) for number in range(len(figures.precision)))
    return [{"name": name, "precision": precision, "recall": recall} for name, precision, recall
            in zip(names, figures.precision, figures.recall, strict=True)]


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
