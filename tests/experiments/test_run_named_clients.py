"""`bdn run --clients`: users' clients in one process, in a process each, on workers and Dask."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.chain import Ledger
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.clients import from_clients
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.processes.run import opened_processes
from bdn.experiments.run import opened_run
from bdn.learning import ClientLayout, flatten

CLIENTS = '''
"""A softmax regression in NumPy, as Flower's templates are laid out, and clients that fail."""
import numpy as np

CLASSES, FEATURES = 3, 4

class Client:
    def __init__(self, seed, count=40):
        rng = np.random.default_rng(seed)
        self.y = rng.integers(0, CLASSES, count)
        self.X = 3 * np.eye(CLASSES, FEATURES)[self.y] + rng.normal(size=(count, FEATURES))

    def odds(self, parameters):
        scores = self.X @ parameters[0].T + parameters[1]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def fit(self, parameters, config):
        W, b, seen = parameters
        assert seen.dtype == np.int64 and seen == 7
        for _ in range(config["iterations"]):
            error = self.odds([W, b]) - np.eye(CLASSES)[self.y]
            W = W - config["step_size"] * error.T @ self.X / len(self.y)
            b = b - config["step_size"] * error.mean(axis=0)
        return [W, b, seen + 1000], len(self.y), {}

    def evaluate(self, parameters, config):
        odds = self.odds(parameters)
        loss = -np.log(odds[np.arange(len(self.y)), self.y]).mean()
        right = (odds.argmax(axis=1) == self.y).mean()
        return float(loss), len(self.y), {"accuracy": float(right)}


class Faulty(Client):
    """Fails in the way that it is told, from the first epoch on."""
    def __init__(self, seed, how):
        super().__init__(seed)
        self.how = how

    def fit(self, parameters, config):
        fitted, count, figures = super().fit(parameters, config)
        if config["epoch"] == 0 and self.how != "always":
            return fitted, count, figures
        match self.how:
            case "raises" | "always":
                raise RuntimeError("CUDA out of memory")
            case "leaves":
                raise SystemExit(3)
            case "nonsense":
                return "a model"
            case "nan":
                return [fitted[0] * np.nan, *fitted[1:]], count, figures
            case "empty":
                return [], 0, {}
            case "no samples":
                return fitted, 0, figures
            case "too many":
                return [*fitted, np.zeros(10 ** 6)], count, figures
            case "too large":
                return [np.zeros((CLASSES, 10 ** 5)), *fitted[1:]], count, figures

HOW = ["raises", "leaves", "nonsense", "nan", "empty", "no samples", "too many", "too large",
       "always"]

def start():
    return [np.zeros((CLASSES, FEATURES), np.float32), np.zeros(CLASSES, np.float32),
            np.array(7, np.int64)]

def client(device, devices):
    return Client(device)

def all_of_them(devices):
    return [Client(device) for device in range(devices)]

def some_fail(device, devices):
    if device < 3:
        return Client(device)
    if device - 3 < len(HOW):
        return Faulty(device, HOW[device - 3])
    raise FileNotFoundError("no data for this device")

def last_fails(device, devices):
    return Faulty(device, "always") if device == devices - 1 else Client(device)

class Telling(Client):
    sample_count = 40
    def get_parameters(self, config):
        return start()
    def fit(self, parameters, config):
        assert config["epoch"] > 0, "no trial is needed"
        return super().fit(parameters, config)

def telling(device):
    return Telling(device)

def wrong(device):
    return 5

def number():
    return 5

def of_context(context):
    return 5
'''

OPTIONS: dict[str, Any] = {
    "threshold": 2, "norm_bound": None, "iterations": 20, "step_size": 0.5, "weight_clip": 4.0,
    "key_bits": 512, "edges": 1, "epochs": 3, "model": "my_clients:start",
}


@pytest.fixture
def my_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of clients."""
    (tmp_path / "my_clients.py").write_text(CLIENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_clients", raising=False)
    return tmp_path


def failures(events: list[dict[str, Any]]) -> dict[str, str]:
    """What each device's own work failed of, by its name."""
    return {event["node"]: event["reason"] for event in events
            if event["event"] == "failed" and "work" in event}


def test_every_kind_of_fault_names_its_client_and_costs_nobody_else_anything(
    my_clients: Path,
) -> None:
    config = RunConfig(devices=13, minimum_contributors=3, clients="my_clients:some_fail",
                       **OPTIONS)
    events: list[dict[str, Any]] = []
    with opened_run(config, listen=events.append) as run:
        history = run.complete()
    for epoch in history["epochs"][:3]:
        assert sorted(epoch["contributors"]) == ["device-1", "device-2", "device-3"]
    said = failures(events)
    expected = {"device-4": "CUDA", "device-5": "SystemExit", "device-6": "a str",
                "device-7": "not finite", "device-8": "0 arrays", "device-9": "0 samples",
                "device-10": "4 arrays", "device-11": "shape", "device-12": "CUDA",
                "device-13": "no data for this device"}
    assert said.keys() == expected.keys()
    for device, words in expected.items():
        assert words in said[device]
        assert device in said[device] or len(said[device]) < 400
    assert history["accuracy"] > 0.85
    assert any("device-12" in note for note in history["notes"])


def test_where_the_work_runs_changes_no_model(my_clients: Path) -> None:
    """One process, a process per node, a pool; a function for one client or for all."""
    config = RunConfig(devices=3, clients="my_clients:client", **OPTIONS)
    with opened_run(config) as run:
        history = run.complete()
        expected = run.reference.progress.w
        assert run.material.settings.model_size == 15, "the counter is no parameter"
    assert history["accuracy"] > 0.85
    assert all(row["accuracy_alone"] is None for row in history["devices"])
    for options in ({"clients": "my_clients:all_of_them"}, {"executor": "processes:1"}):
        other = RunConfig(**{**OPTIONS, "devices": 3, "clients": config.clients, **options})
        with opened_run(other) as again:
            again.complete()
            assert np.array_equal(again.reference.progress.w, expected)
    folder = RunFolder.create(my_clients / "run", config)
    with opened_processes(config, folder) as processes:
        processes.complete()
        assert np.array_equal(processes.reference.progress.w, expected)


def test_a_failing_client_in_a_process_of_its_own_is_left_out(my_clients: Path) -> None:
    config = RunConfig(**{**OPTIONS, "devices": 4, "clients": "my_clients:last_fails",
                          "epochs": 2, "minimum_contributors": 3, "deadline_seconds": 2.0})
    events: list[dict[str, Any]] = []
    with opened_processes(config, RunFolder.create(my_clients / "run", config),
                          listen=events.append) as run:
        history = run.complete()
    assert [len(epoch["contributors"]) for epoch in history["epochs"][:2]] == [3, 3]
    assert failures(events).keys() == {"device-4"}


@pytest.mark.slow
def test_clients_train_on_a_dask_cluster(my_clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker makes the clients itself; their module must be importable there."""
    distributed = pytest.importorskip("distributed", reason="extra dask is not installed")
    monkeypatch.setenv("PYTHONPATH", f"{my_clients}:{':'.join(sys.path)}")
    config = RunConfig(devices=4, minimum_contributors=3, clients="my_clients:last_fails",
                       **OPTIONS)
    events: list[dict[str, Any]] = []
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True,
                                  dashboard_address=None, host="127.0.0.1") as cluster:
        there = RunConfig(**{**OPTIONS, "devices": 4, "minimum_contributors": 3,
                             "clients": config.clients,
                             "executor": f"dask:{cluster.scheduler_address}"})
        with opened_run(there, listen=events.append) as run:
            run.complete()
            on_dask = run.reference.progress.w
    assert failures(events).keys() == {"device-4"}
    with opened_run(config) as here:
        here.complete()
        assert np.array_equal(here.reference.progress.w, on_dask)


def test_the_command_line_records_the_clients_and_resume_finds_them(my_clients: Path) -> None:
    """`get_parameters` gives w^(0), `sample_count` s_k."""
    assert invoke(["run", "--clients", "my_clients:telling", "--devices", "3", "--threshold", "2",
                   "--edges", "1", "--epochs", "1", "--key-bits", "512", "--out", "run"]) == 0
    ledger = Ledger.open(my_clients / "run" / "ledger.sqlite", {})
    assert ledger.genesis.settings["model"] == "my_clients:telling"
    ledger.close()
    (my_clients / "run" / "history.json").unlink()
    assert invoke(["resume", "run"]) == 0
    history = json.loads((my_clients / "run" / "history.json").read_text())
    assert history["config"]["clients"] == "my_clients:telling"
    assert {device["samples"] for device in history["devices"]} == {40}


@pytest.mark.parametrize(("options", "says"), [
    ({"clients": "my_clients:client", "model": "paper-cnn"}, "add --model module:factory"),
    ({"clients": "my_clients:wrong"}, "device-1: --clients my_clients:wrong: returned a int"),
    ({"clients": "my_clients:absent"}, "no function absent"),
    ({"clients": "my_clients:client", "model": "my_clients:wrong"},
     "needs device, and is called with seed"),
    ({"clients": "my_clients:of_context"}, "needs context, and is called with device, devices"),
    ({"clients": "my_clients:client", "model": "my_clients:number"}, "a int; clients start"),
    ({"clients": "my_clients:last_fails", "devices": 3}, "2 of 3 clients work, and 3 must"),
    ({"clients": "my_clients"}, "--clients must be module:function"),
    ({"clients": "my_clients:client", "rule": "svrg"}, "no gradients"),
    ({"clients": "my_clients:client", "model": "mlp"}, "leave out --model mlp"),
])
def test_what_cannot_begin_says_why_in_one_line(
    my_clients: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        from_clients(RunConfig(**{**OPTIONS, "devices": 4, **options}))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_layout_keeps_counters_and_types() -> None:
    arrays = [np.arange(6, dtype=np.float16).reshape(2, 3), np.array(5, np.int64),
              np.array([True, False]), np.ones(2)]
    layout = ClientLayout.of(arrays)
    w = layout.flatten(arrays)
    assert w.dtype == np.float32
    np.testing.assert_array_equal(w, [0, 1, 2, 3, 4, 5, 1, 1])
    np.testing.assert_array_equal(w, flatten(arrays))
    back = layout.unflatten(w * np.float32(2))
    assert [array.dtype for array in back] == [array.dtype for array in arrays]
    np.testing.assert_array_equal(back[0], 2 * arrays[0])
    assert back[1] == 5
    np.testing.assert_array_equal(back[2], [True, False])
    for nothing in ([], [np.arange(3)], [np.array(["a"])]):
        with pytest.raises(UsageError):
            ClientLayout.of(nothing)
