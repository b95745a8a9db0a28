"""Messages in a stream of bytes: each frame is its length in four bytes, big-endian, then itself.

No I/O here: bytes go in as they come, whole frames come out.
"""

from collections.abc import Iterator

from bdn.errors import UsageError
from bdn.experiments.processes.errors import FrameError

HEADER = 4
MAX_FRAME = 64 << 20
"""Bytes; the largest real message is a packed update with large keys, a tenth of it."""


def frame(data: bytes) -> bytes:
    """``data`` as one frame; raises `UsageError` where it is longer than any peer accepts."""
    if len(data) > MAX_FRAME:
        raise UsageError(f"a message of {len(data)} bytes is longer than {MAX_FRAME}")
    return len(data).to_bytes(HEADER, "big") + data


class FrameReader:
    """Cuts a stream into frames.

    Args:
        limit: bytes that a frame may have; it can be raised later, for a peer that has shown
            who it is.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream could end here without cutting a frame short."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; gives the frames that they complete, one by one.

        The limit is looked at anew for each frame, since the first may show who the peer is.
        Raises `FrameError` as soon as a header announces more than the limit, so that no peer can
        make us keep more than that.
        """
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> bytes | None:
        if len(self._buffer) < HEADER:
            return None
        length = int.from_bytes(self._buffer[:HEADER], "big")
        if length > self.limit:
            raise FrameError(f"a frame of {length} bytes, where {self.limit} are allowed")
        if len(self._buffer) < HEADER + length:
            return None
        found = bytes(self._buffer[HEADER:HEADER + length])
        del self._buffer[:HEADER + length]
        return found
