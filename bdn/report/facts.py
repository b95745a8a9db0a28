"""What a run's own ledger shows of the paper's four promises (Table 1), counted block by block."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bdn.chain import AggregateTransaction, ShareTransaction, Store, UpdateTransaction
from bdn.seal import Seal


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts over all blocks above genesis.

    Attributes:
        blocks: how many.
        views: in which the edge servers sealed them, ascending; empty where they were mined.
        fewest_signers: edge servers that signed the block with the fewest; 0 where mined.
        updates, update_bytes: sealed updates that were agreed on, and their ciphertexts' bytes.
        aggregates: sums that the mining contract made.
        fewest_contributors: devices in the sum with the fewest.
        shares: partial decryptions that were handed in.
        transactions, failed: of all kinds; those whose contract call failed.
    """

    blocks: int
    views: tuple[int, ...]
    fewest_signers: int
    updates: int
    update_bytes: int
    aggregates: int
    fewest_contributors: int
    shares: int
    transactions: int
    failed: int


def read_facts(store: Store) -> Facts:
    """Count them in ``store``."""
    views: set[int] = set()
    signers: list[int] = []
    contributors: list[int] = []
    updates: list[int] = []
    shares = transactions = failed = 0
    for height in range(1, store.height() + 1):
        seal = store.seal(height)
        if isinstance(seal, Seal):
            views.add(seal.view)
            signers.append(len(seal.signatures))
        failed += sum(not receipt.ok for receipt in store.receipts(height))
        for envelope in store.block(height).envelopes:
            transactions += 1
            match envelope.payload:
                case UpdateTransaction(size=size):
                    updates.append(size)
                case AggregateTransaction(contributors=addresses):
                    contributors.append(len(addresses))
                case ShareTransaction():
                    shares += 1
    return Facts(
        store.height(), tuple(sorted(views)), min(signers, default=0), len(updates), sum(updates),
        len(contributors), min(contributors, default=0), shares, transactions, failed,
    )


def scaled_updates(history: Mapping[str, Any]) -> list[str]:
    """A sentence for each limit to which devices scaled updates down before sealing them."""
    counts = Counter(row.get("limit", "clip") for row in history["scaled"])
    return [f"{count} updates were scaled down to fit their {limit}."
            for limit, count in sorted(counts.items())]
