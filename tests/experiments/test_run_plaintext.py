"""A PyTorch network and colour pictures over the default ledger: plaintext FedAvg, bit for bit."""

import sys
from pathlib import Path

import numpy as np
import plaintext_fedavg
import pytest

from bdn.cli import invoke

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(4 * 9, 3))

    def forward(self, x):
        return self.body(x)
"""


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a network, and an .npz of colour pictures."""
    pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    (tmp_path / "small_net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = rng.integers(0, 80, (300, 8, 8, 3)) + 120 * np.eye(3)[y][:, None, None, :]
    np.savez(tmp_path / "colour.npz", x=x.astype(np.uint8), y=y)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "small_net", raising=False)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("model", ["small_net:Net", "softmax"])
def test_the_chains_model_is_plaintext_federated_averaging_bit_for_bit(
    lesson: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default ledger with its norm proofs; only the key is a toy."""
    assert invoke(["run", "--model", model, "--data", "npz:colour.npz", "--epochs", "3",
                   "--iterations", "5", "--key-bits", "1024", "--out", "run"]) == 0
    assert plaintext_fedavg.main(lesson / "run") == 0
    assert "0 differ from plaintext" in capsys.readouterr().out


def test_a_model_that_differs_in_one_bit_is_seen(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Negative control."""
    assert invoke(["run", "--model", "softmax", "--data", "npz:colour.npz", "--epochs", "1",
                   "--devices", "3", "--threshold", "2", "--edges", "1", "--key-bits", "512",
                   "--norm-bound", "none", "--out", "run"]) == 0
    assert plaintext_fedavg.main(lesson / "run") == 0
    with np.load("run/model.npz") as arrays:
        stored = dict(arrays)
    stored["w_last"].view(np.int32)[17] ^= 1
    np.savez("run/model.npz", **stored)
    assert plaintext_fedavg.main(lesson / "run") == 1
    assert "1 differ from plaintext" in capsys.readouterr().out
