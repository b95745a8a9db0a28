"""Clients of Flower's NumPyClient shape train over the real ledger."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants
from bdn.experiments.run import opened_run
from bdn.learning import Evaluation, client_learner, flatten

CONFIG = RunConfig(norm_bound=None, devices=3, threshold=2, epochs=4, iterations=20,
                   step_size=0.5, batch_size=16,
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


class NumpyClient:
    """A linear softmax classifier in NumPy, as a Flower template would write it.

    ``how`` says which promise it breaks from its second epoch on.
    """

    def __init__(self, seed: int, how: str = "") -> None:
        self.X, self.y = made_samples(seed, 40)
        self.how, self.epochs = how, 0

    def odds(self, parameters: list[np.ndarray]) -> np.ndarray:
        W, b = parameters
        scores = self.X @ W.T + b
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        W, b = parameters
        for _ in range(config["iterations"]):
            error = self.odds([W, b]) - np.eye(CLASSES)[self.y]
            W = W - config["step_size"] * error.T @ self.X / len(self.y)
            b = b - config["step_size"] * error.mean(axis=0)
        self.epochs += 1
        match self.how if self.epochs > 1 else "":
            case "raises":
                raise RuntimeError("CUDA out of memory [device 0]")
            case "none":
                return None
            case "pair":
                return [W, b], len(self.y)
            case "dict":
                return {"parameters": [W, b]}
            case "nan":
                return [W * np.nan, b], len(self.y), {}
        return [W, b], np.int64(len(self.y)), {}

    def evaluate(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        odds = self.odds(parameters)[np.arange(len(self.y)), self.y]
        return np.float32(-np.log(odds).mean()), len(self.y), {}


@pytest.mark.parametrize("how", ["raises", "none", "nan"])
def test_a_client_that_fails_is_named_and_the_run_goes_on(how: str) -> None:
    """Its device is left out of the epoch; the others finish with all epochs."""
    clients = [NumpyClient(0), NumpyClient(1), NumpyClient(2), NumpyClient(3, how)]
    shapes = [np.zeros((CLASSES, DIMENSIONS)), np.zeros(CLASSES)]
    people = Participants(
        tuple(client_learner(client, 40, shapes) for client in clients), flatten(shapes), judge,
        CLASSES,
    )
    told: list[dict[str, Any]] = []
    config = replace(CONFIG, devices=4, epochs=3, minimum_contributors=3)
    with opened_run(config, participants=people, listen=told.append) as run:
        history = run.complete()
    assert [len(epoch["contributors"]) for epoch in history["epochs"][:3]] == [4, 3, 3]
    failed = [event for event in told if event["event"] == "failed"]
    assert {event["node"] for event in failed} == {"device-4"}
    assert history["accuracy"] > 0.85
