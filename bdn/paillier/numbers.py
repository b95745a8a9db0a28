"""Integers: safe primes, integer Lagrange coefficients, signed residues, and powers on every core.

Letters: N = pq the modulus, p = 2p′ + 1 a safe prime, ℓ parties, Δ = ℓ!, t threshold.

Big-integer Python is not constant time: `powmod` takes a time that depends on the exponent, and
so does everything here. Where an attacker can time the holder of a key, this is not the tool.
"""

import functools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import gmpy2
import numpy as np
from gmpy2 import mpz

from bdn.paillier.errors import KeyParameterError
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
    """The primes below ``bound``, ascending, as int64 (sieve of Eratosthenes)."""
    sieve = np.ones(bound, dtype=bool)
    sieve[:2] = False
    for i in range(2, math.isqrt(bound - 1) + 1):
        if sieve[i]:
            sieve[i * i :: i] = False
    return np.flatnonzero(sieve)


def safe_prime(bits: int, rng: Randomness) -> int:
    """A safe prime p = 2p′ + 1 of exactly ``bits`` bits whose two top bits are set.

    Random intervals of odd p′ are sieved so that neither p′ nor 2p′ + 1 has a small factor; of
    the survivors, in random order, the first to pass is taken. With the two top bits set, the
    product of two such primes has exactly 2·``bits`` bits.

    Raises `KeyParameterError` below 8 bits.
    """
    if bits < 8:
        raise KeyParameterError(f"a safe prime of {bits} bits leaves no choice; take 8 or more")
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


# --- interpolation over the integers ------------------------------------------------------------


def lagrange_at_zero(indices: Sequence[int], parties: int) -> list[int]:
    """The integers λ_i = Δ ∏_{j≠i} j / (j − i) for i in ``indices``, so that Σ λ_i f(i) = Δ f(0).

    Holds for every polynomial f of degree below ``len(indices)``. Δ = ``parties``! makes each
    λ_i an integer (Shoup, Eurocrypt 2000): ∏ (j − i) divides i! (ℓ − i)!, which divides ℓ!.
    """
    delta = math.factorial(parties)
    result = []
    for i in indices:
        top = delta * math.prod(j for j in indices if j != i)
        result.append(top // math.prod(j - i for j in indices if j != i))
    return result


def signed(value: int, N: int) -> int:
    """The residue of ``value`` modulo N in (−N/2, N/2), N odd."""
    value = int(value) % N
    return value - N if value > N // 2 else value


# --- powers on every core -----------------------------------------------------------------------


PIECES_PER_THREAD = 8
"""A list is cut finer than the cores, so that a core that is busy elsewhere delays little."""


THREADED_BITS = 1024
"""A power modulo less than this is done sooner than a thread starts."""


def default_threads() -> int:
    """As many threads as there are cores."""
    return os.cpu_count() or 1


def pieces(count: int, parts: int) -> Iterator[slice]:
    """At most ``parts`` slices of almost equal length that cover ``range(count)``."""
    parts = max(1, min(parts, count))
    for k in range(parts):
        yield slice(count * k // parts, count * (k + 1) // parts)


def power_each(
    bases: Sequence[mpz], exponent: int, modulus: int, threads: int | None = None
) -> list[mpz]:
    """``[b^exponent mod modulus for b in bases]`` on ``threads`` cores (all of them by default).

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
