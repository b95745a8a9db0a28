"""Random projections: 256 sums of a vector's entries with random signs, and the maps they meet.

| letter | meaning |
|---|---|
| R | the matrix {−1, 0, 1}^{256×n} with probabilities ¼, ½, ¼ |
| x, X | a vector of n integers, a few of them side by side; R x are projections |
| γ | 256 weights of the rows; γᵀR is one sum of rows |
| A | the linear map of a ring: A σ = a_j·σ for every chunk j; b = wᵀA |

An entry of R is the difference of two random bits. R is made anew, `BLOCK` columns at a time, each
time it meets something: as floats, so that products run at the speed of the processor's fused
multiply–add. They are exact, in whatever order a library adds them up, because every partial sum is
an integer below 2^53.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from bdn.paillier.vector import ring
from bdn.paillier.vector.fixedpoint import Floats, Integers

ROWS = 256
"""Rows of R: they set how far the norm of R x strays from its mean."""

BLOCK = 512
"""Columns of R made at once; as floats they take 1 MB, which stays in a core's cache."""

LIMB_BITS, LIMBS = 42, 3
"""γᵀR is kept as three limbs, the last without a bound of its own; 256 limbs of a weight below
2^128 add up to less than 2^53."""

DIGIT_BITS, DIGITS_PER_LIMB = 14, 3
"""Signed digits into which limbs are cut for transforms and products in doubles."""

MASK_DIGIT_BITS = 12
"""Signed digits of the public polynomials, on the other side of these products."""

PIECE_BITS = 20
"""Masked values are cut into three pieces: 2^19 products with a digit of 14 bits add up exactly."""


class Projection:
    """R for n columns, from the AES-256-CTR stream of ``seed`` (32 bytes).

    Each block of the stream holds two bits for every row and column: first one of each, row after
    row, then the ones to subtract. The first columns do not depend on how many follow.
    """

    def __init__(self, seed: bytes, columns: int) -> None:
        self.columns = columns
        self._seed = seed

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        """(columns, R of these columns), float64 of shape (256, columns), overwritten by the next.
        """
        stream = Cipher(algorithms.AES(self._seed), modes.CTR(bytes(16))).encryptor()
        zeros, block = bytes(2 * ROWS * BLOCK // 8), np.empty((ROWS, BLOCK))
        for start in range(0, self.columns, BLOCK):
            octets = np.frombuffer(stream.update(zeros), dtype=np.uint8)
            bits = np.unpackbits(octets).view(np.int8).reshape(2, ROWS, BLOCK)
            block[:] = bits[0] - bits[1]
            end = min(start + BLOCK, self.columns)
            yield slice(start, end), block[:, : end - start]

    def times(self, *vectors: Integers) -> list[Integers]:
        """R x, int64 of shape (256,), for each int64 vector x of shape (n,).

        Exact: a vector whose absolute values add up to 2^53 or more, too much for doubles, is taken
        in two halves of its bits.
        """
        parts: list[Integers] = []
        shapes: list[bool] = []
        for x in vectors:
            large = float(np.sum(np.abs(x.astype(np.float64)))) >= 2.0**53
            shapes.append(large)
            parts += [x & 0xFFFFFFF, x >> 28] if large else [x]
        sums = iter(np.ascontiguousarray(self.times_matrix(np.stack(parts, axis=-1)).T))
        return [next(sums) + (next(sums) << 28) if large else next(sums) for large in shapes]

    def times_matrix(self, X: Integers) -> Integers:
        """R X, int64 of shape (256, k), for X of shape (n, k) whose columns' |x| add up to < 2^53.
        """
        total = np.zeros((ROWS, X.shape[1]))
        for columns, R in self._blocks():
            total += R @ X[columns].astype(np.float64)
        return total.astype(np.int64)

    def combine(self, weights: Sequence[int]) -> NDArray[np.int64]:
        """γᵀR for 256 weights below 2^128: limbs, int64 of shape (3, n); `limbs_to_integers`."""
        W = to_limbs(weights).astype(np.float64)
        limbs = np.empty((LIMBS, self.columns), dtype=np.int64)
        for columns, R in self._blocks():
            limbs[:, columns] = W @ R
        return limbs

    def dense(self) -> Floats:
        """R itself, float64 of shape (256, n), for tests."""
        return np.concatenate([R.copy() for _, R in self._blocks()], axis=1)


def to_limbs(weights: Sequence[int]) -> NDArray[np.int64]:
    """Integers in [0, 2^128) as limbs, int64 of shape (3, count)."""
    mask = (1 << LIMB_BITS) - 1
    return np.array([[weight & mask, (weight >> LIMB_BITS) & mask, weight >> 2 * LIMB_BITS]
                     for weight in weights], dtype=np.int64).reshape(-1, LIMBS).T


def limbs_to_integers(limbs: NDArray[np.int64]) -> list[int]:
    """The integers whose limbs (3, n) `Projection.combine` returned."""
    low, middle, high = (limb.tolist() for limb in limbs)
    return [a + (b << LIMB_BITS) + (c << 2 * LIMB_BITS)
            for a, b, c in zip(low, middle, high, strict=True)]


# --- products with what the rows meet -----------------------------------------------------------


def signed_digits(x: Integers, bits: int, count: int) -> list[Integers]:
    """``count`` digits of ``bits`` bits, each in [−2^(bits−1), 2^(bits−1)), the last takes all."""
    half, digits = 1 << (bits - 1), []
    for _ in range(count - 1):
        x = x + half
        digits.append((x & ((1 << bits) - 1)) - half)
        x >>= bits
    digits.append(x)
    return digits


def limb_digits(limbs: NDArray[np.int64]) -> Iterator[Integers]:
    """Signed digits of the integers with these limbs (3, n), from the lowest; each has shape (n,).

    What a limb has beyond its digits is carried into the next one.
    """
    carry: Integers | int = 0
    for limb in limbs:
        *digits, carry = signed_digits(limb + carry, DIGIT_BITS, DIGITS_PER_LIMB + 1)
        yield from digits
    yield np.asarray(carry)


class TransposedMasks:
    """wᵀA for the public polynomials a_j of a phase: exact sums of correlations.

    Everything is cut into digits so small that the transforms' rounding error stays below
    `ring.MARGIN`, by the worst-case bound that `bdn.paillier.vector.ring` derives, applied to the
    norms that the digits have. Chunks are summed in the transformed domain, as many at a time as
    that bound admits; by the triangle inequality, the bounds of the chunks add up.
    """

    def __init__(self, polynomials: ring.PublicPolynomials) -> None:
        self._N, self._chunks = polynomials.N, polynomials.chunks
        count = -(-(polynomials.q_bits + 1) // MASK_DIGIT_BITS)
        digits = signed_digits(polynomials.residues.astype(np.int64), MASK_DIGIT_BITS, count)
        exact = [digit.astype(np.float64) for digit in digits]
        self._transforms = np.stack([np.conj(ring.forward(digit)) for digit in exact])
        self._norms = np.max([np.linalg.norm(digit, axis=-1) for digit in exact], axis=0)

    def times(self, limbs: NDArray[np.int64], residues: ring.Residues) -> tuple[list[int], int]:
        """(wᵀA, ⟨w, c⟩) over the integers, for w in limbs (3, n) and residues c (n,).

        The first is a list of N integers, the second one integer.
        """
        n = limbs.shape[1]
        mask = np.uint64((1 << PIECE_BITS) - 1)
        pieces = np.stack([(residues >> np.uint64(PIECE_BITS * at)) & mask
                           for at in range(3)]).astype(np.float64)
        padded = np.zeros(self._chunks * self._N)
        products, inner = [0] * self._N, 0
        for place, digit in enumerate(limb_digits(limbs)):
            shift, padded[:n] = DIGIT_BITS * place, digit
            for first, sums in self._correlate(padded.reshape(self._chunks, self._N)):
                products = [x + (y << (shift + first))
                            for x, y in zip(products, sums, strict=True)]
            for piece, value in enumerate(_exact_products(pieces, padded[:n])):
                inner += value << (shift + PIECE_BITS * piece)
        return products, inner

    def _correlate(self, digit: Floats) -> Iterator[tuple[int, list[int]]]:
        """(shift, sums): one digit's correlations with all digits of the a_j, two at a time."""
        sums = np.zeros((len(self._transforms), self._N), dtype=np.int64)
        for part in self._parts(np.linalg.norm(digit, axis=-1)):
            values = np.einsum("jf,ajf->af", ring.forward(digit[part]), self._transforms[:, part])
            sums += np.rint(ring.backward(values)).astype(np.int64)
        for first in range(0, len(sums), 2):  # two together stay below 2^63 for n < 2^26
            pair = sums[first : first + 2]
            shifts = MASK_DIGIT_BITS * np.arange(len(pair))
            yield MASK_DIGIT_BITS * first, (pair << shifts[:, None]).sum(axis=0).tolist()

    def _parts(self, norms: Floats) -> Iterator[slice]:
        """Runs of chunks whose sum is exact, for the 2-norms of a digit's chunks (chunks,)."""
        errors = ring.rounding_error(self._N) * norms * self._norms
        assert float(errors.max()) <= ring.MARGIN
        start, total = 0, 0.0
        for at, error in enumerate(errors.tolist()):
            if total + error > ring.MARGIN:
                yield slice(start, at)
                start, total = at, 0.0
            total += error
        yield slice(start, self._chunks)


def _exact_products(pieces: Floats, digit: Floats) -> list[int]:
    """⟨piece, digit⟩ for every piece (rows of (3, n)); at most 2^19 terms at once stay exact."""
    totals = [0] * len(pieces)
    for start in range(0, len(digit), 1 << 19):
        part = slice(start, start + (1 << 19))
        sums = (pieces[:, part] @ digit[part]).tolist()
        totals = [total + int(value) for total, value in zip(totals, sums, strict=True)]
    return totals
