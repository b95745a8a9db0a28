"""Kills whole runs at random instants and resumes them; lets a crowd of commands at one folder.

    python tests/experiments/kill_and_resume.py --kills 100 --seed 1
    python tests/experiments/kill_and_resume.py --crowd 50 --seed 1

After each ``kill -9``, from the first 50 ms on, the ledger must verify up to its last sealed block
and no sealed block may be lost; every folder resumes or is begun anew without ``--force``; what
comes out at the end is what the undisturbed run gives; and nothing is left behind. A crowd of
starts, resumptions, verifications and reports leaves one consistent run. A small sample of both
runs in the suite (`test_run_campaigns.py`).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bdn.experiments.verification import verify_run
from bdn.runfolder import BLOBS, DRAFT, EDGES, FILES, JOURNALS, LOCK, MARKER

OPTIONS = ["--devices", "3", "--threshold", "2", "--epochs", "2", "--iterations", "2",
           "--batch-size", "8", "--samples", "20", "--key-bits", "512", "--seed", "3"]

FIRST_KILL = 0.05
"""Seconds after its start from which on a run may be killed."""

KNOWN = {*FILES, MARKER, LOCK, EDGES, JOURNALS, BLOBS, "ledger.sqlite-wal", "ledger.sqlite-shm"}


class Campaign:
    """Commands that work in one place, whose temporary files go to another."""

    def __init__(self, place: Path, options: list[str]) -> None:
        self.place, self.options = place / "runs", options
        self.temporary = place / "temporary"
        for folder in (self.place, self.temporary):
            folder.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """``bdn`` in a process of its own."""
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        return subprocess.Popen([sys.executable, "-m", "bdn", *arguments], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, folder: Path, *more: str) -> subprocess.Popen[bytes]:
        """A new run."""
        return self.start("run", *self.options, "--out", str(folder), *more)

    def demand_clean(self) -> None:
        """Raise where anything is left behind: files, temporary folders, processes."""
        strange = [str(path) for folder in self.place.iterdir() for path in folder.iterdir()
                   if path.name not in KNOWN]
        assert not strange, f"left behind: {strange}"
        assert not list(self.temporary.iterdir()), "temporary files are left behind"
        assert not self.left_processes(), "a process is left behind"

    def left_processes(self) -> list[str]:
        """Command lines of living processes that name our place."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.place) in line and int(path.parent.name) != os.getpid():
                found.append(line)
        return found


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for success, or raise with what the process said."""
    _, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(errors.decode())


def outcome(folder: Path) -> dict[str, Any]:
    """What does not depend on keys, clocks or kills: the models and the history."""
    history = json.loads((folder / "history.json").read_text())
    assert history["complete"]
    models = np.load(folder / "model.npz")
    return {
        "w": models["w"].tobytes(), "w_last": models["w_last"].tobytes(),
        "epochs": [{**row, "virtual_ms": None, "contributors": sorted(row["contributors"])}
                   for row in history["epochs"]],  # they stand in the order of their keys
        "blocks": [(row["height"], row["kind"], row["epoch"]) for row in history["blocks"]
                   if row["kind"] == "candidate"][-1][1:],
        "alone": [device["accuracy_alone"] for device in history["devices"]],
        **{name: history[name] for name in ("accuracy", "best_epoch", "best_loss", "supply")},
    }


def kill_often(campaign: Campaign, kills: int, seed: int) -> None:
    """Kill ``kills`` times; raises `AssertionError` where anything is lost or left behind."""
    rng = random.Random(seed)
    reference = campaign.place / "reference"
    started = time.monotonic()
    finish(campaign.run(reference))
    lasts = time.monotonic() - started
    expected, done, runs = outcome(reference), 0, 0
    ends: Counter[str] = Counter()
    while done < kills:
        folder = campaign.place / f"run-{runs}"
        runs += 1
        process, height = campaign.run(folder), 0
        while True:
            if done < kills:
                time.sleep(rng.uniform(FIRST_KILL, lasts if rng.random() < 0.5 else lasts / 10))
            if done == kills or process.poll() is not None:
                finish(process)
                break
            process.kill()
            process.communicate()
            done += 1
            if not any((folder / name).exists() for name in (MARKER, f"{DRAFT}/{MARKER}")):
                ends["before there was a run"] += 1
                process = campaign.run(folder)
                continue
            if (folder / "ledger.sqlite").exists():
                now = verify_run(folder / "ledger.sqlite")
                assert now >= height, f"sealed blocks were lost: {now} after {height}"
                height = now
            ends["before the first block" if height == 0 else "later"] += 1
            print(f"kill {done}: verified up to block {height}", flush=True)
            process = campaign.start("resume", str(folder))
        assert outcome(folder) == expected, "another model or history came out"
    campaign.demand_clean()
    print(f"{done} kills over {runs} runs ({dict(ends)}): nothing sealed was lost, every run ended "
          "with the undisturbed model and history, nothing was left behind")


def crowd(campaign: Campaign, count: int, seed: int) -> None:
    """Let ``count`` commands at one folder at the same time; one consistent run must be left."""
    rng = random.Random(seed)
    folder = campaign.place / "run"
    choices = [("run",), ("run", "--force"), ("resume",), ("verify",), ("report",), ("show",)]
    crowd = []
    for number in range(count):
        name, *more = choices[number % len(choices)] if number else ("run",)
        crowd.append((name, campaign.run(folder, *more) if name == "run"
                      else campaign.start(name, str(folder))))
        time.sleep(rng.uniform(0, 0.3))
    ends: Counter[str] = Counter()
    for name, process in crowd:
        _, errors = process.communicate()
        assert b"Traceback" not in errors, errors.decode()
        assert process.returncode in (0, 2), f"{name}: {process.returncode} {errors.decode()}"
        ends[f"{name} → {process.returncode}"] += 1
    assert ends["run → 0"] + ends["resume → 0"] >= 1, ends
    finish(campaign.start("resume", str(folder)))
    finish(campaign.start("verify", str(folder)))
    finish(campaign.start("report", str(folder)))
    undisturbed = campaign.place / "undisturbed"
    finish(campaign.run(undisturbed))
    assert outcome(folder) == outcome(undisturbed)
    campaign.demand_clean()
    print(f"{count} commands at once ({dict(sorted(ends.items()))}): one consistent run is left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--crowd", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="paper-cnn", help="what the runs train")
    parser.add_argument("--place", help="where the runs go (a folder); a temporary one by default")
    options = parser.parse_args()
    for count, play in ((options.kills, kill_often), (options.crowd, crowd)):
        if count:
            with tempfile.TemporaryDirectory(dir=options.place) as place:
                play(Campaign(Path(place), [*OPTIONS, "--model", options.model]), count,
                     options.seed)
