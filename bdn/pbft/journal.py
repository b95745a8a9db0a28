"""What must survive a crash (Rule 10): every vote, P, the view, the stable checkpoint, execution.

A record is written (`bdn.pbft.events.Persist`) before the message that it stands for is sent, so a
restarted replica never contradicts what it said. Votes themselves are not stored: a signature can
be made again from the record, and `Voted` says for what.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import cbor2

from bdn.encoding import decode, decode_union, encode_union
from bdn.errors import EncodingError
from bdn.pbft.errors import JournalError
from bdn.pbft.messages import Checkpoint, NewView, Prepare, Prepared, PrePrepare, ViewChange
from bdn.pbft.wire import decode_message, encode_message
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


def encode_journal(record: Record) -> bytes:
    """The record's bytes: its name and its parts, messages in their wire form.

    Lists of numbers and bytes have one encoding, so `cbor2` may write them itself; `decode_journal`
    reads strictly.
    """
    match record:
        case Voted():
            return cbor2.dumps(["Voted", encode_message(record.pre_prepare), record.carried])
        case Prepared():
            first = record.pre_prepare
            return cbor2.dumps([
                "Prepared", first.view, first.sequence, first.digest, first.signature,
                *chain.from_iterable([(v.replica, v.signature) for v in record.prepares])])
        case Executed():
            seal = record.seal
            return cbor2.dumps([
                "Executed", seal.view, seal.sequence, seal.digest, record.payload,
                *chain.from_iterable(seal.signatures)])
        case Stable():
            return cbor2.dumps([
                "Stable", record.sequence, record.digest, record.snapshot,
                *map(encode_message, record.proof)])
        case _:
            return encode_union(record)


def decode_journal(data: bytes) -> Record:
    """The record; raises `JournalError` for bytes that no replica wrote."""
    try:
        match decode(data):
            case ["Voted", bytes() as proposal, bool() as carried]:
                message = decode_message(proposal)
                if not isinstance(message, PrePrepare):
                    raise EncodingError(f"a vote for a {type(message).__name__}")
                return Voted(message, carried)
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
