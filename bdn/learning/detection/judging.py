"""Judging a detector on whole pictures: VOC's mean average precision of a model.

The paper's figure is the classifier's (`bdn.learning.evaluation`); what people see, "boxes over the
identified objects", is the detector's, and this is its measure. A picture takes tens of thousands
of windows, so a run looks at a sample of the held-out pictures; `bdn detect --evaluate` looks at as
many as one asks for.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Data, Picture
from bdn.learning.detection.average_precision import Detection, DetectionResult, evaluate_detections
from bdn.learning.detection.windows import DetectorSettings, detect
from bdn.learning.models.classifier import Classifier
from bdn.learning.types import Floats

MARGIN = 1.25
"""Windows reach so much beyond the sizes of the training part's objects, at either end."""

OVERLAP = 0.5
"""VOC's least overlap of an answer with an object."""


@dataclass(frozen=True, slots=True)
class DetectorFigures:
    """What a detector reached.

    Attributes:
        result: by class.
        eleven_point: whether the data's own rule is the 11-point one (VOC 2007 to 2009).
        pictures, of: how many pictures were looked at, of how many.
        settings: how windows were laid.
    """

    result: DetectionResult
    eleven_point: bool
    pictures: int
    of: int
    settings: DetectorSettings

    @property
    def mean(self) -> float:
        """mAP by the data's own rule."""
        if self.eleven_point:
            return self.result.mean_eleven_point
        return self.result.mean_all_point

    def to_plain(self) -> dict[str, Any]:
        """As plain JSON values, as `history.json` keeps them."""
        return {
            "mean_average_precision": self.mean,
            "rule": "11-point" if self.eleven_point else "all-point",
            "all_point": self.result.mean_all_point,
            "eleven_point": self.result.mean_eleven_point,
            "overlap": OVERLAP,
            "pictures": self.pictures,
            "of": self.of,
            "objects": sum(each.objects for each in self.result.classes.values()),
            "windows": {"smallest": self.settings.smallest, "largest": self.settings.largest,
                        "threshold": self.settings.threshold},
            "classes": {name: asdict(each) for name, each in self.result.classes.items()},
        }


def fitting_windows(data: Data, threshold: float = 0.0) -> DetectorSettings:
    """Windows for the objects that ``data``'s training part holds.

    Average precision looks at every answer in the order of its confidence, so none is cut off by
    default.
    """
    smallest, largest = data.object_sides
    return DetectorSettings(max(4, round(smallest / MARGIN)), round(largest * MARGIN),
                            threshold=threshold)


def sample_pictures(data: Data, count: int | None, seed: int = 0) -> tuple[Picture, ...]:
    """``count`` of the held-out pictures, drawn by ``seed`` and in their order; None: all of them.

    Raises `UsageError` where the data have no whole pictures.
    """
    if not data.pictures:
        raise UsageError(f"{data.name} holds no whole pictures to find objects on; scenes and "
                         "voc:DIR do")
    if count is None or count >= len(data.pictures):
        return data.pictures
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(rng.permutation(len(data.pictures))[:count])
    return tuple(data.pictures[i] for i in chosen)


def judge_detector(
    model: Classifier, w: Floats, data: Data, count: int | None = None, seed: int = 0,
    settings: DetectorSettings | None = None, looked: Callable[[int, int], None] | None = None,
) -> DetectorFigures:  # fmt: skip
    """Average precision of ``w`` on whole held-out pictures of ``data``, one decoded at a time.

    Args:
        model, w: the model; its classes are ``data.class_names``.
        data: what it was trained on.
        count: so many pictures (`sample_pictures`), None for all of them.
        seed: of the sample.
        settings: of the detector; by default `fitting_windows`.
        looked: is told after each picture how many are done, of how many.

    Raises:
        UsageError: data without whole pictures, or a sample without objects.
        DataError: a picture cannot be read.
    """
    settings = fitting_windows(data) if settings is None else settings
    chosen = sample_pictures(data, count, seed)
    said: dict[str, list[Detection]] = {}
    for page in chosen:
        picture = page.read()
        small = min(picture.shape) < settings.smallest
        said[page.identity] = [] if small else detect(model, w, data.class_names, picture, settings)
        if looked is not None:
            looked(len(said), len(chosen))
    result = evaluate_detections({page.identity: page.objects for page in chosen}, said, OVERLAP)
    return DetectorFigures(result, data.eleven_point, len(chosen), len(data.pictures), settings)
