"""Judging a model: accuracy, precision by class, and the paper's "mean precision accuracy".

The paper does not define its mPA. We report the classifier's precision, averaged over the classes
that occur in the judged samples: a class without samples has nothing to be right about. The
detector's mean average precision is in `bdn.learning.detection.average_precision`.
"""

from dataclasses import dataclass

import numpy as np

from bdn.learning.datasets.dataset import Dataset
from bdn.learning.local import local_loss
from bdn.learning.models.classifier import Model
from bdn.learning.types import Doubles, Floats, Integers


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one data set.

    Attributes:
        accuracy: images that got their label, over all images.
        mean_precision: precision averaged over the classes that have images.
        precision: by class: right answers "c" over answers "c"; 0 where "c" was never answered.
        recall: by class: right answers "c" over images of c; 0 where there is none.
        loss: mean cross-entropy in nats.
        images: how many there were.
        confusion: counts, a row per label and a column per answer; empty where it is not known.
    """

    accuracy: float
    mean_precision: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    loss: float
    images: int
    confusion: tuple[tuple[int, ...], ...] = ()


def evaluate(model: Model, w: Floats, dataset: Dataset) -> Evaluation:
    """All figures of ``w`` on ``dataset``; raises `ModelError` where they do not fit together."""
    predicted = np.concatenate([model.predict(w, X) for X, _ in dataset.stream()])
    table = confusion(dataset.labels, predicted, model.classes)
    right = np.diagonal(table)
    present = table.sum(axis=1) > 0
    precision = _ratio(right, table.sum(axis=0))
    recall = _ratio(right, table.sum(axis=1))
    return Evaluation(
        float(right.sum() / table.sum()), float(precision[present].mean()),
        tuple(precision.tolist()), tuple(recall.tolist()),
        local_loss(model, w, dataset), len(dataset), tuple(map(tuple, table.tolist())),
    )  # fmt: skip


def accuracy(model: Model, w: Floats, dataset: Dataset) -> float:
    """Images of ``dataset`` that get their label, over all images."""
    right = sum(int((model.predict(w, X) == y).sum()) for X, y in dataset.stream())
    return right / len(dataset)


def confusion(labels: Integers, predicted: Integers, classes: int) -> Integers:
    """Counts, (classes, classes): row = label, column = answer."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def global_loss(model: Model, w: Floats, datasets: list[Dataset]) -> float:
    """F(w) = Σ s_k F_k(w) / s, Eq. (1) with the weights that Eq. (3)'s text gives it."""
    total = sum(len(dataset) * local_loss(model, w, dataset) for dataset in datasets)
    return total / sum(len(dataset) for dataset in datasets)


def _ratio(part: Integers, whole: Integers) -> Doubles:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
