"""Fast secret randomness for a sealing: a keyed stream, and discrete Gaussians from it.

| letter | meaning |
|---|---|
| σ | standard deviation of the discrete Gaussian D_σ(x) ∝ exp(−x² / 2σ²) over the integers |
| B | where its tails are cut: \\|x\\| ≤ B |

`KeyStream` is AES-256 in counter mode: a pseudo-random function of its 32-byte key, and with AES
instructions faster than memory is filled otherwise. `DiscreteGaussian` inverts the cumulative
distribution *exactly to 128 bits*: sixteen random bits decide nearly every sample by a table; the
few for which they do not (one in about 700 for σ = 8) are decided by 128 more bits.

Neither is constant time: a table look-up tells a cache observer on the same machine something. As
with big integers in Python, this is not the tool where such an observer is feared.
"""

import functools
from bisect import bisect_right

import gmpy2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from bdn.encoding import digest
from bdn.errors import UsageError
from bdn.randomness import ByteStream

KEY_BYTES = 32
"""AES-256."""

COARSE_BITS = 16
"""Bits that decide most samples."""

FINE_BITS = 128
"""Further bits that decide the others."""

TAIL = 12.75
"""B = ⌊12.75 σ⌋: for σ = 8, B = 102, and less than 2^−122 of the mass is cut off. Ten such samples
add up to less than 1,024, so that their sums fit slots of eleven signed bits."""


class KeyStream(ByteStream):
    """The AES-256-CTR stream of a key, as a `bdn.randomness.Randomness`."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UsageError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def bytes(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        return self._stream.update(bytes(count))

    def substream(self, name: str) -> "KeyStream":
        """Return the stream of the key hashed from this key and ``name``; this one stays."""
        return KeyStream(digest("bdn/key-stream", self._key, name.encode()))


class DiscreteGaussian:
    """D_σ over the integers, centred on 0 and cut off at ±B.

    Attributes:
        sigma: σ.
        bound: B.
        cumulative: for x = −B … B, P(X ≤ x) as integers of 144 bits; the last is 2^144.
    """

    def __init__(self, sigma: float) -> None:
        if not 0.5 <= sigma <= 2.0**12:
            raise UsageError(f"σ must be 0.5 to 4096, not {sigma}")
        self.sigma = sigma
        self.bound = int(TAIL * sigma)
        self.cumulative = _cumulative(sigma, self.bound)
        self._table, self._ambiguous = self._coarse_table()

    def sample(self, count: int, stream: KeyStream) -> NDArray[np.int64]:
        """Return ``count`` independent samples, int64."""
        coarse = np.frombuffer(stream.bytes(2 * count), dtype="<u2")
        samples: NDArray[np.int64] = self._table[coarse]
        for at in np.flatnonzero(self._ambiguous[coarse]).tolist():
            samples[at] = self.exact((int(coarse[at]) << FINE_BITS) | stream.bits(FINE_BITS))
        return samples

    def exact(self, uniform: int) -> int:
        """Return the sample that the 144-bit ``uniform`` selects: the inverse distribution."""
        return bisect_right(self.cumulative, uniform) - self.bound

    def _coarse_table(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each 16-bit prefix its sample, and whether further bits could change it."""
        prefixes = [(u << FINE_BITS, ((u + 1) << FINE_BITS) - 1) for u in range(1 << COARSE_BITS)]
        lowest = np.array([self.exact(first) for first, _ in prefixes], dtype=np.int64)
        highest = np.array([self.exact(last) for _, last in prefixes], dtype=np.int64)
        return lowest, lowest != highest


@functools.cache
def discrete_gaussian(sigma: float) -> DiscreteGaussian:
    """Return the sampler of σ, built once (its table takes about a tenth of a second)."""
    return DiscreteGaussian(sigma)


def _cumulative(sigma: float, bound: int) -> list[int]:
    with gmpy2.context(gmpy2.get_context(), precision=256):
        scale = 2 * gmpy2.mpfr(sigma) ** 2
        weights = [gmpy2.exp(-gmpy2.mpfr(x * x) / scale) for x in range(-bound, bound + 1)]
        total = gmpy2.fsum(weights)
        one = gmpy2.mpfr(1 << (COARSE_BITS + FINE_BITS))
        result, running = [], gmpy2.mpfr(0)
        for weight in weights:
            running += weight
            result.append(int(gmpy2.rint(running / total * one)))
    result[-1] = 1 << (COARSE_BITS + FINE_BITS)
    return result
