"""The main program of a node's process: ``python -m bdn.experiments.processes.child NAME``.

Its part comes over stdin; what it tells goes to stdout; whatever libraries print goes to stderr.
The name on the command line only tells people what they see in a process list. The process ends
when its parent says so or is gone: no process is left behind, whatever killed the parent.
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
from bdn.experiments.processes.control import (
    TO_CHILD,
    Failed,
    Farewell,
    Go,
    Pipe,
    Ready,
    Stop,
    ToChild,
    Told,
)
from bdn.experiments.processes.driver import Driver, RealClock
from bdn.experiments.processes.links import Links, Membership
from bdn.experiments.processes.parts import DeviceRole, EdgeRole, Part
from bdn.identity import Identity
from bdn.trace import Recorder, Trace

if TYPE_CHECKING:
    from bdn.experiments.processes.players import Player

PATIENCE = 1.0
ORPHAN_SECONDS = 3.0
"""How long an orphan may go on with the work at hand before it is ended in the middle of it."""

DONE, FAILED, ORPHANED = 0, 2, 3
"""Exit statuses."""


def main() -> int:
    """Play one node; returns the exit status."""
    pipe = _claim_pipes()
    inbox: deque[ToChild] = deque()
    part = _next_order(pipe, inbox)
    if not isinstance(part, Part):
        return ORPHANED
    _watch_parent(pipe.incoming)
    try:
        return _play(part, pipe, inbox)
    except BrokenPipeError:  # nobody hears us any more
        return ORPHANED
    except BdnError as error:
        pipe.send(Failed(str(error)))
        return FAILED


def _play(part: Part, pipe: Pipe, inbox: deque[ToChild]) -> int:
    identity = Identity.from_secret(part.secret)
    trace = _trace(part, pipe)
    members = Membership(part.session, dict(part.keys), dict(part.addresses))
    if isinstance(part.role, (EdgeRole, DeviceRole)):
        from bdn.experiments.processes.players import make_player

        player = make_player(part.role, identity, trace)
    else:  # without BlockDeepNet; nothing of it is imported, so that memory can be compared
        from bdn.experiments.processes.central import make_central

        player = make_central(part.name, part.role)
    links = Links(part.name, identity, members, trace)
    try:
        driver = Driver(player.node, links, player.persist, RealClock(), trace)
        pipe.send(Ready())
        if not isinstance(_next_order(pipe, inbox), Go):
            return _end(pipe, driver, player)
        links.watch(pipe.incoming, lambda: _listen(pipe, inbox))
        driver.start()
        while not pipe.ended:
            driver.turn(PATIENCE)
            for message in player.news():
                pipe.send(message)
            if inbox:
                return _end(pipe, driver, player)
        return ORPHANED
    finally:
        links.close()
        player.close()


def _listen(pipe: Pipe, inbox: deque[ToChild]) -> None:
    for message in pipe.receive():
        assert isinstance(message, (Part, Go, Stop))
        inbox.append(message)


def _next_order(pipe: Pipe, inbox: deque[ToChild]) -> ToChild | None:
    """Wait for the parent's next message; None where it is gone."""
    while not inbox and not pipe.ended:
        _listen(pipe, inbox)
    return inbox.popleft() if inbox else None


def _end(pipe: Pipe, driver: Driver, player: "Player") -> int:
    """Take leave, unless nobody is there to hear it; returns the exit status."""
    if pipe.ended:
        return ORPHANED
    pipe.send(Farewell(driver.sent_bytes, driver.received_bytes, player.view))
    return DONE


def _claim_pipes() -> Pipe:
    """Keep stdin and stdout for the parent; prints go to stderr from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Pipe(incoming, outgoing, TO_CHILD)


def _trace(part: Part, pipe: Pipe) -> Trace:
    """Events go to the parent; their time counts from the beginning of the run."""
    offset = time.time() - part.started_ms / 1000

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
