"""Devices of Flower's NumPyClient shape: no import of flwr is needed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bdn.errors import UsageError
from bdn.learning import (
    CnnClient,
    Data,
    Dataset,
    NumPyClient,
    PaperCNN,
    TooFewDevicesError,
    TrainingSettings,
    client_learner,
    flatten,
    split,
    train,
    unflatten,
)

RULES = TrainingSettings(epochs=2, iterations=5, batch_size=32)


def make_torch_client(torch: Any, data: Dataset) -> Any:
    """A PyTorch model of another shape, trained by PyTorch's own optimiser."""

    class TorchClient:
        def __init__(self) -> None:
            torch.manual_seed(0)
            nn = torch.nn
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(),
                                       nn.Linear(32, 10))
            self.X, self.y = torch.tensor(data.images), torch.tensor(data.labels)

        def get_parameters(self, config: dict[str, Any]) -> list[Any]:
            return [value.numpy().copy() for value in self.model.state_dict().values()]

        def _set(self, parameters: list[Any]) -> None:
            names = self.model.state_dict()
            self.model.load_state_dict(
                {name: torch.tensor(v) for name, v in zip(names, parameters, strict=True)})

        def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, Any]:
            self._set(parameters)
            optimiser = torch.optim.SGD(self.model.parameters(), lr=config["step_size"])
            for _ in range(config["iterations"]):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(self.model(self.X), self.y).backward()
                optimiser.step()
            return self.get_parameters({}), len(self.y), {}

        def evaluate(
            self, parameters: list[Any], config: dict[str, Any]
        ) -> tuple[float, int, dict[str, Any]]:
            self._set(parameters)
            with torch.no_grad():
                loss = torch.nn.functional.cross_entropy(self.model(self.X), self.y)
            return loss.item(), len(self.y), {}

    return TorchClient()


def test_pytorch_models_learn_together_as_they_are(digits: Data) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is a peer (torch==2.13.0)")
    parts = split(digits.train.subset(np.arange(300)), 3)
    clients = [make_torch_client(torch, part) for part in parts]
    assert isinstance(clients[0], NumPyClient)
    learners = [client_learner(client, len(part))
                for client, part in zip(clients, parts, strict=True)]
    w = flatten(clients[0].get_parameters({}))
    results = train(None, learners, replace(RULES, epochs=4, step_size=0.3), w=w)
    assert results[-1].global_loss < 0.6 * learners[0].loss(w)
    assert results[-1].contributors == ("0", "1", "2")


def test_a_real_flower_client_joins(digits: Data) -> None:
    flwr = pytest.importorskip("flwr.client", reason="flwr is not installed")

    class Ours(CnnClient, flwr.NumPyClient):  # type: ignore[misc] - its base is known at run time
        pass

    part = digits.train.subset(np.arange(60))
    client = Ours(PaperCNN(), part)
    train(None, [client_learner(client, 60)], RULES, w=PaperCNN().parameters())


def test_our_cnn_as_a_client_is_our_cnn(digits: Data) -> None:
    """With full batches there is no randomness left: both ways give the same model."""
    part = digits.train.subset(np.arange(30))
    cnn = PaperCNN()
    learner = client_learner(CnnClient(cnn, part), 30)
    by_client = train(None, [learner], RULES, w=cnn.parameters())[-1]
    direct = train(cnn, [part], RULES)[-1]
    np.testing.assert_allclose(by_client.w, direct.w, atol=1e-6)
    assert by_client.global_loss == pytest.approx(direct.global_loss)


def test_flatten_and_unflatten_are_inverse() -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([7]), np.ones((1, 1, 2))]
    flat = flatten(arrays)
    assert flat.dtype == np.float32
    back = unflatten(flat, [a.shape for a in arrays])
    for a, b in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError):
        unflatten(flat[:-1], [a.shape for a in arrays])


class Odd(CnnClient):
    """A client that breaks one promise."""

    def __init__(self, part: Dataset, how: str) -> None:
        super().__init__(PaperCNN(), part)
        self.how = how

    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, figures = super().fit(parameters, config)
        match self.how:
            case "shape":
                return arrays[:-1], samples, figures
            case "count":
                return arrays, samples + 1, figures
            case "nan":
                return [array * np.nan for array in arrays], samples, figures
            case "none":
                return None
            case "pair":
                return arrays, samples
            case "dict":
                return {"parameters": arrays, "samples": samples, "figures": figures}
            case "text":
                return [["a"] * 3 for _ in arrays], samples, figures
            case "array":
                return arrays[0], samples, figures
            case "no count":
                return arrays, None, figures
            case "nan count":
                return arrays, float("nan"), figures
            case "shout":
                raise ValueError("x" * 100_000)
            case "NumPy count":
                return arrays, np.int64(samples), figures
        raise RuntimeError("out of memory")

    def evaluate(self, parameters: Any, config: Any) -> Any:
        match self.how:
            case "evaluate raises":
                raise KeyError("loss")
            case "evaluate none":
                return None
            case "loss nan":
                return float("nan"), 20, {}
            case "loss text":
                return "low", 20, {}
        return super().evaluate(parameters, config)


BROKEN = [
    ("shape", "5 arrays; it was given 6"), ("count", "declared"), ("nan", "finite"),
    ("raise", "out of memory"),
    ("none", "returned None"), ("pair", "a tuple of 2"), ("dict", "a dict of 3"),
    ("text", "of shape (3,)"), ("array", "not a list of arrays"),
    ("no count", "None samples"),
    ("nan count", "float samples"), ("shout", "xxx"),
    ("evaluate raises", "evaluate raised KeyError"), ("evaluate none", "evaluate returned None"),
    ("loss nan", "as the loss"), ("loss text", "a str as the loss"),
]
"""How a client breaks its promise, and what the refusal says."""


@pytest.mark.parametrize(("how", "why"), BROKEN)
def test_a_client_that_breaks_its_promise_is_named(digits: Data, how: str, why: str) -> None:
    part = digits.train.subset(np.arange(20))
    learners = {"good": client_learner(CnnClient(PaperCNN(), part), 20),
                "odd": client_learner(Odd(part, how), 20)}
    result = train(None, learners, replace(RULES, epochs=1), w=PaperCNN().parameters())[0]
    assert result.contributors == ("good",)
    assert why in result.refused["odd"]
    assert len(result.refused["odd"]) < 500
    with pytest.raises(TooFewDevicesError, match="odd"):
        train(None, learners, RULES, w=PaperCNN().parameters(), minimum_contributors=2)


def test_what_is_no_client_and_svrg_are_refused(digits: Data) -> None:
    with pytest.raises(UsageError, match="needs fit and evaluate"):
        client_learner(object(), 3)  # type: ignore[arg-type] - the claim is that it is refused
    for count in (0, -1, 3.0, "3", None, True):
        with pytest.raises(UsageError, match="sample count"):
            client_learner(CnnClient(PaperCNN(), digits.test), count)  # type: ignore[arg-type] - as above
    learner = client_learner(CnnClient(PaperCNN(), digits.test), len(digits.test))
    with pytest.raises(UsageError, match="gradients"):
        train(None, [learner], TrainingSettings("svrg"), w=PaperCNN().parameters())


def test_numpy_scalars_count_as_integers(digits: Data) -> None:
    part = digits.train.subset(np.arange(20))
    learner = client_learner(Odd(part, "NumPy count"), np.int64(20))  # type: ignore[arg-type] - NumPy's integers are accepted at run time
    result = train(None, {"odd": learner}, replace(RULES, epochs=1), w=PaperCNN().parameters())[0]
    assert result.contributors == ("odd",)
    assert PaperCNN(np.int32(10), np.uint8(3)) == PaperCNN(10, 3)  # type: ignore[arg-type] - as above
    ours = split(digits.train, 3, seed=1)
    by_numpy = split(digits.train, np.int64(3), seed=np.int64(1))  # type: ignore[arg-type] - as above
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(ours, by_numpy, strict=True))


class Template:
    """What Flower's templates produce: ``fit`` and ``evaluate``, and no ``get_parameters``."""

    def __init__(self, part: Dataset) -> None:
        self._cnn = CnnClient(PaperCNN(), part)

    def fit(self, parameters: Any, config: Any) -> Any:
        return self._cnn.fit(parameters, config)

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return self._cnn.evaluate(parameters, config)


class Unsaid(Template):
    """As Flower's base class answers where a template does not override it."""

    def get_parameters(self, config: Any) -> Any:
        return []


@pytest.mark.parametrize("kind", [Template, Unsaid])
def test_a_client_without_get_parameters_is_told_the_shapes(digits: Data, kind: Any) -> None:
    client = kind(digits.train.subset(np.arange(20)))
    with pytest.raises(UsageError, match="parameters=") as refused:
        client_learner(client, 20)
    assert "\n" not in str(refused.value)
    cnn = PaperCNN()
    layers = unflatten(cnn.parameters(), list(cnn.shapes.values()))
    learner = client_learner(client, 20, layers)
    result = train(None, {"k": learner}, replace(RULES, epochs=1), w=cnn.parameters())[0]
    assert result.contributors == ("k",)
