"""What a block does to the state: a pure function of (parent state, block).

Every edge server runs this on a proposed block before it says PREPARE, and `bdn verify` runs it
again years later, so nothing here looks at a clock, a file or a random number. A transaction that
breaks the envelope's rules (chain, signature, nonce, gas limit) makes the whole block invalid: its
proposer should have left it out. A transaction whose contract call fails stays in the block with a
failed receipt, and leaves no trace in the state but the sender's nonce. A Tx_co that fails makes
the block invalid too, or a lying primary could spend an epoch's candidate block on nothing.

The first part says what makes a header the successor of another, and a body fit for its header.
Full nodes, `bdn verify` and light nodes share these rules, so that none of them accepts what
another refuses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bdn.chain.blocks import (
    AUXILIARY,
    CANDIDATE,
    GENESIS,
    LEDGER,
    NO_PARENT,
    Block,
    Event,
    Genesis,
    Header,
    Receipt,
    chain_id,
    compute_receipts_root,
    compute_transactions_root,
    decode_genesis,
    encode_genesis,
    header_digest,
    is_aggregate,
    source_digest,
)
from bdn.chain.contracts import Contract, HostFunction, compile_contract
from bdn.chain.contracts.receipt import Reason, bounded
from bdn.chain.contracts.values import check_value, to_plain
from bdn.chain.errors import BlockError, TransactionError
from bdn.chain.state import LedgerState, Overlay
from bdn.chain.transactions import (
    DIGEST_BYTES,
    GENESIS_ONLY,
    INITIALIZE,
    MAX_TRANSACTIONS,
    Call,
    DeployContract,
    Envelope,
    call_of,
    transaction_digest,
    verify_envelope,
)
from bdn.errors import UsageError, shown


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
    if header.kind != GENESIS and len(block.envelopes) > MAX_TRANSACTIONS:
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


UNKNOWN_ROOT = bytes(DIGEST_BYTES)
CANDIDATE_KEY = b"candidate"


# --- what runs a contract -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Context:
    """What a contract may know of the block around it, and a host function too.

    Attributes:
        sender: the 20-byte address of the transaction's sender.
        chain, parent: 32 bytes each.
        epoch, height: of the block.
        time: the block's, in milliseconds.
        proposer: the 20-byte address of the block's proposer.
    """

    sender: bytes
    chain: bytes
    epoch: int
    height: int
    time: int
    proposer: bytes
    parent: bytes


HostFactory = Callable[[Context], Mapping[str, HostFunction]]
"""Gives the host functions (such as vector operations) that contracts may call, by name."""


def no_host(_: Context) -> Mapping[str, HostFunction]:
    """A host factory without functions of its own."""
    return {}


@dataclass(frozen=True, slots=True)
class Machine:
    """All that execution needs besides state and block.

    Attributes:
        genesis: the agreed beginning.
        chain: its 32-byte id.
        contracts: compiled, by name.
        host: binds the host functions to a transaction's context.
    """

    genesis: Genesis
    chain: bytes
    contracts: Mapping[str, Contract]
    host: HostFactory

    @classmethod
    def build(cls, genesis: Genesis, host: HostFactory = no_host) -> "Machine":
        """Compile the contracts of ``genesis``; raises `ContractError` for a bad source."""
        genesis = decode_genesis(encode_genesis(genesis))  # as everybody else will read it
        contracts = {name: compile_contract(source, name, gas_version=genesis.gas_table)
                     for name, source in genesis.contracts}
        return cls(genesis, chain_id(genesis), contracts, host)


# --- results ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Execution:
    """What a list of transactions came to.

    Attributes:
        state: after them.
        receipts: one each.
        writes: the slots that changed, in order, with their new values.
    """

    state: LedgerState
    receipts: tuple[Receipt, ...]
    writes: dict[tuple[str, bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block with everything that storing it needs. Nothing is stored yet."""

    block: Block
    receipts: tuple[Receipt, ...]
    state: LedgerState
    writes: dict[tuple[str, bytes], bytes | None]


# --- accessors ----------------------------------------------------------------------------------


def next_nonce(state: LedgerState | Overlay, address: bytes) -> int:
    """The nonce that the next transaction of ``address`` must have."""
    stored = state.get(LEDGER, _nonce_key(address))
    return 0 if stored is None else int.from_bytes(stored, "big")


def last_candidate_epoch(state: LedgerState | Overlay) -> int:
    """The epoch of the latest candidate block, 0 when there is none."""
    stored = state.get(LEDGER, CANDIDATE_KEY)
    return 0 if stored is None else int.from_bytes(stored, "big")


def verify_place(
    state: LedgerState | Overlay, envelope: Envelope, gas_limit: int, earlier: int = 0
) -> None:
    """Raise `TransactionError` unless nonce and gas limit allow the transaction here.

    ``earlier`` counts transactions of this sender that stand before it and are not in ``state``.
    """
    expected = next_nonce(state, envelope.address) + earlier
    if envelope.nonce < expected:
        raise TransactionError(f"nonce {envelope.nonce} was used already; the next is {expected}")
    if envelope.nonce > expected:
        raise TransactionError(f"nonce {envelope.nonce} leaves a gap; the next is {expected}")
    if envelope.gas_limit > gas_limit:
        raise TransactionError(f"gas limit {envelope.gas_limit} is over the chain's {gas_limit}")


def _nonce_key(address: bytes) -> bytes:
    return b"nonce/" + address


# --- transitions --------------------------------------------------------------------------------


def execute(
    machine: Machine, state: LedgerState, header: Header, envelopes: Sequence[Envelope]
) -> Execution:
    """Run ``envelopes`` in order on ``state``. Signatures are the caller's to check.

    Of ``header`` only the fields that are known before execution matter, not its roots. Raises
    `BlockError` for a transaction that no block may hold here.
    """
    overlay = Overlay(state)
    if header.kind == CANDIDATE:
        if header.epoch <= last_candidate_epoch(state):
            raise BlockError(f"epoch {header.epoch} has its candidate block already")
        overlay.put(LEDGER, CANDIDATE_KEY, header.epoch.to_bytes(8, "big"))
    receipts = []
    for position, envelope in enumerate(envelopes):
        try:
            receipts.append(apply_transaction(machine, overlay, header, envelope))
        except TransactionError as error:
            raise BlockError(f"transaction {position}: {error}") from error
    writes = overlay.writes()
    return Execution(state.apply(writes), tuple(receipts), writes)


def apply_transaction(
    machine: Machine, overlay: Overlay, header: Header, envelope: Envelope
) -> Receipt:
    """Run one transaction on ``overlay``; its effects stand only if its receipt is ok."""
    # accept?
    verify_place(overlay, envelope, machine.genesis.gas_limit)

    # record
    count = envelope.nonce + 1
    overlay.put(LEDGER, _nonce_key(envelope.address), count.to_bytes(8, "big"))

    # effect
    trial = Overlay(overlay)
    name = transaction_digest(envelope)
    if isinstance(envelope.payload, DeployContract):
        receipt = _deploy(machine, trial, header, envelope, envelope.payload, name)
    else:
        call = call_of(envelope.payload, envelope.sender)
        receipt = _run(machine, trial, header, envelope, call, name)
    if receipt.ok:
        trial.merge()
    return receipt


def _deploy(
    machine: Machine, overlay: Overlay, header: Header, envelope: Envelope,
    payload: DeployContract, name: bytes,
) -> Receipt:
    """Record the contract's source and let its `initialize` set up balances and settings."""
    genesis = machine.genesis
    sources = dict(genesis.contracts)
    if payload.name not in sources or source_digest(sources[payload.name]) != payload.source:
        raise TransactionError(f"the genesis record has no such contract {shown(payload.name)}")
    slot = b"contract/" + payload.name.encode()
    if overlay.get(LEDGER, slot) is not None:
        raise TransactionError(f"the contract {shown(payload.name)} is deployed already")
    overlay.put(LEDGER, slot, payload.source)
    if INITIALIZE not in machine.contracts[payload.name].module.functions:
        return Receipt(name, True, "ok", 0, None, (), None)
    setup = {
        "balances": [list(entry) for entry in genesis.balances],
        "edges": list(genesis.edge_addresses),
        "settings": genesis.settings,
    }
    call = Call(payload.name, INITIALIZE, (setup,))
    return _run(machine, overlay, header, envelope, call, name)


def _run(
    machine: Machine, overlay: Overlay, header: Header, envelope: Envelope, call: Call, name: bytes
) -> Receipt:
    """Call a contract; every outcome is a receipt."""
    contract = machine.contracts.get(call.contract)
    if contract is None:
        return _refused(name, Reason("no-contract", (bounded(call.contract),)))
    for number, argument in enumerate(call.arguments, 1):
        try:
            check_value(argument)
        except UsageError:
            return _refused(name, Reason("no-value", (str(number),)))
    context = Context(envelope.address, machine.chain, header.epoch, header.height, header.time,
                      header.proposer, header.parent)
    outcome = contract.call(
        call.function, list(call.arguments), gas=envelope.gas_limit, sender=envelope.address,
        state=overlay, context=_fields(context), host=machine.host(context),
        contracts=machine.contracts,
    )
    events = tuple(
        Event(event.contract, event.name, {key: to_plain(event.fields[key])
                                           for key in event.fields})
        for event in outcome.events
    )
    return Receipt(name, outcome.ok, outcome.status, outcome.gas_used, to_plain(outcome.result),
                   events, outcome.reason)


def _refused(name: bytes, reason: Reason) -> Receipt:
    return Receipt(name, False, "refused", 0, None, (), reason)


def _fields(context: Context) -> dict[str, Any]:
    """The context as contracts see it; a chain's id is text there."""
    return {**asdict(context), "chain": context.chain.hex()}


# --- blocks -------------------------------------------------------------------------------------


def make_block(
    machine: Machine, parent: Header, state: LedgerState, *, kind: str, epoch: int, time: int,
    proposer: bytes, transactions: Sequence[Envelope], aggregate: Envelope | None = None,
) -> Candidate:
    """Execute on trial and fill in the roots: what a proposer offers to the others.

    Raises `BlockError` if the result would not be a valid successor of ``parent``.
    """
    draft = Header(
        chain=machine.chain, height=parent.height + 1, epoch=epoch, kind=kind,
        parent=header_digest(parent), transactions_root=UNKNOWN_ROOT, state_root=UNKNOWN_ROOT,
        receipts_root=UNKNOWN_ROOT, generation_rate=machine.genesis.generation_rate,
        proposer=proposer, time=time,
    )
    verify_successor(draft, parent, machine.genesis)
    return _finish(machine, state, Block(draft, tuple(transactions), aggregate))


def make_genesis_block(
    machine: Machine, deployments: Sequence[Envelope], ownership: Sequence[Envelope]
) -> Candidate:
    """Block 0: the contracts' deployment, then the devices' ownership statements.

    Raises `BlockError` if any of them fails.
    """
    genesis = machine.genesis
    draft = Header(
        chain=machine.chain, height=0, epoch=0, kind=GENESIS, parent=NO_PARENT,
        transactions_root=UNKNOWN_ROOT, state_root=UNKNOWN_ROOT, receipts_root=UNKNOWN_ROOT,
        generation_rate=genesis.generation_rate, proposer=genesis.edge_addresses[0],
        time=genesis.time,
    )
    return _finish(machine, LedgerState(), Block(draft, (*deployments, *ownership)))


def _finish(machine: Machine, state: LedgerState, draft: Block) -> Candidate:
    """``draft`` with its roots, once it has passed the rules of its kind."""
    transactions_root = compute_transactions_root(draft.envelopes)
    header = replace(draft.header, transactions_root=transactions_root)
    verify_body(replace(draft, header=header))
    verify_signatures(draft.envelopes, machine.chain)
    execution = execute(machine, state, header, draft.envelopes)
    verify_outcome(draft, execution.receipts)
    header = replace(header, state_root=execution.state.root,
                     receipts_root=compute_receipts_root(execution.receipts))
    block = replace(draft, header=header)
    return Candidate(block, execution.receipts, execution.state, execution.writes)


def check_block(machine: Machine, parent: Header, state: LedgerState, block: Block) -> Candidate:
    """Re-execute ``block`` on its parent's state and compare everything that its header says.

    This is what a backup does before PREPARE. Raises `BlockError`; stores nothing.
    """
    verify_successor(block.header, parent, machine.genesis)
    verify_body(block)
    verify_signatures(block.envelopes, machine.chain)
    return _replay(machine, state, block)


def _replay(machine: Machine, state: LedgerState, block: Block) -> Candidate:
    execution = execute(machine, state, block.header, block.envelopes)
    verify_outcome(block, execution.receipts)
    if compute_receipts_root(execution.receipts) != block.header.receipts_root:
        raise BlockError("executing the block gives other receipts than the header says")
    if execution.state.root != block.header.state_root:
        raise BlockError("executing the block gives another state than the header says")
    return Candidate(block, execution.receipts, execution.state, execution.writes)


def verify_outcome(block: Block, receipts: Sequence[Receipt]) -> None:
    """Raise `BlockError` unless Tx_co succeeded, and in the genesis block everything."""
    must_succeed = range(len(receipts)) if block.header.kind == GENESIS else (
        () if block.aggregate is None else (len(receipts) - 1,))
    for position in must_succeed:
        if not receipts[position].ok:
            what = "Tx_co" if block.header.kind != GENESIS else f"transaction {position}"
            raise BlockError(f"{what} failed: {receipts[position].error}")
