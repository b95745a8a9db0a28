"""A whole run without BlockDeepNet, in processes: what Fig. 5 compares with."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants, from_data
from bdn.experiments.processes.assignment import Assignment, Samples, SenderRole, TrainerRole
from bdn.experiments.processes.children import Children
from bdn.experiments.processes.connections import local_addresses
from bdn.experiments.processes.control import FromChild, Reached, Told
from bdn.experiments.processes.run import samples_of
from bdn.identity import Identity
from bdn.learning.types import Floats

SERVER = "server"


class CentralRun:
    """Devices send their raw data to one server, which trains on all of them.

    Args:
        config: devices, data, P, T, λ, b and the seed count; the rest is of no meaning here.
        listen: hears every trace event, and "epoch-done" once all devices have an epoch's model.
        participants: loaded from the config's data by default.

    Raises `UsageError` for another rule than ``sgd``: the others need devices.
    """

    def __init__(
        self, config: RunConfig, listen: Callable[[dict[str, Any]], None] | None = None,
        participants: Participants | None = None,
    ) -> None:  # fmt: skip
        if config.rule != "sgd":
            raise UsageError("central training knows the rule sgd alone")
        self.config = config
        self.children: Children | None = None
        self._listen = listen if listen is not None else _ignore
        people = participants if participants is not None else from_data(config)
        self._samples = [samples_of(learner) for learner in people.learners]
        self._reached: dict[str, Reached] = {}
        self._done = 0

    def complete(self) -> Floats:
        """Train for P epochs; returns the model that all devices have then, float32 (|w|,)."""
        with local_addresses(1, "unix") as [address], Children(
            self.assignments(address), self._hear
        ) as self.children:
            for child in self.children.all.values():
                self._listen({"event": "process-started", "node": child.name, "pid": child.pid})
            self.children.go()
            while self._done < self.config.epochs:
                self.children.pump(1.0)
            self.children.stop()
        last = next(iter(self._reached.values()))
        return np.frombuffer(last.w, "<f4").astype(np.float32)

    def assignments(self, address: str) -> list[Assignment]:
        """Return each process's assignment, the server first; ``address``: where it listens."""
        names = tuple(f"device-{k + 1}" for k in range(self.config.devices))
        identities = {name: Identity.generate() for name in (SERVER, *names)}
        keys = tuple((name, identity.public_key) for name, identity in identities.items())
        addresses = ((SERVER, address),)
        started_ms = round(time.time() * 1000)

        def assignment(name: str, role: SenderRole | TrainerRole) -> Assignment:
            return Assignment(name, identities[name].secret, bytes(32), keys, addresses,
                              started_ms, role)

        senders = [assignment(name, SenderRole(samples, SERVER))
                   for name, samples in zip(names, self._samples, strict=True)]
        return [assignment(SERVER, TrainerRole(names, self.config.to_json())), *senders]

    @property
    def samples(self) -> list[Samples]:
        """What each device sends."""
        return list(self._samples)

    def _hear(self, name: str, message: FromChild) -> None:
        if isinstance(message, Told):
            self._listen(json.loads(message.line))
        elif isinstance(message, Reached):
            self._reached[name] = message
            everywhere = min((reached.epoch for reached in self._reached.values())
                             if len(self._reached) == self.config.devices else [0])
            while self._done < everywhere:
                self._done += 1
                self._listen({"event": "epoch-done", "epoch": self._done})


def _ignore(_record: dict[str, Any]) -> None:
    """Nobody listens."""
