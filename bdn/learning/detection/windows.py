"""Finding objects: windows of several sizes, judged by the classifier; boxes drawn on the picture.

The paper shows "boxes over the identified objects" and does not say how they come about. With its
small classifier the classical way fits: for each window size the picture is shrunk so that a window
is 28×28; all windows are scored in batches; what the model takes for background is dropped;
overlapping answers of a class become one (non-maximum suppression), whose box is the mean of those
that agree, weighted by confidence. A model without a background class can be used, with a higher
threshold, and answers too often.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.pictures import (
    Box,
    areas,
    load_pillow,
    overlap,
    read_colour,
    resize,
    shared_areas,
)
from bdn.learning.datasets.voc import BACKGROUND
from bdn.learning.detection.average_precision import Detection
from bdn.learning.models.classifier import CHUNK, Classifier
from bdn.learning.models.shapes import SIDE
from bdn.learning.types import Floats


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How windows are laid and answers merged.

    Attributes:
        smallest: side of the smallest window, in pixels of the picture.
        largest: of the largest; the picture's shorter side at most. 0: that side.
        ratio: between one window size and the next.
        stride: pixels between windows, in the shrunken picture (whose windows are 28×28).
        window: least probability at which a window counts as an answer and may vote.
        threshold: least confidence of an object that is reported, after the votes are counted.
        suppress: answers of one class that overlap a better one by more than this are merged in it.
        suppress_across: likewise for answers of different classes, which are dropped.
        suppress_inside: an answer that lies to this part inside one with more votes is dropped; a
            part of a digit is often another digit. 1 keeps objects within objects.
        agree: only answers that overlap the best one by this much move its box.
    """

    smallest: int = 20
    largest: int = 0
    ratio: float = 1.15
    stride: int = 3
    window: float = 0.5
    threshold: float = 0.5
    suppress: float = 0.3
    suppress_across: float = 0.5
    suppress_inside: float = 0.6
    agree: float = 0.5

    def __post_init__(self) -> None:
        if self.smallest < 4 or self.largest < 0 or self.ratio <= 1 or self.stride < 1:
            raise UsageError("windows need smallest ≥ 4, largest ≥ 0, ratio > 1 and stride ≥ 1")


def detect(
    model: Classifier, w: Floats, class_names: Sequence[str], picture: Floats,
    settings: DetectorSettings | None = None,
) -> list[Detection]:  # fmt: skip
    """The objects on a grey picture (height, width), the most confident first.

    The confidence of an object is the best window's probability times v / (v + 1), where v is the
    sum of the probabilities of all windows that voted for it; none is below ``settings.threshold``.
    Raises `UsageError` where names and model do not fit, or the picture is smaller than a window.
    """
    settings = settings if settings is not None else DetectorSettings()
    if len(class_names) != model.classes:
        raise UsageError(f"{len(class_names)} class names for a model of {model.classes} classes")
    found: list[Detection] = []
    for side in window_sizes(picture, settings):
        found += _at_size(model, w, class_names, picture, side, settings)
    return [answer for answer in suppress(found, settings)
            if answer.confidence >= settings.threshold]


def window_sizes(picture: Floats, settings: DetectorSettings) -> Iterator[float]:
    """Sides of the windows, in pixels; raises `UsageError` for a picture that is too small."""
    shortest = min(picture.shape)
    largest = min(settings.largest or shortest, shortest)
    if shortest < settings.smallest:
        raise UsageError(f"a picture of {picture.shape[1]}×{picture.shape[0]} pixels is smaller "
                         f"than the smallest window, {settings.smallest}")
    side = float(settings.smallest)
    while side <= largest:
        yield side
        side *= settings.ratio


def _at_size(
    model: Classifier, w: Floats, class_names: Sequence[str], picture: Floats, side: float,
    settings: DetectorSettings,
) -> Iterator[Detection]:  # fmt: skip
    """Answers of windows of one size that may vote."""
    height, width = (max(SIDE, round(extent * SIDE / side)) for extent in picture.shape)
    small = resize(picture, height, width)
    step = settings.stride
    windows = np.lib.stride_tricks.sliding_window_view(small, (SIDE, SIDE))[::step, ::step]
    rows, columns = windows.shape[:2]
    flat = windows.reshape(-1, SIDE, SIDE)
    scale_y, scale_x = picture.shape[0] / height, picture.shape[1] / width
    for start in range(0, rows * columns, CHUNK):
        odds = model.probabilities(w, np.ascontiguousarray(flat[start : start + CHUNK]))
        best = odds.argmax(axis=1)
        for offset in np.flatnonzero(odds.max(axis=1) >= settings.window):
            name = class_names[best[offset]]
            if name == BACKGROUND:
                continue
            row, column = divmod(start + int(offset), columns)
            y, x = row * step * scale_y, column * step * scale_x
            box = Box(x + 1, y + 1, x + SIDE * scale_x, y + SIDE * scale_y)
            yield Detection(name, float(odds[offset, best[offset]]), box)


def suppress(found: Sequence[Detection], settings: DetectorSettings) -> list[Detection]:
    """Non-maximum suppression with box voting, the most confident first.

    An object that answers at many windows and sizes is believed more than one that answers once:
    the votes for a box break ties of confidence, which saturates near 1.
    """
    found = sorted(found, key=lambda answer: -answer.confidence)
    groups = _groups(found, settings.suppress)
    merged = [_vote(group, settings) for group in groups]
    merged.sort(key=lambda pair: -pair[0])
    boxes = np.array([answer.box for _, answer in merged]).reshape(-1, 4)
    kept: list[int] = []
    for number, (_, answer) in enumerate(merged):
        others = boxes[kept]
        shared = shared_areas(others, answer.box)
        across = shared / (areas(others) + answer.box.area - shared) > settings.suppress_across
        inside = shared / answer.box.area > settings.suppress_inside
        if not (across | inside).any():
            kept.append(number)
    return sorted((merged[number][1] for number in kept), key=lambda answer: -answer.confidence)


def _groups(found: Sequence[Detection], most_overlap: float) -> list[list[Detection]]:
    """Answers of a class with the more confident one that they overlap; ``found`` is sorted."""
    names = np.unique([answer.name for answer in found], return_inverse=True)[1]
    boxes = np.array([answer.box for answer in found]).reshape(-1, 4)
    sizes = areas(boxes)
    groups = []
    left = np.arange(len(found))
    while len(left):
        best = left[0]
        shared = shared_areas(boxes[left], found[best].box)
        joined = (names[left] == names[best]) & (
            shared / (sizes[left] + sizes[best] - shared) > most_overlap)
        joined[0] = True
        groups.append([found[i] for i in left[joined]])
        left = left[~joined]
    return groups


def _vote(group: list[Detection], settings: DetectorSettings) -> tuple[float, Detection]:
    """(votes, the group's one answer)."""
    best = group[0]
    close = [answer for answer in group if overlap(answer.box, best.box) >= settings.agree]
    weights = np.array([answer.confidence for answer in close])
    box = Box(*(np.array([answer.box for answer in close]).T @ weights / weights.sum()).tolist())
    votes = float(weights.sum())
    confidence = best.confidence * votes / (votes + 1)
    return votes, Detection(best.name, confidence, box)


def draw(source: Path, detections: Sequence[Detection], target: Path) -> None:
    """``source`` with boxes, names and confidences, written to ``target`` as PNG.

    Raises `DataError` for an unreadable picture, `UsageError` without Pillow.
    """
    canvas = read_colour(source)
    pen = load_pillow("ImageDraw").Draw(canvas)
    for number, answer in enumerate(detections):
        colour = COLOURS[number % len(COLOURS)]
        corners = [coordinate - 1 for coordinate in answer.box]
        pen.rectangle(corners, outline=colour)
        pen.text((corners[0] + 1, max(corners[1] - 11, 0)),
                 f"{answer.name} {answer.confidence:.2f}", fill=colour)
    canvas.save(target, "PNG")


COLOURS = ("#ffb000", "#00c8ff", "#ff4d88", "#7dff5a", "#c08bff")
"""Of the boxes, in turn."""
