"""The light client: what a device verifies before it believes, or opens, anything.

It starts from a genesis digest that it trusts and keeps headers and seals only. A header is taken
if it is the successor of the last one, its seal holds, and its time is not in the future of the
clock that the caller hands in; transactions, receipts and state entries are then proven against
the headers' roots.

Two valid seals at one height cannot come about with at most f faulty edge servers, so a light
client that meets them keeps them as `EquivocationEvidence` and raises: its trust in the edges is
misplaced.

An `InclusionProof` holds a transaction and its receipt. Both are needed: inclusion is not success,
and only the receipt says whether a transaction's effects stand. The receipt names its transaction,
so the one cannot be shown for another. Tx_co is shown to every device, and its receipt tells what
each contributor was paid; so the proof of a Tx_co may leave the receipt out. A sealed block's Tx_co
has succeeded, since a block with one that fails is not valid.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from bdn.chain import merkle
from bdn.chain.blocks import (
    MAX_RECEIPT_BYTES,
    PBFT,
    Block,
    Genesis,
    Header,
    Receipt,
    chain_id,
    decode_receipt,
    encode_receipt,
    header_digest,
    is_aggregate,
)
from bdn.chain.errors import BlockError, LightClientError, MerkleError, MissingError, WorkError
from bdn.chain.execution import verify_genesis_header, verify_successor
from bdn.chain.seals import BlockSeal, ProofOfWork, verify_block_seal
from bdn.chain.state import StateProof, verify_state
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
from bdn.errors import EncodingError, PeerError, UsageError
from bdn.seal import Seal, SealError, verify_seal


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """One transaction of a block with its receipt.

    Attributes:
        height: of the block.
        position, size: the transaction's place among the block's transactions.
        transaction, receipt: their encoded bytes, the leaves; a Tx_co's receipt may be left out,
            and is empty then.
        transaction_path, receipt_path: Merkle paths to the header's two roots.
    """

    height: Number
    position: Number
    size: Number
    transaction: EncodedTransaction
    receipt: Annotated[bytes, at_most(MAX_RECEIPT_BYTES)]
    transaction_path: Annotated[tuple[Digest, ...], at_most(64)]
    receipt_path: Annotated[tuple[Digest, ...], at_most(64)]


def without_receipt(proof: InclusionProof) -> InclusionProof:
    """The proof of a Tx_co alone: its size does not grow with the contributors' number."""
    return replace(proof, receipt=b"", receipt_path=())


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
        self._of_sender: dict[bytes, list[int]] = {}
        self._of_kind: dict[str, list[int]] = {}
        for position, envelope in enumerate(self.envelopes):
            self._of_sender.setdefault(envelope.address, []).append(position)
            self._of_kind.setdefault(type(envelope.payload).__name__, []).append(position)
        self._height = block.header.height
        self._transactions = [encode_envelope(envelope) for envelope in block.envelopes]
        self._receipts = [encode_receipt(receipt) for receipt in receipts]
        self._paths = merkle.Tree(self._transactions)
        self._receipt_paths = merkle.Tree(self._receipts)

    def positions(self, kinds: Iterable[str], sender: bytes) -> list[int]:
        """Where the transactions of the payload classes ``kinds`` and of ``sender`` stand."""
        named = [self._of_kind.get(kind, []) for kind in kinds]
        return sorted({*self._of_sender.get(sender, []), *itertools.chain(*named)})

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
    shown = [(proof.transaction, proof.transaction_path, header.transactions_root)]
    if proof.receipt or proof.receipt_path:
        shown.append((proof.receipt, proof.receipt_path, header.receipts_root))
    try:
        for leaf, path, root in shown:
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
    """The transaction and its receipt, decoded; verify first. Raises `EncodingError`.

    Where the proof of a Tx_co leaves the receipt out, the one returned says that it succeeded, and
    nothing else.
    """
    envelope = decode_envelope(proof.transaction)
    if not proof.receipt and is_aggregate(envelope):
        return envelope, Receipt(transaction_digest(envelope), True, "ok", 0, None, (), None)
    return envelope, decode_receipt(proof.receipt)


MAX_DRIFT = 60_000
"""How far, in milliseconds, a header may lie ahead of the reader's clock."""


@dataclass(frozen=True, slots=True)
class EquivocationEvidence:
    """Two different headers of one height, each with a valid seal: more than f edges are faulty.

    Attributes:
        first, first_seal: the header that was accepted.
        second, second_seal: the other one.
    """

    first: Header
    first_seal: Seal
    second: Header
    second_seal: Seal

    def signers_of_both(self) -> tuple[int, ...]:
        """Indices of the edges that signed both: at least f + 1, each provably faulty when the
        two seals are of one view."""
        first = {index for index, _ in self.first_seal.signatures}
        return tuple(i for i, _ in self.second_seal.signatures if i in first)


class EquivocationError(LightClientError):
    """Two valid seals at one height; ``evidence`` convinces anyone who knows the genesis record."""

    def __init__(self, evidence: EquivocationEvidence) -> None:
        super().__init__(f"two valid seals at height {evidence.first.height}: more than f edge "
                         "servers are faulty")
        self.evidence = evidence


def verify_evidence(evidence: EquivocationEvidence, genesis: Genesis) -> None:
    """Raise `LightClientError` unless the evidence holds against the edges of ``genesis``."""
    first, second = evidence.first, evidence.second
    chain = chain_id(genesis)
    if first.chain != chain or second.chain != chain:
        raise LightClientError("the headers are of another chain")
    if first.height != second.height or header_digest(first) == header_digest(second):
        raise LightClientError("the headers are not two different ones of one height")
    for header, seal in ((first, evidence.first_seal), (second, evidence.second_seal)):
        if seal.digest != header_digest(header) or seal.sequence != header.height:
            raise LightClientError("a seal of the evidence is for another header")
        try:
            verify_seal(seal, chain, genesis.edges)
        except SealError as error:
            raise LightClientError(f"a seal of the evidence does not hold: {error}") from error


class LightClient:
    """Headers and seals from a trusted genesis digest on.

    Attributes:
        genesis: the chain's record, checked against the trusted digest.
        drift: milliseconds that a header may lie ahead of the clock.
        headers: all accepted ones, by height.
        seals: their seals; None for the genesis block.
    """

    def __init__(
        self, genesis: Genesis, genesis_header: Header, trusted: bytes, drift: int = MAX_DRIFT
    ) -> None:
        """Raises `LightClientError` unless record and header lead to the ``trusted`` digest."""
        if header_digest(genesis_header) != trusted:
            raise LightClientError("the genesis header is not the trusted one")
        try:
            verify_genesis_header(genesis_header, genesis)
        except BlockError as error:
            raise LightClientError(str(error)) from error
        if drift < 0:
            raise UsageError("a clock's drift is not negative")
        self.genesis = genesis
        self.drift = drift
        self.headers: list[Header] = [genesis_header]
        self.seals: list[BlockSeal | None] = [None]

    @property
    def head(self) -> Header:
        """The last accepted header."""
        return self.headers[-1]

    @property
    def height(self) -> int:
        """Of the last accepted header."""
        return self.head.height

    def confirmations(self, height: int) -> int:
        """How many accepted blocks stand on ``height``, itself included; 0 if there is none."""
        return max(0, self.height - height + 1)

    def accept(self, header: Header, seal: BlockSeal, now: int) -> None:
        """Take the next header, or raise and stay as before.

        ``now`` is the caller's clock in milliseconds. A header that is known already is welcome
        (its seal may differ: another quorum, another view). Raises `EquivocationError` for a
        second valid seal at a known height, `LightClientError` for everything else.
        """
        if header.height <= self.height:
            self._revisit(header, seal)
            return
        if header.time > now + self.drift:
            raise LightClientError(
                f"header {header.height} is {header.time - now} ms in the future")
        self._verify(header, seal, self.height)
        self.headers.append(header)
        self.seals.append(seal)

    def replace_tip(
        self, height: int, sealed: Sequence[tuple[Header, BlockSeal]], now: int
    ) -> None:
        """Under proof of work: change to a branch from ``height`` on that holds more work.

        All of it is verified first; raises `LightClientError` unless it outweighs what it replaces.
        """
        if self.genesis.consensus == PBFT:
            raise LightClientError("a block agreed by the edge servers is final")
        if not 0 <= height <= self.height:
            raise LightClientError(f"there is no accepted block {height} to branch from")
        branch = LightClient(self.genesis, self.headers[0], header_digest(self.headers[0]),
                             self.drift)
        branch.headers, branch.seals = self.headers[:height + 1], self.seals[:height + 1]
        for header, seal in sealed:
            branch.accept(header, seal, now)
        if _work(branch.seals[height + 1:]) <= _work(self.seals[height + 1:]):
            raise LightClientError("the other branch holds no more work")
        self.headers, self.seals = branch.headers, branch.seals

    def verify_transaction(self, proof: InclusionProof) -> tuple[Envelope, Receipt]:
        """A proven transaction with its receipt; mind ``receipt.ok``. Raises `LightClientError`."""
        verify_inclusion(proof, self.header(proof.height))
        return opened(proof)

    def verify_state(self, proof: StateProof, height: int) -> None:
        """Raise `LightClientError` unless ``proof`` holds after block ``height``."""
        try:
            verify_state(proof, self.header(height).state_root)
        except MerkleError as error:
            raise LightClientError(f"block {height}: {error}") from error

    def header(self, height: int) -> Header:
        """The accepted header at ``height``, or `LightClientError`."""
        if not 0 <= height <= self.height:
            raise LightClientError(f"no header {height} was accepted; the last is {self.height}")
        return self.headers[height]

    def _verify(self, header: Header, seal: BlockSeal, below: int) -> None:
        """Raise `LightClientError` unless ``header`` follows the accepted one at ``below``."""
        parent, grandparent = self.headers[below], self.headers[below - 1] if below else None
        try:
            verify_successor(header, parent, self.genesis)
            verify_block_seal(seal, header, parent, self.seals[below], grandparent, self.genesis)
        except (BlockError, SealError, WorkError) as error:
            raise LightClientError(f"header {header.height}: {error}") from error

    def _revisit(self, header: Header, seal: BlockSeal) -> None:
        """A header at or below the head: the known one, or evidence, or refused."""
        known, known_seal = self.headers[header.height], self.seals[header.height]
        if header_digest(header) == header_digest(known):
            if header.height:
                self._verify(header, seal, header.height - 1)
            return
        if isinstance(known_seal, Seal) and isinstance(seal, Seal):
            evidence = EquivocationEvidence(known, known_seal, header, seal)
            try:
                verify_evidence(evidence, self.genesis)
            except LightClientError as error:
                raise LightClientError(
                    f"height {header.height} does not follow {self.height}: {error}") from error
            raise EquivocationError(evidence)
        raise LightClientError(f"height {header.height} does not follow {self.height}")


def _work(seals: Sequence[BlockSeal | None]) -> int:
    """Expected hashes spent on these blocks."""
    return sum(seal.difficulty for seal in seals if isinstance(seal, ProofOfWork))
