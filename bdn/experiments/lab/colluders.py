"""Edge servers that their owners have rewritten, all of them.

Consensus bears f liars. A `Colluder` runs contracts without checks and votes for whatever the
primary proposes; with all edge servers so, its blocks are validly sealed, and no device can tell
from the seal that nobody checked them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bdn.chain import (
    AggregateTransaction,
    Block,
    Candidate,
    Envelope,
    UpdateTransaction,
    decode_envelope,
    encode_block,
    sign_transaction,
)
from bdn.chain.contracts import compile_contract
from bdn.experiments.run import Run
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.vector_host import UpdateRecord

MINING = '''"""The mining contract of edge servers that check nothing."""

learning: contract


@public
def aggregate(epoch: int, phase: str, root: bytes, chunks: int, size: int, contributors: list, total: int):
    learning.record_aggregate(epoch, phase, root, chunks, size, contributors, total)
'''  # noqa: E501 - a signature of the contract language stands on one line

LEARNING_CHECKS = ("require(_is_open(epoch, phase)",)
"""Lines of the learning contract that begin so are left out."""

Plan = Callable[["Colluder", Sequence[Envelope]], bytes | None]
"""What the primary proposes while these transactions wait; None: an honest block."""


SILENCE = b""
"""A plan's answer: propose nothing, and wait."""


class Colluder(LedgerApplication):
    """An edge server's ledger that its owner has rewritten: it votes for anything."""

    plan: Plan | None = None

    def propose(self, sequence: int, pending: Any) -> bytes | None:
        """The lie when its time has come, else an honest block."""
        waiting = [decode_envelope(request.operation) for request in pending]
        lie = self.plan(self, waiting) if self.plan is not None else None
        if lie == SILENCE:
            return None
        return lie if lie is not None else super().propose(sequence, pending)

    def accepts(self, sequence: int, payload: bytes, carried: bool) -> None:  # noqa: ARG002 - the protocol's signature
        """No question is asked about circumstances."""
        super().accepts(sequence, payload, carried=True)

    def _check_product(self, block: Block) -> None:
        """Nor about the product."""

    def _check_contributors(self, candidate: Candidate) -> None:
        """Nor about who is left out."""


def collude(run: Run, plan: Plan) -> None:
    """Rewrite every edge server of ``run``; whoever is the primary proposes by ``plan``."""
    for edge in run.edges:
        ledger = edge.ledger
        sources = dict(ledger.genesis.contracts)
        sources["mining"] = MINING
        sources["learning"] = "\n".join(
            line for line in sources["learning"].splitlines()
            if not line.strip().startswith(LEARNING_CHECKS))
        contracts = {name: compile_contract(text, name, gas_version=ledger.genesis.gas_table)
                     for name, text in sources.items()}
        ledger.machine = replace(ledger.machine, contracts=contracts)
        edge.application.__class__ = Colluder
        assert isinstance(edge.application, Colluder)
        edge.application.plan = plan


def false_block(
    run: Run, liar: LedgerApplication, kind: str, updates: Sequence[Envelope],
    transactions: Sequence[Envelope], contributors: Sequence[Envelope],
) -> bytes:
    """A block whose Tx_co sums ``updates`` and names ``contributors``; it executes as it says."""
    ledger = liar.ledger
    first = update_of(updates[0])
    records = [UpdateRecord.of(update_of(e)) for e in updates]
    terms = ledger.call("learning", "sealing_terms")
    root, chunks, size = liar.host.product(terms, first.epoch, first.phase, records)
    blob = liar.host.produced.pop(root)
    for edge in run.edges:
        edge.ledger.put_blob(blob)
    payload = AggregateTransaction(
        first.epoch, first.phase, root, chunks, size, tuple(e.address for e in contributors),
        sum(update_of(e).sample_count for e in contributors))
    nonce = ledger.next_nonce(liar.identity.address)
    aggregate = sign_transaction(liar.identity, ledger.chain, nonce, ledger.genesis.gas_limit,
                                 payload)
    return encode_block(ledger.propose(
        kind=kind, epoch=first.epoch, time=max(liar.now_ms, ledger.head.time + 1),
        proposer=liar.identity.address, transactions=transactions, aggregate=aggregate).block)


def updates_in(envelopes: Sequence[Envelope]) -> list[Envelope]:
    """The updates among ``envelopes``, by address."""
    return sorted((e for e in envelopes if isinstance(e.payload, UpdateTransaction)),
                  key=lambda e: e.address)


def update_of(envelope: Envelope) -> UpdateTransaction:
    """The payload of an update's transaction."""
    assert isinstance(envelope.payload, UpdateTransaction)
    return envelope.payload
