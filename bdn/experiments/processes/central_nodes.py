"""The comparison without BlockDeepNet (Fig. 5): raw data go to a server, which trains on all.

Each device sends its images and labels to one server. In every epoch the server does as many local
iterations as all devices together would have done, and sends the model back. No ledger, no
ciphers, no consensus; the same driver, sockets and processes, so that only the rest differs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bdn.encoding import decode_union, encode_union
from bdn.experiments.config import RunConfig
from bdn.experiments.processes.assignment import Samples, SenderRole, TrainerRole
from bdn.experiments.processes.control import FromChild, Reached
from bdn.learning import Dataset, Model, local_update, make_model
from bdn.learning.types import Floats
from bdn.nodes.events import Compute, Computed, Effect, Event, Received, Send, Started, Task
from bdn.randomness import SeededRandomness, numpy_generator


@dataclass(frozen=True, slots=True)
class RawData:
    """Device → server: everything that it has."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class CentralModel:
    """Server → device: the model after ``epoch``, little-endian float32."""

    epoch: int
    w: bytes


MESSAGES = (RawData, CentralModel)


class Sender:
    """A device that keeps nothing to itself."""

    def __init__(self, name: str, role: SenderRole) -> None:
        self.name = name
        self.model: CentralModel | None = None
        self._role = role

    def step(self, event: Event, _now_ms: int) -> list[Effect]:
        """Send the data at the start; then take models."""
        if isinstance(event, Started):
            return [Send(self._role.trainer, encode_union(RawData(self._role.samples)))]
        if isinstance(event, Received):
            message = decode_union(MESSAGES, event.data)
            if isinstance(message, CentralModel):
                self.model = message
        return []


class Trainer:
    """A server that has everybody's data."""

    def __init__(self, name: str, role: TrainerRole) -> None:
        self.name = name
        self.epoch = 0
        config = RunConfig.from_json(role.config)
        self._config = config
        self._senders = role.senders
        self._data: dict[str, Dataset] = {}
        self._model: Model | None = None
        self._w: Floats = np.zeros(0, np.float32)

    def step(self, event: Event, _now_ms: int) -> list[Effect]:
        """Gather the data; train, send the model, and train on."""
        match event:
            case Received(source, data) if source in self._senders:
                message = decode_union(MESSAGES, data)
                if isinstance(message, RawData):
                    return self._gather(source, message.samples.dataset())
            case Computed(_, result):
                self._w = result
                self.epoch += 1
                model = encode_union(CentralModel(self.epoch, self._w.astype("<f4").tobytes()))
                return [*(Send(sender, model) for sender in self._senders), *self._train()]
        return []

    def _gather(self, source: str, data: Dataset) -> list[Effect]:
        self._data[source] = data
        if len(self._data) < len(self._senders):
            return []
        parts = [self._data[sender] for sender in self._senders]
        together = Dataset(np.concatenate([part.inputs for part in parts]),
                           np.concatenate([part.labels for part in parts]), parts[0].classes)
        self._data = {"all": together}
        self._model = make_model(self._config.model, together.sample_shape, together.classes,
                                 self._config.seed)
        self._w = self._model.parameters()
        return self._train()

    def _train(self) -> list[Effect]:
        if self.epoch >= self._config.epochs:
            return []
        arguments = (self._model, self._w, self._data["all"], self._config, self.epoch + 1)
        return [Compute(Task("train", self.epoch + 1), train_centrally, arguments)]


def train_centrally(
    model: Model, w: Floats, data: Dataset, config: RunConfig, epoch: int
) -> Floats:
    """One epoch on all data: n·T iterations of ``config.batch_size`` samples from ``w``."""
    rng = numpy_generator(SeededRandomness(config.seed).substream(f"central/epoch/{epoch}"))
    return local_update(model, w, data, "sgd", config.devices * config.iterations, config.rate,
                        config.batch_size, rng).w


class CentralHost:
    """A sender or the trainer in its process; there is nothing to persist."""

    view = 0

    def __init__(self, node: Sender | Trainer) -> None:
        self.node = node
        self._told = 0

    def persist(self, record: bytes, slot: str) -> None:
        """Nothing asks for it."""
        raise NotImplementedError(f"{self.node.name} keeps no journal: {slot} {record!r}")

    def news(self) -> list[FromChild]:
        """A sender's newest model."""
        model: Any = self.node.model if isinstance(self.node, Sender) else None
        if model is None or model.epoch == self._told:
            return []
        self._told = model.epoch
        return [Reached(model.epoch, model.w)]

    def close(self) -> None:
        """Nothing is open."""


def make_central(name: str, role: SenderRole | TrainerRole) -> CentralHost:
    """The node of ``role``."""
    return CentralHost(
        Sender(name, role) if isinstance(role, SenderRole) else Trainer(name, role))
