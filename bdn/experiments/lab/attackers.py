"""The lab's attackers. All of them act through what every node can do: take events, send, work.

An `Adversary` is a real node whose owner sees its events and changes its effects; an `Outsider`
only knows the protocol; a `Tap` listens to the network. A `Colluder` is an edge server whose owner
has rewritten it. Consensus bears f liars; with all edge servers rewritten, their blocks are validly
sealed, and no device can tell from a seal that nobody checked them.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gmpy2 import mpz

from bdn.chain import (
    AggregateTransaction,
    Block,
    Candidate,
    Envelope,
    UpdateTransaction,
    decode_envelope,
    device_bits,
    encode_block,
    encode_envelope,
    sign_transaction,
)
from bdn.chain.contracts import compile_contract
from bdn.encoding import encode_record
from bdn.errors import BdnError
from bdn.experiments.run import Run
from bdn.experiments.setup import EdgeClasses
from bdn.identity import Identity
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.events import Effect, Event, Node, Received, Send, Started
from bdn.nodes.messages import Refusal, Submit, decode_message, encode_message
from bdn.nodes.requests import decode_request, sign_request
from bdn.nodes.vector_host import UpdateRecord
from bdn.paillier.batch import prove_plaintexts
from bdn.paillier.norm_proof.protocol import SQUARES, prove_integers
from bdn.paillier.vector.cipher import SealingProof, VectorCipher
from bdn.randomness import Randomness


class Adversary:
    """A real node in an attacker's hands: its events can be hidden, its effects changed."""

    def __init__(
        self, node: Node,
        change: Callable[[Effect], Sequence[Effect]] = lambda effect: [effect],
        hides: Callable[[Event], bool] = lambda _event: False,
    ) -> None:
        self.name = node.name
        self._node, self._change, self._hides = node, change, hides

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """As the node would, where the attacker lets it."""
        if self._hides(event):
            return []
        return [changed for effect in self._node.step(event, now_ms)
                for changed in self._change(effect)]


def forging(cipher: VectorCipher) -> VectorCipher:
    """A copy of ``cipher`` that attaches a norm proof to anything, as far as one can be made.

    It commits to the projections that it has, cut to the lengths that a proof may show, and has no
    squares to fill them up.
    """
    def prove(
        ciphertexts: Sequence[mpz], plaintexts: Sequence[int], nonces: Sequence[int],
        bound_to: bytes, stream: Randomness, statement: Any, hidden: Any,
    ) -> bytes:
        known = prove_plaintexts(
            cipher.public_key, ciphertexts, plaintexts, nonces, bound_to, stream)
        if statement is None:
            return encode_record(SealingProof(known, None))
        blocks = [
            [mpz(value) >> max(0, value.bit_length() - block.bits) for value in values]
            + [mpz(0)] * SQUARES
            for block, values in zip(statement.blocks, statement.witness(hidden, nonces).blocks,
                                     strict=True)
        ]
        forged = prove_integers(statement, blocks, nonces, stream)
        return encode_record(SealingProof(known, forged))

    forger = copy.copy(cipher)
    forger._prove = prove  # type: ignore[method-assign]  # noqa: SLF001 - a client of its own
    return forger


@dataclass(slots=True)
class Outsider:
    """A stranger on the network: it sends what it has prepared and hears the answers."""

    sends: list[Send]
    name: str = "mallory"
    refusals: list[str] = field(default_factory=list)

    def step(self, event: Event, now_ms: int) -> list[Effect]:  # noqa: ARG002 - Node's signature
        """Send everything at the start; keep the reasons of refusals."""
        if isinstance(event, Started):
            return list(self.sends)
        if isinstance(event, Received):
            message = decode_message(event.data)
            if isinstance(message, Refusal):
                self.refusals.append(message.reason)
        return []


class Tap:
    """A network on which somebody listens: every message arrives after a millisecond."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def __call__(self, source: str, target: str, data: bytes, now_ms: int) -> int:  # noqa: ARG002 - Network's signature
        """Keep a copy."""
        self.messages.append(data)
        return 1


def submitted(effect: Effect) -> tuple[Submit, Envelope] | None:
    """The update that a device sends with ``effect``, if it does."""
    if not isinstance(effect, Send):
        return None
    try:
        message = decode_message(effect.data)
        if not isinstance(message, Submit):
            return None
        envelope = decode_envelope(decode_request(message.request).operation)
    except BdnError:
        return None
    return (message, envelope) if isinstance(envelope.payload, UpdateTransaction) else None


def submission(
    run: Run, identity: Identity, nonce: int, payload: Any, blobs: Sequence[bytes] = ()
) -> bytes:
    """A message to an edge server: ``payload`` as a transaction of ``identity``."""
    chain = run.material.block.header.chain
    envelope = sign_transaction(identity, chain, nonce, run.material.genesis.gas_limit, payload)
    return wrapped(run, identity, envelope, blobs)


def wrapped(run: Run, identity: Identity, envelope: Envelope, blobs: Sequence[bytes]) -> bytes:
    """A message to an edge server: ``envelope``, signed by whomever, requested by ``identity``."""
    chain = run.material.block.header.chain
    request = sign_request(chain, identity, envelope.nonce, encode_envelope(envelope))
    return encode_message(Submit(request, tuple(blobs)))


# --- edge servers that collude -------------------------------------------------------------------

MINING = '''"""The mining contract of edge servers that check nothing."""

learning: contract


@public
def aggregate(epoch: int, phase: str, root: bytes, chunks: int, size: int, contributors: bytes, total: int):
    learning.record_aggregate(epoch, phase, root, chunks, size, contributors, total)
'''  # noqa: E501 - a signature of the contract language stands on one line

LEARNING_CHECKS = ("require(_is_open(epoch, phase)",)
"""Lines of the learning contract that begin so are left out."""

Plan = Callable[["Colluder", Sequence[Envelope]], bytes | None]
"""What the primary proposes while these transactions wait; None: an honest block."""


SILENCE = b""
"""A plan's answer: propose nothing, and wait."""


class Colluder(LedgerApplication):
    """An edge server's ledger that its owner has rewritten: it votes for anything.

    It behaves until it is given a ``plan``.
    """

    plan: Plan | None = None

    def propose(self, sequence: int, pending: Any) -> bytes | None:
        """The lie when its time has come, else an honest block."""
        waiting = [decode_envelope(request.operation) for request in pending]
        lie = self.plan(self, waiting) if self.plan is not None else None
        if lie == SILENCE:
            return None
        return lie if lie is not None else super().propose(sequence, pending)

    def accepts(self, sequence: int, payload: bytes, carried: bool) -> None:
        """No question is asked about circumstances."""
        super().accepts(sequence, payload, carried or self.plan is not None)

    def _check_product(self, block: Block) -> None:
        """Nor about the product."""
        if self.plan is None:
            super()._check_product(block)

    def _check_contributors(self, candidate: Candidate) -> None:
        """Nor about who is left out."""
        if self.plan is None:
            super()._check_contributors(candidate)


COLLUDERS = EdgeClasses(application=Colluder)


def collude(run: Run, plan: Plan) -> None:
    """Let every edge server of ``run``, one of `COLLUDERS`, drop its checks and follow ``plan``."""
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
        first.epoch, first.phase, root, chunks, size,
        device_bits(liar.device_numbers[e.address] for e in contributors),
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
