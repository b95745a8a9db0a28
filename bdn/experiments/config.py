"""What a person chooses for a run, and what follows from it."""

import dataclasses
import json
import math
import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bdn.chain import MAX_DEVICES, PBFT, PROOF_OF_WORK
from bdn.errors import UsageError
from bdn.json_text import parse_json
from bdn.learning import MODELS, RULES
from bdn.learning.datasets.sources import BY_NAME
from bdn.learning.models.factory import PAPER_CNN
from bdn.learning.schedules import CONSTANT, scheduled
from bdn.learning.server import MEAN, SERVER_RULES
from bdn.nodes.settings import CIPHERS, GRADIENT_NORM_BOUND, MOST_BOUNDS, NORM_BOUND, Bounds

SPLITS = ("iid", "size", "dirichlet", "class")
KEYS = ("dealer", "joint")

@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run. Every field is an option of ``bdn run``.

    Attributes:
        devices: n.
        edges: n_e = 3f + 1 edge servers.
        threshold: t, shares that open an aggregate. 0 stands for what follows from the others: a
            majority of the key holders, and few enough that t + 1 devices contribute.
        key_holders: ℓ; all devices where it is None.
        epochs, iterations, batch_size, rule, tolerance: Algorithm 1's P, T, b, local rule and ε.
        local_epochs: passes of each device over its own samples in an epoch, in the place of
            ``iterations``, which count where it is None.
        schedule: how λ changes from epoch to epoch (`bdn.learning.schedules`).
        patience: the run stops when F has not fallen for so many epochs; never where it is None.
        server_rule, server_step_size, server_momentum: what becomes of the opened mean
            (`bdn.learning.server`); where the step size is None, the rule's own.
        participation: the part of the devices that is drawn to take part in an epoch.
        step_size: λ; where it is None, the rule's own.
        data: one of `bdn.learning.SOURCES`.
        model: one of `bdn.learning.MODELS`, or "module:factory".
        init: a file or run folder whose model is w^(0); the model's own w^(0) where it is None.
        keep_models: whether the model after each epoch is kept in the run folder.
        clients: "module:function", whose clients train instead of the model on the data
            (`bdn.experiments.clients`); then a ``model`` "module:factory" gives w^(0).
        split: how the samples are spread over devices, one of `SPLITS`.
        alpha: of the Dirichlet split.
        samples: at most so many per device; all where it is None.
        pictures: whole held-out pictures on which the model is judged as a detector (mAP), where
            the data have such; 0 leaves it out.
        cipher: vector cipher, one of `bdn.nodes.settings.CIPHERS`.
        value_bits: bits of a fixed-point value.
        weight_clip, gradient_clip, loss_clip: largest |entry| that can be sealed.
        layer_clips: "0.5,1,…", a clip for each array of the model in the place of ``weight_clip``;
            only without a norm bound, which is over all of them.
        norm_bound, gradient_norm_bound: what each device proves ‖δ_k‖₂ and its gradient's norm to
            be at most: a number for each epoch, of which the last holds for all later ones, too, or
            one number for all. None or () for no bound and no proof; without a ``norm_bound``
            there is neither.
        key_bits: |N|; below 2048 it is a toy.
        key: how the key is made, one of `KEYS`.
        consensus: "pbft" or "pow".
        confirmations: k, under proof of work.
        seed: of data split, model and batches (and of everything else, if deterministic).
        deterministic: repeat byte for byte; keys are then not secret.
        executor: "serial", "processes[:COUNT]" or "dask:ADDRESS".
        shared_work: whether nodes of one process share the results of equal work.
        baseline: whether each device is also trained alone, for comparison.
        deadline_seconds: how long edge servers wait for updates (virtual time).
        minimum_contributors: fewest updates in an aggregate; threshold + 1 where it is None.
    """

    devices: int = 5
    edges: int = 4
    threshold: int = 0
    key_holders: int | None = None
    epochs: int = 10
    iterations: int = 20
    local_epochs: int | None = None
    step_size: float | None = None
    batch_size: int = 64
    rule: str = "sgd"
    tolerance: float = 0.0
    schedule: str = CONSTANT
    patience: int | None = None
    server_rule: str = MEAN
    server_step_size: float | None = None
    server_momentum: float = 0.9
    participation: float = 1.0
    data: str = "digits"
    model: str = PAPER_CNN
    init: str | None = None
    keep_models: bool = False
    clients: str | None = None
    split: str = "iid"
    alpha: float = 0.5
    samples: int | None = None
    pictures: int = 60
    cipher: str = "ring-masked"
    value_bits: int = 16
    weight_clip: float = 1.0
    layer_clips: str | None = None
    gradient_clip: float = 1.0
    loss_clip: float = 16.0
    norm_bound: Bounds = NORM_BOUND
    gradient_norm_bound: Bounds = GRADIENT_NORM_BOUND
    key_bits: int = 2048
    key: str = "dealer"
    consensus: str = PBFT
    confirmations: int = 2
    seed: int = 1
    deterministic: bool = False
    executor: str = "serial"
    shared_work: bool = True
    baseline: bool = True
    deadline_seconds: float = 60.0
    minimum_contributors: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _of_type(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            low, high = BOUNDS.get(field.name, (-math.inf, math.inf))
            for number in value if isinstance(value, tuple) else (value,):
                _demand(not isinstance(number, (int, float)) or low <= number <= high,
                        f"{_option(field.name)} must lie between {low:,} and {high:,}, not "
                        f"{_shown(number)}")
        if self.threshold == 0:
            most = (self.minimum_contributors or self.drawn) - 1
            object.__setattr__(self, "threshold", max(1, min(self.holders // 2 + 1, most)))
        _one_of("split", self.split, SPLITS)
        _one_of("rule", self.rule, tuple(RULES))
        _demand(self.clients is None or (":" in self.clients and len(self.clients) < 200),
                f"--clients must be module:function, not {_shown(self.clients)}")
        _demand(self.clients is None or not RULES[self.rule].needs_gradient,
                f"--clients give no gradients, which --rule {self.rule} needs: leave it out")
        _demand(self.clients is None or self.model not in MODELS or self.model == PAPER_CNN,
                f"--clients bring their own model: leave out --model {self.model}")
        _demand(self.layer_clips is None or not self.norm_bound,
                "--layer-clips need --norm-bound none: the proof is over entries with one clip")
        _one_of("server_rule", self.server_rule, tuple(SERVER_RULES))
        try:
            scheduled(self.rate, self.schedule, 1)
        except UsageError as error:
            raise UsageError(f"--schedule: {error}") from error
        _one_of("cipher", self.cipher, CIPHERS)
        _one_of("key", self.key, KEYS)
        _one_of("consensus", self.consensus, (PBFT, PROOF_OF_WORK))
        _demand(self.key_bits % 2 == 0, f"--key-bits must be even, not {self.key_bits}")
        _demand(self.data in BY_NAME or bool(self.data.partition(":")[2]),
                f"--data must be {', '.join(BY_NAME)}, SOURCE:PATH or module:function, not "
                f"{_shown(self.data)}")
        _demand(self.model in MODELS or (":" in self.model and len(self.model) < 200),
                f"--model must be {', '.join(MODELS)} or module:factory, not {_shown(self.model)}")
        _demand(self.holders <= self.devices,
                f"--key-holders {self.holders} of {self.devices} devices is impossible")
        _demand(self.threshold <= self.holders,
                f"--threshold {self.threshold} of {self.holders} key holders is impossible")
        _demand(self.minimum_contributors is None or self.minimum <= self.devices,
                f"--minimum-contributors {self.minimum} is impossible with {self.devices} devices: "
                f"take {self.threshold + 1} to {self.devices}, or more --devices")
        _demand(self.threshold < self.minimum,
                f"--minimum-contributors must be at least threshold + 1 = {self.threshold + 1}, so "
                "that threshold − 1 colluders face two honest devices")
        _demand(self.minimum <= self.devices,
                f"at least threshold + 1 = {self.threshold + 1} of {self.devices} devices must "
                "contribute, so that threshold − 1 colluders face two honest ones: take more "
                "--devices or a smaller --threshold")
        _demand(self.drawn >= self.minimum,
                f"--participation {self.participation:g} of {self.devices} devices draws "
                f"{self.drawn}, and {self.minimum} must contribute: take more, or a smaller "
                "--threshold")

    @property
    def holders(self) -> int:
        """ℓ."""
        return self.devices if self.key_holders is None else self.key_holders

    @property
    def drawn(self) -> int:
        """Devices that take part in an epoch."""
        return math.ceil(round(self.participation * self.devices, 6))  # 0.1 · 30 is no 4

    @property
    def rate(self) -> float:
        """λ."""
        return RULES[self.rule].step_size if self.step_size is None else self.step_size

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
            values: dict[str, Any] = parse_json(text)
            return cls(**values)
        except UsageError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the config cannot be read: {str(error)[:200]}") from error


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"devices": 10, "epochs": 1, "iterations": 1500, "step_size": 0.5,
              "rule": "svrg-literal"},
}
"""``bdn run --preset NAME``: name → the fields that differ from the defaults.

``paper`` is section 5's training as it is printed: (learning rate, epochs, iterations) =
(0.5, 1, 1500), ten Raspberry Pis, the rule of Eq. (3). As printed that rule divides λ by s_k though
∇F_k is a mean already, so its 1,500 steps are small ones, and each is a pass over all of a device's
samples; what comes out is reported as it is (docs/learning.md). The paper's data are VOC2012's
objects: give them with ``--data voc:DIR``; without, the embedded digits take their place.
"""

BOUNDS: dict[str, tuple[float, float]] = {
    "devices": (2, MAX_DEVICES), "edges": (1, 1_000), "threshold": (0, 1_000_000),
    "key_holders": (1, 1_000_000), "epochs": (1, 1_000_000), "iterations": (1, 10**9),
    "local_epochs": (1, 10**6),
    "step_size": (1e-12, 1e12), "batch_size": (1, 10**9), "tolerance": (0, 1e12),
    "participation": (1e-9, 1), "patience": (1, 1_000_000), "server_step_size": (1e-12, 1e12),
    "server_momentum": (0, 0.999_999),
    "alpha": (1e-6, 1e6), "samples": (1, 10**12), "pictures": (0, 10**9), "value_bits": (2, 32),
    "weight_clip": (1e-12, 1e12), "gradient_clip": (1e-12, 1e12), "loss_clip": (1e-12, 1e12),
    "norm_bound": (1e-12, 1e12), "gradient_norm_bound": (1e-12, 1e12),
    "key_bits": (256, 16_384), "confirmations": (0, 64), "seed": (-2**63, 2**63 - 1),
    "deadline_seconds": (0.001, 1e7), "minimum_contributors": (1, 1_000_000),
}
"""The least and the largest value of each number: beyond them a run would not end in a lifetime, or
its numbers would leave the formats that carry them."""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    """``value`` as a message may show it: whoever gave it may have given very much."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _of_type(name: str, value: Any) -> Any:
    """``value`` as the plain type that the field's annotation names."""
    annotation = RunConfig.__annotations__[name]
    value = _plain(value)
    if name == "layer_clips" and isinstance(value, (list, tuple)):
        return ",".join(map(repr, _numbers(name, value)))
    if annotation == Bounds:
        return _bounds(name, value)
    kind = getattr(annotation, "__name__", str(annotation))
    if value is None and "None" in kind:
        return None
    kind = kind.removesuffix(" | None")
    try:
        match kind:
            case "int" if not isinstance(value, bool):
                return operator.index(value)
            case "float" if not isinstance(value, (bool, str, bytes, bytearray)):
                number = float(value)
                _demand(math.isfinite(number), f"{_option(name)} must be finite")
                return number
            case "str" if isinstance(value, str):
                return str(value)
            case "bool" if isinstance(value, bool):
                return value
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
    words = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
    raise UsageError(f"{_option(name)} must be {words[kind]}, not {_shown(value)}")


def _bounds(name: str, value: Any) -> Bounds:
    """A norm bound for each epoch, from what was given: none, one number, or several."""
    several = () if value is None else value if isinstance(value, (list, tuple)) else (value,)
    return _numbers(name, several)


def _plain(value: Any) -> Any:
    """``value``, or what it is in plain Python where it is NumPy's."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _numbers(name: str, several: Sequence[Any]) -> tuple[float, ...]:
    """``several`` as finite floating-point numbers."""
    _demand(len(several) <= MOST_BOUNDS,
            f"{_option(name)} takes {MOST_BOUNDS:,} numbers at most, not {len(several):,}")
    each = "array of the model" if name == "layer_clips" else "epoch"
    found = []
    for given in several:
        number = _plain(given)
        _demand(isinstance(number, (int, float)) and not isinstance(number, bool)
                and abs(number) <= sys.float_info.max,
                f"{_option(name)} must be none, a number, or a number for each {each}, not "
                f"{_shown(number)}")
        found.append(float(number))
    return tuple(found)


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _demand(value in choices,
            f"{_option(name)} must be one of {', '.join(choices)}, not {_shown(value)}")
