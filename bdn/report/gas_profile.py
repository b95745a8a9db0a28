"""Gas by source line: the ledger's blocks once more, in the interpreter that counts lines.

Contract calls are repeated by `bdn.chain.execution`, the very code that edge servers run, with
contracts that add up gas by line. The two heavy host functions are charged by their formula and
then *believed*: this is a profile of an agreed ledger, not its verification (`bdn verify` is). A
replay that charges other gas than the receipts say is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bdn.chain import AggregateTransaction, Block, Store, chain_id
from bdn.chain.contracts import CallReceipt, Contract
from bdn.chain.errors import LedgerError
from bdn.chain.execution import Machine, execute
from bdn.chain.state import LedgerState
from bdn.nodes.ciphers import Ciphers, key_in
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import VectorHost

GasByLine = dict[tuple[str, int], int]
"""Gas by (contract, source line)."""


class ProfiledContract(Contract):
    """A contract whose every call adds its gas to ``lines``."""

    def __init__(self, contract: Contract, lines: GasByLine) -> None:
        super().__init__(contract.module, contract.table)
        self.lines = lines

    def call(self, *args: Any, **options: Any) -> CallReceipt:
        """As `Contract.call`, with a profile."""
        return super().call(*args, **{**options, "profile": self.lines})


class BelievingHost(VectorHost):
    """Prices as the mining contract's host does, and takes results from the agreed Tx_co."""

    aggregate: AggregateTransaction | None = None

    def verify(self, *_: object) -> None:
        """Believe: a quorum verified the update's proof."""

    def product(self, *_: object) -> tuple[bytes, int, int]:
        """(root, chunks, size) as Tx_co states them."""
        if self.aggregate is None:
            raise LedgerError("a block without Tx_co", "it asks for a weighted product")
        return self.aggregate.root, self.aggregate.chunks, self.aggregate.size


def gas_by_line(store: Store) -> list[GasByLine]:
    """Gas by source line for each block of ``store``, from genesis on.

    Raises `LedgerError` where the replay and the stored receipts disagree.
    """
    genesis = store.genesis()
    settings = Settings.from_plain(genesis.settings)
    host = BelievingHost(Ciphers(chain_id(genesis), settings, key_in(store.blob)), store.blob)
    machine = Machine.build(genesis, host.functions)
    state, result = LedgerState(), []
    for height in range(store.height() + 1):
        lines: GasByLine = {}
        block = store.block(height)
        host.aggregate = _aggregate_of(block)
        contracts = {name: ProfiledContract(contract, lines)
                     for name, contract in machine.contracts.items()}
        outcome = execute(_with(machine, contracts), state, block.header, block.envelopes)
        _compare(height, outcome.receipts, store.receipts(height))
        state = outcome.state
        result.append(lines)
    return result


def _with(machine: Machine, contracts: Mapping[str, Contract]) -> Machine:
    return Machine(machine.genesis, machine.chain, contracts, machine.host)


def _aggregate_of(block: Block) -> AggregateTransaction | None:
    """The Tx_co of a block, wherever it stands."""
    for envelope in block.envelopes:
        if isinstance(envelope.payload, AggregateTransaction):
            return envelope.payload
    return None


def _compare(height: int, replayed: Sequence[Any], stored: Sequence[Any]) -> None:
    for position, (ours, theirs) in enumerate(zip(replayed, stored, strict=True)):
        if (ours.ok, ours.gas_used) != (theirs.ok, theirs.gas_used):
            raise LedgerError(f"block {height}, receipt {position}",
                              "the replay charges other gas")
