"""One replica as a state machine without I/O: `Replica.step(event) -> list[Effect]`.

Everything that happens to a replica passes through this file: it decodes what arrives, hands it to
the rule that it concerns, and afterwards lets the replica do whatever has become possible.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, assert_never

from bdn.errors import PeerError
from bdn.identity import Identity
from bdn.pbft import catch_up, checkpoint, normal, view_change
from bdn.pbft.application import Application
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import Core
from bdn.pbft.errors import MessageError
from bdn.pbft.events import (
    REQUEST_TIMER,
    STATUS_TIMER,
    VIEW_TIMER,
    Effect,
    Event,
    Poke,
    Receive,
    Restored,
    Start,
    Suspect,
    Timeout,
)
from bdn.pbft.execution import execute_ready
from bdn.pbft.messages import (
    MESSAGES,
    Checkpoint,
    Commit,
    Fetch,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    Request,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.recovery import replay
from bdn.pbft.signing import Ed25519Signing, Signing
from bdn.pbft.wire import read_among
from bdn.trace import DISCARD, Trace

ORDERING = (Prepare, Commit, PrePrepare)
"""What tells `Core.unsettled` by itself whether it has made something else possible."""


class Replica:
    """One of the n replicas.

    Args:
        index: its place in ``cluster.public_keys``.
        cluster: what all replicas share.
        identity: its signing key.
        application: what it replicates; a fresh one, or a durable one as the crash left it.
        journal: the records persisted before a restart; None or empty for a first start.
        trace: hears of every branch reached (`bdn.pbft.core.BRANCHES`).
        signing: real Ed25519 by ``identity`` unless an exploration passes another.
        name: what the trace calls it.
    """

    def __init__(
        self, index: int, cluster: Cluster, identity: Identity, application: Application,
        journal: Sequence[bytes] | None = None, trace: Trace = DISCARD,
        signing: Signing | None = None, name: str | None = None,
    ) -> None:
        self._core = Core(index, cluster, signing or Ed25519Signing(identity), application, trace,
                          name or f"replica {index}")
        if journal:
            replay(self._core, journal)

    # --- accessors

    @property
    def index(self) -> int:
        """Its place in the cluster."""
        return self._core.index

    @property
    def cluster(self) -> Cluster:
        """What all replicas share."""
        return self._core.cluster

    @property
    def application(self) -> Application:
        """What it replicates."""
        return self._core.application

    @property
    def view(self) -> int:
        """Its view, or the one that it wants to enter."""
        return self._core.view

    @property
    def active(self) -> bool:
        """False between a VIEW-CHANGE and its NEW-VIEW."""
        return self._core.active

    @property
    def status(self) -> str:
        """"normal" or "view-change"."""
        return "normal" if self._core.active else "view-change"

    @property
    def low(self) -> int:
        """h: the last stable checkpoint."""
        return self._core.low

    @property
    def stable(self) -> int:
        """As `low`."""
        return self._core.low

    @property
    def high(self) -> int:
        """H = h + L."""
        return self._core.high

    @property
    def stable_proof(self) -> tuple[Checkpoint, ...]:
        """q CHECKPOINTs for `stable`; empty at the beginning."""
        return self._core.stable_proof

    @property
    def executed(self) -> int:
        """The last sequence executed."""
        return self._core.executed

    @property
    def replies(self) -> Mapping[str, tuple[int, bytes]]:
        """Each client's last (timestamp, result)."""
        return dict(self._core.replies)

    @property
    def pending(self) -> tuple[Request, ...]:
        """The requests that wait, oldest first."""
        return tuple(self._core.pending.values())

    def log_size(self) -> int:
        """How many things of others it remembers: slots, held-back votes, VIEW-CHANGEs,
        CHECKPOINTs. Bounded whatever peers send (Rule 11)."""
        core = self._core
        return (len(core.log) + sum(map(len, core.buffer.values())) + len(core.view_changes)
                + sum(map(len, core.checkpoints.values())) + len(core.far_checkpoints))

    def prepared_certificates(self) -> dict[int, Prepared]:
        """P: the prepared certificate of highest view, by sequence."""
        return {slot.sequence: slot.certificate for slot in self._core.log
                if slot.certificate is not None}

    def fingerprint(self) -> Hashable:
        """Equal for two replicas of one index that will behave equally ever after."""
        return self._core.key()

    def clone(self, application: Application) -> "Replica":
        """An independent replica in the same state, over a copy of the application."""
        twin = object.__new__(Replica)
        twin._core = self._core.clone(application)
        return twin

    # --- transitions

    def step(self, event: Event) -> list[Effect]:
        """Take one event; carry the effects out in their order.

        A message that the rules refuse changes nothing, gives no effect, and is told to the trace
        as "rejected". Raises `ExecutionError` where the application cannot execute what the
        cluster agreed on, and nothing for a peer's fault.
        """
        core = self._core
        core.effects = []
        try:
            if isinstance(event, Receive):  # as nearly every event is
                message = read_among(core.said, event.data)
                if message is None:
                    return core.effects  # a quorum has said it, so this one counts for nothing
                kind = type(message)
                core.source = event.source
                RULES[kind](core, message)
                if kind in ORDERING and not core.unsettled:
                    return core.effects  # only a seal makes something else possible
            else:
                self._take(event)
        except PeerError as error:
            core.tell("rejected", reason=str(error))
            return core.effects
        self._settle()
        return core.effects

    def _take(self, event: Start | Timeout | Poke | Restored | Suspect) -> None:
        match event:
            case Timeout():
                self._time_out(event.name)
            case Start():
                self._start()
            case Poke():
                self._core.recheck = True
            case Restored():
                self._restored(event.sequence)
            case Suspect():
                view_change.start(self._core, event.view)
            case _:
                assert_never(event)

    def _start(self) -> None:
        core = self._core
        core.set_timer(STATUS_TIMER, core.cluster.status_ms)
        core.recheck = True
        own = core.view_changes.get(core.index)
        if own is not None and not core.active:
            core.broadcast(own)
            view_change.consider(core)
        for slot in core.log:  # what was prepared before the crash may go on at once
            if not slot.committing and slot.is_prepared(core.q):
                normal.become_prepared(core, slot)
            elif slot.seal is None and slot.is_committed(core.q):
                normal.become_committed(core, slot)

    def _time_out(self, name: str) -> None:
        core = self._core
        if name == STATUS_TIMER:
            catch_up.tick(core)
        elif name == REQUEST_TIMER and core.request_timer:
            core.request_timer = False
            core.tell("timeout", timer=name)
            view_change.start(core, core.view + 1)  # Rule 8b
        elif name == VIEW_TIMER and core.view_timer:
            core.view_timer = False
            core.tell("timeout", timer=name)
            view_change.start(core, core.view + 1)  # Rule 8d

    def _restored(self, sequence: int) -> None:
        core = self._core
        if core.restoring is not None and core.restoring[0] == sequence:
            catch_up.finish_restore(core)

    def _settle(self) -> None:
        """Whatever has become possible: execute, take what waited, propose, mind the timer."""
        core = self._core
        core.unsettled = False
        execute_ready(core)
        while core.entered or core.recheck:
            if core.entered:
                core.entered = False
                for message in normal.take_held_back(core):
                    self._take_again(message)
            if core.recheck:
                core.recheck = False
                if core.unvoted:
                    normal.reconsider(core)
                normal.propose_ready(core)
                _mind_request_timer(core)
            if core.unsettled:  # what was voted for or proposed needed no more votes
                execute_ready(core)

    def _take_again(self, message: Message) -> None:
        try:
            RULES[type(message)](self._core, message)
        except PeerError as error:
            self._core.tell("rejected", reason=str(error))


def _mind_request_timer(core: Core) -> None:
    """Rule 8a: it runs at a backup while a valid request waits, anew after progress."""
    due = (core.active and not core.is_primary
           and core.application.is_due(list(core.pending.values())))
    if due and (core.progress or not core.request_timer):
        core.request_timer = True
        core.set_timer(REQUEST_TIMER,
                       core.doubled(core.cluster.request_timeout_ms, core.failures))
    elif core.request_timer and not due:
        core.request_timer = False
        core.cancel_timer(REQUEST_TIMER)
    core.progress = False


def _on_checkpoint(core: Core, message: Checkpoint) -> None:
    checkpoint.on_checkpoint(core, message)
    if core.goal > core.high:  # beyond the window: no votes will lead there
        catch_up.hurry(core)


def _on_reply(core: Core, message: Reply) -> None:  # noqa: ARG001 - as every rule
    raise MessageError("a REPLY is for clients")


RULES: dict[type[Message], Callable[[Core, Any], None]] = {
    Request: normal.on_request,
    PrePrepare: normal.on_pre_prepare,
    Prepare: normal.on_prepare,
    Commit: normal.on_commit,
    Reply: _on_reply,
    Checkpoint: _on_checkpoint,
    ViewChange: view_change.on_view_change,
    NewView: view_change.on_new_view,
    Status: catch_up.on_status,
    Fetch: catch_up.on_fetch,
    State: catch_up.on_state,
}
"""What happens to each message of `bdn.pbft.messages`."""
assert set(RULES) == set(MESSAGES)
