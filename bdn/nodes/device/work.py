"""What a device trains and seals (Section 3.2, component 1; Algorithm 2, lines 4 and 8).

These are pure functions. A device hands them out as `Compute`, so that whoever drives it decides
where they run.

    w    a model, float32 (|w|,)        δ_k    w_k − w^(p-1)         s_k    the device's samples
    F_k  the device's mean loss         s      Σ s_k of an aggregate
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdn.chain import merkle, pack_blob, unpack_blob
from bdn.errors import UsageError
from bdn.learning import DeviceError, Learner, device_generator
from bdn.nodes.events import Ahead
from bdn.nodes.settings import Settings
from bdn.nodes.shared_work import VERIFY_UPDATE
from bdn.nodes.vector_host import UpdateRecord, verification_name
from bdn.paillier import VectorCipher
from bdn.randomness import Randomness

Vector = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DeviceLearner:
    """A `bdn.learning.Learner` under a run's settings.

    Attributes:
        name: the device's; with ``rng`` it names the generator of its batches, as in the
            plaintext `bdn.learning.federated`.
        learner: the model and the device's own samples.
        settings: rule, T, λ and batch size.
        rng: seeds the batches.
    """

    name: str
    learner: Learner
    settings: Settings
    rng: Randomness

    @property
    def sample_count(self) -> int:
        """s_k."""
        return self.learner.sample_count

    def update(
        self, w: Vector, epoch: int, global_gradient: Vector | None
    ) -> tuple[Vector, float]:
        """(w_k, F_k(w)); raises `DeviceError` for a model that diverged."""
        generator = device_generator(self.rng, self.name, epoch)
        result = self.learner.update(w, self.settings, epoch, generator, global_gradient)
        if result.diverged:
            raise DeviceError(f"{self.name} diverged in epoch {epoch}: {result.reason}")
        return result.w, result.local_loss

    def gradient(self, w: Vector) -> Vector:
        """∇F_k(w)."""
        return self.learner.gradient(w)

    def loss(self, w: Vector) -> float:
        """F_k(w)."""
        return self.learner.loss(w)


@dataclass(frozen=True, slots=True)
class LocalVector:
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
        scale: 1, or the factor below 1 by which the update was shrunk to fit its limit.
        limit: what it was shrunk to: "clip" or "norm bound"; "" where nothing was done.
    """

    blob: bytes
    scale: float
    limit: str = ""


def model_digest(w: Vector) -> str:
    """SHA-256 of a model as little-endian float32, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(w, "<f4").tobytes()).hexdigest()


def local_update(
    learner: DeviceLearner, w: Vector, epoch: int, global_gradient: Vector | None
) -> LocalVector:
    """Algorithm 1, lines 7–9, and the loss that line 13 needs."""
    started = time.perf_counter()
    w_local, loss = learner.update(w, epoch, global_gradient)
    delta = (w_local - w).astype(np.float64)
    return LocalVector(np.append(delta, loss), time.perf_counter() - started)


def local_rest(learner: DeviceLearner, w: Vector) -> LocalVector:
    """δ_k = 0 with F_k(w): Eq. (3) cannot be followed without ∇F, and the epoch is lost."""
    started = time.perf_counter()
    loss = learner.loss(w)
    return LocalVector(np.append(np.zeros(len(w)), loss), time.perf_counter() - started)


def local_gradient(learner: DeviceLearner, w: Vector) -> LocalVector:
    """∇F_k(w^(p-1)), the device's part of the ∇F that Eq. (3) needs."""
    started = time.perf_counter()
    gradient = learner.gradient(w).astype(np.float64)
    return LocalVector(gradient, time.perf_counter() - started)


def local_loss(learner: DeviceLearner, w: Vector) -> LocalVector:
    """F_k(w^(P)), which closes the run."""
    started = time.perf_counter()
    loss = learner.loss(w)
    return LocalVector(np.array([loss]), time.perf_counter() - started)


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


def fit_to_bound(
    cipher: VectorCipher, vector: Floats, with_loss: bool
) -> tuple[Floats, float]:
    """``vector`` shrunk as a whole to the cipher's norm bound, and the factor (1 if it fits).

    Rounding to levels may lengthen a vector by a little, so that the levels decide.
    """
    bound = cipher.bound
    if bound is None or not bound.entries:
        return vector, 1.0
    scale, fitting = 1.0, vector
    while (norm := bound.norm_of(cipher.quantise(fitting))) > bound.norm:
        scale *= (1.0 - 2.0**-20) * bound.norm / norm
        fitting = vector * scale
        if with_loss:
            fitting[-1] = vector[-1]
    return fitting, scale


def seal_update(
    cipher: VectorCipher, vector: Floats, clips: Floats, with_loss: bool, weight: int,
    context: bytes, rng: Randomness,
) -> SealedUpdate:
    """Algorithm 2, line 8: E(δ_k), with the proofs that its maker knows what is inside, and
    that it is within the norm bound."""
    clipped, clip_scale = fit_to_clips(vector, clips, with_loss)
    fitting, norm_scale = fit_to_bound(cipher, clipped, with_loss)
    sealed = cipher.seal(fitting, weight, rng=rng, context=context)
    limit = "norm bound" if norm_scale < 1 else "clip" if clip_scale < 1 else ""
    return SealedUpdate(pack_blob(sealed.leaves()), clip_scale * norm_scale, limit)


def seal_local(
    cipher: VectorCipher, local: LocalVector, clips: Floats, with_loss: bool, weight: int,
    context: bytes, rng: Randomness,
) -> tuple[float, SealedUpdate]:
    """Return T_local in seconds, and what `seal_update` makes of the vector."""
    return local.seconds, seal_update(cipher, local.vector, clips, with_loss, weight, context, rng)


def verification_of(arguments: tuple[Any, ...], result: tuple[float, SealedUpdate]) -> Ahead:
    """What every edge server will check of the result of `seal_local` with these arguments."""
    cipher, _, _, _, weight, context, _ = arguments
    blob = result[1].blob
    leaves = unpack_blob(blob)
    update = UpdateRecord(merkle.root(leaves), len(leaves), len(blob), weight)
    return Ahead(
        VERIFY_UPDATE, verification_name(cipher, context, update),
        lambda: cipher.verify(cipher.sealed_from_leaves(leaves), context, weight=weight))
