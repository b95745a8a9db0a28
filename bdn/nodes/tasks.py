"""The work of a device, as pure functions: train, seal, share, open.

A device hands these out as `Compute`, so that whoever drives it decides where they run.

    w    a model, float32 (|w|,)        δ_k    w_k − w^(p-1)         s_k    the device's samples
    F_k  the device's mean loss         s      Σ s_k of an aggregate
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bdn.chain import pack_blob, unpack_blob
from bdn.errors import UsageError
from bdn.nodes.group import (
    GroupError,
    HeldShare,
    holder_context,
    open_held,
    seal_for_group,
)
from bdn.paillier import KeyShare, VectorCipher
from bdn.paillier.errors import ShareError
from bdn.randomness import Randomness

Vector = NDArray[np.float32]
Floats = NDArray[np.float64]


class Learner(Protocol):
    """What learns at a device. Picklable, so that it can train in another process."""

    @property
    def sample_count(self) -> int:
        """s_k."""

    def update(
        self, w: Vector, epoch: int, global_gradient: Vector | None
    ) -> tuple[Vector, float]:
        """(w_k, F_k(w)) after the epoch's local iterations from ``w``; Eq. (3)."""

    def gradient(self, w: Vector) -> Vector:
        """∇F_k(w) over all samples."""

    def loss(self, w: Vector) -> float:
        """F_k(w) over all samples."""


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What a device is about to seal.

    Attributes:
        vector: float64; δ_k with F_k at its end, or ∇F_k, or [F_k].
        seconds: T_local, how long the local update took.
    """

    vector: Floats
    seconds: float


@dataclass(frozen=True, slots=True)
class SealedUpdate:
    """A sealed update ready to upload.

    Attributes:
        blob: the packed leaves.
        scale: 1, or the factor below 1 by which the update was shrunk to fit its clip.
    """

    blob: bytes
    scale: float


def local_update(
    learner: Learner, w: Vector, epoch: int, global_gradient: Vector | None
) -> LocalResult:
    """Algorithm 1, lines 7–9, and the loss that line 13 needs."""
    started = time.perf_counter()
    w_local, loss = learner.update(w, epoch, global_gradient)
    delta = (w_local - w).astype(np.float64)
    return LocalResult(np.append(delta, loss), time.perf_counter() - started)


def local_rest(learner: Learner, w: Vector) -> LocalResult:
    """δ_k = 0 with F_k(w): Eq. (3) cannot be followed without ∇F, and the epoch is lost."""
    started = time.perf_counter()
    loss = learner.loss(w)
    return LocalResult(np.append(np.zeros(len(w)), loss), time.perf_counter() - started)


def local_gradient(learner: Learner, w: Vector) -> LocalResult:
    """∇F_k(w^(p-1)), the device's part of the ∇F that Eq. (3) needs."""
    started = time.perf_counter()
    gradient = learner.gradient(w).astype(np.float64)
    return LocalResult(gradient, time.perf_counter() - started)


def local_loss(learner: Learner, w: Vector) -> LocalResult:
    """F_k(w^(P)), which closes the run."""
    started = time.perf_counter()
    loss = learner.loss(w)
    return LocalResult(np.array([loss]), time.perf_counter() - started)


def fit_to_clips(vector: Floats, clips: Floats, with_loss: bool) -> tuple[Floats, float]:
    """``vector`` shrunk as a whole to fit ``clips``, and the factor (1 where nothing was done).

    The last entry, a loss, is not part of the update's direction: it is kept as it is, and one
    beyond its clip is refused. Raises `UsageError` for anything that is not finite.
    """
    if not np.isfinite(vector).all():
        raise UsageError("the local update diverged: it holds a value that is not finite")
    direction = vector[:-1] if with_loss else vector
    bounds = clips[: len(direction)]
    worst = float(np.max(np.abs(direction) / bounds, initial=0.0))
    if worst <= 1.0:
        return vector, 1.0
    scale = (1.0 - 2.0**-40) / worst
    shrunk = direction * scale
    return (np.append(shrunk, vector[-1]) if with_loss else shrunk), scale


def seal_update(
    cipher: VectorCipher, vector: Floats, clips: Floats, with_loss: bool, weight: int,
    context: bytes, rng: Randomness,
) -> SealedUpdate:
    """Algorithm 2, line 8: E(δ_k), with the proof that its maker knows what is inside."""
    fitting, scale = fit_to_clips(vector, clips, with_loss)
    sealed = cipher.seal(fitting, weight, rng=rng, context=context)
    return SealedUpdate(pack_blob(sealed.leaves()), scale)


def seal_local(
    cipher: VectorCipher, local: LocalResult, clips: Floats, with_loss: bool, weight: int,
    context: bytes, rng: Randomness,
) -> tuple[LocalResult, SealedUpdate]:
    """`seal_update`, keeping T_local beside its result."""
    return local, seal_update(cipher, local.vector, clips, with_loss, weight, context, rng)


def make_share(
    cipher: VectorCipher, share: KeyShare, total: bytes, session: bytes, holder: bytes,
    group_key: bytes, rng: Randomness,
) -> bytes:
    """A partial decryption of the aggregate in blob ``total``, sealed for the group, as a blob.

    ``holder`` is the 20-byte address of the key holder, to which the seal is bound.
    """
    sealed_sum = cipher.sum_from_leaves(unpack_blob(total))
    part = cipher.partially_decrypt(share, sealed_sum, session=session, rng=rng)
    context = holder_context(session, share.index, holder)
    return pack_blob([seal_for_group(group_key, part.to_bytes(), context, rng)])


def open_aggregate(
    cipher: VectorCipher, total: bytes, shares: Sequence[HeldShare], session: bytes,
    group_key: bytes,
) -> Floats:
    """Algorithm 2, line 25: Σ s_k x_k, float64 (length,), from share blobs; proofs are checked.

    Shares that are not their holder's are left out; raises a `PeerError` that names the bad ones
    when too few good ones remain.
    """
    sealed_sum = cipher.sum_from_leaves(unpack_blob(total))
    parts, strange = open_held(group_key, shares, session, cipher.share_from_bytes)
    try:
        return cipher.open(sealed_sum, parts, session=session)
    except ShareError as error:
        if not strange:
            raise
        raise GroupError("; ".join([str(error), *strange])) from error
