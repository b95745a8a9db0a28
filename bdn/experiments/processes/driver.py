"""Drives one node in real time: its sockets, its clock, its timers, its work.

The node is the very object that the in-process runner drives (`bdn.experiments.runner`): events go
into ``step``, effects come out and are carried out in order. A turn of the loop takes what has
arrived, then does one piece of work that the node handed out, and fires the timers that have run
out. While the node works, its process is busy, as a small device is.

A timer that ran out while the node was busy must not accuse a peer whose answer lies unread in the
socket. So a timer fires only once the sockets have been silent for `QUIET_SECONDS`, or when it is
`LATE_SECONDS` overdue, lest a peer that never stops talking keeps it from firing at all.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bdn.experiments.runner import do_work
from bdn.nodes.events import (
    CancelTimer,
    Compute,
    Computed,
    Effect,
    Event,
    Node,
    Persist,
    Received,
    Send,
    SetTimer,
    Started,
    TimedOut,
)
from bdn.nodes.messages import message_kind
from bdn.trace import DISCARD, Trace

QUIET_SECONDS = 0.02
LATE_SECONDS = 2.0


class Transport(Protocol):
    """What a driver asks of `bdn.experiments.processes.connections.Connections`."""

    def send(self, target: str, data: bytes) -> bool:
        """Send to the node named ``target``; False where the message is lost."""

    def wait(self, seconds: float) -> tuple[list[tuple[str, bytes]], bool]:
        """(source, message) pairs that came within ``seconds``, and whether any bytes moved."""

    @property
    def is_writing(self) -> bool:
        """Whether bytes wait for a peer to take them."""


class RealClock:
    """Milliseconds since 1970 that never go back while the process lives."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return (time.monotonic() + self._offset) * 1000


class Driver:
    """Drives one node.

    Args:
        node: a device, an edge server, or anything that steps as they do.
        network: its connections.
        persist: called with (record, slot); durable when it returns.
        clock: milliseconds; blocks carry it.
        trace: told of each message sent and each piece of work, as the in-process runner tells.

    Attributes:
        sent_bytes, received_bytes: of messages, without frames and handshakes.
    """

    def __init__(
        self, node: Node, network: Transport, persist: Callable[[bytes, str], None],
        clock: Callable[[], float], trace: Trace = DISCARD,
    ) -> None:  # fmt: skip
        self.node = node
        self.sent_bytes = 0
        self.received_bytes = 0
        self._network = network
        self._persist = persist
        self._clock = clock
        self._trace = trace
        self._timers: dict[str, float] = {}
        self._work: deque[Compute] = deque()
        self._work_since = 0.0

    def start(self) -> None:
        """Give the node its first event."""
        self._step(Started())

    def turn(self, patience: float) -> None:
        """One turn of the loop; waits up to ``patience`` seconds where there is nothing to do."""
        writing = bool(self._work) and self._may_still_write()
        seconds = self._until_timer(patience)
        if self._work:
            seconds = QUIET_SECONDS if writing else 0.0
        messages, heard = self._network.wait(seconds)
        for source, data in messages:
            self.received_bytes += len(data)
            self._step(Received(source, data))
        self._fire(LATE_SECONDS if heard or self._work else 0.0)
        if self._work and not (writing and heard):
            self._do(self._work.popleft())
            self._work_since = self._clock()

    def _may_still_write(self) -> bool:
        """Whether to let a large message leave before the work that follows it keeps us busy."""
        since = (self._clock() - self._work_since) / 1000
        return self._network.is_writing and since < LATE_SECONDS

    def _until_timer(self, patience: float) -> float:
        """Seconds to wait: until the next timer, but long enough to hear whether it is quiet."""
        if not self._timers:
            return patience
        left = (min(self._timers.values()) - self._clock()) / 1000
        return min(patience, max(QUIET_SECONDS, left))

    def _fire(self, overdue: float) -> None:
        """Fire the timers that ran out at least ``overdue`` seconds ago, the oldest first."""
        now = self._clock() - overdue * 1000
        due = sorted((at, name) for name, at in self._timers.items() if at <= now)
        for at, name in due:
            if self._timers.get(name) == at:  # not cancelled or set anew by an earlier one
                del self._timers[name]
                self._step(TimedOut(name))

    def _do(self, work: Compute) -> None:
        started = self._clock()
        done = do_work(work)
        self._trace.event("work", node=self.node.name, kind=work.task.kind,
                          seconds=round(done.seconds, 6), virtual_ms=round(started, 3))
        self._step(Computed(work.task, done.result, done.error))

    def _step(self, event: Event) -> None:
        for effect in self.node.step(event, int(self._clock())):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Persist(record, slot):
                self._persist(record, slot)
            case Send(target, data):
                self._send(target, data)
            case SetTimer(name, after_ms):
                self._timers[name] = self._clock() + after_ms
            case CancelTimer(name):
                self._timers.pop(name, None)
            case Compute():
                if not self._work:
                    self._work_since = self._clock()
                self._work.append(effect)

    def _send(self, target: str, data: bytes) -> None:
        arrived = self._network.send(target, data)
        self.sent_bytes += len(data)
        self._trace.event("message", source=self.node.name, target=target, bytes=len(data),
                          kind=message_kind(data), lost=not arrived,
                          virtual_ms=round(self._clock(), 3))
