"""Any ``torch.nn.Module`` as a model (extra ``torch``): `TorchModel`.

**What is in w.** The floating-point entries of ``module.state_dict()``, in its order, flattened:
parameters, and buffers such as BatchNorm's running mean and variance. They are float32, float16 or
bfloat16 in the module and float32 in ``w``. A tensor that stands under two names is taken once.

**What is not.** Entries that are no floating-point numbers, such as BatchNorm's
``num_batches_tracked``, are counters and masks: they would be no use averaged, and a count that
rises by 20 would meet the clip that bounds an entry of an update. They keep the value that they
have in the module. A layer that reads its counter (BatchNorm with ``momentum=None``) begins each
batch with that value.

**Running statistics** move in a local step as PyTorch moves them (`TorchModel.training_gradient`),
and are averaged, clipped and bounded in norm like parameters. They start at mean 0 and variance 1
and may have far to go in the first epoch: where `scaled` in the history says that updates are
shrunk, choose a larger ``--norm-bound`` (or ``none``), normalise the inputs, or take GroupNorm,
which has no statistics.

**Repeatability.** The module is never changed: each call passes it the tensors of ``w``
(`torch.func.functional_call`). Random layers (dropout) draw from a generator that the batch seeds.
So every result depends on the arguments alone, and PyTorch computes on one thread of the CPU.
"""

import contextlib
import functools
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bdn.errors import UsageError
from bdn.learning.errors import ModelError
from bdn.learning.models.classifier import Classifier
from bdn.learning.models.factory import make_model
from bdn.learning.types import Floats, Integers

try:
    import torch
except ImportError as error:
    raise UsageError("PyTorch models need the extra: pip install 'bdn[torch]'") from error

STATE_DICT = "model.pt"
"""The file that holds a trained module's ``state_dict``; ``torch.load`` reads it."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""Types of parameters that fit into a float32 vector."""


UNINITIALISED = (torch.nn.parameter.UninitializedParameter,
                 torch.nn.parameter.UninitializedBuffer)
"""What lazy modules hold until they have seen a batch."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of the ``state_dict`` in ``w``.

    Attributes:
        name, shape, dtype: as in the module.
        start, end: its place in ``w``.
        is_buffer: whether it is no parameter.
        is_trained: whether it is a parameter that requires a gradient; the gradient of others is 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    start: int
    end: int
    is_buffer: bool
    is_trained: bool


class TorchModel(Classifier):
    """A PyTorch classifier over one flat float32 vector.

    Args:
        module: maps (B, *sample_shape) to scores (B, classes). Where it refuses that and has a
            ``Conv2d``, grey pictures (H, W) are given as (1, H, W), and colour ones (H, W, C) as
            (C, H, W).
        sample_shape: of one sample.
        classes: number of outputs.
        origin: (name, sample_shape, classes, seed) from which `make_model` makes it again; then
            that is what is sent to another process, and not the module.

    Raises `ModelError` where the module has parameters of other types than `FLOATS`, or does not
    map a batch of such samples to scores.
    """

    def __init__(
        self, module: torch.nn.Module, sample_shape: tuple[int, ...], classes: int,
        origin: tuple[str, tuple[int, ...], int, int] | None = None,
    ) -> None:  # fmt: skip
        self._module = module
        self._sample_shape = tuple(sample_shape)
        self._classes = classes
        self._origin = origin
        self._entries, self._constants = _layout(module)
        self._input_type = next((entry.dtype for entry in self._entries), torch.float32)
        self._arrange = self._find_arrangement()

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return self._classes

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._sample_shape

    @property
    def size(self) -> int:
        """Length of ``w``."""
        return self._entries[-1].end if self._entries else 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the tensors in ``w``, in order."""
        return {entry.name: entry.shape for entry in self._entries}

    def parameters(self) -> Floats:
        """Return the module's own values as w^(0)."""
        state = self._module.state_dict()
        w = np.zeros(self.size, np.float32)
        for entry in self._entries:
            w[entry.start:entry.end] = state[entry.name].float().cpu().numpy().ravel()
        return w

    def state_dict(self, w: Floats) -> dict[str, torch.Tensor]:
        """Return ``w`` as a ``state_dict``, all entries of the module's in its types and order."""
        by_tensor = {id(tensor): name for name, tensor in
                     reversed(self._module.state_dict(keep_vars=True).items())}
        ours = {**self._tensors(w), **self._constants}
        return {name: ours[by_tensor[id(tensor)]].detach().clone() for name, tensor in
                self._module.state_dict(keep_vars=True).items()}

    def exports(self, w: Floats) -> dict[str, bytes]:
        """Return `STATE_DICT`, as ``torch.save`` writes it."""
        return export_state(self.state_dict(w))

    def describe(self) -> str:
        """Return the module's own description and the layout of ``w``."""
        return f"{self._module!r} {self._entries!r}"

    def training_gradient(self, w: Floats, X: Floats, y: Integers, out: Floats) -> Floats:
        """Return the gradient, and move the running statistics in ``w`` as one batch moves them."""
        self._check(X, y)
        return self._differentiate(w, X, y, out, moves=True)[1]

    def _scores(self, w: Floats, X: Floats) -> Floats:
        with one_thread(), torch.no_grad():
            S: Floats = self._forward(self._tensors(w), X, training=False).numpy()
        return S

    def _loss_and_gradient(
        self, w: Floats, X: Floats, y: Integers, out: Floats | None
    ) -> tuple[float, Floats]:
        return self._differentiate(w, X, y, np.empty_like(w) if out is None else out, moves=False)

    def _differentiate(
        self, w: Floats, X: Floats, y: Integers, out: Floats, moves: bool
    ) -> tuple[float, Floats]:
        seed = zlib.crc32(y.tobytes(), zlib.crc32(np.ascontiguousarray(X).tobytes()))
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tensors = self._tensors(w)
            learned = [entry for entry in self._entries if entry.is_trained]
            for entry in learned:
                tensors[entry.name].requires_grad_()
            S = self._forward(tensors, X, training=True)
            loss = torch.nn.functional.cross_entropy(S, torch.from_numpy(y))
            gradients = torch.autograd.grad(
                loss, [tensors[entry.name] for entry in learned], allow_unused=True)
        out[:] = 0
        for entry, gradient in zip(learned, gradients, strict=True):
            if gradient is not None:  # None: the loss does not depend on it
                out[entry.start:entry.end] = gradient.float().numpy().ravel()
        if moves:
            for entry in self._entries:
                if entry.is_buffer:
                    w[entry.start:entry.end] = tensors[entry.name].float().numpy().ravel()
        return loss.item(), out

    def _tensors(self, w: Floats) -> dict[str, torch.Tensor]:
        """The entries of ``w`` by name: parameters share its memory where they can."""
        if w.dtype != np.float32 or w.shape != (self.size,):
            raise ModelError(f"the parameters of {type(self._module).__name__} are {self.size} "
                             f"float32 values, not {w.dtype} {w.shape}")
        flat = torch.from_numpy(w if w.flags.writeable else w.copy())
        found = {}
        for entry in self._entries:
            part = flat[entry.start:entry.end].view(entry.shape).to(entry.dtype)
            found[entry.name] = part.clone() if entry.is_buffer else part.detach()
        return found

    def _forward(
        self, tensors: dict[str, torch.Tensor], X: Floats, training: bool
    ) -> torch.Tensor:
        """S, float32; BatchNorm writes its new statistics into ``tensors``."""
        constants = {name: value.clone() for name, value in self._constants.items()}
        modes = [(module, module.training) for module in self._module.modules()]
        self._module.train(training)
        try:
            inputs = self._arrange(torch.from_numpy(X).to(self._input_type))
            S: torch.Tensor = torch.func.functional_call(
                self._module, {**tensors, **constants}, (inputs,))
        finally:
            for module, mode in modes:
                module.training = mode
        return S.float()

    def _find_arrangement(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """How samples must lie for the module to take them; raises `ModelError` if it does not."""
        tries: list[Callable[[torch.Tensor], torch.Tensor]] = [_as_they_are]
        if any(isinstance(module, torch.nn.Conv2d) for module in self._module.modules()):
            tries += [_channels_first] if len(self._sample_shape) == 3 else [_one_channel]
        said = ""
        for arrange in tries:
            self._arrange = arrange
            try:
                S = self._scores(self.parameters(), np.zeros((2, *self._sample_shape), np.float32))
            except Exception as error:  # noqa: BLE001 - a module may raise anything
                said = said or f"{type(error).__name__}: {str(error)[:200]}"
                continue
            if S.shape == (2, self._classes):
                return arrange
            said = said or f"it gives scores of shape {S.shape}"
        raise ModelError(f"{type(self._module).__name__} must map samples of shape (2, "
                         f"{', '.join(map(str, self._sample_shape))}) to scores of shape (2, "
                         f"{self._classes}): {said}")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._origin is not None:
            return _remade, self._origin
        return TorchModel, (self._module, self._sample_shape, self._classes)


def export_state(state: Mapping[str, Any]) -> dict[str, bytes]:
    """Return `STATE_DICT` with ``state``: arrays or tensors by name."""
    stream = io.BytesIO()
    torch.save({name: torch.as_tensor(value) for name, value in state.items()}, stream)
    return {STATE_DICT: stream.getvalue()}


def _layout(module: torch.nn.Module) -> tuple[list[TensorEntry], dict[str, torch.Tensor]]:
    """The entries of ``w``, and the constants: what of the ``state_dict`` is not in ``w``."""
    parameters = {id(parameter) for parameter in module.parameters()}
    entries: list[TensorEntry] = []
    constants: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    start = 0
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            raise ModelError(f"{name[:80]} is no tensor; a state_dict of tensors is needed")
        if isinstance(tensor, UNINITIALISED):
            raise ModelError(f"{name[:80]} has no shape yet: run a batch through the module first")
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        is_buffer = id(tensor) not in parameters
        if is_buffer and not (tensor.is_floating_point() or tensor.is_complex()):
            constants[name] = tensor.detach().cpu().clone()
            continue
        if tensor.dtype not in FLOATS:
            raise ModelError(f"{name[:80]} is {tensor.dtype}; parameters may be float32, float16 "
                             "or bfloat16: call module.float() first")
        end = start + math.prod(tensor.shape)
        entries.append(TensorEntry(name, tuple(tensor.shape), tensor.dtype, start, end, is_buffer,
                             tensor.requires_grad and not is_buffer))
        start = end
    if not any(entry.is_trained for entry in entries):
        raise ModelError(f"{type(module).__name__} has no parameters that require a gradient")
    return entries, constants


@functools.lru_cache(maxsize=4)
def _remade(name: str, sample_shape: tuple[int, ...], classes: int, seed: int) -> Any:
    return make_model(name, sample_shape, classes, seed)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread: with more, sums come out in another order."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _as_they_are(X: torch.Tensor) -> torch.Tensor:
    return X


def _one_channel(X: torch.Tensor) -> torch.Tensor:
    return X.unsqueeze(1)  # (B, H, W) → (B, 1, H, W)


def _channels_first(X: torch.Tensor) -> torch.Tensor:
    return X.permute(0, 3, 1, 2).contiguous()  # (B, H, W, C) → (B, C, H, W)
