"""Kills whole runs at random instants and resumes them: a command, not part of the suite.

    python tests/experiments/kill_and_resume.py --kills 100 --seed 1

After each ``kill -9`` the ledger must verify up to its last sealed block, no sealed block may be
lost, and a run that is left to end must end with the model of the undisturbed one. Issue 6.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bdn.experiments.verification import verify_run

OPTIONS = ["--devices", "4", "--threshold", "2", "--epochs", "3", "--iterations", "3",
           "--batch-size", "16", "--samples", "40", "--key-bits", "512", "--seed", "3"]


def command(arguments: list[str]) -> subprocess.Popen[bytes]:
    """``bdn`` in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "bdn", *arguments], env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for success, or raise with what the process said."""
    _, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(errors.decode())


def model(folder: Path) -> np.ndarray:
    """The last model of a finished run."""
    return np.load(folder / "model.npz")["w_last"]


def main(kills: int, seed: int) -> None:
    """Kill ``kills`` times; raises `AssertionError` where anything is lost."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        reference = Path(place) / "reference"
        started = time.monotonic()
        finish(command(["run", *OPTIONS, "--out", str(reference)]))
        lasts = time.monotonic() - started
        expected, done, runs, early = model(reference), 0, 0, 0
        while done < kills:
            folder = Path(place) / f"run-{runs}"
            runs += 1
            process = command(["run", *OPTIONS, "--out", str(folder)])
            height = 0
            while True:
                if done < kills:
                    time.sleep(rng.uniform(0.1, lasts))
                if done == kills or process.poll() is not None:
                    finish(process)
                    break
                process.kill()
                process.communicate()
                done += 1
                if not (folder / "ledger.sqlite").exists():
                    early += 1  # killed before there was a genesis block: begin anew
                    process = command(["run", *OPTIONS, "--out", str(folder), "--force"])
                    continue
                now = verify_run(folder / "ledger.sqlite")
                assert now >= height, f"sealed blocks were lost: {now} after {height}"
                height = now
                print(f"kill {done}: verified up to block {height}", flush=True)
                process = command(["resume", str(folder)])
            assert np.array_equal(model(folder), expected), "another model came out"
        print(f"{done} kills over {runs} runs ({early} before genesis): nothing sealed was lost, "
              "every run ended with the undisturbed model")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    main(options.kills, options.seed)
