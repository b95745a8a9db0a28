"""`bdn resume --epochs`: a run goes on beyond its end, and ends where the longer run would have."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.chain import CallTransaction, Store
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import Run, opened_run
from bdn.runfolder import MARKER

SMALL = RunConfig(model="softmax", devices=4, edges=1, threshold=2, epochs=1, iterations=1,
                  batch_size=4, samples=4, key_bits=512, deterministic=True, seed=3,
                  norm_bound=None)


def complete(path: Path, config: RunConfig, folder: RunFolder | None = None) -> dict[str, Any]:
    folder = folder if folder is not None else RunFolder.create(path, config)
    with opened_run(config, folder) as run:
        return run.complete()


def models(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path / "model.npz") as arrays:
        return arrays["w"], arrays["w_last"]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What a run of three epochs makes from the start."""
    path = tmp_path_factory.mktemp("long") / "run"
    return path, complete(path, replace(SMALL, epochs=3))


def requests(path: Path) -> list[tuple[tuple[Any, ...], bool]]:
    """(arguments, whether it was granted a receipt) of each request for more epochs."""
    with Store.open(path / "ledger.sqlite", read_only=True) as store:
        return [(e.payload.arguments, receipt.ok) for h in range(1, store.height() + 1)
                for e, receipt in zip(store.block(h).envelopes, store.receipts(h), strict=True)
                if isinstance(e.payload, CallTransaction) and e.payload.function == "extend"]


def test_a_finished_run_goes_on_to_the_model_of_the_longer_run(
    tmp_path: Path, long_run: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, theirs = tmp_path / "run", long_run[1]
    complete(path, SMALL)
    assert json.loads((path / MARKER).read_text())["ended"]
    assert invoke(["resume", str(path), "--epochs", "1"]) == 2
    assert "has 1 epochs; --epochs must be more than that" in capsys.readouterr().err
    assert invoke(["resume", str(path), "--epochs", "3", "--json"]) == 0
    history = json.loads(capsys.readouterr().out)
    for ours, longer in zip(models(path), models(long_run[0]), strict=True):
        assert np.array_equal(ours, longer)
    assert [(row["epoch"], row["closing"]) for row in history["epochs"]] == [
        (1, False), (1, True), (2, False), (3, False), (3, True)]
    assert history["config"]["epochs"] == 3
    assert history["supply"] == theirs["supply"], "the tokens of three epochs"
    assert [row["accuracy_alone"] for row in history["devices"]] == [
        row["accuracy_alone"] for row in theirs["devices"]]
    assert requests(path) == [((3,), True)] * SMALL.minimum
    assert invoke(["verify", str(path)]) == 0
    assert not list((path / "edges").glob("*.sqlite")), "it has ended again"


@pytest.mark.parametrize("stop", ["before its end", "between the requests", "in a new epoch"])
def test_an_interrupted_run_is_extended_and_may_be_interrupted_again(
    tmp_path: Path, long_run: tuple[Path, dict[str, Any]], stop: str
) -> None:
    path, begun = tmp_path / "run", 0

    def reached(run: Run) -> bool:
        match stop:
            case "before its end":
                return run.edges[0].ledger.height >= 4
            case "between the requests":
                return run.edges[0].ledger.height > begun
            case _:
                return run.devices[0].progress.done == 2

    config = SMALL
    folder = RunFolder.create(path, config)
    if stop != "before its end":
        complete(path, config, folder)
    else:
        with opened_run(config, folder) as run:
            run.runner.run(lambda: reached(run))
    folder = RunFolder.open(path)
    with folder.locked():
        folder.extend(3)
    assert folder.config.epochs == 3
    if stop != "before its end":
        with opened_run(folder.config, folder) as run:
            begun = run.edges[0].ledger.height
            run.runner.run(lambda: reached(run))
    complete(path, folder.config, folder)
    for ours, longer in zip(models(path), models(long_run[0]), strict=True):
        assert np.array_equal(ours, longer)


def test_other_changes_are_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with opened_run(SMALL, RunFolder.create(path, SMALL)):
        pass
    for name, value in (("epochs", 2), ("iterations", 9)):
        other: Any = {name: value}
        with pytest.raises(UsageError, match=f"{name} .* → {value}") as caught, opened_run(
                replace(SMALL, **other), RunFolder.open(path)):
            pass
        assert ("bdn resume --epochs" in str(caught.value)) == (name == "epochs")
