"""The view change (Castro–Liskov 4.4): a new primary, and nothing forgotten.

A replica that gives up view v tells everyone what it had *prepared* (P), because whatever any
replica executed was prepared by a quorum, and two quorums share a correct replica: so among any q
VIEW-CHANGEs there is one that remembers it. The new primary shows its q VIEW-CHANGEs (V) and what
follows from them (O); since O is a function of V, everybody computes it again.

Rules enforced here: 6 (VIEW-CHANGE), 7 (NEW-VIEW), 8 (timers, joining).
"""

from bdn.pbft import catch_up, checkpoint
from bdn.pbft.certificates import compute_order, verify_view_change
from bdn.pbft.core import Core
from bdn.pbft.events import REQUEST_TIMER, VIEW_TIMER
from bdn.pbft.messages import MessageError, NewView, PrePrepare, ViewChange
from bdn.pbft.normal import forget_held_back, reconsider, vote
from bdn.pbft.signing import verify_message

# --- giving a view up ---------------------------------------------------------------------------


def start(core: Core, target: int) -> None:
    """Leave the view for ``target``, telling what was prepared."""
    if target <= core.view:
        return
    # record
    if core.failures:
        core.tell("second-view-change", target=target)
    leave(core, target)
    core.failures += 1
    prepared = tuple(slot.certificate for slot in core.log
                     if slot.certificate is not None and slot.sequence > core.low)
    message = core.sign(ViewChange(
        target, core.low, core.stable_proof, prepared, core.index, b""))
    core.view_changes[core.index] = message
    core.tell("view-change", target=target)
    # send
    _stop(core)
    core.persist(message)  # Rule 10e: never again a vote below this view
    core.broadcast(message)
    consider(core)


def leave(core: Core, target: int) -> None:
    """The state of a replica that waits for view ``target``; also how a restart replays it."""
    core.set_view(target)
    core.active = False
    core.new_view = None
    core.unvoted.clear()
    core.in_flight.clear()
    core.log.leave_view()
    forget_held_back(core)


def _stop(core: Core) -> None:
    if core.request_timer:
        core.request_timer = False
        core.cancel_timer(REQUEST_TIMER)
    if core.view_timer:
        core.view_timer = False
        core.cancel_timer(VIEW_TIMER)


# --- VIEW-CHANGE (Rule 6) -----------------------------------------------------------------------


def on_view_change(core: Core, message: ViewChange) -> None:
    """Another replica gives up its view."""
    # accept?
    if message.view < core.view or (message.view == core.view and core.active):
        raise MessageError(f"the VIEW-CHANGE to {message.view} is past")
    known = core.view_changes.get(message.replica)
    if known is not None and known.view >= message.view:
        return  # Rule 11a: only the highest of each sender is kept
    # Rule 6e: verified before it is stored, so that a bad one never takes a good one's place.
    verify_view_change(core.cluster, core.certificate_signing, message)
    # record
    core.view_changes[message.replica] = message
    if message.proof:
        checkpoint.take_certificate(core, message.proof)
    consider(core)


def consider(core: Core) -> None:
    """See what the VIEW-CHANGEs at hand allow: join, start the timer, begin the view."""
    # Rule 8f: f + 1 replicas beyond my view cannot all be lying; follow, to the smallest.
    higher = [m.view for i, m in core.view_changes.items()
              if m.view > core.view and i != core.index]
    if len(higher) >= core.cluster.weak:
        core.tell("join", target=min(higher))
        start(core, min(higher))
        return
    if core.active:
        return
    votes = {i: m for i, m in core.view_changes.items() if m.view == core.view}
    if core.is_primary and len(votes) >= core.cluster.q:
        _begin(core, votes)
        return
    # Rule 8c: the timer runs only after a quorum, else one replica would run ahead alone. Those
    # who are further on count too: they will send no VIEW-CHANGE to this view any more.
    reached = sum(m.view >= core.view for m in core.view_changes.values())
    if reached >= core.cluster.q and not core.view_timer:
        core.view_timer = True
        core.set_timer(VIEW_TIMER, core.doubled(core.cluster.view_timeout_ms, core.failures - 1))


# --- NEW-VIEW (Rule 7) --------------------------------------------------------------------------


def _begin(core: Core, votes: dict[int, ViewChange]) -> None:
    """The new primary shows V and O, and enters its view."""
    chosen = tuple(votes[i] for i in sorted(votes))[:core.cluster.q]
    _, order = compute_order(chosen)
    proposals = tuple(core.sign(PrePrepare(core.view, sequence, digest, None, b""))
                      for sequence, digest in order)
    message = core.sign(NewView(core.view, chosen, proposals, b""))
    core.tell("new-view-sent")
    core.persist(message)
    core.broadcast(message)
    enter(core, message)


def on_new_view(core: Core, message: NewView) -> None:
    """The primary of a later view begins it."""
    # accept?
    if message.view < core.view or (message.view == core.view and core.active):
        raise MessageError(f"the NEW-VIEW of {message.view} is past")
    verify_new_view(core, message)
    # record, also where this replica sent no VIEW-CHANGE (Rule 7c)
    core.persist(message)
    enter(core, message)


def verify_new_view(core: Core, message: NewView) -> None:
    """Raise unless V is a quorum of valid VIEW-CHANGEs and O is what follows from it."""
    verify_message(message, core.cluster, core.signing)
    replicas = [m.replica for m in message.view_changes]
    if replicas != sorted(set(replicas)) or len(replicas) < core.cluster.q:  # Rule 7a
        raise MessageError(f"{len(set(replicas))} distinct VIEW-CHANGEs in order; "
                           f"{core.cluster.q} are needed")
    for part in message.view_changes:
        if part.view != message.view:
            raise MessageError(f"a VIEW-CHANGE to {part.view} in the NEW-VIEW of {message.view}")
        if core.view_changes.get(part.replica) != part:  # else it has been verified already
            verify_view_change(core.cluster, core.certificate_signing, part)
    _, order = compute_order(message.view_changes)
    claimed = [(p.view, p.sequence, p.digest) for p in message.pre_prepares]
    if claimed != [(message.view, sequence, digest) for sequence, digest in order]:  # Rule 7b
        raise MessageError("O does not follow from V")
    for proposal in message.pre_prepares:
        if proposal.payload is not None:
            raise MessageError("a proposal of O carries a payload")
        verify_message(proposal, core.cluster, core.signing)


def enter(core: Core, message: NewView) -> None:
    """Begin the view: O's proposals run through the phases (again)."""
    _stop(core)
    install(core, message)
    core.tell("new-view")
    # what V proves stable may be news
    best, _ = compute_order(message.view_changes)
    if best.proof:
        checkpoint.take_certificate(core, best.proof)
    for proposal in message.pre_prepares:
        slot = core.log.get(proposal.sequence)
        if slot is None or slot.pre_prepare is None:
            continue
        if slot.body(proposal.digest) is None:
            catch_up.fetch_body(core, slot.sequence, proposal.digest)  # Rule 7g
        elif core.is_primary and slot.sequence > core.executed:
            vote(core, slot)
        else:
            core.unvoted.add(slot.sequence)
    reconsider(core)
    catch_up.fetch_checkpoint(core)
    core.retake = core.recheck = True


def install(core: Core, message: NewView) -> None:
    """The state at the beginning of a view; also how a restart replays it."""
    leave(core, message.view)
    core.active = True
    core.new_view = message
    core.view_changes = {i: m for i, m in core.view_changes.items() if m.view > core.view}
    best, _ = compute_order(message.view_changes)
    core.next_sequence = max(core.executed, best.stable, core.low) + 1
    for proposal in message.pre_prepares:
        core.next_sequence = max(core.next_sequence, proposal.sequence + 1)
        if proposal.sequence > core.low:
            slot = core.log.at(proposal.sequence)
            slot.propose(proposal, carried=True)
            payload = slot.body(proposal.digest)
            if payload:
                core.in_flight.update(core.application.requests(payload))
