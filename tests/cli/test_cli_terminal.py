"""The command line on poor terminals and machines: missing letters, closed pipes, full disks."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from bdn.chain.contracts import encode_value
from bdn.cli import invoke
from bdn.cli.failures import REMEDIES, explain_os_error
from bdn.cli.screen import PlainConsole, styled
from bdn.errors import UsageError
from bdn.experiments.machine import demand_open_files
from bdn.learning.datasets.arrays import load_csv
from bdn.learning.model_files import load_checkpoint
from bdn.pbft.simulator import read_scenario
from bdn.runfolder import LEDGER

TINY = ["--devices", "3", "--threshold", "2", "--epochs", "1", "--iterations", "2",
        "--samples", "20", "--key-bits", "512", "--batch-size", "8", "--model", "softmax",
        "--norm-bound", "none"]


OTHER_KEYS = "UPDATE OR REPLACE state SET key = x'{}' WHERE contract != CAST('ledger' AS BLOB)"


def bdn(*arguments: str, flags: tuple[str, ...] = (), setup: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None, **options: Any) -> Any:
    """The finished command ``bdn``."""
    return subprocess.run(
        [sys.executable, *flags, "-m", "bdn", *arguments], check=False, preexec_fn=setup,
        env={**os.environ, **(environment or {})}, **{"capture_output": True, **options})


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal") / "run"
    assert invoke(["run", *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("command", [["run", "--help"], ["show", "RUN"], ["lab"]])
def test_letters_that_the_terminal_lacks_are_replaced(
    run_folder: Path, encoding: str, command: list[str]
) -> None:
    words = [str(run_folder) if word == "RUN" else word for word in command]
    done = bdn(*words, environment={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    if encoding != "ascii":  # click takes that for a mistake, and writes UTF-8
        done.stdout.decode(encoding)


def test_a_full_disk_behind_the_output_is_one_line(run_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = bdn("show", str(run_folder), stdout=full, stderr=subprocess.PIPE,
                   capture_output=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"the disk is full" in done.stderr


def test_a_reader_who_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    """As in ``bdn run 2>&1 | head -1``: the training goes on, silently."""
    reader, writer = os.pipe()
    with subprocess.Popen([sys.executable, "-m", "bdn", "run", *TINY, "--out",
                           str(tmp_path / "run")], stdout=writer, stderr=writer) as process:
        os.close(writer)
        os.read(reader, 10)
        os.close(reader)
        assert process.wait() in (0, 141)
    assert (tmp_path / "run" / "history.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_limit_on_file_sizes_is_named_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = bdn("run", *TINY, "--out", str(tmp_path / "run"), setup=limit)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    last = done.stderr.decode().splitlines()[-1]
    assert "disk" in last or "ulimit -f" in last
    if (tmp_path / "run").exists():  # it had begun: with more room it goes on
        assert bdn("resume", str(tmp_path / "run")).returncode == 0


@pytest.mark.parametrize("command", [["run"], ["run", "--out", "x"], ["show", "x"], ["resume", "x"],
                                     ["detect", "--model", "x", "y.png", "--out", "z"]])
def test_a_working_folder_that_was_deleted_is_told(command: list[str], tmp_path: Path) -> None:
    def leave() -> None:
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()

    done = bdn(*command, setup=leave)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"the working folder has been deleted" in done.stderr


def test_without_docstrings_the_lab_has_titles() -> None:
    done = bdn("lab", flags=("-OO",))
    assert done.returncode == 0, done.stderr
    assert b"crash-edge" in done.stdout


def test_the_limit_on_open_files_is_raised_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 100))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    demand_open_files(5)
    assert asked == [(55, 100)]
    with pytest.raises(UsageError, match="ulimit -n 160"):
        demand_open_files(40)


@pytest.mark.parametrize("number", REMEDIES)
def test_errors_of_the_system_name_file_and_remedy(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "place/file\nname")

    monkeypatch.setattr("bdn.cli.resume.RunFolder.open", fail)
    status = invoke(["resume", "x"])
    said = capsys.readouterr().err
    assert status == 2
    assert said.count("\n") == 1
    assert REMEDIES[number] in said
    assert "place/file" in said
    assert explain_os_error(OSError("odd")) == "odd"


def test_names_are_text_and_never_markup_or_control(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[red]x[/red] [/] \x1b[31m :smile: \u202e"
    console = PlainConsole()
    console.print(name)
    console.print(styled("[bold]{}[/bold] of {:>3}", name, 7))
    out = capsys.readouterr().out
    assert out.count("[red]x[/red] [/]") == 2
    assert out.count(":smile:") == 2
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert styled("[bold]{a}[/bold]", a="[i]") == Text("[i]", spans=styled(
        "[bold]{a}[/bold]", a="[i]").spans)


@pytest.mark.parametrize("read", [read_scenario, load_checkpoint, load_csv])
def test_a_device_without_end_is_refused(
    read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdn.learning.model_files.MAX_MODEL", 1 << 20)
    with pytest.raises(UsageError, match=r"/dev/zero.* more"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_streams_swallow_what_is_written(run_folder: Path, closed: str) -> None:
    def close() -> None:
        for number in closed.split():
            os.close(int(number))

    options = {"stdout": None, "stderr": None, "capture_output": False}
    assert bdn("show", str(run_folder), setup=close, **options).returncode == 0
    assert bdn("show", str(run_folder / "none"), setup=close, **options).returncode == 2


def test_a_folder_whose_name_is_no_utf_8(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"run-\xff")
    try:
        shutil.copytree(run_folder, folder)
    except OSError:
        pytest.skip("this file system takes no such names")
    for command in (["show", folder], ["show", folder, "1"], ["verify", folder],
                    ["report", folder], ["resume", folder]):
        assert bdn(*map(str, command)).returncode == 0, command


@pytest.mark.parametrize(("edit", "told"), [
    ("UPDATE blocks SET header = (SELECT header FROM blocks WHERE height = 2)", ", header: "),
    ("UPDATE state SET contract = 7", ", state: "),
    ("UPDATE state SET contract = x'ff'", ", state: "),
    *((OTHER_KEYS.format(encode_value(key).hex()), ", state: storage: key ")
      for key in ([], 7, "name", [7], [[]], {})),
])
def test_a_bent_ledger_is_told_by_place(
    run_folder: Path, tmp_path: Path, edit: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line names the block and the part of it."""
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    with closing(sqlite3.connect(folder / LEDGER)) as db, db:
        db.execute(edit)
    assert invoke(["verify", str(folder)]) == 1
    capfd.readouterr()
    assert invoke(["show", str(folder), "3"]) == 2
    assert told in capfd.readouterr().err
    assert invoke(["report", str(folder)]) in (0, 2)
