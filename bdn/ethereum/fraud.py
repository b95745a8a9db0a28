"""The fraud proof: show the contract one index of all updates and of the claimed aggregate.

    c_k   device k's ciphertext at the index      s_k   its weight      N   the Paillier modulus
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmpy2 import isqrt, mpz, powmod

from bdn.chain import MissingError, merkle, pack_blob, unpack_blob
from bdn.errors import UsageError
from bdn.ethereum.anchoring import round_argument
from bdn.ethereum.errors import RevertedError
from bdn.ethereum.node import Account, EthereumNode
from bdn.ethereum.plan import AnchorRound, PlannedRound, Setup

BlobReader = Callable[[bytes], bytes]
"""The blob with a given root; raises `MissingError` where there is none."""


@dataclass(frozen=True, slots=True)
class ProvenLeaf:
    """A leaf and its Merkle path, leaf to root."""

    data: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FraudEvidence:
    """One index of a round.

    Attributes:
        index: of the ciphertext.
        inputs: c_k with its path, for each contribution in order.
        claimed: the aggregate's leaf.
    """

    index: int
    inputs: tuple[ProvenLeaf, ...]
    claimed: ProvenLeaf


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a challenge.

    Attributes:
        lie: whether the contract found the aggregate false.
        gas: that the challenge used; 0 where it was refused before it was sent.
    """

    lie: bool
    gas: int


def gather_evidence(
    item: AnchorRound, setup: Setup, index: int, read_blob: BlobReader, claimed: bytes | None = None
) -> FraudEvidence:
    """The leaves at ``index``, with their paths to the anchored roots.

    ``claimed`` is the aggregate's blob where ``read_blob`` has none under the anchored root.
    Raises `UsageError` for an index beyond the ciphertexts and for blobs that are not at hand.
    """
    count = setup.shapes[item.phase].ciphertexts
    if not 0 <= index < count:
        raise UsageError(f"{item.name} has ciphertexts 0 to {count - 1}; there is no {index}")
    inputs = []
    for contribution in item.contributions:
        whose = f"device {contribution.device.hex()}'s update"
        leaves = _leaves(contribution.root, read_blob, whose)
        inputs.append(_proven(leaves, index))
    if claimed is None:
        leaves = _leaves(item.aggregate_root, read_blob, "the anchored aggregate")
    else:
        leaves = unpack_blob(claimed)
        if merkle.root(leaves) != item.aggregate_root:
            raise UsageError("the claimed aggregate has another root than the anchored one")
    return FraudEvidence(index, tuple(inputs), _proven(leaves, index))


def _leaves(root: bytes, read_blob: BlobReader, what: str) -> list[bytes]:
    try:
        return unpack_blob(read_blob(root))
    except MissingError as error:
        raise UsageError(f"the ledger lacks {what} (root {root.hex()[:16]}…): nothing can be "
                         "proven without its bytes; an aggregate's can be given with --claimed"
                         ) from error


def _proven(leaves: Sequence[bytes], index: int) -> ProvenLeaf:
    return ProvenLeaf(leaves[index], tuple(merkle.inclusion_proof(leaves, index)))


def is_right(item: AnchorRound, setup: Setup, evidence: FraudEvidence) -> bool:
    """Eq. (5) at one index, computed here: the contract's judgement by other means."""
    M = mpz.from_bytes(setup.modulus, "big")
    product = mpz(1)
    for contribution, leaf in zip(item.contributions, evidence.inputs, strict=True):
        c = _ciphertext(leaf.data, setup)
        if c is None:
            return False
        product = product * powmod(c, 1 if setup.weight_inside else contribution.weight, M) % M
    return bool(product == _ciphertext(evidence.claimed.data, setup))


def _ciphertext(data: bytes, setup: Setup) -> mpz | None:
    """A ciphertext has the modulus's width and lies in 1 … N² − 1."""
    value = mpz.from_bytes(data, "big")
    proper = len(data) == len(setup.modulus) and 0 < value < mpz.from_bytes(setup.modulus, "big")
    return value if proper else None


def challenge(
    node: EthereumNode, contract: Any, item: AnchorRound, setup: Setup, evidence: FraudEvidence,
    account: Account,
) -> Verdict:
    """Show ``evidence`` to the contract; any account may. Raises this package's errors."""
    call = contract.functions.challenge(*challenge_arguments(item, setup, evidence))
    try:
        return Verdict(True, node.send(call, account).gas)
    except RevertedError as error:
        if error.name != "AggregateIsRight":
            raise
        return Verdict(False, 0)


def challenge_arguments(
    item: AnchorRound, setup: Setup, evidence: FraudEvidence
) -> tuple[Any, ...]:
    """The arguments of the contract's ``challenge``."""
    inputs = [(leaf.data, list(leaf.path)) for leaf in evidence.inputs]
    claimed = (evidence.claimed.data, list(evidence.claimed.path))
    return round_argument(item), evidence.index, setup.modulus, inputs, claimed


def falsify(
    planned: PlannedRound, setup: Setup, index: int, read_blob: BlobReader
) -> tuple[PlannedRound, bytes]:
    """The round with a lie in it, and the lying aggregate's blob.

    The ciphertext at ``index`` is multiplied by 1 + N, which adds one to the plaintext: a valid
    ciphertext that no edge server can tell from the right one by looking at it.
    """
    leaves = unpack_blob(read_blob(planned.round.aggregate_root))
    if not 0 <= index < setup.shapes[planned.round.phase].ciphertexts:
        raise UsageError(f"{planned.round.name} has no ciphertext {index}")
    M = mpz.from_bytes(setup.modulus, "big")
    lie = mpz.from_bytes(leaves[index], "big") * (1 + isqrt(M)) % M
    leaves[index] = int(lie).to_bytes(len(setup.modulus), "big")
    false = replace(planned.round, aggregate_root=merkle.root(leaves))
    return replace(planned, round=false), pack_blob(leaves)
