"""The quick ways of `straight`, `record`, `journal` and `wire` are the plain ones, only quicker."""

import copy
import dataclasses
import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import (
    decode_union,
    digest,
    encode,
    encode_record,
    encode_union,
    transcript,
)
from bdn.errors import EncodingError
from bdn.pbft.events import Decided, Persist, Send
from bdn.pbft.flat import FlatCodec, read_batch, write_batch
from bdn.pbft.journal import Executed, Stable, Voted, decode_journal, encode_journal
from bdn.pbft.messages import (
    MESSAGES,
    Checkpoint,
    Commit,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    Request,
    Snapshot,
)
from bdn.pbft.straight import StraightCodec
from bdn.pbft.wire import (
    checkpoint_digest,
    encode_message,
    encode_snapshot,
    reply_statement,
    request_statement,
)
from bdn.record import maker, record
from bdn.seal import Seal

EDGES = st.sampled_from([0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1])
"""Where CBOR's shortest form of a number grows (RFC 8949, section 3)."""

digests = st.binary(min_size=32, max_size=32)
blobs = st.sampled_from([0, 1, 23, 24, 255, 256, 300]).flatmap(
    lambda size: st.binary(min_size=size, max_size=size))
names = st.text(max_size=30) | st.sampled_from(["x" * 23, "y" * 24, "z" * 128, "ö" * 12])
signatures = st.binary(min_size=64, max_size=64) | blobs
records = st.one_of(
    st.builds(Request, names, digests | blobs, EDGES, blobs, signatures),
    st.builds(PrePrepare, EDGES, EDGES, digests, st.none() | blobs, signatures),
    st.builds(Reply, EDGES, names, EDGES, blobs, EDGES, signatures),
    st.builds(Checkpoint, EDGES, digests, EDGES, signatures),
    st.builds(Prepare, EDGES, EDGES, digests, EDGES, signatures),
    st.builds(Commit, EDGES, EDGES, digests, EDGES, signatures),
)
STRAIGHT = {cls: StraightCodec(cls)
            for cls in (Request, PrePrepare, Reply, Checkpoint, Prepare, Commit)}


def outcome(read, data):
    """What ``read`` makes of ``data``; None where it refuses."""
    try:
        return read(data)
    except EncodingError:
        return None


# --- codecs


@given(records)
def test_written_out_or_in_a_loop_the_bytes_are_the_general_ones(message):
    """RFC 8949, section 4.2: one message, one encoding, whichever codec wrote it."""
    cls = type(message)
    data = STRAIGHT[cls].encode(message)
    assert data == FlatCodec(cls).encode(message) == encode_union(message)
    assert STRAIGHT[cls].decode(data) == FlatCodec(cls).decode(data) == message


@given(records, st.data())
def test_written_out_or_in_a_loop_the_same_bytes_are_refused(message, data):
    """One byte changed, bytes cut off, put in or added: both read the same, or both refuse."""
    cls = type(message)
    straight, flat = STRAIGHT[cls].decode, FlatCodec(cls).decode
    good = STRAIGHT[cls].encode(message)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255) | st.sampled_from([23, 24, 25, 0x57, 0x58, 0x59, 0x78]))
    for changed in (good[:at] + bytes([byte]) + good[at + 1:], good[:at], good[:at] + good[at + 1:],
                    good[:at] + bytes([byte]) + good[at:], good + bytes([byte]), b""):
        read = outcome(straight, changed)
        assert read == outcome(flat, changed)
        if read is not None:
            assert read == decode_union(MESSAGES, changed)


EXAMPLES = (
    Request("c" * 23, bytes(32), 7, b"o" * 23, bytes(64)),
    Request("c", bytes(32), 24, b"o" * 24, bytes(64)),
    PrePrepare(3, 300, bytes(32), b"p" * 23, bytes(64)),
    PrePrepare(23, 2**32, bytes(32), b"p" * 256, bytes(64)),
    Reply(0, "c" * 24, 70000, b"", 3, bytes(64)), Checkpoint(16, bytes(32), 30, bytes(64)),
    Prepare(0, 24, bytes(32), 1, bytes(64)), Commit(255, 2**40, bytes(32), 256, bytes(64)),
)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_any_byte_made_another_or_a_longer_head_is_read_as_the_loop_reads_it(message):
    """One message, one encoding: numbers and lengths in any but their shortest form included."""
    codec, flat = STRAIGHT[type(message)], FlatCodec(type(message))
    good = codec.encode(message)
    for at, byte in enumerate(good):
        major, low = byte & 0xE0, byte & 0x1F
        longer = [bytes([major + 24, low]), bytes([major + 25, 0, low]), bytes([major + 25, 0]),
                  bytes([major + 26, 0, 0, 0, low]), bytes([major + 26, 0, 0])]
        others = (bytes([value]) for value in (0, 23, 24, 25, 27, 31, 0x3F, 0x40, 0x57, 0x58, 0x5F,
                                               0x60, 0x78, 0x7F, 0xF6, 0xFF, byte ^ 1, byte ^ 32))
        for change in (*longer, *others):
            changed = good[:at] + change + good[at + 1:]
            assert outcome(codec.decode, changed) == outcome(flat.decode, changed)


def test_the_codec_takes_its_straight_way_for_what_travels():
    """Else the two tests above would compare the loop with itself."""
    for message in (
            Request("c", bytes(32), 7, b"operation", bytes(64)),
            PrePrepare(3, 300, bytes(32), b"p" * 300, bytes(64)),
            Reply(0, "c", 70000, b"", 3, bytes(64)), Checkpoint(16, bytes(32), 30, bytes(64)),
            Prepare(0, 24, bytes(32), 1, bytes(64)), Commit(0, 2**40, bytes(32), 1, bytes(64))):
        codec = StraightCodec(type(message))
        data = encode_union(message)
        for function in (codec.encode, codec.decode):
            function.__globals__["general"] = None
        assert codec.encode(message) == data
        assert codec.decode(data) == message


@given(EDGES, st.lists(blobs, max_size=30))
def test_a_batch_is_written_as_the_general_codec_writes_it(nonce, parts):
    assert write_batch(nonce, parts) == encode([nonce, *parts])
    assert read_batch(write_batch(nonce, parts)) == [nonce, *parts]


# --- records


@record
class Quick:
    """As the messages are made."""

    number: int
    text: str

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("negative")


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """The same, as `dataclasses` makes it."""

    number: int
    text: str

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("negative")


def test_a_record_is_a_frozen_dataclass_like_any_other():
    """STYLE rule 14: `record` differs from ``dataclass(frozen=True, slots=True)`` in time only."""
    for cls in (Quick, Plain):
        one = cls(1, text="a")
        assert repr(one) == f"{cls.__name__}(number=1, text='a')"
        assert one == cls(1, "a")
        assert one != cls(2, "a")
        assert hash(one) == hash((1, "a"))
        assert [field.name for field in dataclasses.fields(cls)] == ["number", "text"]
        assert dataclasses.replace(one, text="b") == cls(1, "b")
        assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
        assert not hasattr(one, "__dict__")
        assert cls.__match_args__ == ("number", "text")
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.number = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del one.text
        with pytest.raises(ValueError, match="negative"):
            cls(-1, "a")
        for wrong in ((), (1,), (1, "a", "b")):
            with pytest.raises(TypeError):
                cls(*wrong)
        with pytest.raises(TypeError):
            cls(1, other="a")
    assert Quick(1, "a") != Plain(1, "a")


def test_messages_effects_and_journal_records_cannot_be_changed():
    seal = Seal(0, 1, bytes(32), ())
    for thing in (seal, Prepare(0, 1, bytes(32), 2, b""), Request("c", b"", 1, b"", b""),
                  Persist(b"x"), Send(1, b"x"), Decided(1, b"", seal), Executed(seal, None)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, dataclasses.fields(thing)[0].name, 5)


def test_a_maker_makes_what_the_class_makes():
    """The same object, checked and frozen alike."""
    one = maker(Quick)(1, "a")
    assert type(one) is Quick
    assert one == Quick(1, "a")
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.number = 2
    with pytest.raises(ValueError, match="negative"):
        maker(Quick)(-1, "a")
    assert maker(Commit)(0, 1, bytes(32), 2, b"") == Commit(0, 1, bytes(32), 2, b"")


@pytest.mark.parametrize("make", [*MESSAGES, *map(maker, MESSAGES)], ids=lambda make: make.__name__)
def test_every_number_and_digest_of_a_message_is_checked(make):
    """Each alone, whichever way the message is made."""
    good = {"client": "c", "public_key": bytes(32), "payload": None, "kind": "payload",
            "active": True, "digest": bytes(32), **dict.fromkeys(
                ("operation", "signature", "result", "data"), b""), **dict.fromkeys(
                ("proof", "prepared", "view_changes", "pre_prepares", "seal"), ())}
    names = list(inspect.signature(make).parameters)
    values = [good.get(name, 2**63 - 1) for name in names]
    made = make(*values)
    for i, name in enumerate(names):
        wrong = {"digest": [b"", bytes(31), bytes(33)]}.get(
            name, [] if name in good else [-1, 2**63, 2**64])
        for value in wrong:
            with pytest.raises(ValueError, match="digest has 32" if name == "digest" else name):
                make(*values[:i], value, *values[i + 1:])
    assert any(name not in good for name in names)
    assert dataclasses.replace(made) == made


def test_a_record_takes_no_defaults():
    """What `record` would not honour it refuses."""
    with pytest.raises(AssertionError):
        @record
        class _Wrong:
            number: int = 5


# --- journal records


verified = st.binary(min_size=64, max_size=64) | st.binary(max_size=255)
"""Signatures that get into a journal were verified, so that they are short."""
proposals = st.builds(PrePrepare, EDGES, EDGES, digests, st.none(), verified)


@given(proposals, st.none() | blobs, st.booleans())
def test_a_vote_in_the_journal_is_the_general_encoding(proposal, payload, carried):
    entry = Voted(proposal, payload, carried)
    data = encode_journal(entry)
    assert data == encode(["Voted", proposal.view, proposal.sequence, proposal.digest,
                           proposal.signature, payload, carried])
    assert decode_journal(data) == entry


@given(proposals, st.lists(st.tuples(EDGES, verified), max_size=12))
def test_a_certificate_in_the_journal_is_the_general_encoding(proposal, pairs):
    votes = tuple(Prepare(proposal.view, proposal.sequence, proposal.digest, i, s)
                  for i, s in pairs)
    data = encode_journal(Prepared(proposal, votes))
    assert data == encode(["Prepared", proposal.view, proposal.sequence, proposal.digest,
                           proposal.signature, *[part for pair in pairs for part in pair]])
    assert decode_journal(data) == Prepared(proposal, votes)


@given(EDGES, EDGES, digests, st.none() | blobs,
       st.lists(st.tuples(EDGES, verified), max_size=12))
def test_an_execution_in_the_journal_is_the_general_encoding(
    view, sequence, digest, payload, pairs
):
    entry = Executed(Seal(view, sequence, digest, tuple(pairs)), payload)
    data = encode_journal(entry)
    assert data == encode(["Executed", view, sequence, digest, payload,
                           *[part for pair in pairs for part in pair]])
    assert decode_journal(data) == entry


@given(EDGES, digests, st.none() | blobs, st.lists(signatures, max_size=5))
def test_a_checkpoint_in_the_journal_survives(sequence, digest, snapshot, said):
    votes = tuple(Checkpoint(sequence, digest, i, s) for i, s in enumerate(said))
    entry = Stable(sequence, digest, snapshot, votes)
    data = encode_journal(entry)
    assert data == encode(["Stable", sequence, digest, snapshot, *map(encode_message, votes)])
    assert decode_journal(data) == entry


@given(blobs, digests, st.lists(st.tuples(names, EDGES, blobs), max_size=30))
def test_a_snapshot_is_the_general_encoding(application, state, replies):
    """Also the part of it that a CHECKPOINT's digest covers (Rule 5b)."""
    snapshot = Snapshot(application, state, tuple(replies))
    assert encode_snapshot(snapshot) == encode_record(snapshot)
    assert checkpoint_digest(snapshot) == digest("bdn/pbft/checkpoint", state, encode(replies))


# --- statements


@given(blobs, names, EDGES, EDGES, blobs, EDGES)
def test_what_clients_and_replies_sign_are_transcripts(
    instance, client, view, timestamp, content, replica
):
    """Length prefixes make a statement injective (`bdn.encoding.transcript`)."""
    def eight(number):
        return number.to_bytes(8, "big")

    assert request_statement(instance, client, timestamp, content) == transcript(
        "", instance, client.encode(), eight(timestamp), content)
    assert reply_statement(instance, view, client, timestamp, content, replica) == transcript(
        "", instance, client.encode(), eight(view), eight(timestamp), content, eight(replica))
