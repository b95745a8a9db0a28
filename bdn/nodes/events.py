"""What goes into a node and what comes out: devices and edge servers do no I/O of their own.

``node.step(event, now_ms)`` returns a list of effects, to be carried out in order. `Persist` must
be durable before any later effect of the list: a device must not send a share that it could forget
having made. Whoever drives the node (the in-process runner, or a socket loop) owns the clock, the
timers and the worker pool; ``now_ms`` is its clock in milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Started:
    """The node's first event, also after a restart."""


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes from another node; ``source`` is its name and proves nothing."""

    source: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The timer ``name`` ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class Task:
    """What a node wants computed, and for which epoch and phase.

    Attributes:
        kind: "train", "seal", "share" or "open"; traces add up time by it.
        epoch, phase: of the vectors that it works on.
    """

    kind: str
    epoch: int
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Computed:
    """The result of the `Compute` for ``task``, or the exception that it raised."""

    task: Task
    result: Any
    error: Exception | None = None


Event = Started | Received | TimedOut | Computed


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``data`` to the node named ``target``."""

    target: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Start, or start anew, the timer ``name``."""

    name: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Stop the timer ``name`` if it runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Call the pure ``function(*arguments)`` somewhere and return its result as `Computed`.

    Attributes:
        task: returned with the result.
        function: importable by name, so that another process or machine can run it.
        parallel: whether it may run beside others in a worker process, which is given all its
            arguments; work with a part of the key, which uses every core anyway, stays in this one.
        shared: a digest of all inputs, where other nodes compute the same; "" elsewhere.
        ahead: for arguments and result, the `Ahead` that other nodes will do on the result. A
            driver that plays them, too, may do it where the result is made.
    """

    task: Task
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    parallel: bool = False
    shared: bytes = b""
    ahead: "Callable[[tuple[Any, ...], Any], Ahead] | None" = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """Work that other nodes will do, and share if they are in one process.

    Attributes:
        kind, name: of the work, as `bdn.nodes.shared_work.SharedWork` calls it.
        function: does it; raises where a node would refuse.
    """

    kind: str
    name: bytes
    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Persist:
    """Append ``record`` to the node's journal, durably, before any later effect.

    A record with a ``slot`` takes the place of the node's earlier record in that slot.
    """

    record: bytes
    slot: str = ""


Effect = Send | SetTimer | CancelTimer | Compute | Persist


class Node(Protocol):
    """A device or an edge server."""

    name: str

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; return what to do about it."""
