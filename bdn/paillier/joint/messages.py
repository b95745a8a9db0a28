"""What the parties of the joint key generation say, and the numbers that they agree on beforehand.

Letters: ℓ parties, t threshold, p and q the secret primes, N = pq, M the sieve's modulus, Q = 4
times the odd primes up to ℓ.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from bdn.paillier.errors import ParameterError
from bdn.paillier.joint.arithmetic import field_above
from bdn.paillier.numbers import small_primes

MIN_BITS = 64
"""The shortest joint key; below, the sieve's moduli leave the parts no room."""

BATCH = 128
"""Candidates for N that are made at once: one round of messages serves all of them."""

TEST_ROUNDS = 40
"""Bases of the biprimality test: a bad N passes each with chance at most 1/2."""

MULTIPLES = {"coprime": 1, "common": 8}
"""Random multiples opened by the two tests of p + q; a factor r of one of them is a false alarm
with chance r^−8 in "common", whose modulus may have small factors."""

HIDING_BITS = 128
"""By how much an integer mask is longer than what it hides."""

TRIAL_BOUND = 1 << 18
"""N is public, so everybody looks for its prime factors below this."""


@dataclass(frozen=True, slots=True)
class Private:
    """A message for one party's eyes.

    Attributes:
        round: what it belongs to: "sieve", "reshare", "product", "coprime", "common", "secret".
        sender: the party's index, 1 … ℓ.
        receiver: likewise.
        values: the shares, in the order that the round fixes.
    """

    round: str
    sender: int
    receiver: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """A broadcast; all of them in order are the public transcript.

    Attributes:
        round: "moduli", "test", "confirm", "coprime", "common", "theta", "verification-key",
            "trial".
        sender: the party's index, 1 … ℓ.
        values: what the round opens.
    """

    round: str
    sender: int
    values: tuple[int, ...]


Message = Private | Public


@dataclass(frozen=True, slots=True)
class Parameters:
    """What all parties know before they begin.

    Attributes:
        parties: ℓ.
        threshold: t; sharings have degree t − 1, and ℓ ≥ 2t − 1 points fix a product of two.
        bits: the exact length of N.
    """

    parties: int
    threshold: int
    bits: int

    def __post_init__(self) -> None:
        if self.threshold < 2 or self.parties < 2 * self.threshold - 1:
            raise ParameterError(
                f"t = {self.threshold} of ℓ = {self.parties}: without a dealer t ≥ 2 and "
                "ℓ ≥ 2t − 1 are needed"
            )
        if self.bits < MIN_BITS or self.bits % 2:
            raise ParameterError(f"bits must be even and at least {MIN_BITS}, not {self.bits}")

    @property
    def degree(self) -> int:
        """t − 1: what t − 1 colluders know of a sharing is nothing."""
        return self.threshold - 1

    @property
    def residue_modulus(self) -> int:
        """Q = 4·(odd primes up to ℓ). p ≡ q ≡ −1 mod Q is public, as it is for safe primes mod 12.

        The sieve cannot work modulo primes up to ℓ, since points 1 … ℓ coincide there.
        """
        odd = [int(r) for r in small_primes(max(3, self.parties + 1)) if 2 < r <= self.parties]
        return 4 * math.prod(odd)

    @property
    def prime_floor(self) -> int:
        """⌈√2·2^(bits/2 − 1)⌉: two factors above it give an N of exactly ``bits`` bits."""
        return math.isqrt(1 << (self.bits - 1)) + 1

    @property
    def sieve_primes(self) -> tuple[int, ...]:
        """The odd primes above ℓ, as many as leave each k_i at least 16·Q values."""
        return _sieve_primes(self.parties, self._room)

    @property
    def sieve_modulus(self) -> int:
        """M = ∏ `sieve_primes`; p and q are made coprime to it without anybody seeing them."""
        return math.prod(self.sieve_primes)

    @property
    def multiples(self) -> int:
        """Parts are b_i + k_i·M, k_i below this multiple of Q (above a floor for party 1).

        One M is kept free for rounding the floor up to a multiple of M; so p < 2^(bits/2).
        """
        Q, M = self.residue_modulus, self.sieve_modulus
        return (self._room - M) // (M * Q) * Q

    @property
    def _room(self) -> int:
        """What one party's part of a prime may add above the floor."""
        return ((1 << (self.bits // 2)) - self.prime_floor) // self.parties

    @property
    def product_field(self) -> int:
        """The prime field in which N = pq is multiplied."""
        return int(field_above(self.bits))

    @property
    def expected_candidates(self) -> float:
        """How many N are made before one is right, on average (for showing progress)."""
        log_p = math.log(2) * self.bits / 2
        chance = min(1.0, _mertens(self.sieve_primes[-1]) / log_p)
        return 1 / chance**2


@functools.cache
def _sieve_primes(parties: int, room: int) -> tuple[int, ...]:
    Q = 4 * math.prod(int(r) for r in small_primes(max(3, parties + 1)) if 2 < r <= parties)
    chosen, product = [], 1
    for prime in small_primes(1 << 16).tolist():
        if prime <= max(2, parties):
            continue
        if product * prime * Q * 16 > room:
            break
        chosen.append(prime)
        product *= prime
    if not chosen:
        raise ParameterError(f"{parties} parties need longer primes")
    return tuple(chosen)


def _mertens(bound: int) -> float:
    """∏ (1 − 1/r)⁻¹ over primes r ≤ ``bound``, about e^γ ln ``bound``."""
    return float(np.prod(1 / (1 - 1 / small_primes(bound + 1))))
