"""Detection and VOC's average precision."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import (
    BACKGROUND,
    Box,
    DataError,
    Detection,
    DetectorSettings,
    PaperCNN,
    TrainingSettings,
    VocObject,
    average_precision,
    detect,
    draw,
    evaluate_detections,
    load,
    overlap,
    read_grey,
    split,
    train,
)
from bdn.learning.datasets.pictures import write_grey
from bdn.learning.datasets.scenes import load_scenes, scene_part, write_voc
from bdn.learning.detection.windows import suppress

NAMES = (*(str(digit) for digit in range(10)), BACKGROUND)


def read_case(folder: Path, confident: bool) -> dict[str, list[tuple[str, float, Box]]]:
    """Lines "class [confidence] x y width height"."""
    pages = {}
    for path in sorted(folder.glob("*.txt")):
        rows = []
        for line in path.read_text().splitlines():
            name, *numbers = line.split()
            confidence = float(numbers.pop(0)) if confident else 1.0
            x, y, width, height = map(float, numbers)
            rows.append((name, confidence, Box(x, y, x + width, y + height)))
        pages[path.stem] = rows
    return pages


def test_the_public_case_gives_the_published_figures(shared: Path) -> None:
    """rafaelpadilla/Object-Detection-Metrics: 24.57 % all-point and 26.84 % 11-point at IoU 0.3."""
    folder = shared / "vectors" / "detection"
    if not folder.is_dir():
        pytest.skip("the public detection case is not beside the repository")
    truth = {page: [VocObject(name, box) for name, _, box in rows]
             for page, rows in read_case(folder / "groundtruths", False).items()}
    said = {page: [Detection(*row) for row in rows]
            for page, rows in read_case(folder / "detections", True).items()}
    result = evaluate_detections(truth, said, threshold=0.3)
    assert round(100 * result.mean_all_point, 2) == 24.57
    assert round(100 * result.mean_eleven_point, 2) == 26.84
    assert result.classes["person"].objects == 15


def naive(hits: list[bool], objects: int) -> tuple[float, float]:
    """Both averages by their definitions, in floats and nested loops."""
    points = [(sum(hits[:i]) / objects, sum(hits[:i]) / i) for i in range(1, len(hits) + 1)]

    def best(recall: float) -> float:
        return max((p for r, p in points if r >= recall - 1e-12), default=0.0)

    area = sum(best(k / objects) / objects for k in range(1, objects + 1))
    return area, sum(best(tenth / 10) for tenth in range(11)) / 11


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 10))
def test_average_precision_is_its_definition(hits: list[bool], missed: int) -> None:
    objects = max(sum(hits) + missed, 1)
    ours, slow = average_precision(hits, objects), naive(hits, objects)
    assert ours == pytest.approx(slow, abs=1e-9)


def test_vocs_rules_for_duplicates_difficult_objects_and_misses() -> None:
    """The second answer on one object is false; a difficult object counts neither way."""
    here, there = Box(1, 1, 10, 10), Box(50, 50, 70, 70)
    truth = {"p": [VocObject("cat", here), VocObject("cat", there, difficult=True)], "q": []}
    said = {"p": [Detection("cat", 0.9, there), Detection("cat", 0.8, here),
                  Detection("cat", 0.7, here), Detection("dog", 0.6, here)],
            "q": [Detection("cat", 0.5, here)]}
    cat = evaluate_detections(truth, said).classes["cat"]
    assert (cat.objects, cat.true_positives, cat.false_positives) == (1, 1, 2)
    assert cat.all_point == 1.0
    with pytest.raises(UsageError, match="unknown pictures"):
        evaluate_detections(truth, {"r": []})
    with pytest.raises(UsageError):
        evaluate_detections({"q": []}, {})


def test_overlap_counts_inclusive_corners() -> None:
    """VOC's "+1": a box of one pixel has area 1."""
    assert overlap(Box(1, 1, 1, 1), Box(1, 1, 1, 1)) == 1
    assert overlap(Box(1, 1, 2, 1), Box(2, 1, 3, 1)) == pytest.approx(1 / 3)
    assert overlap(Box(1, 1, 2, 2), Box(3, 1, 4, 2)) == 0


boxes = st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(5, 30)).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[2]))
answers = st.builds(Detection, st.sampled_from("ab"), st.floats(0.5, 1), boxes)


@given(st.lists(answers, max_size=15))
def test_suppression_leaves_no_two_answers_on_one_object(found: list[Detection]) -> None:
    settings = DetectorSettings()
    kept = suppress(found, settings)
    assert bool(kept) == bool(found)
    assert {a.name for a in kept} <= {a.name for a in found}
    for i, one in enumerate(kept):
        for other in kept[i + 1:]:
            assert one.confidence >= other.confidence
            assert overlap(one.box, other.box) <= settings.suppress_across


def test_many_agreeing_windows_make_one_box_between_them() -> None:
    found = [Detection("a", 0.9, Box(10 + d, 10, 40 + d, 40)) for d in (-2, 0, 2)]
    (answer,) = suppress(found, DetectorSettings())
    assert answer.box == pytest.approx(Box(10, 10, 40, 40))
    assert 0 < answer.confidence < 0.9


@pytest.mark.slow
def test_devices_together_learn_to_find_digits_on_scenes() -> None:
    """Small here; benchmarks/accuracy.py holds mAP@0.5 ≥ 0.60 with the full training."""
    cnn = PaperCNN(classes=11)
    data = load_scenes(train=120, val=10)
    assert data.class_names == NAMES
    result = train(cnn, split(data.train, 2), TrainingSettings(epochs=4, iterations=40))[-1]
    settings = DetectorSettings(smallest=22, largest=54, ratio=1.3, stride=4)
    scenes = {str(i): scene for i, scene in enumerate(scene_part("val", 6))}
    said = {name: detect(cnn, result.best_w, NAMES, scene.picture, settings)
            for name, scene in scenes.items()}
    figures = evaluate_detections({name: s.objects for name, s in scenes.items()}, said)
    assert figures.mean_all_point > 0.25
    assert all(answer.name != BACKGROUND for answers in said.values() for answer in answers)


def test_windows_cover_an_object_at_its_place_and_size() -> None:
    """A model that answers "1" for bright windows finds the one bright square."""
    cnn = PaperCNN(classes=2)
    w = np.zeros(cnn.size, np.float32)
    layers = cnn.layers(w)
    layers.w1[0, 0, 1, 1] = 1  # the image itself …
    layers.w2[:196, 0] = 1 / 196  # … its mean …
    layers.w3[0, 1], layers.b3[0, 1] = 100, -90  # … must exceed 0.9
    picture = np.zeros((90, 120), np.float32)
    picture[20:60, 50:90] = 1
    (answer,) = detect(cnn, w, (BACKGROUND, "square"), picture,
                       DetectorSettings(smallest=38, largest=60))
    assert answer.name == "square"
    assert overlap(answer.box, Box(51, 21, 90, 60)) > 0.7


def test_names_pictures_and_settings_that_do_not_fit_are_refused() -> None:
    cnn = PaperCNN()
    picture = np.zeros((30, 30), np.float32)
    with pytest.raises(UsageError, match="class names"):
        detect(cnn, cnn.parameters(), ("a",), picture)
    with pytest.raises(UsageError, match="smaller"):
        detect(cnn, cnn.parameters(), tuple("0123456789"), picture[:10])
    with pytest.raises(UsageError):
        DetectorSettings(ratio=1.0)


def test_scenes_written_as_a_devkit_are_read_back(tmp_path: Path) -> None:
    """Made scenes in VOC format are crops of the objects that were placed."""
    pytest.importorskip("PIL", reason="pictures need Pillow (extra report)")
    write_voc(tmp_path / "VOC2012", train=30, val=6)
    data = load(f"voc:{tmp_path / 'VOC2012'}")
    made = [scene_part("train", 30), scene_part("val", 6)]
    assert [len(data.train), len(data.test)] == [sum(len(s.objects) for s in part) for part in made]
    assert data.class_names == tuple("0123456789")
    first = made[0][0].objects[0]
    assert data.class_names[data.train.labels[0]] == first.name
    more = load(f"voc+background:{tmp_path / 'VOC2012'}")
    assert more.class_names[-1] == BACKGROUND
    assert len(more.train) > len(data.train)
    with pytest.raises(UsageError, match="exists"):
        write_voc(tmp_path / "VOC2012")
    (tmp_path / "VOC2012/JPEGImages/train_00000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train_00000\.png"):
        load(f"voc:{tmp_path / 'VOC2012'}")


def test_boxes_are_drawn_on_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="pictures need Pillow (extra report)")
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    write_grey(source, np.zeros((60, 60), np.float32))
    draw(source, [Detection("cat", 0.9, Box(21, 21, 40, 40))], target)
    drawn = read_grey(target)
    assert drawn[20, 20:40].min() > 0.5
    assert drawn[30, 30] == 0
    with pytest.raises(DataError):
        draw(tmp_path / "absent.png", [], target)
