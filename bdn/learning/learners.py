"""Who takes part: our CNN with a data set, or anything of Flower's NumPyClient shape.

Algorithm 1 asks a device for three things, `Learner`. `CnnLearner` answers with the paper's rules.
`ClientLearner` passes the question to a client that has ``get_parameters``, ``fit`` and
``evaluate`` as Flower defines them (flower.ai, ``flwr.client.NumPyClient``); neither Flower nor the
client's framework is imported here. `CnnClient` is the way back: our device for a Flower server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bdn.errors import BdnError, UsageError
from bdn.learning.cnn import PaperCNN
from bdn.learning.dataset import Dataset
from bdn.learning.errors import DeviceError, ModelError
from bdn.learning.evaluation import accuracy
from bdn.learning.local import (
    LocalResult,
    TrainingRules,
    local_gradient,
    local_loss,
    local_update,
)
from bdn.learning.types import Floats
from bdn.randomness import SeededRandomness, numpy_generator

Arrays = list[np.ndarray[Any, np.dtype[Any]]]
"""A model as Flower carries it: one array a layer."""


class Learner(Protocol):
    """A device's part in Algorithm 1; everything it is given and gives can be pickled."""

    @property
    def sample_count(self) -> int:
        """s_k."""

    def loss(self, w: Floats) -> float:
        """F_k(w), in nats."""

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w); raises `UsageError` where the device cannot tell."""

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """The local iterations of one epoch, from ``w``."""


@runtime_checkable
class NumPyClient(Protocol):
    """The shape of Flower's NumPyClient; ``config`` holds plain numbers and text."""

    def get_parameters(self, config: dict[str, Any]) -> Arrays:
        """The client's present parameters."""

    def fit(self, parameters: Arrays, config: dict[str, Any]) -> tuple[Arrays, int, dict[str, Any]]:
        """Train from ``parameters``: (new parameters, samples used, figures)."""

    def evaluate(
        self, parameters: Arrays, config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        """Judge ``parameters``: (loss, samples used, figures)."""


@dataclass(frozen=True, slots=True, eq=False)
class CnnLearner:
    """The paper's CNN on a device's own data."""

    cnn: PaperCNN
    dataset: Dataset

    @property
    def sample_count(self) -> int:
        """s_k."""
        return len(self.dataset)

    def loss(self, w: Floats) -> float:
        """F_k(w), in nats."""
        return local_loss(self.cnn, w, self.dataset)

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w)."""
        return local_gradient(self.cnn, w, self.dataset)

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,  # noqa: ARG002 - Learner's signature; our rules are the same in every epoch
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """`bdn.learning.local.local_update` with these rules."""
        return local_update(self.cnn, w, self.dataset, rules.rule, rules.iterations,
                            rules.step_size, rules.batch_size, rng, global_gradient)


@dataclass(frozen=True, slots=True, eq=False)
class ClientLearner:
    """A NumPyClient as a device.

    Attributes:
        client: the client; pickled as it is for worker processes.
        sample_count: s_k, the samples that ``fit`` will train on.
        shapes: of the client's parameters, from `client_learner`.
    """

    client: NumPyClient
    sample_count: int
    shapes: tuple[tuple[int, ...], ...]

    def loss(self, w: Floats) -> float:
        """What ``evaluate`` says of ``w``."""
        loss = self.client.evaluate(unflatten(w, self.shapes), {})[0]
        return float(loss)

    def gradient(self, w: Floats) -> Floats:  # noqa: ARG002 - Learner's signature
        """Raises `UsageError`: a NumPyClient gives no gradients."""
        raise UsageError("a NumPyClient gives no gradients, so svrg cannot use it; take rule sgd")

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,  # noqa: ARG002 - Learner's signature; clients train by their own rule
    ) -> LocalResult:  # fmt: skip
        """What ``fit`` makes of ``w``.

        Its config holds ``epoch``, ``iterations``, ``step_size``, ``batch_size`` and a ``seed`` of
        the epoch's own. Raises `DeviceError` for parameters of another shape or an impossible
        sample count.
        """
        config = {"epoch": epoch, "iterations": rules.iterations, "step_size": rules.step_size,
                  "batch_size": rules.batch_size, "seed": int(rng.integers(2**31))}
        before = self.loss(w)
        fitted, samples, _figures = self.client.fit(unflatten(w, self.shapes), config)
        if tuple(np.shape(array) for array in fitted) != self.shapes:
            raise DeviceError("fit returned parameters of other shapes than it was given")
        if samples != self.sample_count:
            raise DeviceError(f"fit trained on {samples} samples; {self.sample_count} are declared")
        local = flatten(fitted)
        reason = "" if np.isfinite(local).all() else "parameters are not finite"
        return LocalResult(local, before, self.sample_count, bool(reason), reason)


def client_learner(client: NumPyClient, sample_count: int) -> ClientLearner:
    """``client`` as a device with ``sample_count`` training samples; raises `UsageError` if it
    has not the three methods.
    """
    if not isinstance(client, NumPyClient):
        raise UsageError(f"a {type(client).__name__} is no NumPyClient: it needs get_parameters, "
                         "fit and evaluate")
    arrays = client.get_parameters({})
    return ClientLearner(client, sample_count, tuple(np.shape(array) for array in arrays))


def flatten(arrays: Sequence[np.ndarray[Any, np.dtype[Any]]]) -> Floats:
    """A list of arrays as one flat float32 vector, the form that is sealed."""
    return np.concatenate([np.asarray(array, np.float32).ravel() for array in arrays])


def unflatten(w: Floats, shapes: Sequence[tuple[int, ...]]) -> Arrays:
    """The arrays of ``shapes`` in the flat vector ``w``, as copies; inverse of `flatten`."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    if w.shape != (sum(sizes),):
        raise ModelError(f"{sum(sizes)} parameters are needed, not {w.shape}")
    pieces = np.split(w, np.cumsum(sizes)[:-1])
    return [piece.reshape(shape).copy() for piece, shape in zip(pieces, shapes, strict=True)]


class CnnClient:
    """Our device as a NumPyClient, for a Flower server or any other that speaks its shape."""

    def __init__(self, cnn: PaperCNN, dataset: Dataset) -> None:
        self._cnn = cnn
        self._dataset = dataset
        self._shapes = list(cnn.shapes.values())
        self._w = cnn.parameters()

    def get_parameters(self, config: dict[str, Any]) -> Arrays:  # noqa: ARG002 - Flower's signature
        """The parameters of the last ``fit``, or w^(0)."""
        return unflatten(self._w, self._shapes)

    def fit(self, parameters: Arrays, config: dict[str, Any]) -> tuple[Arrays, int, dict[str, Any]]:
        """``sgd`` from ``parameters``; config: iterations, step_size, batch_size, seed."""
        rng = numpy_generator(SeededRandomness(int(config.get("seed", 0))))
        result = local_update(
            self._cnn, flatten(parameters), self._dataset, "sgd",
            int(config.get("iterations", 20)), float(config.get("step_size", 0.1)),
            int(config.get("batch_size", 64)), rng,
        )  # fmt: skip
        if result.diverged:
            raise DeviceError(f"the local model diverged: {result.reason}")
        self._w = result.w
        return unflatten(result.w, self._shapes), len(self._dataset), {"loss": result.local_loss}

    def evaluate(
        self, parameters: Arrays, config: dict[str, Any]  # noqa: ARG002 - Flower's signature
    ) -> tuple[float, int, dict[str, Any]]:
        """Loss and accuracy on the device's own data."""
        w = flatten(parameters)
        return (local_loss(self._cnn, w, self._dataset), len(self._dataset),
                {"accuracy": accuracy(self._cnn, w, self._dataset)})


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """Stands for the result of a device whose work raised."""

    reason: str


def guarded(learner: Learner, method: str, arguments: tuple[Any, ...]) -> Any:
    """``learner.method(*arguments)``, or a `Failure` that says what it raised."""
    try:
        return getattr(learner, method)(*arguments)
    except UsageError:
        raise  # ours to mend, and the same for every device
    except BdnError as error:
        return Failure(f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - a client's own code may raise anything; its device is named and the epoch goes on
        return Failure(f"{type(error).__name__}: {error}")
