"""What a person chooses for a run, and what follows from it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from bdn.chain import PBFT, PROOF_OF_WORK
from bdn.errors import UsageError
from bdn.nodes.settings import CIPHERS, RULES

SPLITS = ("iid", "size", "dirichlet", "class")
KEYS = ("dealer", "joint")

STEP_SIZES = {"sgd": 0.1, "svrg": 1.0, "svrg-literal": 0.5}
"""λ by rule: what trains the digits well; 0.5 for Eq. (3) as printed is the paper's."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run. Every field is an option of ``bdn run``.

    Attributes:
        devices: n.
        edges: n_e = 3f + 1 edge servers.
        threshold: t, shares that open an aggregate.
        key_holders: ℓ; all devices where it is None.
        epochs, iterations, batch_size, rule, tolerance: Algorithm 1's P, T, b, local rule and ε.
        step_size: λ; where it is None, `STEP_SIZES` has the rule's.
        data: "digits", "idx:DIR", "voc:DIR" or "scenes".
        split: how the samples are spread over devices, one of `SPLITS`.
        alpha: of the Dirichlet split.
        samples: at most so many per device; all where it is None.
        pictures: whole held-out pictures on which the model is judged as a detector (mAP), where
            the data have such; 0 leaves it out.
        cipher: vector cipher, one of `bdn.nodes.settings.CIPHERS`.
        value_bits: bits of a fixed-point value.
        weight_clip, gradient_clip, loss_clip: largest |entry| that can be sealed.
        key_bits: |N|; below 2048 it is a toy.
        key: how the key is made, one of `KEYS`.
        consensus: "pbft" or "pow".
        confirmations: k, under proof of work.
        seed: of data split, model and batches (and of everything else, if deterministic).
        deterministic: repeat byte for byte; keys are then not secret.
        executor: "serial", "processes[:COUNT]" or "dask:ADDRESS".
        deadline_seconds: how long edge servers wait for updates (virtual time).
        minimum_contributors: fewest updates in an aggregate; threshold + 1 where it is None.
    """

    devices: int = 5
    edges: int = 4
    threshold: int = 3
    key_holders: int | None = None
    epochs: int = 10
    iterations: int = 20
    step_size: float | None = None
    batch_size: int = 64
    rule: str = "sgd"
    tolerance: float = 0.0
    data: str = "digits"
    split: str = "iid"
    alpha: float = 0.5
    samples: int | None = None
    pictures: int = 60
    cipher: str = "ring-masked"
    value_bits: int = 16
    weight_clip: float = 1.0
    gradient_clip: float = 1.0
    loss_clip: float = 16.0
    key_bits: int = 2048
    key: str = "dealer"
    consensus: str = PBFT
    confirmations: int = 2
    seed: int = 1
    deterministic: bool = False
    executor: str = "serial"
    deadline_seconds: float = 60.0
    minimum_contributors: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{field.name.replace('_', ' ')} must be finite")
        _demand(self.devices >= 2, "collaborative learning needs at least two devices")
        _demand(self.edges >= 1, "at least one edge server is needed")
        _demand(1 <= self.holders <= self.devices,
                f"{self.holders} key holders among {self.devices} devices is impossible")
        _demand(1 <= self.threshold <= self.holders,
                f"threshold {self.threshold} of {self.holders} key holders is impossible")
        _demand(self.threshold < self.minimum <= self.devices,
                f"at least threshold + 1 = {self.threshold + 1} of {self.devices} devices must "
                "contribute, so that threshold − 1 colluders face two honest ones: take more "
                "devices or a smaller threshold")
        _demand(self.data == "digits" or self.data == "scenes" or ":" in self.data,
                f"data must be digits, scenes, idx:DIR or voc:DIR, not {self.data!r}")
        _one_of("split", self.split, SPLITS)
        _one_of("rule", self.rule, RULES)
        _one_of("cipher", self.cipher, CIPHERS)
        _one_of("key", self.key, KEYS)
        _one_of("consensus", self.consensus, (PBFT, PROOF_OF_WORK))
        _demand(self.epochs >= 1 and self.iterations >= 1 and self.batch_size >= 1,
                "epochs, iterations and batch size must be at least 1")
        _demand(self.step_size is None or self.step_size > 0, "the step size λ must be positive")
        _demand(self.tolerance >= 0, "the tolerance ε must not be negative")
        _demand(min(self.weight_clip, self.gradient_clip, self.loss_clip) > 0,
                "clips must be positive")
        _demand(self.samples is None or self.samples >= 1, "a device needs at least one sample")
        _demand(self.pictures >= 0, "the number of pictures must not be negative")
        _demand(2 <= self.value_bits <= 32, "value bits must lie between 2 and 32")
        _demand(self.confirmations >= 0, "confirmations must not be negative")
        _demand(self.deadline_seconds > 0, "the deadline must be positive")

    @property
    def holders(self) -> int:
        """ℓ."""
        return self.devices if self.key_holders is None else self.key_holders

    @property
    def rate(self) -> float:
        """λ."""
        return STEP_SIZES[self.rule] if self.step_size is None else self.step_size

    @property
    def minimum(self) -> int:
        """Fewest updates in an aggregate."""
        if self.minimum_contributors is not None:
            return self.minimum_contributors
        return self.threshold + 1

    def to_json(self) -> str:
        """As a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunConfig":
        """Read back what `to_json` wrote; raises `UsageError` for anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the run's config.json cannot be read: {error}") from error


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _demand(value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}")
