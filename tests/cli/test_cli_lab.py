"""`bdn lab` as a person and as a program meet it."""

import json
from pathlib import Path

import pytest

from bdn.cli import invoke
from bdn.experiments import lab
from bdn.experiments.lab.experiment import Experiment
from bdn.runfolder import MARKER
from bdn.runfolder.findings import PRIVACY_LEAK, SINGLE_POINT, Finding

KEYS = {"experiment", "group", "row", "title", "tried", "happened", "claimed", "not_covered",
        "held", "prevented"}


def defended(key_bits: int) -> Finding:
    """A defence holds."""
    return Finding("It was tried.", (f"With {key_bits} bits.", "a | b"), "Table 1.", "Else.", True)


def fallen(_key_bits: int) -> Finding:
    """A defence falls."""
    return Finding("It was tried.", ("It fell.",), "Table 1.", "Else.", False)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> dict[str, Experiment]:
    """A lab of two experiments that take no time."""
    both = {"one": Experiment("one", "crashes", SINGLE_POINT, defended),
            "two": Experiment("two", "lies", PRIVACY_LEAK, defended, prevented=False)}
    monkeypatch.setattr("bdn.cli.lab.EXPERIMENTS", both)
    return both


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder, as far as the lab cares."""
    path = tmp_path / "run"
    path.mkdir()
    (path / MARKER).write_text("{}")
    return path


def test_the_list_is_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["lab"]) == 0
    text = capsys.readouterr().out
    assert text.index("Edge servers crash") < text.index("crash-primary") < text.index(
        "Edge servers lie") < text.index("lying-primary")
    assert all(name in text for name in lab.EXPERIMENTS)


def test_one_experiment_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["lab", "edge-weights", "--key-bits", "512"]) == 0
    text = capsys.readouterr().out
    for head in ("Tried:", "Happened:", "Paper:", "Not covered:", "Outcome:     held"):
        assert head in text
    assert invoke(["lab", "edge-weights", "--key-bits", "512", "--json"]) == 0
    captured = capsys.readouterr()
    finding = json.loads(captured.out)
    assert finding.keys() == KEYS
    assert finding["held"]
    assert "edge-weights" in captured.err, "progress is told beside the JSON"


def test_all_into_a_run_folder(
    two: dict[str, Experiment], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shape that the report and the benchmarks read."""
    assert invoke(["lab", "all", "--key-bits", "300", "--into", str(folder)]) == 0
    written = json.loads((folder / lab.LAB).read_text(encoding="utf-8"))
    assert written.keys() == {"machine", "date", "key_bits", "findings"}
    assert written["key_bits"] == 300
    assert [item["experiment"] for item in written["findings"]] == list(two)
    assert all(item.keys() == KEYS for item in written["findings"])
    assert written["findings"][0]["happened"] == ["With 300 bits.", "a | b"]
    text = capsys.readouterr().out
    assert "2 of 2 experiments came out as documented" in text
    assert "not prevented, as documented" in " ".join(text.split())
    assert list(folder.glob("*.new")) == [], "nothing half-written"


def test_a_defence_that_fell_is_status_1_and_still_written(
    two: dict[str, Experiment], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two["one"] = Experiment("one", "crashes", SINGLE_POINT, fallen)
    two["two"] = Experiment("two", "lies", PRIVACY_LEAK, fallen, prevented=False)
    assert invoke(["lab", "all", "--into", str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    assert [item["held"] for item in json.loads(captured.out)["findings"]] == [False, False]
    assert "DID NOT HOLD" in captured.err
    assert "NOT AS DOCUMENTED" in captured.err
    assert (folder / lab.LAB).is_file()


def test_the_markdown_tables_are_by_the_rows_of_table_1(
    two: dict[str, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["lab", "all", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("## ")] == [f"## {r}" for r in lab.ROWS]
    assert "2 of 2 experiments" in "\n".join(lines)
    row = next(line for line in lines if line.startswith("| `one`"))
    assert "a \\| b" in row
    assert row.count(" | ") == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lab", "nothing"], "edge-weights"),
        (["lab", "all", "--into", "nowhere"], "no run folder"),
        (["lab", "--json"], "name an experiment"),
        (["lab", "all", "--key-bits", "8"], "256"),
    ],
)
def test_bad_input_is_status_2_before_anything_is_played(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []
