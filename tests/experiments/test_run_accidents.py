"""Accidents to a run folder: nothing is lost, nothing half-made, and each refusal is one line."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.chain import Store
from bdn.cli import invoke
from bdn.errors import BdnError, UsageError
from bdn.experiments.config import BOUNDS, RunConfig
from bdn.experiments.folder import NodeStore, RunFolder, check_free
from bdn.experiments.participants import Participants, from_data
from bdn.experiments.run import Run, opened_run
from bdn.experiments.verification import verify_run
from bdn.learning import CnnLearner, Evaluation
from bdn.learning.executors import Dask, WorkerLostError
from bdn.runfolder import DRAFT, FILES, FORMAT, LEDGER, LOCK, MARKER, REPLACED

pytestmark = pytest.mark.usefixtures("compiled_once")

CONFIG = RunConfig(norm_bound=None, devices=3, threshold=2, epochs=2, iterations=2,
                   samples=20, model="softmax", key_bits=512, batch_size=8)


def saved(folder: Path) -> np.ndarray:
    """The last model that a run wrote."""
    return np.load(folder / "model.npz")["w_last"]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, links as links."""
    return {str(path.relative_to(folder)): b"" if path.is_dir() else path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.name != LOCK
            and not path.name.endswith(("-wal", "-shm"))}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, to be copied."""
    path = tmp_path_factory.mktemp("ended") / "run"
    with opened_run(CONFIG, RunFolder.create(path, CONFIG)) as run:
        run.complete()
    return path


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that stopped after its first epoch, to be copied."""
    path = tmp_path_factory.mktemp("halted") / "run"
    with opened_run(CONFIG, RunFolder.create(path, CONFIG)) as run:
        run.runner.run(lambda: run.is_over() or 1 in run.meter.epochs)
    return path


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a folder for a test to spoil."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    """A folder that looks like a finished run's from outside, with little in its files."""
    folder = tmp_path / "hollow"
    (folder / "edges").mkdir(parents=True)
    for name in (*FILES, "edges/edge-1.sqlite", "ledger.sqlite-wal"):
        (folder / name).write_text(f"old {name}")
    (folder / "config.json").write_text(CONFIG.to_json())
    (folder / MARKER).write_text(json.dumps({"format": FORMAT, "ended": True, **MADE}))
    return folder


MADE: dict[str, Any] = {
    "chain": "old", "processes": False, "config": {}, "participants": {
        "source": "", "learners": {}, "model_size": 0, "classes": 0, "digest": ""}}


def resumed(folder: Path, **options: Any) -> dict[str, Any]:
    """The history of a run that goes on to its end."""
    opened = RunFolder.open(folder)
    with opened_run(opened.config, opened, **options) as run:
        return run.complete()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What ``bdn`` says when it refuses: one line after any progress, exit status 2."""
    capsys.readouterr()
    assert invoke(list(arguments)) == 2
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if not line.startswith(("[", "Deterministic:"))]
    assert len(lines) == 1, said
    assert said[-1].startswith("bdn"), said
    return lines[0]


TINY = ["--devices", "3", "--threshold", "2", "--epochs", "1", "--iterations", "2", "--samples",
        "20", "--key-bits", "512", "--batch-size", "8", "--model", "softmax"]


# --- what is replaced, and what never is --------------------------------------------------------


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_that_bdn_did_not_make_is_never_replaced(
    force: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A language model has a config.json too, and the current folder is a folder like others."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "ledger.sqlite").write_bytes(b"accounts")
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    for out in (str(tmp_path), "."):
        assert "no run folder that bdn made" in refused(capsys, "run", *TINY, "--out", out, *force)
    assert snapshot(tmp_path) == before


def test_only_the_files_that_bdn_wrote_are_removed(
    ended: Path, copied: Callable[[Path], Path]
) -> None:
    """Notes, photographs and whole folders stay where they were put."""
    folder = copied(ended)
    mine = {"notes.txt": b"keep", "edges/photo.png": b"keep", "papers/a.pdf": b"keep",
            "edges/edge-x.sqlite": b"keep", ".bdn-notes": b"keep"}
    for name, content in mine.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    other = replace(CONFIG, seed=9, epochs=1)
    with opened_run(other, RunFolder.create(folder, other, force=True)) as run:
        run.complete()
    assert all((folder / name).read_bytes() == content for name, content in mine.items())
    assert RunFolder.open(folder).config.seed == 9
    assert not (folder / DRAFT).exists()
    assert verify_run(folder / LEDGER) > 0


def test_a_linked_folder_is_replaced_behind_its_link(ended: Path, tmp_path: Path) -> None:
    real = Path(shutil.copytree(ended, tmp_path / "real"))
    link = tmp_path / "latest"
    link.symlink_to(real)
    with opened_run(CONFIG, RunFolder.create(link, CONFIG, force=True)):
        pass
    assert link.is_symlink()
    assert (real / MARKER).is_file()
    assert not (real / "history.json").exists(), "of the old run"


@pytest.mark.parametrize("name", [*FILES, MARKER, "edges", "nodes"])
@pytest.mark.parametrize("kind", ["link", "other"])
def test_links_and_folders_in_the_place_of_our_files_are_not_removed(
    hollow: Path, tmp_path: Path, name: str, kind: str
) -> None:
    place = hollow / name
    shutil.rmtree(place, ignore_errors=True)
    place.unlink(missing_ok=True)
    if kind == "link":
        (tmp_path / "target").write_text("precious")
        place.symlink_to(tmp_path / "target")
    elif name in ("edges", "nodes"):
        place.write_text("precious")
    else:
        place.mkdir()
    with pytest.raises(UsageError, match=r"did not make|is damaged|is a folder|holds no"):
        check_free(hollow, force=True)
    assert place.exists()


BAD = [
    (["--key-bits", "8"], "--key-bits must lie between"),
    (["--key-bits", "513"], "even"),
    (["--key-bits", "1000000"], "--key-bits must lie between"),
    (["--confirmations", "1000"], "--confirmations must lie between"),
    (["--deadline-seconds", "1e-9"], "--deadline-seconds must lie between"),
    (["--executor", "clouds"], "an executor is serial"),
    (["--executor", "processes:0"], "an executor is serial"),
    (["--key", "joint", "--devices", "3", "--threshold", "3"], "threshold + 1"),
    (["--minimum-contributors", "9"], "--minimum-contributors 9 is impossible with 3 devices"),
    (["--data", "idx:nowhere"], "nowhere"),
    (["--processes", "--deterministic"], "--deterministic"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=lambda value: " ".join(value)[:40])
def test_everything_is_checked_before_an_old_run_is_touched(
    hollow: Path, options: list[str], says: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And a refusal leaves no folder where there was none."""
    before = snapshot(hollow)
    assert says in refused(capsys, "run", *TINY, *options, "--out", str(hollow), "--force")
    assert snapshot(hollow) == before
    assert says in refused(capsys, "run", *TINY, *options, "--out", str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_a_failure_while_the_new_run_is_made_leaves_the_old_one(
    hollow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step of the making fails, the folder is as before, or not there at all."""
    folder, before = hollow, snapshot(hollow)
    for step in ("write_atomically", "NodeStore", "provision", "open_ledger"):
        def fail(*_: Any, **__: Any) -> Any:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(f"bdn.experiments.setup.{step}", fail)
            for path, force in ((folder, True), (tmp_path / "new" / "run", False)):
                with pytest.raises(OSError, match="No space"):
                    Run(CONFIG, RunFolder.create(path, CONFIG, force))
        assert snapshot(folder) == before
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("stop", range(1, 32))
def test_a_replacement_that_is_killed_at_any_step_is_finished_by_the_next(
    hollow: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Each unlink and rename may be the last: the folder then holds one whole run, old or new."""
    folder = hollow
    other = replace(CONFIG, seed=9)

    class Killed(BaseException):
        """As by SIGKILL: nobody cleans up."""

    left = stop

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Path, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            if str(self).startswith(str(folder)):
                left -= 1
                if left < 0:
                    raise Killed
            return method(self, *arguments, **options)

        return call

    new = RunFolder.create(folder, other, force=True)
    with monkeypatch.context() as patch:
        patch.setattr("bdn.experiments.folder._discard", lambda _: None)
        with new.locked():
            (new.draft / "config.json").write_text(other.to_json())
            (new.draft / "nodes.sqlite").write_text("new")
            for name in ("replace", "unlink", "rmdir"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            try:
                new.install({**MADE, "chain": "new"})
            except Killed:
                pass
            finally:
                left = 10**9
    opened = RunFolder.open(folder)
    with opened.locked():
        is_new = opened.marker()["chain"] == "new"
        assert (opened.config.seed == 9) == is_new
        assert ((folder / "nodes.sqlite").stat().st_size == 3) == is_new
        assert (folder / "history.json").exists() != is_new
    assert not (folder / DRAFT).exists()
    assert not (folder / REPLACED).exists()


# --- what others put into the folder ------------------------------------------------------------


PLACES = [*FILES, MARKER, REPLACED, "ledger.sqlite-wal", "nodes.sqlite-shm", "edges", "nodes",
          "models", "blobs", DRAFT, "edges/edge-1.sqlite", "nodes/device-0.sqlite",
          "models/epoch-1.npz", f"{DRAFT}/edges", f"{DRAFT}/{MARKER}"]


@pytest.mark.parametrize("name", PLACES)
def test_no_command_writes_through_a_link(
    hollow: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a link in the place of bdn's files leads to belongs to somebody else."""
    other, place = tmp_path / "other", hollow / name
    is_folder = name in ("edges", "nodes", "models", "blobs", DRAFT, f"{DRAFT}/edges")
    if is_folder:
        other.mkdir()
        for inside in ("edge-1.sqlite", "device-0.sqlite", "epoch-1.npz", "mine", "ab" * 32):
            (other / inside).write_text("precious")
    elif name == MARKER:
        (hollow / MARKER).rename(other)
    else:
        other.write_text("precious")
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(other)
    before = snapshot(tmp_path)
    for command in (["resume", str(hollow)], ["resume", str(hollow), "--epochs", "9"],
                    ["run", *TINY, "--out", str(hollow), "--force"]):
        said = refused(capsys, *command)
        assert f"{place} is a symbolic link" in said
        assert "remove it" in said
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("command", "name"), [("report", "report.html"), ("lab", "lab.json")])
def test_report_and_lab_write_through_no_link_in_the_folder(
    ended: Path, copied: Callable[[Path], Path], command: str, name: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(ended)
    other = tmp_path / "other"
    other.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(other)
    options = ["report", str(folder)] if command == "report" else [
        "lab", "edge-weights", "--key-bits", "512", "--into", str(folder)]
    assert "is a symbolic link" in refused(capsys, *options)
    assert other.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_in_place_of_the_lock_is_named(
    hollow: Path, make: Callable[[Path], None], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "new").mkdir()
    for folder, command in ((hollow, "resume"), (tmp_path / "new", "run")):
        make(folder / LOCK)
        options = ["resume", str(folder)] if command == "resume" else [
            "run", *TINY, "--out", str(folder)]
        said = refused(capsys, *options)
        assert LOCK in said
        assert "remove it" in said
        assert (folder / LOCK).exists()


@pytest.mark.parametrize("how", ["beside the marker", "without a new run"])
def test_a_stray_mark_of_a_replacement_deletes_nothing(
    hollow: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """bdn leaves that file only where a whole new run waits in the draft."""
    (hollow / REPLACED).write_text("{}")
    if how == "without a new run":
        (hollow / MARKER).replace(hollow / REPLACED)
    before = snapshot(hollow)
    for command in (["resume", str(hollow)], ["run", *TINY, "--out", str(hollow)],
                    ["run", *TINY, "--out", str(hollow), "--force"]):
        said = refused(capsys, *command)
        assert str(hollow / REPLACED) in said
        assert "remove" in said or "rename" in said
        assert snapshot(hollow) == before


def test_names_that_only_resemble_ours_are_kept(hollow: Path) -> None:
    """Neither --force nor a plain resumption removes what bdn does not write."""
    mine = ("models/epoch-best.npz", ".notes.bdn-part", ".notes.xyz.bdn-part", ".bdn-new/mine",
            ".bdn-new/edges/mine", "ledger.sqlite.lost-property", "edges/edge-1.sqlite.lost-x",
            ".dir.0123abcd.bdn-part/mine")
    ours = ("models/epoch-12.npz", ".model.npz.0123abcd.bdn-part", ".bdn-new/config.json",
            ".bdn-new/edges/edge-1.sqlite-wal", ".bdn-new/.config.json.0123abcd.bdn-part",
            "ledger.sqlite.lost-0123abcd-wal", "models/.epoch-3.npz.0123abcd.bdn-part")
    for name in (*mine, *ours):
        (hollow / name).parent.mkdir(exist_ok=True, parents=True)
        (hollow / name).write_text("keep")
    with RunFolder.open(hollow).locked():
        assert not (hollow / ours[1]).exists()
        assert not [name for name in ours[2:5] if (hollow / name).exists()]
        assert (hollow / ours[0]).exists()
    new = RunFolder.create(hollow, CONFIG, force=True)
    with new.locked():
        (new.draft / "config.json").write_text(CONFIG.to_json())
        new.install({**MADE, "chain": "new"})
    assert all((hollow / name).read_text() == "keep" for name in mine)
    assert not [name for name in ours if (hollow / name).exists() and name != "config.json"]
    assert new.marker()["chain"] == "new"


def test_a_folder_that_is_called_like_an_unfinished_file_is_not_taken_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    (folder / ".dir.bdn-part").mkdir(parents=True)
    assert "choose another --out" in refused(capsys, "run", *TINY, "--out", str(folder))


def test_blobs_that_link_to_themselves_are_refused_in_one_line(
    ended: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(ended)
    shutil.rmtree(folder / "blobs")
    (folder / "blobs").symlink_to("blobs")
    for command in ("verify", "resume", "report"):
        said = refused(capsys, command, str(folder))
        assert f"{folder / 'blobs'} is a symbolic link" in said


@pytest.mark.parametrize("at", [0, 1])
def test_every_setting_that_the_options_allow_can_be_read_back(hollow: Path, at: int) -> None:
    """Whatever a run is begun with, its marker must not be called damaged afterwards."""
    kinds = RunConfig.__annotations__
    extremes = {name: int(bounds[at]) if "int" in str(kinds[name]) else bounds[at]
                for name, bounds in BOUNDS.items()}
    (hollow / MARKER).write_text(json.dumps({
        "format": FORMAT, "ended": False, **MADE, "config": extremes}))
    assert RunFolder.open(hollow).marker()["config"] == extremes


def test_a_file_limit_in_a_new_folder_advises_to_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is removed, so there is nothing to resume."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"  # type: ignore[misc]

    def fail(_: NodeStore) -> None:
        raise error

    monkeypatch.setattr(NodeStore, "_prepare", fail)
    folder = tmp_path / "run"
    said = refused(capsys, "run", *TINY, "--out", str(folder))
    assert "run again" in said
    assert "resume" not in said
    assert not folder.exists()


# --- one process at a time ----------------------------------------------------------------------


def test_nobody_else_works_in_a_folder_while_a_run_does(
    halted: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(halted)
    with opened_run(CONFIG, RunFolder.open(folder)):
        for command in (["resume", str(folder)],
                        ["run", *TINY, "--out", str(folder), "--force"]):
            assert f"in use by process {os.getpid()}" in refused(capsys, *command)
    with RunFolder.open(folder).locked():
        pass  # its end releases it


@pytest.mark.parametrize("aim", ["notes.txt", "/nowhere/at/all", LOCK])
def test_a_link_in_place_of_the_lock_is_refused(
    halted: Path, copied: Callable[[Path], Path], aim: str
) -> None:
    """Locking writes into the file: what a link leads to would be lost, or never come to be."""
    folder = copied(halted)
    notes = folder / "notes.txt"
    notes.write_text("mine")
    (folder / LOCK).unlink(missing_ok=True)
    (folder / LOCK).symlink_to(aim)
    with pytest.raises(UsageError, match="is a symbolic link"), RunFolder.open(folder).locked():
        pass
    assert notes.read_text() == "mine"


def test_whoever_reads_an_ended_run_leaves_no_files_there(
    ended: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(ended)
    before = sorted(folder.rglob("*"))
    for command in (["verify"], ["show"], ["show", "--json"], ["show", "1"]):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            assert invoke([command[0], str(folder), *command[1:]]) == 0
    assert sorted(folder.rglob("*")) == before
    assert not [path for path in before if path.name.startswith(f"{LEDGER}-")]


def test_a_killed_process_holds_no_lock(halted: Path, copied: Callable[[Path], Path]) -> None:
    folder = copied(halted)
    program = ("import sys; from pathlib import Path; from bdn.experiments.folder import RunFolder;"
               "lock = RunFolder.open(Path(sys.argv[1])).locked(); lock.__enter__();"
               "print('locked', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError, match=f"process {process.pid}"), RunFolder.open(
                folder).locked():
            pass
        process.kill()
    with RunFolder.open(folder).locked():
        pass


# --- where work is done -------------------------------------------------------------------------


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    """Each worker imports the script, and would start the run once more."""
    script = tmp_path / "script.py"
    script.write_text(
        "from bdn.learning import open_executor\n"
        "print(open_executor('processes:1').run([(abs, (-3,))]))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          check=False)
    assert done.returncode != 0
    assert "__main__" in done.stderr.splitlines()[0]
    assert "__main__" in done.stderr.splitlines()[-1]


def test_a_lost_dask_scheduler_says_how_to_go_on() -> None:
    distributed = pytest.importorskip("distributed")

    class LostClient:
        """What a client does when its scheduler is gone."""

        def __init__(self, error: BaseException) -> None:
            self.error = error

        def submit(self, *_: Any, **__: Any) -> "LostClient":
            """Nothing yet: the future is asked later."""
            return self

        def result(self) -> Any:
            """It is gone."""
            raise self.error

    for error in (distributed.comm.CommClosedError("closed"), CancelledError("lost"),
                  ConnectionResetError()):
        executor = Dask.__new__(Dask)
        executor._distributed, executor._client = distributed, LostClient(error)
        with pytest.raises(WorkerLostError, match="--executor processes"):
            executor.run([(abs, (1,))])


def test_a_folder_of_another_version_is_called_so_and_not_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its marker has other fields, which says nothing about its state."""
    (tmp_path / MARKER).write_text(json.dumps({"format": "bdn run 1", "ended": True, "x": 1}))
    told = refused(capsys, "resume", str(tmp_path))
    assert "another version of bdn" in told
    assert "damaged" not in told


# --- a resumption is faithful, or refused -------------------------------------------------------


CHANGES = [("epochs", 5), ("threshold", 1), ("devices", 4), ("cipher", "packed"),
           ("split", "class"), ("iterations", 9), ("seed", 2), ("edges", 7), ("samples", 21),
           ("step_size", 0.5), ("key_bits", 1024), ("deterministic", True), ("rule", "svrg")]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_a_resumption_with_another_setting_is_refused_and_says_which(
    hollow: Path, name: str, value: Any, capsys: pytest.CaptureFixture[str],
) -> None:
    begun = json.loads(CONFIG.to_json())
    made = {**MADE, "config": begun, "participants": {**MADE["participants"], "source": "digits"}}
    (hollow / MARKER).write_text(json.dumps({"format": FORMAT, "ended": False, **made}))
    (hollow / "config.json").write_text(json.dumps(begun | {name: value}))
    before = snapshot(hollow)
    said = refused(capsys, "resume", str(hollow))
    assert name in said
    assert str(value) in said
    assert snapshot(hollow) == before, "the trace did not grow"


def test_a_setting_that_was_changed_everywhere_does_not_fit_the_chain(
    halted: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Genesis commits to the seed, though no contract needs it."""
    folder = copied(halted)
    for name in ("config.json", MARKER):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"alpha": 0.5', '"alpha": 0.25'))
    assert "belongs to another run" in refused(capsys, "resume", str(folder))


def test_an_executor_may_change(halted: Path, copied: Callable[[Path], Path], ended: Path) -> None:
    """A run whose Dask scheduler is gone goes on elsewhere."""
    folder = copied(halted)
    for name in ("config.json", MARKER):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"serial"', '"dask:tcp://127.0.0.1:1"'))
    assert invoke(["resume", str(folder), "--executor", "serial"]) == 0
    assert np.array_equal(saved(folder), saved(ended))


def write_idx(folder: Path, seed: int) -> None:
    """A data set of MNIST's shape."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 80), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        sizes = np.array([count, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes
                                                           + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4]
                                                           + labels.tobytes())


def test_changed_data_are_noticed_and_moved_data_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is relative, and relative to where the run began."""
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "data", seed=1)
    config = replace(CONFIG, data="idx:data", epochs=1)
    with opened_run(config, RunFolder.create(tmp_path / "run", config)):
        pass
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = RunFolder.open(tmp_path / "run").config
    assert config.data == f"idx:{tmp_path / 'data'}"
    write_idx(tmp_path / "data", seed=2)
    with pytest.raises(UsageError, match="other data"):
        Run(config, RunFolder.open(tmp_path / "run"))
    write_idx(tmp_path / "moved", seed=1)
    with opened_run(replace(config, data="idx:../moved"), RunFolder.open(tmp_path / "run")):
        pass
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_data(replace(config, data="idx:~/moved")).classes == 10


def test_a_programs_own_participants_are_not_replaced_by_the_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = replace(from_data(CONFIG), source="", judge=lambda _w: Evaluation(
        0.5, 0.5, (), (), 1.0, 10), held_out=None)
    folder = tmp_path / "run"
    with opened_run(CONFIG, RunFolder.create(folder, CONFIG), participants=people):
        pass
    said = refused(capsys, "resume", str(folder))
    assert "3 × CnnLearner" in said
    assert "participants=" in said
    fewer = tuple(CnnLearner(learner.cnn, learner.dataset.subset(np.arange(10)))
                  for learner in people.learners if isinstance(learner, CnnLearner))
    for other, what in ((replace(people, learners=fewer), "other data"),
                        (replace(people, w=people.w[:-1]), "another size")):
        with pytest.raises(UsageError, match=what):
            Run(CONFIG, RunFolder.open(folder), participants=other)
    with opened_run(CONFIG, RunFolder.open(folder), participants=people):
        pass


def test_a_resumed_run_keeps_the_figures_of_the_epochs_before(
    halted: Path, copied: Callable[[Path], Path], ended: Path
) -> None:
    history = resumed(copied(halted))
    undisturbed = json.loads((ended / "history.json").read_text())
    for ours, theirs in zip(history["epochs"], undisturbed["epochs"], strict=True):
        assert ours["accuracy"] == theirs["accuracy"]
        assert ours["test_loss"] == theirs["test_loss"]
        assert sorted(ours["contributors"]) == sorted(theirs["contributors"])
        assert ours["virtual_ms"] is not None


# --- lost and damaged files ---------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    """Let something happen to a file, or to SQLite's write-ahead log beside it."""
    if how == "lost":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "noise":
        path.write_bytes(os.urandom(9000))
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["lost", "torn", "noise"])
@pytest.mark.parametrize("name", ["edges/edge-2.sqlite", LEDGER])
def test_an_edge_server_that_lost_its_ledger_catches_up_from_its_peers(
    halted: Path, copied: Callable[[Path], Path], ended: Path, name: str, how: str
) -> None:
    """f = 1 of four; the primary's ledger is a ledger like others."""
    folder = copied(halted)
    damage(folder / name, how)
    heard: list[dict[str, Any]] = []
    history = resumed(folder, listen=heard.append)
    assert [r["event"] for r in heard].count("ledger-restored") == 1
    assert np.array_equal(saved(folder), saved(ended))
    assert {edge["height"] for edge in history["edges"]} == {len(history["blocks"])}
    assert verify_run(folder / LEDGER) == len(history["blocks"])


def test_lost_commits_come_back_from_the_peers(
    halted: Path, copied: Callable[[Path], Path], ended: Path
) -> None:
    """A -wal file that is lost takes the newest blocks with it, and the journal still has them."""
    folder = copied(halted)
    with Store.open(folder / "edges" / "edge-1.sqlite") as store:
        height = store.height()
        store.rollback(height - 3)
        store.drop_blobs(list(store.blob_roots()))
    resumed(folder)
    assert np.array_equal(saved(folder), saved(ended))


def test_more_than_f_lost_ledgers_end_the_run_in_one_line(
    halted: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(halted)
    for edge in (1, 2):
        (folder / "edges" / f"edge-{edge}.sqlite").unlink()
    said = refused(capsys, "resume", str(folder))
    assert "2 of 4 edge servers" in said
    assert "edge-1.sqlite is missing" in said


@pytest.mark.parametrize("how", ["lost", "torn", "noise", "folder"])
@pytest.mark.parametrize("name", ["nodes.sqlite", "config.json", MARKER])
def test_without_keys_config_or_marker_a_run_says_what_is_missing(
    halted: Path, copied: Callable[[Path], Path], name: str, how: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(halted)
    damage(folder / name, "noise" if how == "torn" and not name.endswith(".sqlite") else how)
    assert name in refused(capsys, "resume", str(folder))
    assert not list(folder.glob("*.lost-*"))


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"epochs": 3}', "\0" * 50, "[" * 100_000,
                                     '{"config": ' + "9" * 5000 + "}"])
def test_a_lost_history_is_made_anew_from_ledger_journals_and_trace(
    ended: Path, copied: Callable[[Path], Path], content: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(ended)
    before = json.loads((folder / "history.json").read_text())
    (folder / "model.npz").unlink()
    (folder / "history.json").unlink()
    if content is not None:
        (folder / "history.json").write_text(content)
        assert "history.json" in refused(capsys, "show", str(folder))
        assert "bdn resume" in refused(capsys, "report", str(folder))
    assert invoke(["resume", str(folder)]) == 0
    after = json.loads((folder / "history.json").read_text())
    for name in ("epochs", "devices", "blocks", "accuracy", "best_epoch", "config", "supply"):
        if name != "devices":
            assert after[name] == before[name]
    for ours, theirs in zip(after["devices"], before["devices"], strict=True):
        assert ours["tokens"] == theirs["tokens"]
        assert ours["accuracy_alone"] == theirs["accuracy_alone"]
        assert ours["sent_bytes"] == theirs["sent_bytes"]
    assert np.array_equal(saved(folder), saved(ended))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["history.json", "model.npz"])
def test_what_stands_in_place_of_a_result_is_named_once(
    ended: Path, copied: Callable[[Path], Path], make: Callable[[Path], None], name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(ended)
    (folder / "history.json").write_text("{")  # so that both are made anew
    (folder / name).unlink()
    make(folder / name)
    said = refused(capsys, "resume", str(folder))
    assert name in said
    assert "remove it" in said


def spoiled(value: Any, data: st.DataObject) -> Any:
    """``value`` with one place in it changed."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: spoiled(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], spoiled(value[at], data), *value[at + 1:]]
    return data.draw(st.sampled_from([
        None, True, -1, 0.5, 10**400, 1e308, "", "[red]", "\x1b[31m", "\u202e", [], {}, [[]],
        {"a": {"b": []}}, "x" * 5000]))


@pytest.fixture(scope="module")
def spoilt(ended: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run whose files are spoilt again and again."""
    return Path(shutil.copytree(ended, tmp_path_factory.mktemp("spoilt") / "run"))


@settings(max_examples=settings.default.max_examples // 8)  # each shows a whole run three times
@given(data=st.data())
@pytest.mark.parametrize("name", ["history.json", MARKER, "config.json", "trace.jsonl"])
def test_any_edited_file_is_shown_or_refused_in_one_line(
    name: str, spoilt: Path, data: st.DataObject
) -> None:
    """Show, report and resume: exit status 0 or 2, no traceback, nothing that moves a cursor."""
    path = spoilt / name
    before = path.read_bytes()
    try:
        if name == "trace.jsonl":
            lines = before.decode().splitlines()
            at = data.draw(st.integers(0, len(lines) - 1))
            lines[at] = json.dumps(spoiled(json.loads(lines[at]), data))
            path.write_text("\n".join(lines))
        else:
            path.write_text(json.dumps(spoiled(json.loads(before), data)))
        for command in ("show", "report", "resume"):
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                assert invoke([command, str(spoilt)]) in (0, 2)
            assert err.getvalue().count("\nbdn") <= 1
            assert len(err.getvalue()) < 2000
            assert not {"\x1b", "\u202e"} & set(out.getvalue() + err.getvalue())
    finally:
        path.write_bytes(before)


def test_nodes_of_another_run_are_refused(
    halted: Path, ended: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(halted)
    shutil.copy(ended / "nodes.sqlite", folder / "nodes.sqlite")
    assert "another run" in refused(capsys, "resume", str(folder))


def test_a_damaged_row_of_secrets_is_named(
    halted: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(halted)
    with closing(sqlite3.connect(folder / "nodes.sqlite")) as database, database:
        database.execute("UPDATE secret SET value = 3 WHERE name = 'edge/1'")
    assert "secret 'edge/1'" in refused(capsys, "resume", str(folder))


# --- the end of a run ---------------------------------------------------------------------------


def test_what_was_learned_is_kept_though_a_device_diverges_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverges(*_: Any, **__: Any) -> Any:
        raise BdnError("device-1's model diverged")

    monkeypatch.setattr("bdn.experiments.history.train", diverges)
    folder = tmp_path / "run"
    assert invoke(["run", *TINY, "--out", str(folder)]) == 0
    history = json.loads((folder / "history.json").read_text())
    assert [device["accuracy_alone"] for device in history["devices"]] == [None] * 3
    assert history["complete"]
    assert "failed" in capsys.readouterr().out
    for command in ("show", "report"):
        assert invoke([command, str(folder)]) == 0
    assert "diverged" in (folder / "report.html").read_text()


def test_a_run_that_is_killed_over_its_baselines_has_its_model_and_finishes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, opened_run(
            CONFIG, RunFolder.create(folder, CONFIG)) as run:
        patch.setattr("bdn.experiments.history.alone", lambda *_: {}["killed"])
        with pytest.raises(KeyError):
            run.complete()
    learned = saved(folder)
    first = json.loads((folder / "history.json").read_text())
    assert not first["complete"]
    assert first["epochs"][0]["accuracy"] is not None
    for command in ("show", "report", "resume"):
        assert invoke([command, str(folder)]) == 0
    last = json.loads((folder / "history.json").read_text())
    assert last["complete"]
    assert last["epochs"] == first["epochs"]
    assert np.array_equal(saved(folder), learned)


def test_a_run_killed_before_anything_was_sealed_begins_anew_or_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing but the lock and a part of a draft there is no run; `run` needs no --force."""
    folder = tmp_path / "run"
    (folder / DRAFT / "edges").mkdir(parents=True)
    (folder / DRAFT / "nodes.sqlite").write_bytes(b"half")
    (folder / LOCK).write_text("")
    assert "start it anew" in refused(capsys, "resume", str(folder))
    assert invoke(["run", *TINY, "--out", str(folder)]) == 0
    assert not (folder / DRAFT).exists()


def test_participants_describe_every_sample(tmp_path: Path) -> None:
    """One changed pixel, label, or held-out sample gives another digest."""
    people = from_data(CONFIG)
    digests = {people.describe()["digest"]}

    def touched(people: Participants, index: int) -> Participants:
        learner = people.learners[index]
        assert isinstance(learner, CnnLearner)
        pixels = learner.dataset.inputs.copy()
        pixels[-1, 27, 27] = 1 - pixels[-1, 27, 27]
        changed = CnnLearner(learner.cnn, replace(learner.dataset, inputs=pixels))
        return replace(people, learners=tuple(
            changed if k == index else each for k, each in enumerate(people.learners)))

    digests |= {touched(people, index).describe()["digest"] for index in range(3)}
    assert people.held_out is not None
    fewer = people.held_out.subset(np.arange(5))
    digests.add(replace(people, held_out=fewer).describe()["digest"])
    digests.add(replace(people, learners=people.learners[::-1]).describe()["digest"])
    assert len(digests) == 6
