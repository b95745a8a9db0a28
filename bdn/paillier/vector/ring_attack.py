"""Why the weight goes inside the message: the attack on the form in which the edge applies it.

In the obvious form of a ring-masked sum, a device sends c_k = a·σ_k + e_k +
D·m_k and an encrypted σ_k, and the edge computes Σ s_k c_k and E[Σ s_k σ_k]. Opening reveals T = Σ
s_k σ_k, and that is far too much: σ_k is *short*, the weights are public, so T is a number written
in the digits σ_k. For two devices every coefficient of T is one equation

    s_1 x + s_2 y = T,    |x|, |y| ≤ B,

whose integer solutions lie s_2/g apart in x (g = gcd(s_1, s_2)), while x is short. Of all solutions
the one with the least x² + y² is the most likely: the one nearest to x* = s_1 T / (s_1² + s_2²). It
is *the* secret as soon as the spacing exceeds the spread, about σ: for weights 1 and 2745, and for
nearly equal ones such as 1372 and 1373 alike. With σ_k known, c_k − a·σ_k is the update in the
clear.

With the weight inside the message, T = σ_1 + σ_2: a spacing of 1, and T/2 leaves each coefficient
of σ_1 a Gaussian of deviation σ/√2. The same procedure then finds noise, and tells so itself.

`attack` plays both forms for tests and for the lab; nothing in the package uses this module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bdn.errors import UsageError
from bdn.paillier.vector import ring
from bdn.paillier.vector.fixedpoint import Floats, Integers
from bdn.paillier.vector.ring_masked import RingMaskedCipher
from bdn.paillier.vector.sampling import KeyStream, discrete_gaussian
from bdn.randomness import Randomness, as_randomness

Form = Literal["edge", "device"]
"""Who applies the weight."""


@dataclass(frozen=True, slots=True)
class View:
    """What an edge server sees of two devices' sealings once their sum has been opened.

    Attributes:
        masked: the ring part of each sealed vector, shape (length,).
        opened: T, the opened weighted sum of the secrets, int64 of shape (N,).
        secret_weights: the weights of the secrets in T.
        message_weights: the weights inside the messages.
    """

    masked: tuple[ring.Residues, ring.Residues]
    opened: Integers
    secret_weights: tuple[int, int]
    message_weights: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the attack makes of a `View`.

    Attributes:
        vectors: the two reconstructed vectors, float64 of shape (length,).
        exact: for each, the fraction of entries whose level is exactly right.
        noise: for each, the mean square of what remains below D, over σ²: about 1 where the secret
            was found, D²/12σ² where it was not. The attacker needs no truth to compute it.
    """

    vectors: tuple[Floats, Floats]
    exact: tuple[float, float]
    noise: tuple[float, float]


def attack(
    cipher: RingMaskedCipher,
    vectors: Sequence[ArrayLike],
    weights: tuple[int, int],
    applied_by: Form = "edge",
    rng: Randomness | None = None,
) -> Recovered:
    """Seal two ``vectors``, open their sum, and reconstruct both from what the edge then knows.

    ``applied_by`` chooses the form: "edge" is the broken one, "device" is this package's.
    """
    if len(vectors) != 2 or min(weights) < 1:
        raise UsageError("the attack is on two vectors with positive weights")
    view = observe(cipher, vectors, weights, applied_by, rng)
    secrets = recover_secrets(view.opened, view.secret_weights)
    found, exact, noise = [], [], []
    for k in range(2):
        levels, energy = unmask(cipher, view.masked[k], secrets[k], view.message_weights[k])
        truth = cipher.quantise(vectors[k])
        found.append(cipher.code.to_values(levels))
        exact.append(float(np.mean(levels == truth)))
        noise.append(energy)
    return Recovered((found[0], found[1]), (exact[0], exact[1]), (noise[0], noise[1]))


def observe(
    cipher: RingMaskedCipher,
    vectors: Sequence[ArrayLike],
    weights: tuple[int, int],
    applied_by: Form,
    rng: Randomness | None = None,
) -> View:
    """Return two sealings' ring parts and the opened sum of their secrets, in either form.

    Paillier is left out: of its part, an opening shows the sum and nothing else.
    """
    p = cipher.parameters
    stream = KeyStream(as_randomness(rng).bytes(32))
    gaussian = discrete_gaussian(p.sigma)
    inside = (1, 1) if applied_by == "edge" else weights
    outside = weights if applied_by == "edge" else (1, 1)
    masked = []
    opened = np.zeros(p.N, dtype=np.int64)
    for vector, message_weight, secret_weight in zip(vectors, inside, outside, strict=True):
        secret = gaussian.sample(p.N, stream)
        opened += secret_weight * secret
        message = (cipher.code.encode(vector) * message_weight) << p.D_bits
        noise = gaussian.sample(cipher.length, stream)
        masked.append(cipher.masks(secret) + (message + noise).view(np.uint64))
    return View((masked[0], masked[1]), opened, outside, inside)


def recover_secrets(opened: Integers, weights: tuple[int, int]) -> tuple[Integers, Integers]:
    """Return the likeliest short (x, y) with s_1 x + s_2 y = T, coefficient by coefficient.

    ``opened`` is T, int64 of shape (N,). x runs over one residue class modulo s_2/g; along the
    solutions x² + y² is a parabola with its minimum at x*, so the nearest solution is the shortest.
    """
    g = math.gcd(*weights)
    s1, s2 = weights[0] // g, weights[1] // g
    T = opened // g
    residue = T * pow(s1, -1, s2) % s2 if s2 > 1 else np.zeros_like(T)
    likeliest = T * s1 / (s1 * s1 + s2 * s2)
    x = residue + s2 * np.rint((likeliest - residue) / s2).astype(np.int64)
    return x, (T - s1 * x) // s2


def unmask(
    cipher: RingMaskedCipher, masked: ring.Residues, secret: Integers, weight: int
) -> tuple[Integers, float]:
    """Return the levels q (length,) under the mask of ``secret``, and the noise energy over σ²."""
    p = cipher.parameters
    values = masked - cipher.masks(secret) + np.uint64(1 << (p.D_bits - 1))
    values &= np.uint64((1 << p.q_bits) - 1)
    noise = (values & np.uint64((1 << p.D_bits) - 1)).astype(float) - (1 << (p.D_bits - 1))
    messages = (values >> np.uint64(p.D_bits)).astype(np.int64) // weight
    levels = messages % (2 * cipher.code.offset) - cipher.code.offset
    return levels, float(np.mean(noise**2)) / p.sigma**2
