"""`bdn verify`: a stored ledger is recomputed from genesis, byte for byte.

The blocks stream past one at a time. For each, the link to its parent, the seal, every signature,
every blob, both Merkle roots, every receipt and every state row are computed anew and compared
with what is stored; nothing stored is believed. Memory holds one block, one blob at a time and a
bounded part of the state; the rest of the state and the roots that were seen lie in temporary
files. So the length of the chain does not matter.

A failure names its place. When header and seal contradict each other, the seal's own signatures
tell which of the two is damaged.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

from bdn.chain import merkle
from bdn.chain.blocks import (
    Block,
    Header,
    Receipt,
    chain_id,
    compute_receipts_root,
    decode_header,
    encode_receipt,
    header_digest,
    is_aggregate,
)
from bdn.chain.errors import (
    BlockError,
    LedgerError,
    MerkleError,
    MissingError,
    TransactionError,
    WorkError,
)
from bdn.chain.execution import (
    Execution,
    HostFactory,
    Machine,
    execute,
    no_host,
    verify_body,
    verify_genesis_header,
    verify_outcome,
    verify_successor,
)
from bdn.chain.merkle import verify_blob
from bdn.chain.seals import BlockSeal, ProofOfWork, decode_seal, verify_block_seal, work_of
from bdn.chain.state import LedgerState, NodeFile
from bdn.chain.store import Store, StoredBlock, decoded
from bdn.chain.transactions import BlobPayload, Envelope, decode_envelope, verify_envelope
from bdn.errors import BdnError, shown
from bdn.seal import SealError, verify_seal

KEPT_ENTRIES = 20_000
"""State entries in memory while verifying: some tens of megabytes."""


def verify_ledger(
    store: Store, host: HostFactory = no_host, *, trusted: bytes | None = None,
    progress: Callable[[Header], None] | None = None, kept: int = KEPT_ENTRIES,
) -> None:
    """Recompute everything in ``store`` from its genesis record on.

    Args:
        store: opened, read-only is enough.
        host: binds the host functions, as in the run that made the ledger.
        trusted: the genesis header's digest, if the caller knows it from elsewhere.
        progress: told each header once its block has passed.
        kept: state entries that may be in memory; with more, the state moves to a temporary file.

    All of it is read in one transaction, so that a ledger to which another process adds blocks is
    verified up to the head that it had at the start. Raises `LedgerError` with the place of the
    first fault.
    """
    with store.snapshot():
        store.verify_schema()
        _verify(store, host, trusted, progress, kept)


def _verify(
    store: Store, host: HostFactory, trusted: bytes | None,
    progress: Callable[[Header], None] | None, kept: int,
) -> None:
    genesis = store.genesis()
    first = decoded(decode_header, _raw(store, 0).header, "block 0, header")
    _verify_record(store, first, chain_id(genesis), trusted)
    try:
        machine = Machine.build(genesis, host)
    except BdnError as error:
        raise LedgerError("genesis record, contracts", shown(str(error), 300)) from error
    walk = _Walk(store, machine, kept)
    with closing(walk.seen), closing(walk.nodes):
        for height in range(store.height() + 1):
            header = walk.block(height)
            if progress is not None:
                progress(header)
        walk.finish()


def _verify_record(store: Store, first: Header, chain: bytes, trusted: bytes | None) -> None:
    """The genesis record is the one that block 0 names, and block 0 the trusted one."""
    if trusted is not None and header_digest(first) != trusted:
        raise LedgerError("block 0, header", "not the genesis header that is trusted")
    if first.chain == chain:
        return
    later = None
    if store.height() >= 1:
        later = decoded(decode_header, _raw(store, 1).header, "block 1, header").parent
    if trusted is not None or later == header_digest(first):
        raise LedgerError("genesis record", "its digest is not the chain id in block 0")
    raise LedgerError("block 0, header", "its chain id is not the digest of the genesis record")


def _raw(store: Store, height: int) -> StoredBlock:
    try:
        return store.raw(height)
    except MissingError as error:
        raise LedgerError(f"block {height}", "missing in the store") from error


class _Walk:
    """The verifier's position in the chain: the last good header, its seal, the state after it."""

    def __init__(self, store: Store, machine: Machine, kept: int) -> None:
        self.store = store
        self.machine = machine
        self.parent: Header | None = None
        self.parent_seal: BlockSeal | None = None
        self.grandparent: Header | None = None
        self.state = LedgerState()
        self.kept = kept
        self.nodes = NodeFile(2 * kept)
        self.rows = 0
        self.slots = 0
        self.seen = sqlite3.connect("")  # a temporary file of SQLite's own
        self.seen.execute("CREATE TABLE seen (root BLOB PRIMARY KEY) WITHOUT ROWID")

    def block(self, height: int) -> Header:
        """Verify block ``height`` and step onto it."""
        place = f"block {height}"
        raw = _raw(self.store, height)
        header = decoded(decode_header, raw.header, f"{place}, header")
        seal = self._seal(raw, header, place)
        self._link(header, place)
        envelopes = self._envelopes(raw, header, place)
        self._blobs(envelopes, place)
        execution = self._execute(header, envelopes, place)
        _verify_receipts(raw, header, execution.receipts, place)
        self._verify_state(header, execution, place)
        self.grandparent, self.parent, self.parent_seal = self.parent, header, seal
        self.state = execution.state
        if self.slots > self.kept:  # at least as many as there are live entries
            self.state = self.nodes.spill(self.state)
        return header

    def _seal(self, raw: StoredBlock, header: Header, place: str) -> BlockSeal | None:
        if self.parent is None:
            if raw.seal is not None:
                raise LedgerError(f"{place}, seal", "a genesis block has none")
            return None
        seal: BlockSeal = decoded(decode_seal, raw.seal, f"{place}, seal")
        try:
            verify_block_seal(seal, header, self.parent, self.parent_seal, self.grandparent,
                              self.machine.genesis)
        except (SealError, WorkError, BlockError) as error:
            if seal.digest != header_digest(header) and self._is_whole(seal):
                field = self._damaged_field(header, raw)
                reason = "not the header whose digest its seal holds"
                raise LedgerError(f"{place}, header{field}", reason) from error
            raise LedgerError(f"{place}, seal", str(error)) from error
        return seal

    def _is_whole(self, seal: BlockSeal) -> bool:
        """Whether the seal itself verifies, for whatever header it was made."""
        if isinstance(seal, ProofOfWork):
            return work_of(seal.digest, seal.difficulty, seal.nonce) == seal.work
        try:
            verify_seal(seal, self.machine.chain, self.machine.genesis.edges)
        except SealError:
            return False
        return True

    def _damaged_field(self, header: Header, raw: StoredBlock) -> str:
        """The header's field that contradicts its neighbours, as ", name", if one does."""
        assert self.parent is not None, "a genesis block has no seal to contradict"
        genesis, parent = self.machine.genesis, self.parent
        if header.parent != header_digest(parent):
            return ", parent"
        for name, value in (("chain", parent.chain), ("height", parent.height + 1),
                            ("generation_rate", genesis.generation_rate)):
            if getattr(header, name) != value:
                return f", {name}"
        if header.proposer not in genesis.edge_addresses:
            return ", proposer"
        columns = list(zip(*raw.transactions, strict=True)) or [(), ()]
        for name, column in zip(("transactions_root", "receipts_root"), columns, strict=True):
            whole = all(type(item) is bytes for item in column)
            if not whole or getattr(header, name) != merkle.root(column):
                return f", {name}"
        return ""

    def _link(self, header: Header, place: str) -> None:
        try:
            if self.parent is None:
                verify_genesis_header(header, self.machine.genesis)
            else:
                verify_successor(header, self.parent, self.machine.genesis)
        except BlockError as error:
            raise LedgerError(f"{place}, header", str(error)) from error

    def _envelopes(self, raw: StoredBlock, header: Header, place: str) -> tuple[Envelope, ...]:
        envelopes = []
        for position, (data, _) in enumerate(raw.transactions):
            where = f"{place}, transaction {position}"
            if raw.positions[position] != position:
                raise LedgerError(where, "missing in the store")
            envelope: Envelope = decoded(decode_envelope, data, where)
            try:
                verify_envelope(envelope, self.machine.chain)
            except TransactionError as error:
                field = "chain" if envelope.chain != self.machine.chain else "signature"
                raise LedgerError(f"{where}, {field}", str(error)) from error
            envelopes.append(envelope)
        if merkle.root([data for data, _ in raw.transactions]) != header.transactions_root:
            field = "transactions" if self.parent else "header, transactions_root"
            raise LedgerError(f"{place}, {field}", "header and transactions contradict each other")
        self.rows += len(envelopes)
        return tuple(envelopes)

    def _blobs(self, envelopes: Sequence[Envelope], place: str) -> None:
        for position, envelope in enumerate(envelopes):
            payload = envelope.payload
            if not isinstance(payload, BlobPayload):
                continue
            where = f"{place}, transaction {position}, blob {payload.root.hex()}"
            try:
                data = self.store.blob_bytes(payload.root)
                verify_blob(data, payload.root, payload.chunks, payload.size)
            except (MissingError, MerkleError) as error:
                raise LedgerError(where, str(error)) from error
            except LedgerError as error:
                raise LedgerError(where, error.reason) from error
            if self.store.blob_shape(payload.root) != (payload.chunks, payload.size):
                raise LedgerError(where, "its row says another number of leaves or bytes")
            self.seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (payload.root,))

    def _execute(
        self, header: Header, envelopes: tuple[Envelope, ...], place: str
    ) -> Execution:
        block = Block(header, envelopes)
        if envelopes and is_aggregate(envelopes[-1]):
            block = Block(header, envelopes[:-1], envelopes[-1])
        try:
            verify_body(block)
            execution = execute(self.machine, self.state, header, envelopes)
            verify_outcome(block, execution.receipts)
        except BlockError as error:
            raise LedgerError(place, str(error)) from error
        return execution

    def _verify_state(self, header: Header, execution: Execution, place: str) -> None:
        stored = self.store.writes(header.height)
        computed = sorted((contract.encode(), key, value)
                          for (contract, key), value in execution.writes.items())
        for found, expected in zip(stored, computed, strict=False):
            if found != expected:
                raise LedgerError(f"{place}, state of {_slot(expected)}",
                                  "not what executing the block writes")
        if len(stored) != len(computed):
            slot = _slot(stored[-1] if len(stored) > len(computed) else computed[-1])
            raise LedgerError(f"{place}, state of {slot}",
                              f"{len(stored)} entries; executing the block writes {len(computed)}")
        if execution.state.root != header.state_root:
            raise LedgerError(f"{place}, header, state_root", "executing the block gives another")
        self.slots += len(stored)

    def finish(self) -> None:
        """Nothing may be stored beyond what the blocks account for; every blob is its root's."""
        expected = {"blocks": self.store.height() + 1, "transactions": self.rows,
                    "state": self.slots}
        counts = self.store.counts()
        for table, count in expected.items():
            if counts[table] != count:
                raise LedgerError(f"table {table}", f"{counts[table]} rows; the blocks account "
                                                    f"for {count}")
        for root in self.store.blob_roots():
            query = "SELECT 1 FROM seen WHERE root = ?"
            if self.seen.execute(query, (root,)).fetchone() is None:
                self.store.blob(root)
        self.store.verify_file()


# --- comparisons --------------------------------------------------------------------------------


def _verify_receipts(
    raw: StoredBlock, header: Header, receipts: Sequence[Receipt], place: str
) -> None:
    """The stored receipts are the computed ones, and the header commits to them."""
    for position, ((_, stored), receipt) in enumerate(zip(raw.transactions, receipts, strict=True)):
        computed = encode_receipt(receipt)
        if stored != computed:
            where = f"{place}, receipt {position}, byte {_first_difference(stored, computed)}"
            raise LedgerError(where, "not the receipt that executing the transaction gives")
    if compute_receipts_root(receipts) != header.receipts_root:
        raise LedgerError(f"{place}, header, receipts_root", "executing the block gives another")


def _first_difference(stored: object, computed: bytes) -> int:
    if type(stored) is not bytes:
        return 0
    for i, (a, b) in enumerate(zip(stored, computed, strict=False)):
        if a != b:
            return i
    return min(len(stored), len(computed))


def _slot(row: tuple[bytes, bytes, bytes | None]) -> str:
    return f"({row[0].decode(errors='replace')}, {row[1].hex()})"
