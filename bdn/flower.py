"""An existing Flower app over our ledger (extra ``flower``): its ``ClientApp`` as devices.

Flower's SuperLink sends each node a message, and a strategy averages the replies in the clear. Here
a device sends the same message to the app, and what comes back is sealed, added up under
encryption and opened by a threshold of the devices. The ``ServerApp`` and its strategy are not
used: Algorithm 1 takes their place.

What a ``ClientApp`` finds in a message is what Flower's FedAvg puts there: the model under
``arrays`` (an ``ArrayRecord`` with the names of the initial state) and ``config`` with
``server-round``, ``lr``, ``iterations``, ``batch-size`` and ``seed``; in its context
``partition-id`` and ``num-partitions``, and the app's ``run_config``. What it must reply is what
FedAvg asks for: one ``ArrayRecord``, and a ``MetricRecord`` with ``num-examples``; to an evaluation
also a loss (``loss``, or the first name that holds the word). Apps of a ``client_fn`` work, too.

`FlowerClient` has the shape of `bdn.learning.NumPyClient`. ``bdn run --clients module:app`` makes
one for each device.
"""

import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bdn.arguments import read_bounded
from bdn.errors import UsageError
from bdn.learning.errors import DeviceError

try:
    from flwr.app import (
        DEFAULT_TTL,
        Array,
        ArrayRecord,
        ConfigRecord,
        Context,
        Message,
        Metadata,
        RecordDict,
    )
except ImportError as error:
    raise UsageError("Flower apps need the extra: pip install 'bdn[flower]'") from error

NAMES = {"epoch": "server-round", "step_size": "lr", "batch_size": "batch-size"}
"""Our names of a round's figures → those that Flower's templates read."""

LEGACY = {"train": "fitins", "evaluate": "evaluateins"}
"""What the records of a message are called for an app that was made of a ``client_fn``."""

MESSAGE: Any = Message
"""Its types do not show the argument ``metadata``, the one way to make a message outside a
SuperLink."""

RUN = 1
"""What Flower's messages call our run; nobody but the app sees it."""

COUNTS = ("num-examples", "num_examples")
LOSSES = ("loss", "eval_loss", "eval-loss", "test_loss", "val_loss")
MAX_PROJECT = 1 << 20


class FlowerClient:
    """One device's view of a ``ClientApp``.

    Args:
        app: the ``ClientApp``.
        device: its number, from 0: the app's ``partition-id``.
        devices: how many there are: its ``num-partitions``.
        names: of the model's arrays, in order.
        run_config: the app's run configuration, as `read_run_config` gives it.
    """

    def __init__(
        self, app: Any, device: int, devices: int, names: Sequence[str],
        run_config: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._app = app
        self._names = list(names)
        self._node = device + 1
        self._context = Context(
            run_id=RUN, node_id=self._node,
            node_config={"partition-id": device, "num-partitions": devices},
            state=RecordDict(), run_config=dict(run_config or {}))

    def fit(
        self, parameters: list[np.ndarray[Any, Any]], config: dict[str, Any]
    ) -> tuple[list[np.ndarray[Any, Any]], int, dict[str, Any]]:
        """Send a "train" message; return (arrays, num-examples, figures) of the reply.

        Raises `DeviceError` where the app reports an error or replies anything else.
        """
        reply = self._ask("train", parameters, config)
        records = list(reply.array_records.values())
        if len(records) != 1:
            raise DeviceError(f"the ClientApp replied {len(records)} ArrayRecords to train; one is "
                              "needed")
        figures = _figures(reply)
        named = records[0]
        order = self._names if set(named) == set(self._names) else list(named)
        return [named[name].numpy() for name in order], _count(figures), figures

    def evaluate(
        self, parameters: list[np.ndarray[Any, Any]], config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        """Send an "evaluate" message; return (loss, num-examples, figures) of the reply.

        Raises `DeviceError` where the app reports an error or replies no loss.
        """
        figures = _figures(self._ask("evaluate", parameters, config))
        names = [*LOSSES, *(name for name in figures if "loss" in name)]
        for name in names:
            if name in figures:
                return figures[name], _count(figures), figures
        raise DeviceError("the ClientApp's reply to evaluate holds no loss, only "
                          + (", ".join(figures)[:100] or "nothing"))

    def _ask(
        self, kind: str, parameters: list[np.ndarray[Any, Any]], config: Mapping[str, Any]
    ) -> RecordDict:
        """The content of the app's reply to a message with the model and the round's figures."""
        if len(parameters) != len(self._names):
            raise DeviceError(f"{len(parameters)} arrays for {len(self._names)} names")
        arrays = ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in
                              zip(self._names, parameters, strict=True)})
        figures = ConfigRecord({NAMES.get(name, name): value for name, value in config.items()})
        content = RecordDict({"arrays": arrays, "config": figures})
        if getattr(self._app, "_call", None) is not None:  # made of a client_fn
            content = RecordDict({f"{LEGACY[kind]}.parameters": arrays,
                                  f"{LEGACY[kind]}.config": figures})
        metadata = Metadata(
            run_id=RUN, message_id="", src_node_id=0, dst_node_id=self._node,
            reply_to_message_id="", group_id=str(config.get("epoch", "")),
            created_at=time.time(), ttl=DEFAULT_TTL, message_type=kind)
        message = MESSAGE(content, metadata=metadata)
        reply = self._app(message, self._context)
        if reply.has_error():
            raise DeviceError(f"the ClientApp replied error {reply.error.code}: "
                              f"{str(reply.error.reason)[:200]}")
        replied: RecordDict = reply.content
        return replied


def read_run_config(folder: Path) -> dict[str, Any]:
    """Return ``[tool.flwr.app.config]`` of the ``pyproject.toml`` in ``folder``, with dotted names.

    An absent file or table gives an empty configuration. Raises `UsageError` for a broken file.
    """
    path = folder / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        table: Any = tomllib.loads(read_bounded(path, MAX_PROJECT).decode())
        for name in ("tool", "flwr", "app", "config"):
            table = table.get(name, {})
        return dict(_flat(table))
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read as a Flower project: {str(error)[:200]}") from (
            error)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, int, float, str)):
            yield f"{prefix}{name}", value


def _figures(reply: RecordDict) -> dict[str, Any]:
    """All metrics of a reply, by their own names; those of a client_fn are in a ConfigRecord."""
    records: list[Any] = [*reply.metric_records.values(),
                          *(record for name, record in reply.config_records.items()
                            if name.endswith(".metrics"))]
    return {name: value for record in records for name, value in record.items()}


def _count(figures: Mapping[str, Any]) -> int:
    for name in COUNTS:
        if name in figures:
            count: int = figures[name]
            return count
    raise DeviceError("the ClientApp's reply holds no num-examples, only "
                      + (", ".join(figures)[:100] or "nothing"))
