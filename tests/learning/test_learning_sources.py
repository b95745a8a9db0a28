"""Data of one's own: arrays, tables, folders of pictures, Python functions."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.learning import Data, DataError, SoftmaxRegression, TrainingSettings, load, train
from bdn.learning.datasets.sources import TABLE


def colour_arrays(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 6, 5, 3)).astype(np.uint8), rng.integers(0, 3, count)


# --- npz ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("x", "y", "x_test", "y_test"),
                                   ("X", "y", "X_test", "y_test"),
                                   ("x_train", "y_train", "x_test", "y_test")])
def test_an_npz_with_a_test_part(tmp_path: Path, names: tuple[str, ...]) -> None:
    x, y = colour_arrays()
    np.savez(tmp_path / "d.npz", **dict(zip(names, (x[:20], y[:20], x[20:], y[20:]), strict=True)))
    data = load(f"npz:{tmp_path / 'd.npz'}")
    assert np.array_equal(data.train.inputs, x[:20])
    assert np.array_equal(data.test.labels, y[20:])
    assert data.train.sample_shape == (6, 5, 3)
    assert data.class_names == ("0", "1", "2")


def test_without_a_test_part_a_fifth_is_held_out(tmp_path: Path) -> None:
    """Every sample lies in one part, and the parts are the same at every call."""
    x = np.arange(50, dtype=np.float32)[:, None]
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(50) % 2)
    first, again = (load(f"npz:{tmp_path / 'd.npz'}") for _ in range(2))
    assert (len(first.train), len(first.test)) == (40, 10)
    both = np.concatenate([first.train.inputs, first.test.inputs])
    assert sorted(both[:, 0].tolist()) == x[:, 0].tolist()
    assert np.array_equal(first.test.inputs, again.test.inputs)


def test_classes_are_those_that_occur_and_keep_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.eye(20), y=np.array(["cat", "ape"] * 10))
    assert load(f"npz:{tmp_path / 'd.npz'}").class_names == ("ape", "cat")
    np.savez(tmp_path / "d.npz", x=np.eye(20), y=np.array([9, 0] * 10))
    data = load(f"npz:{tmp_path / 'd.npz'}")
    assert data.class_names == ("0", "9")
    assert data.train.classes == 2


@pytest.mark.parametrize(("arrays", "says"), [
    ({"a": np.eye(3)}, "x and y are needed"),
    ({"x": np.eye(9), "y": np.arange(8) % 2}, "9 samples"),
    ({"x": np.eye(9), "y": np.zeros(9)}, "1 classes"),
    ({"x": np.full((9, 2), np.nan), "y": np.arange(9) % 2}, "not finite"),
    ({"x": np.full((9, 2), 1e300), "y": np.arange(9) % 2}, "not finite"),
    ({"x": np.ones((9, 2), complex), "y": np.arange(9) % 2}, "complex"),
    ({"x": np.array([["a"]] * 9), "y": np.arange(9) % 2}, "numbers are needed"),
    ({"x": np.eye(9), "y": np.arange(9) / 2}, "integers or texts"),
    ({"x": np.eye(2), "y": np.arange(2)}, "too few"),
    ({"x": np.eye(9), "y": np.arange(9) % 2, "x_test": np.eye(9)}, "come together"),
    ({"x": np.eye(9), "y": np.arange(9) % 2, "x_test": np.eye(8), "y_test": np.arange(8)}, "shape"),
    ({"x": np.eye(9), "y": np.arange(9) % 2, "x_test": np.eye(9), "y_test": np.arange(9)},
     "class 2"),
    ({"x": np.array([{}] * 9, object), "y": np.arange(9) % 2}, "readable"),
])  # fmt: skip
def test_an_npz_that_does_not_fit_is_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], says: str
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=says) as refused:
        load(f"npz:{tmp_path / 'd.npz'}")
    assert "d.npz" in str(refused.value)
    assert "\n" not in str(refused.value)


def small_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.eye(10, dtype=np.float32), y=np.arange(10) % 2)
    return stream.getvalue()


@given(st.data())
def test_a_damaged_npz_is_one_line_or_data(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(small_npz())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        loaded: Data | None = load(f"npz:{path}")
    except DataError as error:
        loaded, said = None, str(error)
    assert loaded is not None or ("damaged.npz" in said and "\n" not in said)


# --- csv ----------------------------------------------------------------------------------------


def test_a_table_with_a_named_label_column(tmp_path: Path) -> None:
    """Features are scaled by the training part; a byte-order mark does not matter."""
    lines = ["length,class,width"] + [f"{k},{'ab'[k % 2]},{-k}" for k in range(20)]
    (tmp_path / "t.csv").write_bytes("\ufeff".encode() + "\n".join(lines).encode())
    data = load(f"csv:{tmp_path / 't.csv'}")
    assert data.class_names == ("a", "b")
    assert data.train.sample_shape == (2,)
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 1)
    np.testing.assert_allclose(data.train.inputs.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("text", "says"), [
    ("", "empty"), ("a,y\n", "no rows"), ("a,y\n1,0\n2\n", "line 3: 1 columns"),
    ("a,y\nx,0\n", "line 2: a feature"), ("a,y\n" + "inf,0\n" * 9, "line 2.*not finite"),
    ("a,y\n" + "1,0\n" * 9, "1 classes"),
])  # fmt: skip
def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says) as refused:
        load(f"csv:{tmp_path / 't.csv'}")
    assert "t.csv" in str(refused.value)


# --- folders of pictures ------------------------------------------------------------------------


def write_pictures(place: Path, count: int = 6, shape: tuple[int, ...] = (4, 5)) -> None:
    image = pytest.importorskip("PIL.Image", reason="pictures need Pillow (extra report)")
    rng = np.random.default_rng(1)
    for name in ("ape", "cat"):
        (place / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 256, shape).astype(np.uint8)
            image.fromarray(pixels).save(place / name / f"{k}.png")
    (place / "ape" / "notes.txt").write_text("not a picture")


def test_a_folder_per_class(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    data = load(f"images:{tmp_path}")
    assert data.class_names == ("ape", "cat")
    assert (len(data.train), len(data.test)) == (10, 2)
    assert data.train.sample_shape == (4, 5)


@pytest.mark.parametrize("other", ["test", "val"])
def test_train_and_test_folders_colour_and_size(tmp_path: Path, other: str) -> None:
    write_pictures(tmp_path / "train", 5, (4, 5, 3))
    write_pictures(tmp_path / other, 2, (8, 9, 3))
    with pytest.raises(DataError, match="shape"):
        load(f"images:{tmp_path}")
    data = load(f"images:{tmp_path}?size=3x2")
    assert data.train.sample_shape == data.test.sample_shape == (2, 3, 3)
    assert (len(data.train), len(data.test)) == (10, 4)
    assert load(f"images:{tmp_path}?size=3x2&colour=no").train.sample_shape == (2, 3)


def test_pictures_of_two_sizes_name_the_odd_one(tmp_path: Path) -> None:
    write_pictures(tmp_path, 5)
    write_pictures(tmp_path / "odd", 1, (7, 7))
    (tmp_path / "odd" / "cat" / "0.png").rename(tmp_path / "cat" / "9.png")
    for path in (tmp_path / "odd" / "ape").iterdir():
        path.unlink()
    (tmp_path / "odd" / "ape").rmdir()
    (tmp_path / "odd" / "cat").rmdir()
    (tmp_path / "odd").rmdir()
    with pytest.raises(DataError, match=r"9\.png: a picture of 7×7.*\?size="):
        load(f"images:{tmp_path}")


@pytest.mark.parametrize("options", ["size=3", "size=0x4", "size=9x99999", "colour=maybe", "x=1"])
def test_unknown_options_are_refused(tmp_path: Path, options: str) -> None:
    with pytest.raises(UsageError):
        load(f"images:{tmp_path}?{options}")


# --- Python functions, and the table ------------------------------------------------------------


def test_a_python_function_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lesson.py").write_text(
        "from bdn.learning import load\n"
        "def good(): return load('digits')\n"
        "def bad(): return 5\n"
        "def broken(): raise KeyError('x')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert len(load("my_lesson:good").train) > 1000
    for name, says in [("my_lesson:bad", "returned a int"), ("my_lesson:broken", "KeyError"),
                       ("my_lesson:absent", "no function absent"), ("nowhere:f", "importing"),
                       ("my lesson:f", "module:function")]:
        with pytest.raises(UsageError, match=says):
            load(name)


@pytest.mark.parametrize("name", ["", "digit", "idx", "idx:", "digits:5", "npz", ":", "x" * 9999])
def test_what_is_no_source_is_refused_in_few_words(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(name)
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize("kind", sorted(kind for kind in TABLE if ":" in TABLE[kind].usage))
def test_what_is_missing_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load(f"{kind}:{tmp_path / 'nowhere'}")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "d.npz", x=np.eye(10), y=np.arange(10) % 2)
    assert len(load("npz:~/d.npz").train) == 8


def test_clouds_are_told_apart_by_a_line_as_well_as_they_can_be() -> None:
    """Softmax regression reaches what the rule of the nearest centre does, which is the best."""
    data = load("clouds")
    assert (len(data.train), len(data.test)) == (480, 120)
    assert data.class_names == ("east", "north-west", "south-west")
    model = SoftmaxRegression((2,), 3)
    w = train(model, [data.train], TrainingSettings(epochs=5, step_size=0.5))[-1].w
    right = (model.predict(w, data.test.images) == data.test.labels).mean()
    angle = 2 * np.pi * np.arange(3) / 3
    centres = np.column_stack([np.cos(angle), np.sin(angle)])
    distances = np.linalg.norm(data.test.images[:, None] - centres, axis=2)
    best = (distances.argmin(axis=1) == data.test.labels).mean()
    assert right > best - 0.04
