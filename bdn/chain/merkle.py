"""Merkle trees of RFC 6962, section 2.1 (SHA-256), with inclusion and consistency proofs.

    MTH({})     = SHA-256()
    MTH({d})    = SHA-256(0x00 ‖ d)
    MTH(D[n])   = SHA-256(0x01 ‖ MTH(D[0:k]) ‖ MTH(D[k:n])),  k the largest power of two below n

The two prefixes keep a leaf from posing as a node. Pairing neighbours level by level and passing an
odd last node up unpaired builds the very same tree, so the trees here are lists of levels.

Verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2, whose letters it keeps:

    fn, sn   index of the followed node and of the last node, at the present level
    fr, sr   hash computed so far for the first (older) and the second (newer) tree

A *blob* is bulky bytes that stay outside the blocks: a strict CBOR array of byte strings, its
*leaves* (a sealed update has one leaf per ciphertext chunk). A transaction names it by the Merkle
root of the leaves, their number and the blob's size in bytes, so one chunk can be shown to belong
to an update without the others.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated

from bdn.chain.errors import MerkleError
from bdn.encoding import at_most, decode_as, encode
from bdn.errors import EncodingError, UsageError

HASH_BYTES = 32

EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves."""


# --- hashes -------------------------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data), 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The tree head MTH of ``leaves`` (RFC 6962, section 2.1), 32 bytes."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """The tree head over leaves that are hashed already."""
    return _levels(hashes)[-1][0] if hashes else EMPTY_ROOT


def _levels(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves' hashes up to the single root."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        level = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) % 2:
            level.append(below[-1])
        levels.append(level)
    return levels


# --- proofs -------------------------------------------------------------------------------------


def inclusion_proof(leaves: Sequence[bytes], i: int) -> list[bytes]:
    """PATH(i, leaves) of RFC 6962, section 2.1.1: the siblings from the leaf to the root.

    Raises `UsageError` when there is no leaf ``i``.
    """
    return Tree(leaves).inclusion_proof(i)


class Tree:
    """All levels over fixed leaves, for whoever makes many proofs of one list: each is O(log n)."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = _levels([leaf_hash(leaf) for leaf in leaves])

    def __len__(self) -> int:
        """The number of leaves."""
        return len(self._levels[0])

    def inclusion_proof(self, i: int) -> list[bytes]:
        """As the function of that name; raises `UsageError` when there is no leaf ``i``."""
        if not 0 <= i < len(self):
            raise UsageError(f"there is no leaf {i} among {len(self)}")
        path = []
        for level in self._levels[:-1]:
            if i ^ 1 < len(level):
                path.append(level[i ^ 1])
            i //= 2
        return path


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """PROOF(old_size, leaves) of RFC 6962, section 2.1.2: the first ``old_size`` are a prefix.

    Raises `UsageError` unless 1 ≤ old_size ≤ len(leaves).
    """
    if not 1 <= old_size <= len(leaves):
        raise UsageError(f"old_size {old_size} is outside 1 … {len(leaves)}")
    return _subproof(old_size, [leaf_hash(leaf) for leaf in leaves], True)


def _subproof(m: int, hashes: Sequence[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF(m, D, complete): ``complete`` while D is still the whole old tree's range."""
    n = len(hashes)
    if m == n:
        return [] if complete else [root_of_hashes(hashes)]
    k = 1 << ((n - 1).bit_length() - 1)
    if m <= k:
        return [*_subproof(m, hashes[:k], complete), root_of_hashes(hashes[k:])]
    return [*_subproof(m - k, hashes[k:], False), root_of_hashes(hashes[:k])]


# --- verification -------------------------------------------------------------------------------


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise `MerkleError` unless ``proof`` leads from the leaf to ``root`` (RFC 9162, 2.1.3.2).

    Args:
        leaf_hash: 32 bytes, from `leaf_hash`.
        index: the leaf's position, 0 ≤ index < size.
        size: the number of leaves of the tree.
        proof: the sibling hashes, leaf to root.
        root: the 32-byte tree head that is trusted.
    """
    if not 0 <= index < size:
        raise MerkleError(f"leaf {index} lies outside a tree of {size}")
    _check_hashes(leaf_hash, root, *proof)
    fn, sn, fr = index, size - 1, leaf_hash
    for sibling in proof:
        if sn == 0:
            raise MerkleError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            fr = node_hash(sibling, fr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            fr = node_hash(fr, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise MerkleError("the inclusion proof is too short")
    if fr != root:
        raise MerkleError("the inclusion proof leads to another root")


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise `MerkleError` unless the old tree is a prefix of the new (RFC 9162, 2.1.4.2).

    Args:
        old_size, new_size: numbers of leaves, 1 ≤ old_size ≤ new_size.
        old_root, new_root: the 32-byte tree heads.
        proof: the hashes of `consistency_proof`.
    """
    if not 1 <= old_size <= new_size:
        raise MerkleError(f"a tree of {new_size} cannot extend one of {old_size}")
    _check_hashes(old_root, new_root, *proof)
    if old_size == new_size:
        if proof or old_root != new_root:
            raise MerkleError("trees of one size are consistent only if they are the same")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # the old root is itself a node of the new tree
        path.insert(0, old_root)
    if not path:
        raise MerkleError("the consistency proof is empty")
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            raise MerkleError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(node, fr), node_hash(node, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, node)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise MerkleError("the consistency proof is too short")
    if fr != old_root or sr != new_root:
        raise MerkleError("the consistency proof leads to other roots")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise MerkleError(f"every hash of a proof has {HASH_BYTES} bytes")


MAX_BLOB_BYTES = 1 << 30
"""A peer's larger blob is refused before it is decoded."""

_LEAVES = Annotated[tuple[bytes, ...], at_most(1 << 22)]
"""Bounds of a blob: it may have as many leaves as a vector of 10^9 entries has ciphertexts."""


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
    return root(unpack_blob(data))


def verify_blob(data: bytes, root: bytes, chunks: int, size: int) -> None:
    """Raise `MerkleError` unless ``data`` is the blob that a transaction names."""
    if len(data) != size:
        raise MerkleError(f"the blob has {len(data)} bytes, its transaction says {size}")
    leaves = unpack_blob(data)
    if len(leaves) != chunks:
        raise MerkleError(f"the blob has {len(leaves)} leaves, its transaction says {chunks}")
    if root_of_hashes([leaf_hash(leaf) for leaf in leaves]) != root:
        raise MerkleError("the blob's leaves have another Merkle root")
