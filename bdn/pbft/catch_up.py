"""Lost messages, missing bodies, missed checkpoints: the status exchange (Rule 10; Castro's thesis,
chapter 5).

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
    Checkpoint,
    Fetch,
    FetchKind,
    MessageError,
    PrePrepare,
    State,
    Status,
)
from bdn.pbft.normal import own_commit, own_prepare, receive_body, relay
from bdn.pbft.signing import verify_message
from bdn.pbft.wire import checkpoint_digest, decode_snapshot
from bdn.seal import Seal

ANY_DIGEST = bytes(32)
RESENT_SLOTS = 32
"""How many slots' votes one STATUS brings back."""
RELAYED_AGAIN = 32
"""How many waiting requests go to the primary again in one period."""


# --- STATUS -------------------------------------------------------------------------------------


def on_status_timer(core: Core) -> None:
    """The period is over: say how far this replica is, and begin afresh with asking."""
    # record
    stuck = core.executed == core.executed_at_tick
    core.executed_at_tick = core.executed
    core.fetching, core.chase = None, 0
    core.served.clear()
    core.answered.clear()
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
    verify_message(message, core.cluster, core.signing)
    # record
    core.answered.add(message.replica)
    # send
    _send_view(core, message)
    _send_checkpoints(core, message)
    if message.view == core.view and message.active and core.active:
        _send_votes(core, message)
    _fetch_ahead(core, message)


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
    """CHECKPOINTs that would let it cut its log."""
    lacking: list[Checkpoint] = []
    if message.stable < core.low <= message.executed:
        lacking += core.stable_proof
    for sequence in sorted(core.checkpoints):
        own = core.checkpoints[sequence].get(core.index)
        if own is not None and sequence > message.stable:
            lacking.append(own)
    if lacking:
        core.tell("retransmit", what="CHECKPOINT", to=message.replica)
    for vote in lacking:
        core.send(message.replica, vote)


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
        core.chase = message.executed
        core.send(message.replica, _ask(core, "decided", core.executed + 1))


def fetch_checkpoint(core: Core) -> None:
    """A certified checkpoint is ahead and cannot be reached by voting: fetch it now."""
    if core.goal <= core.executed or core.restoring is not None or core.fetching is not None:
        return
    proof = checkpoint.certificate(core, core.goal)
    holders = [vote.replica for vote in proof or () if vote.replica != core.index]
    untried = [i for i in holders if i not in core.tried] or holders
    if untried:
        core.fetching = untried[0]
        core.tried.add(untried[0])
        core.send(untried[0], _ask(core, "checkpoint", core.goal))


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
    """A replica lacks something."""
    # accept?
    if core.served[message.replica] > 2 * core.cluster.window:  # Rule 11c
        raise MessageError(f"replica {message.replica} has asked enough for this period")
    verify_message(message, core.cluster, core.signing)
    answer = _answer(core, message)
    # record
    core.served[message.replica] += 1 if message.kind != "checkpoint" else core.cluster.window
    # send
    if answer is not None:
        core.send(message.replica, core.sign(answer))


def _answer(core: Core, message: Fetch) -> State | None:
    slot = core.log.get(message.sequence)
    if message.kind == "checkpoint":
        if core.stable_snapshot is None or message.sequence > core.low:
            return None
        return State("checkpoint", core.low, core.stable_proof[0].digest, core.stable_snapshot,
                     0, (), core.stable_proof, core.index, b"")
    if slot is None:
        return None
    if message.kind == "payload":
        data = slot.body(message.digest)
        return None if data is None else State(
            "payload", message.sequence, message.digest, data, 0, (), (), core.index, b"")
    if slot.seal is None or (data := slot.body(slot.seal.digest)) is None:
        return None
    return State("decided", message.sequence, slot.seal.digest, data, slot.seal.view,
                 slot.seal.signatures, (), core.index, b"")


# --- receiving ----------------------------------------------------------------------------------


def on_state(core: Core, message: State) -> None:
    """The answer to a FETCH; what it brings proves itself."""
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
    if core.fetching == message.replica and core.chase > message.sequence:
        core.send(message.replica, _ask(core, "decided", message.sequence + 1))


def _refuse_wrong_body(core: Core, message: State) -> None:
    if message.digest == NULL_DIGEST:
        if message.data:
            raise MessageError("the null request has no body")
    elif core.application.digest(message.data) != message.digest:
        raise MessageError("a fetched body is not of its digest")


def _take_checkpoint(core: Core, message: State) -> None:
    # accept?
    if message.sequence <= core.executed or core.restoring is not None:
        return
    certified = verify_stable(core.cluster, core.signing, message.sequence, message.proof)
    snapshot = decode_snapshot(message.data)
    if checkpoint_digest(snapshot) != certified:  # Rule 5d
        raise MessageError("the state is not the one that the checkpoint certifies")
    done = core.application.restore(message.sequence, snapshot.application, snapshot.state)
    # record
    core.restoring = (message.sequence, message.data, message.proof)
    if done:
        finish_restore(core)


def finish_restore(core: Core) -> None:
    """The application has become the certified state: the replica follows."""
    assert core.restoring is not None
    sequence, data, proof = core.restoring
    snapshot = decode_snapshot(data)
    core.restoring = None
    core.executed = sequence
    core.replies = {client: (timestamp, result) for client, timestamp, result in snapshot.replies}
    core.next_sequence = max(core.next_sequence, sequence + 1)
    core.in_flight.clear()
    for key in [k for k, r in core.pending.items() if not core.application.still_wanted(r)]:
        del core.pending[key]
    checkpoint.adopt(core, sequence, data, proof)
    core.persist(Stable(sequence, proof[0].digest, data, proof))
    core.tell("state-transfer", sequence=sequence)
    core.progress = core.recheck = True

