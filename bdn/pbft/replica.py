"""One replica as a state machine without I/O: `Replica.step(event) -> list[Effect]`.

Everything that happens to a replica passes through this file: it decodes what arrives, hands it to
the rule that it concerns, and afterwards lets the replica do whatever has become possible. After a
crash the constructor replays the journal into the state that its writer had (Rule 10).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import assert_never

from bdn.errors import PeerError
from bdn.identity import Identity
from bdn.pbft import catch_up, checkpoint, normal, view_change
from bdn.pbft.application import Application
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import Core
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
from bdn.pbft.journal import (
    Executed,
    JournalError,
    JournalRecord,
    Stable,
    Voted,
    decode_journal,
)
from bdn.pbft.messages import (
    Checkpoint,
    Commit,
    Fetch,
    Message,
    MessageError,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    Request,
    Snapshot,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.signing import Ed25519Signing, Signing
from bdn.pbft.wire import decode_as, decode_message
from bdn.trace import DISCARD, Trace


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
            self._take(event)
        except PeerError as error:
            core.tell("rejected", reason=str(error))
            return core.effects
        self._go_on()
        return core.effects

    def _take(self, event: Event) -> None:
        core = self._core
        match event:
            case Receive():
                core.source = event.source
                self._receive(decode_message(event.data, core.longest_messages))
            case Timeout(name):
                self._time_out(name)
            case Start():
                self._start()
            case Poke():
                core.recheck = True
            case Restored(sequence):
                self._restored(sequence)
            case Suspect(view):
                view_change.start(core, view)
            case _:
                assert_never(event)

    def _receive(self, message: Message) -> None:
        core = self._core
        match message:
            case Commit():
                normal.on_commit(core, message)
            case Prepare():
                normal.on_prepare(core, message)
            case PrePrepare():
                normal.on_pre_prepare(core, message)
            case Request():
                normal.on_request(core, message)
            case Checkpoint():
                checkpoint.on_checkpoint(core, message)
                if core.goal > core.high:  # beyond the window: no votes will lead there
                    catch_up.fetch_checkpoint(core)
            case ViewChange():
                view_change.on_view_change(core, message)
            case NewView():
                view_change.on_new_view(core, message)
            case Status():
                catch_up.on_status(core, message)
            case Fetch():
                catch_up.on_fetch(core, message)
            case State():
                catch_up.on_state(core, message)
            case Reply():
                raise MessageError("a REPLY is for clients")
            case _:
                assert_never(message)

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
            catch_up.on_status_timer(core)
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
        # A durable application may have gone beyond the checkpoint by itself meanwhile.
        if (core.restoring is not None
                and core.restoring[0] <= sequence <= core.application.height()):
            catch_up.finish_restore(core)

    def _go_on(self) -> None:
        """Do what has become possible: execute, take what waited, propose, mind the timer."""
        core = self._core
        normal.execute_ready(core)
        while core.retake or core.recheck:
            if core.retake:
                core.retake = False
                for message in normal.take_held_back(core):
                    self._take_again(message)
            if core.recheck:
                core.recheck = False
                if core.unvoted:
                    normal.reconsider(core)
                normal.propose_ready(core)
                _mind_request_timer(core)
            normal.execute_ready(core)  # what was voted for or proposed may need no more votes

    def _take_again(self, message: Message) -> None:
        try:
            self._receive(message)
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


# --- life after a crash -------------------------------------------------------------------------


def replay(core: Core, journal: Sequence[bytes]) -> None:
    """Replay every record; raises `JournalError` where the journal cannot be this replica's.

    Nothing is sent: `Start` says afterwards what the others should know.
    """
    for data in journal:
        core.journaled += len(data)
        try:
            _replay(core, decode_journal(data))
        except PeerError as error:
            raise JournalError(f"the journal does not fit its application: {error}") from error
    core.effects.clear()
    core.tell("restarted", sequence=core.executed, records=len(journal))


def _replay(core: Core, record: JournalRecord) -> None:
    match record:
        case Voted():
            _replay_vote(core, record)
        case Prepared():
            _replay_prepared(core, record)
        case ViewChange():
            if record.replica != core.index:
                raise JournalError(f"this is replica {record.replica}'s journal")
            view_change.leave(core, record.view)
            core.failures += 1
            core.view_changes[core.index] = record
        case NewView():
            view_change.install(core, record)
            core.unvoted.update(p.sequence for p in record.pre_prepares
                                if p.sequence > core.low)
        case Executed():
            _replay_execution(core, record)
        case Stable():
            _replay_stable(core, record)
        case _:
            assert_never(record)


def _replay_vote(core: Core, record: Voted) -> None:
    proposal = record.pre_prepare
    if proposal.sequence <= core.low:
        return
    if proposal.view > core.view:  # the records of the views between have been compacted away
        view_change.leave(core, proposal.view)
        core.active = True
    slot = core.log.at(proposal.sequence)
    if record.payload:
        slot.keep(proposal.digest, record.payload)
    if proposal.view < core.view:
        return
    slot.propose(proposal, record.carried)
    slot.voted = True
    core.unvoted.discard(slot.sequence)
    core.next_sequence = max(core.next_sequence, slot.sequence + 1)
    if record.payload:
        core.in_flight.update(core.application.requests(record.payload))
    if not core.is_primary:
        slot.prepares[core.index] = normal.own_prepare(core, proposal)


def _replay_prepared(core: Core, record: Prepared) -> None:
    proposal = record.pre_prepare
    if proposal.sequence <= core.low:
        return
    slot = core.log.at(proposal.sequence)
    if slot.certificate is None or slot.certificate.pre_prepare.view <= proposal.view:
        slot.certificate = record
    if slot.voted and slot.pre_prepare is not None and slot.pre_prepare.view == proposal.view:
        slot.prepares.update({vote.replica: vote for vote in record.prepares})
        slot.committing = True
        slot.commits[core.index] = normal.own_commit(core, proposal)


def _replay_execution(core: Core, record: Executed) -> None:
    seal = record.seal
    if seal.sequence <= core.executed:
        return
    slot = core.log.at(seal.sequence)
    slot.seal = seal
    if record.payload:
        slot.keep(seal.digest, record.payload)
    payload = slot.body(seal.digest)
    if payload is None or seal.sequence != core.executed + 1:
        raise JournalError(f"the journal has no body for number {core.executed + 1}")
    normal.apply(core, seal, payload)
    if core.active:
        core.failures = 0
    for key in core.application.requests(payload) if payload else ():
        core.in_flight.discard(key)
    if (seal.sequence % core.cluster.checkpoint_interval == 0
            and core.application.height() <= seal.sequence):
        checkpoint.note_own(core)


def _replay_stable(core: Core, record: Stable) -> None:
    if record.sequence > core.executed:
        if record.snapshot is None:
            raise JournalError(f"the journal lacks the state of checkpoint {record.sequence}")
        snapshot = decode_as(Snapshot, record.snapshot)
        if core.application.height() < record.sequence:
            core.application.restore(record.sequence, snapshot.application, snapshot.state)
        core.replies = {c: (timestamp, result) for c, timestamp, result in snapshot.replies}
        core.executed = record.sequence
        core.next_sequence = max(core.next_sequence, core.executed + 1)
    data = record.snapshot or core.snapshots.get(record.sequence)
    checkpoint.adopt(core, record.sequence, data, record.proof)
    if record.snapshot is not None:
        core.journaled = 0
