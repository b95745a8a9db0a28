"""The main program of a node's process: ``python -m bdn.experiments.processes.child NAME``.

Its assignment comes over stdin; what it tells goes to stdout; whatever libraries print goes to
stderr. The name on the command line only tells people what they see in a process list. The process
ends when its parent says so or is gone: no process is left behind, whatever killed the parent.
"""

import json
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from bdn.errors import BdnError
from bdn.experiments.processes.assignment import Assignment, DeviceRole, EdgeRole
from bdn.experiments.processes.connections import Connections, Membership
from bdn.experiments.processes.control import (
    TO_CHILD,
    Failed,
    Go,
    Pipe,
    Ready,
    Stop,
    ToChild,
    Told,
    Totals,
)
from bdn.experiments.processes.driver import Driver, RealClock
from bdn.identity import Identity
from bdn.trace import Recorder, Trace

if TYPE_CHECKING:
    from bdn.experiments.processes.hosts import NodeHost

PATIENCE = 1.0
ORPHAN_SECONDS = 3.0
"""How long an orphan may go on with the work at hand before it is ended in the middle of it."""

DONE, FAILED, ORPHANED = 0, 2, 3
"""Exit statuses."""


def main() -> int:
    """Play one node; returns the exit status."""
    pipe = _claim_pipes()
    inbox: deque[ToChild] = deque()
    assignment = _next_order(pipe, inbox)
    if not isinstance(assignment, Assignment):
        return ORPHANED
    _watch_parent(pipe.incoming)
    try:
        return _play(assignment, pipe, inbox)
    except BrokenPipeError:  # nobody hears us any more
        return ORPHANED
    except BdnError as error:
        pipe.send(Failed(str(error)))
        return FAILED


def _play(assignment: Assignment, pipe: Pipe, inbox: deque[ToChild]) -> int:
    identity = Identity.from_secret(assignment.secret)
    trace = _trace(assignment, pipe)
    members = Membership(assignment.session, dict(assignment.keys), dict(assignment.addresses))
    if isinstance(assignment.role, (EdgeRole, DeviceRole)):
        from bdn.experiments.processes.hosts import make_host

        host = make_host(assignment.role, identity, trace)
    else:  # without BlockDeepNet; nothing of it is imported, so that memory can be compared
        from bdn.experiments.processes.central_nodes import make_central

        host = make_central(assignment.name, assignment.role)
    connections = Connections(assignment.name, identity, members, trace)
    try:
        driver = Driver(host.node, connections, host.persist, RealClock(), trace)
        pipe.send(Ready())
        if not isinstance(_next_order(pipe, inbox), Go):
            return _end(pipe, driver, host)
        connections.watch(pipe.incoming, lambda: _listen(pipe, inbox))
        driver.start()
        while not pipe.ended:
            driver.turn(PATIENCE)
            for message in host.news():
                pipe.send(message)
            if inbox:
                return _end(pipe, driver, host)
        return ORPHANED
    finally:
        connections.close()
        host.close()


def _listen(pipe: Pipe, inbox: deque[ToChild]) -> None:
    for message in pipe.receive():
        assert isinstance(message, (Assignment, Go, Stop))
        inbox.append(message)


def _next_order(pipe: Pipe, inbox: deque[ToChild]) -> ToChild | None:
    """Wait for the parent's next message; None where it is gone."""
    while not inbox and not pipe.ended:
        _listen(pipe, inbox)
    return inbox.popleft() if inbox else None


def _end(pipe: Pipe, driver: Driver, host: "NodeHost") -> int:
    """Send the totals, unless nobody is there to hear it; returns the exit status."""
    if pipe.ended:
        return ORPHANED
    pipe.send(Totals(driver.sent_bytes, driver.received_bytes, host.view))
    return DONE


def _claim_pipes() -> Pipe:
    """Keep stdin and stdout for the parent; prints go to stderr from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Pipe(incoming, outgoing, TO_CHILD)


def _trace(assignment: Assignment, pipe: Pipe) -> Trace:
    """Events go to the parent; their time counts from the beginning of the run."""
    offset = time.time() - assignment.started_ms / 1000

    def tell(record: dict[str, Any]) -> None:
        record["at"] = round(record["at"] + offset, 6)
        pipe.send(Told(json.dumps(record, default=bytes.hex)))

    return Recorder(tell, keep=False)


def _watch_parent(incoming: int) -> None:
    """End the process soon after its parent is gone, even in the middle of long work."""

    def watch() -> None:
        poll = select.poll()
        poll.register(incoming, 0)  # a hang-up is always reported
        poll.poll()
        time.sleep(ORPHAN_SECONDS)
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
