"""What `bdn.pbft` raises beside the ground floor's errors."""

from bdn.errors import IntegrityError, PeerError


class MessageError(PeerError):
    """A message that the protocol's rules refuse; the replica that meets it stays as it was."""


class JournalError(IntegrityError):
    """A journal that no replica with this identity and cluster can have written."""


class ExecutionError(IntegrityError):
    """The application failed on a payload that the cluster has agreed on: it must stop here."""


class NotYet(PeerError):  # noqa: N818 - it reads as a sentence: accepts … not yet
    """`Application.accepts` cannot tell yet (something is being fetched): ask again later."""
