"""Data sets: the embedded digits, IDX, VOC, splits; broken files are named."""

import contextlib
import gzip
import struct
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import SPLITS, Data, DataError, Dataset, load, split
from bdn.learning.datasets.annotations import read_annotation
from bdn.learning.datasets.digits import enlarge
from bdn.learning.datasets.idx import read_idx
from bdn.learning.datasets.pictures import Box, crop, overlap, resize
from bdn.learning.datasets.voc import empty_boxes


def make(count: int, classes: int = 10, seed: int = 0) -> Dataset:
    """A set whose pixels tell each image apart."""
    pixels = np.zeros((count, 28, 28), np.float32)
    pixels[:, 0, 0] = np.arange(count) / 1e4
    return Dataset(pixels, np.random.default_rng(seed).integers(0, classes, count), classes)


# --- digits -------------------------------------------------------------------------------------


def test_the_digits_are_all_there_and_a_fifth_is_held_out(digits: Data) -> None:
    """1,797 real images; each digit's held-out share is at least 20 %."""
    assert (len(digits.train), len(digits.test)) == (1433, 364)
    assert digits.train.images.dtype == np.float32
    assert 0 == digits.train.images.min() < digits.train.images.max() == 1
    for digit in range(10):
        held_out = (digits.test.labels == digit).sum()
        assert held_out / (held_out + (digits.train.labels == digit).sum()) >= 0.2


def test_no_digit_is_in_both_parts(digits: Data) -> None:
    train = {image.tobytes() for image in digits.train.images}
    assert not any(image.tobytes() in train for image in digits.test.images)


def test_enlarging_interpolates_between_pixel_centres() -> None:
    """Row i lies at (4i − 5)/14: i = 3 half way between rows 0 and 1; flat images stay flat."""
    assert np.array_equal(enlarge(np.full((1, 8, 8), 16, np.uint8)), np.ones((1, 28, 28)))
    step = np.zeros((1, 8, 8), np.uint8)
    step[0, 1:] = 16
    column = enlarge(step)[0, :, 0]
    assert column[1] == 0
    assert column[3] == np.float32(7 / 14)
    assert column[5] == 1
    # symmetric under turning the image round
    image = np.random.default_rng(0).integers(0, 17, (1, 8, 8))
    assert np.array_equal(enlarge(image)[:, ::-1, ::-1], enlarge(image[:, ::-1, ::-1]))


def test_the_digits_agree_with_scikit_learns_copy(digits: Data) -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is the oracle here")
    original = sklearn.load_digits()
    ours = {image.tobytes(): label for part in (digits.train, digits.test)
            for image, label in zip(part.images, part.labels, strict=True)}
    for image, label in zip(enlarge(original.images), original.target, strict=True):
        assert ours[image.tobytes()] == label


# --- splits -------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(SPLITS)), st.integers(1, 30), st.integers(0, 100),
       st.floats(0.05, 10), st.integers(0, 2**32))
def test_a_split_is_a_partition(kind: str, devices: int, more: int, α: float, seed: int) -> None:
    """s_k ∩ s_k' = ∅ and Σ s_k = s (Section 4.1); every device has an image; seeded."""
    whole = make(devices + more)
    parts = split(whole, devices, kind, α, seed)
    again = split(whole, devices, kind, α, seed)
    assert len(parts) == devices
    assert all(len(part) for part in parts)
    pixels = np.concatenate([part.inputs[:, 0, 0] for part in parts])
    assert np.array_equal(np.sort(pixels), whole.inputs[:, 0, 0])
    labels = dict(zip(whole.inputs[:, 0, 0].tolist(), whole.labels.tolist(), strict=True))
    for part, same in zip(parts, again, strict=True):
        assert np.array_equal(part.inputs, same.inputs)
        assert [labels[p] for p in part.inputs[:, 0, 0].tolist()] == part.labels.tolist()


def test_splits_are_what_they_are_called() -> None:
    whole = make(2000)
    assert {len(part) for part in split(whole, 10, "iid")} == {200}
    sizes = [len(part) for part in split(whole, 4, "size")]
    assert sizes == [200, 400, 600, 800]
    assert all(len(set(part.labels.tolist())) <= 4 for part in split(whole, 10, "class"))

    def evenness(α: float) -> float:
        """Mean share of a device's commonest class."""
        parts = split(whole, 10, "dirichlet", α)
        return float(np.mean([np.bincount(p.labels).max() / len(p) for p in parts]))

    assert evenness(100) < 0.2 < evenness(1) < evenness(0.1)


@pytest.mark.parametrize(("devices", "kind", "α"), [(0, "iid", 1), (11, "iid", 1), (2, "x", 1),
                                                    (2, "dirichlet", 0.0)])
def test_impossible_splits_are_refused(devices: int, kind: str, α: float) -> None:
    with pytest.raises(UsageError):
        split(make(10), devices, kind, α)


# --- data sets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "labels"), [
    (np.zeros((2, 0, 28), np.uint8), np.zeros(2, np.int64)),
    (np.zeros(2, np.uint8), np.zeros(2, np.int64)),
    (np.zeros((2, 28, 28)), np.zeros(2, np.int64)),
    (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.int64)),
    (np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int32)),
    (np.zeros((2, 28, 28), np.uint8), np.array([0, 10])),
])  # fmt: skip
def test_parts_that_do_not_fit_make_no_data_set(pixels: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(DataError):
        Dataset(pixels, labels)


def test_bytes_become_floats_only_where_asked_for() -> None:
    data = Dataset(np.full((3, 28, 28), 255, np.uint8), np.arange(3))
    images, labels = data.batch(np.array([2, 0]))
    assert images.dtype == np.float32
    assert images.max() == 1
    assert labels.tolist() == [2, 0]
    assert sum(len(y) for _, y in data.stream()) == 3


# --- IDX ----------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, compress: bool = False, images: int = 5) -> None:
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        for name, array in ((f"{prefix}-images-idx3-ubyte",
                             rng.integers(0, 256, (images, 28, 28)).astype(np.uint8)),
                            (f"{prefix}-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))):
            data = idx_bytes(array)
            path = folder / (name + ".gz" * compress)
            path.write_bytes(gzip.compress(data) if compress else data)


def test_idx_plain_is_mapped_and_equals_gzipped(tmp_path: Path) -> None:
    """A set larger than memory stays on disk."""
    for name, compress in (("plain", False), ("zipped", True)):
        (tmp_path / name).mkdir()
        write_idx(tmp_path / name, compress)
    plain, zipped = load(f"idx:{tmp_path}/plain"), load(f"idx:{tmp_path}/zipped")
    assert isinstance(plain.train.inputs, np.memmap)
    assert np.array_equal(plain.train.inputs, zipped.train.inputs)
    assert plain.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert plain.train.classes == 5


def test_what_is_missing_in_an_idx_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        load(f"idx:{tmp_path}/absent")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load(f"idx:{tmp_path}")
    write_idx(tmp_path, images=4)
    with pytest.raises(DataError, match="4 train images, but 5 labels"):
        load(f"idx:{tmp_path}")


@given(st.binary(max_size=40), st.booleans(), st.integers(0, 60))
def test_any_bytes_as_idx_give_an_array_or_a_named_error(
    data: bytes, compress: bool, cut: int
) -> None:
    """Fuzzed: random headers, cut files, broken gzip streams; nothing but DataError."""
    whole = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
    for content in (data, b"\0\0\x08" + data, whole[:cut], whole + data):
        packed = gzip.compress(content) if compress else content
        for raw in (packed, packed[: len(packed) * 2 // 3]):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / ("x.gz" if compress else "x")
                path.write_bytes(raw)
                try:
                    array = read_idx(path)
                except DataError:
                    continue
                assert idx_bytes(array) == (content if compress else raw)


def test_real_fashion_mnist(shared: Path) -> None:
    """60,000 and 10,000 images; training mean 72.94 (its README)."""
    folder = shared / "data" / "fashion-mnist"
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is not beside the repository")
    data = load(f"idx:{folder}")
    assert (len(data.train), len(data.test), data.train.classes) == (60_000, 10_000, 10)
    assert round(float(data.train.inputs.mean()), 2) == 72.94
    assert set(Counter(data.test.labels.tolist()).values()) == {1000}


# --- VOC ----------------------------------------------------------------------------------------

ANNOTATION = """<annotation><filename>a.png</filename><size><width>50</width><height>40</height>
<depth>3</depth></size>{}</annotation>"""
OBJECT = """<object><name>cat</name>{}<bndbox><ymax>20.5</ymax><xmax>30</xmax>
<ymin>3</ymin><xmin>2.25</xmin></bndbox></object>"""


def annotate(folder: Path, xml: str) -> Path:
    path = folder / "a.xml"
    path.write_text(xml)
    return path


def test_annotations_of_all_years_are_read(tmp_path: Path) -> None:
    """Fractions, any order of corners, flags that may be absent, objects with parts."""
    part = "<part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>"
    xml = ANNOTATION.format(OBJECT.format("") + OBJECT.format("<difficult>1</difficult>" + part))
    page = read_annotation(annotate(tmp_path, xml), tmp_path)
    assert [(o.name, o.difficult) for o in page.objects] == [("cat", False), ("cat", True)]
    assert page.objects[0].box == Box(2.25, 3, 30, 20.5)
    assert (page.width, page.height, page.picture.name) == (50, 40, "a.png")


@pytest.mark.parametrize(("old", "new", "why"), [
    ("<xmin>2.25</xmin>", "", "xmin"), ("2.25", "left", "no number"), ("2.25", "nan", "no number"),
    ("2.25", "31", "exchanged"), ("<name>cat</name>", "", "name"), ("a.png", "../a.png", "leaves"),
    ("<annotation>", "<!DOCTYPE x><annotation>", "document type"), ("</annotation>", "", "broken"),
    ("<width>50</width>", "<width>0</width>", "0×40"), ("annotation", "note", "expected"),
])  # fmt: skip
def test_a_broken_annotation_is_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    xml = ANNOTATION.format(OBJECT.format("")).replace(old, new)
    with pytest.raises(DataError, match=why) as caught:
        read_annotation(annotate(tmp_path, xml), tmp_path)
    assert "a.xml" in str(caught.value)


@given(st.binary(max_size=30), st.integers(0, 400), st.integers(0, 400))
def test_any_bytes_as_annotation_give_a_page_or_a_named_error(
    data: bytes, start: int, stop: int
) -> None:
    """Fuzzed: a true annotation with a piece cut out or overwritten."""
    whole = ANNOTATION.format(OBJECT.format("")).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xml"
        for content in (data, whole[:start] + data + whole[stop:]):
            path.write_bytes(content)
            with contextlib.suppress(DataError):
                read_annotation(path, Path(folder))


def test_what_is_missing_in_a_devkit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Annotations"):
        load(f"voc:{tmp_path}")
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"train\.txt"):
        load(f"voc:{tmp_path}")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"a\.xml"):
        load(f"voc:{tmp_path}")
    (tmp_path / "ImageSets/Main/train.txt").write_text("../a\n")
    with pytest.raises(DataError, match="no picture's name"):
        load(f"voc:{tmp_path}")


@pytest.mark.parametrize("name", ["mnist", "digits:x", "idx", "voc:", "scenes:1", ""])
def test_unknown_sources_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(UsageError, match="idx:DIR"):
        load(name)


# --- pictures -----------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_resizing_keeps_flat_areas_and_range(h: int, w: int, height: int, width: int) -> None:
    picture = np.random.default_rng(h * w).random((h, w), np.float32)
    result = resize(picture, height, width)
    assert result.shape == (height, width)
    assert picture.min() - 1e-5 <= result.min() <= result.max() <= picture.max() + 1e-5
    flat = resize(np.full((h, w), 0.5, np.float32), height, width)
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)


def test_a_crop_is_the_inside_of_its_box() -> None:
    """VOC's boxes are 1-based and inclusive: (3, 2, 30, 29) holds 28 × 28 pixels."""
    picture = np.random.default_rng(0).random((40, 50), np.float32)
    np.testing.assert_allclose(crop(picture, Box(3, 2, 30, 29)), picture[1:29, 2:30], atol=1e-6)
    with pytest.raises(DataError):
        crop(picture, Box(60, 2, 70, 29))


@given(st.integers(0, 2**32))
def test_background_boxes_avoid_objects(seed: int) -> None:
    objects = [Box(10, 10, 40, 40), Box(60, 50, 90, 70)]
    picture = np.zeros((100, 120), np.float32)
    for box in empty_boxes(objects, picture, 5, np.random.default_rng(seed)):
        assert all(overlap(box, o) <= 0.4 for o in objects)
        assert 1 <= box.xmin <= box.xmax <= 120
        assert 1 <= box.ymin <= box.ymax <= 100
