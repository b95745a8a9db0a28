"""What a parent and its child processes say to each other, over the child's stdin and stdout.

The parent's first message is the child's `bdn.experiments.processes.assignment`; it is all that the
child ever learns from it. The end of the stream means that the other is gone.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from bdn.encoding import at_most, decode_union, encode_union
from bdn.experiments.processes.assignment import Assignment
from bdn.experiments.processes.frames import FrameReader, frame

# --- parent → child -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Go:
    """All are ready: give your node its first event."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Say your totals and end."""


# --- child → parent -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The node is built, and listens if it is to listen."""


@dataclass(frozen=True, slots=True)
class Told:
    """A trace event, as a line of JSON."""

    line: Annotated[str, at_most(1 << 20)]


@dataclass(frozen=True, slots=True)
class Reached:
    """The node has the global model ``w`` (little-endian float32) after ``epoch``."""

    epoch: int
    w: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The device has finished; ``model`` is the record of its progress, as its journal keeps it."""

    model: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """An expected error ends the process."""

    reason: Annotated[str, at_most(1 << 20)]


@dataclass(frozen=True, slots=True)
class Totals:
    """The last message: bytes of messages sent and received, and an edge server's view."""

    sent_bytes: int
    received_bytes: int
    view: int


ToChild = Assignment | Go | Stop
FromChild = Ready | Told | Reached | Finished | Failed | Totals

TO_CHILD: tuple[type, ...] = ToChild.__args__
FROM_CHILD: tuple[type, ...] = FromChild.__args__


class Pipe:
    """One end of a pair of pipes.

    Args:
        incoming, outgoing: file descriptors.
        members: the classes that may come in.
    """

    def __init__(self, incoming: int, outgoing: int, members: tuple[type, ...]) -> None:
        self.incoming = incoming
        self.ended = False
        """Whether the other end has closed its side."""
        self._outgoing = outgoing
        self._members = members
        self._reader = FrameReader()

    def send(self, message: ToChild | FromChild) -> None:
        """Write ``message``; raises `BrokenPipeError` where nobody reads any more."""
        rest = memoryview(frame(encode_union(message)))
        while rest:
            rest = rest[os.write(self._outgoing, rest):]

    def receive(self) -> Iterator[ToChild | FromChild]:
        """What one read brings; raises a `PeerError` for anything that does not belong here."""
        data = os.read(self.incoming, 1 << 20)
        if not data:
            self.ended = True
        for message in self._reader.feed(data):
            yield decode_union(self._members, message)
