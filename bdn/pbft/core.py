"""A replica's whole state, and the few ways in which it speaks. No rule of the protocol is here.

The rules are free functions over a `Core`: `normal` (ordering), `execution`, `checkpoint`,
`view_change`, `catch_up`. Each handler has three beats: *accept?* may raise and changes nothing,
*record* changes the state, *send* appends effects.

Letters: v ``view``, h ``low``, H ``high``, n, f, q as in `bdn.pbft.cluster`.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any

from bdn.pbft.application import Application
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Broadcast, CancelTimer, Effect, Persist, Send, SetTimer
from bdn.pbft.journal import Record, encode_journal
from bdn.pbft.log import Log
from bdn.pbft.messages import (
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Request,
    ViewChange,
)
from bdn.pbft.signing import Signing
from bdn.pbft.wire import M, encode_message, signed
from bdn.trace import DISCARD, Trace

BRANCHES = (
    "pre-prepare", "prepared", "committed", "executed", "null-request", "checkpoint",
    "checkpoint-stable", "view-change", "second-view-change", "join", "new-view-sent", "new-view",
    "buffered", "deferred", "relayed", "reply-cached", "retransmit", "state-transfer",
    "fetched-payload", "fetched-decided", "timeout", "restarted", "diverged", "dropped",
    "rejected",
)
"""Every event name that a replica tells its trace."""

MAX_DOUBLINGS = 16
"""Timers double at each failed view change, at most so often (DESIGN section 10, group 8)."""


class Core:
    """State of one replica. Public within the package; `Replica` shows what others may read."""

    def __init__(
        self, index: int, cluster: Cluster, signing: Signing, application: Application,
        trace: Trace, name: str,
    ) -> None:
        # who and with whom
        self.index = index
        self.cluster = cluster
        self.signing = signing
        self.application = application
        self.trace = trace
        self.name = name
        self.q = cluster.q
        # the view
        self.view = 0
        self.active = True
        self.new_view: NewView | None = None
        self.view_changes: dict[int, ViewChange] = {}
        self.failures = 0
        self.buffer: dict[int, list[PrePrepare | Prepare | Commit]] = {}
        # ordering
        self.log = Log()
        self.surplus: set[bytes] = set()  # gists of votes that nobody counts any more
        self.next_sequence = 1
        self.unvoted: set[int] = set()
        self.in_flight: set[tuple[str, int]] = set()
        self.pending: dict[tuple[str, int], Request] = {}
        # execution and checkpoints
        self.executed = 0
        self.replies: dict[str, tuple[int, bytes]] = {}
        self.low = 0
        self.stable_proof: tuple[Checkpoint, ...] = ()
        self.stable_snapshot: bytes | None = None
        self.snapshots: dict[int, bytes] = {}
        self.checkpoints: dict[int, dict[int, Checkpoint]] = {}
        self.far_checkpoints: dict[int, Checkpoint] = {}
        # catching up
        self.fetching: int | None = None
        self.chase = 0
        self.goal = 0
        self.tried: set[int] = set()
        self.restoring: tuple[int, bytes, tuple[Checkpoint, ...]] | None = None
        self.executed_at_tick = 0
        self.served: Counter[int] = Counter()
        self.answered: set[int] = set()
        # timers and the running step
        self.request_timer = False
        self.view_timer = False
        self.entered = False
        self.recheck = False
        self.progress = False
        self.effects: list[Effect] = []

    # --- accessors

    @property
    def high(self) -> int:
        """H = h + L."""
        return self.low + self.cluster.window

    @property
    def is_primary(self) -> bool:
        """Whether this replica is the primary of its view."""
        return self.cluster.primary(self.view) == self.index

    def key(self) -> Hashable:
        """Everything that later behaviour depends on, hashable and comparable."""
        return (
            self.view, self.active, self.new_view, frozenset(self.view_changes.values()),
            self.failures, frozenset((i, tuple(m)) for i, m in self.buffer.items()),
            tuple(slot.key() for slot in self.log), self.next_sequence, frozenset(self.unvoted),
            frozenset(self.in_flight), tuple(self.pending.values()), self.executed,
            frozenset(self.replies.items()), self.low, self.stable_proof, self.stable_snapshot,
            frozenset(self.snapshots.items()),
            frozenset(vote for votes in self.checkpoints.values() for vote in votes.values()),
            frozenset(self.far_checkpoints.values()), self.fetching, self.chase,
            self.goal, frozenset(self.tried), self.restoring, self.executed_at_tick,
            frozenset(self.served.items()), frozenset(self.answered), self.request_timer,
            self.view_timer, self.application.state_digest(),
        )

    def clone(self, application: Application) -> "Core":
        """An independent copy over ``application``, a copy of this one's; messages are shared."""
        twin = Core(self.index, self.cluster, self.signing, application, self.trace, self.name)
        for name, value in vars(self).items():
            if name not in ("application", "trace", "signing", "cluster"):
                setattr(twin, name, _copied(value))
        return twin

    # --- ways to speak

    def sign(self, message: M) -> M:
        """``message`` with this replica's signature."""
        return signed(message, self.cluster.instance, self.signing)

    def send(self, to: int, message: Message) -> None:
        """One message to one replica."""
        self.effects.append(Send(to, encode_message(message)))

    def broadcast(self, message: Message) -> None:
        """One message to all other replicas."""
        self.effects.append(Broadcast(encode_message(message)))

    def persist(self, record: Record) -> None:
        """The record is durable before whatever is sent after it (Rules 10b to 10e)."""
        self.effects.append(Persist(encode_journal(record)))

    def set_timer(self, name: str, after_ms: int) -> None:
        """Start or restart a timer."""
        self.effects.append(SetTimer(name, after_ms))

    def cancel_timer(self, name: str) -> None:
        """Stop a timer."""
        self.effects.append(CancelTimer(name))

    def tell(self, event: str, **details: Any) -> None:
        """One event for the trace."""
        if self.trace is not DISCARD:
            self.trace.event(event, node=self.name, view=self.view, **details)

    def doubled(self, milliseconds: int, times: int) -> int:
        """Rule 8d: a timeout after ``times`` failures in a row."""
        return milliseconds << min(times, MAX_DOUBLINGS)


def _copied(value: Any) -> Any:
    """Containers anew, two levels deep; everything inside them is immutable."""
    if isinstance(value, Log):
        return value.copy()
    if isinstance(value, Counter):
        return Counter(value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, set)):
        return type(value)(value)
    return value
