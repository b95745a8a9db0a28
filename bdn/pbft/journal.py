"""What must survive a crash (Rule 10): every vote, P, the view, the stable checkpoint, execution.

A record is written (`bdn.pbft.events.Persist`) before the message that it stands for is sent, so a
restarted replica never contradicts what it said. Votes themselves are not stored: a signature can
be made again from the record, and `Voted` says for what. `bdn.pbft.replica` replays the records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bdn.errors import EncodingError, IntegrityError
from bdn.pbft.messages import (
    Checkpoint,
    Digest,
    NewView,
    Number,
    Prepared,
    PrePrepare,
    ViewChange,
)
from bdn.pbft.wire import decode_member, encode_member
from bdn.seal import Seal


class JournalError(IntegrityError):
    """A journal that no replica with this identity and cluster can have written."""


@dataclass(frozen=True, slots=True)
class Voted:
    """This replica voted (PREPARE, or PRE-PREPARE as the primary) for a proposal.

    The proposal is stripped, its payload (None where it is in an earlier record) beside it.
    """

    pre_prepare: PrePrepare
    payload: bytes | None
    carried: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """``payload`` was executed as number ``seal.sequence``; None where a `Voted` has the body."""

    seal: Seal
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Stable:
    """A stable checkpoint with its proof; ``snapshot`` (encoded) is None where it is not held."""

    sequence: Number
    digest: Digest
    snapshot: bytes | None
    proof: tuple[Checkpoint, ...]


JournalRecord = Voted | Prepared | ViewChange | NewView | Executed | Stable
"""`Prepared`: a COMMIT was sent. `ViewChange`: a view was given up. `NewView`: one was entered."""

_RECORDS: dict[str, type[JournalRecord]] = {
    cls.__name__: cls for cls in (Voted, Prepared, ViewChange, NewView, Executed, Stable)}


def encode_journal(record: JournalRecord) -> bytes:
    """Return the record's bytes, in the form that messages have."""
    return encode_member(record)


def decode_journal(data: bytes) -> JournalRecord:
    """Return the record; raise `JournalError` for bytes that no replica wrote."""
    try:
        return decode_member(_RECORDS, data)
    except EncodingError as error:
        raise JournalError(f"a journal record cannot be read: {error}") from error


def compact(records: Sequence[bytes]) -> list[bytes]:
    """The records that a restart still needs, in order; what a stable checkpoint covers goes.

    A driver may call this whenever it likes and write the result in place of the journal.
    """
    decoded = [decode_journal(record) for record in records]
    stable = max((r.sequence for r in decoded if isinstance(r, Stable)), default=0)
    last = {kind: max((i for i, r in enumerate(decoded) if isinstance(r, kind)), default=-1)
            for kind in (ViewChange, NewView)}
    return list(_needed(zip(records, decoded, strict=True), stable, set(last.values())))


def _needed(
    pairs: Iterable[tuple[bytes, JournalRecord]], stable: int, views: set[int]
) -> Iterable[bytes]:
    for i, (data, entry) in enumerate(pairs):
        match entry:
            case ViewChange() | NewView():
                keep = i in views
            case Stable():
                keep = entry.sequence == stable
            case Voted():
                keep = entry.pre_prepare.sequence > stable
            case Prepared():
                keep = entry.pre_prepare.sequence > stable
            case Executed():
                keep = entry.seal.sequence > stable
        if keep:
            yield data
