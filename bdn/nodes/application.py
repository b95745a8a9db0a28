"""The ledger as the application of PBFT: what to propose, what to accept, how to execute.

Sequence = height, one block in flight. A payload is an encoded block; its digest is the header's,
so the COMMIT signatures of a quorum are the block's seal. Validity is a function of (parent state,
block) alone. What depends on this server's own clock, deadline or knowledge (is it late? has the
proposer left out an update that I hold?) is asked only of a block that the primary proposes now,
never of one that a new view carries over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    AggregateTransaction,
    BlobPayload,
    Block,
    BlockError,
    BlockSeal,
    Candidate,
    Envelope,
    Ledger,
    MissingBlobsError,
    Receipt,
    SealedBlock,
    TransactionError,
    UpdateTransaction,
    blob_root,
    decode_block,
    decode_envelope,
    encode_block,
    sign_transaction,
    verify_blob,
    verify_envelope,
)
from bdn.chain.blocks import compute_transactions_root
from bdn.errors import BdnError, PeerError
from bdn.identity import Identity
from bdn.nodes.requests import Request, decode_request
from bdn.nodes.sealing import VectorHost
from bdn.nodes.settings import WEIGHTS, Settings
from bdn.pbft.errors import NotYet
from bdn.trace import DISCARD, Trace

MAX_DRIFT_MS = 60_000
"""How far a proposed block's time may lie ahead of this server's clock."""

UPDATES = "updates"


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the learning contract waits for: see its view ``awaited``."""

    what: str
    who: tuple[bytes, ...]
    needed: int


class LedgerApplication:
    """One edge server's ledger behind PBFT's `Application` protocol.

    Args:
        name: the server's, for the trace.
        identity: signs Tx_co.
        ledger: its own full copy.
        host: the mining contract's host functions over that ledger.
        settings: from genesis.
        trace: told what happens.
    """

    def __init__(
        self, name: str, identity: Identity, ledger: Ledger, host: VectorHost,
        settings: Settings, trace: Trace = DISCARD,
    ) -> None:
        self.name = name
        self.identity = identity
        self.ledger = ledger
        self.host = host
        self.settings = settings
        self.now_ms = 0
        self.deadline_passed = False
        self.staged: dict[bytes, bytes] = {}
        """Blobs that came with requests, until their request has been checked."""
        self.refused: set[bytes] = set()
        """Devices whose own update for the open phase was refused: they have answered."""
        self.missing: tuple[bytes, ...] = ()
        """Blobs that a proposed block names and this server lacks."""
        self.waiting_updates: frozenset[bytes] = frozenset()
        """Devices whose checked updates wait here, as the edge server knows."""
        self.behind = False
        """Whether the others have sealed blocks that this server must fetch."""
        self._trace = trace
        self._checked: set[tuple[str, int, bytes]] = set()
        """Requests that passed since the last block; the other servers relay them too."""
        self._decoded: dict[bytes, Envelope] = {}
        self._awaited: tuple[int, Awaited] | None = None

    # --- requests -------------------------------------------------------------------------------

    def stage(self, blobs: Sequence[bytes]) -> None:
        """Keep blobs that came with a request until the request is checked."""
        self.staged = {blob_root(blob): blob for blob in blobs}

    def updates_among(self, requests: Mapping[bytes, bytes]) -> frozenset[bytes]:
        """The devices, among ``requests`` by device, whose request is an update."""
        found = set()
        for device, data in requests.items():
            envelope = self._envelope(decode_request(data).operation)
            if isinstance(envelope.payload, UpdateTransaction):
                found.add(device)
        return frozenset(found)

    def check_request(self, request: Request) -> None:
        """Section 5, step 3: signature, nonce, shape, membership, proof. Raises `PeerError`."""
        name = (request.client, request.timestamp, request.operation)
        if name in self._checked:
            return
        envelope = self._envelope(request.operation)
        verify_envelope(envelope, self.ledger.chain)
        if (request.client, request.timestamp) != (envelope.address.hex(), envelope.nonce):
            raise TransactionError("the request names another sender or nonce than its transaction")
        expected = self.ledger.next_nonce(envelope.address)
        if envelope.nonce < expected:
            raise TransactionError(f"nonce {envelope.nonce} was used; the next is {expected}")
        try:
            self._check_payload(envelope)
        except BdnError:
            if isinstance(envelope.payload, UpdateTransaction):
                self.refused.add(envelope.address)  # signed by itself: it has answered
            raise
        self._checked.add(name)

    def _check_payload(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if isinstance(payload, BlobPayload):
            blob = self.staged.get(payload.root)
            if blob is None:
                blob = self.ledger.blob(payload.root)
            verify_blob(blob, payload.root, payload.chunks, payload.size)
            self.ledger.put_blob(blob)
        if isinstance(payload, UpdateTransaction):
            if not self.ledger.call("learning", "is_open", payload.epoch, payload.phase):
                raise TransactionError(
                    f"epoch {payload.epoch}, phase {payload.phase}, is not open")
            update = {"root": payload.root, "chunks": payload.chunks, "size": payload.size,
                      "samples": payload.sample_count}
            terms = self.ledger.call("learning", "sealing_terms")
            with self._trace.span("verify-update", node=self.name):
                self.host.verify(terms, payload.epoch, payload.phase, envelope.address, update)

    def still_wanted(self, request: Request) -> bool:
        """Whether the request may yet stand in a block."""
        envelope = self._envelope(request.operation)
        if envelope.nonce < self.ledger.next_nonce(envelope.address):
            return False
        payload = envelope.payload
        return not isinstance(payload, UpdateTransaction) or bool(
            self.ledger.call("learning", "is_open", payload.epoch, payload.phase)
        )

    def _envelope(self, operation: bytes) -> Envelope:
        if operation not in self._decoded:
            if len(self._decoded) > 10_000:
                self._decoded.clear()
            self._decoded[operation] = decode_envelope(operation)
        return self._decoded[operation]

    # --- when -----------------------------------------------------------------------------------

    @property
    def awaited(self) -> Awaited:
        """What the learning contract waits for after the last block."""
        if self._awaited is None or self._awaited[0] != self.ledger.height:
            plain = self.ledger.call("learning", "awaited")
            value = Awaited(plain["what"], tuple(plain["who"]), plain["needed"])
            self._awaited = (self.ledger.height, value)
        return self._awaited[1]

    def is_due(self, pending: Sequence[Request]) -> bool:
        """Whether the primary should have made a block of what waits.

        Only what all servers see alike counts here: a device that was refused by this server alone
        is no reason to suspect the primary before the deadline.
        """
        return self._due(self._envelopes(pending), set()) is not None

    def _due(self, pending: Sequence[Envelope], refused: set[bytes]) -> str | None:
        """``"aggregate"``, ``"auxiliary"``, or None where it is better to wait for more."""
        updates = [e for e in pending if isinstance(e.payload, UpdateTransaction)]
        awaited = self.awaited
        if awaited.what == UPDATES:
            answered = {e.address for e in updates} | refused
            complete = answered.issuperset(awaited.who)
            enough = len(updates) >= self.settings.minimum_contributors
            return "aggregate" if enough and (complete or self.deadline_passed) else None
        others = {e.address for e in pending if not isinstance(e.payload, UpdateTransaction)}
        came = len(others.intersection(awaited.who))
        complete = came >= awaited.needed
        return "auxiliary" if others and (complete or self.deadline_passed) else None

    def _envelopes(self, pending: Sequence[Request]) -> list[Envelope]:
        return [self._envelope(request.operation) for request in pending]

    # --- proposing ------------------------------------------------------------------------------

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:
        """The next block, or None while nothing is due (Algorithm 2, lines 13–20)."""
        if sequence != self.ledger.height + 1:
            return None
        envelopes = self._envelopes(pending)
        due = self._due(envelopes, self.refused)
        if due is None:
            return None
        with self._trace.span("propose", node=self.name, height=sequence):
            candidate = self._aggregate(envelopes) if due == "aggregate" else (
                self._auxiliary(envelopes))
        return encode_block(candidate.block) if candidate is not None else None

    def _auxiliary(self, envelopes: Sequence[Envelope]) -> Candidate | None:
        others = [e for e in envelopes if not isinstance(e.payload, UpdateTransaction)]
        accepted, refused = self.ledger.select(self._ordered(others))
        self._tell_refused(refused)
        if not accepted:
            return None
        return self._make(AUXILIARY, self.ledger.head.epoch, accepted, None)

    def _aggregate(self, envelopes: Sequence[Envelope]) -> Candidate | None:
        """The block with this phase's updates and Tx_co."""
        epoch, phase = self._most_wanted(envelopes)
        mine = [e for e in envelopes if not isinstance(e.payload, UpdateTransaction)
                or (e.payload.epoch, e.payload.phase) == (epoch, phase)]
        accepted, refused = self.ledger.select(self._ordered(mine))
        self._tell_refused(refused)
        trial = self._make(AUXILIARY, epoch, accepted, None)
        outcomes = zip(accepted, trial.receipts, strict=True)
        good = sorted((e for e, receipt in outcomes
                       if receipt.ok and isinstance(e.payload, UpdateTransaction)),
                      key=lambda e: e.address)
        if len(good) < self.settings.minimum_contributors:
            self._trace.event("too-few", node=self.name, epoch=epoch, phase=phase, good=len(good))
            return None
        kind = CANDIDATE if phase == WEIGHTS else AUXILIARY
        return self._make(kind, epoch, accepted, self._tx_co(epoch, phase, good))

    def make_aggregate(self, updates: Sequence[Envelope]) -> Candidate:
        """A trial block of just these updates, all of one epoch and phase, and their Tx_co.

        Raises `BlockError` where the mining contract refuses it.
        """
        payload = updates[0].payload
        if not isinstance(payload, UpdateTransaction):
            raise PeerError("not an update")
        kind = CANDIDATE if payload.phase == WEIGHTS else AUXILIARY
        return self._make(kind, payload.epoch, updates,
                          self._tx_co(payload.epoch, payload.phase, updates))

    def _most_wanted(self, envelopes: Sequence[Envelope]) -> tuple[int, str]:
        """The epoch and phase that most of the updates are for."""
        counts: dict[tuple[int, str], int] = {}
        for envelope in envelopes:
            if isinstance(envelope.payload, UpdateTransaction):
                at = (envelope.payload.epoch, envelope.payload.phase)
                counts[at] = counts.get(at, 0) + 1
        return max(counts, key=lambda at: (counts[at], at))

    def _tx_co(self, epoch: int, phase: str, updates: Sequence[Envelope]) -> Envelope:
        """Tx_co: the weighted product of Eq. (5), under this server's signature."""
        root, chunks, size = self._product(epoch, phase, updates)
        payload = AggregateTransaction(
            epoch, phase, root, chunks, size, tuple(e.address for e in updates),
            sum(_samples(e) for e in updates),
        )
        nonce = self.ledger.next_nonce(self.identity.address)
        gas = self.ledger.genesis.gas_limit
        return sign_transaction(self.identity, self.ledger.chain, nonce, gas, payload)

    def _product(
        self, epoch: int, phase: str, updates: Sequence[Envelope]
    ) -> tuple[bytes, int, int]:
        """Eq. (5) over these updates; the product's blob is stored."""
        terms = self.ledger.call("learning", "sealing_terms")
        records = [_update_record(e) for e in updates]
        with self._trace.span("aggregate", node=self.name, epoch=epoch, phase=phase):
            root, chunks, size = self.host.product(terms, epoch, phase, records)
        blob = self.host.produced.pop(root, None)
        if blob is not None:
            self.ledger.put_blob(blob)
        return root, chunks, size

    def _make(
        self, kind: str, epoch: int, transactions: Sequence[Envelope],
        aggregate: Envelope | None,
    ) -> Candidate:
        time = max(self.now_ms, self.ledger.head.time + 1)
        return self.ledger.propose(
            kind=kind, epoch=epoch, time=time, proposer=self.identity.address,
            transactions=transactions, aggregate=aggregate,
        )

    def _ordered(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """By sender, then nonce: the order does not depend on who arrived first."""
        return sorted(envelopes, key=lambda e: (e.address, e.nonce))

    def _tell_refused(self, refused: Sequence[tuple[Envelope, str]]) -> None:
        for envelope, reason in refused:
            self._trace.event("transaction-refused", node=self.name,
                              sender=envelope.address.hex(), reason=reason)

    # --- accepting ------------------------------------------------------------------------------

    def accepts(self, sequence: int, payload: bytes, carried: bool) -> None:
        """Re-execute a proposed block before PREPARE.

        Raises `PeerError` where it is not valid, `NotYet` where blobs must be fetched first.
        """
        block = decode_block(payload)
        if block.header.height != sequence or sequence != self.ledger.height + 1:
            raise BlockError(f"block {block.header.height} at sequence {sequence}")
        if not carried:
            self._check_circumstances(block)
        with self._trace.span("check-block", node=self.name, height=sequence):
            try:
                self._check_product(block)
                self.ledger.check(block)
            except MissingBlobsError as error:
                self.missing = error.roots
                raise NotYet(str(error)) from error
        self.missing = ()

    def _check_circumstances(self, block: Block) -> None:
        """What only the moment of the proposal can tell; never asked of a carried block."""
        if block.header.time > self.now_ms + MAX_DRIFT_MS:
            raise BlockError("the block's time is in the future")
        if block.aggregate is None or self.deadline_passed:
            return
        held = set(self.awaited.who) - self.refused
        included = {e.address for e in block.transactions
                    if isinstance(e.payload, UpdateTransaction)}
        withheld = held.intersection(self.waiting_updates) - included
        if withheld:
            raise BlockError(
                f"the proposer left out {len(withheld)} updates before the deadline")

    def _check_product(self, block: Block) -> None:
        """Compute Tx_co's product here, before the contract asks for it, and store its blob."""
        if block.aggregate is None or not isinstance(block.aggregate.payload,
                                                     AggregateTransaction):
            return
        stated = block.aggregate.payload
        named = {e.address: e for e in block.transactions
                 if isinstance(e.payload, UpdateTransaction)}
        missing = tuple(e.payload.root for e in named.values()
                        if isinstance(e.payload, UpdateTransaction)
                        and self.ledger.store.blob_size(e.payload.root) is None)
        if missing:
            raise MissingBlobsError(missing)
        if any(device not in named for device in stated.contributors):
            raise BlockError("Tx_co names a contributor whose update is not in the block")
        updates = [named[device] for device in stated.contributors]
        root, chunks, size = self._product(stated.epoch, stated.phase, updates)
        if (root, chunks, size) != (stated.root, stated.chunks, stated.size):
            raise BlockError("Tx_co is not the weighted product of the updates (Eq. 5)")

    # --- deciding -------------------------------------------------------------------------------

    def digest(self, payload: bytes) -> bytes:
        """The header's digest: what COMMITs sign. Raises `PeerError` for anything but a block.

        It binds every byte of the payload: the encoding is canonical, and a body that is not the
        one of the header's transactions root is refused here.
        """
        block = decode_block(payload)
        if compute_transactions_root(block.envelopes) != block.header.transactions_root:
            raise BlockError("the body is not the one that the header names")
        return block.digest

    def requests(self, payload: bytes) -> list[tuple[str, int]]:
        """(client, timestamp) of the devices' transactions in a block."""
        return [(e.address.hex(), e.nonce) for e in decode_block(payload).transactions]

    def execute(
        self, sequence: int, payload: bytes, seal: BlockSeal
    ) -> list[tuple[str, int, bytes]]:
        """Commit the sealed block; the answers are the receipts' outcomes.

        A block that the ledger holds already (a journal is being replayed) is not executed again.
        Raises `NotYet` where blobs must be fetched first.
        """
        block = decode_block(payload)
        assert block.header.height == sequence, "sequence = height"
        if sequence <= self.ledger.height:
            return self._results(block, self.ledger.store.receipts(sequence))
        try:
            self._check_product(block)
            candidate = self.ledger.commit(block, seal)
        except MissingBlobsError as error:
            self.missing = error.roots
            raise NotYet(str(error)) from error
        self.after_commit()
        self._trace.event("sealed", node=self.name, height=sequence, kind=block.header.kind,
                          view=getattr(seal, "view", None), transactions=len(block.envelopes))
        return self._results(block, candidate.receipts)

    @staticmethod
    def _results(block: Block, receipts: Sequence[Receipt]) -> list[tuple[str, int, bytes]]:
        """What became of the devices' transactions; Tx_co, the last one, is no request."""
        return [(envelope.address.hex(), envelope.nonce, b"ok" if receipt.ok else b"failed")
                for envelope, receipt in zip(block.transactions, receipts, strict=False)]

    def prepare(self, sealed: SealedBlock) -> None:
        """Before a sealed block from elsewhere is applied: compute the product that it names.

        Raises `MissingBlobsError` where updates must be fetched first, `BlockError` where Tx_co is
        not what Eq. (5) gives.
        """
        block = decode_block(sealed.block)
        if block.header.height == self.ledger.height + 1:
            self._check_product(block)

    def after_commit(self) -> None:
        """A new head: new deadlines, and nobody has answered yet."""
        self.deadline_passed = False
        self.refused.clear()
        self.staged.clear()
        self._checked.clear()

    def height(self) -> int:
        """The height of the last sealed block."""
        return self.ledger.height

    def state_digest(self) -> bytes:
        """The head's digest stands for everything before it."""
        return self.ledger.store.block(self.ledger.height).digest

    def snapshot(self) -> bytes:
        """The head's digest; blocks are fetched and verified one by one (`bdn.chain.sync`)."""
        return self.state_digest()

    def restore(self, sequence: int, snapshot: bytes, digest: bytes) -> bool:
        """Whether we are there; if not, the edge server fetches sealed blocks and says so later.

        Raises `PeerError` where our own block at ``sequence`` is not the one of the snapshot.
        """
        if snapshot != digest:
            raise PeerError("a ledger's snapshot is the digest of its head")
        if self.ledger.height < sequence:
            self.behind = True
            return False
        if self.ledger.store.block(sequence).digest != digest:
            raise PeerError(f"our block {sequence} is not the one that a quorum certified")
        return True


def _samples(envelope: Envelope) -> int:
    assert isinstance(envelope.payload, UpdateTransaction)
    return envelope.payload.sample_count


def _update_record(envelope: Envelope) -> dict[str, Any]:
    payload = envelope.payload
    if not isinstance(payload, UpdateTransaction):
        raise PeerError("not an update")
    return {"root": payload.root, "chunks": payload.chunks, "size": payload.size,
            "samples": payload.sample_count, "local_ms": payload.local_seconds}
