"""Devices that poison the model: Table 1's data poisoning attack.

Encryption hides a poisoned update as well as an honest one. A zero-knowledge proof bounds its norm
all the same: whoever exceeds the bound is left out and named. Its direction stays its own.

    δ_k    the update of device k        s_k    its samples        s    Σ s_k        w    a model
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bdn.chain import pack_blob
from bdn.experiments.config import RunConfig
from bdn.experiments.lab.attackers import Adversary, forging
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    Outcome,
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
from bdn.learning.types import Doubles, Floats
from bdn.nodes.device.work import LocalVector, SealedUpdate, fit_to_clips
from bdn.nodes.events import Compute, Effect
from bdn.nodes.settings import NORM_BOUND, WEIGHTS
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
    return small_run(key_bits, epochs=2, iterations=20, samples=200, batch_size=32,
                     norm_bound=NORM_BOUND)


@dataclass(frozen=True, slots=True, eq=False)
class Poisoned:
    """What came of a run with a poisoner.

    Attributes:
        outcome: its models, as far as it got.
        refused: what was refused of the poisoner, and by it, as reasons.
        scaled: how often its update was scaled down to fit its limit.
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
    """A device multiplies its update beyond the norm bound: it is left out and named."""
    config = judged_run(key_bits)
    honest = undisturbed(config)
    scaled = poisoned(config, lambda learner: Boosted(learner, 100.0))
    own = forged(config, SealUnscaled(), lambda learner: Boosted(learner, 100.0))
    free = poisoned(replace(config, norm_bound=()), lambda learner: Boosted(learner, 100.0))
    return Finding(
        tried="Device 4 seals its update times 100: with the client as it is, and with one of its "
              "own that does not scale down and forges a norm proof.",
        happened=(
            f"Nobody boosted: accuracy {honest.accuracy:.1%}.",
            (f"The client scales it down to the norm bound, {scaled.scaled} times; accuracy "
             f"{scaled.outcome.accuracy:.1%}."),
            (f"The forged proof: {own.told or 'no word'}. Device 4 is named and left out of "
             f"{own.left_out} of {config.epochs} epochs, which go on at once with the other three; "
             f"accuracy {own.outcome.accuracy:.1%}."),
            (f"Control, --norm-bound none: summed in {free.summed} phases; accuracy "
             f"{free.outcome.accuracy:.1%}."),
        ),
        claimed=CLAIMED,
        not_covered="What a device can do within the bound: see device-at-the-bound and "
                    "label-flipped. The proof bounds an update's length, not its direction.",
        held=own.left_out == config.epochs and "norm proof" in own.told and own.named
        and scaled.scaled >= 1
        and free.outcome.accuracy < min(own.outcome.accuracy, scaled.outcome.accuracy),
    )


def device_at_the_bound(key_bits: int) -> Finding:
    """A device turns its update round and stretches it to the norm bound (not prevented)."""
    config = judged_run(key_bits)
    honest = undisturbed(config)
    turned = poisoned(config, lambda learner: Boosted(learner, -100.0))
    return Finding(
        tried="Device 4 seals its update turned round and stretched to the norm bound of each "
              f"epoch ({', '.join(f'{bound:g}' for bound in config.norm_bound[: config.epochs])}), "
              "with a right proof.",
        happened=(
            (f"Not prevented: summed in {turned.summed} of "
             f"{len(turned.outcome.contributors)} phases, {len(turned.refused)} refusals."),
            (f"Accuracy {turned.outcome.accuracy:.1%}, and {honest.accuracy:.1%} when nobody "
             "cheats: the bound limits what one device of four can do."),
        ),
        claimed=CLAIMED,
        not_covered="This. Magnitude is bounded, direction is not; benchmarks/norm_bound.py has "
                    "the curve over the bound, and what robust rules in the clear would do.",
        held=not turned.refused and turned.summed == len(turned.outcome.contributors),
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


# --- clients that forge -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealUnscaled:
    """A client's sealing, rewritten: no scaling, ``levels`` more in one entry, a forged proof."""

    levels: int = 0

    def __call__(
        self, cipher: VectorCipher, local: LocalVector, clips: Doubles, with_loss: bool,
        weight: int, context: bytes, rng: Randomness,
    ) -> tuple[float, SealedUpdate]:
        """As `seal_local` of `bdn.nodes.device.work`, unchecked."""
        fitting, _ = fit_to_clips(local.vector, clips, with_loss)
        levels = cipher.quantise(fitting) + cipher.code.offset
        levels[SPOILED_ENTRY] += self.levels
        sealed = forging(cipher).seal_encoded(levels, weight, rng, context)
        return local.seconds, SealedUpdate(pack_blob(sealed.leaves()), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Forged:
    """What came of a run in which device 4 seals with a client of its own.

    Attributes:
        outcome: its models.
        told: the edge servers' reason for refusing its update.
        named: whether their refusal names device 4.
        left_out: epochs that went on without it.
        seconds: virtual time of the whole run.
        deadline: how long edge servers would have waited for an update that is missing.
    """

    outcome: Outcome
    told: str
    named: bool
    left_out: int
    seconds: float
    deadline: float


def forged(
    config: RunConfig, sealing: SealUnscaled,
    change: Callable[[Learner], Learner] = lambda learner: learner,
) -> Forged:
    """A run whose last device seals its updates by ``sealing``."""
    def rewritten(effect: Effect) -> list[Effect]:
        if (isinstance(effect, Compute) and effect.task.kind == "seal"
                and effect.task.phase == WEIGHTS):
            return [replace(effect, function=sealing)]
        return [effect]

    with opened_run(config, participants=participants_with(config, change)) as run:
        heard = hear(run, "refused")
        run.runner.add(Adversary(run.devices[-1], change=rewritten))
        started = run.runner.now_ms
        run.runner.run(run.is_over)
        mine = [r for r in heard if r.get("source") == POISONER]
        result = outcome(run)
        trained = result.contributors[: config.epochs]
        return Forged(result, next(iter(reasons(mine)), ""), bool(mine),
                      sum(POISONER not in names for names in trained),
                      (run.runner.now_ms - started) / 1000, config.deadline_seconds)


def overflowing_device(key_bits: int) -> Finding:
    """A device seals a value far beyond its clip: it is left out and named."""
    config = small_run(key_bits, norm_bound=NORM_BOUND)
    level = (1 << (config.value_bits - 1)) - 1
    loud = forged(config, SealUnscaled(1 << 24))
    quiet = forged(config, SealUnscaled(round(3.9 * config.devices * config.norm_bound[0] * level)))
    return Finding(
        tried="Device 4 runs a client of its own that seals one entry of its update far beyond the "
              "fixed-point budget and forges a norm proof; in another run, one within the budget "
              "of the sum, but beyond the bound.",
        happened=(
            f"Loud: {loud.told or 'no word'}.",
            f"Quiet: {quiet.told or 'no word'}.",
            (f"Device 4 is named, left out of {loud.left_out} and {quiet.left_out} of "
             f"{config.epochs} epochs, and the others go on at once: the runs end after "
             f"{max(loud.seconds, quiet.seconds):.1f} s of virtual time (deadline: "
             f"{loud.deadline:g} s)."),
        ),
        claimed=CLAIMED,
        not_covered="Values within the bound. Without a bound (--norm-bound none) a loud overflow "
                    "costs its epoch, nobody is named, and a quiet one passes.",
        held=all(run.named and run.left_out == config.epochs and "norm proof" in run.told
                 and run.seconds < run.deadline for run in (loud, quiet)),
    )


EXPERIMENTS = (
    Experiment("boosted-device", GROUP, POISONING, boosted_device),
    Experiment("device-at-the-bound", GROUP, POISONING, device_at_the_bound, prevented=False),
    Experiment("label-flipped", GROUP, POISONING, label_flipped, prevented=False),
    Experiment("nan-update", GROUP, POISONING, nan_update),
    Experiment("overflowing-device", GROUP, POISONING, overflowing_device),
)
