"""What a ledger refuses, and whom it blames.

A *peer's* fault (a proof, transaction, block or header that the rules forbid) is a `PeerError`;
*stored* bytes that do not verify are a `LedgerError` and carry the place; a disk that is full or
read-only is a `StoreError`, which blames neither.
"""

from bdn.errors import BdnError, IntegrityError, PeerError, UsageError


class MerkleError(PeerError):
    """A Merkle proof that does not lead to the root, or bytes that are not a blob."""


class TransactionError(PeerError):
    """A transaction that no block may hold: wrong chain, signature, nonce, gas limit or shape."""


class BlockError(PeerError):
    """A block that is not the valid successor of its parent."""


class LightClientError(PeerError):
    """A header, seal or proof that a light node does not accept."""


class WorkError(PeerError):
    """A proof of work that does not meet its difficulty."""


class LedgerError(IntegrityError):
    """Stored bytes that do not verify.

    Attributes:
        place: where, in words: ``"block 7, transaction 2, signature"``.
        reason: what is wrong there.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class StoreError(BdnError):
    """The store cannot be read or written: disk full, read-only, locked, or not a ledger."""


class MissingError(UsageError, KeyError):
    """A block, blob or transaction that the store does not hold."""

    def __str__(self) -> str:
        """The sentence itself; `KeyError` would show it quoted."""
        return str(self.args[0])
