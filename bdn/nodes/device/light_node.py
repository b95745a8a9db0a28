"""A device's side of the ledger: headers, seals, and what is proven against them.

A thin layer over `bdn.chain.LightClient`: it speaks bytes, and it knows what is *settled*. Under
PBFT a sealed block is final; under proof of work a block counts once k more stand on it.
"""

from collections.abc import Sequence

from bdn.chain import (
    PROOF_OF_WORK,
    Envelope,
    InclusionProof,
    LightClient,
    Receipt,
    StateProof,
    decode_header,
    decode_seal,
)
from bdn.encoding import decode_record
from bdn.errors import PeerError


class AheadError(PeerError):
    """An answer of a height whose header we have not got yet: no lie, but we must catch up."""


class LightNode:
    """What a device believes about the chain.

    Args:
        client: the light client, at genesis.
        confirmations: k, blocks that must follow before a mined block counts.
    """

    def __init__(self, client: LightClient, confirmations: int = 0) -> None:
        self.client = client
        mined = client.genesis.consensus == PROOF_OF_WORK
        self._behind = confirmations if mined else 0

    @property
    def chain(self) -> bytes:
        """The 32-byte chain id."""
        return self.client.head.chain

    @property
    def height(self) -> int:
        """Of the last accepted header."""
        return self.client.height

    @property
    def settled_height(self) -> int:
        """Of the last header that counts."""
        return max(0, self.height - self._behind)

    def accept(self, items: Sequence[tuple[bytes, bytes]], now_ms: int) -> bool:
        """Take (header, seal) pairs in order; returns whether a gap keeps later ones out.

        Raises a `BdnError` at the first pair that is not sealed as it should be, and an
        `EquivocationError` for a second valid seal at a height that we know: more than f edge
        servers are faulty.
        """
        for header_bytes, seal_bytes in items:
            header = decode_header(header_bytes)
            if header.height > self.height + 1:
                return True
            self.client.accept(header, decode_seal(seal_bytes), now_ms)
        return False

    def read(self, proofs: Sequence[bytes], height: int) -> list[tuple[Envelope, Receipt]]:
        """Transactions with their receipts, each proven to stand in block ``height``.

        Raises a `BdnError` for a proof that fails, or is of another block.
        """
        found = []
        for data in proofs:
            proof = decode_record(InclusionProof, data)
            if proof.height != height:
                raise PeerError(f"asked for block {height}, got block {proof.height}")
            found.append(self.client.verify_transaction(proof))
        return found

    def read_cells(
        self, height: int, proofs: Sequence[bytes], contract: str, keys: Sequence[bytes]
    ) -> dict[bytes, bytes | None]:
        """Return the cells of ``contract`` after block ``height`` by key; None where absent.

        Raises a `BdnError` unless each is proven, for the cell that was asked for; an `AheadError`
        where we have not got that height's header yet.
        """
        if height > self.height:
            raise AheadError(f"cells of height {height}; our last header is {self.height}")
        if len(proofs) != len(keys):
            raise PeerError(f"asked for {len(keys)} cells, got {len(proofs)}")
        cells: dict[bytes, bytes | None] = {}
        for data, key in zip(proofs, keys, strict=True):
            proof = decode_record(StateProof, data)
            if (proof.contract, proof.key) != (contract, key):
                raise PeerError("a proof is of another cell than was asked for")
            self.client.verify_state(proof, height)
            cells[key] = proof.value
        return cells
