"""Proof of work in PBFT's place, so that the two can be compared (the paper's section 5).

One edge server mines, as in the paper's testbed; the others verify and store what it finds. A block
counts for the devices once k more stand on it, so the miner goes on with empty blocks until the
last one that matters is that deep. The `Miner` takes the same events as a PBFT replica.
"""

from collections.abc import Sequence
from typing import Protocol

from bdn.chain import AUXILIARY, Ledger, ProofOfWork, decode_block, encode_block, mine
from bdn.errors import BdnError
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.requests import Request, decode_request
from bdn.pbft import events as pbft_events
from bdn.trace import DISCARD, Trace


class Agreement(Protocol):
    """What an edge server asks of its consensus: a PBFT replica, or a miner."""

    @property
    def view(self) -> int:
        """The current view; 0 for a miner."""

    def step(self, event: pbft_events.Event) -> list[pbft_events.Effect]:
        """Take one event."""


class Miner:
    """One edge server under proof of work.

    Args:
        application: its ledger.
        mines: whether this server is the one that mines.
        confirmations: k, empty blocks to mine on top of the last one with transactions.
        trace: told of mined blocks.
    """

    view = 0

    def __init__(
        self, application: LedgerApplication, mines: bool, confirmations: int,
        trace: Trace = DISCARD,
    ) -> None:
        self._application = application
        self._mines = mines
        self._confirmations = confirmations
        self._pending: dict[tuple[str, int], Request] = {}
        self._trace = trace

    def step(self, event: pbft_events.Event) -> list[pbft_events.Effect]:
        """Take a request in; then, at the miner, mine whatever is due."""
        if isinstance(event, pbft_events.Receive):
            self._receive(event)
        if self._mines:
            while (payload := self._next_block()) is not None:
                self._mine(payload)
        return []

    def _receive(self, event: pbft_events.Receive) -> None:
        try:
            request = decode_request(event.data)
            self._application.check_request(request)
        except BdnError as error:
            self._trace.event("rejected", node=self._application.name, reason=str(error))
            return
        self._pending[request.client, request.timestamp] = request

    @property
    def _ledger(self) -> Ledger:
        return self._application.ledger

    def _next_block(self) -> bytes | None:
        """What is due; an empty block where the last full one is not deep enough; else None."""
        waiting: Sequence[Request] = list(self._pending.values())
        payload = self._application.propose(self._ledger.height + 1, waiting)
        if payload is not None:
            return payload
        if self._depth() >= self._confirmations:
            return None
        head = self._ledger.head
        empty = self._ledger.propose(
            kind=AUXILIARY, epoch=head.epoch, time=max(self._application.now_ms, head.time + 1),
            proposer=self._application.identity.address, transactions=(),
        )
        return encode_block(empty.block)

    def _depth(self) -> int:
        """Blocks on top of the last one with transactions."""
        height = self._ledger.height
        while height > 0 and not self._ledger.store.block(height).envelopes:
            height -= 1
        return self._ledger.height - height if height > 0 else self._confirmations

    def _mine(self, payload: bytes) -> None:
        header = decode_block(payload).header
        difficulty = self._ledger.next_difficulty()
        with self._trace.span("mine", node=self._application.name, difficulty=difficulty):
            seal: ProofOfWork = mine(header, difficulty)
        self._application.execute(header.height, payload, seal)
        self._pending = {name: request for name, request in self._pending.items()
                         if self._application.still_wanted(request)}
