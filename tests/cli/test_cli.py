"""The command line as a newcomer meets it: help, errors in one line, exit statuses."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from bdn.cli import COMMANDS, invoke
from bdn.report import scaling_warnings

TINY = ["--devices", "3", "--threshold", "2", "--epochs", "1", "--iterations", "2",
        "--samples", "20", "--key-bits", "512", "--batch-size", "8",
        "--norm-bound", "none"]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([command, "--help"]) == 0
    assert "Usage: bdn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--devices", "3", "--threshold", "3"], "threshold + 1"),
        (["run", "--devices", "1"], "--devices must lie between 2"),
        (["run", "--devices", "1048577"],
         "--devices must lie between 2 and 1,048,576, not 1048577"),
        (["run", "--threshold", "9"], "impossible"),
        (["run", "--data", "mnist"], "--data must be digits"),
        (["run", "--step-size", "-1"], "--step-size must lie"),
        (["run", "--step-size", "nan"], "finite"),
        (["run", "--rule", "adam"], "adam"),
        (["run", "--norm-bound", "2,x"], "none, a number such as 0.7, or a number for each epoch"),
        (["run", "--norm-bound", "2,0"], "--norm-bound must lie between"),
        (["run", "--norm-bound", "inf"], "--norm-bound must be none, a number"),
        (["run", "--norm-bound", ",".join(["1"] * 1001)], "1,000 numbers at most, not 1,001"),
        (["verify", "nowhere"], "no ledger"),
        (["show", "nowhere"], "no ledger"),
        (["resume", "nowhere"], "no run folder"),
        (["nonsense"], "nonsense"),
        (["resum", "x"], "resume"),
        (["run", "--epoch", "3"], "--epochs"),
        (["run", "--epochs", "x"], "bdn run: Invalid value for '--epochs'"),
        (["run", "--data", "idx:"], "--data must be"),
        (["run", "--out", ""], "--out"),
        (["report", "nowhere"], "no run folder"),
        (["report", "nowhere", "--out", ""], "must not be empty"),
        (["bench", "sealling"], "did you mean sealing?"),
        (["lab", "crash-edges"], "did you mean crash-edge?"),
        (["verify"], "RUN"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert invoke(["run", *TINY, "--out", str(folder)]) == 0
    return folder


def test_a_run_ends_with_its_folder_and_tables(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "ledger.sqlite", "history.json", "model.npz", "trace.jsonl",
                 "report.html"):
        assert (run_folder / name).is_file()
    assert invoke(["show", str(run_folder)]) == 0
    text = capsys.readouterr().out
    assert "device-3" in text
    assert "candidate" in text
    assert invoke(["verify", str(run_folder)]) == 0


def test_show_a_block_in_text_and_json(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["show", str(run_folder), "4"]) == 0
    text = capsys.readouterr().out
    assert "AggregateTransaction" in text
    assert "Sealed in view 0 by edge-0" in text
    assert "✓ in the block" in text
    assert invoke(["show", str(run_folder), "4", "--json"]) == 0
    block = json.loads(capsys.readouterr().out)
    assert block["header"]["kind"] == "candidate"
    size = block["size"]
    assert block["transactions"][-1]["payload"] == "AggregateTransaction"
    assert size
    assert invoke(["show", str(run_folder), "99"]) == 2


def test_verify_says_so_in_json_and_fails_on_damage(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["verify", str(run_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    import sqlite3

    copy = tmp_path / "ledger.sqlite"
    copy.write_bytes((run_folder / "ledger.sqlite").read_bytes())
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("UPDATE blocks SET seal = zeroblob(length(seal)) WHERE height = 2")
    assert invoke(["verify", str(copy), "--json"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["ok"] is False
    assert "2" in outcome["place"]


def test_a_run_is_not_overwritten_and_a_foreign_folder_never(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run_folder / "history.json").read_bytes()
    assert invoke(["run", *TINY, "--out", str(run_folder)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (run_folder / "history.json").read_bytes() == before
    (tmp_path / "thesis.tex").write_text("precious")
    assert invoke(["run", *TINY, "--out", str(tmp_path), "--force"]) == 2
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_resuming_a_finished_run_ends_at_once(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((run_folder / "history.json").read_text())
    assert invoke(["resume", str(run_folder), "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["accuracy"] == before["accuracy"]
    assert len(after["blocks"]) == len(before["blocks"])


@pytest.mark.parametrize(
    ("options", "limit", "advice"),
    [(["--weight-clip", "0.001"], "clip", "raise --weight-clip"),
     (["--norm-bound", "0.001"], "norm bound", "raise --norm-bound")],
)
def test_updates_that_are_scaled_down_in_every_epoch_are_told_with_advice(
    options: list[str], limit: str, advice: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the words of the run, of `show` and of the report."""
    folder = tmp_path / "run"
    arguments = ["run", *TINY, "--epochs", "2", *options, "--out", str(folder)]
    assert invoke(arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert invoke(["show", str(folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in (told, shown, (folder / "report.html").read_text()):
        assert f"6 updates were scaled down to fit the {limit}, the most by a factor of 0.0" in text
        assert "device-1, device-2, device-3 were in every epoch" in text
        assert advice in text


def test_updates_that_are_scaled_down_now_and_then_are_only_counted() -> None:
    history = {"epochs": [{"epoch": epoch, "closing": epoch == 3} for epoch in (1, 2, 3)],
               "devices": [{"name": f"device-{k}"} for k in range(1, 8)],
               "scaled": [{"node": f"device-{k}", "epoch": 1, "factor": 0.5 / k, "limit": "clip"}
                          for k in range(1, 8)]}
    assert scaling_warnings(history) == [
        "7 updates were scaled down to fit the clip, the most by a factor of 0.0714."]
    history["scaled"] += [{**row, "epoch": 2} for row in history["scaled"]]
    [sentence] = scaling_warnings(history)
    assert "Those of device-1, device-2, device-3, device-4 and 3 more were in every" in sentence
    assert scaling_warnings({**history, "scaled": [{}]}) == [
        "1 update was scaled down to fit the clip."]
