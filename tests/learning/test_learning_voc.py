"""VOC end to end on a made devkit with the real one's quirks."""

import json
import re
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.learning import (
    BACKGROUND,
    VOC_CLASSES,
    ClassResult,
    Data,
    DataError,
    Detection,
    DetectionResult,
    DetectorFigures,
    DetectorSettings,
    PaperCNN,
    average_precision,
    detect,
    evaluate_detections,
    fitting_windows,
    judge_detector,
    load,
    overlap,
    sample_pictures,
)
from bdn.learning.datasets.annotations import annotations, find_year, read_part, uses_eleven_points
from bdn.learning.datasets.pictures import Box, areas, shared_areas
from bdn.learning.detection.windows import suppress

pytest.importorskip("PIL", reason="pictures need Pillow (extra report)")

MakeYear = Callable[..., list]
TINY = ["--devices", "3", "--threshold", "2", "--epochs", "2", "--iterations", "12",
        "--key-bits", "512", "--batch-size", "8", "--pictures", "6"]


@pytest.fixture(scope="module")
def voc(devkit: Path) -> Data:
    return load(f"voc:{devkit}")


# --- what is read -------------------------------------------------------------------------------


def test_crops_are_the_counted_objects_of_train_and_val(devkit: Path, voc: Data) -> None:
    """Twenty classes, so w3 is (128, 20); no part, no difficult object, nothing of trainval."""
    assert voc.class_names == VOC_CLASSES
    assert PaperCNN(voc.train.classes).layers(PaperCNN(20).parameters()).w3.shape == (128, 20)
    counts = Counter(voc.class_names[label] for label in voc.train.labels)
    more = Counter(["cat", "dog", "bus", "person", "car", "bottle"])
    assert counts == Counter({name: 2 + more[name] for name in VOC_CLASSES})
    assert len(voc.test) == len(voc.train) == 46
    assert voc.train.inputs.dtype == np.uint8, "a crop is 784 bytes"
    notes = " ".join(voc.notes)
    assert "46 training crops from 48 pictures" in notes
    assert "27,450" in notes
    assert "13,841" in notes


def test_a_crop_is_what_pillow_cuts_out(devkit: Path, voc: Data) -> None:
    """Independent oracle: Pillow's crop by 0-based, half-open corners and its triangle filter."""
    from PIL import Image

    pages = list(annotations(devkit / "VOC2012", "train"))
    counted = [(page, thing) for page in pages for thing in page.objects if not thing.difficult]
    assert len(counted) == len(voc.train)
    for (page, thing), pixels in zip(counted, voc.train.inputs, strict=True):
        with Image.open(page.picture) as image:
            x0, y0, x1, y1 = (round(value) for value in thing.box)
            cut = image.convert("L").crop((x0 - 1, y0 - 1, x1, y1))
            theirs = np.asarray(cut.resize((28, 28), Image.Resampling.BILINEAR), np.int64)
        assert np.abs(theirs - pixels).max() <= 2


def test_parts_of_a_person_are_no_objects(devkit: Path) -> None:
    pages = {page.identity: page for page in annotations(devkit / "VOC2012", "train")}
    (person,) = pages["train_parts"].objects
    assert (person.name, person.box) == ("person", Box(30, 10, 99, 110))
    assert pages["train_empty"].objects == ()
    assert pages["train_untagged"].objects[0].difficult is False
    assert pages["train_float"].objects[0].box.xmin == pytest.approx(12.4)


def test_class_lists_name_all_pictures_whatever_their_flag(devkit: Path) -> None:
    """``cat_train.txt`` has -1, 0 or 1 beside each name."""
    year = devkit / "VOC2012"
    text = (year / "ImageSets/Main/sofa_train.txt").read_text()
    assert {line.split()[1] for line in text.splitlines()} == {"-1", "0", "1"}
    assert list(read_part(year, "sofa_train")) == list(read_part(year, "train"))


def test_background_is_a_class_of_its_own_and_avoids_every_object(devkit: Path) -> None:
    """Difficult objects are neither trained on nor taken for background."""
    data = load(f"voc+background:{devkit}")
    assert data.class_names == (*VOC_CLASSES, BACKGROUND)
    labels = Counter(data.train.labels.tolist())
    assert labels[20] > 48
    assert sum(labels.values()) == 46 + labels[20]


LARGE = "<size><width>1200</width><height>900</height><depth>3</depth></size>"


def test_reading_streams(devkit: Path, tmp_path: Path, make_year: MakeYear) -> None:
    """The peak is one picture and the crops, not all pictures."""
    from PIL import Image

    year = tmp_path / "VOC2012"
    make_year(year, each=1)
    for path in (year / "JPEGImages").glob("*.jpg"):
        with Image.open(path) as image:
            large = image.resize((1200, 900))
        large.save(path)
        page = year / "Annotations" / f"{path.stem}.xml"
        if page.is_file():  # the test set has no annotations
            page.write_text(re.sub(r"<size>.*?</size>", LARGE, page.read_text(), flags=re.DOTALL))
    one = 1200 * 900 * 4
    tracemalloc.start()
    data = load(f"voc:{year}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data.pictures) == 28
    assert peak < 5 * one, f"{peak / one:.1f} pictures at once"


# --- where it lies ------------------------------------------------------------------------------


def test_a_devkit_its_year_and_the_folder_above_are_the_same(devkit: Path, voc: Data) -> None:
    for place in (devkit, devkit / "VOC2012", devkit.parent):
        assert find_year(place) == devkit / "VOC2012"
    again = load(f"voc:{devkit / 'VOC2012'}")
    assert np.array_equal(again.train.inputs, voc.train.inputs)


def test_of_several_years_one_must_be_chosen(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (tmp_path / "VOCdevkit" / year / name).mkdir(parents=True)
    for place in (tmp_path, tmp_path / "VOCdevkit"):
        with pytest.raises(DataError, match=r"VOC2007.*VOC2012.*choose one"):
            find_year(place)
    assert find_year(tmp_path / "VOCdevkit/VOC2007").name == "VOC2007"


@pytest.mark.parametrize(("name", "eleven"), [
    ("VOC2007", True), ("VOC2008", True), ("VOC2009", True), ("VOC2010", False),
    ("VOC2012", False), ("pictures", False),
])  # fmt: skip
def test_the_years_rule_of_average_precision(tmp_path: Path, name: str, eleven: bool) -> None:
    """11-point from 2007 to 2009, the whole curve since (Everingham et al. 2015, section 3)."""
    assert uses_eleven_points(tmp_path / name) is eleven


# --- what is wrong with it ----------------------------------------------------------------------


def spoil(year: Path, case: str) -> None:
    """Break a devkit in one place."""
    main, notes = year / "ImageSets/Main", year / "Annotations"
    match case:
        case "year":
            shutil.rmtree(year)
        case "folder":
            shutil.rmtree(year / "JPEGImages")
        case "split":
            (main / "val.txt").unlink()
        case "xml":
            (notes / "val_000003.xml").write_text("<annotation><object></annotation>")
        case "annotation":
            (notes / "train_000003.xml").unlink()
        case "picture":
            (year / "JPEGImages/val_000007.jpg").unlink()
        case "half a picture":
            path = year / "JPEGImages/val_empty.jpg"
            path.write_bytes(path.read_bytes()[:300])
        case "outside":
            path = notes / "train_000001.xml"
            path.write_text(path.read_text().replace("<xmin>16", "<xmin>999").replace(
                "<xmax>67", "<xmax>1050"))
        case "twice":
            (main / "train.txt").write_text("train_000001\ntrain_000001\n")
        case "nothing":
            (main / "train.txt").write_text("\n")
        case "unannotated":
            shutil.copy(main / "test.txt", main / "val.txt")


@pytest.mark.parametrize(("case", "says"), [
    ("year", "holds none"), ("folder", "JPEGImages"), ("split", "no image set 'val'"),
    ("xml", "val_000003.xml: broken XML"), ("annotation", "train_000003.xml"),
    ("picture", "val_000007.jpg is missing"), ("half a picture", "val_empty.jpg"),
    ("outside", "train_000001.jpg: box"), ("twice", "twice"), ("nothing", "names no picture"),
    ("unannotated", "come without"),
])  # fmt: skip
def test_a_broken_devkit_is_one_line_and_nothing_is_written(
    devkit: Path, tmp_path: Path, case: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, the broken file named, no run folder begun."""
    shutil.copytree(devkit, tmp_path / "VOCdevkit")
    spoil(tmp_path / "VOCdevkit/VOC2012", case)
    out = tmp_path / "run"
    assert invoke(["run", "--data", f"voc:{tmp_path / 'VOCdevkit'}", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_a_run_is_not_replaced_for_broken_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--force removes the old run only when the new one can begin."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "model.npz").write_text("precious")
    assert invoke(["run", "--data", f"voc:{tmp_path}", "--out", str(out), "--force"]) == 2
    assert (out / "model.npz").read_text() == "precious"


# --- the detector's judgement -------------------------------------------------------------------


def test_a_judgement_is_detection_and_evaluation_of_the_pictures(voc: Data) -> None:
    """judge_detector = evaluate_detections of detect over sample_pictures; the sample is seeded."""
    cnn = PaperCNN(20, seed=4)
    w = cnn.parameters() * 3
    settings = DetectorSettings(40, 80, ratio=1.5, stride=8, window=0.06, threshold=0)
    told: list[tuple[int, int]] = []
    figures = judge_detector(cnn, w, voc, 9, seed=2, settings=settings,
                             looked=lambda done, of: told.append((done, of)))
    assert told == [(done, 9) for done in range(1, 10)]
    chosen = sample_pictures(voc, 9, 2)
    assert [page.identity for page in chosen] == sorted({page.identity for page in chosen})
    said = {page.identity: detect(cnn, w, VOC_CLASSES, page.read(), settings) for page in chosen}
    assert any(said.values())
    expected = evaluate_detections({page.identity: page.objects for page in chosen}, said)
    assert figures.result == expected
    plain = figures.to_plain()
    assert (plain["pictures"], plain["of"], plain["rule"]) == (9, 48, "all-point")
    assert plain["objects"] == sum(not o.difficult for page in chosen for o in page.objects)
    assert json.loads(json.dumps(plain)) == plain
    assert sample_pictures(voc, None) == sample_pictures(voc, 999) == voc.pictures


def test_2007_is_judged_by_eleven_points(tmp_path: Path, make_year: MakeYear) -> None:
    make_year(tmp_path / "VOC2007", each=1)
    data = load(f"voc:{tmp_path}/VOC2007")
    cnn = PaperCNN(20)
    settings = DetectorSettings(60, 80, ratio=1.5, stride=8)
    figures = judge_detector(cnn, cnn.parameters(), data, 5, settings=settings)
    assert figures.to_plain()["rule"] == "11-point"
    assert figures.mean == figures.result.mean_eleven_point


def test_the_mean_is_taken_by_the_datas_own_rule() -> None:
    """One of two objects found, no false answer: 1/2 by the whole curve, 6/11 by eleven points."""
    classes = {"cat": ClassResult(0.5, 6 / 11, 2, 1, 0)}
    for eleven, mean in ((True, 6 / 11), (False, 0.5)):
        figures = DetectorFigures(DetectionResult(classes), eleven, 1, 1, DetectorSettings())
        assert figures.mean == figures.to_plain()["mean_average_precision"] == mean
    assert average_precision([True], 2) == (0.5, pytest.approx(6 / 11))


def test_windows_fit_the_training_parts_objects(voc: Data) -> None:
    settings = fitting_windows(voc)
    sides = [thing.box.area ** 0.5 for page in voc.pictures for thing in page.objects
             if not thing.difficult]
    within = [settings.smallest <= side <= settings.largest for side in sides]
    assert sum(within) >= 0.9 * len(sides)


def test_data_without_pictures_cannot_judge_a_detector(digits: Data) -> None:
    cnn = PaperCNN()
    with pytest.raises(UsageError, match="no whole pictures"):
        judge_detector(cnn, cnn.parameters(), digits)


def test_a_picture_smaller_than_every_window_holds_no_answer(voc: Data) -> None:
    cnn = PaperCNN(20)
    figures = judge_detector(cnn, cnn.parameters(), voc, 5, settings=DetectorSettings(500))
    assert figures.mean == 0


boxes = st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(0, 30), st.integers(0, 30)
                  ).map(lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3]))
answers = st.builds(Detection, st.sampled_from("abc"), st.floats(0.5, 1), boxes)


@given(st.lists(boxes, min_size=1, max_size=10), boxes)
def test_many_overlaps_at_once_are_the_single_ones(many: list[Box], one: Box) -> None:
    rows = np.array(many, float)
    shared = shared_areas(rows, one)
    together = shared / (areas(rows) + one.area - shared)
    assert together.tolist() == [overlap(box, one) for box in many]


@given(st.lists(answers, max_size=25))
def test_suppression_in_arrays_is_suppression_in_loops(found: list[Detection]) -> None:
    """The groups that box voting starts from, by the definition."""
    settings = DetectorSettings(agree=1.0, suppress_across=9, suppress_inside=9)
    # no vote moves a box and no class drives out another: one answer a group is left
    waiting = sorted(found, key=lambda answer: -answer.confidence)
    leaders = []
    while waiting:
        best = waiting.pop(0)
        leaders.append((best.name, best.box))
        waiting = [a for a in waiting
                   if a.name != best.name or overlap(a.box, best.box) <= settings.suppress]
    kept = Counter((answer.name, answer.box) for answer in suppress(found, settings))
    assert sum(kept.values()) == len(leaders)
    assert {name for name, _ in kept} == {name for name, _ in leaders}
    rounded = Counter((name, tuple(round(c, 6) for c in box)) for name, box in leaders)
    assert Counter({(n, tuple(round(c, 6) for c in b)): k for (n, b), k in kept.items()}) == rounded


# --- a whole run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(devkit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voc-run") / "run"
    assert invoke(["run", *TINY, "--data", f"voc+background:{devkit}", "--out", str(folder)]) == 0
    return folder


def test_a_run_on_voc_ends_with_mpa_and_map(run_folder: Path) -> None:
    """history.json: the classifier's mean precision by class, the detector's mAP by class."""
    history = json.loads((run_folder / "history.json").read_text())
    assert [row["name"] for row in history["by_class"]] == [*VOC_CLASSES, BACKGROUND]
    mean = sum(row["precision"] for row in history["by_class"]) / 21
    assert history["mean_precision"] == pytest.approx(mean)
    best = history["epochs"][history["best_epoch"] - 1]
    assert history["mean_precision"] == best["mean_precision"]
    found = history["detection"]
    assert (found["pictures"], found["of"], found["rule"]) == (6, 48, "all-point")
    assert found["mean_average_precision"] == found["all_point"]
    assert BACKGROUND not in found["classes"]
    assert any("27,450" in note for note in history["notes"])


def test_the_terminal_and_the_page_tell_both_figures(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = json.loads((run_folder / "history.json").read_text())
    assert invoke(["show", str(run_folder)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"mAP {history['detection']['all_point']:.4f}" in text
    assert f"{history['mean_precision']:.4f}" in text
    page = (run_folder / "report.html").read_text()
    assert "mAP" in page
    assert "27,450" in page


def test_detect_evaluates_again_and_says_the_same(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all pictures asked for, all are judged; the classifier's figure is the run's."""
    history = json.loads((run_folder / "history.json").read_text())
    arguments = ["detect", "--model", str(run_folder), "--evaluate", "--json", "--smallest", "50",
                 "--largest", "70"]
    assert invoke(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_precision"] == pytest.approx(history["mean_precision"])
    assert (told["detection"]["pictures"], told["detection"]["of"]) == (48, 48)
    assert told["detection"]["windows"] == {"smallest": 50, "largest": 70, "threshold": 0.0}
    assert invoke([*arguments[:-5], "--pictures", "3"]) == 0
    assert "3 of 48 held-out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("more", "says"), [
    (["--evaluate", "x.png"], "leave out IMAGE"), (["--evaluate", "--out", "d"], "--out"),
    ([], "give pictures"), (["x.png", "--out", "d", "--pictures", "4"], "belong to --evaluate"),
    (["--evaluate", "--data", "digits"], "classes"),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_refused(
    run_folder: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["detect", "--model", str(run_folder), *more]) == 2
    assert says in capsys.readouterr().err
