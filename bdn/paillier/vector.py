"""Vector ciphers: what a device uploads, what the contract adds up, what t shares open.

DESIGN.md section 7. Two ciphers, `PackedCipher` (the paper's) and `RingMaskedCipher` (beyond it),
stand behind one protocol, `VectorCipher`. What they share lies in `bdn.paillier.vector_base`, what
travels in `bdn.paillier.sealed`.

    device k:  sealed_k = seal(vector_k, s_k)               one fresh seal per (epoch, phase)
    contract:  verify(sealed_k);  total = weighted_sum([sealed_1, …], [s_1, …])       Eq. (5)
    device i:  share_i = partially_decrypt(share of the key, total)
    anybody:   open(total, [t shares]) = Σ s_k · vector_k

Who applies the weight is the cipher's affair: with `PackedCipher` the contract raises ciphertexts
to the power s_k; with `RingMaskedCipher` the device multiplies its message before it masks it.

    >>> from bdn.paillier import deal, vector_cipher
    >>> public_key, key_shares = deal(parties=3, threshold=2, bits=256)  # 2048 outside of examples
    >>> for name in ("packed", "ring-masked"):
    ...     cipher = vector_cipher(name, public_key, length=2, clip=1.0, total_weight=10)
    ...     sealed = [cipher.seal([0.5, -1.0], weight=3, context=b"device 1"),
    ...               cipher.seal([0.1, 0.25], weight=7, context=b"device 2")]
    ...     cipher.verify(sealed[0], context=b"device 1", weight=3)
    ...     total = cipher.weighted_sum(sealed, [3, 7])
    ...     parts = [cipher.partially_decrypt(share, total) for share in key_shares[:2]]
    ...     print(cipher.open(total, parts).round(3).tolist())
    [2.2, -1.25]
    [2.2, -1.25]
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

from numpy.typing import ArrayLike

from bdn.errors import UsageError
from bdn.paillier.fixedpoint import Floats, Integers
from bdn.paillier.keys import PublicKey
from bdn.paillier.packed import PackedCipher
from bdn.paillier.ring_masked import RingMaskedCipher
from bdn.paillier.sealed import SealedSum, SealedVector, VectorShare
from bdn.paillier.threshold import KeyShare
from bdn.randomness import Randomness

CIPHERS: dict[str, type[PackedCipher] | type[RingMaskedCipher]] = {
    "packed": PackedCipher,
    "ring-masked": RingMaskedCipher,
}
"""By name, as genesis records the choice."""


class VectorCipher(Protocol):
    """Seal, add, share, open: the one face of both ciphers. `VectorCipherBase` documents each."""

    name: ClassVar[str]
    applies_weight: ClassVar[Literal["contract", "device"]]
    min_honest: ClassVar[int]

    @property
    def length(self) -> int: ...
    @property
    def ciphertext_count(self) -> int: ...
    @property
    def ring_bytes(self) -> int: ...
    @property
    def chunk_bytes(self) -> int: ...
    @property
    def step(self) -> Floats: ...
    def quantise(self, vector: ArrayLike) -> Integers: ...
    def seal(
        self, vector: ArrayLike, weight: int, rng: Randomness | None = None, context: bytes = b""
    ) -> SealedVector: ...
    def verify(
        self, sealed: SealedVector, context: bytes = b"", weight: int | None = None
    ) -> None: ...
    def weighted_sum(
        self, sealed: Sequence[SealedVector], weights: Sequence[int]
    ) -> SealedSum: ...
    def partially_decrypt(
        self,
        share: KeyShare,
        total: SealedSum,
        session: bytes = b"",
        rng: Randomness | None = None,
    ) -> VectorShare: ...
    def verify_share(
        self, total: SealedSum, vector_share: VectorShare, session: bytes = b""
    ) -> None: ...
    def open_integers(
        self, total: SealedSum, shares: Sequence[VectorShare], session: bytes = b""
    ) -> Integers: ...
    def open(
        self, total: SealedSum, shares: Sequence[VectorShare], session: bytes = b""
    ) -> Floats: ...
    def sealed_from_bytes(self, data: bytes) -> SealedVector: ...
    def sum_from_bytes(self, data: bytes) -> SealedSum: ...
    def sealed_from_leaves(self, leaves: Sequence[bytes]) -> SealedVector: ...
    def sum_from_leaves(self, leaves: Sequence[bytes]) -> SealedSum: ...
    def share_from_bytes(self, data: bytes) -> VectorShare: ...


def vector_cipher(name: str, public_key: PublicKey, length: int, **options: Any) -> VectorCipher:
    """The cipher called ``name`` ("packed" or "ring-masked") with its constructor's ``options``.

    ``seed`` (public, bound to the phase) is understood by both names: `PackedCipher` has no public
    polynomials to derive from it. Raises `UsageError` for another name.
    """
    if name not in CIPHERS:
        raise UsageError(f"no vector cipher {name!r}; there are {' and '.join(sorted(CIPHERS))}")
    if name == "packed":
        options.pop("seed", None)
        options.pop("contributors", None)
    return CIPHERS[name](public_key, length, **options)
