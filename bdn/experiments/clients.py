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
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
from bdn.learning.plugins import call_function, find_function
from bdn.learning.types import Floats
from bdn.randomness import SeededRandomness, numpy_generator

OPTION = "--clients"

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
    model, is_torch = _initial_arrays(config)
    names = tuple(model or ())
    clients = [ClientByName(config.clients, k, config.devices, names)
               for k in range(config.devices)]
    arrays = list(model.values()) if model is not None else _own_arrays(clients)
    layout = ClientLayout.of(arrays)
    w = layout.flatten(arrays)
    counts, failed = {}, dict[int, str]()
    for client in clients:
        try:
            counts[client.device] = _sample_count(client, layout, w, config)
        except BdnError as error:
            failed[client.device] = str(error)
    if len(counts) < config.minimum:
        raise UsageError(f"{OPTION} {config.clients}: {len(counts)} of {config.devices} clients "
                         f"work, and {config.minimum} must contribute; {_first(failed)}")
    least = min(counts.values())
    learners = tuple(ClientLearner(client, counts.get(client.device, least), layout)
                     for client in clients)
    notes = (f"clients that failed before the run began: {_first(failed)}",) if failed else ()
    return Participants(learners, w, ClientJudge(learners), classes=1, notes=notes,
                        source=config.clients,
                        exports=functools.partial(_state_dict, names, layout) if is_torch else None)


def _first(failed: Mapping[int, str]) -> str:
    """The first client that failed, as the run calls it, and how many there are."""
    device, reason = next(iter(failed.items()))
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"device-{device + 1}: {reason}{more}"


def _state_dict(names: tuple[str, ...], layout: ClientLayout, w: Floats) -> dict[str, bytes]:
    """``w`` as a file that PyTorch reads."""
    from bdn.learning.torch import export_state

    return export_state(dict(zip(names, layout.unflatten(w), strict=True)))


def _initial_arrays(config: RunConfig) -> tuple[dict[str, Any] | None, bool]:
    """w^(0) by name from ``--model module:factory``, and whether that is a PyTorch module.

    None where the clients must tell.
    """
    if config.model in MODELS:
        return None, False
    find_function(config.model, "--model")  # its module may be what imports PyTorch
    _seed_torch(config.seed)
    made = call_function(config.model, "--model", seed=config.seed)
    if is_torch_module(made):
        state = made.state_dict()
        return {name: _as_array(name, tensor) for name, tensor in state.items()}, True
    if isinstance(made, Mapping):
        return {str(name): np.asarray(array) for name, array in made.items()}, False
    if isinstance(made, (list, tuple)):
        return {str(number): np.asarray(array) for number, array in enumerate(made)}, False
    raise UsageError(f"--model {config.model}: returned a {type(made).__name__}; with {OPTION} it "
                     "returns a torch.nn.Module, or a list or dict of arrays")


def _seed_torch(seed: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _as_array(name: str, tensor: Any) -> Any:
    try:
        return tensor.detach().cpu().numpy()
    except TypeError as error:
        raise UsageError(f"--model: {name[:80]} is {tensor.dtype}, which numpy does not have: call "
                         "module.float() first") from error


def _own_arrays(clients: list[ClientByName]) -> list[Any]:
    """What the first client says that its parameters are."""
    said = ""
    for client in clients:
        try:
            ask: Callable[..., Any] | None = getattr(client.made(), "get_parameters", None)
            arrays = list(ask({})) if ask is not None else []
        except Exception as error:  # noqa: BLE001 - a client's own code may raise anything
            said = said or f"device-{client.device + 1}: {type(error).__name__}: {error}"[:300]
            continue
        if arrays:
            return arrays
    raise UsageError(f"{OPTION} {clients[0].clients}: no client says what its parameters are"
                     + (f" ({said})" if said else "")
                     + ": add --model module:factory, which returns a torch.nn.Module or a list of "
                       "arrays")


def _sample_count(
    client: ClientByName, layout: ClientLayout, w: Floats, config: RunConfig
) -> int:
    """s_k: what the client says, or what its first ``fit`` trains on."""
    stated = getattr(client.made(), "sample_count", None)
    if stated is not None and not callable(stated):
        return int(stated)
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
