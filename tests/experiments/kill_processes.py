"""Kills parents and children of runs in processes at random instants: a command.

    python tests/experiments/kill_processes.py --kills 50 --seed 1

A child that is killed is started again, and the run goes on by itself. After a killed parent all of
its children end within seconds, the ledger that is there verifies, and `bdn resume` goes on. Every
run must end with the model of the undisturbed one, and no process and no temporary file may be left
behind. The suite plays a few kills (`test_processes.py`).
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bdn.experiments.verification import verify_run

OPTIONS = ["--devices", "4", "--threshold", "2", "--epochs", "3", "--iterations", "3",
           "--batch-size", "16", "--samples", "40", "--key-bits", "512", "--seed", "3",
           "--deadline-seconds", "120"]
"""A deadline that no restart misses: the same devices contribute, so the model is the same."""

FIRST_KILL = 0.05
"""Seconds after the start from which on somebody may be killed."""

END_SECONDS = 30.0
"""How long the children of a killed parent may take to end."""

CHILD = "bdn.experiments.processes.child"


class Campaign:
    """Runs in one place, whose temporary files go to another."""

    def __init__(self, place: Path, model_name: str) -> None:
        self.place = place
        self.options = [*OPTIONS, "--model", model_name]
        self.temporary = place / "temporary"
        self.temporary.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Return ``bdn`` in a process of its own."""
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        return subprocess.Popen([sys.executable, "-m", "bdn", *arguments], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def begin(self, folder: Path, *more: str) -> subprocess.Popen[bytes]:
        """Return a new run in ``folder``."""
        return self.start("run", *self.options, "--out", str(folder), *more)

    def children(self) -> list[int]:
        """Return the numbers of all living processes of nodes of ours."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes()
                ours = str(self.temporary).encode() in (path / "environ").read_bytes()
                dead = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if CHILD.encode() in line and ours and not dead:
                found.append(int(path.name))
        return found

    def demand_nothing_left(self) -> None:
        """Raise where a process or a temporary file stays behind."""
        until = time.monotonic() + END_SECONDS
        while self.children() and time.monotonic() < until:
            time.sleep(0.1)
        assert not self.children(), "processes are left behind"
        assert not list(self.temporary.iterdir()), "temporary files are left behind"


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for success, or raise with what the process said."""
    _, errors = process.communicate(timeout=900)
    if process.returncode != 0:
        raise AssertionError(errors.decode())


def model(folder: Path) -> np.ndarray:
    """Return the last model of a finished run."""
    return np.load(folder / "model.npz")["w_last"]


def kill_often(place: Path, kills: int, seed: int, model_name: str) -> Counter[str]:
    """Kill ``kills`` times; raise `AssertionError` where anything is lost or left behind."""
    rng, done, ended = random.Random(seed), 0, Counter[str]()
    campaign = Campaign(place, model_name)
    finish(campaign.begin(place / "reference"))
    started = time.monotonic()
    finish(campaign.begin(place / "in-processes", "--processes"))
    lasts = time.monotonic() - started
    expected = model(place / "reference")
    assert np.array_equal(model(place / "in-processes"), expected)
    while done < kills:
        folder, height = place / f"run-{ended['runs']}", 0
        ended["runs"] += 1
        parent = campaign.begin(folder, "--processes")
        while True:
            if done < kills:
                time.sleep(rng.uniform(FIRST_KILL, lasts / 2))
            if done == kills or parent.poll() is not None:
                finish(parent)
                break
            done += 1
            children = campaign.children()
            if children and rng.random() < 0.6:
                for pid in rng.sample(children, rng.choice((1, 1, 2))):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    ended["children killed"] += 1
                print(f"kill {done}: of children", flush=True)
                continue
            parent.kill()
            parent.communicate()
            ended["parents killed"] += 1
            campaign.demand_nothing_left()
            if not (folder / "ledger.sqlite").exists():  # killed before there was a genesis block
                ended["before genesis"] += 1
                print(f"kill {done}: of the parent, before genesis", flush=True)
                parent = campaign.begin(folder, "--processes", "--force")
                continue
            now = verify_run(folder / "ledger.sqlite")
            assert now >= height, f"sealed blocks were lost: {now} after {height}"
            height = now
            print(f"kill {done}: of the parent, verified up to block {height}", flush=True)
            parent = campaign.start("resume", str(folder))
        assert np.array_equal(model(folder), expected), "another model came out"
        history = json.loads((folder / "history.json").read_text())
        assert all(len(row["contributors"]) == 4 for row in history["epochs"])
        campaign.demand_nothing_left()
    return ended


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="paper-cnn", help="what the runs train")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        counts = kill_often(Path(place), options.kills, options.seed, options.model)
    print(f"{options.kills} kills ({dict(counts)}): every run ended with the undisturbed model, "
          "no sealed block was lost, no process and no temporary file was left")
