"""The normal case: a primary orders, two rounds of votes make the order final (Castro–Liskov 4.2).

::

    client ─REQUEST▶ primary ─PRE-PREPARE▶ backups ─PREPARE▶ all ─COMMIT▶ all ─REPLY▶ client

1. A client sends its request to the primary. A backup that gets one passes it on.
2. The primary gives a batch of requests the next number n and multicasts ⟨PRE-PREPARE, v, n, d⟩.
3. A backup that accepts it multicasts ⟨PREPARE, v, n, d, i⟩. With q − 1 of them the batch is
   *prepared*: no other digest can be prepared at n in view v, because two quorums share a correct
   replica, which votes once.
4. A replica with a prepared batch multicasts ⟨COMMIT, v, n, d, i⟩. With q of them the batch is
   *committed*: a later primary learns of it from any q replicas (`bdn.pbft.view_change`).
5. Committed batches are executed in the order of their numbers, and the clients are answered.

A `Slot` holds what is known of one number: the proposal, the votes, and the payloads by digest.
Votes may come before the proposal; `Slot.propose` then drops those for another digest. So all votes
in a slot with a proposal are for its digest, and it is enough to count them.

A `Core` is the state of one replica. Used here are:

==========================  ======================================================================
index, cluster              this replica's number; n, the public keys, window L and pipeline
application, signing        what executes requests; how messages are signed and verified
view, active, primary       v; False from its VIEW-CHANGE to the NEW-VIEW; the index of v's primary
low, high, q                the window is (h, H]; the quorum
log                         the slots: ``get(n)`` returns one or None, ``at(n)`` makes a missing one
next_sequence, executed     the number of the primary's next proposal; the last number executed
pending, in_flight          requests that wait; (client, timestamp) of those in a proposal of v
unvoted                     numbers whose proposals cannot be judged yet
buffer                      votes held back, by sender
replies                     (timestamp, result) of each client's last executed request
restoring                   the checkpoint that the application is fetching, or None
recheck, retake, progress   what `Replica` does at the end of this step: ask again what can be
                            proposed and voted for; take held-back votes; restart the request timer
sign                        returns a message with this replica's signature
send, broadcast, persist    effects: a message to one, to all others; a record to the journal
tell                        tells the trace of an event
effects, failures           effects of this step; view changes in a row without an execution
==========================  ======================================================================

A proposal is *carried* if a NEW-VIEW proposes it again because it may have been executed. A
NEW-VIEW fills gaps with the *null request*, whose execution does nothing. Messages are built with
an empty signature, ``b""``, which `sign` replaces. At the end of every step `Replica` calls
`propose_ready` and `execute_ready`.

Rules enforced here, by their numbers in docs/pbft.md: 1 (what a PRE-PREPARE must be), 2 (prepared,
committed, executed), 4 (votes count only in their view), 5f (nothing is judged during a restore),
7d (early votes wait), 7e (what is executed stays), 8e (timeouts become short again), 9b and 9c
(requests), 10b to 10d (written before it is sent), and the bounds 11d, 11f and 11g.
"""

from bdn.errors import PeerError
from bdn.pbft import checkpoint
from bdn.pbft.application import ExecutionError, NotYet
from bdn.pbft.core import Core, Slot
from bdn.pbft.events import Decided, SendReply
from bdn.pbft.journal import Executed, Voted
from bdn.pbft.messages import (
    NULL_PAYLOAD,
    Commit,
    MessageError,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    Request,
)
from bdn.pbft.signing import verify_message
from bdn.pbft.wire import encode_message
from bdn.seal import Seal

PENDING_PER_CLIENT = 256
"""A client's requests that may wait at a replica; more are refused."""


# --- 1. the client asks (Rule 9) ------------------------------------------------------------------


def on_request(core: Core, request: Request) -> None:
    """Take a request from a client, or from a backup that passed it on."""
    # accept?
    verify_message(request, core.cluster, core.signing)
    core.application.check_request(request)
    last, result = core.replies.get(request.client, (-1, b""))
    if request.timestamp < last:
        raise MessageError(f"{request.client} has asked for {last} since")
    if request.timestamp == last:  # Rule 9b: the cached reply, never a second execution
        core.tell("reply-cached", client=request.client)
        send_reply(core, request.client, last, result)
        return
    key = (request.client, request.timestamp)
    if key not in core.pending:
        _refuse_crowding(core, request)
        # record
        core.pending[key] = request
        core.recheck = True  # `Replica` proposes and minds the timer at the end of this step
    # send
    from_client = isinstance(core.source, str)  # the name of a client; a replica has a number
    if from_client:  # what a replica has passed on is not passed on again
        relay(core, request)


def _refuse_crowding(core: Core, request: Request) -> None:
    """Raise `MessageError` where the client has as much waiting as one may (Rule 11f)."""
    waiting, size = core.pending.share_of(request.client)
    if waiting >= PENDING_PER_CLIENT:
        raise MessageError(f"{request.client} has {waiting} requests waiting already")
    if size + len(request.operation) > core.cluster.max_payload:
        raise MessageError(f"{request.client} has too many bytes waiting already; at most "
                           f"{core.cluster.max_payload} are kept (Cluster.max_payload)")


def relay(core: Core, request: Request) -> None:
    """Pass a request on to the primary, as a backup (Rule 9c)."""
    if core.active and not core.is_primary:
        core.tell("relayed", client=request.client)
        core.send(core.cluster.primary(core.view), request)


# --- 2. PRE-PREPARE: the primary orders (Rule 1) --------------------------------------------------


def propose_ready(core: Core) -> None:
    """Order what the application finds due, as the primary, within window and pipeline."""
    while core.active and core.is_primary and core.restoring is None:
        sequence = core.next_sequence
        depth = 1 if core.cluster.sequential else core.cluster.pipeline
        if sequence > core.high or sequence > core.executed + depth:
            return
        waiting = [r for key, r in core.pending.items() if key not in core.in_flight] if (
            core.in_flight) else list(core.pending.values())  # asked after each request: a copy
        payload = core.application.propose(sequence, waiting)
        if payload is None:
            return
        digest = core.application.digest(payload)
        proposal = core.sign(PrePrepare(core.view, sequence, digest, payload, b""))
        # record
        core.next_sequence = sequence + 1
        core.in_flight.update(core.application.requests(payload))
        slot = core.log.at(sequence)
        slot.propose(proposal, carried=False)  # the slot keeps the payload apart, by its digest
        slot.voted = True  # a primary's vote is its PRE-PREPARE
        core.tell("pre-prepare", sequence=sequence)
        # send
        core.persist(Voted(proposal.stripped(), payload, carried=False))  # Rule 10b
        core.broadcast(proposal)
        if slot.is_prepared(core.q):  # alone it needs nobody's PREPARE
            become_prepared(core, slot)


def on_pre_prepare(core: Core, message: PrePrepare) -> None:
    """Take the primary's proposal: this payload, at this number of this view (Rule 1)."""
    # accept?
    if is_for_later(core, message):
        hold_back(core, message)
        return
    slot = core.log.get(message.sequence)
    if slot is not None and slot.pre_prepare is not None:
        if slot.pre_prepare.digest != message.digest:  # Rule 1c
            raise MessageError(f"the primary proposed another digest at {message.sequence}")
        if slot.body(message.digest) is not None or message.payload is None:
            return
    if message.payload is None or message.payload == NULL_PAYLOAD:
        # Only a NEW-VIEW may propose the null request, or a digest without its payload.
        raise MessageError("a PRE-PREPARE without a payload")
    refuse_long(core, message.payload)
    if core.is_primary:
        raise MessageError("a PRE-PREPARE of this replica's own view came from elsewhere")
    verify_message(message, core.cluster, core.signing)  # Rule 1a
    if core.application.digest(message.payload) != message.digest:  # Rule 1b
        raise MessageError("the PRE-PREPARE's digest is not its payload's")
    if slot is not None and slot.pre_prepare is not None:  # a carried proposal's missing body
        receive_body(core, slot, message.payload)
        return
    ready = is_acceptable(core, message.sequence, message.digest, message.payload, carried=False)
    # record
    slot = core.log.at(message.sequence)
    slot.propose(message, carried=False)  # keeps the payload, and drops votes for other digests
    core.tell("pre-prepare", sequence=message.sequence)
    # send
    if ready:
        vote(core, slot)
    else:
        core.unvoted.add(message.sequence)
        core.tell("deferred", sequence=message.sequence)


def refuse_long(core: Core, payload: bytes) -> None:
    """Raise `MessageError` for a payload longer than the cluster has agreed to keep (Rule 11g)."""
    if len(payload) > core.cluster.max_payload:
        raise MessageError(f"a payload of {len(payload)} bytes; at most "
                           f"{core.cluster.max_payload} are taken (Cluster.max_payload)")


def is_acceptable(
    core: Core, sequence: int, digest: bytes, payload: bytes, carried: bool
) -> bool:
    """Return whether to vote for it now; False means not yet. Raise `PeerError` for never."""
    # Rule 7e: a new view repeats numbers that this replica has executed already. It votes again
    # only for the digest that it executed.
    if sequence <= core.executed:
        slot = core.log.get(sequence)
        if slot is None or slot.seal is None or slot.seal.digest != digest:
            raise MessageError(f"something else was executed as {sequence}")
        return True
    if payload == NULL_PAYLOAD:
        return True
    if core.restoring is not None:
        return False  # Rule 5f: the application is between two states and can judge nothing
    if sequence <= core.application.height():
        # After a restart a durable application may be ahead of this replica's log. It can judge
        # nothing that it has executed already, so the log must catch up first.
        return False
    if core.cluster.sequential and sequence != core.executed + 1:
        return False
    try:
        core.application.accepts(sequence, payload, carried)
    except NotYet:
        return False
    return True


def vote(core: Core, slot: Slot) -> None:
    """PREPARE an accepted proposal; the primary's vote is the PRE-PREPARE itself."""
    proposal = slot.pre_prepare
    assert proposal is not None
    payload = slot.body(proposal.digest)
    # record
    slot.voted = True
    core.unvoted.discard(slot.sequence)
    # send
    core.persist(Voted(proposal, payload, slot.carried))  # Rule 10c: written before it is sent
    if not core.is_primary:
        own = own_prepare(core, proposal)
        slot.prepares[core.index] = own
        core.broadcast(own)
    if slot.is_prepared(core.q):  # the others' votes may have come before the proposal
        become_prepared(core, slot)


def own_prepare(core: Core, proposal: PrePrepare) -> Prepare:
    """Return this backup's PREPARE for a proposal."""
    return core.sign(Prepare(
        proposal.view, proposal.sequence, proposal.digest, core.index, b""))


# --- 3. PREPARE: the backups agree on the order within the view (Rule 2a) -------------------------


def on_prepare(core: Core, message: Prepare) -> None:
    """Take a backup's vote: it accepts the proposal (Rule 2)."""
    # accept?
    if is_for_later(core, message):
        hold_back(core, message)
        return
    if message.replica == core.primary:  # Rule 2d
        raise MessageError("a primary's PREPARE counts for nothing")
    slot = core.log.get(message.sequence)
    if slot is not None:
        if slot.committing or message.replica in slot.prepares:
            # The quorum is complete, or this replica's vote is here: another one is not counted,
            # so it is not verified either.
            return
        if slot.pre_prepare is not None and slot.pre_prepare.digest != message.digest:  # Rule 2e
            raise MessageError(f"a PREPARE for another digest at {message.sequence}")
    verify_message(message, core.cluster, core.signing)
    # record
    slot = slot or core.log.at(message.sequence)
    slot.prepares[message.replica] = message
    # send
    if slot.is_prepared(core.q):  # and this replica has voted, so it holds proposal and payload
        become_prepared(core, slot)


def become_prepared(core: Core, slot: Slot) -> None:
    """Keep the certificate and tell everyone with a COMMIT (Rule 2a).

    No other digest can be prepared at this number in this view: two quorums share a correct
    replica, and it votes once.
    """
    proposal = slot.pre_prepare
    assert proposal is not None
    votes = [slot.prepares[i] for i in sorted(slot.prepares)[:core.q - 1]]
    # record
    slot.certificate = Prepared(proposal, tuple(votes))
    slot.committing = True
    own = own_commit(core, proposal)
    slot.commits[core.index] = own
    core.tell("prepared", sequence=slot.sequence)
    # send
    core.persist(slot.certificate)  # Rule 10d: that it is prepared survives a restart
    core.broadcast(own)
    if slot.seal is None and slot.is_committed(core.q):  # catching up may have brought the seal
        become_committed(core, slot)


def own_commit(core: Core, proposal: PrePrepare) -> Commit:
    """Return this replica's COMMIT for a proposal."""
    return core.sign(Commit(
        proposal.view, proposal.sequence, proposal.digest, core.index, b""))


# --- 4. COMMIT: the order outlives the view (Rule 2b) ---------------------------------------------


def on_commit(core: Core, message: Commit) -> None:
    """Take a replica's vote: it has the proposal prepared (Rule 2)."""
    # accept?
    if is_for_later(core, message):
        hold_back(core, message)
        return
    slot = core.log.get(message.sequence)
    if slot is not None:
        if slot.seal is not None or message.replica in slot.commits:
            return  # the quorum is complete, or this replica's vote is here: not counted again
        if slot.pre_prepare is not None and slot.pre_prepare.digest != message.digest:  # Rule 2f
            raise MessageError(f"a COMMIT for another digest at {message.sequence}")
    verify_message(message, core.cluster, core.signing)
    # record
    slot = slot or core.log.at(message.sequence)
    slot.commits[message.replica] = message
    if slot.is_committed(core.q):
        become_committed(core, slot)


def become_committed(core: Core, slot: Slot) -> None:
    """Make the seal of q COMMITs (Rule 2b).

    A quorum has the certificate now. Any q VIEW-CHANGEs include one of a correct replica that has
    it, so every later view proposes this digest at this number.
    """
    proposal = slot.pre_prepare
    assert proposal is not None
    signatures = [(i, slot.commits[i].signature) for i in sorted(slot.commits)[:core.q]]
    # record
    slot.seal = Seal(proposal.view, slot.sequence, proposal.digest, tuple(signatures))
    core.tell("committed", sequence=slot.sequence)


# --- 5. execution and replies (Rule 2g) -----------------------------------------------------------


def execute_ready(core: Core) -> None:
    """Execute the next numbers as long as they are sealed and their bodies known."""
    while core.restoring is None:  # Rule 5f: the application is not between two states
        slot = core.log.get(core.executed + 1)  # Rule 2g: in order; early ones wait in the log
        if slot is None or (seal := slot.seal) is None:
            return
        payload = slot.body(seal.digest)
        if payload is None:
            return
        # The record of this replica's vote holds the payload; one that was fetched is written now.
        is_in_journal = (slot.voted and slot.pre_prepare is not None
                         and slot.pre_prepare.digest == seal.digest)
        try:
            _execute(core, seal, payload)
        except NotYet:  # the application fetches something; every later step tries again
            core.tell("deferred", sequence=slot.sequence)
            return
        core.persist(Executed(seal, payload=None if is_in_journal else payload))
        core.effects.append(Decided(seal.sequence, payload, seal))
        if seal.sequence % core.cluster.checkpoint_interval == 0:
            checkpoint.make(core)


def _execute(core: Core, seal: Seal, payload: bytes) -> None:
    results = apply(core, seal, payload)
    if payload != NULL_PAYLOAD:
        for key in core.application.requests(payload):
            core.in_flight.discard(key)
            if core.pending.pop(key, None) is not None:
                core.progress = True  # the request timer restarts only after one that waited here
        if core.active:
            core.failures = 0  # Rule 8e: timeouts are short again after a view made progress
    if core.pending:
        drop_unwanted(core)
    core.recheck = True  # deferred proposals may be acceptable now, and the next one may be due
    core.tell("null-request" if payload == NULL_PAYLOAD else "executed", sequence=seal.sequence)
    for client, timestamp, result in results:
        send_reply(core, client, timestamp, result)


def apply(core: Core, seal: Seal, payload: bytes) -> list[tuple[str, int, bytes]]:
    """Bring the state to that after ``payload``; a restart replays its journal by this, too."""
    results: list[tuple[str, int, bytes]] = []
    if payload != NULL_PAYLOAD:
        try:
            results = core.application.execute(seal.sequence, payload, seal)
        except NotYet:
            raise
        except PeerError as error:  # agreed, yet impossible: no peer can be blamed any more
            raise ExecutionError(f"cannot execute number {seal.sequence}: {error}") from error
    for client, timestamp, result in results:
        if timestamp > core.replies.get(client, (-1, b""))[0]:
            core.replies[client] = (timestamp, result)
    core.executed = seal.sequence
    core.next_sequence = max(core.next_sequence, core.executed + 1)
    return results


def drop_unwanted(core: Core) -> None:
    """Forget waiting requests that can never be executed any more."""
    wanted = core.application.still_wanted
    for key in [key for key, request in core.pending.items() if not wanted(request)]:
        del core.pending[key]
        core.in_flight.discard(key)
        core.tell("dropped", client=key[0])


def send_reply(core: Core, client: str, timestamp: int, result: bytes) -> None:
    """Tell a client the result of its request."""
    reply = core.sign(Reply(core.view, client, timestamp, result, core.index, b""))
    core.effects.append(SendReply(client, encode_message(reply)))


# --- proposals that cannot be judged yet ----------------------------------------------------------


def reconsider(core: Core) -> None:
    """Ask again about proposals that could not be voted for yet."""
    for sequence in sorted(core.unvoted):
        slot = core.log.get(sequence)
        if slot is None or slot.pre_prepare is None or slot.voted:
            core.unvoted.discard(sequence)
            continue
        payload = slot.body(slot.pre_prepare.digest)
        if payload is None:
            continue
        try:
            ready = is_acceptable(core, sequence, slot.pre_prepare.digest, payload, slot.carried)
        except PeerError as error:
            core.unvoted.discard(sequence)
            slot.withdraw()
            core.tell("rejected", reason=str(error), sequence=sequence)
            continue
        if ready:
            vote(core, slot)


def receive_body(core: Core, slot: Slot, payload: bytes) -> None:
    """Take the missing payload of a carried proposal, which was verified against its digest."""
    assert slot.pre_prepare is not None
    slot.keep(slot.pre_prepare.digest, payload)
    core.unvoted.add(slot.sequence)
    core.in_flight.update(core.application.requests(payload))
    core.tell("fetched-payload", sequence=slot.sequence)
    reconsider(core)


# --- votes for a view or window to come (Rules 4, 7d) ---------------------------------------------


def is_for_later(core: Core, message: PrePrepare | Prepare | Commit) -> bool:
    """Tell whether a vote must wait for its view or window; raise where it never counts."""
    if message.view != core.view or not core.active:
        if message.view < core.view:  # Rule 4a
            raise MessageError(f"view {message.view} is over")
        return True  # Rule 4b: nor do votes count during a view change
    # Rule 1d: otherwise a faulty primary could exhaust the numbers. Others may be one checkpoint
    # ahead of what this replica has counted, so votes for one more window are kept.
    if not core.low < message.sequence <= core.high + core.cluster.window:
        raise MessageError(f"sequence {message.sequence} is outside "
                           f"({core.low}, {core.high}] and the window after it")
    return message.sequence > core.high


def hold_back(core: Core, message: PrePrepare | Prepare | Commit) -> None:
    """Keep a vote that arrives before its view or window, bounded for each sender (Rule 7d)."""
    # accept?
    sender = (core.cluster.primary(message.view) if isinstance(message, PrePrepare)
              else message.replica)
    held = core.buffer.get(sender, [])
    if len(held) >= 3 * core.cluster.window:  # three kinds of vote for each number
        raise MessageError(f"replica {sender} has {len(held)} messages waiting for a later view")
    if message in held:
        return
    bodies = [m.payload for m in (*held, message) if isinstance(m, PrePrepare) and m.payload]
    if sum(map(len, bodies)) > core.cluster.max_payload:  # Rule 11d
        raise MessageError(f"replica {sender} has {len(bodies) - 1} payloads waiting already")
    verify_message(message, core.cluster, core.signing)
    # record
    core.buffer[sender] = [*held, message]
    core.tell("buffered", sequence=message.sequence)


def forget_held_back(core: Core) -> None:
    """Drop what waited for views below this replica's: they are over."""
    for sender, held in list(core.buffer.items()):
        core.buffer[sender] = [m for m in held if m.view >= core.view]


def take_held_back(core: Core) -> list[PrePrepare | Prepare | Commit]:
    """Return and forget what waited for the view and window of now, in the order of senders."""
    if not core.active:
        return []
    due: list[PrePrepare | Prepare | Commit] = []
    kept: dict[int, list[PrePrepare | Prepare | Commit]] = {}
    for sender in sorted(core.buffer):
        for message in core.buffer[sender]:
            if message.view == core.view and message.sequence <= core.high:
                due.append(message)
            else:
                kept.setdefault(sender, []).append(message)
    core.buffer = kept
    return due
