"""RFC 6962 trees and proofs, held by public vectors and by the RFC's own recursion as oracle."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import MerkleError, merkle
from bdn.errors import UsageError

LEAVES = st.lists(st.binary(max_size=40), max_size=40)
SOME = st.lists(st.binary(max_size=40), min_size=1, max_size=40)

RFC_LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]
RFC_ROOTS = [  # published with the certificate-transparency reference implementation
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def rfc_root(leaves: list[bytes]) -> bytes:
    """MTH, word for word from RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc_root(leaves[:k]) + rfc_root(leaves[k:])).digest()


def rfc_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH, word for word from RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*rfc_path(m, leaves[:k]), rfc_root(leaves[k:])]
    return [*rfc_path(m - k, leaves[k:]), rfc_root(leaves[:k])]


def test_roots_of_the_reference_implementation() -> None:
    """RFC 6962; the eight published tree heads."""
    for size, expected in enumerate(RFC_ROOTS, 1):
        assert merkle.root(RFC_LEAVES[:size]).hex() == expected
    assert merkle.root([]) == hashlib.sha256().digest()


def test_public_inclusion_vectors(shared: Path) -> None:
    """All 98 public cases, the wrong ones refused."""
    cases = json.loads((shared / "vectors/rfc6962/inclusion.json").read_text())
    assert len(cases) == 98
    verdicts = []
    for case in cases:
        root = base64.b64decode(case["root"] or "")
        leaf = base64.b64decode(case["leafHash"] or "")
        proof = [base64.b64decode(step) for step in case["proof"] or []]
        try:
            merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
            verdicts.append(False)
        except MerkleError:
            verdicts.append(True)
    wrong = [case["name"] for case, refused in zip(cases, verdicts, strict=True)
             if case["wantErr"] != refused]
    assert wrong == []
    assert not all(verdicts)


@given(LEAVES)
def test_root_is_the_recursion_of_the_rfc(leaves: list[bytes]) -> None:
    """RFC 6962, section 2.1: pairing level by level builds the same tree."""
    assert merkle.root(leaves) == rfc_root(leaves)


@given(SOME, st.data())
def test_inclusion_proofs_are_the_rfc_s(leaves: list[bytes], data: st.DataObject) -> None:
    """RFC 6962, section 2.1.1."""
    i = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(leaves, i)
    assert proof == rfc_path(i, leaves)
    merkle.verify_inclusion(merkle.leaf_hash(leaves[i]), i, len(leaves), proof, merkle.root(leaves))


@given(SOME, st.data())
def test_altered_inclusion_proofs_are_refused(leaves: list[bytes], data: st.DataObject) -> None:
    """RFC 9162, section 2.1.3.2: any one change to leaf, path or root is refused."""
    i = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = merkle.inclusion_proof(leaves, i), merkle.root(leaves)
    parts = [merkle.leaf_hash(leaves[i]), root, *proof]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(MerkleError):
        merkle.verify_inclusion(parts[0], i, len(leaves), parts[2:], parts[1])
    for longer in ([*proof, bytes(32)], [bytes(32), *proof]):
        with pytest.raises(MerkleError):
            merkle.verify_inclusion(merkle.leaf_hash(leaves[i]), i, len(leaves), longer, root)
    if proof:
        with pytest.raises(MerkleError):
            merkle.verify_inclusion(merkle.leaf_hash(leaves[i]), i, len(leaves), proof[1:], root)


def test_every_consistency_proof_up_to_33_leaves_verifies() -> None:
    """RFC 6962, section 2.1.2: for all pairs of sizes; another old root is refused."""
    leaves = [bytes([i]) for i in range(33)]
    for new in range(1, 34):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(leaves[:new], old)
            roots = merkle.root(leaves[:old]), merkle.root(leaves[:new])
            merkle.verify_consistency(old, new, *roots, proof)
            with pytest.raises(MerkleError):
                merkle.verify_consistency(old, new, merkle.root([b"other"]), roots[1], proof)
            with pytest.raises(MerkleError):
                merkle.verify_consistency(old, new, *roots, [*proof, bytes(32)])


def test_consistency_proofs_of_the_rfc_s_example() -> None:
    """RFC 6962, section 2.1.3: PROOF(3, D[7]), PROOF(4, D[7]), PROOF(6, D[7])."""
    d = [bytes([i]) for i in range(7)]
    h = [merkle.leaf_hash(leaf) for leaf in d]
    a, b, c, g = merkle.root(d[0:2]), h[2], h[3], merkle.root(d[0:4])
    right, i, j = merkle.root(d[4:7]), merkle.root(d[4:6]), h[6]
    assert merkle.consistency_proof(d, 3) == [b, c, a, right]
    assert merkle.consistency_proof(d, 4) == [right]
    assert merkle.consistency_proof(d, 6) == [i, j, g]


@given(SOME, st.data())
def test_altered_consistency_proofs_are_refused(leaves: list[bytes], data: st.DataObject) -> None:
    """RFC 9162, section 2.1.4.2."""
    old = data.draw(st.integers(1, len(leaves)))
    proof = merkle.consistency_proof(leaves, old)
    parts = [merkle.root(leaves[:old]), merkle.root(leaves), *proof]
    merkle.verify_consistency(old, len(leaves), parts[0], parts[1], parts[2:])
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(MerkleError):
        merkle.verify_consistency(old, len(leaves), parts[0], parts[1], parts[2:])


def test_a_leaf_cannot_pose_as_a_node() -> None:
    """RFC 6962, section 2.1: the prefixes keep second preimages away."""
    pair = [b"a", b"b"]
    inner = merkle.leaf_hash(b"a") + merkle.leaf_hash(b"b")
    assert merkle.root([inner]) != merkle.root(pair)


def test_misuse_is_refused_with_usage_errors() -> None:
    """STYLE 9: a caller's misuse and a peer's proof are told apart."""
    with pytest.raises(UsageError):
        merkle.inclusion_proof([b"a"], 1)
    with pytest.raises(UsageError):
        merkle.consistency_proof([b"a"], 0)
    with pytest.raises(UsageError):
        merkle.consistency_proof([b"a"], 2)
    for sizes in ((0, 1), (2, 1), (-1, 3)):
        with pytest.raises(MerkleError):
            merkle.verify_consistency(*sizes, bytes(32), bytes(32), [])
    with pytest.raises(MerkleError, match="32 bytes"):
        merkle.verify_inclusion(b"short", 0, 1, [], bytes(32))
