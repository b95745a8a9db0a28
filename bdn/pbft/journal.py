"""What must survive a crash (Rule 10): every vote, P, the view, the stable checkpoint, execution.

A record is written (`bdn.pbft.events.Persist`) before the message that it stands for is sent, so a
restarted replica never contradicts what it said. Votes themselves are not stored: a signature can
be made again from the record, and `Voted` says for what. `bdn.pbft.replica` replays the records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bdn.errors import EncodingError, IntegrityError
from bdn.pbft.messages import (
    Digest,
    NewView,
    Number,
    Prepared,
    PrePrepare,
    Proof,
    ViewChange,
)
from bdn.pbft.wire import decode_member, encode_member, union_of
from bdn.seal import Seal


class JournalError(IntegrityError):
    """A journal that no replica with this identity and cluster can have written."""


@dataclass(slots=True, unsafe_hash=True)
class Voted:
    """This replica voted (PREPARE, or PRE-PREPARE as the primary) for a proposal.

    The proposal is stripped, its payload (None where it is in an earlier record) beside it.
    """

    pre_prepare: PrePrepare
    payload: bytes | None
    carried: bool


@dataclass(slots=True, unsafe_hash=True)
class Executed:
    """``payload`` was executed as number ``seal.sequence``; None where a `Voted` has the body."""

    seal: Seal
    payload: bytes | None


@dataclass(slots=True, unsafe_hash=True)
class Stable:
    """A stable checkpoint with its proof; ``snapshot`` (encoded) is None where it is not held."""

    sequence: Number
    digest: Digest
    snapshot: bytes | None
    proof: Proof


JournalRecord = Voted | Prepared | ViewChange | NewView | Executed | Stable
"""`Prepared`: a COMMIT was sent. `ViewChange`: a view was given up. `NewView`: one was entered."""

_KINDS: tuple[type[JournalRecord], ...] = (Voted, Prepared, ViewChange, NewView, Executed, Stable)
_RECORDS = union_of(_KINDS)


def encode_journal(record: JournalRecord) -> bytes:
    """Return the record's bytes, in the form that messages have."""
    return encode_member(record)


def decode_journal(data: bytes) -> JournalRecord:
    """Return the record; raise `JournalError` for bytes that no replica wrote."""
    try:
        record: JournalRecord = decode_member(_RECORDS, data)
    except EncodingError as error:
        raise JournalError(f"a journal record cannot be read: {error}") from error
    return record


def compact(records: Sequence[bytes]) -> list[bytes]:
    """Return the records that a restart still needs; what a stable checkpoint covers goes.

    The last checkpoint whose snapshot was written comes first, because executions beyond it may
    have been recorded before it. A driver may call this whenever it likes and write the result in
    place of the journal.
    """
    decoded = [decode_journal(record) for record in records]
    base, covered = None, 0
    for i, record in enumerate(decoded):
        if isinstance(record, Stable) and record.snapshot is not None:
            base, covered = i, record.sequence
    last_view = {kind: max((i for i, record in enumerate(decoded) if isinstance(record, kind)),
                           default=-1) for kind in (ViewChange, NewView)}
    needed = [] if base is None else [records[base]]
    for i, record in enumerate(decoded):
        match record:
            case ViewChange() | NewView():
                keep = i == last_view[type(record)]
            case Voted() | Prepared() | Executed() | Stable():
                keep = _sequence_of(record) > covered
        if keep:
            needed.append(records[i])
    return needed


def _sequence_of(record: Voted | Prepared | Executed | Stable) -> int:
    match record:
        case Voted() | Prepared():
            return record.pre_prepare.sequence
        case Executed():
            return record.seal.sequence
        case Stable():
            return record.sequence
