"""VOC's average precision, 11-point (2007) and all-point (2010 on) (Everingham et al. 2015).

Detections of a class, over all pictures, are sorted by confidence. Each is held against the object
of its picture that it overlaps most (intersection over union, boxes with inclusive corners): at or
above the threshold it is a true positive if nobody found the object before, else a false positive;
if the object is *difficult* the detection counts for nothing. Below the threshold it is a false
positive. Precision and recall along the list give the average precision.

This judges the detector; the paper's "mean precision accuracy" is not defined.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bdn.errors import UsageError
from bdn.learning.datasets.annotations import VocObject
from bdn.learning.datasets.pictures import Box, overlap


@dataclass(frozen=True, slots=True)
class Detection:
    """An answer of a detector: "here is a …", with a confidence."""

    name: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class's figures.

    Attributes:
        all_point: area under the precision–recall curve, made monotone (2010 on).
        eleven_point: mean of the best precision at recall ≥ 0, 0.1, …, 1 (2007).
        objects: how many there were to find, without difficult ones.
        true_positives, false_positives: of all detections, at no confidence threshold.
    """

    all_point: float
    eleven_point: float
    objects: int
    true_positives: int
    false_positives: int


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """Figures by class, and their means over the classes that have objects (mAP)."""

    classes: Mapping[str, ClassResult]

    @property
    def mean_all_point(self) -> float:
        """mAP by the rule of 2010 on."""
        return _mean(result.all_point for result in self.classes.values())

    @property
    def mean_eleven_point(self) -> float:
        """mAP by the rule of 2007."""
        return _mean(result.eleven_point for result in self.classes.values())


def evaluate_detections(
    truth: Mapping[str, Sequence[VocObject]],
    detections: Mapping[str, Sequence[Detection]],
    threshold: float = 0.5,
) -> DetectionResult:
    """Average precision of each class that has an object.

    Args:
        truth: picture → its objects.
        detections: picture → what the detector said; a picture may be missing.
        threshold: least overlap with an object, VOC's 0.5 by default.

    Raises:
        UsageError: detections on pictures that ``truth`` does not have, or nothing to find.
    """
    foreign = detections.keys() - truth.keys()
    if foreign:
        raise UsageError(f"detections on unknown pictures: {', '.join(sorted(foreign)[:5])}")
    names = sorted({thing.name for things in truth.values() for thing in things
                    if not thing.difficult})
    if not names:
        raise UsageError("there is no object to find")
    return DetectionResult({name: _judge_class(name, truth, detections, threshold)
                            for name in names})


def _judge_class(
    name: str, truth: Mapping[str, Sequence[VocObject]],
    detections: Mapping[str, Sequence[Detection]], threshold: float,
) -> ClassResult:  # fmt: skip
    objects = {picture: [thing for thing in things if thing.name == name]
               for picture, things in truth.items()}
    wanted = sum(not thing.difficult for things in objects.values() for thing in things)
    answers = [(picture, answer) for picture, said in detections.items() for answer in said
               if answer.name == name]
    answers.sort(key=lambda pair: -pair[1].confidence)  # stable: equal ones keep their order
    found: dict[str, set[int]] = defaultdict(set)
    hits: list[bool] = []
    for picture, answer in answers:
        best, index = max(
            ((overlap(answer.box, thing.box), -i) for i, thing in enumerate(objects[picture])),
            default=(0.0, 0),
        )
        if best < threshold or not objects[picture]:
            hits.append(False)
        elif objects[picture][-index].difficult:
            continue
        else:
            hits.append(-index not in found[picture])
            found[picture].add(-index)
    all_point, eleven_point = average_precision(hits, wanted)
    return ClassResult(all_point, eleven_point, wanted, sum(hits), len(hits) - sum(hits))


def average_precision(hits: Sequence[bool], objects: int) -> tuple[float, float]:
    """(all-point, 11-point) of detections in falling confidence.

    Exact fractions decide whether a recall reaches 0.3, say; floats would not.
    """
    precisions: list[Fraction] = []
    recalls: list[int] = []  # in objects, so that recall is recalls / objects
    right = 0
    for count, hit in enumerate(hits, start=1):
        right += hit
        precisions.append(Fraction(right, count))
        recalls.append(right)
    for i in range(len(precisions) - 2, -1, -1):  # the best precision at this recall or beyond
        precisions[i] = max(precisions[i], precisions[i + 1])
    area = Fraction(0)
    before = 0
    for precision, recall in zip(precisions, recalls, strict=True):
        area += precision * (recall - before)
        before = recall
    eleven = sum(
        next((p for p, r in zip(precisions, recalls, strict=True) if 10 * r >= tenth * objects),
             Fraction(0))
        for tenth in range(11)
    )
    return float(area / objects), float(eleven / 11)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
