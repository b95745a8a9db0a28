"""Who takes part: our CNN with a data set, or anything of Flower's NumPyClient shape.

Algorithm 1 asks a device for three things, `Learner`. `CnnLearner` answers with the paper's rules.
`ClientLearner` passes the question to a client that has ``fit`` and
``evaluate`` as Flower defines them (flower.ai, ``flwr.client.NumPyClient``); neither Flower nor the
client's framework is imported here. `CnnClient` is the way back: our device for a Flower server.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bdn.arguments import as_integer
from bdn.errors import BdnError, UsageError
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.errors import DeviceError, ModelError
from bdn.learning.evaluation import accuracy
from bdn.learning.local import (
    LocalResult,
    TrainingRules,
    local_gradient,
    local_iterations,
    local_loss,
    local_update,
)
from bdn.learning.models.classifier import Model
from bdn.learning.models.cnn import PaperCNN
from bdn.learning.plugins import describe_error, users_code
from bdn.learning.schedules import scheduled
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
    """The shape of Flower's NumPyClient; ``config`` holds plain numbers and text.

    A client may also have ``get_parameters(config)``, which returns its present parameters;
    Flower's own templates leave it out.
    """

    def fit(self, parameters: Arrays, config: dict[str, Any]) -> tuple[Arrays, int, dict[str, Any]]:
        """Train from ``parameters``: (new parameters, samples used, figures)."""

    def evaluate(
        self, parameters: Arrays, config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        """Judge ``parameters``: (loss, samples used, figures)."""


@dataclass(frozen=True, slots=True, eq=False)
class CnnLearner:
    """The paper's CNN on a device's own data."""

    cnn: Model
    dataset: Dataset

    @property
    def sample_count(self) -> int:
        """s_k."""
        return len(self.dataset)

    def loss(self, w: Floats) -> float:
        """F_k(w), in nats."""
        with model_code():
            return local_loss(self.cnn, w, self.dataset)

    def gradient(self, w: Floats) -> Floats:
        """∇F_k(w)."""
        with model_code():
            return local_gradient(self.cnn, w, self.dataset)

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,
    ) -> LocalResult:  # fmt: skip
        """`bdn.learning.local.local_update` with these rules."""
        with model_code():
            return local_update(self.cnn, w, self.dataset, rules.rule,
                                local_iterations(rules, self.sample_count),
                                scheduled(rules.step_size, rules.schedule, epoch),
                                rules.batch_size, rng, global_gradient)


def model_code() -> AbstractContextManager[None]:
    """Let a model that tries to end the program fail as a device; it may be the user's own."""
    return users_code("the model", DeviceError, passing=(Exception,))


@dataclass(frozen=True, slots=True)
class ClientLayout:
    """How a client's arrays lie in the flat vector: those of floating-point numbers, in order.

    Arrays of integers or truth values are no parameters: PyTorch's ``state_dict`` holds such
    counters (BatchNorm's ``num_batches_tracked``), and their average means nothing. A client gets
    them as they were at the start, and what it returns in their place is not looked at.

    Attributes:
        shapes: of all arrays.
        kinds: their types, as numpy writes them (``<f4``).
        constants: the bytes of those that are no parameters; None for parameters.
    """

    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]
    constants: tuple[bytes | None, ...]

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "ClientLayout":
        """Return the layout of ``arrays``; raise `UsageError` where they are no model."""
        found = [np.asarray(array) for array in arrays]
        for array in found:
            if array.dtype.kind not in "fiub":
                raise UsageError(f"a model's parameters are arrays of numbers, not {array.dtype}")
        if not any(array.dtype.kind == "f" for array in found):
            raise UsageError("a model needs at least one array of floating-point parameters")
        found = [array.astype(array.dtype.newbyteorder("<")) for array in found]
        return cls(tuple(array.shape for array in found), tuple(a.dtype.str for a in found),
                   tuple(None if a.dtype.kind == "f" else a.tobytes() for a in found))

    def flatten(self, arrays: Sequence[Any]) -> Floats:
        """Return the parameters among ``arrays`` as one float32 vector."""
        return np.concatenate([
            np.asarray(array, np.float32).ravel()
            for array, constant in zip(arrays, self.constants, strict=True) if constant is None])

    def unflatten(self, w: Floats) -> Arrays:
        """Return all arrays for the vector ``w``, as copies of their types.

        Raises `ModelError` where ``w`` has another length.
        """
        shapes = [shape for shape, constant in zip(self.shapes, self.constants, strict=True)
                  if constant is None]
        parameters = iter(unflatten(w, shapes))
        return [next(parameters).astype(kind) if constant is None
                else np.frombuffer(constant, kind).reshape(shape).copy()
                for shape, kind, constant in zip(self.shapes, self.kinds, self.constants,
                                                 strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class ClientLearner:
    """A NumPyClient as a device.

    Attributes:
        client: the client; pickled as it is for worker processes.
        sample_count: s_k, the samples that ``fit`` will train on.
        layout: of the client's arrays, from `client_learner`.
    """

    client: NumPyClient
    sample_count: int
    layout: ClientLayout

    def loss(self, w: Floats) -> float:
        """Return what ``evaluate`` says of ``w``; raises `DeviceError` where that is no number."""
        return self.judged(w)[0]

    def judged(self, w: Floats) -> tuple[float, dict[str, Any]]:
        """Return (loss, figures) of ``evaluate``; raises `DeviceError` for a loss that is none."""
        answer = self._ask("evaluate", w, {})
        loss = _number(answer[0])
        if loss is None:
            raise DeviceError(f"evaluate returned {_kind(answer[0])} as the loss, not a finite "
                              "number")
        return loss, answer[2] if isinstance(answer[2], dict) else {}

    def gradient(self, w: Floats) -> Floats:  # noqa: ARG002 - Learner's signature
        """Raises `UsageError`: a NumPyClient gives no gradients."""
        raise UsageError("a NumPyClient gives no gradients, so svrg cannot use it; take rule sgd")

    def update(
        self, w: Floats, rules: TrainingRules, epoch: int, rng: np.random.Generator,
        global_gradient: Floats | None,  # noqa: ARG002 - Learner's signature; clients train by their own rule
    ) -> LocalResult:  # fmt: skip
        """What ``fit`` makes of ``w``.

        Its config holds ``epoch``, ``iterations``, ``step_size``, ``batch_size`` and a ``seed`` of
        the epoch's own. Raises `DeviceError`, saying why, for a client that raises, or that returns
        anything but (parameters of the given shapes, `sample_count`, figures).
        """
        before = self.loss(w)
        config = _config(rules, epoch, rng, self.sample_count)
        fitted, samples, _figures = self._ask("fit", w, config)
        local = self._flat(fitted)
        if _number(samples) != self.sample_count:
            said = samples if _number(samples) is not None else _kind(samples)
            raise DeviceError(f"fit trained on {said} samples; {self.sample_count} are declared")
        reason = "" if np.isfinite(local).all() else "parameters are not finite"
        return LocalResult(local, before, self.sample_count, bool(reason), reason)

    def trained_on(self, w: Floats, rules: TrainingRules, rng: np.random.Generator) -> int:
        """Return how many samples ``fit`` says that it trained on, in a trial from ``w``.

        Raises `DeviceError` as `update` does, and for a count that is no positive integer.
        """
        fitted, samples, _figures = self._ask("fit", w, _config(rules, 0, rng, 0))
        self._flat(fitted)
        count = _number(samples)
        if count is None or count < 1 or count != int(count):
            said = samples if count is not None else _kind(samples)
            raise DeviceError(f"fit trained on {said} samples; at least one is needed")
        return int(count)

    def _ask(self, method: str, w: Floats, config: dict[str, Any]) -> tuple[Any, Any, Any]:
        """The client's answer, once it is a triple; whatever the client raises is its fault."""
        try:
            with users_code(method, DeviceError):
                answer = getattr(self.client, method)(self.layout.unflatten(w), config)
        except ModelError:
            raise  # w does not fit the client; that is the caller's
        except UsageError as error:
            raise DeviceError(f"{method} raised {describe_error(error)}") from error
        if not (isinstance(answer, (tuple, list)) and len(answer) == 3):
            raise DeviceError(f"{method} returned {_kind(answer)}; it must return "
                              f"{RETURNS[method]}")
        return answer[0], answer[1], answer[2]

    def _flat(self, fitted: Any) -> Floats:
        """The client's arrays as one vector; `DeviceError` where they are not what it was given."""
        if not isinstance(fitted, (list, tuple)):
            raise DeviceError(f"fit returned {_kind(fitted)} as its parameters, not a list of "
                              "arrays")
        shapes = self.layout.shapes
        if len(fitted) != len(shapes):
            raise DeviceError(f"fit returned {len(fitted)} arrays; it was given {len(shapes)}")
        try:
            theirs = tuple(np.shape(array) for array in fitted)
            if theirs == shapes:
                return self.layout.flatten(fitted)
        except Exception as error:
            raise DeviceError("fit returned parameters that are not arrays of numbers") from error
        at = next(i for i, shape in enumerate(theirs) if shape != shapes[i])
        raise DeviceError(f"fit returned an array of shape {theirs[at]} in place {at + 1}, where "
                          f"it was given {shapes[at]}")


def _config(
    rules: TrainingRules, epoch: int, rng: np.random.Generator, samples: int
) -> dict[str, Any]:  # fmt: skip
    """What ``fit`` is told."""
    passes = {"local_epochs": rules.local_epochs} if rules.local_epochs else {}
    return {"epoch": epoch, **passes, "iterations": local_iterations(rules, samples),
            "step_size": scheduled(rules.step_size, rules.schedule, epoch),
            "batch_size": rules.batch_size, "seed": int(rng.integers(2**31))}


RETURNS = {"fit": "(parameters, sample count, figures)", "evaluate": "(loss, count, figures)"}
"""What a client's method must return, for the message where it does not."""


def _number(value: Any) -> float | None:
    """``value`` as a float where it is one finite real number (NumPy's scalars too), else None."""
    if isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value):
        return float(value)
    return None


def _kind(value: Any) -> str:
    """What ``value`` is, in a few words."""
    if value is None or _number(value) is not None:
        return str(value)[:30]
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return f"a {type(value).__name__}{size}"


def client_learner(
    client: NumPyClient, sample_count: int, parameters: Arrays | None = None
) -> ClientLearner:
    """Return ``client`` as a device.

    Args:
        client: anything with ``fit`` and ``evaluate`` as Flower defines them.
        sample_count: s_k, how many samples ``fit`` trains on; at least 1.
        parameters: arrays of the model's shapes; needed where the client has no
            ``get_parameters``, or one that returns nothing, as in Flower's templates.

    Raises:
        UsageError: a method or the shapes are missing, or ``sample_count`` is no positive integer.
    """
    if not isinstance(client, NumPyClient):
        raise UsageError(f"a {type(client).__name__} is no NumPyClient: it needs fit and evaluate")
    count = as_integer(sample_count, "a client's sample count", least=1)
    if parameters is None:
        parameters = _own_parameters(client)
    return ClientLearner(client, count, ClientLayout.of(parameters))


def _own_parameters(client: NumPyClient) -> Arrays:
    """What the client's ``get_parameters`` returns, where it has one that returns arrays."""
    ask = getattr(client, "get_parameters", None)
    with users_code(f"get_parameters of a {type(client).__name__}"):
        arrays = list(ask({})) if ask is not None else []
    if not arrays:
        raise UsageError(f"a {type(client).__name__} does not say what its parameters look like: "
                         "pass client_learner(…, parameters=[arrays of the model])")
    return arrays


def flatten(arrays: Sequence[np.ndarray[Any, np.dtype[Any]]]) -> Floats:
    """Return a list of arrays as one flat float32 vector, the form that is sealed.

    Arrays of integers are left out, see `ClientLayout`.
    """
    return ClientLayout.of(arrays).flatten(arrays)


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
        return Failure(describe_error(error))
