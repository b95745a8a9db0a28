"""The run's settings that everybody must share: written into genesis, read back by every node.

Amounts of tokens, counts and times are integers. Step size, clips and tolerance are real; they
are kept as the shortest decimal text that gives the same float back: the ledger has no floats.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bdn.errors import UsageError
from bdn.learning import RULES
from bdn.learning.schedules import CONSTANT, scheduled
from bdn.learning.server import MEAN, SERVER_RULES

GRADIENT, WEIGHTS, LOSS = "gradient", "weights", "loss"
"""The phases of an epoch; LOSS closes the run, so that w^(P) is scored too."""

CIPHERS = ("ring-masked", "packed")

NO_BOUND = "none"

GRADIENT_PHASE = "gradient_phase"
"""The key under which genesis says whether an epoch has a gradient phase."""

Bounds = tuple[float, ...]
"""The norm bound B of each epoch, from the first on; the last one holds for all later epochs, too.
Empty where nothing is bounded."""

NORM_BOUND: Bounds = (2.0, 1.4, 1.0, 0.8, 0.7)
GRADIENT_NORM_BOUND: Bounds = (10.0,)
"""The default bounds on ‖δ_k‖₂ and on a gradient's norm, chosen from measurements
(docs/norm-proof.md)."""

MOST_BOUNDS = 1000
"""Epochs for which genesis may give a norm bound of their own."""


LayerClips = tuple[tuple[int, float], ...]
"""(entries, clip) of each array of a model, in its order."""

MOST_LAYERS = 10_000


def layer_clips_to_text(clips: LayerClips) -> str:
    """Return ``clips`` as genesis writes them, such as "7840:0.5,10:1.0"; "" for none."""
    return ",".join(f"{entries}:{clip!r}" for entries, clip in clips)


def layer_clips_from_text(text: str) -> LayerClips:
    """Return what `layer_clips_to_text` wrote; raise `ValueError` for anything else."""
    pairs = [item.split(":") for item in text.split(",", MOST_LAYERS)] if text else []
    return tuple((int(entries), float(clip)) for entries, clip in pairs)


def bounds_to_text(bounds: Bounds) -> str:
    """Return ``bounds`` as genesis and ``--norm-bound`` write them: "2.0,1.2,0.8", or "none"."""
    return ",".join(map(repr, bounds)) or NO_BOUND


def bounds_from_text(text: str) -> Bounds:
    """Return what `bounds_to_text` wrote; raise `UsageError` for anything else."""
    if text == NO_BOUND:
        return ()
    try:
        return tuple(map(float, text.split(",", MOST_BOUNDS)))
    except ValueError:
        raise UsageError("a norm bound is none, a number such as 0.7, or a number for each epoch "
                         f"such as 2,1.2,0.8; {text[:40]!r} is neither") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """What genesis fixes for a run.

    Attributes:
        rule: local update rule, one of `bdn.learning.RULES`.
        iterations: the paper's T, local iterations in an epoch.
        epochs: the paper's P.
        step_size: the paper's λ.
        batch_size: samples in a local step.
        tolerance: the paper's ε; the run stops when ‖w^(p) − w^(p-1)‖₂ ≤ tolerance.
        classes: outputs of the model.
        model_size: number of parameters, |w|.
        cipher: vector cipher, one of `CIPHERS`.
        value_bits: bits of a fixed-point value.
        weight_clip, gradient_clip, loss_clip: the largest |entry| that can be sealed.
        total_weight: W, the most that the sample counts of one aggregate may add up to.
        devices: n, the most contributors of an aggregate.
        threshold: t, shares that open an aggregate.
        key_holders: ℓ, how many devices hold a share (the first ℓ of genesis).
        minimum_contributors: fewest updates that an aggregate may hold.
        sample_ratio: largest sample count in an aggregate over the smallest.
        samples_per_second: no device is believed to go through more samples than this.
        deadline_ms: how long edge servers wait for updates before they go on without.
        gather_ms: how long they wait for the rest of an auxiliary block.
        data_reward: tokens a sample, paid by the proposer.
        processing_reward: tokens a candidate block, paid by the treasury.
        confirmations: blocks on top that a device waits for under proof of work.
        difficulty: expected hashes of the first mined block.
        norm_bound, gradient_norm_bound: B of each epoch, the most that the 2-norm of δ_k and of a
            gradient may be, as each sealed vector proves; empty for no bound and no proof.
        model: what is trained, one of `bdn.learning.MODELS` or "module:factory", or the
            "module:function" of clients.
        initial_model: SHA-256 of w^(0) in hexadecimal, with which every device begins; "" leaves
            it open.
        server_rule: what becomes of the opened mean, one of `bdn.learning.SERVER_RULES`.
        server_step_size, server_momentum: its η and β₁.
        layer_clips: (entries, clip) of each array of the model, in the place of ``weight_clip``;
            empty where that holds for all.
        local_epochs: passes over a device's samples in the place of ``iterations``; 0: none.
        schedule: how λ changes from epoch to epoch (`bdn.learning.schedules`).
        patience: the run stops when F has not fallen for so many epochs; 0: never.
        drawn: how many devices are drawn to take part in each epoch; 0 where all do.
    """

    rule: str
    iterations: int
    epochs: int
    step_size: float
    batch_size: int
    tolerance: float
    classes: int
    model_size: int
    cipher: str
    value_bits: int
    weight_clip: float
    gradient_clip: float
    loss_clip: float
    total_weight: int
    devices: int
    threshold: int
    key_holders: int
    minimum_contributors: int
    sample_ratio: int
    samples_per_second: int
    deadline_ms: int
    gather_ms: int
    data_reward: int
    processing_reward: int
    confirmations: int
    difficulty: int
    norm_bound: Bounds = ()
    gradient_norm_bound: Bounds = ()
    model: str = "paper-cnn"
    initial_model: str = ""
    server_rule: str = MEAN
    server_step_size: float = 1.0
    server_momentum: float = 0.9
    layer_clips: LayerClips = ()
    local_epochs: int = 0
    schedule: str = CONSTANT
    patience: int = 0
    drawn: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{field.name} must be finite, not {value}")
        for bounds in (self.norm_bound, self.gradient_norm_bound):
            _demand(len(bounds) <= MOST_BOUNDS, f"a norm bound for {MOST_BOUNDS:,} epochs at most")
            _demand(all(0 < bound < math.inf for bound in bounds),
                    "a norm bound must be positive and finite, or none")
        _demand(self.rule in RULES, f"rule must be one of {', '.join(RULES)}, not {self.rule!r}")
        _demand(self.server_rule in SERVER_RULES,
                f"server rule must be one of {', '.join(SERVER_RULES)}, not {self.server_rule!r}")
        _demand(self.server_step_size > 0 and 0 <= self.server_momentum < 1,
                "the server step size must be positive, and its momentum in [0, 1)")
        if self.layer_clips:
            _demand(sum(entries for entries, _ in self.layer_clips) == self.model_size,
                    "the clips of the layers are for another model")
            _demand(all(entries > 0 and 0 < clip < math.inf for entries, clip in self.layer_clips),
                    "a layer's clip must be positive and finite")
            _demand(not self.norm_bound, "a norm bound needs one clip for all layers")
        _demand(self.local_epochs >= 0, "local epochs must not be negative")
        _demand(self.patience >= 0, "the patience must not be negative")
        scheduled(self.step_size, self.schedule, 1)
        _demand(self.cipher in CIPHERS, f"cipher must be one of {', '.join(CIPHERS)}")
        _demand(self.iterations >= 1, "an epoch needs at least one local iteration")
        _demand(self.epochs >= 1, "a run needs at least one epoch")
        _demand(self.step_size > 0, "the step size λ must be positive")
        _demand(self.batch_size >= 1, "a batch needs at least one sample")
        _demand(self.tolerance >= 0, "the tolerance ε must not be negative")
        _demand(1 <= self.threshold <= self.key_holders,
                f"threshold {self.threshold} of {self.key_holders} key holders is impossible")
        _demand(self.minimum_contributors > self.threshold,
                "at least threshold + 1 updates must be aggregated before anything is opened, so "
                "that threshold − 1 colluders face two honest devices: use more devices or a "
                "smaller threshold")

        _demand(self.drawn == 0 or self.minimum_contributors <= self.drawn <= self.devices,
                f"{self.drawn} of {self.devices} devices cannot be drawn where "
                f"{self.minimum_contributors} must contribute")

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of one epoch, in order."""
        return (GRADIENT, WEIGHTS) if RULES[self.rule].needs_gradient else (WEIGHTS,)

    def bound_of(self, phase: str, epoch: int) -> float | None:
        """Return the norm bound of a phase's vectors in an epoch; None where nothing is proven.

        It follows from genesis and the epoch's number alone, so that no device can move it by what
        it seals. A vector that holds nothing but a loss is proven to be within its clip where
        updates are bounded.
        """
        bounds = self._bounds(phase)
        return bounds[max(1, min(epoch, len(bounds))) - 1] if bounds else None

    def largest_bound(self, phase: str) -> float | None:
        """Return the largest norm bound of a phase's vectors in any epoch, or None."""
        return max(self._bounds(phase), default=None)

    def _bounds(self, phase: str) -> Bounds:
        return self.gradient_norm_bound if phase == GRADIENT else self.norm_bound

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as a map of integers and text, for genesis.

        The map also says whether an epoch has a gradient phase, which follows from the rule: the
        contract knows no rules.
        """
        values = dataclasses.asdict(self)
        plain = {key: repr(value) if isinstance(value, float)
                 else layer_clips_to_text(value) if key == "layer_clips"
                 else bounds_to_text(value) if isinstance(value, tuple) else value
                 for key, value in values.items()}
        return plain | {GRADIENT_PHASE: GRADIENT in self.phases}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Settings":
        """Read back what `to_plain` wrote; raises `UsageError` for anything else."""
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        known = {*fields, GRADIENT_PHASE}
        if plain.keys() != known:
            raise UsageError("genesis was written by another version: its settings differ in "
                             + ", ".join(sorted(plain.keys() ^ known)))
        try:
            read: dict[Any, Callable[[str], Any]] = {
                float: float, Bounds: bounds_from_text, LayerClips: layer_clips_from_text}
            values: dict[str, Any] = {
                name: read[kind](plain[name]) if kind in read else plain[name]
                for name, kind in fields.items()
            }
            settings = cls(**values)
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"genesis holds an unusable setting: {error}") from error
        if plain[GRADIENT_PHASE] is not (GRADIENT in settings.phases):
            raise UsageError(f"genesis holds an unusable setting: rule {settings.rule} and "
                             f"{GRADIENT_PHASE} contradict each other")
        return settings


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)
