"""`bdn.run`: history, model and paths from one call; what is wrong is refused before it begins."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bdn
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.verification import verify_run
from bdn.learning import DataError, MultilayerPerceptron, SoftmaxRegression, load

SMALL: dict[str, Any] = {
    "devices": 3, "threshold": 2, "edges": 1, "epochs": 2, "iterations": 3, "key_bits": 512,
    "norm_bound": None,
}


def clouds(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussian clouds, as scikit-learn would give them: float64, text labels."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % 3
    x = 3 * np.eye(3, 5)[y] + rng.normal(size=(count, 5))
    return x, np.array(["ant", "bee", "cat"])[y]


def test_one_call_gives_history_model_and_paths(tmp_path: Path) -> None:
    run = bdn.run(model="softmax", data="digits", out=tmp_path / "run", **SMALL)
    assert [len(row["contributors"]) for row in run.history["epochs"][:2]] == [3, 3]
    assert run.accuracy == run.history["accuracy"] > 0.5
    assert isinstance(run.model, SoftmaxRegression)
    assert run.w.shape == run.w_last.shape == (7_850,)
    assert run.paths.keys() == {"config", "ledger", "history", "model", "trace"}
    assert verify_run(run.paths["ledger"]) > 4
    with np.load(run.paths["model"]) as arrays:
        np.testing.assert_array_equal(arrays["w"], run.w)
    test = load("digits").test
    right = float((run.predict(test.inputs) == test.labels).mean())
    assert right == pytest.approx(run.accuracy)


def test_arrays_and_a_model_of_ones_own_need_no_files() -> None:
    x, y = clouds()
    model = MultilayerPerceptron((5,), 3, hidden=4)
    told: list[str] = []
    run = bdn.run(model=model, data=(x, y), listen=lambda event: told.append(event["event"]),
                  **{**SMALL, "epochs": 4, "iterations": 20})
    assert run.model is model
    assert run.class_names == ("ant", "bee", "cat")
    assert run.accuracy > 0.9
    assert (run.folder, run.paths) == (None, {})
    assert "epoch-done" in told
    assert {run.class_names[c] for c in run.predict(x)} == {"ant", "bee", "cat"}


def test_the_test_part_is_what_was_given() -> None:
    x, y = clouds()
    run = bdn.run(model="softmax", data=(x, y, x[:30], y[:30]), **SMALL)
    assert run.history["held_out"] == 30
    assert sum(device["samples"] for device in run.history["devices"]) == 120


def test_a_pytorch_module_is_trained_and_left_as_it_was(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    x, y = clouds()
    module = torch.nn.Linear(5, 3)
    before = module.weight.detach().clone()
    run = bdn.run(model=module, data=(x, y), out=tmp_path / "run",
                  **{**SMALL, "epochs": 4, "iterations": 20})
    assert torch.equal(module.weight, before)
    module.load_state_dict(run.state_dict())
    scores = module(torch.tensor(x, dtype=torch.float32))
    assert np.array_equal(scores.argmax(1).numpy(), run.predict(x))
    stored = torch.load(run.paths["state_dict"], weights_only=True)
    assert torch.equal(stored["weight"], module.weight)


class Client:
    """Moves its parameters towards its own number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fit(self, parameters: Any, config: Any) -> Any:
        return [array + 0.5 * (self.number - array) for array in parameters], 10, {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return float(np.mean((parameters[0] - self.number) ** 2)), 10, {}


def test_clients_of_a_program_train(tmp_path: Path) -> None:
    start = [np.zeros((2, 3))]
    run = bdn.run(clients=[Client(k) for k in range(3)], model=start, weight_clip=4.0, **SMALL)
    np.testing.assert_allclose(run.w_last, 0.75, atol=1e-3)  # half the way to 1, twice
    assert run.accuracy is None
    with pytest.raises(UsageError, match="clients trained"):
        run.predict(np.zeros((1, 3)))


def test_processes_are_an_option_as_on_the_command_line(tmp_path: Path) -> None:
    options = {**SMALL, "model": "softmax", "samples": 20}
    here = bdn.run(**options)
    there = bdn.run(processes=True, out=tmp_path / "run", **options)
    np.testing.assert_array_equal(here.w, there.w)


class Unsendable(Client):
    """Holds something that cannot be pickled, as many clients do."""

    def __init__(self) -> None:
        super().__init__(0)
        self.transform = lambda x: x


LOCAL = Unsendable()


@pytest.mark.parametrize(("options", "says"), [
    ({"epoch": 3}, "no option 'epoch'; did you mean epochs?"),
    ({"devices": 1}, "--devices must lie"),
    ({"model": "resnet"}, "--model must be"),
    ({"model": 5}, "a int is no model"),
    ({"data": "mnist"}, "--data must be"),
    ({"data": 5}, "not a int"),
    ({"data": (np.zeros((9, 2)),)}, "not a tuple"),
    ({"data": (np.zeros((9, 2)), np.zeros(8))}, "9 samples, but labels"),
    ({"data": (np.zeros((9, 2)), np.arange(9) % 2), "model": "paper-cnn"}, "samples of shape"),
    ({"processes": True}, "add out=PATH"),
    ({"clients": [LOCAL] * 3, "model": [np.zeros(2)], "executor": "processes:1"}, "cannot send"),
    ({"clients": [Client(0)], "model": [np.zeros(2)]}, "1 clients for 3 devices"),
    ({"norm_bound": 10 ** 400}, "--norm-bound"), ({"norm_bound": [1.0, 10 ** 400]}, "a number of"),
    ({"norm_bound": "1"}, "--norm-bound"), ({"step_size": b"abc"}, "--step-size must be a number"),
    ({"step_size": 10 ** 400}, "--step-size must be a number"), ({"baseline": 1}, "--baseline"),
    ({"layer_clips": [1, "x"]}, "--layer-clips"), ({"layer_clips": 3}, "--layer-clips"),
    ({"schedule": "step:0000000100:0.5"}, "--schedule"),
    ({"schedule": "step:1_0:0.5"}, "a schedule"),
    ({"schedule": "cosine:\u0663"}, "a schedule"), ({"schedule": "cosine:99999999"}, "a schedule"),
    ({"out": 3}, "out must be the path"), ({"out": b"zz"}, "out must be the path"),
    ({"out": "a\0b"}, "out must be the path"), ({"out": ""}, "out must be the path"),
    ({"out": "/proc/x/y", "model": "softmax"}, "out='/proc/x/y'"), ({"out": "a" * 5000}, "out="),
    ({"model": None}, "model must be paper-cnn, softmax, mlp"), ({"data": None}, "arrays (x, y)"),
    ({"clients": []}, "0 clients for 3 devices; give a list"), ({"clients": 3}, "give a list"),
    ({"clients": iter(int, 1)}, "more than 3 clients"),
    ({"clients": [1, 2, 3], "model": [np.zeros(2)]}, "has no fit and evaluate"),
    ({"clients": [Client(0)] * 3}, "no client says what its parameters are"),
    ({"clients": [Client(0)] * 3, "model": 5}, "a int; clients start from"),
])
def test_what_is_wrong_is_refused_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        bdn.run(**{**SMALL, **options})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_numpy_numbers_are_taken_as_pythons() -> None:
    config = RunConfig(norm_bound=np.float32(2), gradient_norm_bound=np.array([3, 4]),
                       baseline=np.bool_(False), devices=np.int64(5), step_size=np.float16(0.5))
    assert config.norm_bound == (2.0,)
    assert config.gradient_norm_bound == (3.0, 4.0)
    assert config.baseline is False
    assert RunConfig(norm_bound=(np.int8(2), 1)).norm_bound == (2.0, 1.0)
    for clips in ([1, 2], (1.0, np.int64(2)), np.array([1, 2])):
        assert RunConfig(norm_bound=None, layer_clips=clips).layer_clips == "1.0,2.0"
    RunConfig.from_json(config.to_json())


def test_a_folder_that_is_taken_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no run folder that bdn made"):
        bdn.run(out=tmp_path, model="softmax", **SMALL)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert issubclass(DataError, UsageError)


def test_importing_bdn_loads_nothing_else() -> None:
    script = "import sys, bdn; assert 'numpy' not in sys.modules; assert callable(bdn.run)"
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        bdn.rum  # noqa: B018 - reading it is the test
