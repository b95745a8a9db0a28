"""What is known after a run: figures by epoch and device, time by kind of work, rewards."""

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bdn.experiments.config import RunConfig
from bdn.experiments.material import TREASURY, Material
from bdn.learning import train
from bdn.randomness import SeededRandomness

if TYPE_CHECKING:
    from bdn.experiments.run import Run

PHASES = {
    "train": "training", "seal": "sealing", "verify-update": "verification",
    "aggregate": "aggregation", "check-block": "consensus", "propose": "consensus",
    "step": "consensus", "share": "opening", "open": "opening", "key": "key", "compare": "baseline",
    "evaluate": "evaluation", "load-data": "data",
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


def alone(material: Material, config: RunConfig) -> list[float]:
    """Each device's test accuracy alone: Algorithm 1 with n = 1, as many iterations in all."""
    figures = []
    people = material.participants
    for name, learner in zip(material.device_names, people.learners, strict=True):
        results = train(people.cnn, {name: learner}, material.settings,
                        rng=SeededRandomness(config.seed), w=people.w)
        figures.append(people.judge(results[-1].w).accuracy)
    return figures


def compile_history(run: "Run", singles: list[float], seconds: float) -> dict[str, Any]:
    """The run's history as plain JSON values."""
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
            "norm": record.norm,
            "contributors": [names[address] for address in record.contributors],
            "samples": record.total_samples,
            "accuracy": None if closing or figures is None else figures.accuracy,
            "mean_precision": None if closing or figures is None else figures.mean_precision,
            "test_loss": None if closing or figures is None else figures.loss,
            "virtual_ms": run.meter.epoch_virtual_ms.get(record.epoch),
        })
    best = material.participants.judge(progress.best).accuracy
    traffic = run.runner.traffic()
    return {
        "config": asdict(run.config),
        "seconds": seconds,
        "phases": dict(run.meter.seconds),
        "epochs": epochs,
        "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss,
        "accuracy": best,
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
        "blocks": run.blocks(),
        "scaled": run.meter.scaled,
        "refused": run.meter.refused,
    }


def _balance(run: "Run", account: bytes) -> int:
    ledger = max((edge.ledger for edge in run.edges), key=lambda ledger: ledger.height)
    return int(ledger.call("learning", "balance_of", account))
