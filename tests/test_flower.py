"""Flower apps over the ledger by the real `flwr`: the quickstart's ClientApp, and a client_fn."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.clients import from_clients
from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.learning import TrainingSettings, federated

pytest.importorskip("flwr.app", reason="flwr is not installed (extra: flower)")
torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
from bdn.flower import FlowerClient, read_run_config  # noqa: E402 - needs flwr

TASK = '''
"""A network and its data, in the layout of Flower's PyTorch quickstart."""
import torch
from torch import nn
from bdn.learning import load, split

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(784)
        self.head = nn.Linear(784, 10)

    def forward(self, x):
        return self.head(self.norm(x.flatten(1)))

def load_data(partition_id, num_partitions):
    part = split(load("digits").train, num_partitions)[partition_id]
    return torch.from_numpy(part.images[:100]), torch.from_numpy(part.labels[:100])

def train(net, data, epochs, lr):
    X, y = data
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    net.train()
    for _ in range(epochs):
        for at in range(0, len(y), 20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(X[at:at + 20]), y[at:at + 20])
            loss.backward()
            optimizer.step()
    return loss.item()

def test(net, data):
    X, y = data
    net.eval()
    with torch.no_grad():
        scores = net(X)
    right = (scores.argmax(1) == y).float().mean().item()
    return nn.functional.cross_entropy(scores, y).item(), right
'''

CLIENT_APP = '''
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from quickstart_task import Net, load_data, test as test_fn, train as train_fn

app = ClientApp()

@app.train()
def train(msg: Message, context: Context):
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss = train_fn(net, data, context.run_config["local-epochs"], msg.content["config"]["lr"])
    content = RecordDict({
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"train_loss": loss, "num-examples": len(data[1])}),
    })
    return Message(content=content, reply_to=msg)

@app.evaluate()
def evaluate(msg: Message, context: Context):
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss, accuracy = test_fn(net, data)
    metrics = MetricRecord(
        {"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(data[1])})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
'''

LEGACY_APP = '''
import torch
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from quickstart_task import Net, load_data, test as test_fn, train as train_fn

class FlowerClient(NumPyClient):
    def __init__(self, data, local_epochs):
        self.net, self.data, self.local_epochs = Net(), data, local_epochs

    def set(self, parameters):
        names = self.net.state_dict()
        self.net.load_state_dict(
            {name: torch.tensor(array) for name, array in zip(names, parameters)}, strict=True)

    def fit(self, parameters, config):
        self.set(parameters)
        train_fn(self.net, self.data, self.local_epochs, config["lr"])
        arrays = [value.numpy() for value in self.net.state_dict().values()]
        return arrays, len(self.data[1]), {}

    def evaluate(self, parameters, config):
        self.set(parameters)
        loss, accuracy = test_fn(self.net, self.data)
        return loss, len(self.data[1]), {"accuracy": accuracy}

def client_fn(context):
    data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    return FlowerClient(data, context.run_config["local-epochs"]).to_client()

app = ClientApp(client_fn)
'''

PROJECT = """
[project]
name = "quickstart"
[tool.flwr.app.components]
clientapp = "quickstart_client:app"
[tool.flwr.app.config]
local-epochs = 2
nested.value = "x"
"""

CONFIG = RunConfig(
    devices=3, threshold=2, edges=1, epochs=3, step_size=0.1, key_bits=512, norm_bound=None,
    clients="quickstart_client:app", model="quickstart_task:Net")


@pytest.fixture
def app_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a Flower project."""
    (tmp_path / "quickstart_task.py").write_text(TASK)
    (tmp_path / "quickstart_client.py").write_text(CLIENT_APP)
    (tmp_path / "quickstart_legacy.py").write_text(LEGACY_APP)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("task", "client", "legacy"):
        monkeypatch.delitem(sys.modules, f"quickstart_{name}", raising=False)
    return tmp_path


def test_the_quickstarts_client_app_trains_over_the_ledger(app_folder: Path) -> None:
    """One command; the ServerApp is not needed."""
    assert invoke([
        "run", "--clients", "quickstart_client:app", "--model", "quickstart_task:Net",
        "--devices", "3", "--threshold", "2", "--edges", "1", "--epochs", "3", "--step-size",
        "0.1", "--key-bits", "512", "--norm-bound", "none", "--out", "run"]) == 0
    history = json.loads((app_folder / "run" / "history.json").read_text())
    assert [len(epoch["contributors"]) for epoch in history["epochs"][:3]] == [3, 3, 3]
    assert {device["samples"] for device in history["devices"]} == {100}
    assert history["accuracy"] > 0.8
    net = sys.modules["quickstart_task"].Net()
    net.load_state_dict(torch.load(app_folder / "run" / "model.pt", weights_only=True))


def test_its_model_is_that_of_plain_federated_averaging(app_folder: Path) -> None:
    """The same app under plaintext Algorithm 1, up to half a fixed-point step per epoch."""
    with opened_run(CONFIG) as run:
        run.complete()
        ours = run.reference.progress.w
        people = run.material.participants
    rules = TrainingSettings(epochs=3, step_size=0.1)
    named = {f"device-{k + 1}": learner for k, learner in enumerate(people.learners)}
    plain = list(federated(None, named, rules, w=people.w))[-1].w
    step = 2 * CONFIG.weight_clip / (2 ** CONFIG.value_bits - 1)
    assert np.abs(ours - people.w).max() > 100 * step
    assert np.abs(ours - plain).max() < 10 * step


def test_an_app_made_of_a_client_fn_gives_the_same_model(app_folder: Path) -> None:
    models = []
    for name in ("quickstart_client:app", "quickstart_legacy:app"):
        config = RunConfig(**{**{field: getattr(CONFIG, field) for field in (
            "devices", "threshold", "edges", "step_size", "key_bits", "norm_bound", "model")},
            "epochs": 2, "clients": name})
        with opened_run(config) as run:
            history = run.complete()
            models.append(run.reference.progress.w)
        assert history["accuracy"] > 0.7
    np.testing.assert_array_equal(*models)


def app_that(reply: Any) -> Any:
    """A ClientApp whose train and evaluate functions are ``reply``."""
    from flwr.clientapp import ClientApp

    app = ClientApp()
    app.train()(reply)
    app.evaluate()(reply)
    return app


@pytest.mark.parametrize(("metrics", "arrays", "says"), [
    ({}, 1, "no num-examples, only nothing"), ({"num-examples": 3}, 0, "0 ArrayRecords"),
    ({"num-examples": 3}, 2, "2 ArrayRecords"), ({"accuracy": 0.5}, 1, "only accuracy")])
def test_a_reply_that_holds_too_little_says_what_is_missing(
    metrics: dict[str, Any], arrays: int, says: str
) -> None:
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    def reply(message: Any, _context: Any) -> Any:
        content = RecordDict({f"a{i}": ArrayRecord([np.zeros(2)]) for i in range(arrays)})
        content["m"] = MetricRecord(metrics)
        return Message(content, reply_to=message)

    client = FlowerClient(app_that(reply), 0, 2, ["w"])
    with pytest.raises(Exception, match=says):
        client.fit([np.zeros(2)], {})
    with pytest.raises(Exception, match="holds no loss"):
        client.evaluate([np.zeros(2)], {})


def test_an_error_reply_and_a_missing_function_are_the_devices_fault() -> None:
    from flwr.app import Error, Message
    from flwr.clientapp import ClientApp

    client = FlowerClient(app_that(
        lambda message, _context: Message(Error(7, "no data"), reply_to=message)), 0, 2, ["w"])
    with pytest.raises(Exception, match="error 7: no data"):
        client.fit([np.zeros(2)], {})
    with pytest.raises(ValueError, match="No train function"):
        FlowerClient(ClientApp(), 0, 2, ["w"]).fit([np.zeros(2)], {})


def test_the_state_of_a_context_lasts_from_round_to_round() -> None:
    from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

    def count(message: Any, context: Any) -> Any:
        calls = context.state.get("calls", ConfigRecord({"n": 0}))["n"] + 1
        context.state["calls"] = ConfigRecord({"n": calls})
        metrics = MetricRecord({"loss": float(calls), "num-examples": 1})
        return Message(RecordDict({"m": metrics}), reply_to=message)

    client = FlowerClient(app_that(count), 0, 2, ["w"])
    assert [client.evaluate([np.zeros(2)], {})[0] for _ in range(3)] == [1, 2, 3]


def test_an_apps_run_config_is_read_from_its_project(app_folder: Path) -> None:
    assert read_run_config(app_folder) == {"local-epochs": 2, "nested.value": "x"}
    assert read_run_config(app_folder / "nowhere") == {}
    (app_folder / "pyproject.toml").write_text("[tool.flwr.app\n")
    with pytest.raises(UsageError, match="cannot be read as a Flower project"):
        read_run_config(app_folder)


def test_an_app_needs_the_initial_model(app_folder: Path) -> None:
    with pytest.raises(UsageError, match="add --model module:factory"):
        from_clients(RunConfig(devices=4, clients="quickstart_client:app"))
