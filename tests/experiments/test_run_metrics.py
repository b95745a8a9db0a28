"""Figures by epoch and class: kept as they are made, and the same in trace, history and CSV."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bdn.cli import invoke
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import Run, opened_run
from bdn.runfolder.metrics import append_row, write_metrics


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def events_of(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "trace.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == "epoch-done"]


def test_precision_and_recall_follow_from_the_confusion_matrix(finished: Run) -> None:
    """An independent computation from the kept counts, for each epoch and the best model."""
    assert finished.folder is not None
    history = finished.folder.read_history()
    events = {event["epoch"]: event for event in events_of(finished.folder.path)}
    trained = [row for row in history["epochs"] if not row["closing"]]
    assert [row["epoch"] for row in trained] == list(events)
    for row in trained:
        counts = np.array(events[row["epoch"]]["confusion"])
        assert counts.sum() == history["held_out"]
        assert row["accuracy"] == pytest.approx(np.trace(counts) / counts.sum())
        for c, (precision, recall) in enumerate(zip(row["precision"], row["recall"], strict=True)):
            assert precision == pytest.approx(counts[c, c] / max(1, counts[:, c].sum()))
            assert recall == pytest.approx(counts[c, c] / max(1, counts[c].sum()))
    best = np.array(history["confusion"])
    assert [row["recall"] for row in history["by_class"]] == pytest.approx(
        (np.diagonal(best) / best.sum(axis=1)).tolist())


def test_the_csv_file_says_what_the_history_says(finished: Run) -> None:
    assert finished.folder is not None
    history = finished.folder.read_history()
    rows = rows_of(finished.folder.path)
    trained = [row for row in history["epochs"] if not row["closing"]]
    assert len(rows) == len(trained)
    for row, epoch in zip(rows, trained, strict=True):
        for name in ("accuracy", "test_loss", "loss_before", "norm", "samples"):
            assert float(row[name]) == pytest.approx(epoch[name])
        assert int(row["contributors"]) == len(epoch["contributors"])
        for c, known in enumerate(history["by_class"]):
            assert float(row[f"recall:{known['name']}"]) == pytest.approx(epoch["recall"][c])


def test_an_interrupted_run_has_the_figures_of_its_epochs(
    tmp_path: Path, tiny: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny()
    folder = RunFolder.create(tmp_path / "run", config)
    with opened_run(config, folder) as run:
        run.runner.run(lambda: run.is_over() or 1 in run.meter.epochs)
    rows, event = rows_of(folder.path), events_of(folder.path)[0]
    assert [row["epoch"] for row in rows] == ["1"]
    assert float(rows[0]["accuracy"]) == event["accuracy"]
    assert rows[0]["norm"] == "", "the devices tell it at the end"
    assert invoke(["show", str(folder.path), "--confusion", "--epoch", "1"]) == 0
    assert "epoch 1" in capsys.readouterr().out
    with opened_run(config, RunFolder.open(folder.path)) as run:
        run.complete()
    assert [row["epoch"] for row in rows_of(folder.path)] == ["1", "2"]
    assert all(row["norm"] for row in rows_of(folder.path))


def test_show_prints_the_matrix(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert finished.folder is not None
    path, history = finished.folder.path, finished.folder.read_history()
    assert invoke(["show", str(path), "--confusion"]) == 0
    text = capsys.readouterr().out
    assert f"of epoch {history['best_epoch']}" in text
    for number, row in enumerate(history["confusion"]):
        assert " ".join([str(number), *map(str, row)]) in " ".join(text.split())
    for arguments, says in ((["--confusion", "1"], "without a HEIGHT"),
                            (["--confusion", "--epoch", "99"], "no confusion matrix of epoch 99")):
        assert invoke(["show", str(path), *arguments]) == 2
        assert says in capsys.readouterr().err


def test_names_and_missing_figures_in_the_file(tmp_path: Path) -> None:
    """Names with commas and quotes stay whole; a row without figures by class has empty cells."""
    names = ['a "b"', "c, d"]
    path = tmp_path / "metrics.csv"
    append_row(path, names, {"epoch": 1, "accuracy": 0.5, "precision": [0.25, 1], "recall": []})
    append_row(path, names, {"epoch": 2})
    first, second = rows_of(tmp_path)
    assert (first["precision:a \"b\""], first["precision:c, d"]) == ("0.25", "1")
    assert first["recall:c, d"] == second["accuracy"] == ""
    write_metrics(path, {"by_class": [{"name": name} for name in names], "epochs": [
        {"epoch": 3, "closing": False, "contributors": ["x", "y"]},
        {"epoch": 3, "closing": True, "contributors": []}]})
    assert [row["contributors"] for row in rows_of(tmp_path)] == ["2"]
