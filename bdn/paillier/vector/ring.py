"""Arithmetic in R_q = Z_q[X]/(X^N + 1), chunk by chunk, at memory speed.

| letter | meaning |
|---|---|
| N | the ring's dimension, a power of two: coefficients of a polynomial |
| q | the modulus, a power of two: sums wrap in 64 bits and are masked |
| a_j | the j-th public polynomial, uniform in R_q, from a public seed |
| s | a short polynomial with signed coefficients (a secret σ, or a sum of secrets) |

**The product a_j·s**, for one s and many a_j. R[X]/(X^N + 1) is C^{N/2} by evaluation at the roots
ζ^{4k+1}, ζ = e^{iπ/N}: fold x_n + i·x_{n+N/2}, multiply by ζ^n, and take one complex FFT of half
the length. a_j is cut into limbs of b bits, so that every product of a limb and s is an integer
that a double holds with room to spare; the limbs' products are rounded and added with their shifts
modulo 2^64, of which q is a divisor.

**Rounding margin.** Higham (*Accuracy and Stability of Numerical Algorithms*, 2nd ed., theorem
24.2) bounds the relative error of an FFT of length n, in the 2-norm, by log₂(n)·6.7u, u = 2^−53;
twists and products add less than 6u a transform. Let r be the sum, n = N/2. An error r in either
factor moves no coefficient by more than r·‖limb‖₂·‖s‖₂ (Cauchy–Schwarz); the transform back adds at
most r times the 2-norm of its result, which is at most √n·‖limb‖₂·‖s‖₂. Together

    error ≤ (√n + 2)·(6.7·log₂(n) + 6)·u·‖limb‖₂·‖s‖₂,    ‖limb‖₂ ≤ 2^b·√N.

`limb_count` takes as few limbs as keep this *worst-case* bound below 1/4; an error below 1/2 rounds
to the exact integer. (The theorem is for radix 2; numpy's larger radices do fewer operations.)

`kronecker_product` is the exact reference: it evaluates at X = 2^w and multiplies with GMP.
"""

import functools
import math

import gmpy2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import mpz
from numpy.typing import NDArray

from bdn.encoding import digest
from bdn.errors import UsageError

Residues = NDArray[np.uint64]
"""Coefficients modulo q; shape (N,) or (chunks, N) or (values,)."""

MARGIN = 0.25
"""The largest worst-case rounding error that is allowed; 1/2 would be wrong."""


# --- bytes --------------------------------------------------------------------------------------


def to_bytes(residues: Residues, width: int) -> bytes:
    """Return ``residues``, little-endian, ``width`` bytes each (5 for q = 2^40)."""
    octets = residues.astype("<u8").reshape(-1, 1).view(np.uint8)
    return octets[:, :width].tobytes()


def from_bytes(data: bytes, width: int) -> Residues:
    """Return the residues that `to_bytes` wrote; shape (len(data) / width,)."""
    octets = np.zeros((len(data) // width, 8), dtype=np.uint8)
    octets[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    return octets.view("<u8").reshape(-1).astype(np.uint64, copy=False)


# --- public polynomials -------------------------------------------------------------------------


def public_polynomials(seed: bytes, N: int, q_bits: int, chunks: int) -> Residues:
    """Return a_0 … a_{chunks−1}, shape (chunks, N), from AES-256-CTR keyed by ``seed``.

    The key is hashed from the seed and the ring, so that no two rings share polynomials. a_j begins
    at byte j·N·⌈q_bits/8⌉ of the stream: it does not depend on how many chunks there are.
    """
    key = digest("bdn/ring/public", seed, f"{N},{q_bits}".encode())
    width = (q_bits + 7) // 8
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    residues = from_bytes(stream.update(bytes(chunks * N * width)), width)
    return (residues & np.uint64((1 << q_bits) - 1)).reshape(chunks, N)


# --- products -----------------------------------------------------------------------------------


def rounding_error(N: int) -> float:
    """Return the worst error of a coefficient of a limb's product, per unit of ‖limb‖₂·‖s‖₂."""
    n = N / 2
    return (math.sqrt(n) + 2) * (6.7 * math.log2(n) + 6) * 2.0**-53


def limb_count(N: int, q_bits: int, norm: float) -> int:
    """Return in how many limbs the worst rounding error with ‖s‖₂ ≤ ``norm`` is below 1/4."""
    room = MARGIN / (rounding_error(N) * math.sqrt(N) * max(norm, 1.0))
    if room < 2:
        raise UsageError(f"a polynomial of norm {norm:.3g} is too long for products in doubles")
    return -(-q_bits // int(math.log2(room)))


class PublicPolynomials:
    """The a_j of one (seed, ring, chunk count), with the transforms of their limbs kept."""

    def __init__(self, seed: bytes, N: int, q_bits: int, chunks: int) -> None:
        self.N, self.q_bits, self.chunks = N, q_bits, chunks
        self.residues = public_polynomials(seed, N, q_bits, chunks)
        self._transforms: dict[int, NDArray[np.complex128]] = {}

    def times(self, s: NDArray[np.int64], norm: float | None = None) -> Residues:
        """Return a_j·s for every j, shape (chunks, N), residues modulo q.

        ``norm`` bounds ‖s‖₂; give it where s is secret, so that the limbs do not depend on s.
        """
        if norm is None:
            norm = math.sqrt(float(np.sum(s.astype(np.float64) ** 2)))
        low, high, shift = self.integer_product(s, norm)
        total = low.view(np.uint64) + (high.view(np.uint64) << np.uint64(shift))
        total &= np.uint64((1 << self.q_bits) - 1)
        return total

    def integer_product(
        self, s: NDArray[np.int64], norm: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """(low, high, shift): a_j·s = low + high·2^shift over the integers, for ‖s‖₂ ≤ ``norm``.

        Both have shape (chunks, N). The integers themselves may need more than 64 bits.
        """
        limbs = limb_count(self.N, self.q_bits, norm)
        bits = -(-self.q_bits // limbs)
        short = forward(s.astype(np.float64))
        low = np.zeros((self.chunks, self.N), dtype=np.int64)
        *lower, highest = self._limb_transforms(limbs, bits)
        for at, transform in enumerate(lower):
            low += np.rint(backward(transform * short)).astype(np.int64) << (at * bits)
        high = np.rint(backward(highest * short)).astype(np.int64)
        return low, high, (limbs - 1) * bits

    def _limb_transforms(self, limbs: int, bits: int) -> NDArray[np.complex128]:
        if limbs not in self._transforms:
            mask = np.uint64((1 << bits) - 1)
            parts = [(self.residues >> np.uint64(at * bits)) & mask for at in range(limbs)]
            self._transforms[limbs] = np.stack([forward(part.astype(np.float64))
                                                for part in parts])
        return self._transforms[limbs]


@functools.lru_cache(maxsize=4)
def public_cache(seed: bytes, N: int, q_bits: int, chunks: int) -> PublicPolynomials:
    """Return the polynomials of a seed, shared by all ciphers of a phase in this process."""
    return PublicPolynomials(seed, N, q_bits, chunks)


@functools.cache
def _twist(N: int) -> NDArray[np.complex128]:
    """ζ^n for n < N/2, ζ = e^{iπ/N}."""
    powers: NDArray[np.complex128] = np.exp(1j * np.pi * np.arange(N // 2) / N)
    return powers


def forward(polynomials: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Values at the roots ζ^{4k+1}; shape (…, N) to (…, N/2)."""
    half = polynomials.shape[-1] // 2
    folded = np.empty((*polynomials.shape[:-1], half), dtype=np.complex128)
    folded.real, folded.imag = polynomials[..., :half], polynomials[..., half:]
    folded *= _twist(2 * half)
    return np.fft.ifft(folded, axis=-1, norm="forward")


def backward(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The polynomials with these values; shape (…, N/2) to (…, N)."""
    half = values.shape[-1]
    folded = np.fft.fft(values, axis=-1, norm="forward")
    folded *= np.conj(_twist(2 * half))
    return np.concatenate([folded.real, folded.imag], axis=-1)


def kronecker_product(a: Residues, s: NDArray[np.int64], q_bits: int) -> Residues:
    """Return a·s for one polynomial a (N,), by one exact product of big integers."""
    N = len(a)
    lift = int(np.max(np.abs(s), initial=1))
    width = q_bits + 2 * lift.bit_length() + N.bit_length() + 1
    ones = ((mpz(1) << (width * N)) - 1) // ((mpz(1) << width) - 1)
    left = gmpy2.pack(a.tolist(), width)
    right = gmpy2.pack((s + lift).tolist(), width) - lift * ones
    longer = ((mpz(1) << (2 * width * N)) - 1) // ((mpz(1) << width) - 1)
    half = 1 << (width - 1)
    digits = gmpy2.unpack(left * right + half * longer, width)
    folded = [(int(digits[n]) - int(digits[n + N])) % (1 << q_bits) for n in range(N)]
    return np.array(folded, dtype=np.uint64)
