"""What a norm proof is about: a ring-masked or a packed vector, its bound, and its maker's context.

A statement turns a sealed vector into committed integers and one relation to what was sealed. The
letters stand in the package's table, the argument in `bdn.paillier.norm_proof`.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gmpy2 import mpz

from bdn.encoding import digest, encode
from bdn.paillier.errors import NormBoundError, ParameterError
from bdn.paillier.keys import PublicKey, pack_values
from bdn.paillier.norm_proof.projection import (
    LIMBS,
    ROWS,
    Projection,
    TransposedMasks,
    limbs_to_integers,
    to_limbs,
)
from bdn.paillier.norm_proof.protocol import (
    P_PRIME,
    Relation,
    Statement,
    Witness,
    WitnessPart,
    expand,
)
from bdn.paillier.numbers import COMBINER_BITS, combiners
from bdn.paillier.vector import ring
from bdn.paillier.vector.fixedpoint import Integers, ones, slots_in

if TYPE_CHECKING:
    from bdn.paillier.vector.ring_masked import RingParameters

HEADROOM = 1.319
"""‖R u‖² may exceed its mean 128·‖u‖² by so much. An honest device exactly at the bound fails once
in about 2,100 times and seals again; see `SLACK`."""

SLACK = 2.46
"""What is proven: ‖u‖₂ ≤ 2.46·β for an honest bound β. √(128·1.319/27.917), where 27.917 is the a
with P(‖R u‖² ≤ a·‖u‖²) ≤ 2^−128 for every u; the package's docstring derives it."""

RANGE = 5
"""The derivation for sums modulo q needs q ≥ 5·‖u‖ at ‖u‖ = 2.46·β."""

NOISE_ALLOWANCE = 2
"""Errors may add so many times their expected norm σ√n to an honest ‖u‖."""

CARRY_ALLOWANCE = 8
"""‖R κ‖² of honest secrets is about ROWS·n·β_σ²/6; the bound is 48 times as large, since all that
it must prevent are carries of 2^60 and more."""


@dataclass(frozen=True, slots=True)
class NormBound:
    """How long a sealed vector may be, in levels of its fixed-point code.

    Attributes:
        entries: the first so many entries are bounded together.
        norm: B, the most that their 2-norm may be; honest devices scale down to it.
        singles: bounds on the absolute values of the entries that follow, each proven by itself.
            A device's loss is one: it has a scale of its own.
    """

    entries: int
    norm: int
    singles: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.entries < 0 or self.entries + len(self.singles) < 1:
            raise ParameterError("a norm bound covers at least one entry")
        if self.norm < 1 or any(single < 1 for single in self.singles):
            raise ParameterError("a norm bound is at least one level")

    @property
    def length(self) -> int:
        """Entries of the whole vector."""
        return self.entries + len(self.singles)

    @property
    def rows(self) -> int:
        """Projections and single entries."""
        return (ROWS if self.entries else 0) + len(self.singles)

    def norm_of(self, levels: Integers) -> float:
        """Return the 2-norm of the entries that are bounded together."""
        return math.sqrt(math.fsum((levels[: self.entries].astype(np.float64) ** 2).tolist()))

    def check(self, levels: Integers) -> None:
        """Raise `NormBoundError` unless signed ``levels`` (length,) keep within the bound."""
        norm = self.norm_of(levels)
        if norm > self.norm:
            raise NormBoundError(
                f"the update's norm is {norm:.6g} levels; at most {self.norm} can be proven"
            )
        for level, most in zip(levels[self.entries :].tolist(), self.singles, strict=True):
            if abs(level) > most:
                raise NormBoundError(f"an entry is {level} levels; at most ±{most} is proven")

    def to_bytes(self) -> bytes:
        """Return [entries, norm, [single, …]], for hashing."""
        return encode([self.entries, self.norm, list(self.singles)])


def rows_bound2(beta: int) -> int:
    """β_v²: the most that ‖R u‖² may be where an honest ‖u‖ is at most ``beta``."""
    return ROWS * round(1000 * HEADROOM) * beta * beta // 2000


# --- ring-masked --------------------------------------------------------------------------------


def secret_bound2(parameters: "RingParameters") -> int:
    """β_σ²: the most that ‖σ‖² may be, eight deviations above its mean N·σ²."""
    N = parameters.N
    return int(N * parameters.sigma**2 * (1 + 8 * math.sqrt(2 / N)))


def secret_slot_bits(parameters: "RingParameters") -> int:
    """Width of a signed slot that holds any sum of secrets with ‖σ‖ ≤ β_σ."""
    longest = math.isqrt(secret_bound2(parameters))
    return (parameters.contributors * longest).bit_length() + 1


def masked_bound(parameters: "RingParameters", bound: NormBound, weight: int) -> int:
    """β: the most that an honest ‖u‖ = ‖D·s·δ + e‖ may be."""
    noise = NOISE_ALLOWANCE * parameters.sigma * math.sqrt(bound.entries)
    return (weight * bound.norm << parameters.D_bits) + math.ceil(noise)


@functools.lru_cache(maxsize=2)
def _transposed_masks(seed: bytes, N: int, q_bits: int, chunks: int) -> TransposedMasks:
    return TransposedMasks(ring.public_cache(seed, N, q_bits, chunks))


class RingStatement(Statement):
    """P_i = pack(σ) with ‖σ‖ ≤ β_σ, and u = c′ − A σ modulo q is short."""

    def __init__(
        self,
        public_key: PublicKey,
        parameters: "RingParameters",
        seed: bytes,
        bound: NormBound,
        weight: int,
        offset: int,
        masked: ring.Residues,
        ciphertexts: Sequence[mpz],
        context: bytes,
    ) -> None:
        """A statement about one sealed vector.

        Args:
            public_key: the joint Paillier key.
            parameters: of the ring.
            seed: of the public polynomials a_j.
            bound: B, over all entries of the vector.
            weight: s, which the device applied.
            offset: the level that stands for zero.
            masked: c, residues of shape (length,).
            ciphertexts: E[P_i], with slots of `secret_slot_bits`.
            context: who sealed this for what; the proof holds for no other.

        Raises `ParameterError` where the bound leaves the range in which the proof holds.
        """
        p, beta = parameters, masked_bound(parameters, bound, weight)
        self.public_key, self.parameters, self.bound = public_key, parameters, bound
        self.ciphertexts = ciphertexts
        self.power_bits = COMBINER_BITS
        self._slot_bits = secret_slot_bits(p)
        self._slots = slots_in(public_key.bits, self._slot_bits)
        chunks = -(-bound.length // p.N)
        self._ring = (seed, p.N, p.q_bits, chunks)
        singles = [(weight * most << p.D_bits) + p.secret_bound for most in bound.singles]
        if RANGE * SLACK * beta > 1 << p.q_bits or any(2 * b >= 1 << p.q_bits for b in singles):
            raise ParameterError(
                f"a bound of {bound.norm} levels at weight {weight} is too large for "
                f"q = 2^{p.q_bits}"
            )
        carries2 = CARRY_ALLOWANCE * ROWS * bound.length * secret_bound2(p)
        blocks = [
            WitnessPart("secret's coefficients", p.N, p.secret_bound.bit_length(),
                        secret_bound2(p)),
            _rows_block(ROWS, beta),
            WitnessPart("carries", bound.rows, math.isqrt(carries2).bit_length(), carries2),
            *(WitnessPart("entry", 1, most.bit_length(), most * most) for most in singles),
        ]
        self.blocks = tuple(block for block in blocks if block.name != "rows" or bound.entries)
        mask = np.uint64((1 << p.q_bits) - 1)
        self._masked = (masked - np.uint64((weight * offset << p.D_bits) % (1 << 64))) & mask
        self._root = digest(
            "bdn/norm-proof/ring", public_key.digest, context, seed, p.to_bytes(),
            encode([weight, offset]), bound.to_bytes(), masked.astype("<u8").tobytes(),
            pack_values(public_key, ciphertexts),
        )

    def root(self) -> bytes:
        """32 bytes that name key, context, parameters, bound, weight, c and the ciphertexts."""
        return self._root

    @functools.cached_property
    def _projection(self) -> Projection:
        return Projection(digest("bdn/norm-proof/rows", self._root), self.bound.entries)

    def witness(self, secret: Integers, nonces: Sequence[int]) -> Witness:
        """The integers behind this vector, for its σ (N,) and the nonces of its ciphertexts."""
        entries, q_bits = self.bound.entries, self.parameters.q_bits
        low, high, shift = ring.public_cache(*self._ring).integer_product(
            secret, math.sqrt(secret_bound2(self.parameters)))
        low, high = (part.reshape(-1)[: self.bound.length] for part in (low, high))
        half = np.int64(1 << (q_bits - 1))
        public = self._masked.astype(np.int64)
        u = ((public - low - (high << shift) + half) & ((1 << q_bits) - 1)) - half
        kappa = (((public - u - low) >> shift) - high) >> (q_bits - shift)
        alone = [(value,) for value in u[entries:].tolist()]
        if entries:
            rows, carries = self._projection.times(u[:entries], kappa[:entries])
            kappa = np.concatenate([carries, kappa[entries:]])
            alone.insert(0, tuple(rows.tolist()))
        blocks = [tuple(secret.tolist()), *alone]
        blocks.insert(2 if entries else 1, tuple(kappa.tolist()))
        return Witness(tuple(blocks), tuple(nonces))

    def relation(self, seed: bytes) -> Relation:
        """See `Statement.relation`; γ and ρ come from ``seed``."""
        bound, q = self.bound, 1 << self.parameters.q_bits
        gamma = [value % P_PRIME for value in expand(seed + b"gamma", bound.rows, 192)]
        rho = combiners(seed + b"rho", len(self.ciphertexts))
        jl, alone = gamma[: bound.rows - len(bound.singles)], gamma[-len(bound.singles) :]
        limbs = np.zeros((LIMBS, bound.length), dtype=np.int64)
        if bound.entries:
            limbs[:, : bound.entries] = self._projection.combine(jl)
        if bound.singles:
            limbs[:, bound.entries :] = to_limbs(alone)
        b, target = _transposed_masks(*self._ring).times(limbs, self._masked)
        coefficients = [*(value % P_PRIME for value in b), *jl,
                        *(q * value % P_PRIME for value in gamma),
                        *(alone if bound.singles else ())]

        def combine(blocks: Sequence[Sequence[int]]) -> int:
            return _combine_packed(rho, blocks[0], self._slot_bits, self._slots)

        return Relation(tuple(coefficients), target % P_PRIME, combine, tuple(rho), 0)


# --- packed -------------------------------------------------------------------------------------


def packed_slot_bits(public_key: PublicKey, bound: NormBound, least: int) -> int:
    """The narrowest slot of at least ``least`` bits in which the packed proof is sound.

    The columns of R·Q are sums of up to ``ciphertexts`` entries, none above 2·β_v (see the
    package's docstring): (2·ciphertexts + 1)·β_v < 2^(w−1). Returns a width that no plaintext
    holds where there is none.
    """
    beta_v = math.isqrt(rows_bound2(bound.norm)) + 1
    width = least
    while (count := slots_in(public_key.bits, width)) > 0:
        ciphertexts = -(-bound.entries // count)
        if (2 * ciphertexts + 1) * beta_v < 1 << (width - 1):
            break
        width += 1
    return width


class PackedStatement(Statement):
    """Q, the matrix of slots, is short: S = R Q is, for R over the ciphertexts."""

    def __init__(
        self,
        public_key: PublicKey,
        slot_bits: int,
        bound: NormBound,
        offset: int,
        ciphertexts: Sequence[mpz],
        context: bytes,
    ) -> None:
        """A statement about one sealed vector.

        Args:
            public_key: the joint Paillier key.
            slot_bits: width of a slot, at least `packed_slot_bits`.
            bound: B, over all entries of the vector.
            offset: the level that stands for zero; every slot in use holds its level plus this.
            ciphertexts: of the packed entries; then one for each entry of ``bound.singles``.
            context: who sealed this for what; the proof holds for no other.

        Raises `ParameterError` where the slots are too narrow for the proof to hold.
        """
        if slot_bits < packed_slot_bits(public_key, bound, slot_bits):
            raise ParameterError(
                f"a bound of {bound.norm} levels is too large for slots of {slot_bits} bits"
            )
        self.public_key, self.bound, self.ciphertexts = public_key, bound, ciphertexts
        self._slot_bits, self._offset = slot_bits, offset
        self._slots = slots_in(public_key.bits, slot_bits)
        self._packed = -(-bound.entries // self._slots)
        self.power_bits = COMBINER_BITS + ROWS.bit_length()
        rows = [_rows_block(ROWS * self._slots, bound.norm)] if bound.entries else []
        self.blocks = (*rows, *(WitnessPart("entry", 1, most.bit_length(), most * most)
                                for most in bound.singles))
        self._root = digest(
            "bdn/norm-proof/packed", public_key.digest, context,
            encode([slot_bits, offset]), bound.to_bytes(),
            pack_values(public_key, ciphertexts),
        )

    def root(self) -> bytes:
        """32 bytes that name key, context, layout, bound and the ciphertexts."""
        return self._root

    @functools.cached_property
    def _projection(self) -> Projection:
        return Projection(digest("bdn/norm-proof/rows", self._root), self._packed)

    def witness(self, levels: Integers, nonces: Sequence[int]) -> Witness:
        """The integers behind this vector, for its signed levels (length,) and its nonces."""
        entries = self.bound.entries
        blocks: list[tuple[int, ...]] = [(level,) for level in levels[entries:].tolist()]
        if entries:
            Q = np.zeros(self._packed * self._slots, dtype=np.int64)
            Q[:entries] = levels[:entries]
            S = self._projection.times_matrix(Q.reshape(self._packed, self._slots))
            blocks = [tuple(S.reshape(-1).tolist()), *blocks]
        return Witness(tuple(blocks), tuple(nonces))

    def relation(self, seed: bytes) -> Relation:
        """See `Statement.relation`; ρ comes from ``seed``, and γ is not needed."""
        bound = self.bound
        rho = combiners(seed + b"rho", bound.rows)
        alone = rho[bound.rows - len(bound.singles) :]
        jl = rho[: bound.rows - len(bound.singles)]
        powers = limbs_to_integers(self._projection.combine(jl)) if bound.entries else []
        shift = (sum(map(mpz.__mul__, map(mpz, powers), self._offsets()), mpz(0))
                 + sum(alone) * self._offset)

        def combine(blocks: Sequence[Sequence[int]]) -> int:
            last = blocks[len(blocks) - len(alone) :]
            total = sum(int(weight * block[0]) for weight, block in zip(alone, last, strict=True))
            if bound.entries:
                total += _combine_packed(jl, blocks[0], self._slot_bits, self._slots)
            return total

        return Relation((), 0, combine, (*powers, *alone), int(shift % self.public_key.N))

    def _offsets(self) -> list[mpz]:
        """The plaintext of zero in every slot that is used, per packed ciphertext."""
        full = self._offset * ones(self._slots, self._slot_bits)
        rest = self.bound.entries - (self._packed - 1) * self._slots
        return [full] * (self._packed - 1) + [self._offset * ones(rest, self._slot_bits)]


def _rows_block(count: int, beta: int) -> WitnessPart:
    bound2 = rows_bound2(beta)
    return WitnessPart("rows", count, math.isqrt(bound2).bit_length(), bound2)


def _combine_packed(
    weights: Sequence[int], values: Sequence[int], slot_bits: int, slots_each: int
) -> int:
    """Σ weights_i·pack(values_i), for values cut into pieces of ``slots_each``; not reduced."""
    total = 0
    for at, weight in enumerate(weights):
        packed = mpz(0)
        for value in reversed(values[at * slots_each : (at + 1) * slots_each]):
            packed = (packed << slot_bits) + value
        total += int(weight * packed)
    return total
