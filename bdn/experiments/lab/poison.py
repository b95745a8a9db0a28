"""Devices that poison the model: Table 1's data poisoning attack.

Encryption hides a poisoned update as well as an honest one. What is left is the fixed-point code,
which bounds what an entry can be, and what every device sees of the opened sum.

    δ_k    the update of device k        s_k    its samples        s    Σ s_k        w    a model
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from bdn.chain import pack_blob
from bdn.experiments.config import RunConfig
from bdn.experiments.lab.attackers import Adversary
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    Outcome,
    drive,
    hear,
    outcome,
    participants_with,
    reasons,
    small_run,
    undisturbed,
)
from bdn.experiments.run import Run, opened_run
from bdn.experiments.runner import StalledError
from bdn.learning import CnnLearner, Learner, TrainingRules
from bdn.learning.local import LocalResult
from bdn.learning.types import Floats
from bdn.nodes.device.work import LocalVector, SealedUpdate
from bdn.nodes.events import Compute, Effect, Task
from bdn.nodes.settings import WEIGHTS
from bdn.paillier.vector.cipher import VectorCipher
from bdn.randomness import Randomness
from bdn.runfolder.findings import POISONING, Finding

GROUP = "devices that poison"
CLAIMED = ("Table 1, data poisoning: entities may show adversarial behavior and wrongly update the "
           "model; the contracts provide confidentiality and secret sharing against it. The paper "
           "names no check of what an update says.")
POISONER = "device-4"
SPOILED_ENTRY = 0


def judged_run(key_bits: int) -> RunConfig:
    """Long enough for the accuracy to mean something."""
    return small_run(key_bits, epochs=2, iterations=20, samples=200, batch_size=32)


@dataclass(frozen=True, slots=True, eq=False)
class Poisoned:
    """What came of a run with a poisoner.

    Attributes:
        outcome: its models, as far as it got.
        refused: what was refused of the poisoner, and by it, as reasons.
        scaled: how often its update was scaled down to fit the clip.
        halted: how the run stopped before its end; "" where it did not.
    """

    outcome: Outcome
    refused: tuple[str, ...]
    scaled: int
    halted: str

    @property
    def summed(self) -> int:
        """Phases in which the poisoner's update was summed."""
        return sum(POISONER in names for names in self.outcome.contributors)


def poisoned(config: RunConfig, change: Callable[[Learner], Learner]) -> Poisoned:
    """A run whose last device learns otherwise."""
    with opened_run(config, participants=participants_with(config, change)) as run:
        heard = hear(run, "refused", "transaction-refused", "failed", "scaled")
        halted = halt(run)
        mine = [r for r in heard if r["event"] != "failed" or r.get("node") == POISONER]
        scaled = sum(r["event"] == "scaled" and r["node"] == POISONER for r in mine)
        return Poisoned(outcome(run), tuple(reasons(r for r in mine if "reason" in r)), scaled,
                        halted)


def halt(run: Run) -> str:
    """Drive ``run`` to its end; how it stops before, or ""."""
    try:
        run.runner.run(run.is_over)
    except StalledError as error:
        return str(error)
    return ""


# --- boosted ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Boosted:
    """A learner whose update is ``factor`` times what it learned."""

    honest: Learner
    factor: float

    @property
    def sample_count(self) -> int:
        """s_k."""
        return self.honest.sample_count

    def loss(self, w: Floats) -> float:
        """F_k(w)."""
        return self.honest.loss(w)

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w)."""
        return self.honest.gradient(w)

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """w + factor · δ_k."""
        result = self.honest.update(w, rules, epoch, rng, global_gradient)
        return replace(result, w=(w + self.factor * (result.w - w)).astype(np.float32))


def boosted_device(key_bits: int) -> Finding:
    """A device multiplies its update (the clip bounds it; not prevented within the clip)."""
    config = judged_run(key_bits)
    honest = undisturbed(config)
    small = poisoned(config, lambda learner: Boosted(learner, 10.0))
    large = poisoned(config, lambda learner: Boosted(learner, 1e4))
    return Finding(
        tried="Device 4 seals its update times 10, and times 10,000.",
        happened=(
            f"Nobody boosted: accuracy {honest.accuracy:.1%}.",
            (f"Times 10, not prevented: summed in {small.summed} phases, scaled down to its clip "
             f"{small.scaled} times; accuracy {small.outcome.accuracy:.1%}."),
            (f"Times 10,000: scaled down to its clip {large.scaled} times, so that no entry is "
             f"beyond ±{config.weight_clip:g}, and no entry of the model moves by more than "
             f"{config.weight_clip / config.devices:g}; accuracy {large.outcome.accuracy:.1%}. "
             + (f"The run stopped: {large.halted}." if large.halted else "The run went on.")),
        ),
        claimed=CLAIMED,
        not_covered="A boosted update within the clip, or a client that cheats at the clip (see "
                    "overflowing-device). Under encryption nobody sees a norm. A model spoiled "
                    "so far that honest losses exceed their own clip stops the run.",
        held=small.summed >= config.epochs and large.scaled >= config.epochs
        and max(small.outcome.accuracy, large.outcome.accuracy) < honest.accuracy,
    )


# --- flipped labels -----------------------------------------------------------------------------


def label_flipped(key_bits: int) -> Finding:
    """A device learns from wrong labels (not prevented)."""
    config = judged_run(key_bits)
    honest = undisturbed(config)

    def flip(learner: Learner) -> Learner:
        assert isinstance(learner, CnnLearner)
        data = learner.dataset
        return replace(learner, dataset=replace(data, labels=data.classes - 1 - data.labels))

    flipped = poisoned(config, flip)
    return Finding(
        tried="Device 4 trains honestly on its own samples, whose labels y it has all turned into "
              "9 − y.",
        happened=(
            (f"Not prevented: its update passes every check ({len(flipped.refused)} refusals) and "
             f"is summed in {flipped.summed} of {len(flipped.outcome.contributors)} phases."),
            (f"Accuracy {flipped.outcome.accuracy:.1%}, and {honest.accuracy:.1%} when nobody "
             "cheats: one device of four does this much."),
        ),
        claimed=CLAIMED,
        not_covered="This. Each update is a plausible one of a plausible norm; nothing on the "
                    "ledger tells data that are wrong from data that differ.",
        held=not flipped.refused and flipped.outcome.accuracy < honest.accuracy
        and flipped.summed == len(flipped.outcome.contributors),
    )


# --- not a number -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotANumber(Boosted):
    """A learner that diverged and does not say so."""

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """NaN everywhere."""
        result = self.honest.update(w, rules, epoch, rng, global_gradient)
        return replace(result, w=np.full_like(w, np.nan))


def nan_update(key_bits: int) -> Finding:
    """A device's update holds values that are not numbers."""
    config = small_run(key_bits)
    poison = poisoned(config, lambda learner: NotANumber(learner, 1.0))
    result = poison.outcome
    w = undisturbed(config).w
    average = np.mean([np.full_like(w, np.nan), w, w, w], axis=0)
    finite = bool(np.isfinite(result.w).all())
    refusal = next((text for text in poison.refused if "finite" in text), "")
    return Finding(
        tried="Device 4's local model diverges to NaN in every entry, and it goes on to seal it.",
        happened=(
            f"Its own sealing: {refusal or 'no word'}. The fixed-point code has no such value.",
            (f"The epoch went on with {len(result.contributors[0])} of 4 contributors after the "
             f"deadline; every entry of the model is {'finite' if finite else 'NOT finite'}."),
            (f"Control, plaintext averaging: {np.isnan(average).mean():.0%} of the model's entries "
             "are NaN after one such update."),
        ),
        claimed=CLAIMED,
        not_covered="A device that seals integers of its own making: see overflowing-device.",
        held=bool(refusal) and finite and POISONER not in result.contributors[0]
        and bool(np.isnan(average).all()),
    )


# --- beyond the budget --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealBeyond:
    """A client's sealing, rewritten: one entry holds ``levels`` more than the code allows."""

    levels: int

    def __call__(
        self, cipher: VectorCipher, local: LocalVector, _clips: object, _with_loss: bool,
        weight: int, context: bytes, rng: Randomness,
    ) -> tuple[LocalVector, SealedUpdate]:
        """As `seal_local` of `bdn.nodes.device.work`, unchecked; form and proof are right."""
        levels = cipher.quantise(local.vector) + cipher.code.offset
        levels[SPOILED_ENTRY] += self.levels
        sealed = cipher.seal_encoded(levels, weight, rng, context)
        return local, SealedUpdate(pack_blob(sealed.leaves()), 1.0)


def overflowing_device(key_bits: int) -> Finding:
    """A device seals a value far beyond its clip (noticed where it is loud; not prevented)."""
    config = small_run(key_bits)
    level = (1 << (config.value_bits - 1)) - 1
    twice = replace(config, epochs=2)
    with _spoiled_run(twice, 6 * level) as run:
        started, heard = run.devices[0].progress.w, hear(run, "spoiled")
        drive(run, lambda: len({r["node"] for r in heard}) == len(run.devices))
        noticed, said = {r["node"] for r in heard}, reasons(heard)
        kept = all(np.array_equal(device.progress.w, started) for device in run.devices)
        run.runner.run(run.is_over)
        loud, epochs = outcome(run), run.devices[0].progress.history
        lost = [record.epoch for record in epochs if record.spoiled]
    with _spoiled_run(config, round(3.9 * level)) as run:
        quiet = hear(run, "spoiled", "not-opened", "refused", "transaction-refused")
        run.runner.run(run.is_over)
        moved = float(run.devices[0].progress.w[SPOILED_ENTRY] - undisturbed(config).w[
            SPOILED_ENTRY])
    bound = config.weight_clip / config.devices
    return Finding(
        tried="Device 4 runs a client of its own that seals one entry of its update far beyond the "
              "fixed-point budget, with a right form and a right proof, in the first of two "
              "epochs; then, in another run, one just within the budget of the sum.",
        happened=(
            (f"Loud: {len(noticed)} of 4 devices notice when they open the sum: "
             f"{said[0] if said else 'no word'}."),
            (f"The sum is given up, nobody is deceived: epoch {', '.join(map(str, lost))} of 2 is "
             f"lost, in which the model {'stays' if kept else 'DOES NOT STAY'} as it was, and the "
             f"run goes on to its end (accuracy {loud.accuracy:.1%}; undisturbed "
             f"{undisturbed(twice).accuracy:.1%})."),
            (f"Quiet, not prevented: opened without a word ({len(quiet)} refusals). The entry "
             f"moved by {moved:+.3f}; an honest device of this size can move it by at most "
             f"{bound:.3f}."),
        ),
        claimed=CLAIMED,
        not_covered="Who did it: nobody is named, since nobody may open a single update, so "
                    "it can cost every epoch. The quiet one passes. Range proofs would "
                    "prevent both, at a cost of many ciphertexts a value (docs/ring-masked.md).",
        held=len(noticed) == 4 and any("out of range" in text for text in said)
        and kept and lost == [1] and not quiet and moved > bound,
    )


@contextmanager
def _spoiled_run(config: RunConfig, levels: int) -> Iterator[Run]:
    """A run whose last device seals by `SealBeyond` in the first epoch's weight phase."""
    def change(effect: Effect) -> list[Effect]:
        if isinstance(effect, Compute) and effect.task == Task("seal", 1, WEIGHTS):
            return [replace(effect, function=SealBeyond(levels))]
        return [effect]

    with opened_run(config) as run:
        run.runner.add(Adversary(run.devices[-1], change=change))
        yield run


EXPERIMENTS = (
    Experiment("boosted-device", GROUP, POISONING, boosted_device, prevented=False),
    Experiment("label-flipped", GROUP, POISONING, label_flipped, prevented=False),
    Experiment("nan-update", GROUP, POISONING, nan_update),
    Experiment("overflowing-device", GROUP, POISONING, overflowing_device, prevented=False),
)
