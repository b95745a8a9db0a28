"""A client as a state machine without I/O: it believes f + 1 equal replies (Castro–Liskov 4.1).

It asks the primary that it knows of; unanswered, it asks everybody, again and again (Rule 9).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bdn.errors import PeerError, UsageError
from bdn.identity import Identity
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Broadcast, CancelTimer, Send, SetTimer
from bdn.pbft.messages import MessageError, Reply, Request
from bdn.pbft.signing import Ed25519Signing, Signing, signed, verify_message
from bdn.pbft.wire import decode_message, encode_message
from bdn.trace import DISCARD, Trace

REPLY_TIMER = "reply"
"""The client's only timer: the request was not answered in time."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """f + 1 replicas agree on ``result``, so a correct one executed the request."""

    timestamp: int
    operation: bytes
    result: bytes


ClientEffect = Send | Broadcast | SetTimer | CancelTimer | Accepted
"""A client's `Broadcast` goes to every replica."""


class Client:
    """One client with at most one request outstanding.

    Args:
        name: as replicas know it.
        identity: its signing key.
        cluster: the replicas' parameters.
        signing: real Ed25519 by ``identity`` unless an exploration passes another.
        timeout_ms: after how long it asks everybody (the cluster's request timeout by default).
    """

    def __init__(
        self, name: str, identity: Identity, cluster: Cluster, signing: Signing | None = None,
        timeout_ms: int | None = None, trace: Trace = DISCARD,
    ) -> None:
        self.name = name
        self.accepted: list[Accepted] = []
        self._identity = identity
        self._cluster = cluster
        self._signing = signing or Ed25519Signing(identity)
        self._timeout_ms = timeout_ms or cluster.request_timeout_ms
        self._trace = trace
        self._view = 0
        self._timestamp = 0
        self._request: Request | None = None
        self._replies: dict[int, Reply] = {}

    @property
    def outstanding(self) -> Request | None:
        """The request that waits for its certificate of replies."""
        return self._request

    def submit(
        self, operation: bytes, timestamp: int | None = None, to: Sequence[int] | None = None
    ) -> list[ClientEffect]:
        """Ask for ``operation``; raises `UsageError` while another request is outstanding.

        Args:
            operation: what the application is to do.
            timestamp: larger than any before; the next number by default.
            to: whom to ask first; the primary of the last view heard of by default.
        """
        if self._request is not None:
            raise UsageError(f"{self.name} still waits for {self._request.timestamp}")
        chosen = self._timestamp + 1 if timestamp is None else timestamp
        if chosen <= self._timestamp:
            raise UsageError(f"timestamp {chosen} is not above {self._timestamp}")
        self._timestamp = chosen
        bare = Request(self.name, self._identity.public_key, chosen, operation, b"")
        self._request = signed(bare, self._cluster.instance, self._signing)
        self._replies.clear()
        first = (self._cluster.primary(self._view),) if to is None else to
        data = encode_message(self._request)
        return [*(Send(replica, data) for replica in first), self._timer()]

    def timeout(self) -> list[ClientEffect]:
        """Unanswered: ask everybody."""
        if self._request is None:
            return []
        return [Broadcast(encode_message(self._request)), self._timer()]

    def receive(self, data: bytes) -> list[ClientEffect]:
        """A REPLY; what is no valid answer to the outstanding request changes nothing."""
        try:
            return self._take(data)
        except PeerError as error:
            self._trace.event("rejected", node=self.name, reason=str(error))
            return []

    def _take(self, data: bytes) -> list[ClientEffect]:
        # accept?
        message = decode_message(data)
        if not isinstance(message, Reply) or message.client != self.name:
            raise MessageError(f"not a REPLY for {self.name}")
        if self._request is None or message.timestamp != self._request.timestamp:
            return []
        if message.replica in self._replies:
            return []
        verify_message(message, self._cluster, self._signing)
        # record
        self._replies[message.replica] = message
        same = [r for r in self._replies.values() if r.result == message.result]
        if len(same) < self._cluster.weak:  # Rule 9e
            return []
        self._view = max(self._view, min(r.view for r in same))
        done = Accepted(message.timestamp, self._request.operation, message.result)
        self._request = None
        self.accepted.append(done)
        # send
        return [CancelTimer(REPLY_TIMER), done]

    def _timer(self) -> SetTimer:
        return SetTimer(REPLY_TIMER, self._timeout_ms)
