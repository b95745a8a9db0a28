"""Who learns in a run, and how the result is judged.

By default: the paper's CNN on each device's part of a data set (`from_data`). Anything else that
answers as a `bdn.learning.Learner` can take its place, for one a client of Flower's NumPyClient
shape (`bdn.learning.client_learner`), so a PyTorch model trains over the same ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.learning import (
    CnnLearner,
    Data,
    DetectorFigures,
    Evaluation,
    Learner,
    PaperCNN,
    evaluate,
    judge_detector,
    load,
    sample_pictures,
    split,
)
from bdn.learning.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Participants:
    """The devices' learners and what they start from.

    Attributes:
        learners: one for each device.
        w: w^(0), float32 (|w|,).
        judge: figures of a model on held-out samples.
        classes: outputs of the model.
        class_names: what the classes are called, where that is known.
        cnn: the network, where it is the paper's.
        notes: what a report must say about the data.
        find: a model as a detector on whole pictures, where the data have some; or None.
    """

    learners: tuple[Learner, ...]
    w: Floats
    judge: Callable[[Floats], Evaluation]
    classes: int
    class_names: tuple[str, ...] | None = None
    cnn: PaperCNN | None = None
    notes: tuple[str, ...] = ()
    find: Callable[[Floats], DetectorFigures] | None = None

    def __post_init__(self) -> None:
        if self.w.dtype != np.float32 or self.w.ndim != 1:
            raise UsageError("a model is a flat float32 vector")
        if any(learner.sample_count < 1 for learner in self.learners):
            raise UsageError("a device without samples cannot take part")


def from_data(config: RunConfig) -> Participants:
    """The paper's CNN on the config's data; raises `UsageError` for data that cannot be split."""
    data = load(config.data)
    parts = split(data.train, config.devices, config.split, config.alpha, config.seed)
    if config.samples is not None:
        parts = [part.subset(np.arange(min(config.samples, len(part)))) for part in parts]
    cnn = PaperCNN(classes=data.train.classes, seed=config.seed)
    return Participants(
        tuple(CnnLearner(cnn, part) for part in parts), cnn.parameters(),
        lambda w: evaluate(cnn, w, data.test), cnn.classes, data.class_names, cnn, data.notes,
        _detector(data, cnn, config),
    )


def _detector(
    data: Data, cnn: PaperCNN, config: RunConfig
) -> Callable[[Floats], DetectorFigures] | None:
    """Judges a model on whole pictures; None where there are none, or nothing is on them."""
    if not config.pictures or not data.pictures:
        return None
    chosen = sample_pictures(data, config.pictures, config.seed)
    if all(thing.difficult for page in chosen for thing in page.objects):
        return None
    return lambda w: judge_detector(cnn, w, data, config.pictures, config.seed)
