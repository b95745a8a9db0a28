"""What the parties of the joint key generation say, and the numbers that they agree on beforehand.

Letters: ℓ parties, t threshold, p and q the secret primes, N = pq, M the sieve's modulus, Q = 4
times the odd primes up to ℓ.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from bdn.arguments import as_integer
from bdn.encoding import digest
from bdn.errors import shown
from bdn.paillier.errors import ParameterError
from bdn.paillier.joint.arithmetic import field_above
from bdn.paillier.keys import MAX_MODULUS_BITS, MAX_PARTIES
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


SALT_BYTES = 32
"""Of the salt that hides a committed broadcast, and of the seed of an attempt."""

FAILURE_BITS = 40
"""Honest parties end without a key with chance 2^−40."""


@dataclass(frozen=True, slots=True)
class Private:
    """A message for one party's eyes. Its sender broadcasts a commitment to it.

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

    def digest(self) -> bytes:
        """Return what commits its sender to it."""
        return digest("bdn/paillier/joint/private", self.round.encode(), _number(self.sender),
                      _number(self.receiver), *map(_number, self.values))


@dataclass(frozen=True, slots=True)
class Commitment:
    """The first half of a broadcast, or what goes with private messages.

    Attributes:
        round: the round of the messages that it commits to; "attempt" for the seed of an attempt.
        sender: the party's index, 1 … ℓ.
        digests: one for a broadcast or a seed; one per receiver for private messages.
    """

    round: str
    sender: int
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """The second half of a broadcast, sent when all commitments are there.

    Attributes:
        round: "moduli", "bases", "test", "confirm", "coprime", "common", "theta", "coins",
            "verification-key", "trial".
        sender: the party's index, 1 … ℓ.
        values: what the round opens.
        salt: random bytes that kept the commitment from telling the values.
    """

    round: str
    sender: int
    values: tuple[int, ...]
    salt: bytes = b""

    def digest(self) -> bytes:
        """Return what commits its sender to it."""
        return digest("bdn/paillier/joint/public", self.round.encode(), _number(self.sender),
                      self.salt, *map(_number, self.values))


@dataclass(frozen=True, slots=True)
class Reveal:
    """The seed of an attempt that failed: everybody can then repeat all that its sender did.

    Attributes:
        sender: the party's index, 1 … ℓ.
        seed: what the sender committed to when the attempt began.
    """

    sender: int
    seed: bytes

    @property
    def round(self) -> str:
        """The name "reveal", as the other messages have one."""
        return "reveal"

    def digest(self) -> bytes:
        """Return what commits its sender to it."""
        return digest("bdn/paillier/joint/seed", _number(self.sender), self.seed)


Broadcast = Commitment | Public | Reveal
"""What everybody hears; all of them in order are the public transcript."""

Message = Private | Broadcast


def _number(value: int) -> bytes:
    return int(value).to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


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
        for name in ("parties", "threshold", "bits"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name))
        if self.parties > MAX_PARTIES:
            raise ParameterError(f"{shown(self.parties)} parties; at most {MAX_PARTIES}")
        if self.threshold < 2 or self.parties < 2 * self.threshold - 1:
            raise ParameterError(
                f"t = {shown(self.threshold)} of ℓ = {shown(self.parties)}: without a dealer "
                "t ≥ 2 and ℓ ≥ 2t − 1 are needed"
            )
        if not MIN_BITS <= self.bits <= MAX_MODULUS_BITS or self.bits % 2:
            raise ParameterError(
                f"bits must be even, {MIN_BITS} to {MAX_MODULUS_BITS}, not {shown(self.bits)}")

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

    @property
    def most_attempts(self) -> int:
        """Batches after which honest parties have a key, but for a chance of 2^−`FAILURE_BITS`.

        A batch of candidates has a right one with chance 1 − exp(−`BATCH` / expected). That one
        passes the tests of common factors with chance 1/2 or more.
        """
        chance = (1 - math.exp(-BATCH / self.expected_candidates)) / 2
        return math.ceil(FAILURE_BITS * math.log(2) / -math.log1p(-chance))


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
