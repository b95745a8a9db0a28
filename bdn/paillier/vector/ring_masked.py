"""The ring-masked vector cipher: Paillier carries a small key, a ring carries the model.

This is beyond the paper.

| letter | meaning | standard value |
|---|---|---|
| R_q | Z_q[X]/(X^N + 1), polynomials of N coefficients modulo q | N = 2048, q = 2^40 |
| a_j | public polynomial of chunk j, from the seed of (chain, epoch, phase, previous block) | |
| σ_k | device k's secret: a fresh short polynomial for every sealing | |
| e_kj | error of chunk j, as short as σ_k | |
| σ | standard deviation of secrets and errors | 8 |
| B | bound of a secret's coefficients, where the Gaussian is cut | 102 |
| m_kj, s_k | chunk j of the offset-binary vector of device k; its weight | |
| D | the message's scale: errors live below D, the message above | as large as fits, ≥ 2^9 |
| n | contributors of a sum | 10 |
| v, W | bits of a value; the most that the weights may add up to | 16, 27,450 |

    seal    c_kj = a_j·σ_k + e_kj + D·s_k·m_kj  in R_q,      E[σ_k] packed in a few ciphertexts
    add     c_j = Σ_k c_kj,                                  E[S] = ∏_k E[σ_k],  S = Σ_k σ_k
    open    S by t shares;  c_j − a_j·S = Σ_k e_kj + D·Σ_k s_k m_kj;  rounding to D drops the errors

Opened sums are exact integers, t of n parties are needed as ever, and the mining contract does the
same as for `PackedCipher`. 252,398 values cost 12 ciphertexts instead of 3,825.

**When sums are exact.** *No wrap*: Σ s_k m_k ≤ W(2^v − 1), so (W(2^v − 1) + 1)·D ≤ q. *No rounding
error*: the n errors add up to a Gaussian of deviation σ√n, and D ≥ 20·σ√n puts the rounding
boundary at ten deviations. A value goes wrong with probability 2^−75 and a vector of 252,398 with
2^−57, and even then the noise check of the chunk is likely to notice. For the standard values both
rules are nearly tight: 27,450·65,535·512 = 2^39.75 and 20·8·√10 = 506. A larger budget takes the
next ring of `RINGS`.

**What an opening reveals**: the sum Σ s_k m_k (that is its purpose), S, and Σ_k e_kj for every j.

**Why that is safe.** Let all contributors but two, 1 and 2, collude with the edge and with t − 1
key holders. They subtract their own parts and know z = σ_1 + σ_2, z_j = e_1j + e_2j, M_j = s_1 m_1j
+ s_2 m_2j and c_1j. (c_2j follows: a_j z + z_j + D·M_j − c_1j.) So all that could tell m_1 from m_2
is b_j = a_j σ_1 + e_1j, masking s_1 m_1j, beside the *hints* z and z_j: the Hint-RLWE problem with
one hint whose noise (σ_2, e_2j) is as wide as the secret. If b_j looks uniform beside the hints,
the view depends on M alone. More honest contributors only widen the noise; with *one*, the others
subtract themselves and hold its vector. Hence `min_honest` = 2, which the device enforces by the
minimum of t + 1 contributors before it makes a share.

- *Theorem* (Kim, Lee, Seo, Song, "Toward Practical Lattice-Based Proof of Knowledge from
  Hint-MLWE", CRYPTO 2023; here module rank 1, one hint, challenge 1). With 1/σ_0² = 2(1/σ² + 1/σ²),
  Hint-RLWE is as hard as RLWE of width σ_0 = σ/2 = 4 up to 2ε, where σ_0 ≥ √2·η_ε(Z^d), as a
  standard deviation √(ln(2d(1 + 1/ε)))/π. For d = 125·2048 and ε = 2^−128 that is 3.21 < 4. ACORN
  (Bell et al., USENIX Security 2023) masks long vectors with RLWE and reveals the sum of the short
  secrets, as here; Mera et al. (PKC 2022) had the assumption for rings before.
- *Statistical losses*: tails cut at 12.75σ, less than 2^−104 for a vector; samples exact to 2^−144.
- *Computational, for Paillier*: the ciphertexts of σ_k hide it (DCR, and DJN's assumption in the
  fast mode); share proofs and fewer than t shares reveal nothing. Every contributor proves that it
  knows its plaintexts, bound to chain, phase, device *and ring part*. Without this proof a device
  could send another's E[σ_k] again, and the sum would hold a multiple of it.
- *Assumption*: RLWE of width 4 in R_q is hard. HomomorphicEncryption.org's table (2018; secret from
  the error distribution, width 3.19, 128 bits classical) allows log q ≤ 56 for N = 2048 and 111 for
  N = 4096. By the stricter core-SVP count (primal attack, 0.292·β; a test computes it) the three
  rings reach 164, 134 and 254 bits, not counting what gate counts and memory add.
- *Heuristic*: a_j from AES-256-CTR under a public seed instead of uniform ones (fine in the
  ideal-cipher model; an edge may grind the block that seeds them, but finds no weak a_j that way as
  far as is known); power-of-two q in a power-of-two cyclotomic ring; Gaussians not sampled in
  constant time.

**Why the weight is inside the message**: were it applied by the edge, Σ s_k σ_k would be opened,
whose coefficients spell out the σ_k like digits. `bdn.paillier.vector.ring_attack` does it.

**A secret is never used twice, by construction**: σ_k lives inside one call of `seal`, no argument
brings one in and no result carries one out, and it is drawn from a stream keyed by fresh entropy
*and* everything sealed. Should the entropy repeat, other content still means another secret, and
the same content gives the same bytes. A device that must retransmit sends the bytes that it kept.

**What it does not prevent** without a norm bound (`bdn.paillier.norm_proof` has one): a malicious
device can choose its message freely, so neither clip nor weight binds it (`PackedCipher` binds the
weight, but its slots can be spoiled just so). If it masks with another secret than it encrypts, or
overflows a slot of σ, whole chunks turn into noise: the energy of what is left below D tells, and
opening raises `SpoiledSumError` naming the chunks, though not the device. Louder errors in a few
coefficients pass; they move entries by single levels, as a chosen message could. Very short vectors
leave the check little to measure. After a failed opening S is known, so that contributors must seal
afresh.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from gmpy2 import mpz
from numpy.typing import ArrayLike

from bdn.arguments import as_bytes, as_integer, check_type
from bdn.encoding import encode, transcript
from bdn.errors import shown
from bdn.paillier.batch import encrypt_many, weighted_product
from bdn.paillier.errors import (
    ParameterError,
    SealedFormError,
    SpoiledSumError,
)
from bdn.paillier.keys import PublicKey
from bdn.paillier.norm_proof import RANGE, SLACK, NormBound, RingStatement, Statement
from bdn.paillier.norm_proof.statements import (
    NOISE_ALLOWANCE,
    secret_bound2,
    secret_slot_bits,
)
from bdn.paillier.vector import ring
from bdn.paillier.vector.cipher import VectorCipher
from bdn.paillier.vector.fixedpoint import (
    FixedPoint,
    Integers,
    pack_signed_slots,
    slots_in,
    unpack_signed_slots,
)
from bdn.paillier.vector.sampling import TAIL, discrete_gaussian
from bdn.paillier.vector.sealed import SealedSum, SealedVector
from bdn.randomness import Randomness

# --- parameters ---------------------------------------------------------------------------------

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
            raise ParameterError(f"N = {self.N} is no power of two of at least 2")
        if not 0 < self.D_bits < self.q_bits <= 56:
            raise ParameterError(f"D = 2^{self.D_bits} and q = 2^{self.q_bits}: need D < q ≤ 2^56")
        if self.contributors < 1 or self.contributors > contributors_for(self.D_bits, self.sigma):
            raise ParameterError(
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

    def to_bytes(self) -> bytes:
        """Return [N, log₂ q, log₂ D, σ's numerator, σ's denominator, contributors], for hashing."""
        return encode([self.N, self.q_bits, self.D_bits, *self.sigma.as_integer_ratio(),
                       self.contributors])

    def check_budget(self, code: FixedPoint, bound: NormBound | None = None) -> None:
        """Raise `ParameterError` unless every sum of ``code`` fits, and ``bound`` can be proven."""
        if self.D_bits > largest_D_bits(code, self.q_bits, bound):
            raise ParameterError(
                f"{code.value_bits}-bit values and weights up to {code.total_weight} in sum do not "
                f"fit q = 2^{self.q_bits} at D = 2^{self.D_bits}"
            )


def largest_D_bits(code: FixedPoint, q_bits: int, bound: NormBound | None = None) -> int:
    """Return the largest log₂ D with (W(2^v − 1) + 1)·D ≤ q; may be negative.

    Under a norm bound B also q ≥ 2·D·W·2.46·B, since a single entry may be as large as the norm
    that is proven, and q ≥ 5·2.46·D·W·B, where the norm proof's argument begins to hold.
    """
    D_bits = q_bits - (code.total_weight * ((1 << code.value_bits) - 1)).bit_length()
    if bound is None:
        return D_bits
    levels = bound.norm * code.total_weight
    return min(D_bits, q_bits - math.ceil(RANGE * SLACK * levels * ROOM_FOR_NOISE).bit_length())


def contributors_for(D_bits: int, sigma: float) -> int:
    """Return the largest n with D ≥ 20·σ√n."""
    return math.floor((2.0**D_bits / (NOISE_MARGIN * sigma)) ** 2)


def choose_parameters(
    code: FixedPoint, parties: int, contributors: int | None = None,
    bound: NormBound | None = None,
) -> RingParameters:
    """Return the cheapest ring of `RINGS` for this budget; a function of public values alone.

    ``contributors`` is the most vectors of a sum. Left out, all ``parties`` of the key may
    contribute, and more (up to 20) where it costs nothing; never more than W, since every weight is
    at least 1. Raises `ParameterError`, saying what to reduce, where no ring is large enough.
    """
    if contributors is None:
        needed = min(code.total_weight, parties)
    else:
        needed = as_integer(contributors, "contributors")
    for N, q_bits in RINGS:
        D_bits = largest_D_bits(code, q_bits, bound)
        admitted = contributors_for(D_bits, SIGMA)
        if D_bits < 1 or admitted < needed:
            continue
        if contributors is None:
            needed = max(needed, min(code.total_weight, admitted, DEFAULT_CONTRIBUTORS))
        return RingParameters(N, q_bits, D_bits, SIGMA, needed)
    raise ParameterError(
        f"{needed} contributors of {code.value_bits}-bit values with weights up to "
        f"{code.total_weight} in sum fit none of the rings; take fewer value_bits, a smaller "
        "total_weight or norm bound, or the packed cipher"
    )


# --- the cipher ---------------------------------------------------------------------------------


ROOM_FOR_NOISE = 1.01
"""By how much the bound on ‖D·s·δ + e‖ may exceed D·s·B when D is chosen."""

NOISE_ALARM_BITS = 100
"""Honest noise trips the noise check of a chunk with probability 2^−100."""


class RingMaskedCipher(VectorCipher):
    """Ring-masked sealing: the device applies its weight.

    Attributes:
        parameters: ring, scale, noise and the most contributors of a sum.
        seed: the public bytes from which the a_j are derived.
        slot_bits: width of a secret's slot in a Paillier plaintext.
        slots: slots of a plaintext.
    """

    name: ClassVar[str] = "ring-masked"
    applies_weight: ClassVar[Literal["contract", "device"]] = "device"

    def __init__(
        self,
        public_key: PublicKey,
        length: int,
        clip: ArrayLike = 1.0,
        value_bits: int = 16,
        *,
        total_weight: int,
        seed: bytes = b"",
        contributors: int | None = None,
        parameters: RingParameters | None = None,
        norm_bound: float | None = None,
        singles: int = 0,
        largest_bound: float | None = None,
    ) -> None:
        """A cipher for vectors (length,) of ``value_bits`` bits over ±``clip``.

        Args:
            public_key: the joint Paillier key.
            length: entries of a vector.
            clip: one number, or a float64 array (length,).
            value_bits: v.
            total_weight: W, the most that the weights of a sum may add up to.
            seed: public; names chain, epoch, phase and previous block, so that no two phases share
                their a_j.
            contributors: the most vectors of a sum; see `choose_parameters` for the default.
            parameters: an explicit set instead of a chosen one. Toy rings come in only here.
            norm_bound: the most that the 2-norm of a vector may be, as each sealed vector then
                proves; None for no bound and no proof.
            singles: so many last entries are outside that norm, and proven to be within their clip.
            largest_bound: the largest ``norm_bound`` of a run in which it changes: the ring is
                chosen for that, so that all its vectors have one form.

        Raises `ParameterError` where sums could not be exact or no slot fits the key.
        """
        code = FixedPoint(length, clip, value_bits, total_weight)
        super().__init__(public_key, code, norm_bound, singles, largest_bound)
        if parameters is None:
            parameters = choose_parameters(
                self.code, public_key.parties, contributors, self.widest)
        parameters.check_budget(self.code, self.widest)
        self.parameters, self.seed = parameters, as_bytes(seed, "seed")
        self.slot_bits = parameters.secret_slot_bits
        if self.bound is not None:
            self.slot_bits = secret_slot_bits(parameters)
            noise = NOISE_ALLOWANCE * parameters.sigma * math.sqrt(length)
            proven = SLACK * (self.bound.norm + noise / (1 << parameters.D_bits))
            code.reach = max(code.reach, math.ceil(proven)) + 1
        self.slots = slots_in(public_key.bits, self.slot_bits)
        if self.slots == 0:
            raise ParameterError(
                f"a slot of {self.slot_bits} bits for the secret does not fit a plaintext under a "
                f"{public_key.bits}-bit key; take a longer key"
            )

    @property
    def ciphertext_count(self) -> int:
        """⌈N / slots⌉: what a secret polynomial takes."""
        return -(-self.parameters.N // self.slots)

    @property
    def chunks(self) -> int:
        """Ring chunks of a vector; the last carries only as many values as are left."""
        return -(-self.length // self.parameters.N)

    @property
    def ring_bytes(self) -> int:
        """length · 5 for q = 2^40."""
        return self.length * self.parameters.value_bytes

    @property
    def chunk_bytes(self) -> int:
        """N · 5 for q = 2^40."""
        return self.parameters.N * self.parameters.value_bytes

    # --- sealing ---

    def seal_encoded(
        self, levels: Integers, weight: int, rng: Randomness | None = None, context: bytes = b""
    ) -> SealedVector:
        """Mask ``weight``·``levels``; see `VectorCipher.seal_encoded`."""
        stream = self._fresh_stream(levels, weight, rng, context)
        gaussian = discrete_gaussian(self.parameters.sigma)
        secret = gaussian.sample(self.parameters.N, stream)
        while self.bound is not None and int(secret @ secret) > secret_bound2(self.parameters):
            secret = gaussian.sample(self.parameters.N, stream)
        masks = self.masks(secret, self.parameters.secret_bound * math.sqrt(self.parameters.N))
        masked = masks + gaussian.sample(self.length, stream).view(np.uint64)
        masked += (levels * weight).view(np.uint64) << np.uint64(self.parameters.D_bits)
        masked &= self._q_mask()
        chunks = ring.to_bytes(masked, self.parameters.value_bytes)
        plaintexts = pack_signed_slots(secret, self.slot_bits, self.slots)
        ciphertexts, nonces = encrypt_many(self.public_key, plaintexts, stream)
        bound_to = self._bound(chunks, weight, context)
        proof = self._prove(
            ciphertexts, plaintexts, nonces, bound_to, stream,
            self._statement(weight, masked, ciphertexts, bound_to), secret)
        return SealedVector(
            self.name, self.length, weight, self.ciphertext_bytes, self.chunk_bytes,
            self._joined(ciphertexts), chunks, proof,
        )

    def _statement(
        self, weight: int, masked: ring.Residues, ciphertexts: Sequence[mpz], bound_to: bytes
    ) -> RingStatement | None:
        if self.bound is None:
            return None
        return RingStatement(self.public_key, self.parameters, self.seed, self.bound, weight,
                             self.code.offset, masked, ciphertexts, bound_to)

    def _norm_statement(
        self, sealed: SealedVector, ciphertexts: Sequence[mpz], bound_to: bytes
    ) -> Statement | None:
        masked = ring.from_bytes(sealed.ring, self.parameters.value_bytes)
        return self._statement(sealed.weight, masked, ciphertexts, bound_to)

    @property
    def _proven_integers(self) -> int:
        rows = self.bound.rows if self.bound is not None else 0
        return self.parameters.N + 2 * rows

    def masks(self, secret: Integers, norm: float | None = None) -> ring.Residues:
        """Return the values (length,) of a_j·``secret``, residues modulo q.

        ``secret`` is int64 of shape (N,); ``norm``, a public bound of its 2-norm, keeps the way of
        computing independent of it.
        """
        N, q_bits = self.parameters.N, self.parameters.q_bits
        polynomials = ring.public_cache(self.seed, N, q_bits, self.chunks)
        return polynomials.times(secret, norm).reshape(-1)[: self.length]

    def _q_mask(self) -> np.uint64:
        return np.uint64((1 << self.parameters.q_bits) - 1)

    def _phase(self) -> bytes:
        return transcript(
            "bdn/ring-masked/phase", self.public_key.digest, self.code.fingerprint(),
            self.parameters.to_bytes(), self.seed,
            b"" if self.bound is None else self.bound.to_bytes(),
        )

    def _bound(self, chunks: bytes, weight: int, context: bytes) -> bytes:
        chunks_digest = hashlib.sha256(chunks).digest()
        return transcript(
            "bdn/ring-masked", self._phase(), weight.to_bytes(8, "big"), chunks_digest, context
        )

    def _proof_context(self, sealed: SealedVector, context: bytes) -> bytes:
        return self._bound(sealed.ring, sealed.weight, context)

    # --- adding ---

    def weighted_sum(self, sealed: Sequence[SealedVector], weights: Sequence[int]) -> SealedSum:
        """Return the sum of the masked vectors; the weights must be those inside the messages.

        Raises as `VectorCipher.weighted_sum`, and `ParameterError` for too many contributors.
        """
        if len(sealed) > self.parameters.contributors:
            raise ParameterError(
                f"{len(sealed)} contributors; the noise budget is for "
                f"{self.parameters.contributors}"
            )
        return super().weighted_sum(sealed, weights)

    def _check_addend(self, position: int, item: SealedVector, weight: int) -> None:
        check_type(item, SealedVector, "a sealed vector")
        if item.weight != weight:
            raise SealedFormError(
                f"vector {position} was sealed with weight {item.weight}, not {weight}"
            )
        self._check_sealed(item)

    def _add_ciphertexts(
        self, sealed: Sequence[SealedVector], weights: Sequence[int]
    ) -> list[mpz]:
        vectors = [self._ciphertexts(item) for item in sealed]
        return weighted_product(self.public_key, vectors, [1] * len(weights))

    def _add_rings(self, rings: Sequence[bytes]) -> bytes:
        width = self.parameters.value_bytes
        total = np.zeros(self.length, dtype=np.uint64)
        for part in rings:
            total += ring.from_bytes(part, width)
            total &= self._q_mask()
        return ring.to_bytes(total, width)

    # --- opening ---

    def _sums(self, total: SealedSum, plaintexts: Sequence[int]) -> Integers:
        p = self.parameters
        secret = unpack_signed_slots(plaintexts, self.slot_bits, self.slots, p.N)
        longest = p.secret_bound if self.bound is None else math.isqrt(secret_bound2(p))
        strange = np.flatnonzero(np.abs(secret) > total.contributors * longest)
        if strange.size:
            raise SpoiledSumError(
                f"the secrets' sum is out of range at {strange.size} of {p.N} coefficients: a "
                "contributor sealed no Gaussian secret", strange.tolist(),
            )
        values = ring.from_bytes(total.ring, p.value_bytes)
        values -= self.masks(secret)
        offset = total.total_weight * self.code.offset
        half = 1 << (p.q_bits - 1)
        values += np.uint64((half + (1 << (p.D_bits - 1)) - (offset << p.D_bits)) % (1 << p.q_bits))
        values &= self._q_mask()
        centred = values.astype(np.int64) - half
        if self.bound is None:  # a norm proof lets a device add noise, within its bound
            noise = (centred & ((1 << p.D_bits) - 1)) - (1 << (p.D_bits - 1))
            self._check_noise(noise, total.contributors)
        return (centred >> p.D_bits) + offset

    def _check_noise(self, noise: Integers, contributors: int) -> None:
        """Raise `SpoiledSumError` for chunks of a noise energy that no honest senders reach."""
        N, sigma = self.parameters.N, self.parameters.sigma
        starts = np.arange(0, self.length, N)
        energy = np.add.reduceat(noise.astype(np.float64) ** 2, starts)
        sizes = np.minimum(N, self.length - starts)
        limits = np.array([noise_limit(int(size)) for size in (sizes[0], sizes[-1])])
        limit = np.where(sizes == sizes[0], limits[0], limits[1]) * contributors * sigma**2
        loud = np.flatnonzero(energy > limit)
        if loud.size:
            raise SpoiledSumError(
                f"{loud.size} of {self.chunks} chunks are too noisy, the first is {loud[0]}: a "
                "contributor masked with another secret than it encrypted", loud.tolist(),
            )

    # --- form ---

    def _check_own(self, item: SealedVector | SealedSum) -> None:
        spare = 8 * self.parameters.value_bytes - self.parameters.q_bits
        if spare:
            width = self.parameters.value_bytes
            top = np.frombuffer(item.ring, dtype=np.uint8)[width - 1 :: width]
            if bool(np.any(top >> (8 - spare))):
                raise SealedFormError("a masked value is not below q")

    def _check_sealed_weight(self, weight: int) -> None:
        if not 1 <= weight <= self.code.total_weight:
            raise SealedFormError(f"weight {shown(weight)} is outside 1…{self.code.total_weight}")

    def _check_sum(self, total: SealedSum) -> None:
        super()._check_sum(total)
        if total.contributors > self.parameters.contributors:
            raise SealedFormError(
                f"a sum of {shown(total.contributors)} vectors; the noise budget is for "
                f"{self.parameters.contributors}"
            )


def noise_limit(count: int) -> float:
    """Return the x with P(Σ noise² > x·σ²) < 2^−100 for ``count`` Gaussians of deviation σ.

    Chernoff's bound for χ²: P(χ² > n(1 + δ)) ≤ exp(−n(δ − ln(1 + δ))/2), solved for δ.
    """
    exponent = 2 * NOISE_ALARM_BITS * math.log(2) / count
    low, high = 0.0, 2 * exponent + 4 * math.sqrt(exponent)
    for _ in range(60):
        middle = (low + high) / 2
        if middle - math.log1p(middle) < exponent:
            low = middle
        else:
            high = middle
    return count * (1 + high)
