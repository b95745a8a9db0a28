"""`bdn predict`, the models that a run keeps, and a run that begins with one of them."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.clients import people_of
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import opened_run
from bdn.learning import load
from bdn.learning.datasets.pictures import write_grey

SMALL = RunConfig(model="softmax", devices=3, edges=1, threshold=2, epochs=2, iterations=1,
                  batch_size=4, samples=8, key_bits=512, deterministic=True, seed=3,
                  norm_bound=None, keep_models=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept its models."""
    path = tmp_path_factory.mktemp("kept") / "run"
    with opened_run(SMALL, RunFolder.create(path, SMALL)) as run:
        run.complete()
    return path


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert invoke(["predict", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def softmax(X: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Probabilities of the regression by hand: w is the matrix (784, 10), then the offsets."""
    S = X.reshape(len(X), -1).astype(np.float64) @ w[:-10].reshape(-1, 10) + w[-10:]
    E = np.exp(S - S.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("which", "name"), [("best", "w"), ("last", "w_last"), ("2", "epoch-2")])
def test_data_are_classified_with_the_model_that_was_asked_for(
    kept: Path, which: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Confidences against a softmax written out here, over the arrays in the files."""
    said = predicted(capsys, str(kept), "digits", "--model", which, "--top", "10")
    if which == "2":
        with np.load(kept / "models" / "epoch-2.npz") as arrays:
            w = arrays["w"]
    else:
        with np.load(kept / "model.npz") as arrays:
            w = arrays[name]
    test = load("digits").test
    expected = softmax(test.images, w)
    assert len(said["predictions"]) == len(test)
    for row, chances, label in zip(said["predictions"], expected, test.labels, strict=True):
        assert row["label"] == str(label)
        assert [float(item["confidence"]) for item in row["classes"]] == pytest.approx(
            sorted(chances, reverse=True), abs=2e-6)
        assert row["classes"][0]["name"] == str(chances.argmax())
    assert said["accuracy"] == pytest.approx((expected.argmax(axis=1) == test.labels).mean())


def test_pictures_are_resampled_and_classified(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = load("digits").test
    write_grey(tmp_path / "a.png", test.images[0])
    write_grey(tmp_path / "large.png", np.kron(test.images[0], np.ones((3, 3), np.float32)))
    said = predicted(capsys, str(kept), str(tmp_path / "a.png"), str(tmp_path / "large.png"))
    assert {row["classes"][0]["name"] for row in said["predictions"]} == {
        row["classes"][0]["name"] for row in said["predictions"][:1]}
    assert said["accuracy"] is None
    monkeypatch.chdir(tmp_path)  # so that the name fits into a line, wherever the suite runs
    assert invoke(["predict", str(kept), "a.png"]) == 0
    assert "a.png" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "says"), [
    (["nowhere.png"], "nowhere.png"), (["digits", "x.png"], "digits is no picture"),
    (["digits", "--model", "9"], "--keep-models"), (["digits", "--model", "x"], "best, last"),
    (["digits", "--model", "0000000001"], "best, last"),
    (["digits", "--model", "\u0661"], "best, last"),
    (["npz:nowhere.npz"], "nowhere.npz"), (["scenery"], "no data called"),
])
def test_bad_input_is_one_line(
    kept: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["predict", str(kept), *arguments]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(("name", "value", "says"), [
    *((name, None, f"no array {name}") for name in ("classes", "epoch_best")),
    ("sample_shape", None, "older version"), ("w", None, "array w"),
    *((name, value, f"({name} must be") for name in ("classes", "epoch_best", "sample_shape")
      for value in (np.nan, "ten", [[1, 2]], 10.0, -1, True, 10**15)),
    ("classes", [10], "(classes must be"), ("classes", 9, "10 names for 9 classes"),
    ("sample_shape", [28.5, 28], "(sample_shape must be"), ("sample_shape", [1] * 9, "at most 8"),
    ("sample_shape", [28, 27], "parameters"), ("class_names", ["a", "b"], "2 names for 10"),
    ("class_names", 3, "class_names must be"), ("class_names", [[*"abcdefghij"]], "class_names"),
    ("class_names", list(range(10)), "class_names must be"),
    ("class_names", [np.nan], "class_names"),
])
def test_an_edited_model_file_is_refused_in_one_line(
    kept: Path, tmp_path: Path, name: str, value: object, says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = edited(kept, tmp_path, {name: value}, capsys)
    assert says in line


def edited(
    kept: Path, folder: Path, arrays: dict, capsys: pytest.CaptureFixture[str]
) -> str:
    """What predict says of a copy of the run whose model.npz holds other arrays; None: missing."""
    for name in ("bdn-run.json", "config.json"):
        (folder / name).write_bytes((kept / name).read_bytes())
    with np.load(kept / "model.npz") as stored:
        changed = {**stored, **arrays}
    np.savez(folder / "model.npz", **{name: value for name, value in changed.items()
                                      if value is not None})
    assert invoke(["predict", str(folder), "digits"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("bdn: ")
    return said


def test_scores_that_overflow_are_refused_without_warnings(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(kept / "model.npz") as stored:
        w = stored["w"]
    large = np.sign(w) * np.float32(3e38)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "finite score per class" in edited(kept, tmp_path, {"w": large}, capsys)


def test_a_run_begins_with_the_model_that_init_names(kept: Path, tmp_path: Path) -> None:
    """w^(0) is that model, genesis names its digest, and a resumption with another is refused."""
    start = tmp_path / "start.npz"
    start.write_bytes((kept / "models" / "epoch-2.npz").read_bytes())
    config, path = replace(SMALL, init=str(start), epochs=1), tmp_path / "run"
    with np.load(start) as arrays:
        w = arrays["w"]
    folder = RunFolder.create(path, config)
    with opened_run(config, folder, participants=people_of(config)) as run:
        assert np.array_equal(run.devices[0].progress.w, w)
        assert run.material.settings.initial_model
    with np.load(kept / "models" / "epoch-1.npz") as arrays:
        np.savez(start, **dict(arrays))
    with pytest.raises(UsageError, match="began with another model"), opened_run(
            config, RunFolder.open(path)):
        pass
    with pytest.raises(UsageError, match="parameters, and the model has"):
        people_of(replace(config, model="mlp"))
    start.write_bytes(b"no model")
    with pytest.raises(UsageError, match="no model of bdn"):
        people_of(config)
