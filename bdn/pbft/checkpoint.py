"""Checkpoints: agreement on the state itself, after which the past may go (Castro–Liskov 4.3)."""

from bdn.pbft.core import Core
from bdn.pbft.journal import Stable
from bdn.pbft.messages import Checkpoint, MessageError, Snapshot
from bdn.pbft.signing import verify_message
from bdn.pbft.wire import checkpoint_digest, encode_snapshot


def make(core: Core) -> None:
    """Every K executions: snapshot, sign, tell (Rule 5)."""
    own = note_own(core)
    core.tell("checkpoint", sequence=own.sequence)
    core.broadcast(own)
    settle(core, own.sequence)


def note_own(core: Core) -> Checkpoint:
    """This replica's snapshot of its state now and its CHECKPOINT for it, recorded."""
    snapshot = Snapshot(
        core.application.snapshot(), core.application.state_digest(),
        tuple((client, *core.replies[client]) for client in sorted(core.replies)),  # Rule 5b
    )
    own = core.sign(Checkpoint(core.executed, checkpoint_digest(snapshot), core.index, b""))
    core.snapshots[core.executed] = encode_snapshot(snapshot)
    core.checkpoints.setdefault(core.executed, {})[core.index] = own
    return own


def on_checkpoint(core: Core, message: Checkpoint) -> None:
    """Another replica's digest of its state."""
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
    settle(core, message.sequence)


def certificate(core: Core, sequence: int) -> tuple[Checkpoint, ...] | None:
    """q matching CHECKPOINTs for ``sequence``, if they are there (Rule 5a)."""
    votes = dict(core.checkpoints.get(sequence, {}))
    votes.update({i: v for i, v in core.far_checkpoints.items() if v.sequence == sequence})
    for candidate in votes.values():
        same = [votes[i] for i in sorted(votes) if votes[i].digest == candidate.digest]
        if len(same) >= core.q:
            return tuple(same[:core.q])
    return None


def settle(core: Core, sequence: int) -> None:
    """Make ``sequence`` stable if it is certified and this replica has that state."""
    proof = certificate(core, sequence)
    if proof is None or sequence <= core.low:
        return
    if core.executed < sequence:
        core.goal = max(core.goal, sequence)  # behind: catching up begins with the next status
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
    core.persist(Stable(sequence, proof[0].digest, snapshot, proof))
    core.tell("checkpoint-stable", sequence=sequence)
    core.recheck = True


def adopt(
    core: Core, sequence: int, snapshot: bytes | None, proof: tuple[Checkpoint, ...]
) -> None:
    """The stable checkpoint's effect on the state; also how a restart replays it."""
    core.slide_to(sequence)
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
