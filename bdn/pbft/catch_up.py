"""Lost messages, missing bodies, missed checkpoints: the status exchange (Rule 10f; chapter 5 of
Castro's thesis).

From time to time each replica says how far it is (STATUS). Whoever has *messages* that it lacks
sends them again; what is *decided* it fetches itself, from one replica at a time: the next entry
with its seal, or the last stable checkpoint with its proof. Both prove themselves, so it does not
matter whom one asks, except that a liar wastes a period; then another is asked.

A sealed entry is taken in any view and during a view change: it is no vote but a proof that a
quorum committed. Castro and Liskov wait for the next checkpoint instead.
"""

from bdn.pbft import checkpoint
from bdn.pbft.certificates import verify_decided, verify_stable
from bdn.pbft.core import Core
from bdn.pbft.events import STATUS_TIMER
from bdn.pbft.journal import Stable
from bdn.pbft.messages import (
    NULL_DIGEST,
    Fetch,
    FetchKind,
    MessageError,
    PrePrepare,
    Snapshot,
    State,
    Status,
)
from bdn.pbft.normal import own_commit, own_prepare, receive_body, refuse_long, relay
from bdn.pbft.signing import verify_message
from bdn.pbft.wire import checkpoint_digest, decode_as
from bdn.seal import Seal

ANY_DIGEST = bytes(32)
RESENT_SLOTS = 32
"""How many slots' votes one STATUS brings back."""
STATUS_MEMORY = 2
"""For how many periods an earlier STATUS tells what of its sender is old. Not for ever: a replica
that lost its disk begins again, and is to be helped."""
RELAYED_AGAIN = 32
"""How many waiting requests go to the primary again in one period."""


# --- STATUS -------------------------------------------------------------------------------------


def on_status_timer(core: Core) -> None:
    """The period is over: say how far this replica is, and begin afresh with asking."""
    # record
    stuck = core.executed == core.executed_at_tick
    core.executed_at_tick = core.executed
    core.fetching, core.fetch_until = None, 0
    core.served.clear()  # Rule 11c: everybody may ask again
    core.answered.clear()
    core.statuses = {replica: (status, age + 1) for replica, (status, age)
                     in core.statuses.items() if age < STATUS_MEMORY}
    # send
    core.set_timer(STATUS_TIMER, core.cluster.status_ms)
    core.broadcast(core.sign(Status(
        core.view, core.active, core.low, core.executed, core.index, b"")))
    if not stuck:
        core.tried.clear()
        return
    for request in list(core.pending.values())[:RELAYED_AGAIN]:
        relay(core, request)
    for slot in core.log:
        if slot.pre_prepare is not None and slot.body(slot.pre_prepare.digest) is None:
            core.broadcast(_ask(core, "payload", slot.sequence, slot.pre_prepare.digest))
    fetch_checkpoint(core)


def on_status(core: Core, message: Status) -> None:
    """Another replica says how far it is."""
    # accept?
    if message.replica == core.index or message.replica in core.answered:
        return  # Rule 11c: one answer for each replica and period
    known, _ = core.statuses.get(message.replica, (None, 0))
    if known is not None and not _has_come_further(known, message):
        raise MessageError(f"replica {message.replica} has come further since")  # Rule 11h
    verify_message(message, core.cluster, core.signing)
    # record
    core.answered.add(message.replica)
    core.statuses[message.replica] = message, 0
    # send
    _send_view(core, message)
    _send_checkpoints(core, message)
    if message.view == core.view and message.active and core.active:
        _send_votes(core, message)
    _fetch_ahead(core, message)


def _has_come_further(known: Status, message: Status) -> bool:
    """Tell whether ``message`` can be the later one; else a third replica has sent it again.

    Nothing that a STATUS tells ever goes back, in a restart neither. So an old one, kept by
    another replica, does not use up the answer that the latest one is to get.
    """
    return (message.view >= known.view and message.stable >= known.stable
            and message.executed >= known.executed
            and (message.view > known.view or message.active >= known.active))


def _send_view(core: Core, message: Status) -> None:
    """What it needs to reach this replica's view."""
    if message.view > core.view or (message.view == core.view and message.active):
        return
    own = core.view_changes.get(core.index)
    if core.new_view is not None:
        core.tell("retransmit", what="NEW-VIEW", to=message.replica)
        core.send(message.replica, core.new_view)
    elif own is not None and own.view == core.view and not core.active:
        core.tell("retransmit", what="VIEW-CHANGE", to=message.replica)
        core.send(message.replica, own)


def _send_checkpoints(core: Core, message: Status) -> None:
    """Send what lets it cut its log: the proof as a whole, and this replica's own votes."""
    if message.stable < core.low <= message.executed:  # it has the state; the proof is missing
        core.tell("retransmit", what="STATE", to=message.replica)
        core.send(message.replica, core.sign(State(
            "checkpoint", core.low, core.stable_proof[0].digest, b"", 0, (), core.stable_proof,
            core.index, b"")))
    for sequence in sorted(core.checkpoints):
        own = core.checkpoints[sequence].get(core.index)
        if own is not None and sequence > message.stable:
            core.tell("retransmit", what="CHECKPOINT", to=message.replica)
            core.send(message.replica, own)


def _send_votes(core: Core, message: Status) -> None:
    """This replica's votes, in their common view, for what is decided at neither."""
    slots = [slot for slot in core.log
             if slot.sequence > message.executed and slot.voted and slot.seal is None]
    for slot in slots[:RESENT_SLOTS]:
        proposal = slot.pre_prepare
        assert proposal is not None
        core.tell("retransmit", what="votes", sequence=slot.sequence, to=message.replica)
        if core.is_primary:
            core.send(message.replica, PrePrepare(
                proposal.view, proposal.sequence, proposal.digest, slot.body(proposal.digest),
                proposal.signature))
        else:
            core.send(message.replica, own_prepare(core, proposal))
        if slot.committing:
            core.send(message.replica, own_commit(core, proposal))


# --- asking -------------------------------------------------------------------------------------


def _ask(core: Core, kind: FetchKind, sequence: int, digest: bytes = ANY_DIGEST) -> Fetch:
    return core.sign(Fetch(kind, sequence, digest, core.index, b""))


def _fetch_ahead(core: Core, message: Status) -> None:
    """Fetch from a replica that is ahead, if nothing has moved here for a period."""
    if core.executed != core.executed_at_tick or core.fetching is not None:
        return
    if message.executed <= core.executed or core.restoring is not None:
        return
    if message.replica in core.tried:
        if len(core.tried) < core.cluster.weak:
            return
        core.tried.clear()  # f + 1 have been asked, one of them correct: its answer was lost
    core.tried.add(message.replica)
    core.fetching = message.replica
    if message.stable > core.executed:
        core.send(message.replica, _ask(core, "checkpoint", message.stable))
    else:
        core.fetch_until = message.executed
        core.send(message.replica, _ask(core, "decided", core.executed + 1))


def fetch_checkpoint(core: Core) -> None:
    """A certified checkpoint is ahead and cannot be reached by voting: fetch it now."""
    if core.goal <= core.executed or core.restoring is not None or core.fetching is not None:
        return
    holders = [vote.replica for vote in core.goal_proof if vote.replica != core.index]
    if core.tried.issuperset(holders):
        core.tried.difference_update(holders)  # one of them is correct: begin anew, in turn
    for replica in holders:
        if replica not in core.tried:
            core.fetching = replica
            core.tried.add(replica)
            core.send(replica, _ask(core, "checkpoint", core.goal))
            return


def fetch_body(core: Core, sequence: int, digest: bytes) -> None:
    """Ask f + 1 replicas that prepared ``digest``: one of them is correct and has the body."""
    assert core.new_view is not None
    for part in core.new_view.view_changes:
        for entry in part.prepared:
            if (entry.pre_prepare.sequence, entry.pre_prepare.digest) == (sequence, digest):
                voters = [vote.replica for vote in entry.prepares if vote.replica != core.index]
                for replica in voters[:core.cluster.weak]:
                    core.send(replica, _ask(core, "payload", sequence, digest))
                return


# --- answering ----------------------------------------------------------------------------------


def on_fetch(core: Core, message: Fetch) -> None:
    """A replica asks for something."""
    # accept?
    asked = (message.kind, message.sequence, message.digest)
    served = core.served.get(message.replica, set())
    known, _ = core.statuses.get(message.replica, (None, 0))
    if asked in served or (known is not None and message.sequence <= known.executed
                           and message.kind != "payload"):
        raise MessageError(f"replica {message.replica} has had this")  # Rule 11h: sent again
    cost = sum(core.cluster.window if kind == "checkpoint" else 1 for kind, _, _ in served)
    if cost > 2 * core.cluster.window:  # Rule 11c
        raise MessageError(f"replica {message.replica} has asked enough for this period")
    verify_message(message, core.cluster, core.signing)
    answer = _answer(core, message)
    # record
    core.served.setdefault(message.replica, set()).add(asked)
    # send
    if answer is not None:
        core.send(message.replica, core.sign(answer))


def _answer(core: Core, message: Fetch) -> State | None:
    sequence = message.sequence
    if message.kind == "checkpoint":
        return _answer_checkpoint(core, sequence)
    slot = core.log.get(sequence)
    if slot is None:
        return None
    if message.kind == "payload":
        data = slot.body(message.digest)
        return None if data is None else State(
            "payload", sequence, message.digest, data, 0, (), (), core.index, b"")
    if slot.seal is None or (data := slot.body(slot.seal.digest)) is None:
        return None
    return State("decided", sequence, slot.seal.digest, data, slot.seal.view,
                 slot.seal.signatures, (), core.index, b"")


def _answer_checkpoint(core: Core, sequence: int) -> State | None:
    """Return the stable checkpoint, or the state of ``sequence`` that this replica voted for.

    Those who certified a checkpoint have its state (Rule 5e), even where their own log is not cut
    yet because votes are missing there. Whoever asks has the certificate.
    """
    if sequence <= core.low:
        if core.stable_snapshot is None:
            return None
        return State("checkpoint", core.low, core.stable_proof[0].digest, core.stable_snapshot,
                     0, (), core.stable_proof, core.index, b"")
    own = core.checkpoints.get(sequence, {}).get(core.index)
    if own is None or (snapshot := core.snapshots.get(sequence)) is None:
        return None
    return State("checkpoint", sequence, own.digest, snapshot, 0, (), (), core.index, b"")


# --- receiving ----------------------------------------------------------------------------------


def on_state(core: Core, message: State) -> None:
    """Take the answer to a FETCH. It proves itself; the signature stops strangers early."""
    verify_message(message, core.cluster, core.signing)
    refuse_long(core, message.data)
    match message.kind:
        case "payload":
            _take_body(core, message)
        case "decided":
            _take_decided(core, message)
        case _:
            _take_checkpoint(core, message)


def _take_body(core: Core, message: State) -> None:
    # accept?
    slot = core.log.get(message.sequence)
    if (slot is None or slot.pre_prepare is None or slot.pre_prepare.digest != message.digest
            or slot.body(message.digest) is not None):
        return
    _refuse_wrong_body(core, message)
    # record, send
    receive_body(core, slot, message.data)


def _take_decided(core: Core, message: State) -> None:
    # accept?
    if message.sequence != core.executed + 1 or message.sequence > core.high:
        raise MessageError(f"entry {message.sequence} is not the next one")
    _refuse_wrong_body(core, message)
    seal = Seal(message.view, message.sequence, message.digest, message.seal)
    verify_decided(core.cluster, core.signing, seal)
    # record
    slot = core.log.at(message.sequence)
    slot.seal = seal
    if message.digest != NULL_DIGEST:
        slot.keep(message.digest, message.data)
    core.tell("fetched-decided", sequence=message.sequence)
    # send
    if core.fetching == message.replica and core.fetch_until > message.sequence:
        core.send(message.replica, _ask(core, "decided", message.sequence + 1))


def _refuse_wrong_body(core: Core, message: State) -> None:
    if message.digest == NULL_DIGEST:
        if message.data:
            raise MessageError("the null request has no body")
    elif core.application.digest(message.data) != message.digest:
        raise MessageError("a fetched body is not of its digest")


def _take_checkpoint(core: Core, message: State) -> None:
    # accept?
    if message.sequence <= core.low or core.restoring is not None:
        return
    proof = message.proof
    if not proof and core.goal == message.sequence:
        proof = core.goal_proof
    certified = verify_stable(core.cluster, core.certificate_signing, message.sequence, proof)
    if not message.data or message.sequence <= core.executed:
        checkpoint.take_certificate(core, proof)
        return
    snapshot = decode_as(Snapshot, message.data)
    if checkpoint_digest(snapshot) != certified:  # Rule 5d
        raise MessageError("the state is not the one that the checkpoint certifies")
    done = core.application.restore(message.sequence, snapshot.application, snapshot.state)
    # record
    core.restoring = (message.sequence, message.data, proof)
    if done:
        finish_restore(core)


def finish_restore(core: Core) -> None:
    """The application has become the certified state: the replica follows."""
    assert core.restoring is not None
    sequence, data, proof = core.restoring
    snapshot = decode_as(Snapshot, data)
    core.restoring = None
    core.executed = sequence
    core.replies = {client: (timestamp, result) for client, timestamp, result in snapshot.replies}
    core.next_sequence = max(core.next_sequence, sequence + 1)
    core.in_flight.clear()
    for key in [k for k, r in core.pending.items() if not core.application.still_wanted(r)]:
        del core.pending[key]
    checkpoint.adopt(core, sequence, data, proof)
    core.persist_stable(Stable(sequence, proof[0].digest, data, proof), whole=True)
    core.tell("state-transfer", sequence=sequence)
    core.progress = core.retake = core.recheck = True

