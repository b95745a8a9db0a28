"""The ledger as the application of PBFT: what to propose, what to accept, how to execute.

Sequence = height, one block in flight. A payload is an encoded block; its digest is the header's,
so the COMMIT signatures of a quorum are the block's seal. Validity is a function of (parent state,
block) alone. What depends on this server's own clock, deadline or knowledge (is it late? has the
proposer left out an update that I hold?) is asked only of a block that the primary proposes now,
never of one that a new view carries over.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    MAX_TRANSACTIONS,
    AggregateTransaction,
    Block,
    BlockError,
    BlockSeal,
    Candidate,
    Envelope,
    Ledger,
    MissingBlobsError,
    Payload,
    Receipt,
    SealedBlock,
    UpdateTransaction,
    decode_block,
    decode_seal,
    device_bits,
    device_numbers,
    encode_block,
    sign_transaction,
)
from bdn.chain.blocks import compute_transactions_root
from bdn.errors import PeerError
from bdn.identity import Identity
from bdn.nodes.edge.admission import Admission
from bdn.nodes.requests import Request
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost
from bdn.pbft.application import NotYet
from bdn.trace import DISCARD, Trace

MAX_DRIFT_MS = 60_000
"""How far a proposed block's time may lie ahead of this server's clock."""

MISSING_NAMED = 10
"""Devices that a message about missing ones names."""

UPDATES = "updates"
"""What the learning contract waits for while an epoch's phase is open."""

Named = list[tuple[bytes, UpdateRecord]]
"""(device, its update's record), ascending by device."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the learning contract waits for: see its view ``awaited``.

    Attributes:
        what: in a word or two.
        who: addresses of the devices that have not sent it yet.
        needed: from how many of them it is needed.
        there: how many stand in blocks already: updates that fit no block are spread over several.
    """

    what: str
    who: tuple[bytes, ...]
    needed: int
    there: int = 0


class LedgerApplication:
    """One edge server's ledger behind PBFT's `Application` protocol.

    Args:
        name: the server's, for the trace.
        identity: signs Tx_co.
        ledger: its own full copy.
        host: the mining contract's host functions over that ledger.
        settings: from genesis.
        trace: told what happens.

    Attributes:
        admission: what waits for a block.
        now_ms: this server's clock, as of its last event.
        deadline_passed: whether devices have had their time for what is awaited.
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
        self.admission = Admission(name, ledger, host, settings, trace)
        self.now_ms = 0
        self.deadline_passed = False
        self._behind = False
        self._restoring: tuple[int, bytes] | None = None
        """(height, digest) of a certified block that this server must fetch the blocks up to."""
        self._missing: tuple[bytes, ...] = ()
        self._awaited: tuple[int, Awaited] | None = None
        self._trace = trace

    # --- what an edge server tells and asks ------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Take the time; blocks that are proposed from now on carry it."""
        self.now_ms = now_ms

    def pass_deadline(self) -> None:
        """Wait no longer for devices that have not sent what is awaited."""
        self.deadline_passed = True

    def take_missing(self) -> tuple[bytes, ...]:
        """Return, once, the roots of blobs that a block names and this server lacks."""
        missing, self._missing = self._missing, ()
        return missing

    def take_behind(self) -> bool:
        """Return, once, whether the others have sealed blocks that this server must fetch."""
        behind, self._behind = self._behind, False
        return behind

    def take_restored(self) -> int | None:
        """Return, once, the height that `restore` was asked for, when the ledger has got there.

        Blocks are fetched several at a time, so the ledger may be further by then. Raises a
        `PeerError` where our own block there is not the certified one.
        """
        if self._restoring is None or self.ledger.height < self._restoring[0]:
            return None
        (height, digest), self._restoring = self._restoring, None
        self._check_certified(height, digest)
        return height

    @property
    def awaited(self) -> Awaited:
        """What the learning contract waits for after the last block."""
        if self._awaited is None or self._awaited[0] != self.ledger.height:
            plain = self.ledger.call("learning", "awaited")
            value = Awaited(plain["what"], tuple(plain["who"]), plain["needed"],
                            plain.get("there", 0))
            self._awaited = (self.ledger.height, value)
        return self._awaited[1]

    def shortfall(self) -> str:
        """Return what is missing for the next block, for people: who, how many, and which setting
        decides; "" where nothing is awaited."""
        awaited = self.awaited
        if not awaited.who:
            return ""
        if awaited.what == UPDATES:
            here = self.admission.with_updates().intersection(awaited.who)
            count = f"{len(here)} of {len(awaited.who)} updates are there"
            needed = f"{self.settings.minimum_contributors} are needed (--minimum-contributors)"
        else:
            here = frozenset(awaited.who).intersection(self.admission.waiting)
            count = f"{len(here)} {awaited.what} of {len(awaited.who)} are there"
            needed = f"{awaited.needed} are needed"
        missing = [device for device in awaited.who if device not in here]
        names = ", ".join(self.ledger.call("learning", "name_of", device)
                          for device in missing[:MISSING_NAMED]) + (
            f" and {len(missing) - MISSING_NAMED} more" if len(missing) > MISSING_NAMED else "")
        return f"{count}, {needed}; missing: {names or 'nobody'}"

    def check_request(self, request: Request) -> None:
        """Raise a `PeerError` unless the request may wait for a block."""
        self.admission.check_request(request)

    def still_wanted(self, request: Request) -> bool:
        """Return whether the request may yet stand in a block."""
        return self.admission.still_wanted(request)

    @functools.cached_property
    def device_numbers(self) -> dict[bytes, int]:
        """Each device's number in genesis, by its address: nobody joins later."""
        registered = self.ledger.call("learning", "registered")
        return {address: number for number, address in enumerate(registered)}

    def _bits(self, devices: Iterable[bytes]) -> bytes:
        """Return `device_bits` of the devices at these addresses."""
        return device_bits(self.device_numbers[device] for device in devices)

    # --- when -----------------------------------------------------------------------------------

    def is_due(self, pending: Sequence[Request]) -> bool:
        """Whether the primary should have made a block of what waits.

        Only what all servers see alike counts here: a device that was refused by this server alone
        is no reason to suspect the primary before the deadline.
        """
        return self._due(pending, set()) is not None

    def _due(
        self, requests: Sequence[Request], refused: set[bytes]
    ) -> Literal["updates", "others"] | None:
        """Return what the next block should hold, or None where it is better to wait for more.

        "updates" (with their Tx_co), or all "others" that wait. This is asked anew after every
        request, so that too few of them are told by their number alone.
        """
        awaited = self.awaited
        needed = len(awaited.who) if awaited.what == UPDATES else awaited.needed
        if not self.deadline_passed and len(requests) + len(refused) < needed:
            return None
        pending = self._envelopes(requests)
        updates = [e for e in pending if isinstance(e.payload, UpdateTransaction)]
        if awaited.what == UPDATES:
            answered = {e.address for e in updates} | refused
            complete = answered.issuperset(awaited.who)
            enough = awaited.there + len(updates) >= self.settings.minimum_contributors
            if enough and (complete or self.deadline_passed):
                return "updates"
            # a late share waits: one of the first t was false, and without it nobody goes on
            late = self.deadline_passed and not enough and len(updates) < len(pending)
            return "others" if late else None
        others = {e.address for e in pending if not isinstance(e.payload, UpdateTransaction)}
        came = len(others.intersection(awaited.who))
        complete = came >= awaited.needed
        return "others" if others and (complete or self.deadline_passed) else None

    def _envelopes(self, pending: Sequence[Request]) -> list[Envelope]:
        return [self.admission.envelope(request.operation) for request in pending]

    # --- proposing ------------------------------------------------------------------------------

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:
        """The next block, or None while nothing is due (Algorithm 2, lines 13–20)."""
        if sequence != self.ledger.height + 1:
            return None
        due = self._due(pending, self.admission.refused)
        if due is None:
            return None
        envelopes = self._envelopes(pending)
        with self._trace.span("propose", node=self.name, height=sequence):
            make = self._aggregate if due == "updates" else self._auxiliary
            candidate = make(envelopes)
        if candidate is None:
            return None
        self.ledger.store.keep_blobs()  # a proposal is a vote
        return encode_block(candidate.block)

    def _auxiliary(self, envelopes: Sequence[Envelope]) -> Candidate | None:
        others = [e for e in envelopes if not isinstance(e.payload, UpdateTransaction)]
        accepted, refused = self.ledger.select(self._ordered(others))
        self._tell_refused(refused)
        if not accepted:
            return None
        return self._make(AUXILIARY, self.ledger.head.epoch, accepted, None)

    def _aggregate(self, envelopes: Sequence[Envelope]) -> Candidate | None:
        """The block with this phase's updates and Tx_co; where they do not fit it, a block of as
        many updates as it holds: Tx_co follows with the last of them."""
        epoch, phase = self._most_wanted(envelopes)
        mine = [e for e in envelopes if not isinstance(e.payload, UpdateTransaction)
                or (e.payload.epoch, e.payload.phase) == (epoch, phase)]
        accepted, refused = self.ledger.select(self._ordered(mine), MAX_TRANSACTIONS - 1)
        self._tell_refused(refused)
        if len(accepted) + len(refused) < len(mine):
            return self._make(AUXILIARY, self.ledger.head.epoch, accepted, None)
        trial = self._make(AUXILIARY, epoch, accepted, None)
        named = {**self._sent(epoch, phase), **dict(_named(_good(trial)))}
        if len(named) < self.settings.minimum_contributors:
            self._trace.event("too-few", node=self.name, epoch=epoch, phase=phase, good=len(named))
            return None
        updates = sorted(named.items(), key=lambda item: item[0])
        return self._make(_kind(phase), epoch, accepted, self._tx_co(epoch, phase, updates))

    def _sent(self, epoch: int, phase: str) -> dict[bytes, UpdateRecord]:
        """The updates of (epoch, phase) that stand in earlier blocks, by device."""
        if self.awaited.what != UPDATES or not self.awaited.there:
            return {}
        return {device: UpdateRecord.read(record)
                for device, record in self.ledger.call("learning", "sent", epoch, phase)}

    def make_aggregate(self, updates: Sequence[Envelope]) -> Candidate:
        """A trial block of just these updates, all of one epoch and phase, and their Tx_co.

        Raises `BlockError` where the mining contract refuses it.
        """
        payload = updates[0].payload
        if not isinstance(payload, UpdateTransaction):
            raise PeerError("not an update")
        return self._make(_kind(payload.phase), payload.epoch, updates,
                          self._tx_co(payload.epoch, payload.phase, _named(updates)))

    def _most_wanted(self, envelopes: Sequence[Envelope]) -> tuple[int, str]:
        """The epoch and phase that most of the updates are for."""
        counts: dict[tuple[int, str], int] = {}
        for envelope in envelopes:
            if isinstance(envelope.payload, UpdateTransaction):
                at = (envelope.payload.epoch, envelope.payload.phase)
                counts[at] = counts.get(at, 0) + 1
        if not counts:  # all of them stand in blocks: that of the last one
            return self._step_sent()
        return max(counts, key=lambda at: (counts[at], at))

    def _step_sent(self) -> tuple[int, str]:
        """The epoch and phase whose updates stand in blocks and wait for their Tx_co."""
        last, phase = self.ledger.call("learning", "current")
        steps = [(last, WEIGHTS)] if phase == GRADIENT else [
            (last + 1, self.settings.phases[0]), (last, LOSS)]
        return max(steps, key=lambda step: len(self._sent(*step)))

    def _tx_co(self, epoch: int, phase: str, updates: Named) -> Envelope:
        """Tx_co: the weighted product of Eq. (5), under this server's signature."""
        product = self._product(epoch, phase, updates)
        return self._sign(AggregateTransaction(
            epoch, phase, *product, self._bits(device for device, _ in updates),
            sum(record.samples for _, record in updates)))

    def _sign(self, payload: Payload) -> Envelope:
        nonce = self.ledger.next_nonce(self.identity.address)
        gas = self.ledger.genesis.gas_limit
        return sign_transaction(self.identity, self.ledger.chain, nonce, gas, payload)

    def _product(self, epoch: int, phase: str, updates: Named) -> tuple[bytes, int, int]:
        """Eq. (5) over these updates; the product's blob is stored."""
        terms = self.ledger.call("learning", "sealing_terms")
        records = [record for _, record in updates]
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
                self._check_contributors(self.ledger.check(block))
            except MissingBlobsError as error:
                self._want(block, error.roots)
                raise NotYet(str(error)) from error
        self.ledger.store.keep_blobs()  # whoever votes for a block can go on with it after a crash
        self._missing, self.admission.wanted = (), {}

    def _want(self, block: Block, roots: Sequence[bytes]) -> None:
        self.admission.want(block, roots)
        self._missing = tuple(self.admission.wanted)

    def _check_circumstances(self, block: Block) -> None:
        """What only the moment of the proposal can tell; never asked of a carried block."""
        if block.header.time > self.now_ms + MAX_DRIFT_MS:
            raise BlockError("the block's time is in the future")
        if self.deadline_passed:
            return
        included = {e.address for e in block.transactions
                    if isinstance(e.payload, UpdateTransaction)}
        if block.aggregate is None and not included:
            return
        if block.aggregate is None and len(block.transactions) >= MAX_TRANSACTIONS - 1:
            return  # it is full, and the others come with the next one
        held = set(self.awaited.who) - self.admission.refused
        withheld = held.intersection(self.admission.with_updates()) - included
        if withheld:
            raise BlockError(
                f"the proposer left out {len(withheld)} updates before the deadline")

    def _check_product(self, block: Block) -> None:
        """Compute what the proposer made, before the contract asks for it, and store its blob.

        Whose transactions may stand in a block is asked first: a rule on block 0 and this block.
        """
        self.admission.check_senders(block)
        named = dict(_named(block.transactions))
        own = block.aggregate.payload if block.aggregate is not None else None
        self._demand_blobs([record.root for record in named.values()])
        if not isinstance(own, AggregateTransaction):
            return
        numbers = {number: device for device, number in self.device_numbers.items()}
        contributors = [numbers.get(number, b"") for number in device_numbers(own.contributors)]
        named = {**self._sent(own.epoch, own.phase), **named}
        if any(device not in named for device in contributors):
            raise BlockError("Tx_co names a contributor whose update is in no block")
        updates = sorted((device, named[device]) for device in contributors)
        if self._product(own.epoch, own.phase, updates) != (own.root, own.chunks, own.size):
            raise BlockError("Tx_co is not the weighted product of the updates (Eq. 5)")

    def _check_contributors(self, candidate: Candidate) -> None:
        """Tx_co adds every good update of its block, and of those before it since the last one.

        A proposer leaves none of them out. In a block without Tx_co, each of them must verify, or
        no later Tx_co could add them up.
        """
        block = candidate.block
        good = dict(_named(_good(candidate)))
        own = block.aggregate.payload if block.aggregate is not None else None
        if isinstance(own, AggregateTransaction):
            if self._bits({**self._sent(own.epoch, own.phase), **good}) != own.contributors:
                raise BlockError("Tx_co leaves out an update that stands in a block")
            return
        if good:
            terms = self.ledger.call("learning", "sealing_terms")
            for envelope in _good(candidate):
                if isinstance(update := envelope.payload, UpdateTransaction):
                    self.host.verify(terms, update.epoch, update.phase, envelope.address,
                                     UpdateRecord.of(update))

    def _demand_blobs(self, roots: Sequence[bytes]) -> None:
        store = self.ledger.store
        missing = tuple(root for root in roots if store.blob_size(root) is None)
        if missing:
            raise MissingBlobsError(missing)

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
            self._want(block, error.roots)
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

        Raises `MissingBlobsError` where blobs must be fetched first, `BlockError` where Tx_co is
        not what Eq. (5) gives, `SealError` or `WorkError` where the seal does not hold: nothing is
        fetched for a block that nobody sealed.
        """
        block = decode_block(sealed.block)
        if block.header.height != self.ledger.height + 1:
            return
        self.ledger.verify_next_seal(block.header, decode_seal(sealed.seal))
        self.admission.demand_blobs(block)
        self._check_product(block)

    def after_commit(self) -> None:
        """Begin anew after a block: new deadlines, and nobody has answered yet."""
        self.deadline_passed = False
        self.admission.after_commit()

    def height(self) -> int:
        """The height of the last sealed block."""
        return self.ledger.height

    def state_digest(self) -> bytes:
        """The head's digest stands for everything before it."""
        return self.ledger.store.block(self.ledger.height).digest

    def snapshot(self) -> bytes:
        """The head's digest; blocks are fetched and verified one by one (`bdn.chain.ledger`)."""
        return self.state_digest()

    def restore(self, sequence: int, snapshot: bytes, digest: bytes) -> bool:
        """Whether we are there; if not, the edge server fetches sealed blocks and says so later.

        Raises `PeerError` where our own block at ``sequence`` is not the one of the snapshot.
        """
        if snapshot != digest:
            raise PeerError("a ledger's snapshot is the digest of its head")
        if self.ledger.height < sequence:
            self._behind, self._restoring = True, (sequence, digest)
            return False
        self._check_certified(sequence, digest)
        return True

    def _check_certified(self, height: int, digest: bytes) -> None:
        if self.ledger.store.block(height).digest != digest:
            raise PeerError(f"our block {height} is not the one that a quorum certified")


def _kind(phase: str) -> str:
    """One candidate block an epoch: the one with the weights' Tx_co."""
    return CANDIDATE if phase == WEIGHTS else AUXILIARY


def _good(candidate: Candidate) -> list[Envelope]:
    """The updates of a block that its execution took, by device."""
    outcomes = zip(candidate.block.envelopes, candidate.receipts, strict=True)
    return sorted((e for e, receipt in outcomes
                   if receipt.ok and isinstance(e.payload, UpdateTransaction)),
                  key=lambda e: e.address)


def _named(updates: Sequence[Envelope]) -> Named:
    """Return (device, its update's record) for each update."""
    return [(e.address, UpdateRecord.of(e.payload)) for e in updates
            if isinstance(e.payload, UpdateTransaction)]
