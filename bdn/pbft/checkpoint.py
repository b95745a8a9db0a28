"""Checkpoints: agreement on the state itself, after which the past may go (Castro–Liskov 4.3).

Every K executions a replica signs the digest of its state. q equal CHECKPOINTs are a certificate:
the checkpoint is *stable*, everything up to it leaves the log, and the window moves up.

Votes arrive one by one, and only a sender's first for a number is kept, which bounds memory. A
faulty replica can therefore make its vote useless here by sending another digest first. So a
certificate that arrives whole (in a VIEW-CHANGE, a NEW-VIEW or a STATE) counts as a whole, no
matter what its signers told this replica before.
"""

from bdn.pbft.core import Core
from bdn.pbft.journal import Stable
from bdn.pbft.messages import Checkpoint, MessageError, Snapshot
from bdn.pbft.signing import verify_message
from bdn.pbft.wire import checkpoint_digest, encode_as


def make(core: Core) -> None:
    """Every K executions: snapshot, sign, tell (Rule 5)."""
    if core.application.height() > core.executed:
        return  # a durable application is ahead of a restarted log: this state is past
    own = note_own(core)
    core.tell("checkpoint", sequence=own.sequence)
    core.broadcast(own)
    count_votes(core, own.sequence)


def note_own(core: Core) -> Checkpoint:
    """Record this replica's snapshot of its state now and return its CHECKPOINT for it."""
    snapshot = Snapshot(
        core.application.snapshot(), core.application.state_digest(),
        tuple((client, *core.replies[client]) for client in sorted(core.replies)),  # Rule 5b
    )
    own = core.sign(Checkpoint(core.executed, checkpoint_digest(snapshot), core.index, b""))
    core.snapshots[core.executed] = encode_as(Snapshot, snapshot)
    core.checkpoints.setdefault(core.executed, {})[core.index] = own
    return own


def on_checkpoint(core: Core, message: Checkpoint) -> None:
    """Take another replica's digest of its state."""
    # accept?
    if message.sequence <= core.low:
        raise MessageError(f"checkpoint {message.sequence} is past")
    if message.sequence % core.cluster.checkpoint_interval != 0:
        raise MessageError(f"{message.sequence} is no multiple of the checkpoint interval")
    near = message.sequence <= core.high
    if near:
        known = core.checkpoints.get(message.sequence, {}).get(message.replica)
        if known is not None:
            return
    else:
        # Rule 11b: beyond the window only each sender's highest is kept, which bounds memory.
        known = core.far_checkpoints.get(message.replica)
        if known is not None and known.sequence >= message.sequence:
            return
    verify_message(message, core.cluster, core.signing)
    # record
    if near:
        core.checkpoints.setdefault(message.sequence, {})[message.replica] = message
    else:
        core.far_checkpoints[message.replica] = message
    count_votes(core, message.sequence)


def count_votes(core: Core, sequence: int) -> None:
    """See whether the votes for ``sequence`` that came one by one are a certificate (Rule 5a)."""
    votes = dict(core.checkpoints.get(sequence, {}))
    votes.update({i: v for i, v in core.far_checkpoints.items() if v.sequence == sequence})
    for candidate in votes.values():
        same = [votes[i] for i in sorted(votes) if votes[i].digest == candidate.digest]
        if len(same) >= core.q:
            take_certificate(core, tuple(same[:core.q]))
            return


def take_certificate(core: Core, proof: tuple[Checkpoint, ...]) -> None:
    """Make a verified certificate's checkpoint stable, or the goal where that state is missing."""
    sequence = proof[0].sequence
    if sequence <= core.low:
        return
    if core.executed < sequence:
        if sequence > core.goal:
            core.goal_proof = proof  # behind: catching up begins with the next status
        return
    own = core.checkpoints.get(sequence, {}).get(core.index)
    if own is not None and own.digest != proof[0].digest:
        core.tell("diverged", sequence=sequence)  # more than f faults, or a broken application
        return
    make_stable(core, sequence, core.snapshots.get(sequence), proof)


def make_stable(
    core: Core, sequence: int, snapshot: bytes | None, proof: tuple[Checkpoint, ...]
) -> None:
    """Rule 5c: move the window up and forget what the checkpoint covers."""
    adopt(core, sequence, snapshot, proof)
    core.persist_stable(Stable(sequence, proof[0].digest, snapshot, proof))
    core.tell("checkpoint-stable", sequence=sequence)
    core.retake = core.recheck = True


def adopt(
    core: Core, sequence: int, snapshot: bytes | None, proof: tuple[Checkpoint, ...]
) -> None:
    """Apply the stable checkpoint to the state; a restart replays it by this, too."""
    core.set_low(sequence)
    core.stable_proof = proof
    core.stable_snapshot = snapshot
    core.log.cut(sequence)
    core.unvoted = {s for s in core.unvoted if s > sequence}
    core.snapshots = {s: data for s, data in core.snapshots.items() if s > sequence}
    core.checkpoints = {s: votes for s, votes in core.checkpoints.items() if s > sequence}
    for replica, vote in list(core.far_checkpoints.items()):
        if vote.sequence <= core.high:
            del core.far_checkpoints[replica]
            if vote.sequence > sequence:
                core.checkpoints.setdefault(vote.sequence, {}).setdefault(replica, vote)
