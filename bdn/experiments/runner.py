"""All nodes in one process: a discrete-event simulation with real messages and real work.

Time is virtual and counted in milliseconds. A message takes ``delay_ms``; a timer fires when its
time has come and nothing earlier waits; each node is a machine of its own, busy while it works.
How long work takes is *measured* by default (so the virtual clock shows the latency of devices that
really work side by side), or *nominal*, zero, where a run must repeat byte for byte.

Work that a node hands out (`Compute`) goes to the executor at once. The runner waits for its result
when the virtual clock reaches the time before which it cannot end: a worker pool then uses every
core, and with nominal time, what happens depends on virtual time and names alone. Work that several
nodes do alike is done once and charged to each of them (`bdn.nodes.shared_work`).
"""

import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bdn.errors import BdnError
from bdn.experiments.spool import Slip, Spool
from bdn.learning import Executor, FutureResult
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
from bdn.nodes.faults import OUR_OWN
from bdn.nodes.messages import message_kind
from bdn.nodes.shared_work import SharedWork
from bdn.trace import DISCARD, Trace


class StalledError(BdnError):
    """Nothing is left to happen and the run has not reached its end."""


class Network(Protocol):
    """What happens to a message: milliseconds until it arrives, or None where it is lost."""

    def __call__(self, source: str, target: str, data: bytes, now_ms: int) -> int | None:
        """The fate of one message."""


LOOKAHEAD = 0.5
"""Work is expected to last at least so much of the shortest that was seen of its kind."""


@dataclass(frozen=True, slots=True)
class _Mail:
    """A message on its way."""

    source: str
    slip: Slip


class _Wake:
    """A machine that was busy looks into its inbox."""


WAKE = _Wake()


@dataclass(slots=True)
class _Entry:
    at_ms: float
    order: int
    target: str
    what: Event | Compute | _Mail | _Wake
    incarnation: int
    pending: FutureResult | None = None
    """Work that an executor does."""
    start_ms: float | None = None
    """When the node began with its work, once that is known."""
    least_ms: float = 0.0
    """What the work is taken to last at least."""


@dataclass(slots=True)
class _Machine:
    """One node's virtual computer."""

    node: Node | None
    free_ms: float = 0.0
    incarnation: int = 0
    timers: dict[str, int] = field(default_factory=dict)
    inbox: deque[_Entry] = field(default_factory=deque)
    """What arrived while the machine was busy, in order; one wake-up is under way for all of it."""
    sent_bytes: int = 0
    received_bytes: int = 0


class Runner:
    """Drives nodes until a condition holds.

    Args:
        nodes: the nodes, started in this order at time zero.
        network: the fate of messages; one millisecond everywhere by default.
        persist: called with (node name, record, slot) before later effects of the same step.
        measured: whether work advances the virtual clock by the time it really took.
        executor: runs work marked ``parallel``; in this process, one by one, by default.
        start_ms: the virtual clock at the start (blocks carry it).
        trace: told of work done (spans) and of every message.
        work: what the nodes have in common; each does all of its own work where it is None.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        network: Network | None = None,
        persist: Callable[[str, bytes, str], None] | None = None,
        measured: bool = True,
        executor: Executor | None = None,
        start_ms: int = 0,
        trace: Trace = DISCARD,
        work: SharedWork | None = None,
    ) -> None:
        self._machines: dict[str, _Machine] = {}
        self._queue: list[tuple[float, int, _Entry]] = []
        self._order = itertools.count()
        self._network = network if network is not None else (lambda _s, _t, _d, _n: 1)
        self._persist = persist if persist is not None else (lambda _node, _record, _slot: None)
        self._measured = measured
        self._executor = executor
        self._trace = trace
        self._work = work
        self._least: dict[tuple[str, str], float] = {}
        """The fewest seconds that work of a kind took, by (kind, phase)."""
        self._spool = Spool()
        self._scheduled: list[tuple[float, int, Callable[[], None]]] = []
        self.now_ms: float = start_ms
        for node in nodes:
            self.add(node)

    # --- what experiments do to nodes -----------------------------------------------------------

    def add(self, node: Node) -> None:
        """Start ``node`` now; a crashed node of the same name is replaced."""
        old = self._machines.get(node.name)
        incarnation = old.incarnation + 1 if old is not None else 0
        machine = _Machine(node, self.now_ms, incarnation)
        if old is not None:
            machine.sent_bytes, machine.received_bytes = old.sent_bytes, old.received_bytes
        self._machines[node.name] = machine
        self._push(self.now_ms, node.name, Started())

    def crash(self, name: str) -> None:
        """The node stops: its timers, its work and messages on their way to it are lost."""
        machine = self._machines[name]
        machine.node = None
        machine.timers.clear()
        for entry in machine.inbox:
            self._lose(entry)
        machine.inbox.clear()
        machine.incarnation += 1

    def is_up(self, name: str) -> bool:
        """Whether the node runs."""
        return self._machines[name].node is not None

    def at(self, when_ms: float, action: Callable[[], None]) -> None:
        """Do ``action`` when the virtual clock reaches ``when_ms``."""
        heapq.heappush(self._scheduled, (when_ms, next(self._order), action))

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node."""
        return {name: (machine.sent_bytes, machine.received_bytes)
                for name, machine in self._machines.items()}

    # --- the loop -------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], limit_ms: float | None = None) -> None:
        """Go on until ``until()`` holds; it is asked after every event.

        Raises `StalledError` when nothing is left to happen, or when the virtual clock passes
        ``limit_ms``, before that.
        """
        while not until():
            if not self._queue and not self._scheduled:
                raise StalledError("no message, timer or work is left, and the run is not finished")
            if self._scheduled and (
                not self._queue or self._scheduled[0][0] <= self._queue[0][0]
            ):
                at_ms, _, action = heapq.heappop(self._scheduled)
                self.now_ms = max(self.now_ms, at_ms)
                action()
                continue
            if limit_ms is not None and self._queue[0][0] > limit_ms:
                raise StalledError(f"not finished after {limit_ms / 1000:.0f} virtual seconds")
            self._handle(heapq.heappop(self._queue)[2])

    def _handle(self, entry: _Entry) -> None:
        machine = self._machines[entry.target]
        if machine.node is None or machine.incarnation != entry.incarnation:
            self._lose(entry)
            return
        if isinstance(entry.what, Compute):
            self._compute(entry, entry.what)
            return
        if isinstance(entry.what, _Wake):
            if machine.free_ms <= entry.at_ms:  # else it got work meanwhile
                self._take(machine, machine.inbox.popleft(), entry.at_ms)
            if machine.inbox:
                self._push(max(machine.free_ms, entry.at_ms), entry.target, WAKE)
        elif machine.inbox or machine.free_ms > entry.at_ms:  # busy
            machine.inbox.append(entry)
            if len(machine.inbox) == 1:
                self._push(machine.free_ms, entry.target, WAKE)
        else:
            self._take(machine, entry, entry.at_ms)

    def _lose(self, entry: _Entry) -> None:
        """What was on its way to a machine that crashed is lost."""
        if isinstance(entry.what, _Mail):
            self._spool.take(entry.what.slip)

    def close(self) -> None:
        """Forget what is on its way."""
        self._spool.close()

    def _take(self, machine: _Machine, entry: _Entry, at_ms: float) -> None:
        """Let a free machine take an event."""
        assert not isinstance(entry.what, (Compute, _Wake))
        event = entry.what
        if isinstance(event, _Mail):
            event = Received(event.source, self._spool.take(event.slip))
        if isinstance(entry.what, TimedOut):
            if not self._is_running(machine, entry):
                return  # cancelled or set anew
            del machine.timers[entry.what.name]
        self.now_ms = max(self.now_ms, at_ms)
        if isinstance(event, Received):
            machine.received_bytes += len(event.data)
        self._step(machine, event)

    @staticmethod
    def _is_running(machine: _Machine, entry: _Entry) -> bool:
        return isinstance(entry.what, TimedOut) and (
            machine.timers.get(entry.what.name) == entry.order
        )

    def _step(self, machine: _Machine, event: Event) -> None:
        assert machine.node is not None
        started = time.perf_counter()
        effects = machine.node.step(event, int(self.now_ms))
        seconds = time.perf_counter() - started + self._owed()
        machine.free_ms = self.now_ms + self._cost(seconds)
        for effect in effects:
            self._carry_out(machine, machine.node.name, effect)

    def _carry_out(self, machine: _Machine, name: str, effect: Effect) -> None:
        match effect:
            case Persist(record, slot):
                self._persist(name, record, slot)
            case Send(target, data):
                machine.sent_bytes += len(data)
                self._deliver(name, target, data, machine.free_ms)
            case SetTimer(timer, after_ms):
                machine.timers[timer] = self._push(machine.free_ms + after_ms, name,
                                                   TimedOut(timer))
            case CancelTimer(timer):
                machine.timers.pop(timer, None)
            case Compute():
                self._push(machine.free_ms, name, effect, self._hand_out(effect))

    def _deliver(self, source: str, target: str, data: bytes, at_ms: float) -> None:
        delay = self._network(source, target, data, int(at_ms))
        self._trace.event("message", source=source, target=target, bytes=len(data),
                          kind=message_kind(data), lost=delay is None,
                          virtual_ms=round(at_ms, 3))
        if delay is not None and target in self._machines:
            self._push(at_ms + delay, target, _Mail(source, self._spool.put(data)))

    # --- work -----------------------------------------------------------------------------------

    def _hand_out(self, compute: Compute) -> FutureResult | None:
        """Begin work that may run in a worker, at once: its arguments will not change any more."""
        if self._executor is None or not compute.parallel:
            return None
        return self._executor.submit(do_work, (compute, self._work is not None))

    def _compute(self, entry: _Entry, compute: Compute) -> None:
        """Let a node have the result of its work; its start is reached now, or its end."""
        machine = self._machines[entry.target]
        if entry.start_ms is None:
            entry.start_ms = max(entry.at_ms, machine.free_ms)
            entry.least_ms = self._least_cost(compute) if entry.pending is not None else 0.0
            if entry.least_ms > 0:  # others go on until then, and hand out work of their own
                machine.free_ms = entry.start_ms + entry.least_ms
                heapq.heappush(self._queue, (machine.free_ms, next(self._order), entry))
                return
        if entry.pending is not None:
            self._finish(entry, self._taken(entry, compute, entry.pending.result()))
        elif self._work is not None and compute.shared:
            done = self._work.get(entry.target, compute.task.kind,
                                  (compute.function, compute.shared), lambda: do_work(compute))
            self._finish(entry, done, shared=self._owed() > 0)
        else:
            self._finish(entry, do_work(compute))

    def _taken(self, entry: _Entry, compute: Compute, done: "Done") -> "Done":
        """``done`` as a worker sent it; keep what it did ahead for other nodes."""
        at = compute.task.kind, compute.task.phase
        self._least[at] = min(self._least.get(at, math.inf), done.seconds)
        if self._work is not None and done.ahead is not None:
            kind, name, seconds = done.ahead
            self._work.put(kind, name, None, seconds)
            self._trace.event(kind, node=entry.target, seconds=round(seconds, 6), ahead=True)
        return done

    def _least_cost(self, compute: Compute) -> float:
        """Milliseconds that such work takes at least, judging by what was done before.

        Until so much virtual time has passed, nobody needs to know how long the work takes, so that
        the runner need not wait for it.
        """
        seconds = self._least.get((compute.task.kind, compute.task.phase), 0.0)
        return self._cost(LOOKAHEAD * seconds)

    def _owed(self) -> float:
        """Seconds of other nodes' work that the node which worked last has to be charged with."""
        return self._work.take_owed() if self._work is not None else 0.0

    def _finish(self, entry: _Entry, done: "Done", shared: bool = False) -> None:
        """Let the node have the result when it is due; ``shared`` if another one made it."""
        assert isinstance(entry.what, Compute)
        assert entry.start_ms is not None
        machine = self._machines[entry.target]
        if machine.node is None or machine.incarnation != entry.incarnation:
            return
        end_ms = entry.start_ms + max(entry.least_ms, self._cost(done.seconds))
        machine.free_ms = max(machine.free_ms, end_ms)
        self._trace.event("work", node=entry.target, kind=entry.what.task.kind,
                          seconds=round(done.seconds, 6), virtual_ms=round(entry.start_ms, 3),
                          **({"shared": True} if shared else {}))
        self._push(end_ms, entry.target, Computed(entry.what.task, done.result, done.error))

    def _cost(self, seconds: float) -> float:
        return seconds * 1000 if self._measured else 0.0

    def _push(
        self, at_ms: float, target: str, what: Event | Compute | _Mail | _Wake,
        pending: FutureResult | None = None,
    ) -> int:
        order = next(self._order)
        incarnation = self._machines[target].incarnation
        entry = _Entry(at_ms, order, target, what, incarnation, pending)
        heapq.heappush(self._queue, (at_ms, order, entry))
        return order


@dataclass(frozen=True, slots=True)
class Done:
    """What has become of a piece of work.

    Attributes:
        result, error: one of them is None.
        seconds: what it took.
        ahead: (kind, name, seconds) of what was done ahead for other nodes, and was right.
    """

    result: Any
    error: Exception | None
    seconds: float
    ahead: tuple[str, bytes, float] | None = None


def do_work(work: Compute, ahead: bool = False) -> Done:
    """Do one piece of work, and with ``ahead`` also what other nodes will do on its result.

    An error travels back as a value, also one that nobody expected: it may come from what a peer
    sent. Failures of this machine are raised.
    """
    started = time.perf_counter()
    result, error, made = None, None, None
    try:
        result = work.function(*work.arguments)
    except OUR_OWN:
        raise
    except Exception as caught:  # noqa: BLE001 - see above
        error = caught
    seconds = time.perf_counter() - started
    if ahead and error is None and work.ahead is not None:
        made = _do_ahead(work, result)
    return Done(result, error, seconds, made)


def _do_ahead(work: Compute, result: Any) -> tuple[str, bytes, float] | None:
    """What other nodes need of ``result``; None where it is refused, which each says itself."""
    assert work.ahead is not None
    started = time.perf_counter()
    try:
        more = work.ahead(work.arguments, result)
        more.function()
    except OUR_OWN:
        raise
    except Exception:  # noqa: BLE001 - the nodes that it concerns meet it again
        return None
    return more.kind, more.name, time.perf_counter() - started
