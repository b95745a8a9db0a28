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

from bdn.errors import UsageError
from bdn.learning.errors import ModelError
from bdn.learning.models.classifier import Model
from bdn.learning.models.cnn import PaperCNN
from bdn.learning.models.mlp import MultilayerPerceptron
from bdn.learning.models.softmax import SoftmaxRegression
from bdn.learning.plugins import call_function, find_function

Shape = tuple[int, ...]

PAPER_CNN = "paper-cnn"

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
    if name in MODELS:
        model = MODELS[name](sample_shape, classes, seed)
    elif ":" in name:
        model = _made_by(name, sample_shape, classes, seed)
    else:
        raise UsageError(f"no model called {name[:80]!r}: take {', '.join(MODELS)} or "
                         "module:factory")
    own = getattr(model, "sample_shape", sample_shape)
    if own != sample_shape:
        raise ModelError(f"--model {name} takes samples of shape {own}, and the data's have shape "
                         f"{sample_shape}: take softmax, mlp or a model of your own, or resample "
                         "the data (images:DIR?size=28x28&colour=no)")
    if model.classes != classes:
        raise ModelError(f"--model {name} has {model.classes} outputs, and the data have {classes} "
                         "classes")
    return model


def _made_by(name: str, sample_shape: Shape, classes: int, seed: int) -> Model:
    """The model of a user's own factory."""
    find_function(name, "--model")  # its module may be what imports PyTorch
    if "torch" in sys.modules:  # a network of PyTorch draws its parameters as it is made
        sys.modules["torch"].manual_seed(seed)
    made: Any = call_function(name, "--model", sample_shape=sample_shape, classes=classes,
                              seed=seed)
    if is_torch_module(made):
        adapter = importlib.import_module("bdn.learning.torch")
        made = adapter.TorchModel(made, sample_shape, classes, (name, sample_shape, classes, seed))
    if not isinstance(made, Model):
        raise UsageError(f"--model {name}: returned a {type(made).__name__}, which is no model: "
                         "subclass bdn.learning.models.classifier.Classifier")
    return made


def is_torch_module(value: Any) -> bool:
    """Return whether ``value`` is a ``torch.nn.Module``, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)
