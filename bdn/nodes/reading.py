"""How a device reads the ledger: header by header, block by block, and nothing that is not proven.

The reader follows the sealed headers, fetches from every block the transactions that matter to a
device (with proofs), and what the device asks for besides: blobs by root, cells of contract state.
One question is under way at a time (`bdn.nodes.interface`). Whatever does not verify is dropped,
and costs the edge server that sent it the device's trust.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bdn.chain import Envelope, EquivocationError, Evidence, Receipt, blob_root
from bdn.errors import BdnError, PeerError
from bdn.nodes.events import Effect, SetTimer
from bdn.nodes.interface import READ_KINDS, ContractInterface
from bdn.nodes.lightnode import AheadError, LightNode
from bdn.nodes.messages import (
    Blob,
    GetBlob,
    GetHeaders,
    GetState,
    GetTransactions,
    Message,
    Refused,
    SealedHeaders,
    StateCells,
    Transactions,
    decode_message,
)
from bdn.trace import DISCARD, Trace

POLL = "poll"
"""Timer: ask for new headers, in case nobody told us."""

OnTransaction = Callable[[Envelope, Receipt, int], list[Effect]]
"""Takes a proven transaction with its receipt and its block's height."""


class Reader:
    """A device's eyes.

    Args:
        name: the device's, for the trace.
        address: its 20-byte address; its own transactions are read in every block.
        light: what it believes about the chain.
        interface: its line to the edge servers.
        poll_ms: how often to ask for news unasked.
        on_transaction: told each transaction that was read.
        trace: told of bad answers and refusals.

    Attributes:
        height: of the last block that was read.
        blobs: fetched blobs by root.
        cells: proven cells of the learning contract's state; None where absent.
        evidence: two valid seals at one height, once they have been seen: more than f edge
            servers are faulty, and nothing on this chain is to be believed or opened any more.
    """

    def __init__(
        self, name: str, address: bytes, light: LightNode, interface: ContractInterface,
        poll_ms: int, on_transaction: OnTransaction, trace: Trace = DISCARD,
    ) -> None:
        self.height = 0
        self.blobs: dict[bytes, bytes] = {}
        self.cells: dict[bytes, bytes | None] = {}
        self.evidence: Evidence | None = None
        self._name = name
        self._address = address
        self._light = light
        self._interface = interface
        self._poll_ms = poll_ms
        self._on_transaction = on_transaction
        self._trace = trace
        self._cells_height = -1
        self._polled_height = -1
        self._refused_height = -1
        """Where the chain was when a transaction of ours was refused: try again after that."""
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            SealedHeaders: self._on_headers,
            Transactions: self._on_transactions,
            Blob: self._on_blob,
            StateCells: self._on_cells,
            Refused: self._on_refused,
        }

    @property
    def may_submit(self) -> bool:
        """Whether no transaction is under way, and none was refused at this height."""
        free = self._interface.submission is None
        return free and self._light.height > self._refused_height

    def blob(self, root: bytes) -> bytes:
        """A fetched blob; raises `PeerError` where it has not been fetched."""
        if root not in self.blobs:
            raise PeerError(f"the blob {root.hex()[:16]}… has not been fetched")
        return self.blobs[root]

    def forget_blobs(self, but: bytes) -> None:
        """Drop all fetched blobs except the one of root ``but``."""
        self.blobs = {root: blob for root, blob in self.blobs.items() if root == but}

    # --- asking ---------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """Ask for headers, now and from time to time."""
        return [*self._interface.ask(GetHeaders(self._light.height)), self._poll_later()]

    def ask_next(self, roots: Sequence[bytes], cells: Sequence[bytes]) -> list[Effect] | None:
        """Ask for the next thing that is missing; None when everything is here.

        Blocks come first, then the blobs ``roots``, then the learning contract's ``cells``, which
        are read anew at each height.
        """
        question = self._next_question(roots, cells)
        return self._interface.ask(question) if question is not None else None

    def _next_question(self, roots: Sequence[bytes], cells: Sequence[bytes]) -> Message | None:
        if self.height < self._light.settled_height:
            return GetTransactions(self.height + 1, READ_KINDS, self._address)
        for root in roots:
            if root not in self.blobs:
                return GetBlob(root)
        if cells and self._cells_height < self._light.settled_height:
            return GetState("learning", tuple(cells))
        return None

    def on_timeout(self, timer: str) -> list[Effect]:
        """The poll timer, or one of the interface's."""
        return self._poll() if timer == POLL else self._interface.on_timeout(timer)

    def _poll(self) -> list[Effect]:
        """Ask for new headers; an edge server that has had none for so long may be stuck."""
        stuck = self._light.height == self._polled_height and self._interface.question is None
        self._polled_height = self._light.height
        turn = self._interface.distrust("no new block") if stuck else []
        return [*turn, *self._interface.ask(GetHeaders(self._light.height)), self._poll_later()]

    def _poll_later(self) -> Effect:
        return SetTimer(POLL, self._poll_ms)

    # --- answers --------------------------------------------------------------------------------

    def receive(self, source: str, data: bytes, now_ms: int) -> list[Effect]:
        """Take a message; one that does not verify changes nothing but the device's trust."""
        try:
            message = decode_message(data)
            handler = self._handlers.get(type(message))
            return handler(message, now_ms) if handler is not None else []
        except EquivocationError as error:
            self.evidence = error.evidence
            self._trace.event("equivocation", node=self._name, height=error.evidence.first.height)
            return []
        except BdnError as error:
            self._trace.event("bad-answer", node=self._name, source=source, reason=str(error))
            return self._interface.distrust(str(error)) if source == self._interface.edge else []

    def _on_headers(self, message: SealedHeaders, now_ms: int) -> list[Effect]:
        settled = self._settle(GetHeaders)
        gap = self._light.accept(message.items, now_ms)
        return [*settled, *(self._interface.ask(GetHeaders(self._light.height)) if gap else [])]

    def _on_transactions(self, message: Transactions, _now: int) -> list[Effect]:
        if message.height != self.height + 1:
            return []
        found = self._light.read(message.proofs, message.height)
        effects = self._settle(GetTransactions)
        for envelope, receipt in found:
            if envelope.address == self._address:
                effects += self._interface.included(envelope.nonce)
            effects += self._on_transaction(envelope, receipt, message.height)
        self.height = message.height
        return effects

    def _on_blob(self, message: Blob, _now: int) -> list[Effect]:
        question = self._interface.question
        if not isinstance(question, GetBlob):
            return []
        if blob_root(message.data) != question.root:
            raise PeerError("the blob has another root than was asked for")
        self.blobs[question.root] = message.data
        return self._settle(GetBlob)

    def _on_cells(self, message: StateCells, _now: int) -> list[Effect]:
        question = self._interface.question
        if not isinstance(question, GetState):
            return []
        try:
            cells, height = self._light.read_cells(
                message.proofs, question.contract, question.keys)
        except AheadError:
            return [*self._settle(GetState), *self._interface.ask(GetHeaders(self._light.height))]
        self.cells.update(cells)
        self._cells_height = height
        return self._settle(GetState)

    def _on_refused(self, message: Refused, _now: int) -> list[Effect]:
        submitted = self._interface.submission
        if submitted is None or message.nonce != self._interface.nonce:
            return []
        self._trace.event("refused", node=self._name, reason=message.reason)
        self._refused_height = self._light.height
        return self._interface.withdraw()

    def _settle(self, kind: type[Message]) -> list[Effect]:
        return self._interface.answered() if isinstance(self._interface.question, kind) else []
