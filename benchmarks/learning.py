"""One training step of the paper's CNN (forward, backward, update) beside PyTorch's eager CPU step.

The aim is at most 0.6 of PyTorch's time at batch 32 and 256, with one and with two threads.
Thread counts are set by environment variables before the libraries load, so each count is measured
in a process of its own; within it, both sides alternate. The plain kernel stands beside them to
show what the fast formulation is for, and the executors to show what a second core brings.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import harness
import numpy as np

from bdn.learning import PaperCNN, TrainingSettings, load, open_executor, split, train

BATCHES = (32, 256)
THREADS = (1, 2)
CHILD = "--step-child"
RATE = 0.01


def our_step(kernel: str, B: int, threads: int) -> Callable[[], None]:
    """One step of our CNN on random images."""
    cnn = PaperCNN(kernel=kernel, threads=threads)
    w, X, y = _inputs(cnn, B)
    step = np.empty_like(w)

    def run() -> None:
        cnn.loss_and_gradient(w, X, y, out=step)
        np.multiply(step, np.float32(RATE), out=step)
        np.subtract(w, step, out=w)

    return run


def torch_step(B: int) -> Callable[[], None]:
    """The same network, loss and update in PyTorch, eager, with its own SGD."""
    import torch

    w, X, y = _inputs(PaperCNN(), B)
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1960, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    _copy_parameters(torch, model, w)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
    images, labels = torch.tensor(X)[:, None], torch.tensor(y)

    def run() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return run


def _copy_parameters(torch: Any, model: Any, w: Any) -> None:
    """The same start for both sides."""
    w1, b1, w2, b2, w3, b3 = PaperCNN().layers(w)
    values = (w1, b1[:, 0], w2.T, b2[0], w3.T, b3[0])
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value.copy()))


def _inputs(cnn: PaperCNN, B: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    return cnn.parameters(), rng.random((B, 28, 28), np.float32), rng.integers(0, 10, B)


def child(threads: int, repeats: int, with_torch: bool) -> None:
    """Measure with this process's thread count; print rows as JSON."""
    if with_torch:
        import torch

        torch.set_num_threads(threads)
    rows = []
    for B in BATCHES:
        ours, plain = harness.paired(our_step("fast", B, threads),
                                     our_step("plain", B, threads), max(3, repeats // 10))
        row: dict[str, Any] = {"batch": B, "threads": threads, "plain": plain.median,
                               "fast": ours.median, "plain/fast": plain.median / ours.median}
        if with_torch:
            fast, torch_time = harness.paired(our_step("fast", B, threads), torch_step(B),
                                              repeats, 5)
            row |= {"fast": fast.median, "torch": torch_time.median,
                    "fast/torch": fast.median / torch_time.median,
                    "within 0.6": fast.median <= 0.6 * torch_time.median}
        rows.append(row)
    print(json.dumps(rows))


def measure(report: harness.Report) -> None:
    """All thread counts, then the executors."""
    repeats = 60 if report.quick else 300
    with_torch = report.peer("torch")
    for threads in THREADS:
        count = str(threads)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": count, "OMP_NUM_THREADS": count,
                       "MKL_NUM_THREADS": count}
        command = [sys.executable, __file__, CHILD, count, str(repeats), str(int(with_torch))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for row in json.loads(done.stdout.splitlines()[-1]):
            shown = {key: harness.duration(value) if key in ("plain", "fast", "torch") else value
                     for key, value in row.items()}
            report.add(**shown)
    executors(report)


def executors(report: harness.Report) -> None:
    """Two epochs with ten devices, in this process and in two others (started beforehand)."""
    devices = split(load("digits").train, 10)
    rules = TrainingSettings(epochs=2, iterations=10 if report.quick else 40)
    with open_executor("serial") as serial, open_executor("processes:2") as processes:
        one, two = harness.paired(lambda: train(PaperCNN(), devices, rules, executor=serial),
                                  lambda: train(PaperCNN(), devices, rules, executor=processes),
                                  3 if report.quick else 5)
    report.add(devices=10, serial=one, processes=two, ratio=two.median / one.median)
    report.notes.append("Worker processes have one BLAS thread each; serial has this process's.")


if __name__ == "__main__":
    if CHILD in sys.argv:
        at = sys.argv.index(CHILD)
        child(int(sys.argv[at + 1]), int(sys.argv[at + 2]), sys.argv[at + 3] == "1")
    else:
        harness.main("CNN step and executors", measure, ("torch", "distributed"))
