"""How a data set is spread over devices: IID, by size, Dirichlet(α), by class.

Every split uses each image exactly once (the paper's s_k ∩ s_k' = ∅, and Σ s_k = s), gives each
device at least one image, and depends on the seed alone.
"""

from collections.abc import Callable

import numpy as np

from bdn.arguments import as_integer
from bdn.errors import UsageError
from bdn.learning.datasets.dataset import Dataset
from bdn.learning.types import Integers
from bdn.randomness import SeededRandomness, numpy_generator

Rng = np.random.Generator


def split(
    dataset: Dataset, devices: int, kind: str = "iid", alpha: float = 0.5, seed: int = 0
) -> list[Dataset]:
    """One data set for each device.

    Args:
        dataset: what is shared out.
        devices: how many parts.
        kind: "iid": equal sizes, random images. "size": random images, device k gets a share
            proportional to k + 1. "dirichlet": for each class, shares drawn from Dirichlet(α)
            (Hsu, Qi, Brown 2019); the smaller α, the fewer classes a device sees. "class": sorted
            by class and cut into two shards a device (McMahan et al. 2017).
        alpha: of "dirichlet", positive.
        seed: of the shuffles and shares.

    Raises:
        UsageError: an unknown kind, too many devices, or an α that leaves nothing to share.
    """
    devices = as_integer(devices, "the number of devices")
    seed = as_integer(seed, "the seed of a split")
    if kind not in KINDS:
        raise UsageError(f"a split is one of {', '.join(KINDS)}, not {kind!r}")
    if not 1 <= devices <= len(dataset):
        raise UsageError(f"{len(dataset)} images cannot be split over {devices} devices")
    if not 0 < alpha < float("inf"):
        raise UsageError(f"Dirichlet's α must be positive and finite, not {alpha}")
    rng = numpy_generator(SeededRandomness(seed).substream(f"split/{kind}"))
    parts = KINDS[kind](dataset, devices, alpha, rng)
    return [dataset.subset(part) for part in _without_empty(parts)]


def _iid(dataset: Dataset, devices: int, _alpha: float, rng: Rng) -> list[Integers]:
    return np.array_split(rng.permutation(len(dataset)), devices)


def _by_size(dataset: Dataset, devices: int, _alpha: float, rng: Rng) -> list[Integers]:
    return _cut(rng.permutation(len(dataset)), np.arange(1, devices + 1, dtype=np.float64))


def _dirichlet(dataset: Dataset, devices: int, alpha: float, rng: Rng) -> list[Integers]:
    pieces: list[list[Integers]] = [[] for _ in range(devices)]
    for label in range(dataset.classes):
        members = rng.permutation(np.flatnonzero(dataset.labels == label))
        shares = rng.dirichlet(np.full(devices, alpha))
        for device, piece in enumerate(_cut(members, shares)):
            pieces[device].append(piece)
    return [rng.permutation(np.concatenate(of_device)) for of_device in pieces]


def _by_class(dataset: Dataset, devices: int, _alpha: float, rng: Rng) -> list[Integers]:
    shuffled = rng.permutation(len(dataset))
    by_class = shuffled[np.argsort(dataset.labels[shuffled], kind="stable")]
    shards = np.array_split(by_class, 2 * devices)
    order = rng.permutation(2 * devices)
    return [np.concatenate([shards[order[2 * k]], shards[order[2 * k + 1]]])
            for k in range(devices)]


def _cut(indices: Integers, shares: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Integers]:
    """``indices`` in consecutive pieces proportional to ``shares``."""
    bounds = np.cumsum(shares)[:-1] / np.sum(shares) * len(indices)
    return np.split(indices, np.rint(bounds).astype(np.int64))


def _without_empty(parts: list[Integers]) -> list[Integers]:
    """A device that came out empty takes one image from the fullest."""
    parts = list(parts)
    for device, part in enumerate(parts):
        if not len(part):
            fullest = max(range(len(parts)), key=lambda k: len(parts[k]))
            parts[device], parts[fullest] = parts[fullest][:1], parts[fullest][1:]
    return parts


KINDS: dict[str, Callable[[Dataset, int, float, Rng], list[Integers]]] = {
    "iid": _iid, "size": _by_size, "dirichlet": _dirichlet, "class": _by_class,
}  # fmt: skip
