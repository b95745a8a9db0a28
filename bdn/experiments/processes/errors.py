"""What can go wrong between processes."""

from bdn.errors import BdnError, PeerError


class FrameError(PeerError):
    """A peer's bytes are no frame that we accept."""


class HandshakeError(PeerError):
    """Who connected could not show who it is."""


class ProcessError(BdnError):
    """A node's process ended before its time; the message names it, and what it said last."""
