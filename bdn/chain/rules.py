"""What makes a header the successor of another, and a body fit for its header.

Full nodes, `bdn verify` and light nodes share these rules, so that none of them accepts what
another refuses. Nothing here executes anything.
"""

from collections.abc import Sequence

from bdn.chain.blocks import (
    AUXILIARY,
    CANDIDATE,
    GENESIS,
    NO_PARENT,
    Block,
    Header,
    compute_transactions_root,
    header_digest,
    is_aggregate,
)
from bdn.chain.errors import BlockError, TransactionError
from bdn.chain.genesis import Genesis, chain_id
from bdn.chain.transactions import (
    GENESIS_ONLY,
    MAX_TRANSACTIONS,
    Envelope,
    call_of,
    verify_envelope,
)


def verify_genesis_header(header: Header, genesis: Genesis) -> None:
    """Raise `BlockError` unless ``header`` is block 0 of the chain of ``genesis``."""
    expected = {
        "chain": chain_id(genesis), "height": 0, "epoch": 0, "kind": GENESIS, "parent": NO_PARENT,
        "generation_rate": genesis.generation_rate, "proposer": genesis.edge_addresses[0],
        "time": genesis.time,
    }
    for name, value in expected.items():
        if getattr(header, name) != value:
            raise BlockError(f"the genesis header's {name} is not what the genesis record says")


def verify_successor(header: Header, parent: Header, genesis: Genesis) -> None:
    """Raise `BlockError` unless ``header`` may follow ``parent``.

    Height = parent's + 1, ℵ = the parent's digest, a later time, no earlier epoch, the chain's β,
    and one of the chain's edge servers as proposer.
    """
    if header.chain != parent.chain:
        raise BlockError("the block is for another chain")
    if header.height != parent.height + 1:
        raise BlockError(f"height {header.height} does not follow {parent.height}")
    if header.parent != header_digest(parent):
        raise BlockError("the block's parent is another block")
    if header.kind == GENESIS:
        raise BlockError("a chain has one genesis block")
    if header.time <= parent.time:
        raise BlockError(f"time {header.time} is not after the parent's {parent.time}")
    if header.epoch < parent.epoch:
        raise BlockError(f"epoch {header.epoch} comes before the parent's {parent.epoch}")
    if header.generation_rate != genesis.generation_rate:
        raise BlockError(f"generation rate {header.generation_rate} is not the chain's")
    if header.proposer not in genesis.edge_addresses:
        raise BlockError("the proposer is none of the chain's edge servers")


def verify_body(block: Block) -> None:
    """Raise `BlockError` unless the body has the form that the header's kind asks for."""
    header, aggregate = block.header, block.aggregate
    if len(block.envelopes) > MAX_TRANSACTIONS:
        raise BlockError(f"more than {MAX_TRANSACTIONS} transactions")
    if any(is_aggregate(envelope) for envelope in block.transactions):
        raise BlockError("an aggregate stands among the other transactions")
    if header.kind != GENESIS and any(
        isinstance(envelope.payload, GENESIS_ONLY) for envelope in block.transactions
    ):
        raise BlockError("deployments and ownership statements belong into the genesis block")
    if aggregate is not None:
        _verify_aggregate(header, aggregate)
    elif header.kind == CANDIDATE:
        raise BlockError("a candidate block holds Tx_co")
    if compute_transactions_root(block.envelopes) != header.transactions_root:
        raise BlockError("the transactions have another root than the header says")


def _verify_aggregate(header: Header, aggregate: Envelope) -> None:
    payload = aggregate.payload
    if header.kind not in (CANDIDATE, AUXILIARY) or not is_aggregate(aggregate):
        raise BlockError("Tx_co is no AggregateTransaction, or stands in a genesis block")
    if aggregate.address != header.proposer:
        raise BlockError("Tx_co is not signed by the block's proposer")
    if getattr(payload, "epoch", None) != header.epoch:
        raise BlockError("Tx_co is for another epoch than the block")


def verify_admissible(envelope: Envelope) -> None:
    """Raise `TransactionError` for a payload that no block takes from its sender at large.

    Deployments and ownership statements belong into the genesis block, Tx_co comes from the
    block's proposer, and a `CallTransaction` may not borrow what has a payload of its own.
    """
    if isinstance(envelope.payload, GENESIS_ONLY):
        raise TransactionError("deployments and ownership statements belong into the genesis block")
    if is_aggregate(envelope):
        raise TransactionError("an aggregate comes from the block's proposer")
    call_of(envelope.payload, envelope.sender)


def verify_signatures(envelopes: Sequence[Envelope], chain: bytes) -> None:
    """Raise `BlockError` naming the first transaction whose signature or chain is wrong."""
    for position, envelope in enumerate(envelopes):
        try:
            verify_envelope(envelope, chain)
        except TransactionError as error:
            raise BlockError(f"transaction {position}: {error}") from error
