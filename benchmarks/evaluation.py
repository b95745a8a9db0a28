"""What the figures of the paper's section 5 have in common: data, devices, settings, seeds.

The paper cuts its data in ten parts of equal size, one for each Raspberry Pi; with five devices it
uses five of the ten. So do we: a device has the same samples whether four or nine others take part.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bdn.experiments.config import RunConfig
from bdn.experiments.participants import Participants
from bdn.learning import CnnLearner, Dataset, PaperCNN, evaluate, load, split

PARTS = 10
"""Subsets of the data, and the most devices."""

SUBSET = 2745
"""Images of a subset in the paper; of a data set that has fewer, a tenth."""

SEEDS = (1, 2, 3, 4, 5)
QUICK_SEEDS = (1, 2, 3)

SHARED = Path(os.environ.get("BDN_SHARED", Path(__file__).parents[2] / "shared"))
"""Where Fashion-MNIST may lie, beside the repository."""


FASHION = Path("data") / "fashion-mnist"
NAMES = {"idx": "Fashion-MNIST", "voc": "VOC crops"}


@dataclass(frozen=True, slots=True)
class Setting:
    """How a data set is trained on.

    Attributes:
        name: for the tables.
        data, split, samples, key_bits: as in `RunConfig`.
        epochs, iterations, step_size, batch_size: Algorithm 1's P, T, λ and b.
        computed: seeds beyond those that are run, where a figure needs more (Fig. 3).
    """

    name: str
    data: str
    epochs: int = 5
    iterations: int = 40
    step_size: float = 0.1
    batch_size: int = 16
    split: str = "iid"
    key_bits: int = 2048
    samples: int | None = None
    computed: int = 15

    def config(self, devices: int, seed: int, **changes: Any) -> RunConfig:
        """The chain-borne run with these rules.

        The paper bounds no update, so its figures are reproduced without a norm bound. The
        default bound fits the epochs of ``bdn run``; these are twice as long, and their updates
        longer. What the bound costs is the subject of `norm_bound.py`.
        """
        threshold = min(3, devices - 1)
        return replace(RunConfig(
            devices=devices, threshold=threshold, epochs=self.epochs, iterations=self.iterations,
            step_size=self.step_size, batch_size=self.batch_size, data=self.data, split=self.split,
            key_bits=self.key_bits, seed=seed, norm_bound=None), **changes)


DIGITS = Setting("digits", "digits")


def photographs(data: str) -> Setting:
    """A data set of photographs: ten subsets of at most the paper's 2,745 samples.

    ``data`` is "idx:DIR" (Fashion-MNIST, MNIST) or "voc:DIR". Raises argparse's error where there
    is no such folder.
    """
    kind, _, folder = data.partition(":")
    if kind not in NAMES or not folder or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(
            f"idx:DIR or voc:DIR with a folder that exists is wanted, not {data!r}")
    return Setting(NAMES[kind], data, step_size=0.2, batch_size=32, computed=5)


def subsets(setting: Setting, seed: int) -> tuple[list[Dataset], Dataset]:
    """The ten parts of the training data, and the test data."""
    data = load(setting.data)
    chosen = data.train
    if len(chosen) > PARTS * SUBSET:
        chosen = chosen.subset(np.arange(PARTS * SUBSET))
    parts = split(chosen, PARTS, setting.split, seed=seed)
    if setting.samples is not None:
        parts = [part.subset(np.arange(min(setting.samples, len(part)))) for part in parts]
    return parts, data.test


def participants(setting: Setting, devices: int, seed: int) -> Participants:
    """The first ``devices`` of the ten, all starting from the seed's w^(0)."""
    parts, test = subsets(setting, seed)
    cnn = PaperCNN(classes=test.classes, seed=seed)
    learners = tuple(CnnLearner(cnn, part) for part in parts[:devices])
    return Participants(learners, cnn.parameters(), lambda w: evaluate(cnn, w, test), cnn.classes,
                        model=cnn)


def workers(quick: bool) -> str:
    """The executor for runs that are not timed: every core, up to four (memory)."""
    count = min(os.cpu_count() or 1, 2 if quick else 4)
    return "serial" if count == 1 else f"processes:{count}"
