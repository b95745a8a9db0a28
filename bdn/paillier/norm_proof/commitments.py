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
from bdn.paillier.numbers import fold_buckets
from bdn.randomness import Randomness

SMALL = 64
"""Below this, four squares are found by trying."""


@functools.lru_cache(maxsize=4)
def bases(N: int, seed: bytes, count: int) -> tuple[list[mpz], mpz]:
    """(G_1 … G_count, H), squares hashed from ``seed``; H does not depend on ``count``."""
    size = (N.bit_length() + 128 + 7) // 8  # 128 bits more than N, so that x mod N is uniform
    modulus = N.to_bytes((N.bit_length() + 7) // 8, "big")
    squares = []
    for k in range(count + 1):
        block = transcript("bdn/norm-proof/base", seed, modulus, k.to_bytes(8, "big"))
        x = int.from_bytes(hashlib.shake_256(block).digest(size), "big")
        squares.append(gmpy2.f_mod(mpz(x) * x, N))
    return squares[1:], squares[0]


def product(factors: Sequence[mpz], exponents: Sequence[int], modulus: int) -> mpz:
    """∏ factors[l]^exponents[l] mod ``modulus`` for exponents ≥ 0, by Pippenger's buckets.

    Every exponent is written in digits of some bits. For each place, the factors are multiplied
    into one bucket per digit; ∏ bucket_d^d then takes two products per bucket.
    """
    modulus = mpz(modulus)
    lengths = [exponent.bit_length() for exponent in exponents]
    longest = max(lengths, default=0)
    if longest == 0:
        return mpz(1)
    width = _best_digit(lengths, longest)
    digits = [gmpy2.unpack(mpz(exponent), width) for exponent in exponents]
    result = mpz(1)
    for place in range(-(-longest // width) - 1, -1, -1):
        if result != 1:
            result = gmpy2.powmod(result, 1 << width, modulus)
        buckets: list[mpz | None] = [None] * (1 << width)
        for factor, row in zip(factors, digits, strict=True):
            if place < len(row) and (digit := row[place]):
                held = buckets[digit]
                buckets[digit] = factor if held is None else held * factor % modulus
        result = result * fold_buckets(buckets, modulus) % modulus
    return result


def signed_product(factors: Sequence[mpz], exponents: Sequence[int], modulus: int) -> mpz:
    """`product` for exponents of either sign; the factors must be units."""
    zero = mpz(0)
    top = product(factors, [max(e, zero) for e in exponents], modulus)
    bottom = product(factors, [max(-e, zero) for e in exponents], modulus)
    return top * gmpy2.invert(bottom, modulus) % modulus


def _best_digit(lengths: Sequence[int], longest: int) -> int:
    """The width of a digit that takes the fewest products."""
    def products(width: int) -> int:
        return sum(-(-length // width) for length in lengths) + (2 << width) * -(-longest // width)
    return min(range(1, 15), key=products)


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
