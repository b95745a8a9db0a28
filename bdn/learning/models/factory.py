"""`make_model`: a model by its name, as ``bdn run --model`` takes it.

A name of the table `MODELS`, or ``module:factory``: a Python function or class that returns a
`Model`, or a ``torch.nn.Module`` (see `bdn.learning.torch`). A factory is called with those of the
arguments ``sample_shape``, ``classes`` and ``seed`` that it takes by name, so that an existing
network class serves as it is.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bdn.arguments import as_integer
from bdn.errors import UsageError, shown
from bdn.learning.errors import ModelError
from bdn.learning.models.classifier import Model
from bdn.learning.models.cnn import PaperCNN
from bdn.learning.models.mlp import MultilayerPerceptron
from bdn.learning.models.softmax import SoftmaxRegression
from bdn.learning.plugins import call_function, find_function, users_code

Shape = tuple[int, ...]

PAPER_CNN = "paper-cnn"

MAX_PARAMETERS = 1 << 28
"""Parameters of a model: 1 GiB of float32, what a model's file may hold."""

MODELS: dict[str, Callable[[Shape, int, int], Model]] = {
    PAPER_CNN: lambda _shape, classes, seed: PaperCNN(classes, seed),
    "softmax": SoftmaxRegression,
    "mlp": MultilayerPerceptron,
}
"""Every model by its name: its maker from (shape of a sample, number of classes, seed of w^(0)).
A new model is a line here."""


def make_model(name: str, sample_shape: Shape, classes: int, seed: int) -> Model:
    """Return the model called ``name`` for samples of ``sample_shape`` in ``classes`` classes.

    Raises:
        UsageError: there is no such model, or the factory raised; the message names it.
        ModelError: the model is for other samples or another number of classes.
    """
    what = f"--model {name[:80]}"
    if name in MODELS:
        return _fitting(MODELS[name](sample_shape, classes, seed), what, sample_shape, classes)
    if ":" not in name:
        raise UsageError(f"no model called {name[:80]!r}: take {', '.join(MODELS)} or "
                         "module:factory")
    find_function(name, "--model")  # its module may be what imports PyTorch
    if "torch" in sys.modules:  # a network of PyTorch draws its parameters as it is made
        sys.modules["torch"].manual_seed(seed)
    made: Any = call_function(name, "--model", sample_shape=sample_shape, classes=classes,
                              seed=seed)
    if _is_model(made, what) or is_torch_module(made):
        return as_model(made, sample_shape, classes, what, (name, sample_shape, classes, seed))
    raise UsageError(f"{what}: returned a {type(made).__name__}, which is no model: subclass "
                     "bdn.learning.models.classifier.Classifier")


def as_model(
    value: Any, sample_shape: Shape, classes: int, what: str = "the model",
    origin: tuple[str, Shape, int, int] | None = None,
) -> Model:  # fmt: skip
    """Return a `Model` as it is, and a ``torch.nn.Module`` as one.

    Args:
        value: the model.
        sample_shape, classes: of the data that it must fit.
        what: what the caller calls it, for messages.
        origin: the arguments by which `make_model` makes it again.

    Raises `UsageError` for anything else, `ModelError` for one that does not fit.
    """
    if is_torch_module(value):
        adapter = importlib.import_module("bdn.learning.torch")
        with users_code(f"{what}:"):
            value = adapter.TorchModel(value, sample_shape, classes, origin)
    if not _is_model(value, what):
        raise UsageError(f"{what}: a {type(value).__name__} is no model: subclass "
                         "bdn.learning.models.classifier.Classifier, or give a torch.nn.Module")
    _check_parameters(value, what)
    return _fitting(value, what, sample_shape, classes)


def _is_model(value: Any, what: str) -> bool:
    with users_code(f"{what}:"):  # Python may call the value's properties
        return isinstance(value, Model)


def _check_parameters(model: Model, what: str) -> None:
    """Raise `ModelError` unless size and w^(0) of ``model`` are what a run can seal."""
    with users_code(f"{what}: size"):
        stated: Any = model.size
    size = as_integer(stated, f"{what}: size", least=1, error=ModelError)
    if size > MAX_PARAMETERS:
        raise ModelError(f"{what}: size is {shown(size)}, and a model has at most "
                         f"{MAX_PARAMETERS:,} parameters")
    with users_code(f"{what}: parameters()"):
        w: Any = model.parameters()
    if not isinstance(w, np.ndarray):
        found = f"a {type(w).__name__}"
    elif w.dtype != np.float32 or w.shape != (size,):
        found = f"a {w.dtype} array of shape {w.shape}"
    elif not np.isfinite(w).all():
        found = "values that are not finite"
    else:
        return
    raise ModelError(f"{what}: parameters() must return a flat float32 array of {size} finite "
                     f"values, as size says, not {found}")


def _fitting(model: Model, what: str, sample_shape: Shape, classes: int) -> Model:
    """``model``, once it is seen to fit the data."""
    with users_code(f"{what}:"):
        own = getattr(model, "sample_shape", sample_shape)
        outputs = model.classes
    if own != sample_shape:
        raise ModelError(f"{what} takes samples of shape {_short(own)}, and the data's have shape "
                         f"{sample_shape}: take softmax, mlp or a model of your own, or resample "
                         "the data (images:DIR?size=28x28&colour=no)")
    if outputs != classes:
        raise ModelError(f"{what} has {_short(outputs)} outputs, and the data have {classes} "
                         "classes")
    return model


def _short(value: object) -> str:
    """A shape as it is; anything else as a message may show it."""
    if isinstance(value, tuple) and all(isinstance(extent, int) for extent in value[:9]):
        return str(value[:8])
    return shown(value)


def is_torch_module(value: Any) -> bool:
    """Return whether ``value`` is a ``torch.nn.Module``, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)
