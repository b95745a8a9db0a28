"""What goes into a replica and what comes out: the whole surface of the sans-IO core.

A driver (a test, the simulator, a runner over sockets) feeds one event at a time and carries the
effects out **in the order of the list**. Nothing else passes between a replica and the world, and
nothing changes an event or an effect once it is made; nor a message (`bdn.pbft.messages`).
"""

from dataclasses import dataclass

from bdn.seal import Seal

# --- events -------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Start:
    """The first event of a replica's life, fresh or restarted: it sets its timers."""


@dataclass(slots=True, unsafe_hash=True)
class Receive:
    """``data`` arrived. ``source`` (replica index or client name) is the transport's word only:
    it tells where to send an answer, and nothing is believed because of it."""

    source: str | int
    data: bytes


@dataclass(slots=True, unsafe_hash=True)
class Timeout:
    """The timer ``name``, set by `SetTimer` and neither reset nor cancelled since, ran out."""

    name: str


@dataclass(slots=True, unsafe_hash=True)
class Poke:
    """The application's situation changed (an epoch's deadline passed): look again."""


@dataclass(slots=True, unsafe_hash=True)
class Restored:
    """The application has become the state after ``sequence`` by itself.

    This ends the `Application.restore` of a checkpoint at or below ``sequence`` that is under way.
    """

    sequence: int


@dataclass(slots=True, unsafe_hash=True)
class Suspect:
    """Whoever drives this replica has its own reasons to give up every view below ``view``."""

    view: int


Event = Start | Receive | Timeout | Poke | Restored | Suspect

# --- effects ------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Send:
    """Send ``data`` to replica ``to``."""

    to: int
    data: bytes


@dataclass(slots=True, unsafe_hash=True)
class Broadcast:
    """Send ``data`` to every other replica."""

    data: bytes


@dataclass(slots=True, unsafe_hash=True)
class SendReply:
    """Send ``data`` (a REPLY message) to ``client``."""

    client: str
    data: bytes


@dataclass(slots=True, unsafe_hash=True)
class SetTimer:
    """Start timer ``name``, or start it anew; it runs out ``after_ms`` milliseconds from now."""

    name: str
    after_ms: int


@dataclass(slots=True, unsafe_hash=True)
class CancelTimer:
    """Stop timer ``name``; nothing happens where it does not run."""

    name: str


@dataclass(slots=True, unsafe_hash=True)
class Persist:
    """Append ``record`` to the journal: durable **before** any later effect of the same list."""

    record: bytes


@dataclass(slots=True, unsafe_hash=True)
class Decided:
    """``payload`` was executed as ``sequence``; ``seal`` proves that a quorum committed it."""

    sequence: int
    payload: bytes
    seal: Seal


Effect = Send | Broadcast | SendReply | SetTimer | CancelTimer | Persist | Decided

REQUEST_TIMER = "request"
"""A valid request waits; when it runs out, the primary is suspected."""
VIEW_TIMER = "view"
"""A quorum wants the view; when it runs out, the next view is tried."""
STATUS_TIMER = "status"
"""Periodic: tell the others how far this replica is."""
