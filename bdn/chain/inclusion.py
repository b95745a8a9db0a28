"""Proof that a transaction stands in a block, and of what came of it.

Both are needed: inclusion is not success, and only the receipt says whether a transaction's effects
stand. The receipt names its transaction, so the one cannot be shown for another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from bdn.chain import merkle
from bdn.chain.blocks import (
    MAX_RECEIPT_BYTES,
    Block,
    Header,
    Receipt,
    decode_receipt,
    encode_receipt,
)
from bdn.chain.errors import LightClientError, MerkleError, MissingError
from bdn.chain.transactions import (
    EncodedTransaction,
    Envelope,
    Number,
    decode_envelope,
    encode_envelope,
    transaction_digest,
    verify_envelope,
)
from bdn.encoding import Digest, at_most, decode_record, encode_record
from bdn.errors import EncodingError, PeerError


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """One transaction of a block with its receipt.

    Attributes:
        height: of the block.
        position, size: the transaction's place among the block's transactions.
        transaction, receipt: their encoded bytes, the leaves.
        transaction_path, receipt_path: Merkle paths to the header's two roots.
    """

    height: Number
    position: Number
    size: Number
    transaction: EncodedTransaction
    receipt: Annotated[bytes, at_most(MAX_RECEIPT_BYTES)]
    transaction_path: Annotated[tuple[Digest, ...], at_most(64)]
    receipt_path: Annotated[tuple[Digest, ...], at_most(64)]


def encode_proof(proof: InclusionProof) -> bytes:
    """Strict CBOR map of the proof's fields."""
    return encode_record(proof)


def decode_proof(data: bytes) -> InclusionProof:
    """What `encode_proof` wrote, or `EncodingError`. Verifies nothing."""
    return decode_record(InclusionProof, data)


class BlockProofs:
    """Makes the proofs of one block; its trees are built once.

    Args:
        block, receipts: as stored.

    Attributes:
        envelopes: the block's transactions in order.
    """

    def __init__(self, block: Block, receipts: Sequence[Receipt]) -> None:
        self.envelopes = block.envelopes
        self._height = block.header.height
        self._transactions = [encode_envelope(envelope) for envelope in block.envelopes]
        self._receipts = [encode_receipt(receipt) for receipt in receipts]
        self._paths = merkle.Tree(self._transactions)
        self._receipt_paths = merkle.Tree(self._receipts)

    def proof(self, position: int) -> InclusionProof:
        """Transaction and receipt ``position``; `MissingError` where the block has none."""
        if not 0 <= position < len(self.envelopes):
            raise MissingError(f"block {self._height} has no transaction {position}")
        return InclusionProof(
            self._height, position, len(self.envelopes), self._transactions[position],
            self._receipts[position], tuple(self._paths.inclusion_proof(position)),
            tuple(self._receipt_paths.inclusion_proof(position)))


def verify_inclusion(proof: InclusionProof, header: Header) -> None:
    """Raise `LightClientError` unless ``proof`` leads to the roots of ``header``.

    ``header`` is one that the caller trusts already. The transaction's signature is checked too.
    """
    if proof.height != header.height:
        raise LightClientError(f"the proof is for block {proof.height}, not {header.height}")
    try:
        for leaf, path, root in (
            (proof.transaction, proof.transaction_path, header.transactions_root),
            (proof.receipt, proof.receipt_path, header.receipts_root),
        ):
            merkle.verify_inclusion(
                merkle.leaf_hash(leaf), proof.position, proof.size, path, root)
    except MerkleError as error:
        raise LightClientError(f"block {proof.height}: {error}") from error
    try:
        envelope, receipt = opened(proof)
        verify_envelope(envelope, header.chain)
    except (EncodingError, PeerError) as error:
        raise LightClientError(f"block {proof.height}: {error}") from error
    if receipt.transaction != transaction_digest(envelope):
        raise LightClientError("the receipt is another transaction's")


def opened(proof: InclusionProof) -> tuple[Envelope, Receipt]:
    """The transaction and its receipt, decoded; verify first. Raises `EncodingError`."""
    return decode_envelope(proof.transaction), decode_receipt(proof.receipt)
