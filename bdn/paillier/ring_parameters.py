"""The parameters of the ring-masked cipher, chosen by rule and checked against the budget.

| letter | meaning | standard value |
|---|---|---|
| N | dimension of the ring Z_q[X]/(X^N + 1) | 2048 |
| q | modulus of the masked values | 2^40 |
| D | scale of the message: noise lives below D, the message above | as large as fits, ≥ 2^9 |
| σ | standard deviation of secrets and errors | 8 |
| B | bound of a secret's coefficients, where the Gaussian is cut | 102 |
| n | contributors of a sum | 10 |
| v, W | bits of a value, the most that the weights may add up to | 16, 27,450 |

Two rules make sums exact. *No wrap*: Σ s_k m_k ≤ W(2^v − 1), so (W(2^v − 1) + 1)·D ≤ q. *No
rounding error*: the n errors add up to a Gaussian of deviation σ√n, and D ≥ 20·σ√n puts the
rounding boundary at ten deviations: a value goes wrong with probability 2^−75, a vector of 252,398
with 2^−57, and even then the noise check of the chunk is likely to tell.

For the standard values both are nearly tight: 27,450·65,535·512 = 2^39.75, 20·8·√10 = 506.

A larger budget takes the next ring of `RINGS`. HomomorphicEncryption.org's standard (Albrecht et
al. 2018, table 1, secret from the error distribution, σ = 3.19, 128 bits, classical) allows log q
up to 56 for N = 2048 and 111 for N = 4096; the argument for the σ that counts here, after the sum
has been opened, is in `bdn.paillier.ring_masked`.
"""

import math
from dataclasses import dataclass

from bdn.paillier.fixedpoint import FixedPoint
from bdn.paillier.sampling import TAIL
from bdn.paillier.vector_errors import BudgetError

SIGMA = 8.0
"""σ of secrets and errors."""

RINGS = ((2048, 40), (2048, 46), (4096, 56))
"""(N, log₂ q), cheapest first: 5, 6 and 7 bytes a value."""

NOISE_MARGIN = 20
"""D / (σ√n): twice the deviations that fit between the message and the rounding boundary."""

DEFAULT_CONTRIBUTORS = 20
"""Contributors admitted when none are declared, where the first fitting ring admits as many; the
sum of twenty secrets fits slots of twelve bits."""


@dataclass(frozen=True, slots=True)
class RingParameters:
    """One parameter set.

    Attributes:
        N: dimension.
        q_bits: log₂ q.
        D_bits: log₂ D.
        sigma: σ.
        contributors: the most vectors that a sum may have.
    """

    N: int
    q_bits: int
    D_bits: int
    sigma: float
    contributors: int

    def __post_init__(self) -> None:
        if self.N < 2 or self.N & (self.N - 1):
            raise BudgetError(f"N = {self.N} is no power of two of at least 2")
        if not 0 < self.D_bits < self.q_bits <= 56:
            raise BudgetError(f"D = 2^{self.D_bits} and q = 2^{self.q_bits}: need D < q ≤ 2^56")
        if self.contributors < 1 or self.contributors > contributors_for(self.D_bits, self.sigma):
            raise BudgetError(
                f"{self.contributors} contributors: their noise needs "
                f"D ≥ {NOISE_MARGIN}·σ·√n, but D = 2^{self.D_bits}, σ = {self.sigma:g}"
            )

    @property
    def secret_bound(self) -> int:
        """B: the largest coefficient of one secret."""
        return int(TAIL * self.sigma)

    @property
    def secret_slot_bits(self) -> int:
        """Width of a signed slot that holds any sum of ``contributors`` secrets' coefficients."""
        return (self.contributors * self.secret_bound).bit_length() + 1

    @property
    def value_bytes(self) -> int:
        """Bytes of a masked value on the wire: 5 for q = 2^40."""
        return (self.q_bits + 7) // 8

    def check_budget(self, code: FixedPoint) -> None:
        """Raise `BudgetError` unless every sum of ``code`` fits: (W(2^v − 1) + 1)·D ≤ q."""
        if self.D_bits > largest_D_bits(code, self.q_bits):
            raise BudgetError(
                f"{code.value_bits}-bit values and weights up to {code.total_weight} in sum do not "
                f"fit q = 2^{self.q_bits} at D = 2^{self.D_bits}"
            )


def largest_D_bits(code: FixedPoint, q_bits: int) -> int:
    """The largest log₂ D with (W(2^v − 1) + 1)·D ≤ q; may be negative."""
    return q_bits - (code.total_weight * ((1 << code.value_bits) - 1)).bit_length()


def contributors_for(D_bits: int, sigma: float) -> int:
    """The largest n with D ≥ 20·σ√n."""
    return math.floor((2.0**D_bits / (NOISE_MARGIN * sigma)) ** 2)


def choose_parameters(
    code: FixedPoint, parties: int, contributors: int | None = None
) -> RingParameters:
    """The cheapest ring of `RINGS` for this budget; a function of public values alone.

    ``contributors`` is the most vectors of a sum. Left out, all ``parties`` of the key may
    contribute, and more (up to 20) where it costs nothing; never more than W, since every weight is
    at least 1. Raises `BudgetError`, saying what to reduce, where no ring is large enough.
    """
    needed = min(code.total_weight, parties) if contributors is None else contributors
    for N, q_bits in RINGS:
        D_bits = largest_D_bits(code, q_bits)
        admitted = contributors_for(D_bits, SIGMA)
        if D_bits < 1 or admitted < needed:
            continue
        if contributors is None:
            needed = max(needed, min(code.total_weight, admitted, DEFAULT_CONTRIBUTORS))
        return RingParameters(N, q_bits, D_bits, SIGMA, needed)
    raise BudgetError(
        f"{needed} contributors of {code.value_bits}-bit values with weights up to "
        f"{code.total_weight} in sum fit none of the rings; take fewer value_bits, a smaller "
        "total_weight, or the packed cipher"
    )
