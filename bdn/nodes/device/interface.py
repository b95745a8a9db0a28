"""The contract interface (Section 3.2, component 3): how a device talks to the contracts.

It signs the device's transactions (registration, sharing of the local model, calls), sends them to
the device's edge server and, unanswered, to all; and it asks for what the device wants to read (the
request for the collaborative model). One question is under way at a time; an edge server that does
not answer, or answers with something that does not verify, loses the device to the next one. One
edge server's refusal of a transaction is its word alone: the device asks the others, until more
have refused than can be faulty.
"""

from collections.abc import Sequence

from bdn.chain import Payload, encode_envelope, sign_transaction
from bdn.identity import Identity
from bdn.nodes.device.light_node import LightNode
from bdn.nodes.events import CancelTimer, Effect, Send, SetTimer
from bdn.nodes.messages import (
    GetHeaders,
    Message,
    Submit,
    encode_message,
)
from bdn.nodes.requests import sign_request
from bdn.trace import DISCARD, Trace

ANSWER, SUBMISSION = "answer", "submission"
"""Timers: how long a question, or a transaction, may stay open."""

PAUSE = "pause"
"""Timer: how long nobody is asked, after every edge server has answered badly."""

FIRST_PAUSE_MS = 1_000
"""The first pause; each next one is twice as long."""

MAX_DOUBLINGS = 6
"""Patience grows to 64 times what it was, and no further."""

ANSWER_MS, SUBMISSION_MS = 5_000, 30_000
"""How long an answer, and a block with a transaction, may take at least."""

ANSWER_MS_PER_DEVICE, SUBMISSION_MS_PER_DEVICE = 50, 300
"""How much of that each device of the run may take: an edge server serves and checks them all, and
devices that ask again while it does make it slower."""

READ_KINDS = ("RegisterKey", "AggregateTransaction", "ShareTransaction")
"""Payload classes that a device reads in every block, besides its own transactions."""


class ContractInterface:
    """A device's line to the ledger.

    Args:
        name: the device's, for the trace.
        identity: signs transactions and requests.
        light: what the device believes about the chain.
        edges: names of the edge servers, the associated one first.
        gas_limit: of a transaction.
        answer_ms, submission_ms: patience with a question, and with a transaction; it doubles each
            time that it was not enough, since an edge server with a thousand updates to check is
            slow, and sending them again would make it slower.
    """

    def __init__(
        self, name: str, identity: Identity, light: LightNode, edges: Sequence[str],
        gas_limit: int, answer_ms: int = ANSWER_MS, submission_ms: int = SUBMISSION_MS,
        trace: Trace = DISCARD,
    ) -> None:
        self.name = name
        self.identity = identity
        self.light = light
        self.gas_limit = gas_limit
        self.nonce = 1  # the ownership statement in genesis has nonce 0
        self.submission: Submit | None = None
        self.question: Message | None = None
        self._edges = list(edges)
        self._asked: set[str] = set()
        """Edge servers to whom the question under way was put."""
        self._sent_to: set[str] = set()
        """Edge servers that have the transaction under way from us."""
        self._refused_by: set[str] = set()
        self._answer_ms = answer_ms
        self._submission_ms = submission_ms
        self._impatience = 0
        """Timeouts since something of ours was last answered."""
        self._bad_answers = 0
        """Answers that did not verify, since the last that did."""
        self._pausing = False
        self._trace = trace

    @property
    def faulty(self) -> int:
        """f: of f + 1 edge servers one is honest."""
        return (len(self._edges) - 1) // 3

    @property
    def edge(self) -> str:
        """The edge server that the device turns to now."""
        return self._edges[0]

    def _timer(self, name: str, after_ms: int) -> SetTimer:
        return SetTimer(name, after_ms << self._impatience)

    # --- sharing --------------------------------------------------------------------------------

    def submit(self, payload: Payload, blobs: Sequence[bytes] = ()) -> list[Effect]:
        """Sign ``payload`` and send it, with the blobs it names, to the device's edge server."""
        envelope = sign_transaction(
            self.identity, self.light.chain, self.nonce, self.gas_limit, payload
        )
        request = sign_request(
            self.light.chain, self.identity, self.nonce, encode_envelope(envelope)
        )
        self.submission = Submit(request, tuple(blobs))
        self._sent_to, self._refused_by = {self.edge}, set()
        self._trace.event("submit", node=self.name, kind=type(payload).__name__, nonce=self.nonce,
                          bytes=sum(map(len, blobs)) + len(request))
        return [
            Send(self.edge, encode_message(self.submission)),
            self._timer(SUBMISSION, self._submission_ms),
        ]

    def included(self, nonce: int) -> list[Effect]:
        """A transaction of ours stands in a block: the next one has the next nonce."""
        if nonce < self.nonce:
            return []
        self.nonce = nonce + 1
        return self.withdraw()

    def withdraw(self) -> list[Effect]:
        """Stop sending what was submitted: it is in a block, was refused, or is stale."""
        self.submission = None
        return [CancelTimer(SUBMISSION)]

    def refused(self, source: str) -> list[Effect]:
        """An edge server refuses the transaction under way; one word of f + 1 is honest.

        The transaction goes to the next edge server that has not refused it; `submission` is None
        afterwards where f + 1 have. The word of one that has not been asked counts nothing.
        """
        if self.submission is None or source not in self._sent_to - self._refused_by:
            return []
        self._refused_by.add(source)
        if len(self._refused_by) > self.faulty:
            return self.withdraw()
        unasked = [edge for edge in self._edges if edge not in self._sent_to]
        if not unasked:
            return []  # all have it; the others have not spoken yet
        self._sent_to.add(unasked[0])
        return [Send(unasked[0], encode_message(self.submission)),
                self._timer(SUBMISSION, self._submission_ms)]

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, question: Message) -> list[Effect]:
        """Put ``question`` to the device's edge server, unless one is under way, or we pause."""
        if self.question is not None or self._pausing:
            return []
        self.question, self._asked = question, {self.edge}
        return [Send(self.edge, encode_message(question)), self._timer(ANSWER, self._answer_ms)]

    def was_asked(self, source: str) -> bool:
        """Whether the question under way was put to ``source``."""
        return self.question is not None and source in self._asked

    def answered(self) -> list[Effect]:
        """The question under way has its answer."""
        self.question = None
        self._impatience = self._bad_answers = 0
        return [CancelTimer(ANSWER)]

    def bad_answer(self, reason: str) -> list[Effect]:
        """Turn to the next edge server; pause once all of them have answered badly.

        Without the pause, a device that believes nobody (its clock is behind, or it is of another
        chain) would ask as fast as its processor can.
        """
        self._bad_answers += 1
        rounds, turn = divmod(self._bad_answers, len(self._edges))
        if turn != 0:
            return self.distrust(reason)
        self._edges.append(self._edges.pop(0))
        self.question, self._pausing = None, True
        after_ms = FIRST_PAUSE_MS << min(rounds - 1, MAX_DOUBLINGS)
        self._trace.event("no-edge-believed", node=self.name, reason=reason, times=rounds,
                          again_after_ms=after_ms)
        return [CancelTimer(ANSWER), SetTimer(PAUSE, after_ms)]

    def distrust(self, reason: str) -> list[Effect]:
        """Turn to the next edge server, and put the question to it (or ask what is new)."""
        self._trace.event("edge-left", node=self.name, edge=self.edge, reason=reason)
        self._edges.append(self._edges.pop(0))
        question, self.question = self.question, None
        asked = self._asked if question is not None else set()
        effects = self.ask(question or GetHeaders(self.light.height))
        self._asked |= asked  # a late answer is an answer
        return effects

    def on_timeout(self, timer: str) -> list[Effect]:
        """Go on after a pause, or where a question or a transaction stayed open too long."""
        if timer == PAUSE:
            self._pausing = False
            return self.ask(GetHeaders(self.light.height))
        self._impatience = min(self._impatience + 1, MAX_DOUBLINGS)
        if timer == ANSWER and self.question is not None:
            return self.distrust("no answer")
        if timer == SUBMISSION and self.submission is not None:
            self._trace.event("submit-to-all", node=self.name)
            data = encode_message(self.submission)
            self._sent_to = set(self._edges)
            sends = [Send(edge, data) for edge in self._edges]
            after = self.light.height
            return [*sends, *self.ask(GetHeaders(after)),
                    self._timer(SUBMISSION, self._submission_ms)]
        return []
