"""Integers: safe primes, Lagrange coefficients, and many powers for the price of few.

| letter | meaning |
|---|---|
| N | the modulus, N = pq; g = N + 1, so that (1 + N)^s = 1 + sN modulo N² |
| p, p′ | a safe prime p = 2p′ + 1 |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| (u, s) | the two parts of a unit modulo N²: x = u·(1 + N)^s |
| ρ_j | combiners: random exponents of 128 bits |

Three situations call for many powers, and each has a classical method. A test compares each with
plain powers.

- One base, many exponents (encryption): a table of the base's powers, Brickell–Gordon–McCurley–
  Wilson (Eurocrypt 1992). A power then costs one product per row of the table.
- One list of small exponents, many lists of bases (the weighted product of Eq. (5)): an addition
  sequence for the exponents, found once by de Rooij's method (Eurocrypt 1994), run per position.
- Many bases with random exponents (batched proofs, commitments): Pippenger's buckets.

The last two and the first use one saving. Every unit x modulo N² is u·(1 + N)^s with u = x mod N
and s = ((x − u)/N)·u⁻¹ mod N. The second part of a product is the *sum* of the second parts, and
the first part is a product of integers half as long as x, two of which are multiplied for each
reduction modulo N². That halves the price of a long product.

Big-integer Python is not constant time: the time of `powmod` depends on the exponent, and so does
everything here. Do not use this where an attacker can time the holder of a key.
"""

import functools
import hashlib
import heapq
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import gmpy2
import numpy as np
from gmpy2 import mpz

from bdn.paillier.errors import ParameterError
from bdn.randomness import Randomness

SIEVE_BOUND = 1 << 20
"""Candidates with a prime factor below this never reach a power."""

SIEVE_SPAN = 1 << 17
"""Candidates p′ in one sieved interval; p′ runs over odd numbers. Short primes need fewer."""

PRIME_ROUNDS = 40
"""Miller–Rabin rounds (after the Baillie–PSW test): error below 4^−40 on any composite."""


# --- primes -------------------------------------------------------------------------------------


@functools.cache
def small_primes(bound: int) -> np.ndarray:
    """Return the primes below ``bound``, ascending, as int64 (sieve of Eratosthenes)."""
    sieve = np.ones(bound, dtype=bool)
    sieve[:2] = False
    for i in range(2, math.isqrt(bound - 1) + 1):
        if sieve[i]:
            sieve[i * i :: i] = False
    return np.flatnonzero(sieve)


def safe_prime(bits: int, rng: Randomness) -> int:
    """Draw a safe prime p = 2p′ + 1 of exactly ``bits`` bits whose two top bits are set.

    Random intervals of odd p′ are sieved so that neither p′ nor 2p′ + 1 has a small factor; of
    the survivors, in random order, the first to pass is taken. With the two top bits set, the
    product of two such primes has exactly 2·``bits`` bits.

    Raises `ParameterError` below 8 bits.
    """
    if bits < 8:
        raise ParameterError(f"a safe prime of {bits} bits leaves no choice; take 8 or more")
    low = 3 << (bits - 3)  # p′ has bits − 1 bits, the two top ones set
    high = 1 << (bits - 1)
    while True:
        start = (low + rng.below(high - low)) | 1
        span = min(SIEVE_SPAN, bits * bits // 2, (high - start + 1) // 2)
        offsets = _sieved(start, span)
        while offsets:
            at = rng.below(len(offsets))
            offsets[at], offsets[-1] = offsets[-1], offsets[at]
            half = mpz(start + 2 * offsets.pop())
            if _is_safe_half(half):
                return int(2 * half + 1)


def _sieved(start: int, span: int) -> list[int]:
    """The k < ``span`` for which neither ``start`` + 2k nor its double plus one has a factor."""
    alive = np.ones(span, dtype=bool)
    root = 1 << (math.isqrt(start).bit_length() - 1)  # below √start: no candidate strikes itself
    bound = min(SIEVE_BOUND, 1 << (8 * span).bit_length(), root)
    for prime in small_primes(bound)[1:].tolist():
        half = (prime + 1) // 2  # the inverse of 2
        residue = start % prime
        alive[(-residue * half) % prime :: prime] = False  # start + 2k = 0
        alive[(((prime - 1) * half - residue) * half) % prime :: prime] = False  # 2(…) + 1 = 0
    return [int(k) for k in np.flatnonzero(alive)]


def _is_safe_half(half: mpz) -> bool:
    """Whether ``half`` and 2·``half`` + 1 are both prime; cheap Fermat tests come first."""
    if gmpy2.powmod(2, half - 1, half) != 1:
        return False
    prime = 2 * half + 1
    if gmpy2.powmod(2, prime - 1, prime) != 1:
        return False
    return bool(gmpy2.is_prime(half, PRIME_ROUNDS) and gmpy2.is_prime(prime, PRIME_ROUNDS))


def signed(value: int, N: int) -> int:
    """Return the residue of ``value`` modulo N in (−N/2, N/2), N odd."""
    value = int(value) % N
    return value - N if value > N // 2 else value


# --- powers on every core -----------------------------------------------------------------------


PIECES_PER_THREAD = 8
"""A list is cut finer than the cores, so that a core that is busy elsewhere delays little."""


THREADED_BITS = 1024
"""A power modulo less than this is done sooner than a thread starts."""


def default_threads() -> int:
    """Return as many threads as there are cores."""
    return os.cpu_count() or 1


def pieces(count: int, parts: int) -> Iterator[slice]:
    """Return at most ``parts`` slices of almost equal length that cover ``range(count)``."""
    parts = max(1, min(parts, count))
    for k in range(parts):
        yield slice(count * k // parts, count * (k + 1) // parts)


def power_each(
    bases: Sequence[mpz], exponent: int, modulus: int, threads: int | None = None
) -> list[mpz]:
    """Return ``[b^exponent mod modulus for b in bases]``, computed on ``threads`` cores.

    gmpy2's list power releases the interpreter lock for the whole list, so plain threads run in
    parallel and nothing is copied between processes.
    """
    exponent, modulus = mpz(exponent), mpz(modulus)
    values = [mpz(base) for base in bases]
    threads = threads or default_threads()
    if threads == 1 or len(values) < 2 or modulus.bit_length() < THREADED_BITS:
        return list(gmpy2.powmod_base_list(values, exponent, modulus))
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(gmpy2.powmod_base_list, values[piece], exponent, modulus)
                for piece in pieces(len(values), threads * PIECES_PER_THREAD)]
        return [value for job in jobs for value in job.result()]


# --- one base, many exponents: a table ----------------------------------------------------------


COMBINER_BITS = 128
"""Length of the combiners ρ_j of batched proofs."""

WINDOW = 8
"""Bits of the exponent per row of a fixed-base table; 8 makes each digit a byte."""

FEW_BASES = 4
"""Below this many bases, plain powers are as good as buckets."""


def split(x: mpz, N: mpz) -> tuple[mpz, mpz]:
    """Return (u, s) with x = u·(1 + sN) modulo N², for a unit x."""
    quotient, u = gmpy2.f_divmod(mpz(x), N)
    return u, quotient * gmpy2.invert(u, N) % N


class FixedBase:
    """Powers base^a modulo N² for 0 ≤ a < 2^``exponent_bits``, through a table.

    Row i holds base^(d·2^(8i)) for each byte d, as the pair (u, s) of `split`; rows of u and of s
    are two lists. For |N| = 2048, a row of 256 pairs takes 0.15 MB.
    """

    def __init__(self, base: int, N: int, exponent_bits: int) -> None:
        self._N = mpz(N)
        self._N2 = self._N * self._N
        self._rows = (exponent_bits + WINDOW - 1) // WINDOW
        self.exponent_bits = exponent_bits
        self._u: list[list[mpz]] = []
        self._s: list[list[mpz]] = []
        step = mpz(base) % self._N2
        for _ in range(self._rows):
            step = self._add_row(step)
        if self._rows % 2:  # products take the rows in pairs
            self._u.append([mpz(1)] * (1 << WINDOW))
            self._s.append([mpz(0)] * (1 << WINDOW))

    def _add_row(self, step: mpz) -> mpz:
        """Append the row of ``step``'s powers; return step^(2^WINDOW), the next row's step."""
        N, N2 = self._N, self._N2
        inverse_step = gmpy2.invert(step, N)
        row_u, row_s = [], []
        value, inverse = mpz(1), mpz(1)
        for _ in range(1 << WINDOW):
            quotient, u = gmpy2.f_divmod(value, N)
            row_u.append(u)
            row_s.append(quotient * inverse % N)
            value = value * step % N2
            inverse = inverse * inverse_step % N
        self._u.append(row_u)
        self._s.append(row_s)
        return value

    def power(self, exponent: int, s: int = 0) -> mpz:
        """Return base^exponent·(1 + N)^s modulo N², with as many rows as the exponent has digits.

        Raises `ParameterError` for an exponent that the table does not reach.
        """
        if exponent < 0 or exponent.bit_length() > self.exponent_bits:
            raise ParameterError(f"an exponent beyond 0 … 2^{self.exponent_bits}")
        N, N2 = self._N, self._N2
        pairs = (exponent.bit_length() + 2 * WINDOW - 1) // (2 * WINDOW)
        digits = exponent.to_bytes(2 * pairs, "little")
        total = mpz(s)
        for row, digit in zip(self._s, digits, strict=False):  # the table may reach further
            total += row[digit]
        rows = self._u
        product = mpz(1)
        for i in range(0, 2 * pairs, 2):
            product = product * (rows[i][digits[i]] * rows[i + 1][digits[i + 1]]) % N2
        return (product + N * (product * total % N)) % N2


@functools.lru_cache(maxsize=8)
def fixed_base(base: int, N: int, exponent_bits: int) -> FixedBase:
    """Return the table of ``base``, built on first use and shared by everybody in the process."""
    return FixedBase(base, N, exponent_bits)


# --- one list of exponents, many lists of bases -------------------------------------------------


def addition_sequence(exponents: Sequence[int]) -> tuple[list[tuple[int, int, int]], int, int]:
    """Return a program that computes ∏ x_i^{e_i}, by de Rooij's method (Euclid's algorithm).

    While two exponents are left, take the largest two, a ≥ b, with a = kb + r: replace x_b by
    x_b·x_a^k and a by r. Equal products stay equal, and the exponents shrink as in Euclid's
    algorithm. Returns (steps, last, power): each step (i, j, k) means x_j ← x_j·x_i^k, and the
    result is x_last^power. All-zero exponents give ``last`` = −1.
    """
    heap = [(-e, i) for i, e in enumerate(exponents) if e]
    heapq.heapify(heap)
    steps: list[tuple[int, int, int]] = []
    while len(heap) > 1:
        a, i = heapq.heappop(heap)
        b, j = heap[0]
        k, rest = divmod(-a, -b)
        steps.append((i, j, k))
        if rest:
            heapq.heappush(heap, (-rest, i))
    if not heap:
        return steps, -1, 0
    return steps, heap[0][1], -heap[0][0]


def run_sequence(
    program: tuple[list[tuple[int, int, int]], int, int], bases: Sequence[mpz], modulus: mpz
) -> mpz:
    """Run what `addition_sequence` returned on one list of bases."""
    steps, last, power = program
    if last < 0:
        return mpz(1)
    x = list(bases)
    for i, j, k in steps:
        if k == 1:
            x[j] = x[j] * x[i] % modulus
        else:
            x[j] = x[j] * gmpy2.powmod(x[i], k, modulus) % modulus
    return x[last] if power == 1 else gmpy2.powmod(x[last], power, modulus)


# --- many bases, random exponents ---------------------------------------------------------------


def combiners(seed: bytes, count: int) -> list[int]:
    """Return ``count`` integers of 128 bits: the SHAKE-256 stream of ``seed``."""
    size = COMBINER_BITS // 8
    stream = hashlib.shake_256(seed).digest(size * count)
    return [int.from_bytes(stream[k : k + size], "big") for k in range(0, size * count, size)]


def product_of_powers(bases: Sequence[mpz], exponents: Sequence[int], N: int) -> mpz:
    """Return ∏ x_i^{e_i} modulo N² for units x_i and exponents of either sign, by buckets.

    With x_i = u_i·(1 + s_i N) this is ∏ u_i^{e_i} · (1 + N Σ e_i s_i), and buckets multiply the u_i
    in pairs.
    """
    N = mpz(N)
    N2 = N * N
    if len(bases) < FEW_BASES:
        result = mpz(1)
        for base, exponent in zip(bases, exponents, strict=True):
            result = result * gmpy2.powmod(base, exponent, N2) % N2
        return result
    bits = max(1, *(exponent.bit_length() for exponent in exponents))
    u, s = split_all(bases, N)
    window = _best_window(len(bases), bits)
    half, columns = digit_columns(exponents, window)
    result = mpz(1)
    for column in reversed(columns):
        if result != 1:
            result = gmpy2.powmod(result, 1 << window, N2)
        buckets = _buckets(u, column, 1 << window, half, N2)
        result = result * fold_buckets(buckets, half, N2) % N2
    tail = mpz(0)
    for exponent, part in zip(exponents, s, strict=True):
        tail += exponent * part
    return result * (1 + N * (tail % N)) % N2


def split_all(bases: Sequence[mpz], N: mpz) -> tuple[list[mpz], list[mpz]]:
    """Return `split` of every base, with one inversion for all (Montgomery's trick)."""
    quotients, u, prefix = [], [], [mpz(1)]
    for base in bases:
        quotient, rest = gmpy2.f_divmod(base, N)
        quotients.append(quotient)
        u.append(rest)
        prefix.append(prefix[-1] * rest % N)
    inverse = gmpy2.invert(prefix[-1], N)
    s = [mpz(0)] * len(u)
    for k in range(len(u) - 1, -1, -1):
        s[k] = quotients[k] * (inverse * prefix[k] % N) % N
        inverse = inverse * u[k] % N
    return u, s


def digit_columns(exponents: Sequence[int], width: int) -> tuple[int, list[tuple[int, ...]]]:
    """Return (half, columns): the digits of all exponents, from the lowest place up.

    A number d of a column stands for the digit d − half. Half is 0 where no exponent is negative,
    and otherwise half the range of a digit: adding it in every place makes exponents positive and
    their digits ordinary ones. A one above the last place keeps zeros in front.
    """
    bits = max((exponent.bit_length() for exponent in exponents), default=0)
    half, places = 0, max(1, -(-bits // width))
    if any(exponent < 0 for exponent in exponents):
        half, places = 1 << (width - 1), -(-(bits + 2) // width)
    top = mpz(1) << (width * places)
    shift = top + half * ((top - 1) // ((mpz(1) << width) - 1))
    rows = [gmpy2.unpack(exponent + shift, width) for exponent in exponents]
    return half, list(zip(*rows, strict=True))[:places]


def _buckets(
    u: Sequence[mpz], digits: Sequence[int], count: int, zero: int, modulus: mpz
) -> list[mpz | None]:
    """For every digit below ``count`` but ``zero``, the product of the u_i that have it.

    Two factors of half the modulus' length are multiplied before each reduction.
    """
    full: list[mpz | None] = [None] * count
    single: list[mpz | None] = [None] * count
    for factor, digit in zip(u, digits, strict=True):
        if digit == zero:
            continue
        waiting = single[digit]
        if waiting is None:
            single[digit] = factor
            continue
        single[digit] = None
        held = full[digit]
        pair = waiting * factor
        full[digit] = pair if held is None else held * pair % modulus
    for digit, waiting in enumerate(single):
        held = full[digit]
        if waiting is not None:
            full[digit] = waiting if held is None else held * waiting % modulus
    return full


def fold_buckets(buckets: Sequence[mpz | None], half: int, modulus: mpz) -> mpz:
    """Return ∏ buckets[d]^(d − half), each side as the product of its running products."""
    sides = []
    for side in (buckets[:half:-1], buckets[:half]):  # both from the outside to the middle
        running, total = mpz(1), mpz(1)
        for bucket in side:
            if bucket is not None:
                running = running * bucket % modulus
            total = total * running % modulus
        sides.append(total)
    positive, negative = sides
    return positive * gmpy2.invert(negative, modulus) % modulus if half else positive


def _best_window(count: int, bits: int) -> int:
    """The window with the fewest reductions: ⌈bits/w⌉·(count/2 + 2·2^w)."""
    return min(range(1, 17), key=lambda w: math.ceil(bits / w) * (count / 2 + (2 << w)))
