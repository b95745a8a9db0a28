"""A user's own PyTorch network over the ledger, compared with plain PyTorch federated averaging.

    python benchmarks/own_model.py [--quick] [--json FILE] [--plot FILE.svg]

Ten devices, 60,000 images of 28×28 (Fashion-MNIST where it lies beside the repository, else made
ones), 2048-bit keys, the default ledger. Three ways of training the same network by the same steps
over the same batches:

- plain: `torch.optim.SGD` on each device's copy, then the mean; nothing of bdn but the batches;
- plaintext: `bdn.learning.federated`, which also takes each device's loss over all its samples;
- ledger: the whole run of all nodes in one process.

The time of an epoch is processor time, the median over epochs; the split of the ledger's epoch is
by the wall-clock seconds of each kind of work. `--quick`: 1,200 made images, three devices.
"""

import argparse
import copy
import statistics
import time
from collections import defaultdict
from typing import Any

import evaluation
import harness
import numpy as np

from bdn.experiments.config import RunConfig
from bdn.experiments.history import PHASES
from bdn.experiments.participants import from_parts
from bdn.experiments.run import opened_run
from bdn.learning import Data, as_data, device_generator, federated, load
from bdn.learning.local import batches
from bdn.randomness import SeededRandomness

IMAGES, CLASSES = 60_000, 10


def network(torch: Any) -> Any:
    """A convolutional network of 105,194 parameters."""
    nn = torch.nn
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 49, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def made_images(count: int) -> Data:
    """Noise over a picture per class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, count)
    pictures = rng.integers(0, 150, (CLASSES, 28, 28), np.uint8)
    x = pictures[y] + rng.integers(0, 100, (count, 28, 28), np.uint8)
    return as_data((x, y, x[:1000], y[:1000]))


def plain(torch: Any, module: Any, parts: list[Any], config: RunConfig) -> tuple[Any, list[float]]:
    """Plain federated averaging: (the final module, processor seconds of each epoch)."""
    module, seconds = copy.deepcopy(module), []
    rng = SeededRandomness(config.seed)
    total = sum(map(len, parts))
    for epoch in range(1, config.epochs + 1):
        started = time.process_time()
        mean = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
        for k, part in enumerate(parts):
            local = copy.deepcopy(module).train()
            optimiser = torch.optim.SGD(local.parameters(), lr=config.rate)
            drawn = batches(len(part), config.batch_size,
                            device_generator(rng, f"device-{k + 1}", epoch))
            for _ in range(config.iterations):
                X, y = part.batch(next(drawn))
                optimiser.zero_grad()
                scores = local(torch.from_numpy(X).unsqueeze(1))
                torch.nn.functional.cross_entropy(scores, torch.from_numpy(y)).backward()
                optimiser.step()
            for name, value in local.state_dict().items():
                mean[name] += value * (len(part) / total)
        module.load_state_dict(mean)
        seconds.append(time.process_time() - started)
    return module, seconds


def measure(report: harness.Report) -> None:
    """The three ways, and the split of the ledger's epoch."""
    if not report.peer("torch", "torch"):
        return
    import torch

    torch.set_num_threads(1)
    config = RunConfig(devices=10, threshold=3, epochs=report.options.epochs,
                       model="python:network", data="python:images")
    source = evaluation.SHARED / evaluation.FASHION
    data = load(f"idx:{source}") if source.is_dir() and not report.quick else made_images(
        1200 if report.quick else IMAGES)
    if report.quick:
        config = RunConfig(devices=3, threshold=2, edges=1, epochs=2, iterations=5, norm_bound=None,
                           key_bits=1024, model="python:network", data="python:images")
    from bdn.learning.torch import TorchModel

    module = network(torch)
    model = TorchModel(module, (28, 28), CLASSES)
    people = from_parts(config, data, model)
    parts = [learner.dataset for learner in people.learners]  # type: ignore[attr-defined]
    trained, by_torch = plain(torch, module, parts, config)
    named = {f"device-{k + 1}": learner for k, learner in enumerate(people.learners)}
    in_plaintext, w = [], people.w
    started = time.process_time()
    for result in federated(model, named, config_rules(config), SeededRandomness(config.seed)):
        in_plaintext.append(time.process_time() - started)
        w, started = result.w, time.process_time()
    marks, phases = [], defaultdict[str, list[tuple[int, float]]](list)

    def hear(event: dict[str, Any]) -> None:
        kind = event.get("kind") if event["event"] == "work" else event["event"]
        if "seconds" in event and kind in PHASES:
            phases[PHASES[kind]].append((len(marks), event["seconds"]))
        if event["event"] == "epoch-done":
            marks.append(time.process_time())

    with opened_run(config, participants=people, listen=hear) as run:
        run.runner.run(run.is_over)  # without what is judged at the end
        final = run.reference.progress.w
    by_ledger = list(np.diff(marks))
    base = statistics.median(by_torch)
    for what, seconds in (("plain PyTorch FedAvg", by_torch),
                          ("bdn.learning.federated, in plaintext", in_plaintext),
                          ("bdn run, the default ledger" if not report.quick
                           else "bdn run, a small ledger", by_ledger)):
        median = statistics.median(seconds)
        report.add(what=what, images=len(data.train), devices=config.devices,
                   parameters=model.size, epoch_seconds=median, times_plain=median / base)
    inner = range(1, len(marks))  # whole epochs: between two marks
    sums = {name: sum(s for at, s in found if at in inner) / max(1, len(inner))
            for name, found in phases.items()}
    whole = sum(sums.values())
    for name, seconds in sorted(sums.items(), key=lambda item: -item[1]):
        if seconds:
            report.add(work=name, epoch_seconds=seconds, share=seconds / whole)
    reference = TorchModel(trained, (28, 28), CLASSES).parameters()
    level = 2 * config.weight_clip / (2**config.value_bits - 1)
    report.notes.append(
        f"largest difference from plain PyTorch after {config.epochs} epochs: plaintext "
        f"{np.abs(w - reference).max():.2g}, ledger {np.abs(final - reference).max():.2g} "
        f"(a fixed-point step is {level:.2g})"
        + (f"; updates shrunk to a limit: {len(run.meter.scaled)}" if run.meter.scaled else ""))


def config_rules(config: RunConfig) -> Any:
    """The config's rules, as `federated` takes them."""
    from bdn.learning import TrainingSettings

    return TrainingSettings(config.rule, config.epochs, config.iterations, config.rate,
                            config.batch_size)


def epochs_option(parser: argparse.ArgumentParser) -> None:
    """``--epochs``: more of them take longer and give a steadier median."""
    parser.add_argument("--epochs", type=int, default=3, help="of the full profile; at least 2")


if __name__ == "__main__":
    harness.main("A user's own PyTorch network: plain FedAvg and the ledger", measure,
                 packages=("torch",), more=epochs_option)
