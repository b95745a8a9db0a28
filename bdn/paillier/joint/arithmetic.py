"""Secret sharing for the joint key generation: Shamir over rings, and over the integers.

| letter | meaning |
|---|---|
| ℓ | parties, at the points 1 … ℓ |
| f | a sharing: a polynomial whose value at 0 is the secret |

BGW (Ben-Or, Goldwasser, Wigderson, STOC 1988) needs differences of points to be units: every
modulus here has no prime factor up to ℓ. A *zero sharing* has degree ℓ − 1 and constant term 0;
added to products of shares before these are used, it makes them uniform but for their sum.
"""

import functools
from collections.abc import Sequence

import gmpy2
from gmpy2 import mpz

from bdn.paillier.errors import ParameterError
from bdn.randomness import Randomness

MERSENNE_EXPONENTS = (127, 521, 1279, 2203, 3217, 4253, 9689, 19937, 44497)
"""Some k for which 2^k − 1 is prime: fields for secrets of any size, without a search."""


def field_above(bits: int) -> mpz:
    """Return a prime above 2^``bits``, the same for everybody."""
    for exponent in MERSENNE_EXPONENTS:
        if exponent > bits:
            return mpz((1 << exponent) - 1)
    raise ParameterError(f"no field for {bits} bits; the longest has {MERSENNE_EXPONENTS[-1]}")


def uniform(count: int, modulus: int, rng: Randomness) -> list[mpz]:
    """Return ``count`` integers in [0, modulus), within 2^−64 of uniform, from one long draw."""
    size = (int(modulus).bit_length() + 64 + 7) // 8
    stream = rng.bytes(size * count)
    return [mpz(int.from_bytes(stream[k : k + size], "big")) % modulus
            for k in range(0, size * count, size)]


def share(
    secrets: Sequence[int], degree: int, parties: int, modulus: int, rng: Randomness
) -> list[list[mpz]]:
    """Return the Shamir shares of all ``secrets`` modulo ``modulus``: one list per party."""
    coefficients = [uniform(len(secrets), modulus, rng) for _ in range(degree)]
    result: list[list[mpz]] = [[] for _ in range(parties)]
    for k, secret in enumerate(secrets):
        for i in range(parties):
            value = mpz(0)
            for row in coefficients:
                value = (value + row[k]) * (i + 1)
            result[i].append((value + secret) % modulus)
    return result


def share_integer(
    secret: int, degree: int, parties: int, coefficient_bound: int, rng: Randomness
) -> list[mpz]:
    """Return each party's share of ``secret`` over the integers, coefficients in [0, bound)."""
    coefficients = [rng.below(coefficient_bound) for _ in range(degree)]
    return [mpz(secret + sum(a * i**k for k, a in enumerate(coefficients, 1)))
            for i in range(1, parties + 1)]


@functools.lru_cache(maxsize=64)
def weights_at_zero(parties: int, modulus: int) -> tuple[mpz, ...]:
    """Return the Lagrange weights of the points 1 … ℓ for the value at 0, modulo ``modulus``."""
    result = []
    for i in range(1, parties + 1):
        top, bottom = mpz(1), mpz(1)
        for j in range(1, parties + 1):
            if j != i:
                top, bottom = top * j, bottom * (j - i)
        result.append(top * gmpy2.invert(bottom, modulus) % modulus)
    return tuple(result)


def value_at_zero(values: Sequence[int], modulus: int) -> mpz:
    """Return f(0) modulo ``modulus`` from f(1) … f(ℓ), f of degree below ℓ."""
    weights = weights_at_zero(len(values), int(modulus))
    return sum((w * x for w, x in zip(weights, values, strict=True)), mpz(0)) % modulus


def sum_lists(lists: Sequence[Sequence[int]], modulus: int) -> list[mpz]:
    """Return the element-wise sum modulo ``modulus``."""
    return [sum(column, mpz(0)) % modulus for column in zip(*lists, strict=True)]
