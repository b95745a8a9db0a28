"""Vector ciphers: what a device uploads, what the contract adds up, what t shares open.

Two ciphers, `PackedCipher` (the paper's, Eq. (5)) and `RingMaskedCipher` (beyond it), implement
`VectorCipher`. `bdn.paillier.vector.sealed` holds what travels.

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

from typing import Any

from bdn.errors import UsageError
from bdn.paillier.keys import PublicKey
from bdn.paillier.vector.cipher import VectorCipher
from bdn.paillier.vector.packed import PackedCipher
from bdn.paillier.vector.ring_masked import RingMaskedCipher
from bdn.paillier.vector.sealed import SealedSum, SealedVector, VectorShare

__all__ = [
    "CIPHERS",
    "PackedCipher",
    "RingMaskedCipher",
    "SealedSum",
    "SealedVector",
    "VectorCipher",
    "VectorShare",
    "vector_cipher",
]

CIPHERS: dict[str, type[PackedCipher] | type[RingMaskedCipher]] = {
    "packed": PackedCipher,
    "ring-masked": RingMaskedCipher,
}
"""By name, as genesis records the choice."""


def vector_cipher(name: str, public_key: PublicKey, length: int, **options: Any) -> VectorCipher:
    """Return the cipher called ``name``, made with its constructor's ``options``.

    ``seed`` (public, bound to the phase) is understood by both names: `PackedCipher` has no public
    polynomials to derive from it. Raises `UsageError` for another name.
    """
    if name not in CIPHERS:
        raise UsageError(f"no vector cipher {name!r}; there are {' and '.join(sorted(CIPHERS))}")
    if name == "packed":
        options.pop("seed", None)
        options.pop("contributors", None)
    return CIPHERS[name](public_key, length, **options)
