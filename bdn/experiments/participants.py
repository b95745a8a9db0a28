"""Who learns in a run, and how the result is judged.

By default: a model, such as the paper's CNN, on each device's part of a data set (`from_data`).
Anything else that answers as a `bdn.learning.Learner` can take its place, for one a client of
Flower's NumPyClient shape (`bdn.learning.client_learner`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdn.errors import UsageError, shown
from bdn.experiments.config import RunConfig
from bdn.learning import (
    MODELS,
    Classifier,
    ClientLearner,
    CnnLearner,
    Data,
    Dataset,
    DetectorFigures,
    Evaluation,
    Learner,
    Model,
    evaluate,
    judge_detector,
    load,
    make_model,
    sample_pictures,
    split,
)
from bdn.learning.datasets.sources import TABLE as DATA_SOURCES
from bdn.learning.plugins import users_code
from bdn.learning.types import Floats
from bdn.runfolder import STATE_DICT


@dataclass(frozen=True, slots=True, eq=False)
class Participants:
    """The devices' learners and what they start from.

    Attributes:
        learners: one for each device.
        w: w^(0), float32 (|w|,).
        judge: figures of a model on held-out samples.
        classes: outputs of the model.
        class_names: what the classes are called, where that is known.
        model: what the devices train, where it is one of ours (`bdn.learning.Model`).
        notes: what a report must say about the data.
        find: a model as a detector on whole pictures, where the data have some; or None.
        source: the data that `from_data` took; "" where the learners were made otherwise.
        held_out: the samples that ``judge`` judges on, where they are known.
        exports: a model as files of its own kind, by name (`bdn.learning.Classifier.exports`).
    """

    learners: tuple[Learner, ...]
    w: Floats
    judge: Callable[[Floats], Evaluation]
    classes: int
    class_names: tuple[str, ...] | None = None
    model: Model | None = None
    notes: tuple[str, ...] = ()
    find: Callable[[Floats], DetectorFigures] | None = None
    source: str = ""
    held_out: Dataset | None = None
    exports: Callable[[Floats], dict[str, bytes]] | None = None

    def __post_init__(self) -> None:
        if self.w.dtype != np.float32 or self.w.ndim != 1:
            raise UsageError("a model is a flat float32 vector")
        if any(learner.sample_count < 1 for learner in self.learners):
            raise UsageError("a device without samples cannot take part")

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of what the model takes, where that is known."""
        return None if self.held_out is None else self.held_out.sample_shape

    def describe(self) -> dict[str, Any]:
        """What a resumed run must find again, as plain values for the run folder's marker.

        ``digest`` is SHA-256 over w^(0), the model's description, each learner's kind and sample
        count and, where it trains on a data set, over its samples and labels in order; and over
        the held-out ones.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.w, "<f4").tobytes())
        digest.update(_describe(self.model).encode())
        for learner in self.learners:
            digest.update(f"{type(learner).__name__} {learner.sample_count}\n".encode())
            if isinstance(learner, CnnLearner):
                _update(digest, learner.dataset)
            if isinstance(learner, ClientLearner):
                digest.update(f"{learner.layout.shapes} {learner.layout.kinds}\n".encode())
        if self.held_out is not None:
            _update(digest, self.held_out)
        return {
            "source": self.source,
            "learners": dict(Counter(type(learner).__name__ for learner in self.learners)),
            "model_size": len(self.w), "classes": self.classes, "digest": digest.hexdigest(),
        }


def _describe(model: Model | None) -> str:
    """What tells ``model`` from another of the same size and w^(0)."""
    if isinstance(model, Classifier):
        with users_code("--model: describe()"):
            return model.describe()
    return type(model).__qualname__


def _update(digest: "hashlib._Hash", data: Dataset) -> None:
    """Feed a data set to ``digest``, a few thousand pictures at a time."""
    digest.update(f"{data.inputs.dtype.name} {data.inputs.shape} {data.classes}\n".encode())
    for start in range(0, len(data), HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(data.inputs[start:start + HASHED_AT_ONCE]).tobytes())
    digest.update(np.ascontiguousarray(data.labels, "<i8").tobytes())


HASHED_AT_ONCE = 4096


def from_data(config: RunConfig) -> Participants:
    """The config's model on its data; raises `UsageError` for data that cannot be split."""
    data = load(absolute_data(config.data))
    model = make_model(config.model, data.train.sample_shape, data.train.classes, config.seed)
    return from_parts(config, data, model, config.data)


def from_parts(config: RunConfig, data: Data, model: Model, source: str = "") -> Participants:
    """Return ``model`` on ``data``, split over the config's devices.

    ``source`` is what the data can be loaded from again, where there is such a thing. Raises
    `UsageError` for data that cannot be split.
    """
    parts = split(data.train, config.devices, config.split, config.alpha, config.seed)
    if config.samples is not None:
        parts = [part.subset(np.arange(min(config.samples, len(part)))) for part in parts]
    what = f"--model {config.model}"
    exports = _exports(model, what)
    w = model.parameters()
    exports(w)  # what is wrong shows before the run begins

    def judge(w: Floats) -> Evaluation:
        with _calls(config, f"{what}: judging the held-out samples"):
            return evaluate(model, w, data.test)

    return Participants(
        tuple(CnnLearner(model, part) for part in parts), w, judge, model.classes,
        data.class_names, model, data.notes, _detector(data, model, config), source, data.test,
        exports,
    )


def _calls(config: RunConfig, what: str) -> AbstractContextManager[None]:
    """`users_code` around calls of a model that is the user's own."""
    return nullcontext() if config.model in MODELS else users_code(what)


def _exports(model: Model, what: str) -> Callable[[Floats], dict[str, bytes]]:
    """The model's own files, which are `STATE_DICT` at most."""

    def exports(w: Floats) -> dict[str, bytes]:
        if not isinstance(model, Classifier):
            return {}
        with users_code(f"{what}: exports()"):
            files = dict(model.exports(w))
        for name, data in files.items():
            if name != STATE_DICT or not isinstance(data, bytes):
                raise UsageError(f"{what}: exports() may return bytes under the name {STATE_DICT} "
                                 f"alone, not a {type(data).__name__} under {shown(name)}")
        return files

    return exports


def absolute_data(data: str) -> str:
    """``data`` with its folder as an absolute path, so that a run can be resumed from anywhere.

    A Python function stays as it is named.
    """
    kind, colon, folder = data.partition(":")
    if not (colon and folder and kind in DATA_SOURCES):
        return data
    return f"{kind}:{Path(folder).expanduser().absolute()}"


def _detector(
    data: Data, model: Model, config: RunConfig
) -> Callable[[Floats], DetectorFigures] | None:
    """Judges a model on whole pictures; None where there are none, or nothing is on them."""
    if not config.pictures or not data.pictures or not isinstance(model, Classifier):
        return None
    chosen = sample_pictures(data, config.pictures, config.seed)
    if all(thing.difficult for page in chosen for thing in page.objects):
        return None
    network = model

    def find(w: Floats) -> DetectorFigures:
        with _calls(config, f"--model {config.model}: finding objects"):
            return judge_detector(network, w, data, config.pictures, config.seed)

    return find
