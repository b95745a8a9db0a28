"""What must survive a crash (Rule 10): every vote, P, the view, the stable checkpoint, execution.

A record is written (`bdn.pbft.events.Persist`) before the message that it stands for is sent, so a
restarted replica never contradicts what it said. Votes themselves are not stored: a signature can
be made again from the record, and `Voted` says for what.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bdn.encoding import decode_union, encode_union
from bdn.errors import EncodingError
from bdn.pbft.errors import JournalError
from bdn.pbft.messages import Checkpoint, NewView, Prepared, PrePrepare, ViewChange
from bdn.seal import Seal


@dataclass(frozen=True, slots=True)
class Voted:
    """This replica voted (PREPARE, or PRE-PREPARE as the primary) for a proposal, body inside."""

    pre_prepare: PrePrepare
    carried: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """``payload`` was executed as number ``seal.sequence``; None where a `Voted` has the body."""

    seal: Seal
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Stable:
    """A stable checkpoint with its proof; ``snapshot`` (encoded) is None where it is not held."""

    sequence: int
    digest: bytes
    snapshot: bytes | None
    proof: tuple[Checkpoint, ...]


Record = Voted | Prepared | ViewChange | NewView | Executed | Stable
"""`Prepared`: a COMMIT was sent. `ViewChange`: a view was given up. `NewView`: one was entered."""

RECORDS: tuple[type[Record], ...] = (Voted, Prepared, ViewChange, NewView, Executed, Stable)


def encode_journal(record: Record) -> bytes:
    """The record's bytes."""
    return encode_union(record)


def decode_journal(data: bytes) -> Record:
    """The record; raises `JournalError` for bytes that no replica wrote."""
    try:
        return decode_union(RECORDS, data)
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
    pairs: Iterable[tuple[bytes, Record]], stable: int, views: set[int]
) -> Iterable[bytes]:
    for i, (data, record) in enumerate(pairs):
        match record:
            case ViewChange() | NewView():
                keep = i in views
            case Stable():
                keep = record.sequence == stable
            case Voted():
                keep = record.pre_prepare.sequence > stable
            case Prepared():
                keep = record.pre_prepare.sequence > stable
            case Executed():
                keep = record.seal.sequence > stable
        if keep:
            yield data
