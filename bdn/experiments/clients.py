"""``bdn run --clients``: devices that train by a user's own code of Flower's NumPyClient shape.

``module:function`` is called in every process that needs a client: in this one, in a device's own
(``--processes``), and on workers and Dask clusters. So a client is never sent anywhere, and its
data are loaded where it trains. The function takes ``device`` (from 0) and ``devices`` by name and
returns that device's client; one that does not take ``device`` returns a list of all clients. A
Flower ``ClientApp`` in the place of the function serves as well (`bdn.flower`).

w^(0) is what the first client's ``get_parameters`` returns, or what ``--model module:factory``
makes: a ``torch.nn.Module``, or a list or dict of arrays.

A client that fails is named and left out of the epoch; here, where that shows before the run has
begun, it still becomes a device, since it may recover. s_k is the client's ``sample_count``, or
what a first ``fit`` with one iteration says that it trained on.
"""

import functools
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bdn.arguments import as_integer
from bdn.errors import BdnError, UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.models import read_initial
from bdn.experiments.participants import Participants, from_data
from bdn.learning import (
    MODELS,
    ClientLayout,
    ClientLearner,
    DeviceError,
    Evaluation,
    NumPyClient,
    TrainingSettings,
)
from bdn.learning.learners import Arrays
from bdn.learning.models.factory import is_torch_module
from bdn.learning.plugins import call_function, find_function, users_code
from bdn.learning.types import Floats
from bdn.randomness import SeededRandomness, numpy_generator

OPTION = "--clients"

CLIENTS = ('give a list with one client (an object with fit and evaluate) per device, a Flower '
           'ClientApp, or "module:function"')

ACCURACIES = ("accuracy", "acc", "eval_acc", "eval_accuracy", "test_accuracy", "val_accuracy")
"""Names under which a client's ``evaluate`` may return its accuracy."""


@dataclass(frozen=True, slots=True)
class ClientByName:
    """A client that each process makes for itself, when it is first asked.

    Attributes:
        clients: "module:function", or "module:app".
        device, devices: which one, of how many.
        names: of the model's arrays, for a Flower app.
    """

    clients: str
    device: int
    devices: int
    names: tuple[str, ...] = ()

    def made(self) -> NumPyClient:
        """Return the client; raise `UsageError` where the user's function makes none."""
        return _made(self)

    def fit(self, parameters: Arrays, config: dict[str, Any]) -> Any:
        """Ask the client."""
        return self.made().fit(parameters, config)

    def evaluate(self, parameters: Arrays, config: dict[str, Any]) -> Any:
        """Ask the client."""
        return self.made().evaluate(parameters, config)


@functools.lru_cache(maxsize=4096)
def _made(which: ClientByName) -> NumPyClient:
    function: Any = find_function(which.clients, OPTION)
    if type(function).__name__ == "ClientApp":
        from bdn.flower import FlowerClient, read_run_config

        return FlowerClient(function, which.device, which.devices, which.names,
                            read_run_config(Path.cwd()))
    made = call_function(which.clients, OPTION, device=which.device, devices=which.devices)
    if isinstance(made, (list, tuple)):
        if len(made) != which.devices:
            raise UsageError(f"{OPTION} {which.clients}: returned {len(made)} clients for "
                             f"{which.devices} devices")
        made = made[which.device]
    if not isinstance(made, NumPyClient):
        raise UsageError(f"{OPTION} {which.clients}: returned a {type(made).__name__} for device "
                         f"{which.device}, which has no fit and evaluate")
    return made


def people_of(config: RunConfig) -> Participants:
    """Return the config's clients, or its model on its data, with the w^(0) that it asks for."""
    people = from_data(config) if config.clients is None else from_clients(config)
    return with_initial(config, people)


def with_initial(config: RunConfig, people: Participants) -> Participants:
    """Return ``people`` with the w^(0) that the config asks for."""
    if config.init is None:
        return people
    return replace(people, w=read_initial(Path(config.init), len(people.w)))


def from_clients(config: RunConfig) -> Participants:
    """Return the config's clients as devices.

    Raises `UsageError` where there is no function, no w^(0), or fewer clients work than an
    aggregate needs; the message names the first that does not.
    """
    assert config.clients is not None, "people_of looks"
    _made.cache_clear()  # a run begins with clients of its own
    find_function(config.clients, OPTION)
    start = _initial_arrays(config)
    return _participants(config, _named(config, start), start, config.clients)


def from_client_list(config: RunConfig, clients: Any, model: Any = None) -> Participants:
    """Return a program's own clients as devices.

    Args:
        config: of the run.
        clients: one client per device of Flower's NumPyClient shape, a Flower ``ClientApp``, or
            "module:function".
        model: what they start from: "module:factory", a ``torch.nn.Module``, or a list or dict of
            arrays; not needed where the first client has a ``get_parameters``.

    Raises what `from_clients` raises.
    """
    start = _initial_arrays(config) if isinstance(model, str) or model is None else (
        _as_start(model, "model"))
    found: Sequence[Any]
    if isinstance(clients, str):
        found = _named(config, start)
    elif type(clients).__name__ == "ClientApp":
        from bdn.flower import FlowerClient, read_run_config

        found = [FlowerClient(clients, k, config.devices, start.names, read_run_config(Path.cwd()))
                 for k in range(config.devices)]
    else:
        if not isinstance(clients, Iterable):
            raise UsageError(f"clients: a {type(clients).__name__} is none; {CLIENTS}")
        with users_code("clients"):
            found = list(itertools.islice(clients, config.devices + 1))
    if len(found) != config.devices:
        more = "more than " if len(found) > config.devices else ""
        raise UsageError(f"clients: {more}{min(len(found), config.devices)} clients for "
                         f"{config.devices} devices; {CLIENTS}")
    for k, client in enumerate(found):
        if not isinstance(client, NumPyClient):
            raise UsageError(f"the client of device-{k + 1}, a {type(client).__name__}, has no fit "
                             "and evaluate")
    return _participants(config, found, start, "")


@dataclass(frozen=True, slots=True, eq=False)
class InitialModel:
    """w^(0) as the user gives it.

    Attributes:
        arrays: by name; None where the clients must tell.
        is_torch: whether they are a PyTorch module's ``state_dict``.
    """

    arrays: dict[str, Any] | None = None
    is_torch: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays."""
        return tuple(self.arrays or ())


def _named(config: RunConfig, start: InitialModel) -> list[ClientByName]:
    assert config.clients is not None
    return [ClientByName(config.clients, k, config.devices, start.names)
            for k in range(config.devices)]


def _participants(
    config: RunConfig, clients: Sequence[Any], start: InitialModel, source: str
) -> Participants:
    """The clients as devices, once it is known what each trains on."""
    arrays = list(start.arrays.values()) if start.arrays is not None else _own_arrays(clients)
    layout = ClientLayout.of(arrays)
    w = layout.flatten(arrays)
    counts, failed = {}, dict[int, str]()
    for k, client in enumerate(clients):
        try:
            counts[k] = _sample_count(client, layout, w, config)
        except BdnError as error:
            failed[k] = str(error)
    if len(counts) < config.minimum:
        raise UsageError(f"{OPTION} {config.clients}: {len(counts)} of {config.devices} clients "
                         f"work, and {config.minimum} must contribute; {_first(failed)}")
    least = min(counts.values())
    learners = tuple(ClientLearner(client, counts.get(k, least), layout)
                     for k, client in enumerate(clients))
    notes = (f"clients that failed before the run began: {_first(failed)}",) if failed else ()
    exports = functools.partial(_state_dict, start.names, layout) if start.is_torch else None
    return Participants(learners, w, ClientJudge(learners), classes=1, notes=notes, source=source,
                        exports=exports)


def _first(failed: Mapping[int, str]) -> str:
    """The first client that failed, as the run calls it, and how many there are."""
    device, reason = next(iter(failed.items()))
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"device-{device + 1}: {reason}{more}"


def _state_dict(names: tuple[str, ...], layout: ClientLayout, w: Floats) -> dict[str, bytes]:
    """``w`` as a file that PyTorch reads."""
    from bdn.learning.torch import export_state

    return export_state(dict(zip(names, layout.unflatten(w), strict=True)))


def _initial_arrays(config: RunConfig) -> InitialModel:
    """w^(0) from ``--model module:factory``."""
    if config.model in MODELS:
        return InitialModel()
    find_function(config.model, "--model")  # its module may be what imports PyTorch
    _seed_torch(config.seed)
    made = call_function(config.model, "--model", seed=config.seed)
    return _as_start(made, f"--model {config.model}")


def _as_start(model: Any, what: str) -> InitialModel:
    """``model``, which the user calls ``what``, as w^(0) by name."""
    if is_torch_module(model):
        state = model.state_dict()
        return InitialModel({name: _as_array(name, tensor) for name, tensor in state.items()}, True)
    if isinstance(model, Mapping):
        return InitialModel({str(name): np.asarray(array) for name, array in model.items()})
    if isinstance(model, (list, tuple)):
        return InitialModel({str(number): np.asarray(array) for number, array in enumerate(model)})
    raise UsageError(f"{what}: a {type(model).__name__}; clients start from a torch.nn.Module or a "
                     "list or dict of arrays")


def _seed_torch(seed: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _as_array(name: str, tensor: Any) -> Any:
    try:
        return tensor.detach().cpu().numpy()
    except TypeError as error:
        raise UsageError(f"--model: {name[:80]} is {tensor.dtype}, which numpy does not have: call "
                         "module.float() first") from error


def _inner(client: Any) -> Any:
    """The user's own client."""
    return client.made() if isinstance(client, ClientByName) else client


def _own_arrays(clients: Sequence[Any]) -> list[Any]:
    """What the first client says that its parameters are."""
    said = ""
    for k, client in enumerate(clients):
        try:
            with users_code("get_parameters"):
                ask: Callable[..., Any] | None = getattr(_inner(client), "get_parameters", None)
                arrays = list(ask({})) if ask is not None else []
        except BdnError as error:
            said = said or f"device-{k + 1}: {error}"
            continue
        if arrays:
            return arrays
    raise UsageError(f"{OPTION}: no client says what its parameters are"
                     + (f" ({said})" if said else "")
                     + ": add --model module:factory, which returns a torch.nn.Module or a list of "
                       "arrays")


def _sample_count(
    client: Any, layout: ClientLayout, w: Floats, config: RunConfig
) -> int:
    """s_k: what the client says, or what its first ``fit`` trains on."""
    with users_code("sample_count"):
        stated = getattr(_inner(client), "sample_count", None)
    if stated is not None and not callable(stated):
        return as_integer(stated, "a client's sample_count", least=1)
    rng = numpy_generator(SeededRandomness(config.seed).substream("trial"))
    rules = TrainingSettings(epochs=1, iterations=1, step_size=config.rate,
                             batch_size=config.batch_size)
    return ClientLearner(client, 1, layout).trained_on(w, rules, rng)


@dataclass(frozen=True, slots=True, eq=False)
class ClientJudge:
    """The clients' own evaluations, averaged by s_k: what Flower calls federated evaluation."""

    learners: tuple[ClientLearner, ...]

    def __call__(self, w: Floats) -> Evaluation:
        """Return loss and accuracy of ``w``; those that no client tells are not numbers."""
        losses, accuracies, samples = [], [], 0
        for learner in self.learners:
            try:
                loss, figures = learner.judged(w)
            except DeviceError:
                continue
            samples += learner.sample_count
            losses.append((loss, learner.sample_count))
            told = [figures[name] for name in ACCURACIES if name in figures]
            if told and isinstance(told[0], (int, float)):
                accuracies.append((float(told[0]), learner.sample_count))
        accuracy = _mean(accuracies)
        return Evaluation(accuracy, math.nan, (), (), _mean(losses), samples)


def _mean(values: list[tuple[float, int]]) -> float:
    total = sum(weight for _, weight in values)
    return math.fsum(value * weight for value, weight in values) / total if total else math.nan
