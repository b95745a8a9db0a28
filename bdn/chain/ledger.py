"""A full node's ledger: the store, the state at its head, and the machine that moves it on.

An edge server proposes (`propose`), checks what others propose (`check`) and, once consensus has
sealed a block, commits it (`commit`). Proposing and checking leave no trace, so any number of
proposals can be tried on one parent; only `commit` writes.

**Catching up.** A full node takes sealed blocks from another, and trusts none of them. One side
reads `blocks_after`, the other feeds `apply_sealed_block`; how the records and blobs travel is the
caller's business. Every block is executed and every seal and blob is checked, so that a helpful
node and a lying one differ only in how far one gets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdn.chain.blocks import (
    PROOF_OF_WORK,
    Block,
    Genesis,
    Header,
    decode_block,
    encode_block,
    source_digest,
)
from bdn.chain.errors import BlockError, LedgerError, StoreError, TransactionError
from bdn.chain.execution import (
    Candidate,
    HostFactory,
    Machine,
    check_block,
    make_block,
    make_genesis_block,
    next_nonce,
    no_host,
    verify_admissible,
    verify_place,
)
from bdn.chain.light import BlockProofs, InclusionProof
from bdn.chain.seals import (
    BlockSeal,
    decode_seal,
    encode_seal,
    expected_difficulty,
    first_difficulty,
    verify_block_seal,
)
from bdn.chain.state import LedgerState, Overlay, StateProof
from bdn.chain.store import MEMORY, Store
from bdn.chain.transactions import (
    MAX_TRANSACTIONS,
    BlobPayload,
    DeployContract,
    Envelope,
    sign_transaction,
    verify_envelope,
)
from bdn.encoding import decode_record, encode_record
from bdn.errors import BdnError, UsageError, shown
from bdn.identity import Identity

KEPT_CANDIDATES = 16
"""How many checked blocks are remembered, so that `commit` need not execute again."""


KEPT_PROOFS = 4
"""Blocks whose proof trees are kept: light nodes ask for the newest ones, all at once."""


class MissingBlobsError(BlockError):
    """A block names blobs that this node does not hold (yet): fetch ``roots``, then check again."""

    def __init__(self, roots: tuple[bytes, ...]) -> None:
        super().__init__(f"{len(roots)} blobs are missing, first {roots[0].hex()}")
        self.roots = roots


def build_genesis(
    genesis: Genesis, founder: Identity, ownership: Sequence[Envelope] = (),
    host: HostFactory = no_host,
) -> Candidate:
    """Block 0: ``founder`` (edge server 0) deploys the contracts, then the devices' statements.

    Raises `UsageError` if ``founder`` is not the first edge server, `BlockError` if a deployment
    or statement fails, or proof of work has no usable first difficulty.
    """
    if founder.public_key != genesis.edges[0]:
        raise UsageError("the genesis block is made by the first edge server")
    if genesis.consensus == PROOF_OF_WORK:
        first_difficulty(genesis)
    machine = Machine.build(genesis, host)
    deployments = [
        sign_transaction(founder, machine.chain, nonce, genesis.gas_limit,
                         DeployContract(name, source_digest(source)))
        for nonce, (name, source) in enumerate(genesis.contracts)
    ]
    return make_genesis_block(machine, deployments, ownership)


class Ledger:
    """One full node's view of the chain.

    Attributes:
        machine: contracts and genesis, compiled.
        store: where everything lies.
        head: the last block's header.
        state: after the last block.
    """

    def __init__(self, machine: Machine, store: Store, head: Header, state: LedgerState) -> None:
        self.machine = machine
        self.store = store
        self.head = head
        self.state = state
        self._checked: dict[bytes, Candidate] = {}
        self._proofs: dict[int, BlockProofs] = {}

    # --- opening --------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: Path | str, genesis: Genesis, block: Block, host: HostFactory = no_host
    ) -> "Ledger":
        """A new ledger that begins with the genesis ``block``, executed and compared here.

        ``path`` is a new file or ``":memory:"``. Raises `BlockError` for a genesis block that is
        not what ``genesis`` gives, `StoreError` for a file that cannot be made.
        """
        machine = Machine.build(genesis, host)
        again = make_genesis_block(machine, block.transactions, ())
        if again.block != block:
            raise BlockError("executing the genesis block gives another one")
        if str(path) == MEMORY:
            store = Store.create(path, genesis)
            try:
                store.append(block, None, again.receipts, again.writes)
            except BdnError:
                store.close()
                raise
        else:
            store = _create_whole(Path(path), genesis, again)
        return cls(machine, store, block.header, again.state)

    @classmethod
    def open(
        cls, path: Path | str, host: HostFactory = no_host, read_only: bool = False
    ) -> "Ledger":
        """Open an existing ledger at its last sealed block.

        Rebuilds the state and compares its root with the header's; the history is `verify_ledger`'s
        to check. Raises `StoreError` or `LedgerError`.
        """
        store = Store.open(path, read_only)
        try:
            return cls.of(store, host)
        except Exception:
            store.close()
            raise

    @classmethod
    def of(cls, store: Store, host: HostFactory = no_host) -> "Ledger":
        """The ledger in an opened store."""
        height = store.height()
        if height < 0:
            raise LedgerError("block 0", "missing in the store")
        head, state = store.header(height), store.state()
        if state.root != head.state_root:
            raise LedgerError(f"state after block {height}", "has another root than the header")
        return cls(Machine.build(store.genesis(), host), store, head, state)

    def close(self) -> None:
        """Release the store."""
        self.store.close()

    # --- accessors ------------------------------------------------------------------------------

    @property
    def genesis(self) -> Genesis:
        """The agreed beginning."""
        return self.machine.genesis

    @property
    def chain(self) -> bytes:
        """The chain's 32-byte id."""
        return self.machine.chain

    @property
    def height(self) -> int:
        """Of the last block."""
        return self.head.height

    def next_nonce(self, address: bytes) -> int:
        """The nonce that the next transaction of ``address`` (20 bytes) must have."""
        return next_nonce(self.state, address)

    def call(self, contract: str, function: str, *arguments: Any) -> Any:
        """Ask a contract's view function; changes nothing.

        Raises `UsageError` if there is no such contract, or the contract refuses.
        """
        compiled = self.machine.contracts.get(contract)
        if compiled is None:
            raise UsageError(f"there is no contract {shown(contract)}")
        context = {"chain": self.chain.hex(), "epoch": self.head.epoch, "height": self.height,
                   "time": self.head.time, "proposer": self.head.proposer,
                   "parent": self.head.parent}
        outcome = compiled.call(
            function, list(arguments), gas=self.genesis.gas_limit, sender=b"",
            state=Overlay(self.state), context=context, host={},
            contracts=self.machine.contracts)
        if not outcome.ok:
            raise UsageError(f"{contract}.{function}: {outcome.error}")
        return outcome.result

    def proofs(self, height: int) -> BlockProofs:
        """Whatever proofs of block ``height`` light nodes ask for; the last blocks' are kept."""
        if height not in self._proofs:
            while len(self._proofs) >= KEPT_PROOFS:
                del self._proofs[next(iter(self._proofs))]
            self._proofs[height] = BlockProofs(
                self.store.block(height), self.store.receipts(height))
        return self._proofs[height]

    def proof(self, height: int, position: int) -> InclusionProof:
        """Transaction and receipt ``position`` of block ``height`` with their Merkle paths."""
        return self.proofs(height).proof(position)

    def state_proof(self, contract: str, key: bytes) -> StateProof:
        """What (contract, key) holds after the last block, with a proof."""
        return self.state.prove(contract, key)

    # --- blobs ----------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> bytes:
        """Store a blob; returns its root. Raises `MerkleError` if ``data`` is none."""
        return self.store.put_blob(data)

    def blob(self, root: bytes) -> bytes:
        """The blob of ``root``, checked; `MissingError` or `LedgerError`."""
        return self.store.blob(root)

    def missing_blobs(self, block: Block) -> tuple[bytes, ...]:
        """Roots of the blobs that ``block`` names and this node does not hold."""
        named = (e.payload.root for e in block.envelopes if isinstance(e.payload, BlobPayload))
        return tuple(root for root in dict.fromkeys(named) if self.store.blob_size(root) is None)

    # --- transitions ----------------------------------------------------------------------------

    def select(
        self, envelopes: Sequence[Envelope], room: int | None = None
    ) -> tuple[tuple[Envelope, ...], list[tuple[Envelope, str]]]:
        """Which of ``envelopes``, in this order, the next block may hold; the others with reasons.

        Looks at chain, signature, payload, gas limit and nonce, and executes nothing. Those that
        come after ``room`` good ones (as many as a block holds, where it is None) are in neither
        list: they can go into a later block.
        """
        room = MAX_TRANSACTIONS if room is None else room
        accepted: list[Envelope] = []
        refused = []
        offsets: dict[bytes, int] = {}
        for envelope in envelopes:
            if len(accepted) == room:
                break
            try:
                verify_envelope(envelope, self.chain)
                verify_admissible(envelope)
                earlier = offsets.get(envelope.address, 0)
                verify_place(self.state, envelope, self.genesis.gas_limit, earlier)
            except TransactionError as error:
                refused.append((envelope, str(error)))
                continue
            offsets[envelope.address] = earlier + 1
            accepted.append(envelope)
        return tuple(accepted), refused

    def propose(
        self, *, kind: str, epoch: int, time: int, proposer: bytes,
        transactions: Sequence[Envelope], aggregate: Envelope | None = None,
    ) -> Candidate:
        """The next block with these transactions, executed on trial.

        Args:
            kind: ``"candidate"`` or ``"auxiliary"``.
            epoch: p.
            time: milliseconds, after the head's.
            proposer: the 20-byte address of this edge server.
            transactions: in the order of execution.
            aggregate: Tx_co, signed by the proposer; executed last.

        Raises `BlockError` if the block would not be valid.
        """
        candidate = make_block(
            self.machine, self.head, self.state, kind=kind, epoch=epoch, time=time,
            proposer=proposer, transactions=transactions, aggregate=aggregate)
        return self._remember(candidate)

    def check(self, block: Block) -> Candidate:
        """Re-execute a proposed block on the head; `BlockError` unless it is valid in every part.

        Raises `MissingBlobsError` when it names blobs that are not here.
        """
        known = self._checked.get(block.digest)
        if known is not None and known.block == block:
            return known
        self._check_blobs(block)
        return self._remember(check_block(self.machine, self.head, self.state, block))

    def next_difficulty(self) -> int:
        """Return the difficulty of the block after the head, under proof of work."""
        return expected_difficulty(
            self.head, self.store.seal(self.height), self._grandparent(), self.genesis)

    def verify_next_seal(self, header: Header, seal: BlockSeal) -> None:
        """Raise `SealError` or `WorkError` unless ``seal`` seals ``header`` on top of the head."""
        verify_block_seal(seal, header, self.head, self.store.seal(self.height),
                          self._grandparent(), self.genesis)

    def _grandparent(self) -> Header | None:
        """The head's parent: of the next block, the grandparent."""
        return self.store.header(self.height - 1) if self.height else None

    def commit(self, block: Block, seal: BlockSeal) -> Candidate:
        """Store a sealed block and move the head. Raises `BlockError`, `SealError`, `StoreError`.

        Whatever it raises, store and head are as before.
        """
        self.verify_next_seal(block.header, seal)
        candidate = self.check(block)
        self._check_blobs(block)
        self.store.append(block, seal, candidate.receipts, candidate.writes)
        self.head, self.state = block.header, candidate.state
        self._checked.clear()
        return candidate

    def rollback(self, height: int) -> None:
        """Go back to block ``height``, because proof of work found a longer chain elsewhere."""
        self.store.rollback(height)
        self._proofs.clear()
        self.head, self.state = self.store.header(height), self.store.state()
        self._checked.clear()

    def _remember(self, candidate: Candidate) -> Candidate:
        while len(self._checked) >= KEPT_CANDIDATES:
            del self._checked[next(iter(self._checked))]
        self._checked[candidate.block.digest] = candidate
        return candidate

    def _check_blobs(self, block: Block) -> None:
        """Every named blob is here and is what its transaction says."""
        missing = self.missing_blobs(block)
        if missing:
            raise MissingBlobsError(missing)
        for position, envelope in enumerate(block.envelopes):
            payload = envelope.payload
            if isinstance(payload, BlobPayload):
                shape = self.store.blob_shape(payload.root)
                if shape != (payload.chunks, payload.size):
                    raise BlockError(
                        f"transaction {position}: its blob has {shape[0]} leaves in {shape[1]} "
                        f"bytes, not {payload.chunks} in {payload.size}")


def _create_whole(path: Path, genesis: Genesis, first: Candidate) -> Store:
    """A store with its genesis block under ``path``; a killed attempt leaves nothing there."""
    if path.exists():
        raise StoreError(f"{path.name} exists already; choose another folder")
    draft = path.with_name(path.name + ".new")
    try:
        for suffix in ("", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
        with Store.create(draft, genesis) as store:
            store.append(first.block, None, first.receipts, first.writes)
        draft.replace(path)
    except OSError as error:
        raise StoreError(f"{path.name} cannot be made: {error.strerror}") from error
    return Store.open(path)


def named_blobs(block: Block) -> Mapping[bytes, int]:
    """Root → size of the blobs that ``block`` names."""
    return {e.payload.root: e.payload.size
            for e in block.envelopes if isinstance(e.payload, BlobPayload)}


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A block with its seal, as bytes for the wire.

    Attributes:
        block: from `encode_block`.
        seal: from `encode_seal`.
    """

    block: bytes
    seal: bytes


def seal_block(block: Block, seal: BlockSeal) -> SealedBlock:
    """Both as bytes."""
    return SealedBlock(encode_block(block), encode_seal(seal))


def encode_sealed(sealed: SealedBlock) -> bytes:
    """Strict CBOR of a sealed block."""
    return encode_record(sealed)


def decode_sealed(data: bytes) -> SealedBlock:
    """What `encode_sealed` wrote, or `EncodingError`."""
    return decode_record(SealedBlock, data)


def blocks_after(store: Store, height: int, limit: int = 64) -> list[SealedBlock]:
    """At most ``limit`` sealed blocks that follow ``height``, in order."""
    last = min(store.height(), height + limit)
    sealed = []
    for number in range(max(1, height + 1), last + 1):
        seal = store.seal(number)
        if seal is not None:
            sealed.append(seal_block(store.block(number), seal))
    return sealed


def blobs_named(sealed: SealedBlock) -> tuple[bytes, ...]:
    """Roots of the blobs that must be fetched along with a block; raises `EncodingError`."""
    return tuple(named_blobs(decode_block(sealed.block)))


def apply_sealed_block(
    ledger: Ledger, sealed: SealedBlock, blobs: Iterable[bytes] = ()
) -> Candidate | None:
    """Check and commit the next block with the ``blobs`` that it names.

    Blobs are stored only once the seal holds, so a liar cannot fill the disk. A block that the
    ledger has already gives None. Raises `EncodingError`, `MerkleError`,
    `BlockError` (`MissingBlobsError` when a blob lacks), `SealError` or `WorkError`; the chain is
    then as before.
    """
    block, seal = decode_block(sealed.block), decode_seal(sealed.seal)
    if block.header.height <= ledger.height:
        if ledger.store.header(block.header.height) == block.header:
            return None
        raise BlockError(f"block {block.header.height} differs from the one that is held")
    ledger.verify_next_seal(block.header, seal)
    wanted = set(ledger.missing_blobs(block))
    for blob in blobs:
        if wanted:
            wanted.discard(ledger.put_blob(blob))
    return ledger.commit(block, seal)
