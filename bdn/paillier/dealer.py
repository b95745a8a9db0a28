"""Keys from a trusted dealer, who makes the primes, deals the shares, and forgets both.

Fouque, Poupard, Stern, Financial Cryptography 2000.

| letter | meaning |
|---|---|
| p, q, N, m | safe primes p = 2p′ + 1 and q = 2q′ + 1; N = pq, m = p′q′ |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| β | a random unit modulo N |
| f, s_i, θ | a polynomial of degree t − 1 over Z_{Nm} with f(0) = βm; s_i = f(i); θ = f(0) mod N |
| v, v_i | a random square modulo N²; v_i = v^(Δ s_i) |
"""

import math
from collections.abc import Sequence

import gmpy2

from bdn.arguments import as_integer
from bdn.errors import shown
from bdn.paillier.errors import ParameterError
from bdn.paillier.keys import MAX_MODULUS_BITS, MAX_PARTIES, SEED_BYTES, PublicKey
from bdn.paillier.numbers import PRIME_ROUNDS, safe_prime
from bdn.paillier.threshold import KeyShare, challenge_bits
from bdn.randomness import Randomness, as_randomness

MIN_BITS = 24
"""The shortest key that `deal` makes. Anything below 2048 bits is a toy for tests."""

PRODUCTION_BITS = 2048
"""From here on the promises of the proofs are enforced, not only documented."""


def deal(
    parties: int, threshold: int, bits: int = 2048, rng: Randomness | None = None
) -> tuple[PublicKey, list[KeyShare]]:
    """Make a key of exactly ``bits`` bits from safe primes, and the shares of parties 1 … ℓ.

    About two seconds at 2048 bits; toy keys from 24 bits are for tests. Raises
    `ParameterError` for parameters from which no key can be made.
    """
    parties, threshold = _checked_sharing(parties, threshold)
    bits = as_integer(bits, "bits")
    if not MIN_BITS <= bits <= MAX_MODULUS_BITS or bits % 2:
        raise ParameterError(
            f"bits must be even, {MIN_BITS} to {MAX_MODULUS_BITS}, not {shown(bits)}")
    source = as_randomness(rng)
    while True:
        p, q = safe_prime(bits // 2, source), safe_prime(bits // 2, source)
        if p != q and min(p, q) > parties:
            return deal_from_primes(p, q, parties, threshold, rng=source)


def deal_from_primes(
    p: int,
    q: int,
    parties: int,
    threshold: int,
    require_safe_primes: bool = True,
    rng: Randomness | None = None,
) -> tuple[PublicKey, list[KeyShare]]:
    """Make a key from given primes; m = φ(N)/4, which is p′q′ for safe primes.

    Raises `ParameterError` unless p ≠ q are odd primes (safe ones if so required) above ℓ with
    gcd(N, φ(N)) = 1 and, at 2048 bits and more, (p − 1)/2 and (q − 1)/2 longer than the challenge
    of the share proofs.
    """
    parties, threshold = _checked_sharing(parties, threshold)
    p, q = as_integer(p, "a prime"), as_integer(q, "a prime")
    _check_primes(p, q, parties, require_safe_primes)
    source = as_randomness(rng)
    N, m = p * q, (p - 1) * (q - 1) // 4
    beta = _unit(N, source)
    f = [beta * m % (N * m)] + [source.below(N * m) for _ in range(threshold - 1)]
    secrets = [_evaluate(f, i) % (N * m) for i in range(1, parties + 1)]
    delta = math.factorial(parties)
    v = _unit(N * N, source) ** 2 % (N * N)
    public_key = PublicKey(
        N=N,
        theta=f[0] % N,
        v=v,
        verification_keys=tuple(int(gmpy2.powmod(v, delta * s, N * N)) for s in secrets),
        threshold=threshold,
        seed=source.bytes(SEED_BYTES),
        share_bits=(delta * N * N).bit_length(),
    )
    if public_key.bits >= PRODUCTION_BITS and min(p, q) >> 1 < 1 << challenge_bits(public_key):
        raise ParameterError("a prime is too short: (p − 1)/2 must exceed every challenge")
    return public_key, [KeyShare(public_key, i, s) for i, s in enumerate(secrets, 1)]


def _checked_sharing(parties: int, threshold: int) -> tuple[int, int]:
    """The two numbers as Python's integers; raises `ParameterError` unless 1 ≤ t ≤ ℓ."""
    parties, threshold = as_integer(parties, "parties"), as_integer(threshold, "threshold")
    if not 1 <= threshold <= parties <= MAX_PARTIES:
        raise ParameterError(
            f"a threshold of {shown(threshold)} with {shown(parties)} parties; "
            f"1 ≤ t ≤ ℓ ≤ {MAX_PARTIES}"
        )
    return parties, threshold


def _check_primes(p: int, q: int, parties: int, require_safe_primes: bool) -> None:
    for prime in (p, q):
        if prime < 3 or not gmpy2.is_prime(prime, PRIME_ROUNDS):
            raise ParameterError(f"a factor of {prime.bit_length()} bits is no odd prime")
        if require_safe_primes and not gmpy2.is_prime((prime - 1) // 2, PRIME_ROUNDS):
            raise ParameterError("a prime is not safe; require_safe_primes=False accepts it")
    if p == q:
        raise ParameterError("the two primes are equal")
    if min(p, q) <= parties:
        raise ParameterError(f"both primes must exceed the number of parties, {parties}")
    if math.gcd(p * q, (p - 1) * (q - 1)) != 1:
        raise ParameterError("gcd(N, φ(N)) ≠ 1: the plaintext could not be read off")


def _unit(modulus: int, rng: Randomness) -> int:
    while True:
        value = rng.below(modulus)
        if math.gcd(value, modulus) == 1:
            return value


def _evaluate(f: Sequence[int], x: int) -> int:
    """f(x) for coefficients in ascending order (Horner)."""
    result = 0
    for coefficient in reversed(f):
        result = result * x + coefficient
    return result
