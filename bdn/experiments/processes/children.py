"""A set of child processes, one per node: started, heard, restarted, stopped, none left behind.

Each child has a process group of its own, so that a Ctrl-C at the terminal reaches the parent
alone, which then ends its children in order. A parent that is killed outright needs no order: its
children notice the end of their stdin.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from bdn.errors import PeerError
from bdn.experiments.folder import held_locks
from bdn.experiments.processes.assignment import Assignment
from bdn.experiments.processes.control import (
    FROM_CHILD,
    Failed,
    FromChild,
    Go,
    Pipe,
    Ready,
    Stop,
    Totals,
)
from bdn.experiments.processes.errors import ProcessError

START_SECONDS = 120.0
"""Until all are ready; imports of a dozen processes on a small machine take their time."""

STOP_SECONDS = 5.0
"""For its totals; and again after SIGTERM, before SIGKILL."""

SAID_LINES = 5
"""Lines of a dead child's standard error that are quoted."""

SAID_BYTES = 4096
"""The end of a dead child's standard error, among which these lines are."""

MAIN = "bdn.experiments.processes.child"


class Child:
    """One node's process.

    What it says to standard error goes to a file that has no name, so that none is left behind.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.name = assignment.name
        self.assignment = assignment
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.process = subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
            [sys.executable, "-m", MAIN, self.name], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._said, env=environment, process_group=0, bufsize=0,
            pass_fds=held_locks(),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipe = Pipe(self.process.stdout.fileno(), self.process.stdin.fileno(), FROM_CHILD)
        self.ready = False
        self.totals: Totals | None = None
        self.failure = ""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def how_it_ended(self) -> str:
        """How it ended, and its last words."""
        code = self.process.returncode
        if self.failure:
            return f"{self.name}: {self.failure}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with status {code}"
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - SAID_BYTES))
        lines = self._said.read().decode(errors="replace").splitlines()[-SAID_LINES:]
        said = "; it said: " + " | ".join(lines) if lines else " without a word"
        return f"the process of {self.name} {how}{said}"

    def close(self) -> None:
        """Close our ends of its pipes: it ends, if it has not."""
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # unsent bytes to a dead process
                stream.close()
        self._said.close()


class Children:
    """The processes of ``assignments``; a context manager, which leaves none behind.

    Args:
        assignments: what each is given.
        hear: called with (node name, message).
        on_death: called with (node name, how) when one ends before it was told to; raises
            `ProcessError` by default.
    """

    def __init__(
        self, assignments: Iterable[Assignment], hear: Callable[[str, FromChild], None],
        on_death: Callable[[str, str], None] | None = None,
    ) -> None:  # fmt: skip
        self._assignments = list(assignments)
        self._hear = hear
        self._on_death = on_death if on_death is not None else _raise
        self._selector = selectors.DefaultSelector()
        self._living: dict[str, Child] = {}
        self._going = False
        self._stopping = False
        self.all: dict[str, Child] = {}
        """The newest process of each node, living or not."""

    def __enter__(self) -> "Children":
        try:
            for assignment in self._assignments:
                self._start(assignment)
            for assignment in self._assignments:  # all start at once; each reads when it can
                self._send(self.all[assignment.name], assignment)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._end()

    def _start(self, assignment: Assignment) -> Child:
        child = Child(assignment)
        self.all[assignment.name] = self._living[assignment.name] = child
        self._selector.register(child.pipe.incoming, selectors.EVENT_READ, child)
        return child

    def is_up(self, name: str) -> bool:
        """Whether the node's process lives."""
        return name in self._living

    # --- orders ---------------------------------------------------------------------------------

    def go(self) -> None:
        """Wait until all are ready, then let all begin."""
        until = time.monotonic() + START_SECONDS
        while waiting := [child for child in self._living.values() if not child.ready]:
            if time.monotonic() > until:
                raise ProcessError(f"{waiting[0].name} was not ready within {START_SECONDS:.0f} s")
            self.pump(0.5)
        self._going = True
        for child in list(self._living.values()):
            self._send(child, Go())

    def restart(self, name: str) -> Child:
        """Start the process of a node that died anew; it begins as soon as it is ready."""
        assert name not in self._living
        child = self._start(self.all[name].assignment)
        self._send(child, child.assignment)
        return child

    def stop(self) -> None:
        """Ask all to end, and hear their totals; end who has not done so in `STOP_SECONDS`."""
        self._stopping = True
        for child in list(self._living.values()):
            self._send(child, Stop())
        until = time.monotonic() + STOP_SECONDS
        while self._living and time.monotonic() < until:
            self.pump(0.2)

    def pump(self, seconds: float) -> None:
        """Hear what the children say within ``seconds``."""
        for key, _ in self._selector.select(seconds):
            self._listen(key.data)

    def _send(self, child: Child, message: Assignment | Go | Stop) -> None:
        with contextlib.suppress(BrokenPipeError):  # its death is noticed at its other pipe
            child.pipe.send(message)

    def _listen(self, child: Child) -> None:
        try:
            for message in child.pipe.receive():
                self._take(child, message)  # type: ignore[arg-type]  # FROM_CHILD admits no other
        except PeerError as error:
            child.failure = f"spoke what nobody understands: {error}"
            child.process.kill()
        if child.pipe.ended:
            self._bury(child)

    def _take(self, child: Child, message: FromChild) -> None:
        match message:
            case Ready():
                child.ready = True
                if self._going:  # it was started anew
                    self._send(child, Go())
            case Failed(reason):
                child.failure = reason
            case Totals():
                child.totals = message
        self._hear(child.name, message)

    def _bury(self, child: Child) -> None:
        """Its stdout is closed: it has ended, or is about to."""
        self._selector.unregister(child.pipe.incoming)
        del self._living[child.name]
        _wait(child)
        how = child.how_it_ended()
        child.close()
        if child.totals is None and not self._stopping:
            self._on_death(child.name, how)

    def _end(self) -> None:
        """End what still lives: politely, then not."""
        for child in self.all.values():
            child.close()
        for child in self._living.values():
            child.process.terminate()
        for child in self.all.values():
            _wait(child)
        self._living.clear()
        self._selector.close()


def _wait(child: Child) -> None:
    """Wait for the end of a process that should end by itself; kill one that does not."""
    try:
        child.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


def _raise(_name: str, how: str) -> None:
    raise ProcessError(how)
