"""`bdn.run`: a whole run in one call, as ``bdn run`` does it from the command line."""

import dataclasses
import difflib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdn.errors import UsageError, shown
from bdn.experiments.clients import from_client_list, people_of, with_initial
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import Participants, absolute_data, from_parts
from bdn.experiments.processes.run import check_playable, opened_processes
from bdn.experiments.run import opened_run
from bdn.learning import (
    MODELS,
    Dataset,
    Model,
    NumPyClient,
    as_data,
    as_model,
    load,
    make_model,
)
from bdn.learning.datasets.arrays import as_inputs
from bdn.learning.models.factory import PAPER_CNN
from bdn.learning.types import Floats, Integers
from bdn.runfolder import CONFIG, HISTORY, LEDGER, MODEL, STATE_DICT, TRACE

FILES = {"config": CONFIG, "ledger": LEDGER, "history": HISTORY, "model": MODEL,
         "state_dict": STATE_DICT, "trace": TRACE}


@dataclass(frozen=True, slots=True, eq=False)
class CompletedRun:
    """What `run` returns.

    Attributes:
        config: what was asked for, with all defaults.
        history: the figures by epoch and device, the shape of ``history.json``
            (`bdn.runfolder.history`).
        w: the best model, the one with the least loss: flat float32 (|w|,).
        w_last: the last one.
        model: what ``w`` are the parameters of; None where clients trained.
        class_names: of the model's outputs, where they are known.
        folder: the run folder; None where the run was kept in memory.
    """

    config: RunConfig
    history: dict[str, Any]
    w: Floats
    w_last: Floats
    model: Model | None
    class_names: tuple[str, ...] | None
    folder: Path | None

    @property
    def paths(self) -> dict[str, Path]:
        """The files of the run folder that are there: config, ledger, history, model, …"""
        if self.folder is None:
            return {}
        return {name: self.folder / file for name, file in FILES.items()
                if (self.folder / file).exists()}

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the best model on held-out samples; None where nobody can tell."""
        value: float | None = self.history["accuracy"]
        return value

    def predict(self, X: Any) -> Integers:
        """Return the class of each sample in ``X``, (B,), by the best model.

        ``X`` has shape (B, *sample shape) and holds bytes or floating-point numbers. Raises
        `UsageError` where clients trained, `ModelError` for other shapes.
        """
        inputs = as_inputs(X, "predict")
        samples = Dataset(inputs, np.zeros(len(inputs), np.int64), 1)
        return self._own_model().predict(self.w, samples.images)

    def state_dict(self) -> Mapping[str, Any]:
        """Return the best model as the PyTorch ``state_dict`` of the module that was trained.

        Raises `UsageError` where no PyTorch module was.
        """
        make: Callable[[Floats], Mapping[str, Any]] | None = getattr(
            self._own_model(), "state_dict", None)
        if make is None:
            raise UsageError("only a torch.nn.Module has a state_dict; use w and predict")
        return make(self.w)

    def _own_model(self) -> Model:
        if self.model is None:
            raise UsageError("clients trained a model that only they know: use w")
        return self.model


def run(
    *,
    model: Any = "paper-cnn",
    data: Any = "digits",
    clients: str | Sequence[NumPyClient] | None = None,
    out: str | Path | None = None,
    force: bool = False,
    processes: bool = False,
    listen: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> CompletedRun:
    """Train a model together over a ledger, and return what came out.

    Args:
        model: a name of `bdn.learning.MODELS`, "module:factory", a `bdn.learning.Model`, or a
            ``torch.nn.Module``, which is not changed. With ``clients``: the initial model, as
            "module:factory", ``torch.nn.Module``, or list or dict of arrays.
        data: a source of `bdn.learning.SOURCES`, a `bdn.learning.Data`, or arrays (x, y) or
            (x, y, x_test, y_test). Not used with ``clients``.
        clients: "module:function", or one client per device of Flower's NumPyClient shape.
        out: the run folder; nothing is written where it is None.
        force: whether a run that lies at ``out`` is replaced.
        processes: whether each node has a process of its own; needs ``out``.
        listen: hears every trace event as a dict.
        **options: any other field of `bdn.experiments.config.RunConfig`: ``devices``, ``epochs``,
            ``rule``, ``key_bits``, ….

    Returns:
        the run's history, models and paths.

    Raises:
        UsageError: an option, the data, the model or the folder is not as it should be; nothing
            has been written then.
        BdnError: the run cannot reach its end; the message says what is missing.
    """
    if clients is not None:  # what is left out has its default
        model, data = PAPER_CNN if model is None else model, "digits" if data is None else data
    _demand_given(model, data)
    values = {**options, **_labels(model, data, clients)}
    config = RunConfig(**_known_options(values))
    if processes:
        check_playable(config)
        if out is None:
            raise UsageError("processes=True needs a folder: add out=PATH")
    folder = None
    if out is not None:
        path = _folder_path(out)
        with _usable(path):
            folder = RunFolder.create(path, config, force)
    people = _people(config, model, data, clients)
    _demand_sendable(config, people)
    open_run: Callable[..., Any] = opened_processes if processes else opened_run
    with ExitStack() as opened:
        with _usable(None if folder is None else folder.path):
            work: Any = opened.enter_context(
                open_run(config, folder, listen=listen, participants=people))
        return _completed(config, work.complete(), work.reference.progress, people, folder)


def _demand_given(model: Any, data: Any) -> None:
    """Raise `UsageError` for None, saying what is allowed."""
    if model is None:
        raise UsageError(f"model must be {', '.join(MODELS)}, \"module:factory\", a "
                         "bdn.learning.Model or a torch.nn.Module, not None: leave it out for "
                         f"{PAPER_CNN}")
    if data is None:
        raise UsageError("data must be the name of a source (bdn.learning.SOURCES), "
                         "\"module:function\", a bdn.learning.Data, or arrays (x, y) or (x, y, "
                         "x_test, y_test), not None: leave it out for digits")


def _folder_path(out: Any) -> Path:
    """``out`` as a path; raises `UsageError` for what names no folder."""
    if not isinstance(out, (str, Path)) or not str(out) or "\0" in str(out):
        raise UsageError(f"out must be the path of a run folder, not {shown(out)}")
    return Path(out)


@contextmanager
def _usable(path: Path | None) -> Iterator[None]:
    """Raise `UsageError` where the run folder at ``path`` cannot be made or read."""
    try:
        yield
    except OSError as error:
        if path is None:
            raise
        reason = error.strerror or type(error).__name__
        raise UsageError(f"out={shown(str(path))} cannot be made ({reason}): choose another "
                         "folder") from error


def _completed(
    config: RunConfig, history: dict[str, Any], progress: Any, people: Participants,
    folder: RunFolder | None,
) -> CompletedRun:  # fmt: skip
    return CompletedRun(config, history, progress.best, progress.w, people.model,
                        people.class_names, folder.path if folder is not None else None)


def _demand_sendable(config: RunConfig, people: Participants) -> None:
    """Raise `UsageError` where workers are asked for that cannot be given the devices' work."""
    if config.executor == "serial":
        return
    try:
        pickle.dumps(people.learners[0])
    except Exception as error:
        raise UsageError(f"executor {config.executor[:40]} cannot send the devices' work to its "
                         f"workers ({str(error)[:200]}): name model and clients as "
                         "module:function, or leave out executor") from error


def _labels(model: Any, data: Any, clients: Any) -> dict[str, Any]:
    """What the config calls things: their names, and for objects what they are."""
    labels: dict[str, Any] = {
        "model": model if isinstance(model, str) else f"python:{type(model).__qualname__}"[:190],
        "data": absolute_data(data) if isinstance(data, str) else "python:arrays"}
    if clients is not None:
        labels["clients"] = clients if isinstance(clients, str) else "python:clients"
    return labels


def _known_options(values: dict[str, Any]) -> dict[str, Any]:
    """``values``; raises `UsageError` for a name that `RunConfig` does not know."""
    known = [field.name for field in dataclasses.fields(RunConfig)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"bdn.run has no option {name[:40]!r}{hint}")
    return values


def _people(config: RunConfig, model: Any, data: Any, clients: Any) -> Participants:
    if all(value is None or isinstance(value, str) for value in (model, data, clients)):
        return people_of(config)
    if clients is not None:
        return with_initial(config, from_client_list(config, clients, model))
    found = load(data) if isinstance(data, str) else as_data(data)
    shape, classes = found.train.sample_shape, found.train.classes
    ours = (make_model(model, shape, classes, config.seed) if isinstance(model, str)
            else as_model(model, shape, classes))
    return with_initial(config, from_parts(config, found, ours))
