"""`--model`: one process, a process per node, a pool of workers, and a resumed run agree."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bdn.chain import Ledger
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.processes.run import opened_processes
from bdn.experiments.run import opened_run
from bdn.learning import MODELS, MultilayerPerceptron, SoftmaxRegression

SMALL = ["--devices", "3", "--threshold", "2", "--edges", "1", "--epochs", "2", "--iterations", "2",
         "--samples", "20", "--key-bits", "512", "--batch-size", "8", "--norm-bound", "none"]

FACTORIES = """
from bdn.learning import MultilayerPerceptron

def wide(sample_shape, classes, seed):
    return MultilayerPerceptron(sample_shape, classes, seed, hidden=6)

def other(sample_shape, classes, seed):
    return MultilayerPerceptron(sample_shape, classes, seed + 1, hidden=6)

def nothing():
    return 5
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of factories; the current one."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "factories", raising=False)
    return tmp_path


def test_each_model_trains_over_the_ledger_by_its_name(tmp_path: Path) -> None:
    sizes = {}
    for name in MODELS:
        out = tmp_path / name
        assert invoke(["run", *SMALL, "--model", name, "--out", str(out)]) == 0
        history = json.loads((out / "history.json").read_text())
        assert history["config"]["model"] == name
        assert [len(row["contributors"]) for row in history["epochs"][:2]] == [3, 3]
        ledger = Ledger.open(out / "ledger.sqlite", {})
        assert ledger.genesis.settings["model"] == name
        sizes[name] = ledger.genesis.settings["model_size"]
        ledger.close()
    assert sizes == {"paper-cnn": 252_398, "softmax": 7_850, "mlp": 25_450}


def test_where_the_work_runs_changes_no_model(
    tiny: Callable[..., RunConfig], factories: Path
) -> None:
    """One process, a process per node, and a pool of workers; a factory of one's own."""
    config = tiny(model="factories:wide", deterministic=False, devices=3, edges=1)
    with opened_run(config) as run:
        run.complete()
        expected = run.reference.progress.w
    assert isinstance(run.material.participants.model, MultilayerPerceptron)
    folder = RunFolder.create(factories / "run", config)
    with opened_processes(config, folder) as other:
        other.complete()
        assert np.array_equal(other.reference.progress.w, expected)
    pooled = tiny(model="factories:wide", executor="processes:1", devices=3, edges=1)
    with opened_run(pooled) as third:
        third.complete()
        assert np.array_equal(third.reference.progress.w, expected)


def test_processes_train_on_samples_of_any_shape(tiny: Callable[..., RunConfig],
                                                 tmp_path: Path) -> None:
    """Colour pictures reach the devices' processes as they are."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (rng.integers(0, 60, (90, 4, 5, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "colour.npz", x=x, y=y)
    config = tiny(data=f"npz:{tmp_path / 'colour.npz'}", model="softmax", deterministic=False,
                  devices=3, edges=1, samples=None, iterations=20, step_size=0.5)
    with opened_processes(config, RunFolder.create(tmp_path / "run", config)) as run:
        history = run.complete()
        processes = run.reference.progress.w
    assert history["accuracy"] > 0.9
    with opened_run(config) as same:
        same.complete()
        assert np.array_equal(same.reference.progress.w, processes)
        assert same.material.participants.model == SoftmaxRegression((4, 5, 3), 3, config.seed)


def test_a_resumed_run_has_its_model_or_is_refused(
    tiny: Callable[..., RunConfig], factories: Path
) -> None:
    config = tiny(model="factories:wide", deterministic=False)
    path = factories / "run"
    with opened_run(config, RunFolder.create(path, config)):
        pass  # begun, and stopped before anything was trained
    with opened_run(config, RunFolder.open(path)):
        pass
    with pytest.raises(UsageError, match=r"model factories:wide → factories:other"), opened_run(
            tiny(model="factories:other", deterministic=False), RunFolder.open(path)):
        pass
    (factories / "factories.py").write_text(FACTORIES.replace("seed, hidden", "seed + 9, hidden"))
    del sys.modules["factories"]
    with pytest.raises(UsageError, match="another model, other data, or another split"), opened_run(
            config, RunFolder.open(path)):
        pass


@pytest.mark.parametrize(("model", "says"), [
    ("resnet", "--model must be paper-cnn"), ("factories:nothing", "returned a int"),
    ("factories:absent", "no function absent"), ("nowhere:f", "importing nowhere")])
def test_what_is_no_model_is_refused_in_one_line(
    factories: Path, capsys: pytest.CaptureFixture[str], model: str, says: str
) -> None:
    assert invoke(["run", *SMALL, "--model", model, "--out", "run"]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said
    assert not Path("run").exists()


def test_a_model_for_other_samples_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((50, 8, 8), np.uint8), y=np.arange(50) % 2)
    assert invoke(["run", *SMALL, "--data", f"npz:{tmp_path / 'd.npz'}",
                   "--out", str(tmp_path / "run")]) == 2
    assert "paper-cnn takes samples of shape (28, 28), and the data's have shape (8, 8)" in (
        capsys.readouterr().err)


def test_a_function_is_a_source_on_the_command_line(factories: Path) -> None:
    (factories / "lesson.py").write_text(
        "from bdn.learning import load\ndef digits(): return load('digits')\n")
    assert invoke(["run", *SMALL, "--data", "lesson:digits", "--model", "softmax",
                   "--out", "run"]) == 0


NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Dropout(0.1), torch.nn.Linear(4 * 13 * 13, 10))

    def forward(self, x):
        return self.body(x)
"""


def test_a_pytorch_network_trains_over_the_ledger_and_leaves_its_state_dict(
    factories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command; in one process and in a process per node the same model, bit for bit."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    (factories / "network.py").write_text(NETWORK)
    models = []
    for more in ([], ["--processes"], ["--executor", "processes:1"]):
        out = factories / f"run{len(models)}"
        assert invoke(["run", *SMALL, "--model", "network:Net", "--out", str(out), *more]) == 0
        with np.load(out / "model.npz") as arrays:
            models.append((arrays["w"], arrays["w_last"]))
    for pair in models[1:]:
        np.testing.assert_array_equal(pair[0], models[0][0])
        np.testing.assert_array_equal(pair[1], models[0][1])
    state = torch.load(factories / "run0" / "model.pt", weights_only=True)
    network = sys.modules["network"].Net()
    network.load_state_dict(state)
    floats = [value.numpy().ravel() for value in network.state_dict().values()
              if value.is_floating_point()]
    np.testing.assert_array_equal(np.concatenate(floats), models[0][0])
