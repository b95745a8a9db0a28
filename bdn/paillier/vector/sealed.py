"""What travels: a sealed vector, a sealed sum, a share of its opening, and their canonical bytes.

Each record is one strict CBOR map whose bulk lies in one or two byte strings (ciphertexts at fixed
width, ring chunks at five bytes a value), so that a million values cost two copies and no objects.
Whether a record fits a cipher is the cipher's to say: `VectorCipher.sealed_from_bytes` and its
like decode *and* check.
"""

from dataclasses import dataclass

from bdn.encoding import digest, encode_record, transcript


@dataclass(frozen=True, slots=True)
class SealedVector:
    """One device's sealed vector.

    Attributes:
        cipher: the cipher's name.
        length: entries of the vector.
        weight: the weight inside the message; 0 where the contract applies it.
        ciphertext_bytes: width of a Paillier ciphertext, big-endian.
        chunk_bytes: width of a ring chunk, the last may be shorter; 0 without a ring part.
        ciphertexts: the Paillier ciphertexts, one after the other.
        ring: the masked ring chunks, one after the other; empty without a ring part.
        proof: the encoded proof that the sender knows the Paillier plaintexts.
    """

    cipher: str
    length: int
    weight: int
    ciphertext_bytes: int
    chunk_bytes: int
    ciphertexts: bytes
    ring: bytes
    proof: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical encoding; `VectorCipher.sealed_from_bytes` reads it back."""
        return encode_record(self)

    def leaves(self) -> list[bytes]:
        """Return the leaves of the update's Merkle tree, every byte of the vector in exactly one.

        First the ciphertexts in order (so that leaf i is ciphertext i), then the ring chunks, and
        last one leaf with weight and proof.
        """
        tail = transcript("bdn/sealed-tail", self.weight.to_bytes(8, "big"), self.proof)
        return [
            *_cut(self.ciphertexts, self.ciphertext_bytes),
            *_cut(self.ring, self.chunk_bytes),
            tail,
        ]


@dataclass(frozen=True, slots=True)
class SealedSum:
    """A weighted sum of sealed vectors: the result of Eq. (5).

    Attributes:
        cipher, length, ciphertext_bytes, chunk_bytes, ciphertexts, ring: as in `SealedVector`.
        total_weight: Σ s_k over the vectors included.
        contributors: how many vectors are included.
    """

    cipher: str
    length: int
    total_weight: int
    contributors: int
    ciphertext_bytes: int
    chunk_bytes: int
    ciphertexts: bytes
    ring: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical encoding; `VectorCipher.sum_from_bytes` reads it back."""
        return encode_record(self)

    def leaves(self) -> list[bytes]:
        """Return the leaves: ciphertexts, ring chunks, and one leaf of the two counts."""
        counts = (self.total_weight.to_bytes(8, "big"), self.contributors.to_bytes(8, "big"))
        tail = transcript("bdn/sum-tail", *counts)
        return [
            *_cut(self.ciphertexts, self.ciphertext_bytes),
            *_cut(self.ring, self.chunk_bytes),
            tail,
        ]

    def digest(self) -> bytes:
        """Return 32 bytes that name this sum; shares are bound to them."""
        return digest("bdn/sealed-sum", *self.leaves())


@dataclass(frozen=True, slots=True)
class VectorShare:
    """One party's partial decryption of a `SealedSum`, with its proof.

    Attributes:
        index: the party, 1 … ℓ.
        partial: the encoded partial decryptions and their one batched proof, which is bound to the
            whole sum (its ring part too) and to the session.
    """

    index: int
    partial: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical encoding; `VectorCipher.share_from_bytes` reads it back."""
        return encode_record(self)


def _cut(data: bytes, width: int) -> list[bytes]:
    return [data[at : at + width] for at in range(0, len(data), width)] if width else []
