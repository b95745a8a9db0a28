"""Random projections: 256 sums of a vector's entries with random signs, and the maps they meet.

| letter | meaning |
|---|---|
| R | the matrix {−1, 0, 1}^{256×n} with probabilities ¼, ½, ¼ |
| x | a vector of n integers; R x are its projections |
| γ | 256 weights of the rows; γᵀR is one sum of rows |
| A | the linear map of a ring: A σ = a_j·σ for every chunk j; b = wᵀA |

An entry of R is the difference of two random bits. Sixteen rows are handled at once: sixteen bits
of a column make one index below 2^16. R x adds up x by index and then sums each bit's half of that
table; γᵀR makes the table of all sums of sixteen weights and looks each column up. Either way no
entry of R is ever formed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from bdn.paillier.vector import ring
from bdn.paillier.vector.fixedpoint import Integers

ROWS = 256
"""Rows of R: they set how far the norm of R x strays from its mean."""

GROUP = 16
"""Rows behind one index."""

BLOCK = 1 << 17
"""Columns handled at once: 8 MB of indices."""

LIMB_BITS, LIMBS = 43, 3
"""γᵀR is kept as three limbs; 256 limbs of a weight add up to less than 2^51."""

DIGIT_BITS, DIGITS_PER_LIMB = 13, 4
"""Signed digits into which a limb is cut for transforms and products in doubles."""

MASK_DIGIT_BITS = 10
"""Signed digits of the public polynomials, on the other side of these products."""

PIECE_BITS = 20
"""Masked values are cut into three pieces: 2^19 products with a digit of 13 bits add up exactly."""


class Projection:
    """R for n columns, from the AES-256-CTR stream of ``seed`` (32 bytes)."""

    def __init__(self, seed: bytes, columns: int) -> None:
        self.columns = columns
        self._seed = seed

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
        """(columns, bits) block by block; bits has shape (2, 16 groups, columns)."""
        stream = Cipher(algorithms.AES(self._seed), modes.CTR(bytes(16))).encryptor()
        groups = ROWS // GROUP
        for start in range(0, self.columns, BLOCK):
            size = min(BLOCK, self.columns - start)
            raw = np.frombuffer(stream.update(bytes(2 * groups * size * 2)), dtype="<u2")
            yield slice(start, start + size), raw.reshape(2, groups, size)

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
        sums = iter(self._times([part.astype(np.float64) for part in parts]))
        return [next(sums) + (next(sums) << 28) if large else next(sums) for large in shapes]

    def _times(self, vectors: Sequence[NDArray[np.float64]]) -> list[Integers]:
        groups = ROWS // GROUP
        tables = np.zeros((len(vectors), 2, groups, 1 << GROUP))
        for columns, bits in self._blocks():
            for sign in range(2):
                for group in range(groups):
                    index = bits[sign, group].astype(np.intp)
                    for table, x in zip(tables, vectors, strict=True):
                        table[sign, group] += np.bincount(index, x[columns], 1 << GROUP)
        halves = np.empty((len(vectors), 2, groups, GROUP))
        for bit in range(GROUP - 1, -1, -1):
            half = 1 << bit
            halves[..., bit] = tables[..., half:].sum(axis=-1)
            tables = tables[..., :half] + tables[..., half:]
        sums = halves[:, 0] - halves[:, 1]
        return list(np.rint(sums).astype(np.int64).reshape(len(vectors), ROWS))

    def combine(self, weights: Sequence[int]) -> NDArray[np.int64]:
        """γᵀR for 256 weights below 2^129: limbs, int64 of shape (3, n); `limbs_to_integers`."""
        tables = [_subset_sums(weights[at : at + GROUP]) for at in range(0, ROWS, GROUP)]
        limbs = np.empty((self.columns, LIMBS), dtype=np.int64)
        for columns, bits in self._blocks():
            total = np.zeros((bits.shape[-1], LIMBS), dtype=np.int64)
            for group, table in enumerate(tables):
                total += np.take(table, bits[0, group], axis=0)
                total -= np.take(table, bits[1, group], axis=0)
            limbs[columns] = total
        return np.ascontiguousarray(limbs.T)

    def dense(self) -> NDArray[np.float64]:
        """R itself, float64 of shape (256, n), for matrices with few columns."""
        R = np.empty((ROWS, self.columns))
        shifts = np.arange(GROUP, dtype=np.uint16)[:, None]
        for columns, bits in self._blocks():
            for group in range(ROWS // GROUP):
                plus, minus = ((bits[sign, group] >> shifts) & 1 for sign in range(2))
                R[group * GROUP : (group + 1) * GROUP, columns] = plus.astype(float) - minus
        return R


def _subset_sums(weights: Sequence[int]) -> NDArray[np.int64]:
    """The sums of all 2^16 subsets of sixteen weights, as limbs; shape (65536, 3)."""
    mask = (1 << LIMB_BITS) - 1
    table = np.zeros((1 << GROUP, LIMBS), dtype=np.int64)
    for bit, weight in enumerate(weights):
        limbs = [(int(weight) >> (LIMB_BITS * limb)) & mask for limb in range(LIMBS)]
        table[1 << bit : 2 << bit] = table[: 1 << bit] + np.array(limbs, dtype=np.int64)
    return table


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
        digit = ((x + half) & ((1 << bits) - 1)) - half
        digits.append(digit)
        x = (x - digit) >> bits
    digits.append(x)
    return digits


class TransposedMasks:
    """wᵀA for the public polynomials a_j of a phase: exact sums of correlations.

    Everything is cut into digits so small that the transforms' worst-case rounding error stays
    below `ring.MARGIN`, by the bound that `bdn.paillier.vector.ring` derives. Chunks are summed in
    the transformed domain, as many at a time as that bound admits.
    """

    def __init__(self, polynomials: ring.PublicPolynomials) -> None:
        self._N, self._chunks = polynomials.N, polynomials.chunks
        count = -(-(polynomials.q_bits + 1) // MASK_DIGIT_BITS)
        digits = signed_digits(polynomials.residues.astype(np.int64), MASK_DIGIT_BITS, count)
        self._transforms = np.stack([np.conj(ring.forward(digit.astype(np.float64)))
                                     for digit in digits])
        largest = 2.0 ** (DIGIT_BITS - 1 + MASK_DIGIT_BITS - 1) * self._N
        self._together = int(ring.MARGIN / (ring.rounding_error(self._N) * largest))
        assert self._together >= 1

    def times(self, limbs: NDArray[np.int64], residues: ring.Residues) -> tuple[list[int], int]:
        """(wᵀA, ⟨w, c⟩) over the integers, for w in limbs (3, n) and residues c (n,).

        The first is a list of N integers, the second one integer.
        """
        n = limbs.shape[1]
        mask = np.uint64((1 << PIECE_BITS) - 1)
        pieces = np.stack([(residues >> np.uint64(PIECE_BITS * at)) & mask
                           for at in range(3)]).astype(np.float64)
        products, inner = [0] * self._N, 0
        for at, limb in enumerate(limbs):
            padded = np.zeros(self._chunks * self._N, dtype=np.int64)
            padded[:n] = limb
            for place, digit in enumerate(signed_digits(padded, DIGIT_BITS, DIGITS_PER_LIMB)):
                shift, exact = LIMB_BITS * at + DIGIT_BITS * place, digit.astype(np.float64)
                for first, sums in self._correlate(exact):
                    products = [x + (y << (shift + first))
                                for x, y in zip(products, sums, strict=True)]
                for piece, value in enumerate(_exact_products(pieces, exact[:n])):
                    inner += value << (shift + PIECE_BITS * piece)
        return products, inner

    def _correlate(self, digit: NDArray[np.float64]) -> Iterator[tuple[int, list[int]]]:
        """(shift, sums): one digit's correlations with all digits of the a_j, two at a time."""
        chunks = digit.reshape(self._chunks, self._N)
        sums = np.zeros((len(self._transforms), self._N), dtype=np.int64)
        for start in range(0, self._chunks, self._together):
            end = start + self._together
            values = np.einsum("jf,ajf->af", ring.forward(chunks[start:end]),
                               self._transforms[:, start:end])
            sums += np.rint(ring.backward(values)).astype(np.int64)
        for first in range(0, len(sums), 2):  # two together stay below 2^63 for n < 2^31
            pair = sums[first : first + 2]
            shifts = MASK_DIGIT_BITS * np.arange(len(pair))
            yield MASK_DIGIT_BITS * first, (pair << shifts[:, None]).sum(axis=0).tolist()


def _exact_products(pieces: NDArray[np.float64], digit: NDArray[np.float64]) -> list[int]:
    """⟨piece, digit⟩ for every piece (rows of (3, n)); at most 2^19 terms at once stay exact."""
    totals = [0] * len(pieces)
    for start in range(0, len(digit), 1 << 19):
        part = slice(start, start + (1 << 19))
        sums = (pieces[:, part] @ digit[part]).tolist()
        totals = [total + int(value) for total, value in zip(totals, sums, strict=True)]
    return totals
