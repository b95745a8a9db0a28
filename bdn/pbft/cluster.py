"""What all replicas of one cluster agree on beforehand, and the arithmetic of its quorums.

Letters: n replicas, f = ⌊(n − 1)/3⌋ of them faulty, q = ⌈(n + f + 1)/2⌉ the quorum (Rule 3),
K the checkpoint interval, L the window, h the last stable checkpoint, H = h + L.
"""

from dataclasses import dataclass

from bdn.errors import UsageError
from bdn.seal import fault_bound, quorum

VOTE_BYTES = 200
"""A PRE-PREPARE without payload, PREPARE, COMMIT or CHECKPOINT is encoded in fewer bytes."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster's parameters; frozen, shared by all replicas and clients.

    Attributes:
        instance: names the chain or cluster; every signature covers it.
        public_keys: 32-byte Ed25519 keys, by replica index.
        checkpoint_interval: K, a checkpoint after every K executions.
        window: L, how many sequence numbers above the stable checkpoint are taken (L ≥ K).
        batch_size: the most requests in one payload (for applications that batch).
        pipeline: the most proposals of a primary in flight.
        request_timeout_ms: how long a valid request may wait before the primary is suspected.
        view_timeout_ms: how long a new view may take at first; doubles at each failure.
        status_ms: how often a replica tells how far it is.
        max_payload: the longest payload taken, in bytes; of a client's waiting requests, and of the
            payloads of one sender that wait for a later view, as much is kept together.
        sequential: one proposal in flight and sequence = height: a backup votes for a payload
            only when its predecessor is executed (the ledger).
    """

    instance: bytes
    public_keys: tuple[bytes, ...]
    checkpoint_interval: int = 16
    window: int = 64
    batch_size: int = 64
    pipeline: int = 8
    request_timeout_ms: int = 2000
    view_timeout_ms: int = 4000
    status_ms: int = 500
    max_payload: int = 64 << 20
    sequential: bool = False

    def __post_init__(self) -> None:
        if len(set(self.public_keys)) != len(self.public_keys) or not self.public_keys:
            raise UsageError("a cluster needs at least one replica, and each a key of its own")
        for name in ("checkpoint_interval", "batch_size", "pipeline", "request_timeout_ms",
                     "view_timeout_ms", "status_ms", "max_payload"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.window < self.checkpoint_interval:
            raise UsageError(f"a window of {self.window} closes before the first checkpoint at "
                             f"{self.checkpoint_interval}; make it at least as large")

    @property
    def n(self) -> int:
        """The number of replicas."""
        return len(self.public_keys)

    @property
    def f(self) -> int:
        """How many replicas may be faulty."""
        return fault_bound(self.n)

    @property
    def q(self) -> int:
        """The quorum: any two of them share a correct replica, and the correct ones form one."""
        return quorum(self.n)

    @property
    def weak(self) -> int:
        """f + 1: at least one of so many is correct."""
        return self.f + 1

    @property
    def longest_messages(self) -> dict[bytes, int]:
        """How many bytes the messages that hold other messages can have, by class name.

        A vote takes at most `VOTE_BYTES`. A VIEW-CHANGE shows at most n CHECKPOINTs, and for each
        number of the window a PRE-PREPARE with PREPAREs of others; a NEW-VIEW at most n of those,
        and a PRE-PREPARE for each number.
        """
        certificate = (self.n + 1) * VOTE_BYTES
        view_change = (self.window + 1) * certificate + 2 * VOTE_BYTES
        return {b"ViewChange": view_change,
                b"NewView": self.n * view_change + (self.window + 2) * VOTE_BYTES}

    def primary(self, view: int) -> int:
        """The index of the primary of ``view``: v mod n."""
        return view % len(self.public_keys)
