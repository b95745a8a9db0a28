"""A replica's whole state, and the few ways in which it speaks. No rule of the protocol is here.

The rules are free functions over a `Core`: `normal` (ordering and execution), `checkpoint`,
`catch_up`, `view_change`. Each handler has three beats: *accept?* may raise and changes nothing,
*record* changes the state, *send* appends effects.

The message log has one `Slot` for each sequence number in the window (Castro–Liskov 4.2, 4.3). A
slot keeps two kinds of things. What belongs to the *current view* (the accepted PRE-PREPARE and
the votes for it) is forgotten when the view is left, for votes count only in their view (Rule 4a).
What *survives* views is the certificate of highest view (the slot's entry of P), the bodies that
this replica voted for, and the seal.

Letters: v ``view``, h ``low``, H ``high``, n, f, q as in `bdn.pbft.cluster`.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bdn.pbft.application import Application
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Broadcast, CancelTimer, Effect, Persist, Send, SetTimer
from bdn.pbft.journal import JournalRecord, Stable, encode_journal
from bdn.pbft.messages import (
    NULL_DIGEST,
    NULL_PAYLOAD,
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Request,
    Status,
    ViewChange,
)
from bdn.pbft.signing import CachedSigning, M, Signing, signed
from bdn.pbft.wire import encode_message
from bdn.seal import Seal
from bdn.trace import DISCARD, Trace

BRANCHES = (
    "pre-prepare", "prepared", "committed", "executed", "null-request", "checkpoint",
    "checkpoint-stable", "view-change", "second-view-change", "join", "new-view-sent", "new-view",
    "buffered", "deferred", "relayed", "reply-cached", "retransmit", "state-transfer",
    "fetched-payload", "fetched-decided", "timeout", "restarted", "diverged", "dropped",
    "rejected",
)
"""Every event name that a replica tells its trace."""

MAX_REASON = 300
"""Longest reason of a refusal in the trace, in characters."""

MAX_DOUBLINGS = 16
"""Timers double at each failed view change, at most so often (Rule 8d)."""

MAX_BODIES = 8
"""Bodies kept in a slot: a faulty primary can add at most one for each of its views."""


@dataclass(slots=True)
class Slot:
    """All that is known about one sequence number.

    Attributes:
        pre_prepare: the accepted proposal of the current view, without its payload.
        carried: the proposal comes from a NEW-VIEW's O.
        voted: this replica's PREPARE (the primary's: its PRE-PREPARE) is out.
        prepares: verified PREPAREs of the current view by backup.
        commits: verified COMMITs of the current view by replica.
        committing: prepared in the current view, and this replica's COMMIT is out.
        certificate: the prepared certificate of highest view; survives views.
        bodies: payloads by digest; survives views.
        seal: q COMMITs of one view; survives views.
    """

    sequence: int
    pre_prepare: PrePrepare | None = None
    carried: bool = False
    voted: bool = False
    prepares: dict[int, Prepare] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    committing: bool = False
    certificate: Prepared | None = None
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    seal: Seal | None = None

    # --- accessors

    def body(self, digest: bytes) -> bytes | None:
        """Return the payload of ``digest``, if known."""
        return NULL_PAYLOAD if digest == NULL_DIGEST else self.bodies.get(digest)

    def is_prepared(self, q: int) -> bool:
        """Tell whether payload, PRE-PREPARE and q − 1 matching PREPAREs are there (Rule 2a)."""
        return self.voted and len(self.prepares) >= q - 1

    def is_committed(self, q: int) -> bool:
        """Tell whether it is prepared and q matching COMMITs are there (Rule 2b)."""
        return self.committing and len(self.commits) >= q

    def key(self) -> Hashable:
        """Return everything, hashable."""
        return (self.sequence, self.pre_prepare, self.carried, self.voted, self.committing,
                frozenset(self.prepares.values()), frozenset(self.commits.values()),
                self.certificate, frozenset(self.bodies.items()), self.seal)

    # --- transitions

    def propose(self, proposal: PrePrepare, carried: bool) -> None:
        """Take the view's proposal; earlier votes for another digest count for nothing."""
        self.pre_prepare = proposal.stripped()
        self.carried = carried
        if self.prepares or self.commits:
            self.prepares = {
                i: v for i, v in self.prepares.items() if v.digest == proposal.digest}
            self.commits = {
                i: v for i, v in self.commits.items() if v.digest == proposal.digest}
        if proposal.payload is not None:
            self.keep(proposal.digest, proposal.payload)

    def keep(self, digest: bytes, payload: bytes) -> None:
        """Remember a body; the oldest that nothing here names makes room."""
        self.bodies[digest] = payload
        if len(self.bodies) > MAX_BODIES:
            named = {digest}
            if self.pre_prepare is not None:
                named.add(self.pre_prepare.digest)
            if self.certificate is not None:
                named.add(self.certificate.pre_prepare.digest)
            if self.seal is not None:
                named.add(self.seal.digest)
            del self.bodies[next(d for d in self.bodies if d not in named)]

    def withdraw(self) -> None:
        """Forget a proposal that was never voted for."""
        self.pre_prepare, self.carried = None, False

    def leave_view(self) -> None:
        """Forget the view's proposal and votes (Rule 4a); P, bodies and seal survive (Rule 7f)."""
        self.withdraw()
        self.voted = self.committing = False
        self.prepares, self.commits = {}, {}

    def copy(self) -> "Slot":
        """Return an independent copy."""
        return replace(self, prepares=dict(self.prepares), commits=dict(self.commits),
                       bodies=dict(self.bodies))


class Log:
    """The slots, by sequence; nothing at or below the stable checkpoint (Rule 5c)."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        """Iterate in the order of their sequence numbers."""
        return iter([self._slots[sequence] for sequence in sorted(self._slots)])

    def get(self, sequence: int) -> Slot | None:
        """Return the slot, if anything is known."""
        return self._slots.get(sequence)

    def at(self, sequence: int) -> Slot:
        """Return the slot, made where there is none."""
        slot = self._slots.get(sequence)
        if slot is None:
            slot = self._slots[sequence] = Slot(sequence)
        return slot

    def cut(self, stable: int) -> None:
        """Drop everything up to and including ``stable``."""
        for sequence in [s for s in self._slots if s <= stable]:
            del self._slots[sequence]

    def leave_view(self) -> None:
        """Let every slot leave the view; drop those with nothing left."""
        for slot in list(self._slots.values()):
            slot.leave_view()
            if slot.certificate is None and slot.seal is None and not slot.bodies:
                del self._slots[slot.sequence]

    def copy(self) -> "Log":
        """Return an independent copy."""
        twin = Log()
        twin._slots.update((sequence, slot.copy()) for sequence, slot in self._slots.items())
        return twin


class Pending(dict[tuple[str, int], Request]):
    """Requests that wait, by (client, timestamp) and oldest first, with each client's share.

    A replica asks for a client's share at each request, so it is kept and not counted: ten thousand
    clients may wait at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shares: dict[str, tuple[int, int]] = {}

    def share_of(self, client: str) -> tuple[int, int]:
        """Return how many requests of ``client`` wait, and the bytes of their operations."""
        return self._shares.get(client, (0, 0))

    def __setitem__(self, key: tuple[str, int], request: Request) -> None:
        """Let ``request`` wait."""
        self.pop(key)
        count, size = self.share_of(key[0])
        self._shares[key[0]] = count + 1, size + len(request.operation)
        super().__setitem__(key, request)

    def __delitem__(self, key: tuple[str, int]) -> None:
        """Forget a request that waits."""
        request = self[key]
        super().__delitem__(key)
        count, size = self._shares.pop(key[0])
        if count > 1:
            self._shares[key[0]] = count - 1, size - len(request.operation)

    def pop(self, key: tuple[str, int], default: Any = None) -> Any:
        """Forget a request and return it, or ``default`` where there is none."""
        if key not in self:
            return default
        request = self[key]
        del self[key]
        return request

    def copy(self) -> "Pending":
        """Return an independent copy."""
        twin = Pending()
        for key, request in self.items():
            twin[key] = request
        return twin


@dataclass(slots=True, eq=False)
class Core:
    """The state of one replica. Public within the package; `Replica` shows what others may read.

    Attributes:
        index, cluster, signing, application, trace, name: who it is and with whom it works.
        certificate_signing: checks votes inside certificates, each once.
        longest_messages: how long messages that hold others can be in this cluster.
        q: the quorum.
        view: v, its view, or the one that it wants to enter.
        primary, is_primary: of ``view``.
        active: False between its VIEW-CHANGE and the NEW-VIEW.
        new_view: the NEW-VIEW that began ``view``; None in view 0 and while it waits for one.
        view_changes: the highest VIEW-CHANGE of each replica for a view that has not begun.
        failures: view changes in a row without an execution; timeouts double with each.
        buffer: verified votes that wait for their view or window, by sender.
        log: one slot for each sequence number in the window.
        next_sequence: where the primary proposes next.
        unvoted: numbers with a proposal that cannot be judged yet.
        in_flight: requests inside proposals of this view, as (client, timestamp).
        pending: requests that wait for their execution, oldest first.
        executed: the last number executed.
        replies: the last (timestamp, result) of each client.
        low, high: h, the stable checkpoint, and H = h + L.
        stable_proof, stable_snapshot: what proves h, and its state if it is held.
        snapshots: this replica's states at checkpoints above h, encoded.
        checkpoints: votes for checkpoints in the window: sequence, then replica.
        far_checkpoints: each replica's highest vote above the window.
        fetching: whom it has asked in this period for what is decided.
        fetch_until: how far it goes on asking that one.
        goal_proof: the certificate of the highest checkpoint that it has not reached, if any.
        tried: whom it has asked since it last moved.
        restoring: the checkpoint that the application is about to become: sequence, state, proof.
        executed_at_tick: ``executed`` when the period began.
        served: what each replica has asked in this period.
        answered: whose STATUS was answered in this period.
        statuses: the last STATUS of each replica, and its age in periods.
        source: whom the transport names as the sender of the message at hand; only a hint.
        request_timer, view_timer: whether they run.
        retake: the view or the window has moved, so held-back votes may count now.
        recheck: something has changed that proposals or the request timer depend on.
        progress: a request that waited here was executed, so the request timer starts anew.
        journaled: bytes of the journal since its last snapshot; no part of `key`.
        effects: what the running step has to say.
    """

    # who and with whom
    index: int
    cluster: Cluster
    signing: Signing
    application: Application
    trace: Trace
    name: str
    certificate_signing: Signing = field(init=False)
    longest_messages: dict[bytes, int] = field(init=False)
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
    next_sequence: int = 1
    unvoted: set[int] = field(default_factory=set)
    in_flight: set[tuple[str, int]] = field(default_factory=set)
    pending: Pending = field(default_factory=Pending)
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
    fetch_until: int = 0
    goal_proof: tuple[Checkpoint, ...] = ()
    tried: set[int] = field(default_factory=set)
    restoring: tuple[int, bytes, tuple[Checkpoint, ...]] | None = None
    executed_at_tick: int = 0
    served: dict[int, set[tuple[str, int, bytes]]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    statuses: dict[int, tuple[Status, int]] = field(default_factory=dict)
    # timers and the running step
    source: str | int = -1
    request_timer: bool = False
    view_timer: bool = False
    retake: bool = False
    recheck: bool = False
    progress: bool = False
    journaled: int = 0
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.certificate_signing = CachedSigning(self.signing)
        self.longest_messages = self.cluster.longest_messages
        self.q = self.cluster.q
        self.set_view(0)
        self.set_low(0)

    # --- accessors

    def key(self) -> Hashable:
        """Return everything that later behaviour depends on, hashable and comparable."""
        return (
            self.view, self.active, self.new_view, frozenset(self.view_changes.values()),
            self.failures, frozenset((i, tuple(m)) for i, m in self.buffer.items()),
            tuple(slot.key() for slot in self.log), self.next_sequence, frozenset(self.unvoted),
            frozenset(self.in_flight), tuple(self.pending.values()), self.executed,
            frozenset(self.replies.items()), self.low, self.stable_proof, self.stable_snapshot,
            frozenset(self.snapshots.items()),
            frozenset(vote for votes in self.checkpoints.values() for vote in votes.values()),
            frozenset(self.far_checkpoints.values()), self.fetching, self.fetch_until,
            self.goal_proof, frozenset(self.tried), self.restoring, self.executed_at_tick,
            frozenset((i, frozenset(asked)) for i, asked in self.served.items()),
            frozenset(self.answered), frozenset(self.statuses.items()), self.request_timer,
            self.view_timer, self.application.state_digest(),
        )

    def clone(self, application: Application) -> "Core":
        """Return an independent copy over ``application``, a copy of this one's."""
        twin = Core(self.index, self.cluster, self.signing, application, self.trace, self.name)
        for part in fields(self):
            if part.name not in ("application", "trace", "cluster", *_SIGNINGS):
                setattr(twin, part.name, _copied(getattr(self, part.name)))
        return twin

    @property
    def goal(self) -> int:
        """The highest certified checkpoint that was not reached when it was certified, or 0."""
        return self.goal_proof[0].sequence if self.goal_proof else 0

    # --- view and window

    def set_view(self, view: int) -> None:
        """Set v, and whether this replica is its primary."""
        self.view = view
        self.primary = self.cluster.primary(view)
        self.is_primary = self.primary == self.index

    def set_low(self, low: int) -> None:
        """Set h, and H = h + L."""
        self.low = low
        self.high = low + self.cluster.window

    # --- ways to speak

    def sign(self, message: M) -> M:
        """Return ``message`` with this replica's signature."""
        return signed(message, self.cluster.instance, self.signing)

    def send(self, to: int, message: Message) -> None:
        """Send one message to one replica."""
        self.effects.append(Send(to, encode_message(message)))

    def broadcast(self, message: Message) -> None:
        """Send one message to all other replicas."""
        self.effects.append(Broadcast(encode_message(message)))

    def persist(self, record: JournalRecord) -> None:
        """Write a record; it is durable before whatever is sent after it (Rules 10b to 10e)."""
        data = encode_journal(record)
        self.journaled += len(data)
        self.effects.append(Persist(data))

    def persist_stable(self, record: Stable, whole: bool = False) -> None:
        """Write a stable checkpoint, with its snapshot where the journal has grown by as much.

        A restart can also execute again what the journal holds. So snapshots take at most half of
        the journal, which grows linearly even where the state does; ``whole`` writes it anyway.
        """
        if record.snapshot is not None and not whole and self.journaled < len(record.snapshot):
            record = replace(record, snapshot=None)
        self.persist(record)
        if record.snapshot is not None:
            self.journaled = 0

    def set_timer(self, name: str, after_ms: int) -> None:
        """Start or restart a timer."""
        self.effects.append(SetTimer(name, after_ms))

    def cancel_timer(self, name: str) -> None:
        """Stop a timer."""
        self.effects.append(CancelTimer(name))

    def tell(self, event: str, **details: Any) -> None:
        """Tell the trace of one event."""
        if self.trace is not DISCARD:
            if "reason" in details:  # it may quote what a peer sent
                details["reason"] = details["reason"][:MAX_REASON]
            self.trace.event(event, node=self.name, view=self.view, **details)

    def doubled(self, milliseconds: int, times: int) -> int:
        """Return a timeout after ``times`` failures in a row (Rule 8d)."""
        return milliseconds << min(times, MAX_DOUBLINGS)


_SIGNINGS = ("signing", "certificate_signing")


def _copied(value: Any) -> Any:
    """Containers anew, two levels deep; everything inside them is immutable."""
    if isinstance(value, (Log, Pending)):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, set)):
        return type(value)(value)
    return value
