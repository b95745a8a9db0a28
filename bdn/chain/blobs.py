"""Bulky bytes that stay outside the blocks (DESIGN section 8): named by the root of their leaves.

A blob is a strict CBOR array of byte strings, its *leaves* (a sealed update has one leaf per
ciphertext chunk). A transaction names it by the Merkle root of the leaves, their number and the
blob's size in bytes, so one chunk can be shown to belong to an update without the others.
"""

from collections.abc import Sequence
from typing import Annotated

from bdn.chain import merkle
from bdn.chain.errors import MerkleError
from bdn.encoding import at_most, decode_as, encode
from bdn.errors import EncodingError

MAX_BLOB_BYTES = 1 << 30
"""A peer's larger blob is refused before it is decoded."""

_LEAVES = Annotated[tuple[bytes, ...], at_most(1 << 22)]
"""Bounds of a blob: it may have as many leaves as a vector of 10^9 entries has ciphertexts."""

_ARRAY, _ONE_BYTE = 4, 24  # CBOR's major type of arrays; counts from 24 take 1, 2, 4 or 8 bytes


def pack_blob(leaves: Sequence[bytes]) -> bytes:
    """The blob of these leaves."""
    return encode([bytes(leaf) for leaf in leaves])


def unpack_blob(data: bytes) -> list[bytes]:
    """The leaves of a blob; `MerkleError` if ``data`` is not exactly one."""
    if len(data) > MAX_BLOB_BYTES:
        raise MerkleError(f"a blob of {len(data)} bytes is over the limit of {MAX_BLOB_BYTES}")
    try:
        return list(decode_as(_LEAVES, data))
    except EncodingError as error:
        raise MerkleError(f"not a blob: {error}") from error


def blob_root(data: bytes) -> bytes:
    """The 32-byte Merkle root that names a blob; `MerkleError` if ``data`` is not one."""
    return merkle.root(unpack_blob(data))


def verify_blob(data: bytes, root: bytes, chunks: int, size: int) -> None:
    """Raise `MerkleError` unless ``data`` is the blob that a transaction names."""
    if len(data) != size:
        raise MerkleError(f"the blob has {len(data)} bytes, its transaction says {size}")
    leaves = unpack_blob(data)
    if len(leaves) != chunks:
        raise MerkleError(f"the blob has {len(leaves)} leaves, its transaction says {chunks}")
    if merkle.root(leaves) != root:
        raise MerkleError("the blob's leaves have another Merkle root")


def leaf_count(head: bytes) -> int:
    """The number of leaves, read off a blob's first nine bytes (RFC 8949, section 3).

    For blobs that are known to be well formed; raises `MerkleError` for anything else.
    """
    if not head or head[0] >> 5 != _ARRAY:
        raise MerkleError("not a blob: expected an array")
    low = head[0] & 31
    if low < _ONE_BYTE:
        return low
    return int.from_bytes(head[1:1 + (1 << (low - _ONE_BYTE))], "big")
