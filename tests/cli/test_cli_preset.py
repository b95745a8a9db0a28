"""``bdn run --preset paper``: section 5, and what is given explicitly wins."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bdn.cli.run
from bdn.cli import invoke
from bdn.experiments.config import PRESETS, RunConfig

PAPER: dict[str, Any] = {"devices": 10, "epochs": 1, "iterations": 1500, "step_size": 0.5,
                         "rule": "svrg-literal"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """(arguments) → the config that a run would have had."""
    found: list[RunConfig] = []
    monkeypatch.setattr(bdn.cli.run, "drive", lambda config, *_: found.append(config))

    def ask(*arguments: str) -> RunConfig:
        assert invoke(["run", *arguments, "--force", "--out", str(tmp_path / "run")]) == 0
        return replace(found[-1], executor="serial")  # which one depends on the machine

    return ask


def test_the_preset_is_section_5s_setting(asked: Any, shared: Path) -> None:
    """(Learning rate, epochs, iterations) = (0.5, 1, 1500), ten Raspberry Pis, Eq. (3)."""
    assert asked("--preset", "paper") == RunConfig(**PAPER)
    paper = (shared / "paper" / "blockdeepnet.md").read_text()
    assert "(Learning rate, No. of epochs, No. of iterations) was set to (0.5, 1, 1500)" in paper
    assert "maximum of 10 Raspberry Pis" in paper


@pytest.mark.parametrize(("given", "changed"), [
    (["--devices", "4"], {"devices": 4}), (["--devices", "5"], {"devices": 5}),
    (["--rule", "svrg", "--step-size", "1"], {"rule": "svrg", "step_size": 1.0}),
    (["--epochs", "10", "--seed", "9"], {"epochs": 10, "seed": 9}),
])  # fmt: skip
def test_what_is_given_wins_also_where_it_is_the_default(
    asked: Any, given: list[str], changed: dict[str, Any]
) -> None:
    """Five devices is what a run has without the preset; said aloud, it overrides the preset."""
    assert asked("--preset", "paper", *given) == RunConfig(**{**PAPER, **changed})
    assert asked(*given, "--preset", "paper") == RunConfig(**{**PAPER, **changed})


def test_without_a_preset_nothing_changes(asked: Any) -> None:
    assert asked() == RunConfig()


def test_presets_name_fields_of_a_run() -> None:
    for values in PRESETS.values():
        RunConfig(**values)


def test_an_unknown_preset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--preset", "papyrus"]) == 2
    assert "papyrus" in capsys.readouterr().err


def test_a_short_run_by_the_preset_is_real(tmp_path: Path) -> None:
    """Both phases of Eq. (3) over the ledger; the folder says what was run."""
    out = tmp_path / "run"
    assert invoke(["run", "--preset", "paper", "--devices", "4", "--iterations", "2", "--samples",
                   "15", "--key-bits", "512", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["rule"], config["step_size"], config["epochs"]) == ("svrg-literal", 0.5, 1)
    blocks = json.loads((out / "history.json").read_text())["blocks"]
    assert sum(block["kind"] == "candidate" for block in blocks) == 1
