"""An edge server: full node, PBFT replica, and the devices' door to the ledger (Section 3.2).

It takes devices' transactions, checks them, and passes them on to the other edge servers; the
replica agrees with the others on blocks (`LedgerApplication`). It serves headers, proofs and bulky
bytes to light nodes, and sealed blocks to other edge servers that fell behind. It trusts nobody,
and nobody needs to trust it: everything that it serves can be checked by whoever asked.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bdn.chain import (
    PROOF_OF_WORK,
    Envelope,
    InclusionProof,
    MissingBlobsError,
    apply_sealed_block,
    blocks_after,
    decode_sealed,
    encode_header,
    encode_seal,
    encode_sealed,
    unpack_blob,
    without_receipt,
)
from bdn.chain.blocks import is_aggregate
from bdn.chain.merkle import Tree
from bdn.encoding import encode_record
from bdn.errors import BdnError, PeerError
from bdn.nodes.edge.admission import UntimelyError
from bdn.nodes.edge.application import UPDATES, LedgerApplication
from bdn.nodes.edge.miner import Agreement
from bdn.nodes.events import (
    CancelTimer,
    Effect,
    Event,
    Persist,
    Received,
    Send,
    SetTimer,
    Started,
    TimedOut,
)
from bdn.nodes.faults import Guard
from bdn.nodes.messages import (
    Blob,
    Consensus,
    GetBlob,
    GetBlocks,
    GetHeaders,
    GetLeaves,
    GetState,
    GetTransactions,
    Leaves,
    Message,
    Refusal,
    Relay,
    SealedBlocks,
    SealedHeaders,
    StateCells,
    Submit,
    Transactions,
    decode_message,
    encode_message,
)
from bdn.nodes.requests import decode_request
from bdn.pbft import events as pbft_events
from bdn.trace import DISCARD, Trace

DEADLINE = "deadline"
MINER = 0
"""The edge server that mines under proof of work; one miner, as in the paper's section 5."""
CONSENSUS = "pbft/"
HEADERS_AT_ONCE = 256
BLOCKS_AT_ONCE = 8
KEPT_BLOBS = 4
"""Blobs that are kept ready to be sent: every device asks for the key, the sum and the shares at
about the same time, and reading a blob means hashing it whole."""

class EdgeServer:
    """One edge server.

    Args:
        name: how nodes and people call it.
        index: its place among the chain's edge servers, which is its replica index.
        application: its ledger.
        agreement: its PBFT replica, ``sequential`` since sequence = height; or a miner.
        edges: all edge servers' names by index.
        devices: names of the devices that it tells of new headers.
        trace: told what happens.
    """

    def __init__(
        self,
        name: str,
        index: int,
        application: LedgerApplication,
        agreement: Agreement,
        edges: Sequence[str],
        devices: Sequence[str],
        trace: Trace = DISCARD,
    ) -> None:
        self.name = name
        self.index = index
        self.application = application
        self.ledger = application.ledger
        self.agreement = agreement
        self._edges = list(edges)
        self._devices = list(devices)
        self._announced = self.ledger.height
        self._shortfall = ""
        """What was told last of what is missing."""
        self._behind: tuple[SealedBlocks, str] | None = None
        """Sealed blocks that wait for blobs, and who sent them."""
        self._served: dict[bytes, bytes] = {}
        """Encoded blobs by root, the newest last."""
        self._key_leaves: tuple[bytes, list[bytes], Tree] | None = None
        """Root, leaves and tree of the blob that was last asked for by the leaf: the key's."""
        self._handlers: dict[type, Callable[[Any, str], list[Effect]]] = {
            Submit: self._on_submit,
            Relay: self._on_relay,
            Consensus: self._on_consensus,
            GetHeaders: self._on_get_headers,
            GetTransactions: self._on_get_transactions,
            GetState: self._on_get_state,
            GetBlob: self._on_get_blob,
            GetLeaves: self._on_get_leaves,
            Blob: self._on_blob,
            GetBlocks: self._on_get_blocks,
            SealedBlocks: self._on_sealed_blocks,
        }
        self._trace = trace
        self._guard = Guard(name, trace)

    @property
    def view(self) -> int:
        """The view of its consensus."""
        return self.agreement.view

    # --- events ---------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event. What others do wrong is told to the trace, and changes nothing."""
        self.application.tick(now_ms)
        nothing: list[Effect] = []
        height = self.ledger.height
        source = event.source if isinstance(event, Received) else self.name
        effects = self._guard.attempt("refused", source, lambda: self._take(event), nothing)
        while self.ledger.height != height:  # what came early may make the next block
            height = self.ledger.height
            effects = [*effects, *self._guard.attempt(
                "refused", self.name, self._after_commit, nothing)]
        return [*effects, *self._fetch_missing(), *self._announce()]

    def _take(self, event: Event) -> list[Effect]:
        match event:
            case Started():
                return [
                    *self._consensus(pbft_events.Start()),
                    *self._to_edges(GetBlocks(self.ledger.height)),
                    self._deadline(),
                ]
            case Received(source, data):
                message = decode_message(data)
                handler = self._handlers.get(type(message))
                return handler(message, source) if handler is not None else []
            case TimedOut(timer):
                return self._on_timeout(timer)
            case _:
                return []

    def _on_timeout(self, timer: str) -> list[Effect]:
        if timer.startswith(CONSENSUS):
            return self._consensus(pbft_events.Timeout(timer.removeprefix(CONSENSUS)))
        if timer == DEADLINE:
            self.application.pass_deadline()
            self._tell_shortfall()
            effects: list[Effect] = []
            if self._behind is not None:  # who sent sealed blocks kept their blobs: ask all
                self._behind = None
                effects += self._to_edges(GetBlocks(self.ledger.height))
            return [*effects, *self._consensus(pbft_events.Poke()), self._deadline()]
        return []

    def _tell_shortfall(self) -> None:
        """Tell who is missing as soon as it is late, and not only when everybody gives up."""
        said = self.application.shortfall()
        if said and said != self._shortfall:
            self._trace.event("waiting", node=self.name, height=self.ledger.height, reason=said)
        self._shortfall = said

    def _deadline(self) -> Effect:
        settings = self.application.settings
        updates = self.application.awaited.what == UPDATES
        return SetTimer(DEADLINE, settings.deadline_ms if updates else settings.gather_ms)

    # --- devices' transactions ------------------------------------------------------------------

    def _on_submit(self, message: Submit, source: str) -> list[Effect]:
        """Check a device's transaction, and pass it on to the other servers."""
        # accept?
        new = self._guard.attempt("refused", source, lambda: self.application.admission.take(
            message.request, message.blobs), None)
        if new is None:
            refusal = Refusal(_nonce_of(message.request), self._guard.last_reason)
            # a refused update may have been the last one that was waited for
            return [Send(source, encode_message(refusal)), *self._consensus(pbft_events.Poke())]
        if not new:
            return []
        # send
        passed_on = self._to_edges(Relay(message.request, message.blobs))
        return [*passed_on, *self._request(message.request)]

    def _on_relay(self, message: Relay, source: str) -> list[Effect]:
        """Check a transaction that another server passed on."""
        # accept?
        new = self._guard.attempt("refused", source, lambda: self._take_relayed(message, source),
                                  None)
        if new is None:
            return self._consensus(pbft_events.Poke())
        # send
        return self._request(message.request) if new else []

    def _take_relayed(self, message: Relay, source: str) -> bool:
        """Return whether the transaction waits now, and is new; one that came early is kept."""
        admission = self.application.admission
        try:
            return admission.take(message.request, message.blobs)
        except UntimelyError as error:
            self._trace.event("untimely", node=self.name, source=source, reason=str(error))
            admission.keep_early(message.request, message.blobs)
            return False

    def _request(self, request: bytes) -> list[Effect]:
        return self._consensus(pbft_events.Receive(self.name, request))

    # --- consensus ------------------------------------------------------------------------------

    def _on_consensus(self, message: Consensus, source: str) -> list[Effect]:
        sender = self._edges.index(source) if source in self._edges else source
        return self._consensus(pbft_events.Receive(sender, message.data))

    def _consensus(self, event: Any) -> list[Effect]:
        """Step the replica and carry its effects to ours."""
        return [ours for effect in self.agreement.step(event) for ours in self._translate(effect)]

    def _translate(self, effect: Any) -> list[Effect]:
        match effect:
            case pbft_events.Send(to, data):
                return [Send(self._edges[to], encode_message(Consensus(data)))]
            case pbft_events.Broadcast(data):
                return self._to_edges(Consensus(data))
            case pbft_events.SetTimer(name, after_ms):
                return [SetTimer(CONSENSUS + name, after_ms)]
            case pbft_events.CancelTimer(name):
                return [CancelTimer(CONSENSUS + name)]
            case pbft_events.Persist(record):
                return [Persist(record)]
            case _:  # replies: devices believe sealed headers, not replies
                return []

    def _after_commit(self) -> list[Effect]:
        """Set a new deadline, send (as a miner) what the others lack, and take what came early."""
        early = self.application.admission.take_early()
        again = [effect for request in early for effect in self._request(request)]
        return [self._deadline(), *self._publish(), *again]

    def _publish(self) -> list[Effect]:
        """Under proof of work nobody else has the new blocks: send them."""
        if self.ledger.genesis.consensus != PROOF_OF_WORK or self.index != MINER:
            return []
        blocks = blocks_after(self.ledger.store, self._announced, HEADERS_AT_ONCE)
        return self._to_edges(SealedBlocks(tuple(encode_sealed(sealed) for sealed in blocks)))

    def _announce(self) -> list[Effect]:
        """Tell our devices of newly sealed headers."""
        if self._announced == self.ledger.height:
            return []
        message = encode_message(self._headers_after(self._announced))
        self._announced = self.ledger.height
        return [Send(device, message) for device in self._devices]

    # --- catching up ----------------------------------------------------------------------------

    def _fetch_missing(self) -> list[Effect]:
        """Ask the other servers for blobs that a proposed block names, and for sealed blocks."""
        missing = self.application.take_missing()
        effects = [send for root in missing for send in self._to_edges(GetBlob(root))]
        if self.application.take_behind():
            effects += self._to_edges(GetBlocks(self.ledger.height))
        return effects

    def _on_blob(self, message: Blob, source: str) -> list[Effect]:
        """A blob is kept where a block was found to lack it, and dropped otherwise."""
        try:
            self.application.admission.take_blob(message.data)
        except PeerError as error:
            self._trace.event("blob-dropped", node=self.name, source=source,
                              bytes=len(message.data), reason=str(error))
            return []
        if self.application.admission.wanted:
            return []
        waiting, self._behind = self._behind, None
        again = self._on_sealed_blocks(*waiting) if waiting is not None else []
        return [*again, *self._consensus(pbft_events.Poke())]

    def _on_get_blocks(self, message: GetBlocks, source: str) -> list[Effect]:
        blocks = blocks_after(self.ledger.store, message.after, BLOCKS_AT_ONCE)
        answer = SealedBlocks(tuple(encode_sealed(sealed) for sealed in blocks))
        return [Send(source, encode_message(answer))] if blocks else []

    def _on_sealed_blocks(self, message: SealedBlocks, source: str) -> list[Effect]:
        """Sealed blocks from another server: verified, executed, committed, one by one.

        The blobs that they lack are asked of who sent them; then they are taken up again.
        """
        start = self.ledger.height
        effects: list[Effect] = []
        for data in message.blocks:
            try:
                sealed = decode_sealed(data)
                self.application.prepare(sealed)
                if apply_sealed_block(self.ledger, sealed) is not None:
                    self.application.after_commit()
            except MissingBlobsError as error:
                self._behind = message, source
                effects = [Send(source, encode_message(GetBlob(root))) for root in error.roots]
                break
        if self.ledger.height == start:
            return effects
        self._trace.event("caught-up", node=self.name, height=self.ledger.height)
        if not effects:
            effects = [Send(source, encode_message(GetBlocks(self.ledger.height)))]
        restored = self.application.take_restored()
        if restored is not None:
            effects += self._consensus(pbft_events.Restored(restored))
        return effects

    def _to_edges(self, message: Message) -> list[Effect]:
        data = encode_message(message)
        return [Send(edge, data) for i, edge in enumerate(self._edges) if i != self.index]

    # --- serving light nodes --------------------------------------------------------------------

    def _on_get_headers(self, message: GetHeaders, source: str) -> list[Effect]:
        return [Send(source, encode_message(self._headers_after(message.after)))]

    def _headers_after(self, height: int) -> SealedHeaders:
        store = self.ledger.store
        last = min(self.ledger.height, height + HEADERS_AT_ONCE)
        items = []
        for number in range(max(1, height + 1), last + 1):
            seal = store.seal(number)
            if seal is not None:
                items.append((encode_header(store.header(number)), encode_seal(seal)))
        return SealedHeaders(tuple(items))

    def _on_get_transactions(self, message: GetTransactions, source: str) -> list[Effect]:
        if not 1 <= message.height <= self.ledger.height:
            return self._not_here(source, f"block {message.height}")
        block = self.ledger.proofs(message.height)
        wanted = block.positions(message.kinds, message.sender)
        proofs = tuple(encode_record(_short(block.proof(position), block.envelopes[position]))
                       for position in wanted)
        return [Send(source, encode_message(Transactions(message.height, proofs)))]

    def _on_get_state(self, message: GetState, source: str) -> list[Effect]:
        height = self.ledger.height
        proofs = tuple(encode_record(self.ledger.state_proof(message.contract, key))
                       for key in message.keys)
        return [Send(source, encode_message(StateCells(height, proofs)))]

    def _on_get_blob(self, message: GetBlob, source: str) -> list[Effect]:
        if self.ledger.store.blob_size(message.root) is None:
            return self._not_here(source, f"blob {message.root[:8].hex()}…")
        if message.root not in self._served:
            encoded = encode_message(Blob(self.ledger.blob(message.root)))
            while len(self._served) >= KEPT_BLOBS:
                del self._served[next(iter(self._served))]
            self._served[message.root] = encoded
        return [Send(source, self._served[message.root])]

    def _on_get_leaves(self, message: GetLeaves, source: str) -> list[Effect]:
        """Serve single leaves of a blob that holds something for each of many devices."""
        if self._key_leaves is None or self._key_leaves[0] != message.root:
            if self.ledger.store.blob_size(message.root) is None:
                return self._not_here(source, f"blob {message.root[:8].hex()}…")
            leaves = unpack_blob(self.ledger.blob(message.root))
            self._key_leaves = message.root, leaves, Tree(leaves)
        _, leaves, tree = self._key_leaves
        if message.size != len(leaves) or any(i >= len(leaves) for i in message.positions):
            raise PeerError(f"the blob has {len(leaves)} leaves, and not what was asked for")
        items = tuple((leaves[i], tuple(tree.inclusion_proof(i))) for i in message.positions)
        return [Send(source, encode_message(Leaves(message.root, items)))]

    def _not_here(self, source: str, what: str) -> list[Effect]:
        """Say nothing, since the peer asks others too: what is not here yet is nobody's fault."""
        self._trace.event("not-here", node=self.name, source=source, what=what)
        return []


def _short(proof: InclusionProof, envelope: Envelope) -> InclusionProof:
    """The proof as a device needs it: of Tx_co without the receipt, which names all devices."""
    return without_receipt(proof) if is_aggregate(envelope) else proof


def _nonce_of(request: bytes) -> int:
    """The nonce in a refused request, as far as it can be read."""
    try:
        return decode_request(request).timestamp
    except BdnError:
        return 0
