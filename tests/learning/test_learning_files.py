"""Saved models and history exports, evaluation figures, and the guide's example."""

import csv
import doctest
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bdn.learning
from bdn.errors import UsageError
from bdn.learning import (
    Data,
    DataError,
    PaperCNN,
    SavedModel,
    TrainingSettings,
    accuracy,
    confusion,
    evaluate,
    load_checkpoint,
    save_checkpoint,
    split,
    train,
    write_history,
)


def test_the_guides_example_runs() -> None:
    """`bdn.learning` is usable alone in ten lines."""
    result = doctest.testmod(bdn.learning)
    assert (result.attempted > 5, result.failed) == (True, 0)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    cnn = PaperCNN(classes=3)
    saved = SavedModel(cnn, cnn.parameters(), ("a", "b", "ζ"))
    save_checkpoint(tmp_path / "model.npz", saved)
    read = load_checkpoint(tmp_path / "model.npz")
    assert np.array_equal(read.w, saved.w)
    assert (read.cnn.classes, read.class_names) == (3, ("a", "b", "ζ"))
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_broken_checkpoints_are_named(tmp_path: Path) -> None:
    """Pickled objects among them are never loaded."""
    path = tmp_path / "model.npz"
    w = PaperCNN(classes=3).parameters()
    bad = [{"w": w}, {"w": w[:-1], "classes": 3}, {"w": w.astype(float), "classes": 3},
           {"w": np.array([object()]), "classes": 3}, {"w": w * np.nan, "classes": 3},
           {"w": w, "classes": 3, "class_names": np.array(["a"])}]
    for arrays in bad:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=r"model\.npz"):
            load_checkpoint(path)
    with pytest.raises(DataError):
        load_checkpoint(tmp_path / "absent.npz")


@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_give_a_clear_error(data: bytes, cut: int) -> None:
    """Fuzzed: garbage, and a true file cut short or overwritten."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        np.savez(path, w=np.zeros(4, np.float32), classes=3)
        whole = path.read_bytes()
        for content in (data, whole[:cut], whole[:cut] + data + whole[cut + len(data):]):
            path.write_bytes(content)
            with pytest.raises(DataError):
                load_checkpoint(path)


def test_history_is_exported_as_json_and_csv(digits: Data, tmp_path: Path) -> None:
    cnn = PaperCNN()
    results = train(cnn, split(digits.train.subset(np.arange(40)), 2),
                    TrainingSettings(epochs=2, iterations=1))
    write_history(tmp_path / "h.json", results)
    write_history(tmp_path / "h.csv", results)
    rows = json.loads((tmp_path / "h.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["global_loss"] == results[1].global_loss
    with (tmp_path / "h.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["global_loss"]) for row in table] == [r.global_loss for r in results]
    assert table[0]["contributors"] == "0;1"
    with pytest.raises(UsageError):
        write_history(tmp_path / "h.txt", results)


def test_the_confusion_table_by_hand() -> None:
    """Rows are labels, columns answers."""
    table = confusion(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_evaluation_agrees_with_counting(digits: Data) -> None:
    cnn = PaperCNN()
    w = train(cnn, [digits.train], TrainingSettings(epochs=1))[-1].w
    figures = evaluate(cnn, w, digits.test)
    predicted = cnn.predict(w, digits.test.images)
    assert figures.accuracy == accuracy(cnn, w, digits.test)
    assert figures.accuracy == pytest.approx((predicted == digits.test.labels).mean())
    for c in range(10):
        answered = predicted == c
        right = (digits.test.labels[answered] == c).mean() if answered.any() else 0.0
        assert figures.precision[c] == pytest.approx(right)
    assert figures.mean_precision == pytest.approx(np.mean(figures.precision))  # all ten occur
    assert figures.loss == pytest.approx(cnn.loss(w, digits.test.images, digits.test.labels))


def test_mean_precision_is_over_the_classes_that_occur(digits: Data) -> None:
    """A perfect model on samples of three classes has precision 1, and not 0.3."""
    cnn = PaperCNN()
    w = train(cnn, [digits.train], TrainingSettings(epochs=2))[-1].w
    predicted = cnn.predict(w, digits.test.images)
    rows = np.flatnonzero((predicted == digits.test.labels) & np.isin(predicted, (0, 1, 9)))
    some = digits.test.subset(rows)
    assert set(some.labels) == {0, 1, 9}
    figures = evaluate(cnn, w, some)
    assert (figures.accuracy, figures.mean_precision) == (1.0, 1.0)
