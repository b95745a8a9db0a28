"""Clients of Flower's NumPyClient shape train over the real ledger."""

from typing import Any

import numpy as np
import pytest

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants
from bdn.experiments.run import opened_run
from bdn.learning import Evaluation, client_learner, flatten

CONFIG = RunConfig(devices=3, threshold=2, epochs=4, iterations=20, step_size=0.5, batch_size=16,
                   key_bits=512, weight_clip=4.0, deterministic=True)
DIMENSIONS, CLASSES = 4, 3


def made_samples(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussian clouds, well apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centres = 3 * np.eye(CLASSES, DIMENSIONS)
    return (centres[labels] + rng.normal(size=(count, DIMENSIONS))).astype(np.float32), labels


def torch_client(seed: int, count: int) -> Any:
    """A PyTorch linear classifier behind get_parameters, fit and evaluate; no Flower import."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: oracles)")

    class TorchClient:
        def __init__(self) -> None:
            X, y = made_samples(seed, count)
            self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
            torch.manual_seed(0)
            self.model = torch.nn.Linear(DIMENSIONS, CLASSES)

        def get_parameters(self, config: dict[str, Any]) -> list[np.ndarray]:
            return [p.detach().numpy().copy() for p in self.model.parameters()]

        def set(self, parameters: list[np.ndarray]) -> None:
            with torch.no_grad():
                for own, given in zip(self.model.parameters(), parameters, strict=True):
                    own.copy_(torch.from_numpy(np.ascontiguousarray(given)))

        def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
            self.set(parameters)
            generator = torch.Generator().manual_seed(config["seed"])
            optimiser = torch.optim.SGD(self.model.parameters(), lr=config["step_size"])
            for _ in range(config["iterations"]):
                rows = torch.randperm(len(self.y), generator=generator)[: config["batch_size"]]
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(self.model(self.X[rows]), self.y[rows])
                loss.backward()
                optimiser.step()
            return self.get_parameters({}), len(self.y), {}

        def evaluate(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
            self.set(parameters)
            with torch.no_grad():
                loss = torch.nn.functional.cross_entropy(self.model(self.X), self.y)
            return float(loss), len(self.y), {}

    return TorchClient()


def judge(w: np.ndarray) -> Evaluation:
    """Accuracy of the linear model on samples that nobody trained on."""
    X, y = made_samples(99, 300)
    W, b = w[: CLASSES * DIMENSIONS].reshape(CLASSES, DIMENSIONS), w[CLASSES * DIMENSIONS :]
    right = float(((X @ W.T + b).argmax(axis=1) == y).mean())
    return Evaluation(right, right, (), (), 0.0, len(y))


def test_a_pytorch_model_trains_through_the_ledger_without_flower() -> None:
    """The three clients' model is sealed, agreed on and opened like any other."""
    clients = [torch_client(k, 40 + k) for k in range(3)]
    people = Participants(
        tuple(client_learner(client, len(client.y)) for client in clients),
        flatten(clients[0].get_parameters({})), judge, CLASSES,
    )
    with opened_run(CONFIG, participants=people) as run:
        history = run.complete()
        losses = [epoch["loss_before"] for epoch in history["epochs"]]
        assert losses[-1] < 0.7 * losses[0]
        assert history["accuracy"] > 0.85 > judge(people.w).accuracy
        assert {d["samples"] for d in history["devices"]} == {40, 41, 42}
        assert run.edges[0].ledger.height > 2 * CONFIG.epochs


def test_participants_must_be_as_many_as_the_devices() -> None:
    people = Participants((), np.zeros(3, np.float32), judge, CLASSES)
    with pytest.raises(UsageError, match="0 learners for 3 devices"), opened_run(
            CONFIG, participants=people):
        pass
    with pytest.raises(UsageError, match="float32"):
        Participants((), np.zeros(3), judge, CLASSES)
