"""What may wait for a block: an edge server's checks of devices' transactions (section 5, step 3).

`LedgerApplication` adds how blocks are made, accepted and executed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bdn.chain import (
    BlobPayload,
    Block,
    BlockError,
    Envelope,
    Ledger,
    MissingBlobsError,
    TransactionError,
    UpdateTransaction,
    blob_root,
    decode_envelope,
    verify_blob,
    verify_envelope,
)
from bdn.chain.rules import verify_admissible
from bdn.errors import BdnError, PeerError
from bdn.identity import Identity, address_of
from bdn.nodes.limits import BLOBS_AT_ONCE, check_size
from bdn.nodes.requests import Request, decode_request
from bdn.nodes.sealing import VectorHost
from bdn.nodes.settings import Settings
from bdn.paillier import PublicKey
from bdn.trace import DISCARD, Trace

UPDATES = "updates"


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the learning contract waits for: see its view ``awaited``."""

    what: str
    who: tuple[bytes, ...]
    needed: int


class UntimelyError(TransactionError):
    """Nobody waits for the transaction at this height; after the next blocks that may change."""


class Admission:
    """One edge server's ledger, and which transactions it lets wait.

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
        self.staged: tuple[bytes, ...] = ()
        """Blobs that came with a request, until the request has been checked."""
        self.refused: set[bytes] = set()
        """Devices whose own update for the open phase was refused: they have answered."""
        self.missing: tuple[bytes, ...] = ()
        """Blobs that a proposed block names and this server lacks."""
        self.wanted: dict[bytes, BlobPayload] = {}
        """By root, what names them: the only blobs that are taken without a request."""
        self.waiting_updates: frozenset[bytes] = frozenset()
        """Devices whose checked updates wait here, as the edge server knows."""
        self.behind = False
        """Whether the others have sealed blocks that this server must fetch."""
        self._trace = trace
        self._checked: set[tuple[str, int, bytes]] = set()
        """Requests that passed since the last block; the other servers relay them too."""
        self._decoded: dict[bytes, Envelope] = {}
        self._awaited: tuple[int, Awaited] | None = None
        self._members: frozenset[bytes] = frozenset()
        self._registered: PublicKey | None = None
        self._kept: Counter[bytes] = Counter()
        """Blobs stored since the last block, by sender."""

    # --- what is awaited ---------------------------------------------------------------------

    @property
    def awaited(self) -> Awaited:
        """What the learning contract waits for after the last block."""
        if self._awaited is None or self._awaited[0] != self.ledger.height:
            plain = self.ledger.call("learning", "awaited")
            value = Awaited(plain["what"], tuple(plain["who"]), plain["needed"])
            self._awaited = (self.ledger.height, value)
        return self._awaited[1]

    # --- who may write --------------------------------------------------------------------------

    @property
    def members(self) -> frozenset[bytes]:
        """Addresses of the devices and edge servers of genesis: nobody joins later."""
        if not self._members:
            devices = self.ledger.call("learning", "registered")
            edges = map(address_of, self.ledger.genesis.edges)
            self._members = frozenset([*devices, *edges])
        return self._members

    def check_sender(self, envelope: Envelope) -> None:
        """Gas has no price, so strangers have no transactions. Raises `TransactionError`."""
        if envelope.address not in self.members:
            raise TransactionError(
                f"the sender {envelope.address.hex()} is neither a registered device nor an edge "
                "server")

    def check_senders(self, block: Block) -> None:
        """Raise `BlockError` for a block with a stranger's transaction."""
        for envelope in block.envelopes:
            try:
                self.check_sender(envelope)
            except TransactionError as error:
                raise BlockError(str(error)) from error

    # --- blobs ----------------------------------------------------------------------------------

    def stage(self, blobs: Sequence[bytes]) -> None:
        """Hold blobs that came with a request until the request is checked."""
        self.staged = tuple(blobs)

    def want(self, block: Block, roots: Sequence[bytes]) -> None:
        """Let the blobs ``roots`` in, which transactions of ``block`` name and this server lacks.

        Raises a `PeerError` unless each of these transactions is one that might be admitted.
        """
        wanted = {e.payload.root: (e, e.payload) for e in block.envelopes
                  if isinstance(e.payload, BlobPayload) and e.payload.root in roots}
        for envelope, payload in wanted.values():
            verify_envelope(envelope, self.ledger.chain)
            self.check_sender(envelope)
            check_size(payload, self.settings, self._public_key())
        self.wanted = {root: payload for root, (_, payload) in wanted.items()}
        self.missing = tuple(self.wanted)

    def demand_blobs(self, block: Block) -> None:
        """Raise `MissingBlobsError` where a device's blob lacks here, having made it wanted."""
        named = {e.payload.root for e in block.transactions if isinstance(e.payload, BlobPayload)}
        lacking = tuple(root for root in self.ledger.missing_blobs(block) if root in named)
        if lacking:
            self.want(block, lacking)
            raise MissingBlobsError(lacking)

    def take_blob(self, data: bytes) -> None:
        """Store a blob that a block was found to lack; raises `PeerError` for any other."""
        if all(len(data) != payload.size for payload in self.wanted.values()):
            raise PeerError("a blob that nothing here calls for")
        payload = self.wanted.get(blob_root(data))
        if payload is None:
            raise PeerError("a blob that nothing here calls for")
        verify_blob(data, payload.root, payload.chunks, payload.size)
        self.ledger.put_blob(data)
        del self.wanted[payload.root]

    def _public_key(self) -> PublicKey | None:
        """The registered key, once there is one."""
        if self._registered is None:
            record = self.ledger.call("learning", "key_of_run")
            if record:
                self._registered = self.host.ciphers.public_key(record["root"])
        return self._registered

    # --- requests -------------------------------------------------------------------------------

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
        self.check_sender(envelope)
        verify_envelope(envelope, self.ledger.chain)
        verify_admissible(envelope)
        if (request.client, request.timestamp) != (envelope.address.hex(), envelope.nonce):
            raise TransactionError("the request names another sender or nonce than its transaction")
        expected = self.ledger.next_nonce(envelope.address)
        if envelope.nonce < expected:
            raise TransactionError(f"nonce {envelope.nonce} was used; the next is {expected}")
        try:
            self._check_payload(envelope)
        except UntimelyError:
            raise  # it says nothing about the open phase
        except BdnError:
            if isinstance(envelope.payload, UpdateTransaction) and self._holds(envelope.payload):
                self.refused.add(envelope.address)  # signed by itself: it has answered
            raise
        self._checked.add(name)

    def _holds(self, payload: BlobPayload) -> bool:
        """Whether the blob is here. A relayed request may overtake it: that is no refusal."""
        staged = self._staged_blob(payload) is not None
        return staged or self.ledger.store.blob_size(payload.root) is not None

    def _staged_blob(self, payload: BlobPayload) -> bytes | None:
        """The blob that came with the request that names it."""
        for blob in self.staged:
            if len(blob) == payload.size and blob_root(blob) == payload.root:
                return blob
        return None

    def _check_payload(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if not isinstance(payload, BlobPayload):
            self._check_meaning(envelope)
            return
        check_size(payload, self.settings, self._public_key())
        stored = self.ledger.store.blob_size(payload.root) is not None
        staged = None if stored else self._staged_blob(payload)
        blob = self.ledger.blob(payload.root) if staged is None else staged
        verify_blob(blob, payload.root, payload.chunks, payload.size)
        if stored:
            self._check_meaning(envelope)
            return
        if self._kept[envelope.address] == BLOBS_AT_ONCE:
            raise TransactionError(f"{BLOBS_AT_ONCE} blobs since the last block are enough")
        self.host.staged = {payload.root: blob}
        try:
            self._check_meaning(envelope)
        finally:
            self.host.staged = {}
        self._kept[envelope.address] += 1
        self.ledger.put_blob(blob)

    def _check_meaning(self, envelope: Envelope) -> None:
        """Whether the learning contract waits for it, and an update's proof (line 16)."""
        payload = envelope.payload
        if isinstance(payload, UpdateTransaction):
            if not self.ledger.call("learning", "is_open", payload.epoch, payload.phase):
                raise UntimelyError(f"epoch {payload.epoch}, phase {payload.phase}, is not open")
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
