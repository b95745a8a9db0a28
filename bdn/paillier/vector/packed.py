"""The paper's vector cipher: many fixed-point values in each Paillier plaintext.

Paper, Eq. (5). A vector of L entries becomes ⌈L / slots⌉ ciphertexts. A slot holds v + |W| bits, so
that any weighted sum of honest values stays in its slot. The contract computes Eq. (5) for all
slots of all ciphertexts at once: ∏_k c_k^{s_k} mod N², position by position.

For 252,398 values of 16 bits, weights up to 27,450 in sum and a 2048-bit N: 31-bit slots, 66 in a
plaintext, 3,825 ciphertexts of 512 bytes.

What it hides: everything but Σ s_k m_k, under decisional composite residuosity. A malicious sender
can seal values beyond its slots, and so spoil its own slots and their neighbours. With a norm bound
its proof (`bdn.paillier.norm_proof`) tells before anything is added. Without one, sums out of range
are refused when opened, but nobody then knows whose vector it was.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import ClassVar, Literal

import numpy as np
from gmpy2 import mpz
from numpy.typing import ArrayLike

from bdn.encoding import transcript
from bdn.paillier.batch import encrypt_many, weighted_product
from bdn.paillier.errors import ParameterError
from bdn.paillier.keys import PublicKey
from bdn.paillier.norm_proof import SLACK, PackedStatement, Statement
from bdn.paillier.norm_proof.projection import ROWS
from bdn.paillier.norm_proof.statements import packed_slot_bits
from bdn.paillier.vector.cipher import VectorCipher
from bdn.paillier.vector.fixedpoint import (
    MAX_SUM_BITS,
    FixedPoint,
    Integers,
    pack_slots,
    slots_in,
    unpack_signed_slots,
    unpack_slots,
)
from bdn.paillier.vector.sampling import KEY_BYTES, KeyStream
from bdn.paillier.vector.sealed import SealedSum, SealedVector
from bdn.randomness import Randomness

PIECE = 256
"""Plaintexts that one task of an executor encrypts: about a tenth of a second at 2048 bits."""


class PackedCipher(VectorCipher):
    """Packed Paillier: the contract applies the weights.

    Attributes:
        slot_bits: width of a slot, v + |W|.
        slots: slots of a plaintext.
        entries: how many first entries are packed; under a norm bound, single entries follow in
            ciphertexts of their own.
    """

    name: ClassVar[str] = "packed"
    applies_weight: ClassVar[Literal["contract", "device"]] = "contract"

    def __init__(
        self,
        public_key: PublicKey,
        length: int,
        clip: ArrayLike = 1.0,
        value_bits: int = 16,
        *,
        total_weight: int,
        executor: Executor | None = None,
        norm_bound: float | None = None,
        singles: int = 0,
        largest_bound: float | None = None,
    ) -> None:
        """A cipher for vectors (length,) of ``value_bits`` bits over ±``clip``.

        ``clip`` is one number or a float64 array (length,); ``total_weight`` the most that the
        weights of a sum may add up to; ``executor``, a pool of processes, lets `seal` use more
        cores than one (the result is the same). With ``norm_bound``, each sealed vector proves that
        its 2-norm, without the last ``singles`` entries, is at most that, and that those are within
        their clip; ``largest_bound`` is the largest ``norm_bound`` of a run in which it changes:
        the slots have room for that, so that all its vectors have one form. Raises
        `ParameterError` where not even one slot fits the key.
        """
        code = FixedPoint(length, clip, value_bits, total_weight)
        super().__init__(public_key, code, norm_bound, singles, largest_bound)
        self._executor = executor
        self.entries = code.length
        self.slot_bits = code.sum_bits
        if self.bound is not None and self.widest is not None:
            self.entries = self.bound.entries
            widest = max(code.reach, math.ceil(SLACK * self.widest.norm))
            code.reach = max(code.reach, math.ceil(SLACK * self.bound.norm))
            sums = (code.total_weight * (widest + code.offset)).bit_length() + 1  # signed
            self.slot_bits = packed_slot_bits(public_key, self.widest, max(self.slot_bits, sums))
            if self.slot_bits > MAX_SUM_BITS:
                raise ParameterError(
                    f"this norm bound needs slots of {self.slot_bits} bits; at most {MAX_SUM_BITS} "
                    "are exact here: take a smaller bound, total_weight or value_bits")
        self.slots = slots_in(public_key.N.bit_length(), self.slot_bits)
        if self.slots == 0:
            raise ParameterError(
                f"a slot of {self.slot_bits} bits does not fit a plaintext under a "
                f"{public_key.N.bit_length()}-bit key; take a longer key, fewer value_bits or a "
                "smaller total_weight"
            )

    @property
    def ciphertext_count(self) -> int:
        """⌈entries / slots⌉, and one for each single entry."""
        return -(-self.entries // self.slots) + self.length - self.entries

    def seal_encoded(
        self,
        levels: Integers,
        weight: int,
        rng: Randomness | None = None,
        context: bytes = b"",
    ) -> SealedVector:
        """Pack ``levels`` and encrypt them; see `VectorCipher.seal_encoded`."""
        plaintexts = [*pack_slots(levels[: self.entries], self.slot_bits, self.slots),
                      *map(mpz, levels[self.entries :].tolist())]
        source = self._fresh_stream(levels, weight, rng, context)
        ciphertexts, nonces = self._encrypt(plaintexts, source)
        bound_to = self._bound(context)
        proof = self._prove(
            ciphertexts, plaintexts, nonces, bound_to, source,
            self._statement(ciphertexts, bound_to), levels - self.code.offset)
        return SealedVector(
            self.name, self.length, 0, self.ciphertext_bytes, self.chunk_bytes,
            self._joined(ciphertexts), b"", proof,
        )

    def _statement(
        self, ciphertexts: Sequence[mpz], bound_to: bytes
    ) -> PackedStatement | None:
        if self.bound is None:
            return None
        return PackedStatement(self.public_key, self.slot_bits, self.bound, self.code.offset,
                               ciphertexts, bound_to)

    def _norm_statement(
        self, sealed: SealedVector, ciphertexts: Sequence[mpz], bound_to: bytes  # noqa: ARG002 - all of it is in the ciphertexts
    ) -> Statement | None:
        return self._statement(ciphertexts, bound_to)

    @property
    def _proven_integers(self) -> int:
        return ROWS * self.slots

    def _encrypt(
        self, plaintexts: list[mpz], source: Randomness
    ) -> tuple[list[mpz], list[int]]:
        """`encrypt_many` in pieces, each with a stream of its own, on the executor if there is one.

        Products of Python integers hold the interpreter's lock, so that only processes help.
        """
        pieces = [plaintexts[at : at + PIECE] for at in range(0, len(plaintexts), PIECE)]
        streams = [source.bytes(KEY_BYTES) for _ in pieces]
        run = map if self._executor is None else self._executor.map
        ciphertexts: list[mpz] = []
        nonces: list[int] = []
        for some, their_nonces in run(_encrypt_piece, [self.public_key] * len(pieces), pieces,
                                      streams):
            ciphertexts += some
            nonces += their_nonces
        return ciphertexts, nonces

    def _phase(self) -> bytes:
        return transcript("bdn/packed/phase", self.public_key.digest, self.code.fingerprint(),
                          b"" if self.bound is None else self.bound.to_bytes())

    def _proof_context(self, sealed: SealedVector, context: bytes) -> bytes:  # noqa: ARG002 - all of it is in the ciphertexts
        return self._bound(context)

    def _bound(self, context: bytes) -> bytes:
        return transcript("bdn/packed", self.code.fingerprint(), context)

    def _add_ciphertexts(
        self, sealed: Sequence[SealedVector], weights: Sequence[int]
    ) -> list[mpz]:
        vectors = [self._ciphertexts(item) for item in sealed]
        return weighted_product(self.public_key, vectors, [int(weight) for weight in weights])

    def _check_own(self, item: SealedVector | SealedSum) -> None:
        """Nothing beyond sizes: whether a ciphertext is one, `verify` checks."""

    def _sums(self, total: SealedSum, plaintexts: Sequence[int]) -> Integers:  # noqa: ARG002 - protocol
        if self.bound is None:
            return unpack_slots(plaintexts, self.slot_bits, self.slots, self.length)
        packed = -(-self.entries // self.slots)  # single entries within the bound may be negative
        return np.concatenate([
            unpack_signed_slots(plaintexts[:packed], self.slot_bits, self.slots, self.entries),
            unpack_signed_slots(plaintexts[packed:], self.slot_bits, 1, self.length - self.entries),
        ])


def _encrypt_piece(
    public_key: PublicKey, plaintexts: list[mpz], key: bytes
) -> tuple[list[mpz], list[int]]:
    return encrypt_many(public_key, plaintexts, KeyStream(key))
