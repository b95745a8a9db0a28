"""A replica's whole state, and the few ways in which it speaks. No rule of the protocol is here.

The rules are free functions over a `Core`: `normal` (ordering), `execution`, `checkpoint`,
`view_change`, `catch_up`. Each handler has three beats: *accept?* may raise and changes nothing,
*record* changes the state, *send* appends effects.

Letters: v ``view``, h ``low``, H ``high``, n, f, q as in `bdn.pbft.cluster`.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
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
from bdn.pbft.straight import Point
from bdn.pbft.wire import M, encode_message, signed
from bdn.record import maker
from bdn.trace import DISCARD, Trace

_broadcast, _persist = maker(Broadcast), maker(Persist)

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


@dataclass(slots=True, eq=False)
class Core:
    """State of one replica. Public within the package; `Replica` shows what others may read."""

    # who and with whom
    index: int
    cluster: Cluster
    signing: Signing
    application: Application
    trace: Trace
    name: str
    q: int = field(init=False)
    # the view
    view: int = field(init=False)
    primary: int = field(init=False)
    is_primary: bool = field(init=False)
    active: bool = True
    new_view: NewView | None = None
    view_changes: dict[int, ViewChange] = field(default_factory=dict)
    failures: int = 0
    buffer: dict[int, list[PrePrepare | Prepare | Commit]] = field(default_factory=dict)
    # ordering
    log: Log = field(default_factory=Log)
    said: dict[bytes, Point | None] = field(default_factory=dict)  # None: nobody counts it now
    next_sequence: int = 1
    unvoted: set[int] = field(default_factory=set)
    in_flight: set[tuple[str, int]] = field(default_factory=set)
    pending: dict[tuple[str, int], Request] = field(default_factory=dict)
    # execution and checkpoints
    executed: int = 0
    replies: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    low: int = field(init=False)
    high: int = field(init=False)
    stable_proof: tuple[Checkpoint, ...] = ()
    stable_snapshot: bytes | None = None
    snapshots: dict[int, bytes] = field(default_factory=dict)
    checkpoints: dict[int, dict[int, Checkpoint]] = field(default_factory=dict)
    far_checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    # catching up
    fetching: int | None = None
    chase: int = 0
    goal: int = 0
    tried: set[int] = field(default_factory=set)
    restoring: tuple[int, bytes, tuple[Checkpoint, ...]] | None = None
    executed_at_tick: int = 0
    served: Counter[int] = field(default_factory=Counter)
    answered: set[int] = field(default_factory=set)
    # timers and the running step
    source: str | int = -1  # whom the transport names as the message's sender
    request_timer: bool = False
    view_timer: bool = False
    entered: bool = False
    recheck: bool = False
    unsettled: bool = True  # something may have become possible: `Replica.step` looks
    progress: bool = False
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.q = self.cluster.q
        self.turn_to(0)
        self.slide_to(0)

    # --- accessors

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
        for part in fields(self):
            if part.name not in ("application", "trace", "signing", "cluster"):
                setattr(twin, part.name, _copied(getattr(self, part.name)))
        return twin

    # --- its two moving frames

    def turn_to(self, view: int) -> None:
        """v, and whether this replica is its primary."""
        self.view = view
        self.primary = self.cluster.primary(view)
        self.is_primary = self.primary == self.index

    def slide_to(self, low: int) -> None:
        """h, and H = h + L."""
        self.low = low
        self.high = low + self.cluster.window

    # --- ways to speak

    def sign(self, message: M) -> M:
        """``message`` with this replica's signature."""
        return signed(message, self.cluster.instance, self.signing)

    def send(self, to: int, message: Message) -> None:
        """One message to one replica."""
        self.effects.append(Send(to, encode_message(message)))

    def broadcast(self, message: Message) -> None:
        """One message to all other replicas."""
        self.effects.append(_broadcast(encode_message(message)))

    def persist(self, record: Record) -> None:
        """The record is durable before whatever is sent after it (Rules 10b to 10e)."""
        self.effects.append(_persist(encode_journal(record)))

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
