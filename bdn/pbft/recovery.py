"""Life after a crash: a journal is replayed into the state that its writer had (Rule 10)."""

from collections.abc import Sequence
from typing import assert_never

from bdn.encoding import decode_record
from bdn.errors import PeerError
from bdn.pbft import checkpoint, view_change
from bdn.pbft.core import Core
from bdn.pbft.errors import JournalError
from bdn.pbft.execution import apply
from bdn.pbft.journal import Executed, Record, Stable, Voted, decode_journal
from bdn.pbft.messages import NewView, Prepared, Snapshot, ViewChange
from bdn.pbft.normal import own_commit, own_prepare, take_proposal


def replay(core: Core, journal: Sequence[bytes]) -> None:
    """Replay every record; raises `JournalError` where the journal cannot be this replica's.

    Nothing is sent: `Start` says afterwards what the others should know.
    """
    for data in journal:
        try:
            _replay(core, decode_journal(data))
        except PeerError as error:
            raise JournalError(f"the journal does not fit its application: {error}") from error
    core.effects.clear()
    core.tell("restarted", sequence=core.executed, records=len(journal))


def _replay(core: Core, record: Record) -> None:
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
    take_proposal(core, slot, proposal, record.carried)
    slot.voted = True
    core.unvoted.discard(slot.sequence)
    core.next_sequence = max(core.next_sequence, slot.sequence + 1)
    if record.payload:
        core.in_flight.update(core.application.requests(record.payload))
    if not core.is_primary:
        slot.prepares[core.index] = own_prepare(core, proposal)


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
        slot.commits[core.index] = own_commit(core, proposal)


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
    apply(core, seal, payload)
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
        snapshot = decode_record(Snapshot, record.snapshot)
        if core.application.height() < record.sequence:
            core.application.restore(record.sequence, snapshot.application, snapshot.state)
        core.replies = {c: (timestamp, result) for c, timestamp, result in snapshot.replies}
        core.executed = record.sequence
        core.next_sequence = max(core.next_sequence, core.executed + 1)
    checkpoint.adopt(core, record.sequence, record.snapshot, record.proof)
