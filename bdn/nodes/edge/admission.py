"""What may wait for a block: an edge server's checks of devices' transactions and their blobs.

A transaction that passes waits here until a block holds it. Blobs come in with the request that
names them, or because a proposed block names them and this server has none: nothing else is stored.
"""

import functools
from collections import Counter
from collections.abc import Sequence
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
from bdn.chain.execution import verify_admissible
from bdn.errors import BdnError, PeerError, shown
from bdn.identity import address_of
from bdn.nodes.edge.blob_sizes import BLOBS_AT_ONCE, check_size
from bdn.nodes.faults import Guard
from bdn.nodes.requests import Request, decode_request
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost
from bdn.paillier import PublicKey
from bdn.trace import DISCARD, Trace

EARLY_BLOCKS = 4
"""How many blocks a transaction that came before its time may wait for its turn."""

DECODED = 10_000
"""Decoded transactions that are kept."""


class UntimelyError(TransactionError):
    """Nobody waits for the transaction at this height; after the next blocks that may change."""


class AbsentBlobError(TransactionError):
    """The transaction's blob is not here: a request may overtake the megabytes that it names."""


@dataclass(frozen=True, slots=True)
class Early:
    """A request with its blobs that came a block or more before its time.

    Attributes:
        request, blobs: as another server passed them on.
        last: the last height at which it is tried again.
    """

    request: bytes
    blobs: tuple[bytes, ...]
    last: int


class Admission:
    """Which transactions and blobs one edge server lets in.

    Args:
        name: the server's, for the trace.
        ledger: its own full copy.
        host: the mining contract's host functions over that ledger.
        settings: from genesis.
        trace: told what happens.

    Attributes:
        waiting: checked requests that wait for their block, by the device's address.
        refused: devices whose own update for the open phase was refused: they have answered.
        wanted: by root, what names a blob: the only blobs that are taken without a request.
    """

    def __init__(
        self, name: str, ledger: Ledger, host: VectorHost, settings: Settings,
        trace: Trace = DISCARD,
    ) -> None:
        self.waiting: dict[bytes, bytes] = {}
        self.refused: set[bytes] = set()
        self.wanted: dict[bytes, BlobPayload] = {}
        self._name = name
        self._ledger = ledger
        self._host = host
        self._settings = settings
        self._trace = trace
        self._guard = Guard(name, trace)
        self._staged: tuple[bytes, ...] = ()
        """Blobs that came with a request, until the request has been checked."""
        self._early: dict[bytes, Early] = {}
        """By device. Only members' requests get that far."""
        self._checked: set[tuple[str, int, bytes]] = set()
        """Requests that passed since the last block; the other servers relay them too."""
        self._decoded: dict[bytes, Envelope] = {}
        self._members: frozenset[bytes] = frozenset()
        self._registered: PublicKey | None = None
        self._kept: Counter[bytes] = Counter()
        """Blobs stored since the last block, by sender."""

    # --- who may write --------------------------------------------------------------------------

    @property
    def members(self) -> frozenset[bytes]:
        """Addresses of the devices and edge servers of genesis: nobody joins later."""
        if not self._members:
            devices = self._ledger.call("learning", "registered")
            edges = map(address_of, self._ledger.genesis.edges)
            self._members = frozenset([*devices, *edges])
        return self._members

    def check_sender(self, envelope: Envelope) -> None:
        """Raise `TransactionError` for a stranger: gas has no price, so strangers may not call."""
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

    # --- requests that wait ---------------------------------------------------------------------

    def take(self, request_bytes: bytes, blobs: Sequence[bytes]) -> bool:
        """Check a request with its blobs and let it wait; return False where it waits already.

        Raises a `PeerError` that says why it may not wait.
        """
        request = decode_request(request_bytes)
        device = client_address(request)
        if self.waiting.get(device) == request_bytes:
            return False
        self._staged = tuple(blobs)
        try:
            self.check_request(request)
        finally:
            self._staged = ()  # nothing of a refused request is kept
        self.waiting[device] = request_bytes
        return True

    def keep_early(self, request_bytes: bytes, blobs: tuple[bytes, ...]) -> None:
        """Keep what servers that are a block ahead of us took already; one request per device."""
        device = client_address(decode_request(request_bytes))
        self._early[device] = Early(request_bytes, blobs, self._ledger.height + EARLY_BLOCKS)

    def take_early(self) -> list[bytes]:
        """After a block, take what came before its time; return the requests that wait now."""
        early, self._early = self._early, {}
        taken = []
        for device, item in early.items():
            if self._guard.attempt(
                "refused", self._name, functools.partial(self._take_again, device, item), False
            ):
                taken.append(item.request)
        return taken

    def _take_again(self, device: bytes, item: Early) -> bool:
        try:
            return self.take(item.request, item.blobs)
        except UntimelyError:
            if self._ledger.height < item.last:
                self._early[device] = item
            return False

    def with_updates(self) -> frozenset[bytes]:
        """Return the devices whose checked updates wait here."""
        return frozenset(device for device, data in self.waiting.items() if isinstance(
            self.envelope(decode_request(data).operation).payload, UpdateTransaction))

    def after_commit(self) -> None:
        """Forget what a new block has settled: nobody has answered yet."""
        self.refused.clear()
        self.wanted = {}
        self._checked.clear()
        self._kept.clear()
        self.waiting = {device: request for device, request in self.waiting.items()
                        if self.still_wanted(decode_request(request))}

    # --- checking a request ---------------------------------------------------------------------

    def check_request(self, request: Request) -> None:
        """Check signature, nonce, shape, membership and proof. Raises a `PeerError`."""
        name = (request.client, request.timestamp, request.operation)
        if name in self._checked:
            return
        envelope = self.envelope(request.operation)
        self.check_sender(envelope)
        verify_envelope(envelope, self._ledger.chain)
        verify_admissible(envelope)
        if (request.client, request.timestamp) != (envelope.address.hex(), envelope.nonce):
            raise TransactionError("the request names another sender or nonce than its transaction")
        expected = self._ledger.next_nonce(envelope.address)
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

    def _check_payload(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if not isinstance(payload, BlobPayload):
            return
        check_size(payload, self._settings, self._public_key())
        stored = self._ledger.store.blob_size(payload.root) is not None
        blob = self._ledger.blob(payload.root) if stored else self._staged_blob(payload)
        if blob is None:
            raise AbsentBlobError(f"its blob {shown(payload.root, 20)} is not here")
        verify_blob(blob, payload.root, payload.chunks, payload.size)
        if stored:
            self._check_update(envelope)
            return
        if self._kept[envelope.address] == BLOBS_AT_ONCE:
            raise TransactionError(f"{BLOBS_AT_ONCE} blobs since the last block are enough")
        self._host.staged = {payload.root: blob}
        try:
            self._check_update(envelope)
        finally:
            self._host.staged = {}
        self._kept[envelope.address] += 1
        self._ledger.put_blob(blob)

    def _check_update(self, envelope: Envelope) -> None:
        """Check that the learning contract waits for an update, and its proof (line 16)."""
        payload = envelope.payload
        if not isinstance(payload, UpdateTransaction):
            return
        if not self._ledger.call("learning", "is_open", payload.epoch, payload.phase):
            raise UntimelyError(f"epoch {payload.epoch}, phase {payload.phase}, is not open")
        if not self._ledger.call("learning", "is_drawn", payload.epoch, payload.phase,
                                 envelope.address):
            raise TransactionError(f"the device was not drawn for epoch {payload.epoch}")
        terms = self._ledger.call("learning", "sealing_terms")
        with self._trace.span("verify-update", node=self._name):
            self._host.verify(terms, payload.epoch, payload.phase, envelope.address,
                              UpdateRecord.of(payload))

    def still_wanted(self, request: Request) -> bool:
        """Return whether the request may yet stand in a block."""
        envelope = self.envelope(request.operation)
        if envelope.nonce < self._ledger.next_nonce(envelope.address):
            return False
        payload = envelope.payload
        return not isinstance(payload, UpdateTransaction) or bool(
            self._ledger.call("learning", "is_open", payload.epoch, payload.phase)
        )

    def envelope(self, operation: bytes) -> Envelope:
        """Return the transaction in a request's operation, decoded once."""
        if operation not in self._decoded:
            if len(self._decoded) > DECODED:
                self._decoded.clear()
            self._decoded[operation] = decode_envelope(operation)
        return self._decoded[operation]

    # --- blobs ----------------------------------------------------------------------------------

    def want(self, block: Block, roots: Sequence[bytes]) -> None:
        """Let the blobs ``roots`` in, which transactions of ``block`` name and this server lacks.

        Raises a `PeerError` unless each of these transactions is one that might be admitted.
        """
        wanted = {e.payload.root: (e, e.payload) for e in block.envelopes
                  if isinstance(e.payload, BlobPayload) and e.payload.root in roots}
        for envelope, payload in wanted.values():
            verify_envelope(envelope, self._ledger.chain)
            self.check_sender(envelope)
            check_size(payload, self._settings, self._public_key())
        self.wanted = {root: payload for root, (_, payload) in wanted.items()}

    def demand_blobs(self, block: Block) -> None:
        """Raise `MissingBlobsError` where a device's blob is missing, having made it wanted."""
        named = {e.payload.root for e in block.transactions if isinstance(e.payload, BlobPayload)}
        missing = tuple(root for root in self._ledger.missing_blobs(block) if root in named)
        if missing:
            self.want(block, missing)
            raise MissingBlobsError(missing)

    def take_blob(self, data: bytes) -> None:
        """Store a blob that a block was found to lack; raise `PeerError` for any other."""
        if all(len(data) != payload.size for payload in self.wanted.values()):
            raise PeerError("a blob that nothing here calls for")
        payload = self.wanted.get(blob_root(data))
        if payload is None:
            raise PeerError("a blob that nothing here calls for")
        verify_blob(data, payload.root, payload.chunks, payload.size)
        self._ledger.put_blob(data)
        del self.wanted[payload.root]

    def _holds(self, payload: BlobPayload) -> bool:
        """Return whether the blob is here. A relayed request may overtake it: no refusal."""
        staged = self._staged_blob(payload) is not None
        return staged or self._ledger.store.blob_size(payload.root) is not None

    def _staged_blob(self, payload: BlobPayload) -> bytes | None:
        """Return the blob that came with the request that names it."""
        for blob in self._staged:
            if len(blob) == payload.size and blob_root(blob) == payload.root:
                return blob
        return None

    def _public_key(self) -> PublicKey | None:
        """Return the registered key, once there is one."""
        if self._registered is None:
            record = self._ledger.call("learning", "key_of_run")
            if record:
                self._registered = self._host.ciphers.public_key(record["root"])
        return self._registered


def client_address(request: Request) -> bytes:
    """Return the 20-byte address of a request's sender; raise `PeerError` where it is none."""
    try:
        return bytes.fromhex(request.client)
    except ValueError as error:
        raise PeerError("the request's client is no address") from error
