"""Messages on their way, kept in a temporary file when they are many.

When ten thousand devices have sealed their updates, all of them are on their way to an edge server
at one moment of virtual time. Their bytes need not be in memory before it takes them.
"""

import tempfile
from dataclasses import dataclass
from typing import IO

SMALLEST = 4096
"""Shorter messages stay in memory: finding them again would cost more."""

KEPT = 32 << 20
"""Bytes on their way that may be in memory."""


@dataclass(slots=True)
class Slip:
    """Where a message lies; ``data`` where it is in memory.

    Attributes:
        data: the message itself, or None.
        start, size: its place in the file.
        copies: how many that wait for it have not taken it.
    """

    data: bytes | None
    start: int
    size: int
    copies: int = 0


class Spool:
    """Keeps messages until they are taken."""

    def __init__(self, kept: int = KEPT, smallest: int = SMALLEST) -> None:
        self._kept = kept
        self._smallest = smallest
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._filed = 0
        """Messages in the file that somebody waits for."""
        self._last: tuple[bytes, Slip] | None = None
        """The last message put, which may be meant for several."""

    def put(self, data: bytes) -> Slip:
        """Keep ``data`` for one more taker. The same object, put again at once, is kept once."""
        if self._last is None or self._last[0] is not data or self._last[1].copies == 0:
            self._last = data, self._place(data)
        slip = self._last[1]
        slip.copies += 1
        return slip

    def _place(self, data: bytes) -> Slip:
        if len(data) < self._smallest or self._in_memory + len(data) <= self._kept:
            self._in_memory += len(data)
            return Slip(data, 0, len(data))
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="bdn-messages-")  # noqa: SIM115 - see `close`
        start = self._file.seek(0, 2)
        self._file.write(data)
        self._filed += 1
        return Slip(None, start, len(data))

    def take(self, slip: Slip) -> bytes:
        """Return the message on ``slip``, for one of those that wait for it."""
        slip.copies -= 1
        if slip.data is not None:
            data = slip.data
        else:
            assert self._file is not None, "what has no data was filed"
            self._file.seek(slip.start)
            data = self._file.read(slip.size)
        if slip.copies == 0:
            self._forget(slip)
        return data

    def _forget(self, slip: Slip) -> None:
        if self._last is not None and self._last[1] is slip:
            self._last = None
        if slip.data is not None:
            self._in_memory -= slip.size
            return
        self._filed -= 1
        if self._filed == 0 and self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
