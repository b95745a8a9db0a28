"""Python and Solidity agree: the same proofs and products hold and fail in both."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.chain import MerkleError, merkle
from bdn.ethereum import EthereumNode, Plan, commitment_of, find_contract
from bdn.ethereum.anchoring import round_argument
from bdn.identity import address_of

pytestmark = pytest.mark.usefixtures("extra")


@pytest.fixture(scope="module")
def contract(chain: Any, packed_run: Any) -> Any:
    """The deployed contract, for calls alone."""
    setup = packed_run.plan.setup
    return find_contract(chain.node, setup, chain.record[setup.chain.hex()])


# --- Merkle proofs ------------------------------------------------------------------------------


@st.composite
def merkle_claims(draw: st.DrawFn) -> tuple[bytes, int, int, bytes, list[bytes]]:
    """(root, size, index, leaf, path), true or bent at one place."""
    leaves = draw(st.lists(st.binary(max_size=70), min_size=1, max_size=20))
    index = draw(st.integers(0, len(leaves) - 1))
    root, size, leaf = merkle.root(leaves), len(leaves), leaves[index]
    path = merkle.inclusion_proof(leaves, index)
    match draw(st.sampled_from(["true", "root", "size", "index", "leaf", "flip", "cut", "grow"])):
        case "root":
            root = draw(st.binary(min_size=32, max_size=32))
        case "size":
            size = draw(st.integers(0, 2 * len(leaves) + 2))
        case "index":
            index = draw(st.integers(0, 2 * len(leaves) + 2))
        case "leaf":
            leaf = draw(st.binary(max_size=70))
        case "flip" if path:
            at = draw(st.integers(0, len(path) - 1))
            path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
        case "cut" if path:
            path.pop(draw(st.integers(0, len(path) - 1)))
        case "grow":
            path.insert(draw(st.integers(0, len(path))), draw(st.binary(min_size=32, max_size=32)))
    return root, size, index, leaf, path


def holds_in_python(root: bytes, size: int, index: int, leaf: bytes, path: list[bytes]) -> bool:
    try:
        merkle.verify_inclusion(merkle.leaf_hash(leaf), index, size, path, root)
    except MerkleError:
        return False
    return True


@given(claim=merkle_claims())
def test_merkle_proofs_hold_in_solidity_exactly_where_they_hold_in_python(
    claim: tuple[bytes, int, int, bytes, list[bytes]], contract: Any
) -> None:
    """RFC 9162, section 2.1.3.2, twice."""
    assert contract.functions.includes(*claim).call() is holds_in_python(*claim)


def test_every_leaf_of_every_small_tree(contract: Any) -> None:
    """All (size, index) up to nine leaves, and each proof is refused for the neighbour's place."""
    for size in range(1, 10):
        leaves = [bytes([n]) for n in range(size)]
        root = merkle.root(leaves)
        for index in range(size):
            path = merkle.inclusion_proof(leaves, index)
            assert contract.functions.includes(root, size, index, leaves[index], path).call()
            beside = (root, size, index + 1, leaves[index], path)
            assert not contract.functions.includes(*beside).call()


def test_a_leaf_cannot_pose_as_one_of_a_smaller_tree(contract: Any) -> None:
    """A path that is longer than the tree is high leads to the right root, and counts nothing."""
    for size in (2, 3, 4, 8):
        leaves = [bytes([n]) for n in range(size)]
        path = merkle.inclusion_proof(leaves, size - 1)
        claim = (merkle.root(leaves), 1, 0, leaves[-1], path)
        assert not contract.functions.includes(*claim).call()
        assert not holds_in_python(*claim)


# --- Eq. (5) ------------------------------------------------------------------------------------


LIMBS = st.sampled_from([0, 1, 2**255, 2**256 - 2, 2**256 - 1]) | st.integers(0, 2**256 - 1)
"""Where carries and borrows begin, run through, and end."""


@st.composite
def products(draw: st.DrawFn) -> tuple[int, int, list[int], list[int], int]:
    """(width, M, factors, exponents, claimed): right or not, with numbers at the limbs' edges."""
    width = draw(st.sampled_from([1, 20, 32, 33, 64, 96, 100, 512]))
    wide = st.lists(LIMBS, min_size=-(-width // 32), max_size=-(-width // 32)).map(
        lambda limbs: sum(limb << 256 * i for i, limb in enumerate(limbs)) % 256**width)
    M = max(3, draw(wide | st.just(256**width - 1)) | 1)
    number = wide.map(lambda n: n % (M + 1)) | st.sampled_from([1, 2, M - 1, M])
    factors = draw(st.lists(number, min_size=1, max_size=4))
    exponents = draw(st.lists(st.just(1) | st.integers(0, 2**20), min_size=len(factors),
                              max_size=len(factors)))
    right = math.prod(pow(c, s, M) for c, s in zip(factors, exponents, strict=True)) % M
    claimed = draw(st.just(right) | st.just(right) | number)
    return width, M, factors, exponents, claimed


def is_product(M: int, factors: Sequence[int], exponents: Sequence[int], claimed: int) -> bool:
    """The oracle: Python's own integers."""
    if not all(0 < number < M for number in (*factors, claimed)):
        return False
    product = 1
    for c, s in zip(factors, exponents, strict=True):
        product = product * pow(c, s, M) % M
    return product == claimed


@given(case=products())
def test_the_contracts_product_is_pythons(
    case: tuple[int, int, list[int], list[int], int], contract: Any
) -> None:
    """∏ c_k^{s_k} mod M by squares and doublings, at widths that are no multiple of a limb too."""
    width, M, factors, exponents, claimed = case
    wide = [number.to_bytes(width, "big") for number in factors]
    answer = contract.functions.isProduct(
        M.to_bytes(width, "big"), wide, exponents, claimed.to_bytes(width, "big")).call()
    assert answer is is_product(M, factors, exponents, claimed)


@pytest.mark.parametrize(
    ("M", "x", "y"),
    [
        (2**512 - 1, 2**512 - 2, 2**512 - 3),        # x + y is a bit too long
        (2**768 - 1, 2**512 + 5, 2**512 - 2**256),   # a borrow runs through a limb of ones
        (2**768 - 1, 2**512 - 1, 2**600 + 1),        # a carry runs through a limb of ones
        (2**768 - 1, 2**600 + 3, 5),                 # a borrow runs through a limb of noughts
        (2**768 - 1, 2**513 - 2**256, 2**512 + 2**256 - 1),
    ],
    ids=["long sum", "ones", "carry", "borrow", "both"],
)  # fmt: skip
def test_carries_and_borrows_run_through(M: int, x: int, y: int, contract: Any) -> None:
    """Cases that chance hardly meets; the sum and the difference are both squared."""
    width = (M.bit_length() + 7) // 8
    for a, b in ((x, y), (y, x)):
        for claimed, expected in ((a * b % M, True), ((a * b + 1) % M, False)):
            numbers = [n.to_bytes(width, "big") for n in (M, a, b, claimed)]
            answer = contract.functions.isProduct(
                numbers[0], numbers[1:3], [1, 1], numbers[3]).call()
            assert answer is expected


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("width", [31, 33, 63, 65])
def test_a_number_of_another_width_is_no_ciphertext(
    place: int, width: int, contract: Any
) -> None:
    """One number has one encoding, or one leaf could stand for another."""
    numbers = [5, 7, 35]
    wide = [n.to_bytes(width if i == place else 32, "big") for i, n in enumerate(numbers)]
    modulus = (2**256 - 1).to_bytes(32, "big")
    assert not contract.functions.isProduct(modulus, wide[:2], [1, 1], wide[2]).call()


def test_the_oracle_sees_both_answers(contract: Any) -> None:
    """Negative control: a right and a wrong product at the full width of a 2048-bit key."""
    M = 2**4096 - 2**17 - 1
    c, s = 2**4000 + 12345, 27_450
    right = pow(c, s, M) * pow(c + 1, 7, M) % M
    for claimed, expected in ((right, True), (right ^ 1, False)):
        numbers = [n.to_bytes(512, "big") for n in (M, c, c + 1, claimed)]
        answer = contract.functions.isProduct(numbers[0], numbers[1:3], [s, 7], numbers[3]).call()
        assert answer is expected


# --- names --------------------------------------------------------------------------------------


@given(key=st.binary(min_size=32, max_size=32))
@settings(max_examples=5)
def test_addresses_are_derived_alike(key: bytes, contract: Any) -> None:
    """p_k of a public key (`bdn.identity.address_of`)."""
    assert bytes(contract.functions.addressOf(key).call()) == address_of(key)


def test_commitments_are_derived_alike(node: EthereumNode, anchored: Any, packed_run: Any) -> None:
    """keccak-256 of the ABI encoding: what storage keeps is what we compute."""
    plan: Plan = packed_run.plan
    first = plan.rounds[0]
    contract = anchored(Plan(plan.setup, (first,)))
    item = first.round
    kept = contract.functions.rounds(item.epoch, item.phase).call()
    assert bytes(kept[0]) == commitment_of(item)
    event = node.logs(contract.events.RoundAnchored, kept[2])[0]["args"]["round"]
    assert tuple(event.values())[:5] == round_argument(item)[:5]
