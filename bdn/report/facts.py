"""What a run's own ledger shows of the paper's four promises (Table 1), counted block by block."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bdn.chain import (
    AggregateTransaction,
    ShareTransaction,
    Store,
    UpdateTransaction,
    device_numbers,
)
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
                case AggregateTransaction(contributors=members):
                    contributors.append(len(device_numbers(members)))
                case ShareTransaction():
                    shares += 1
    return Facts(
        store.height(), tuple(sorted(views)), min(signers, default=0), len(updates), sum(updates),
        len(contributors), min(contributors, default=0), shares, transactions, failed,
    )


ADVICE = {
    "clip": "Take a smaller --step-size or fewer --iterations, or raise --weight-clip (for the "
            "gradients of svrg, --gradient-clip). A single parameter that moves far, such as a "
            "counter of BatchNorm, shrinks all the others: keep it out of the vector.",
    "norm bound": "Take a smaller --step-size or fewer --iterations, or raise --norm-bound (for "
                  "the gradients of svrg, --gradient-norm-bound).",
}
"""What to do about updates that are scaled down in every epoch, by the limit that they exceed."""

NAMED = 4
"""At most so many devices are named in a sentence."""


def scaled_updates(history: Mapping[str, Any]) -> list[str]:
    """A sentence for each limit to which devices scaled updates down before sealing them."""
    counts = Counter(row.get("limit", "clip") for row in history["scaled"])
    return [f"{counts[limit]} update{'s were' if counts[limit] > 1 else ' was'} scaled down to fit "
            f"the {limit}." for limit in _limits(history)]


def scaling_warnings(history: Mapping[str, Any]) -> list[str]:
    """The sentences of `scaled_updates`, by how much, and what to do where it happened always.

    A device whose update is scaled down in every epoch contributes its direction, but less than
    it learned, and one parameter that is far beyond its clip leaves hardly anything of the others.
    """
    trained = {row["epoch"] for row in history["epochs"] if not row["closing"]}
    found = []
    for sentence, limit in zip(scaled_updates(history), _limits(history), strict=True):
        scaled = [row for row in history["scaled"] if row.get("limit", "clip") == limit]
        epochs: dict[str, set[int]] = {row["name"]: set() for row in history["devices"]}
        for row in scaled:
            epochs.setdefault(row.get("node", ""), set()).add(row.get("epoch", 0))
        factors = [row["factor"] for row in scaled if "factor" in row]
        if factors:
            sentence = f"{sentence[:-1]}, the most by a factor of {min(factors):.3g}."
        always = [name for name, its in epochs.items() if len(trained) > 1 and trained <= its]
        if always:
            more = f" and {len(always) - NAMED} more" if len(always) > NAMED else ""
            sentence += (f" Those of {', '.join(always[:NAMED])}{more} were in every epoch, so "
                         "that the model learns less from them than it could. "
                         + ADVICE.get(limit, "")).rstrip()
        found.append(sentence)
    return found


def _limits(history: Mapping[str, Any]) -> list[str]:
    return sorted({row.get("limit", "clip") for row in history["scaled"]})


def norm_bound_cell(history: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The norm bound of an epoch of the history, and how many updates were scaled down to it."""
    if row.get("norm_bound") is None or row["closing"]:
        return ""
    scaled = sum(item.get("epoch") == row["epoch"] and item.get("limit") == "norm bound"
                 for item in history["scaled"])
    return f"{row['norm_bound']:g}" + (f" ({scaled} scaled down)" if scaled else "")
