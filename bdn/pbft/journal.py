"""What must survive a crash (Rule 10): every vote, P, the view, the stable checkpoint, execution.

A record is written (`bdn.pbft.events.Persist`) before the message that it stands for is sent, so a
restarted replica never contradicts what it said. Votes themselves are not stored: a signature can
be made again from the record, and `Voted` says for what.
"""

from collections.abc import Iterable, Sequence

from bdn.encoding import decode, decode_union, encode_union
from bdn.errors import EncodingError
from bdn.pbft.errors import JournalError
from bdn.pbft.flat import (
    ARRAY,
    ARRAYS,
    DIGEST_HEAD,
    FALSE,
    INTS,
    LENGTHS,
    TRUE,
    write_bytes,
    write_head,
    write_optional,
    write_text,
    write_uint,
)
from bdn.pbft.messages import Checkpoint, NewView, Prepare, Prepared, PrePrepare, ViewChange
from bdn.pbft.wire import decode_message, encode_message
from bdn.record import record
from bdn.seal import Seal


@record
class Voted:
    """This replica voted (PREPARE, or PRE-PREPARE as the primary) for a proposal.

    The proposal is stripped, its payload (None where it is in an earlier record) beside it.
    """

    pre_prepare: PrePrepare
    payload: bytes | None
    carried: bool


@record
class Executed:
    """``payload`` was executed as number ``seal.sequence``; None where a `Voted` has the body."""

    seal: Seal
    payload: bytes | None


@record
class Stable:
    """A stable checkpoint with its proof; ``snapshot`` (encoded) is None where it is not held."""

    sequence: int
    digest: bytes
    snapshot: bytes | None
    proof: tuple[Checkpoint, ...]


Record = Voted | Prepared | ViewChange | NewView | Executed | Stable
"""`Prepared`: a COMMIT was sent. `ViewChange`: a view was given up. `NewView`: one was entered."""


def encode_journal(record: Record) -> bytes:
    """The record's bytes: a CBOR array of its name and its parts.

    What is written for each number is laid out by hand; `decode_journal` reads it strictly.
    """
    match record:
        case Voted():
            first = record.pre_prepare
            return b"".join([
                *_begin(7, _VOTED, first), LENGTHS[len(first.signature)], first.signature,
                write_optional(record.payload), TRUE if record.carried else FALSE])
        case Prepared():
            first = record.pre_prepare
            parts = _begin(5 + 2 * len(record.prepares), _PREPARED, first)
            parts += LENGTHS[len(first.signature)], first.signature
            for vote in record.prepares:
                replica, signature = vote.replica, vote.signature
                parts += (INTS[replica] if replica < 256 else write_uint(replica),
                          LENGTHS[len(signature)], signature)
            return b"".join(parts)
        case Executed():
            seal = record.seal
            parts = _begin(5 + 2 * len(seal.signatures), _EXECUTED, seal)
            parts.append(write_optional(record.payload))
            for replica, signature in seal.signatures:
                parts += (INTS[replica] if replica < 256 else write_uint(replica),
                          LENGTHS[len(signature)], signature)
            return b"".join(parts)
        case Stable():
            return b"".join((
                write_head(ARRAY, 4 + len(record.proof)), _STABLE, write_uint(record.sequence),
                DIGEST_HEAD, record.digest, write_optional(record.snapshot),
                *[write_bytes(encode_message(vote)) for vote in record.proof]))
        case _:
            return encode_union(record)


_VOTED, _PREPARED, _EXECUTED, _STABLE = map(
    write_text, ("Voted", "Prepared", "Executed", "Stable"))


def _begin(parts: int, name: bytes, point: PrePrepare | Seal) -> list[bytes]:
    """How an array of so many parts begins: its name, then view, sequence and digest."""
    view, sequence = point.view, point.sequence
    return [ARRAYS[parts] if parts < 256 else write_head(ARRAY, parts), name,
            INTS[view] if view < 256 else write_uint(view),
            INTS[sequence] if sequence < 256 else write_uint(sequence), DIGEST_HEAD, point.digest]


def decode_journal(data: bytes) -> Record:
    """The record; raises `JournalError` for bytes that no replica wrote."""
    try:
        match decode(data):
            case ["Voted", int() as view, int() as sequence, bytes() as digest,
                  bytes() as signature, bytes() | None as payload, bool() as carried]:
                return Voted(PrePrepare(view, sequence, digest, None, signature), payload, carried)
            case ["Prepared", int() as view, int() as sequence, bytes() as digest,
                  bytes() as signature, *flat]:
                votes = tuple(Prepare(view, sequence, digest, replica, vote)
                              for replica, vote in zip(flat[::2], flat[1::2], strict=True))
                return Prepared(PrePrepare(view, sequence, digest, None, signature), votes)
            case ["Executed", int() as view, int() as sequence, bytes() as digest,
                  bytes() | None as payload, *flat]:
                pairs = tuple(zip(flat[::2], flat[1::2], strict=True))
                return Executed(Seal(view, sequence, digest, pairs), payload)
            case ["Stable", int() as sequence, bytes() as digest, bytes() | None as snapshot,
                  *flat]:
                return Stable(sequence, digest, snapshot, tuple(map(_decode_checkpoint, flat)))
            case _:
                others: tuple[type[Record], ...] = (ViewChange, NewView)
                return decode_union(others, data)
    except (EncodingError, ValueError, TypeError) as error:
        raise JournalError(f"a journal record cannot be read: {error}") from error


def _decode_checkpoint(data: bytes) -> Checkpoint:
    message = decode_message(data)
    if not isinstance(message, Checkpoint):
        raise EncodingError(f"a {type(message).__name__} in a checkpoint's proof")
    return message


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
