"""The lab's runs: small whole runs, driven to a point, watched, and compared with undisturbed ones.

    w    a model, float32 (|w|,)        δ_k    w_k − w^(p-1), the update of device k
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bdn.chain import (
    CANDIDATE,
    AggregateTransaction,
    UpdateTransaction,
    device_numbers,
    unpack_blob,
)
from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants, from_data
from bdn.experiments.run import Run, opened_run
from bdn.learning import Learner, device_generator
from bdn.nodes.ciphers import share_session
from bdn.nodes.device.work import Floats
from bdn.nodes.settings import WEIGHTS
from bdn.paillier import PublicKey, SealedSum, SealedVector, VectorCipher
from bdn.randomness import SeededRandomness

REFUSALS = ("refused", "transaction-refused", "failed", "too-few", "rejected")
"""Trace events that give a reason why something was not taken."""


def small_run(key_bits: int, **options: Any) -> RunConfig:
    """Four devices, an epoch and the closing loss phase: enough for every part to be real.

    It repeats byte for byte, so that a model can be compared with that of an undisturbed run. The
    norm proof is off, to save its time; the experiments about poisoning turn it on.
    """
    plain: dict[str, Any] = {
        "devices": 4, "threshold": 2, "epochs": 1, "iterations": 3, "batch_size": 16,
        "samples": 40, "key_bits": key_bits, "deterministic": True, "seed": 3,
        "norm_bound": None,
    }  # fmt: skip
    return RunConfig(**{**plain, **options})


# --- undisturbed runs ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run came to.

    Attributes:
        w: the last model.
        accuracy: its accuracy on held-out samples.
        contributors: names of the contributing devices, by epoch (the closing phase included).
    """

    w: np.ndarray
    accuracy: float
    contributors: tuple[tuple[str, ...], ...]


@functools.lru_cache(maxsize=8)
def undisturbed(config: RunConfig) -> Outcome:
    """The outcome of a run that nothing disturbs."""
    with opened_run(config) as run:
        run.runner.run(run.is_over)
        return outcome(run)


def outcome(run: Run) -> Outcome:
    """What ``run`` has come to so far, as a device that is still there sees it."""
    progress = run.reference.progress
    names = run.material.device_names
    contributors = tuple(tuple(names[number] for number in device_numbers(record.contributors))
                         for record in progress.history)
    accuracy = run.material.participants.judge(progress.w).accuracy
    return Outcome(progress.w, accuracy, contributors)


def same_model(run: Run) -> bool:
    """Whether every device that is still there has the model of the undisturbed run."""
    expected = undisturbed(run.config).w
    return all(np.array_equal(device.progress.w, expected) for device in run.devices
               if run.runner.is_up(device.name))


def is_same(same: bool) -> str:
    """For sentences about the model."""
    return "the same" if same else "NOT the same"


def true_update(run: Run, position: int) -> Floats:
    """δ_k of device ``position`` in epoch 1, float64 (|w|,): it learns the same again."""
    people, name = run.material.participants, run.material.device_names[position]
    generator = device_generator(SeededRandomness(run.config.seed), name, 1)
    result = people.learners[position].update(people.w, run.material.settings, 1, generator, None)
    return (result.w - people.w).astype(np.float64)


READ = 0.95
"""From this similarity on we call a vector read; fixed point and float32 take the rest."""


def similarity(u: Floats, guess: Floats) -> float:
    """The paper's data similarity index, 1/(1 + ‖u − û‖/‖u‖): 1 for u itself, 0.5 for û = 0."""
    return float(1 / (1 + np.linalg.norm(u - guess) / np.linalg.norm(u)))


def participants_with(config: RunConfig, change: Callable[[Learner], Learner]) -> Participants:
    """The run's usual participants, the last one changed."""
    people = from_data(config)
    return replace(people, learners=(*people.learners[:-1], change(people.learners[-1])))


PATIENCE_MS = 30 * 60_000
"""Virtual time that an experiment may take before it is given up."""


def drive(run: Run, until: Callable[[], bool]) -> None:
    """Let ``run`` go on until ``until()`` holds; raises `StalledError` after `PATIENCE_MS`."""
    run.runner.run(until, run.runner.now_ms + PATIENCE_MS)


@dataclass(frozen=True, slots=True)
class FirstEpoch:
    """What an edge server holds of epoch 1: everything sealed, nothing of the keys.

    Attributes:
        public_key: the joint key.
        cipher: of the weight phase.
        updates: the sealed updates, by the devices' order.
        samples: s_k.
        total: the aggregate.
        session: what shares of the weight phase are bound to.
    """

    public_key: PublicKey
    cipher: VectorCipher
    updates: tuple[SealedVector, ...]
    samples: tuple[int, ...]
    total: SealedSum
    session: bytes


def first_epoch(run: Run) -> FirstEpoch:
    """Drive ``run`` until its first candidate block is sealed, and read that block."""
    edge = run.edges[0]
    ledger = edge.ledger
    drive(run, lambda: edge.application.awaited.what == "updates")
    terms = ledger.call("learning", "sealing_terms")
    drive(run, lambda: ledger.head.kind == CANDIDATE)
    cipher = edge.application.host.ciphers.get(terms, 1, WEIGHTS)
    block = ledger.store.block(ledger.height)
    found = {e.address: e.payload for e in block.transactions
             if isinstance(e.payload, UpdateTransaction)}
    updates = [found[identity.address] for identity in run.material.devices]
    assert block.aggregate is not None
    assert isinstance(block.aggregate.payload, AggregateTransaction)
    return FirstEpoch(
        PublicKey.from_bytes(run.material.public_key), cipher,
        tuple(cipher.sealed_from_leaves(unpack_blob(ledger.blob(u.root))) for u in updates),
        tuple(u.sample_count for u in updates),
        cipher.sum_from_leaves(unpack_blob(ledger.blob(block.aggregate.payload.root))),
        share_session(ledger.chain, 1, WEIGHTS),
    )


# --- watching -----------------------------------------------------------------------------------


def hear(run: Run, *names: str) -> list[dict[str, Any]]:
    """The coming trace events of these names."""
    heard: list[dict[str, Any]] = []

    def listen(record: dict[str, Any]) -> None:
        if record["event"] in names:
            heard.append(record)

    run.listen(listen)
    return heard


def reasons(heard: Iterable[dict[str, Any]], text: str = "") -> list[str]:
    """The different reasons that hold ``text``, in the order in which they were first given."""
    given = (str(record.get("reason", "")) for record in heard)
    return list(dict.fromkeys(reason for reason in given if text in reason))


def once(run: Run, condition: Callable[[dict[str, Any]], bool], action: Callable[[], None]) -> None:
    """Do ``action`` right after the step in which ``condition`` first holds of a trace event."""
    done: list[bool] = []

    def listen(record: dict[str, Any]) -> None:
        if not done and condition(record):
            done.append(True)
            run.runner.at(run.runner.now_ms, action)

    run.listen(listen)


def proposes_updates(run: Run, edge: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a trace event tells that ``edge`` proposes a block with an aggregate."""
    def condition(record: dict[str, Any]) -> bool:
        return (record["event"], record.get("node")) == ("pre-prepare", f"edge-{edge}") and (
            run.edges[edge].application.awaited.what == "updates")

    return condition


def views(run: Run, edge: int) -> list[int]:
    """The views in which the blocks that ``edge`` holds were sealed."""
    ledger = run.edges[edge].ledger
    seals = (ledger.store.seal(height) for height in range(1, ledger.height + 1))
    return sorted({getattr(seal, "view", 0) for seal in seals})
