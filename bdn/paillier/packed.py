"""The paper's vector cipher: many fixed-point values in each Paillier plaintext.

Eq. (5) and DESIGN.md section 7. A vector of L entries becomes ⌈L / slots⌉ ciphertexts; a slot holds
v + |W| bits, so that any weighted sum of honest values stays in its slot, and the contract computes
Eq. (5) for all slots of all ciphertexts at once: ∏_k c_k^{s_k} mod N², position by position.

For 252,398 values of 16 bits, weights up to 27,450 in sum and a 2048-bit N: 31-bit slots, 66 in a
plaintext, 3,825 ciphertexts of 512 bytes.

What it hides: everything but Σ s_k m_k, under decisional composite residuosity. What it does not
prevent: a malicious sender can seal values beyond its slots, and so spoil its own slots and their
neighbours (`bdn.paillier.spoiling` shows it). Sums out of range are refused when opened, but nobody
then knows whose vector it was. Range proofs would tell before adding, at a price of another order:
ACORN (Bell et al., USENIX Security 2023) reports up to 80 s a client for 250,000 values of 16 bits.

With ``probed`` entries (`bdn.paillier.norms`) these come first and fill ciphertexts of their own,
and a slot is wide enough for a sum of one honest value from each of those ciphertexts as well.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import ClassVar, Literal

import numpy as np
from gmpy2 import mpz
from numpy.typing import ArrayLike

from bdn.encoding import encode_record, transcript
from bdn.paillier import slots
from bdn.paillier.batch import encrypt_many, prove_plaintexts, weighted_product
from bdn.paillier.fixedpoint import MAX_SUM_BITS, FixedPoint, Integers
from bdn.paillier.keys import PublicKey
from bdn.paillier.sampling import KEY_BYTES, KeyStream
from bdn.paillier.sealed import SealedSum, SealedVector
from bdn.paillier.vector_base import VectorCipherBase
from bdn.paillier.vector_errors import BudgetError, VectorShapeError
from bdn.randomness import Randomness, as_randomness

PIECE = 256
"""Plaintexts that one task of an executor encrypts: about a tenth of a second at 2048 bits."""


class PackedCipher(VectorCipherBase):
    """Packed Paillier: the contract applies the weights.

    Attributes:
        slot_bits: width of a slot, v + |W|; with ``probed`` entries in n ciphertexts at least
            v + |n|.
        slots: slots of a plaintext.
        probed: how many entries, from the first on, lie in ciphertexts of their own.
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
        probed: int = 0,
    ) -> None:
        """A cipher for vectors (length,) of ``value_bits`` bits over ±``clip``.

        ``clip`` is one number or a float64 array (length,); ``total_weight`` the most that the
        weights of a sum may add up to; ``executor``, a pool of processes, lets `seal` use more
        cores than one (the result is the same); ``probed`` entries, from the first on, are kept
        apart from the others for norm probes. Raises `BudgetError` where not even one slot fits
        the key, `VectorShapeError` for more probed entries than there are.
        """
        super().__init__(public_key, FixedPoint(length, clip, value_bits, total_weight))
        if not 0 <= probed <= length:
            raise VectorShapeError(f"{probed} probed entries of {length}")
        self.probed = probed
        self._executor = executor
        self.slot_bits, self.slots = self._layout(public_key.N.bit_length())
        if self.slot_bits > MAX_SUM_BITS:
            raise BudgetError(
                f"probing {probed} entries needs slots of {self.slot_bits} bits; at most "
                f"{MAX_SUM_BITS} are exact here"
            )
        if self.slots == 0:
            raise BudgetError(
                f"a slot of {self.slot_bits} bits does not fit a plaintext under a "
                f"{public_key.N.bit_length()}-bit key; take a longer key, fewer value_bits or a "
                "smaller total_weight"
            )

    def _layout(self, modulus_bits: int) -> tuple[int, int]:
        """(width, number) of slots: the narrowest that hold Eq. (5)'s sums and the probes'."""
        width = self.code.sum_bits
        while (count := slots.slots_in(modulus_bits, width)) > 0:
            summands = -(-self.probed // count)
            if self.code.value_bits + summands.bit_length() <= width:
                break
            width += 1
        return width, count

    @property
    def probed_ciphertexts(self) -> int:
        """⌈probed / slots⌉: the first ciphertexts, which hold the probed entries alone."""
        return -(-self.probed // self.slots)

    @property
    def ciphertext_count(self) -> int:
        """⌈length / slots⌉, counted apart for probed entries and the others."""
        return self.probed_ciphertexts - (-(self.length - self.probed) // self.slots)

    def seal_encoded(
        self,
        levels: Integers,
        weight: int,  # noqa: ARG002 - the contract applies it
        rng: Randomness | None = None,
        context: bytes = b"",
    ) -> SealedVector:
        """Pack ``levels`` and encrypt them; see `VectorCipherBase.seal_encoded`."""
        plaintexts = [
            plaintext for part in (levels[: self.probed], levels[self.probed :])
            for plaintext in slots.pack(part, self.slot_bits, self.slots)
        ]
        source = as_randomness(rng)
        ciphertexts, nonces = self._encrypt(plaintexts, source)
        proof = prove_plaintexts(
            self.public_key, ciphertexts, plaintexts, nonces, self._bound(context), source
        )
        return SealedVector(
            self.name, self.length, 0, self.ciphertext_bytes, self.chunk_bytes,
            self._joined(ciphertexts), b"", encode_record(proof),
        )

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

    def _proof_context(self, sealed: SealedVector, context: bytes) -> bytes:  # noqa: ARG002 - all of it is in the ciphertexts
        return self._bound(context)

    def _bound(self, context: bytes) -> bytes:
        layout = (str(self.probed).encode(),) if self.probed else ()
        return transcript("bdn/packed", self.code.fingerprint(), *layout, context)

    def _add_ciphertexts(
        self, sealed: Sequence[SealedVector], weights: Sequence[int]
    ) -> list[mpz]:
        vectors = [self._ciphertexts(item) for item in sealed]
        return weighted_product(self.public_key, vectors, [int(weight) for weight in weights])

    def _check_own(self, item: SealedVector | SealedSum) -> None:
        """Nothing beyond sizes: whether a ciphertext is one, `verify` checks."""

    def _sums(self, total: SealedSum, plaintexts: Sequence[int]) -> Integers:  # noqa: ARG002 - protocol
        width, cut, probed = self.slot_bits, self.probed_ciphertexts, self.probed
        return np.concatenate([
            slots.unpack(plaintexts[:cut], width, self.slots, probed),
            slots.unpack(plaintexts[cut:], width, self.slots, self.length - probed),
        ])


def _encrypt_piece(
    public_key: PublicKey, plaintexts: list[mpz], key: bytes
) -> tuple[list[mpz], list[int]]:
    return encrypt_many(public_key, plaintexts, KeyStream(key))
