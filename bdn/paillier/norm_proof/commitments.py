"""Commitments to many integers at once, and sums of four squares.

| letter | meaning |
|---|---|
| N | the modulus of the joint Paillier key; no prover knows its factors |
| G_1 … G_m, H | squares modulo N, hashed from the key's seed, so that nobody chose them |
| w, r | the integers committed to, and the integer that hides them |

Com(w; r) = G_1^{w_1} ⋯ G_m^{w_m}·H^r mod N commits to *integers*, not to residues, because nobody
who cannot factor N knows a multiple of the group's order (Damgård and Fujisaki, Asiacrypt 2002).
One group element carries all of a proof's thousands of integers.

An integer is not negative exactly when it is a sum of four squares (Lagrange). A prover who
commits to f_1 … f_4 and shows ‖w‖² + Σ f_i² = β² has shown ‖w‖ ≤ β. `four_squares` finds them by
Rabin and Shallit's randomised method (Comm. Pure Appl. Math. 39, 1986).
"""

import functools
import hashlib
from collections.abc import Sequence

import gmpy2
from gmpy2 import mpz

from bdn.encoding import transcript
from bdn.paillier.numbers import digit_columns, fold_buckets
from bdn.randomness import Randomness

SMALL = 64
"""Below this, four squares are found by trying."""

PLACES = 4
"""Places of an exponent's digits that share their buckets."""

WIDEST_DIGIT = 11
"""Bits of a digit for which the buckets of a 2048-bit key stay in a core's cache."""


class CommitmentKey:
    """G_1 … G_m and H of a Paillier key, and products of their powers. Threads may share it.

    ∏ G_l^{w_l} is computed by Pippenger's buckets: exponents are written in signed digits, the
    bases are multiplied into one bucket per digit, and ∏ bucket_d^d takes two products per bucket.
    A table of the powers G_l^(2^(width·k)), k < `PLACES`, lets as many places share their buckets,
    which can then be more. It saves a fifth of the time of a proof's commitments, and takes as long
    to make as one or two of them ("bases s" of ``python benchmarks/norm_proof.py``).
    """

    def __init__(self, N: int, seed: bytes, count: int) -> None:
        """Hash G_1 … G_count and H, squares modulo N, from ``seed``; H is the same for all counts.
        """
        size = (N.bit_length() + 128 + 7) // 8  # 128 bits more than N: x mod N is uniform
        modulus, squares = N.to_bytes((N.bit_length() + 7) // 8, "big"), []
        for k in range(count + 1):
            block = transcript("bdn/norm-proof/base", seed, modulus, k.to_bytes(8, "big"))
            x = int.from_bytes(hashlib.shake_256(block).digest(size), "big")
            squares.append(gmpy2.f_mod(mpz(x) * x, N))
        self.N, (self.H, *self.G) = mpz(N), squares
        self._width = min(max(2, count.bit_length() - 2), WIDEST_DIGIT)
        self._table, step = [self.G], mpz(1) << self._width
        for _ in range(PLACES - 1):
            self._table.append(list(gmpy2.powmod_base_list(self._table[-1], step, self.N)))

    def commit(self, w: Sequence[mpz], r: int) -> mpz:
        """Return Com(w; r) for integers w of either sign, at most as many as there are G, r ≥ 0."""
        return self.product(w) * gmpy2.powmod(self.H, r, self.N) % self.N

    def product(self, exponents: Sequence[mpz]) -> mpz:
        """Return ∏ G_l^{exponents_l} modulo N."""
        lengths = [exponent.bit_length() for exponent in exponents]
        bits, total = max(lengths, default=0), sum(lengths)
        width = min(range(2, 15), key=lambda width: _products(width, total, bits, 1))
        if _products(width, total, bits, 1) < _products(self._width, total, bits, PLACES):
            return self._by_buckets([self.G], exponents, width)
        return self._by_buckets(self._table, exponents, self._width)

    def _by_buckets(self, rows: list[list[mpz]], exponents: Sequence[mpz], width: int) -> mpz:
        """∏ G_l^{exponents_l} where rows[k] = G^(2^(width·k)), ``len(rows)`` places at a time."""
        N, (half, columns) = self.N, digit_columns(exponents, width)
        result, step = mpz(1), mpz(1) << (width * len(rows))
        for start in reversed(range(0, len(columns), len(rows))):
            if result != 1:
                result = gmpy2.powmod(result, step, N)
            buckets: list[mpz | None] = [None] * (1 << width)
            for row, column in zip(rows, columns[start:], strict=False):
                for factor, at in zip(row, column, strict=False):
                    if at != half:
                        held = buckets[at]
                        buckets[at] = factor if held is None else held * factor % N
            result = result * fold_buckets(buckets, half, N) % N
        return result


@functools.lru_cache(maxsize=4)
def commitment_key(N: int, seed: bytes, count: int) -> CommitmentKey:
    """Return the `CommitmentKey` of a Paillier key, shared by everybody in the process."""
    return CommitmentKey(N, seed, count)


def _products(width: int, total: int, bits: int, rows: int) -> int:
    """About how many products `CommitmentKey` takes: digits, and two for each bucket."""
    return total // width + (2 << width) * -(-bits // (width * rows))


# --- four squares -------------------------------------------------------------------------------


def four_squares(n: int, rng: Randomness) -> list[mpz]:
    """Four integers whose squares add up to ``n`` ≥ 0, found at random.

    Two squares are guessed until the rest is a prime p = 1 mod 4, which is a sum of two squares.
    """
    assert n >= 0
    n = mpz(n)
    if n < SMALL:
        return _squares_by_trying(int(n))
    if n % 4 == 0:  # a prime rest might not exist for a multiple of 8
        return [2 * root for root in four_squares(n // 4, rng)]
    while True:
        a = mpz(rng.below(int(gmpy2.isqrt(n)) + 1))
        b = mpz(rng.below(int(gmpy2.isqrt(n - a * a)) + 1))
        p = n - a * a - b * b
        if p % 4 == 1 and gmpy2.is_prime(p):
            return [a, b, *_two_squares(p, rng)]


def _squares_by_trying(n: int) -> list[mpz]:
    for a in range(8):
        for b in range(8):
            for c in range(8):
                rest = n - a * a - b * b - c * c
                if rest >= 0 and gmpy2.is_square(rest):
                    return [mpz(a), mpz(b), mpz(c), gmpy2.isqrt(rest)]
    raise AssertionError("Lagrange's theorem")


def _two_squares(p: mpz, rng: Randomness) -> tuple[mpz, mpz]:
    """The two squares of a prime p = 1 mod 4, by Euclid's algorithm (Hermite, Serret)."""
    root = mpz(0)
    while root * root % p != p - 1:
        root = gmpy2.powmod(2 + rng.below(int(p) - 2), (p - 1) // 4, p)
    a, b = p, root
    while b * b > p:
        a, b = b, a % b
    return b, gmpy2.isqrt(p - b * b)
