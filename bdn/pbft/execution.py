"""Executing what is committed, in order, each number once (Castro–Liskov 4.2, Rule 2g)."""

from bdn.errors import PeerError
from bdn.pbft import checkpoint
from bdn.pbft.core import Core
from bdn.pbft.errors import ExecutionError, NotYet
from bdn.pbft.events import Decided
from bdn.pbft.journal import Executed
from bdn.pbft.messages import NULL_PAYLOAD
from bdn.pbft.normal import send_reply
from bdn.record import maker
from bdn.seal import Seal

_executed, _decided = maker(Executed), maker(Decided)


def execute_ready(core: Core) -> None:
    """Execute the next numbers as long as they are sealed and their bodies known."""
    while core.restoring is None:
        slot = core.log.get(core.executed + 1)  # Rule 2g: in order; early ones wait in the log
        if slot is None or (seal := slot.seal) is None:
            return
        payload = slot.body(seal.digest)
        if payload is None:
            return
        written = (slot.voted and slot.pre_prepare is not None
                   and slot.pre_prepare.digest == seal.digest)
        try:
            _execute(core, seal, payload)
        except NotYet:  # the application fetches something; every later step tries again
            core.unsettled = True
            core.tell("deferred", sequence=slot.sequence)
            return
        core.persist(_executed(seal, None if written else payload))
        core.effects.append(_decided(seal.sequence, payload, seal))
        if seal.sequence % core.cluster.checkpoint_interval == 0:
            checkpoint.make(core)


def _execute(core: Core, seal: Seal, payload: bytes) -> None:
    results = apply(core, seal, payload)
    if payload != NULL_PAYLOAD:
        for key in core.application.requests(payload):
            core.in_flight.discard(key)
            if core.pending.pop(key, None) is not None:
                core.progress = True  # only a request that waited here restarts its timer
        if core.active:
            core.failures = 0  # Rule 8e: timeouts are short again after a view made progress
    if core.pending:
        drop_unwanted(core)
    core.recheck = True
    core.tell("null-request" if payload == NULL_PAYLOAD else "executed", sequence=seal.sequence)
    for client, timestamp, result in results:
        send_reply(core, client, timestamp, result)


def apply(core: Core, seal: Seal, payload: bytes) -> list[tuple[str, int, bytes]]:
    """The state after ``payload``; also how a restart replays its journal."""
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
