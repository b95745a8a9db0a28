"""Whole runs in processes: the same model, clean ends, and deaths of all kinds.

The protocol's own faults are tested in virtual time (`test_run_faults.py`); here it is the
operating system that fails: processes killed, a terminal's Ctrl-C, a parent that is gone.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.processes.assignment import SenderRole, TrainerRole
from bdn.experiments.processes.central_nodes import (
    CentralModel,
    Sender,
    Trainer,
    train_centrally,
)
from bdn.experiments.processes.central_run import CentralRun
from bdn.experiments.processes.connections import local_addresses
from bdn.experiments.processes.errors import ProcessError
from bdn.experiments.processes.run import ProcessRun, opened_processes
from bdn.experiments.run import opened_run
from bdn.experiments.verification import verify_run
from bdn.learning import Dataset, PaperCNN
from bdn.nodes.events import Computed, Received, Started
from bdn.report import write_report

REAL = {"deterministic": False}
SMALL = {**REAL, "devices": 3, "edges": 1}
"""Where the number of processes is not the point."""


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def in_processes(
    tiny: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessRun, dict[str, Any]]]:
    """A finished run in processes, its folder and history; for reading only."""
    path = tmp_path_factory.mktemp("processes") / "run"
    config = tiny(**REAL)
    with opened_processes(config, RunFolder.create(path, config)) as run:
        yield run, run.complete()


# --- the same run -------------------------------------------------------------------------------


def test_processes_reach_the_very_model_of_the_run_in_one_process(
    tiny: Callable[..., RunConfig], in_processes: tuple[ProcessRun, dict[str, Any]]
) -> None:
    """All weights are identical, with keys of their own: who drives the nodes changes nothing."""
    run, history = in_processes
    with opened_run(tiny(**REAL)) as other:
        expected = other.complete()
    theirs, ours = other.reference.progress, run.reference.progress
    assert other.material.public_key != run.material.public_key
    assert np.array_equal(ours.w, theirs.w)
    assert np.array_equal(ours.best, theirs.best)
    assert [epoch["accuracy"] for epoch in history["epochs"]] == [
        epoch["accuracy"] for epoch in expected["epochs"]]
    assert all(len(epoch["contributors"]) == 4 for epoch in history["epochs"])


def test_every_edge_servers_ledger_verifies(
    in_processes: tuple[ProcessRun, dict[str, Any]]
) -> None:
    """`bdn verify` recomputes what the edge server's process wrote; all agreed on every block."""
    run, history = in_processes
    assert verify_run(run.folder.path / "ledger.sqlite") == history["edges"][0]["height"]
    assert len({edge["height"] for edge in history["edges"]}) == 1
    assert not list((run.folder.path / "edges").iterdir()), "equal ledgers are kept once"


def test_history_and_trace_tell_what_a_run_in_one_process_tells(
    in_processes: tuple[ProcessRun, dict[str, Any]]
) -> None:
    """Traffic, work and messages of every process reach the run folder, and its report."""
    run, history = in_processes
    assert all(node["sent_bytes"] > 0 and node["received_bytes"] > 0
               for node in (*history["devices"], *history["edges"]))
    assert {"training", "sealing", "consensus", "opening"} <= history["phases"].keys()
    events = [json.loads(line)
              for line in (run.folder.path / "trace.jsonl").read_text().splitlines()]
    workers = {event["node"] for event in events if event["event"] == "work"}
    assert workers == set(run.material.device_names)
    pids = {event["pid"] for event in events if event["event"] == "process-started"}
    assert len(pids) == 8
    assert write_report(run.folder.path).is_file()


def test_no_process_is_left_and_journals_are_their_owners_alone(
    in_processes: tuple[ProcessRun, dict[str, Any]]
) -> None:
    run, _ = in_processes
    assert not any(is_alive(child.pid) for child in run.children.all.values())
    journals = run.folder.path / "nodes"
    assert journals.stat().st_mode & 0o777 == 0o700
    files = sorted(journals.glob("*.sqlite"))
    assert [file.stem for file in files] == sorted(run.children.all)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


# --- deaths -------------------------------------------------------------------------------------


def test_killed_device_and_edge_server_cost_the_run_nothing_else(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Table 1 with real corpses: after ``kill -9`` of a device and of f = 1 edge server mid-run,
    the others finish, with the same model at each, and the ledger verifies.
    """
    config = tiny(**REAL, devices=5, deadline_seconds=6.0)
    doomed = ("device-4", "edge-3")

    def kill_in_the_middle(event: dict[str, Any]) -> None:
        if event["event"] == "epoch-done" and event["epoch"] == 1:
            for name in doomed:
                os.kill(run.children.all[name].pid, signal.SIGKILL)

    folder = RunFolder.create(tmp_path / "run", config)
    with opened_processes(config, folder, restart=False, listen=kill_in_the_middle) as run:
        history = run.complete()
    assert set(run.dead) == set(doomed)
    assert "SIGKILL" in run.dead["edge-3"]
    first, *_, last = (epoch["contributors"] for epoch in history["epochs"])
    assert "device-4" in first
    assert len(last) == 4
    assert "device-4" not in last
    assert verify_run(folder.path / "ledger.sqlite") == history["edges"][0]["height"]


def test_killed_processes_are_started_again_from_their_stores(
    tiny: Callable[..., RunConfig],
    in_processes: tuple[ProcessRun, dict[str, Any]], tmp_path: Path,
) -> None:
    """The primary, a backup and a device: the run ends as if nothing had been."""
    config = tiny(**REAL, deadline_seconds=600.0)  # which no restart misses
    doomed = ["edge-0", "device-2", "edge-3"]
    started: list[str] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "sealed" and event["node"] == "edge-1" and doomed:
            os.kill(run.children.all[doomed.pop()].pid, signal.SIGKILL)
        if event["event"] == "process-started" and event.get("again"):
            started.append(event["node"])

    folder = RunFolder.create(tmp_path / "run", config)
    with opened_processes(config, folder, listen=kill) as run:
        history = run.complete()
    assert sorted(started) == ["device-2", "edge-0", "edge-3"]
    assert not run.dead
    undisturbed, expected = in_processes
    assert np.array_equal(run.reference.progress.w, undisturbed.reference.progress.w)
    assert [len(row["contributors"]) for row in history["epochs"]] == [4, 4, 4]
    assert [row["accuracy"] for row in history["epochs"]] == [
        row["accuracy"] for row in expected["epochs"]]
    assert verify_run(folder.path / "ledger.sqlite") > 0
    assert not any(is_alive(child.pid) for child in run.children.all.values())


def test_an_honest_run_refuses_nothing(
    in_processes: tuple[ProcessRun, dict[str, Any]]
) -> None:
    """A blob that is not here yet, asked for by a server that asks everybody, is no refusal."""
    _, history = in_processes
    assert history["refused"] == []


def test_a_process_that_dies_ends_the_run_where_too_few_are_left(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """The message names it, and says what is missing; nobody is left behind."""
    config = tiny(**SMALL)

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "sealed":
            os.kill(run.children.all["device-2"].pid, signal.SIGTERM)

    with (
        opened_processes(config, RunFolder.create(tmp_path / "run", config), listen=kill,
                         restart=False) as run,
        pytest.raises(ProcessError, match=r"process of device-2 was killed by SIGTERM.*; "
                                          r"2 of 3 devices are left, and 3 must contribute"),
    ):
        run.complete()
    assert not any(is_alive(child.pid) for child in run.children.all.values())


def test_one_of_four_edge_servers_that_cannot_begin_costs_the_run_nothing(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Its ledger is damaged; the others keep theirs, and the run says which one is missing."""
    config = tiny(**REAL, epochs=1, deadline_seconds=4.0)
    said: list[dict[str, Any]] = []

    def damage(event: dict[str, Any]) -> None:
        said.append(event)
        if event["event"] == "process-started" and event["node"] == "edge-2":
            os.kill(event["pid"], signal.SIGKILL)
            (folder.path / "edges").mkdir(exist_ok=True)
            (folder.path / "edges" / "edge-2.sqlite").write_bytes(b"not a ledger")

    folder = RunFolder.create(tmp_path / "run", config)
    with opened_processes(config, folder, listen=damage) as run:
        history = run.complete()
    assert set(run.dead) == {"edge-2"}
    assert [edge["name"] for edge in history["edges"]] == ["edge-0", "edge-1", "edge-3"]
    assert [r["node"] for r in said if r["event"] == "ledger-left-out"] == ["edge-2"]
    assert verify_run(folder.path / "ledger.sqlite") > 0


def test_a_process_that_cannot_begin_says_why(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = tiny(**SMALL)
    folder = RunFolder.create(tmp_path / "run", config)
    with opened_processes(config, folder) as run:
        (tmp_path / "run" / "ledger.sqlite").write_bytes(b"not a ledger")
        with pytest.raises(ProcessError, match="edge-0"):
            run.complete()
    assert not any(is_alive(child.pid) for child in run.children.all.values())


def test_a_run_leaves_nothing_in_the_folder_for_temporary_files_however_long_its_path(
    tiny: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has a bound of about a hundred bytes; sockets with names alone have none."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    config = tiny(**SMALL, epochs=1)
    with opened_processes(config, RunFolder.create(tmp_path / "run", config)) as run:
        run.complete()
    assert list(long.iterdir()) == []


def test_where_sockets_have_paths_a_long_one_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems without Linux's names for sockets."""
    monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    if len(str(tmp_path)) < 80:
        with local_addresses(2, "unix") as addresses:
            assert all(address.startswith(f"unix:{tmp_path}/t/bdn-") for address in addresses)
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with (
        pytest.raises(UsageError, match="set TMPDIR to a shorter path"),
        local_addresses(2, "unix"),
    ):
        pass
    assert list(long.iterdir()) == []


# --- the command --------------------------------------------------------------------------------

OPTIONS = ["--devices", "3", "--edges", "1", "--threshold", "2", "--epochs", "2",
           "--iterations", "3", "--batch-size", "16", "--samples", "40", "--key-bits", "512",
           "--seed", "3", "--model", "softmax"]


def started(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """``bdn run --processes`` in the middle of its work, and its children's process numbers."""
    command = subprocess.Popen(
        [sys.executable, "-m", "bdn", "run", *OPTIONS, "--norm-bound", "none", "--processes",
         "--out", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
    )
    trace = folder / "trace.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        lines = trace.read_text().splitlines() if trace.exists() else []
        events = [json.loads(line) for line in lines[:-1]]
        if any(e["event"] == "sealed" and e["height"] == 3 for e in events):
            return command, [e["pid"] for e in events if e["event"] == "process-started"]
        time.sleep(0.05)
    command.kill()
    raise AssertionError(f"no block in time: {command.communicate()}")


def wait_for_the_end_of(pids: list[int], seconds: float) -> list[int]:
    """Those that are still alive after ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(is_alive, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_alive(pid)]


@pytest.mark.slow
def test_ctrl_c_ends_all_and_resume_finishes_in_processes(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Exit status 130, one line, no process left; then the model of the undisturbed run."""
    folder = tmp_path / "run"
    command, pids = started(folder)
    assert len(pids) == 4
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    _, said = command.communicate(timeout=30)
    assert command.returncode == 130, said
    assert b"Traceback" not in said
    assert b"interrupted" in said
    assert not any(map(is_alive, pids))
    resumed = subprocess.run([sys.executable, "-m", "bdn", "resume", str(folder), "--json"],
                             capture_output=True, timeout=120, check=False)
    assert resumed.returncode == 0, resumed.stderr
    with opened_run(tiny(**REAL, devices=3)) as undisturbed:
        undisturbed.complete()
    model = np.load(folder / "model.npz")
    assert np.array_equal(model["w_last"], undisturbed.reference.progress.w)
    assert len(json.loads(resumed.stdout)["epochs"]) == 3


@pytest.mark.slow
def test_children_of_a_killed_parent_end_by_themselves(tmp_path: Path) -> None:
    """``kill -9`` of the parent leaves no orphan."""
    command, pids = started(tmp_path / "run")
    command.kill()
    command.communicate()
    assert wait_for_the_end_of(pids, 20) == []


# --- without BlockDeepNet -----------------------------------------------------------------------


def test_the_central_trainer_trains_on_everybodys_data_and_tells_all(
    tiny: Callable[..., RunConfig],
) -> None:
    """Fig. 5's "without": as many iterations as all devices together, and the model goes back."""
    config = tiny(**REAL)
    run = CentralRun(config)
    names = tuple(part.name for part in run.assignments("unix:nowhere")[1:])
    trainer = Trainer("server", TrainerRole(names, config.to_json()))
    effects: list[Any] = []
    for name, samples in zip(names, run.samples, strict=True):
        assert effects == [], "it waits for all"
        sender = Sender(name, SenderRole(samples, "server"))
        [sent] = sender.step(Started(), 0)
        effects = trainer.step(Received(name, sent.data), 0)
    for epoch in (1, 2):
        [*_, work] = effects
        assert len(work.arguments[2]) == 4 * 40
        trained = work.function(*work.arguments)
        effects = trainer.step(Computed(work.task, trained), 0)
        sender.step(Received("server", effects[0].data), 0)
        assert sender.model == CentralModel(epoch, trained.astype("<f4").tobytes())
    assert [effect.target for effect in effects] == list(names), "P = 2 epochs, and then rest"


def test_a_central_run_in_processes_is_central_training(tiny: Callable[..., RunConfig]) -> None:
    """The same figures as in one process: n·T iterations an epoch on the pooled data."""
    config = tiny(**REAL, model="paper-cnn")
    heard: list[dict[str, Any]] = []
    run = CentralRun(config, heard.append)
    w = run.complete()
    parts = [samples.dataset() for samples in run.samples]
    together = Dataset(np.concatenate([part.inputs for part in parts]),
                       np.concatenate([part.labels for part in parts]), parts[0].classes)
    cnn = PaperCNN(classes=together.classes, seed=config.seed)
    expected = cnn.parameters()
    for epoch in (1, 2):
        expected = train_centrally(cnn, expected, together, config, epoch)
    assert np.array_equal(w, expected)
    assert [event["epoch"] for event in heard if event["event"] == "epoch-done"] == [1, 2]
    assert not any(is_alive(child.pid) for child in run.children.all.values())


@pytest.mark.slow
def test_a_few_kills_of_parents_and_children_lose_nothing(tmp_path: Path) -> None:
    """A sample of ``kill_processes.py``, which kills as often as one likes."""
    command = Path(__file__).with_name("kill_processes.py")
    played = subprocess.run([sys.executable, command, "--kills", "2", "--seed", "2",
                             "--model", "softmax"],
                            env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=600,
                            capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stderr
    assert "no sealed block was lost" in played.stdout
