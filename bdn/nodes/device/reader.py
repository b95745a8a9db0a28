"""How a device reads the ledger: header by header, block by block, and nothing that is not proven.

The reader follows the sealed headers, fetches from every block the transactions that matter to a
device (with proofs), and what the device asks for besides: blobs by root, cells of contract state.
One question is under way at a time (`bdn.nodes.device.interface`). Whatever does not verify is
dropped, and costs the edge server that sent it the device's trust.

A proof shows that a transaction stands in a block, not that there is no other. So a device that
comes no further looks again: it asks other edge servers for the blocks since its last step, and
takes the union of what is proven. Of f + 1 answers one is honest, and nothing stays hidden. Where
all is well no block is asked for twice.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from bdn.chain import Envelope, EquivocationError, EquivocationEvidence, Receipt, blob_root
from bdn.chain.merkle import leaf_hash, verify_inclusion
from bdn.errors import PeerError
from bdn.nodes.device.interface import READ_KINDS, ContractInterface
from bdn.nodes.device.light_node import AheadError, LightNode
from bdn.nodes.events import Effect, SetTimer
from bdn.nodes.faults import Guard
from bdn.nodes.messages import (
    Blob,
    GetBlob,
    GetHeaders,
    GetLeaves,
    GetState,
    GetTransactions,
    Leaves,
    Message,
    Refusal,
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

Mark = Callable[[], Hashable]
"""Where the device stands, to tell whether it came further; None while it works by itself."""


class Reader:
    """A device's eyes.

    Args:
        name: the device's, for the trace.
        address: its 20-byte address; its own transactions are read in every block.
        light: what it believes about the chain.
        interface: its line to the edge servers.
        guard: records what is wrong with answers.
        poll_ms: how often to ask for news unasked.
        on_transaction: told each transaction that was read, once; one that an edge server had
            left out comes late.
        mark: see `Mark`.
        trace: told of bad answers and refusals.

    Attributes:
        height: of the last block that was read.
        step: of the block that the device's last step came from; what matters now stands there,
            or after it.
        blobs: fetched blobs by root.
        leaves: fetched leaves of other blobs, by root and position.
        cells: proven cells of the learning contract's state; None where absent.
        evidence: two valid seals at one height, once they have been seen: more than f edge
            servers are faulty, and nothing on this chain is to be believed or opened any more.
    """

    def __init__(
        self, name: str, address: bytes, light: LightNode, interface: ContractInterface,
        guard: Guard, poll_ms: int, on_transaction: OnTransaction, mark: Mark = lambda: None,
        trace: Trace = DISCARD,
    ) -> None:
        self.height = 0
        self.step = 0
        self.blobs: dict[bytes, bytes] = {}
        self.leaves: dict[tuple[bytes, int], bytes] = {}
        self.cells: dict[bytes, bytes | None] = {}
        self.evidence: EquivocationEvidence | None = None
        self._name = name
        self._address = address
        self._light = light
        self._interface = interface
        self._guard = guard
        self._poll_ms = poll_ms
        self._on_transaction = on_transaction
        self._mark = mark
        self._last_mark: Hashable = None
        self._looks_again = False
        self._answers: dict[int, set[str]] = {}
        """By height from `step` on: the edge servers whose answers were read."""
        self._read: dict[int, set[tuple[bytes, int]]] = {}
        """By height from `step` on: (sender, nonce) of the transactions that were read."""
        self._trace = trace
        self._cells_height = -1
        self._polled_height = -1
        self._refused_height = -1
        """Where the chain was when a transaction of ours was refused: try again after that."""
        self._handlers: dict[type, Callable[[Any, str, int], list[Effect]]] = {
            SealedHeaders: self._on_headers,
            Transactions: self._on_transactions,
            Blob: self._on_blob,
            Leaves: self._on_leaves,
            StateCells: self._on_cells,
            Refusal: self._on_refusal,
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

    def forget_blobs(self) -> None:
        """Drop all fetched blobs."""
        self.blobs = {}

    # --- asking ---------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """Ask for headers, now and from time to time."""
        return [*self._interface.ask(GetHeaders(self._light.height)), self._poll_later()]

    def ask_next(
        self, leaves: GetLeaves | None, roots: Sequence[bytes], cells: Sequence[bytes]
    ) -> list[Effect] | None:
        """Ask for the next thing that is missing; None when everything is here.

        Blocks come first, then single ``leaves``, then the blobs ``roots``, then the learning
        contract's ``cells``, which are read anew at each height.
        """
        question = self._next_question(leaves, roots, cells)
        return self._interface.ask(question) if question is not None else None

    def _next_question(
        self, leaves: GetLeaves | None, roots: Sequence[bytes], cells: Sequence[bytes]
    ) -> Message | None:
        if self.height < self._light.settled_height:
            return GetTransactions(self.height + 1, READ_KINDS, self._address)
        doubtful = self._doubtful() if self._looks_again else None
        if doubtful is not None:
            return GetTransactions(doubtful, READ_KINDS, self._address)
        self._looks_again = False
        if leaves is not None and any(
                (leaves.root, position) not in self.leaves for position in leaves.positions):
            return leaves
        for root in roots:
            if root not in self.blobs:
                return GetBlob(root)
        stale = self._cells_height < self._light.settled_height
        if cells and (stale or any(cell not in self.cells for cell in cells)):
            return GetState("learning", tuple(cells))
        return None

    def _doubtful(self) -> int | None:
        """The first block since `step` that the edge server might know more of, or None."""
        edge, enough = self._interface.edge, self._interface.faulty + 1
        for height in range(max(1, self.step), self.height + 1):
            answers = self._answers.get(height, set())
            if edge not in answers and len(answers) < enough:
                return height
        return None

    def forget_before(self, height: int) -> None:
        """The device made its step with the block at ``height``: earlier ones matter no more."""
        self.step = max(self.step, height)
        self._answers = {h: names for h, names in self._answers.items() if h >= self.step}
        self._read = {h: names for h, names in self._read.items() if h >= self.step}

    def on_timeout(self, timer: str) -> list[Effect]:
        """The poll timer, or one of the interface's."""
        return self._poll() if timer == POLL else self._interface.on_timeout(timer)

    def _poll(self) -> list[Effect]:
        """Ask for new headers; an edge server that has had none for so long may be stuck.

        Nor do we trust it where others' blocks come and we come no further: it may hide something.
        """
        free, mark = self._interface.question is None, self._mark()
        stuck = free and self._light.height == self._polled_height
        halted = free and mark is not None and mark == self._last_mark
        self._polled_height, self._last_mark = self._light.height, mark
        self._looks_again |= halted
        reason = "no new block" if stuck else "no step"
        turn = self._interface.distrust(reason) if stuck or halted else []
        return [*turn, *self._interface.ask(GetHeaders(self._light.height)), self._poll_later()]

    def _poll_later(self) -> Effect:
        return SetTimer(POLL, self._poll_ms)

    # --- answers --------------------------------------------------------------------------------

    def receive(self, source: str, data: bytes, now_ms: int) -> list[Effect]:
        """Take a message; one that does not verify changes nothing but the device's trust."""
        effects = self._guard.attempt(
            "bad-answer", source, lambda: self._take(source, data, now_ms), None)
        if effects is not None:
            return effects
        reason = self._guard.last_reason
        return self._interface.bad_answer(reason) if source == self._interface.edge else []

    def _take(self, source: str, data: bytes, now_ms: int) -> list[Effect] | None:
        message = decode_message(data)
        handler = self._handlers.get(type(message))
        try:
            return handler(message, source, now_ms) if handler is not None else []
        except EquivocationError as error:
            self.evidence = error.evidence
            self._trace.event("equivocation", node=self._name, height=error.evidence.first.height)
            return []

    def _on_headers(self, message: SealedHeaders, _source: str, now_ms: int) -> list[Effect]:
        gap = self._light.accept(message.items, now_ms)
        answered = self._answered(GetHeaders)
        return [*answered, *(self._interface.ask(GetHeaders(self._light.height)) if gap else [])]

    def _on_transactions(self, message: Transactions, source: str, _now: int) -> list[Effect]:
        question, height = self._interface.question, message.height
        if not isinstance(question, GetTransactions) or question.height != height:
            return []
        if not self._interface.was_asked(source):  # "it holds nothing for you" proves nothing
            return []
        found = self._light.read(message.proofs, height)
        effects = self._answered(GetTransactions)
        self._answers.setdefault(height, set()).add(source)
        read = self._read.setdefault(height, set())
        for envelope, receipt in found:
            name = (envelope.address, envelope.nonce)
            if name in read:
                continue
            read.add(name)
            if height <= self.height:
                self._trace.event("was-hidden", node=self._name, height=height,
                                  kind=type(envelope.payload).__name__)
            if envelope.address == self._address:
                self._refused_height = -1  # what is in a block was refused as used up
                effects += self._interface.included(envelope.nonce)
            effects += self._on_transaction(envelope, receipt, height)
        self.height = max(self.height, height)
        return effects

    def _on_blob(self, message: Blob, _source: str, _now: int) -> list[Effect]:
        question = self._interface.question
        if not isinstance(question, GetBlob):
            return []
        if blob_root(message.data) != question.root:
            raise PeerError("the blob has another root than was asked for")
        self.blobs[question.root] = message.data
        return self._answered(GetBlob)

    def _on_leaves(self, message: Leaves, _source: str, _now: int) -> list[Effect]:
        question = self._interface.question
        if not isinstance(question, GetLeaves):
            return []
        if (message.root, len(message.items)) != (question.root, len(question.positions)):
            raise PeerError("other leaves than were asked for")
        for position, (leaf, path) in zip(question.positions, message.items, strict=True):
            verify_inclusion(leaf_hash(leaf), position, question.size, path, question.root)
        self.leaves.update(((question.root, position), leaf) for position, (leaf, _)
                           in zip(question.positions, message.items, strict=True))
        return self._answered(GetLeaves)

    def _on_cells(self, message: StateCells, _source: str, _now: int) -> list[Effect]:
        question, height = self._interface.question, message.height
        if not isinstance(question, GetState):
            return []
        try:
            cells = self._light.read_cells(
                height, message.proofs, question.contract, question.keys)
        except AheadError:
            return [*self._answered(GetState), *self._interface.ask(GetHeaders(self._light.height))]
        if height < self._light.settled_height:
            raise PeerError(f"cells of height {height}; ours is {self._light.settled_height}")
        self.cells.update(cells)
        self._cells_height = height
        return self._answered(GetState)

    def _on_refusal(self, message: Refusal, source: str, _now: int) -> list[Effect]:
        submitted = self._interface.submission
        if submitted is None or message.nonce != self._interface.nonce:
            return []
        effects = self._interface.refused(source)
        if self._interface.submission is None:
            self._trace.event("refused", node=self._name, reason=message.reason)
            self._refused_height = self._light.height
            self._looks_again = True  # one before it may stand in a block, hidden from us
            effects += self._interface.distrust("refused")
        return effects

    def _answered(self, kind: type[Message]) -> list[Effect]:
        return self._interface.answered() if isinstance(self._interface.question, kind) else []
