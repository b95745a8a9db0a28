"""The quick ways for batches and for votes change nothing but time (see also `straight`)."""

import dataclasses
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import decode, decode_union, encode, encode_union
from bdn.errors import EncodingError
from bdn.pbft import replica as replica_module
from bdn.pbft.flat import read_batch
from bdn.pbft.messages import MESSAGES, Commit, Prepare, PrePrepare
from bdn.pbft.wire import decode_message, encode_message, gists_of, read_among

EDGES = (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1)
"""Where CBOR's shortest form of a number grows (RFC 8949, section 3)."""

small = st.integers(0, 30)
digests = st.sampled_from([b"d" * 32, b"e" * 32, b"d" * 31 + b"e"])
votes = st.builds(
    lambda cls, *parts: cls(*parts), st.sampled_from([Prepare, Commit]), small,
    st.sampled_from(EDGES), digests, small, st.binary(min_size=64, max_size=64))


@pytest.mark.parametrize("number", EDGES)
def test_votes_at_the_edges_of_every_length_are_the_general_encoding(number):
    for cls in (Prepare, Commit):
        for view, sequence, replica, signature in (
                (number, 1, 2, bytes(64)), (0, number, 2, bytes(64)), (0, 1, number, bytes(64)),
                (number, number, 2, b"")):
            vote = cls(view, sequence, bytes(32), replica, signature)
            data = encode_message(vote)
            assert data == encode_union(vote)
            assert decode_message(data) == vote == decode_union(MESSAGES, data)


@pytest.mark.parametrize("long", ["1807", "190007", "1900ff", "1a0000ffff", "1a00000007",
                                  "1b00000000ffffffff", "1bffffffffffffffff", "20", "f6", "1c"])
def test_a_number_in_any_but_its_shortest_form_is_refused(long):
    """One message, one encoding; also what is no number of a vote at all."""
    data = encode_message(Commit(0, 7, b"d" * 32, 2, bytes(64)))
    changed = data.replace(b"sequence\x07", b"sequence" + bytes.fromhex(long))
    assert changed != data
    for read in (decode_message, lambda raw: decode_union(MESSAGES, raw)):
        with pytest.raises(EncodingError):
            read(changed)


def gist(vote):
    """What ``vote`` says, less who says it."""
    return gists_of((vote.view, vote.sequence, vote.digest))[isinstance(vote, Commit)]


@given(votes, votes)
def test_a_vote_is_surplus_only_if_it_says_what_is(one, other):
    """Kind, view, sequence and digest; who says it and the signature do not matter."""
    alike = dataclasses.replace(other, replica=0, signature=bytes(64)) == dataclasses.replace(
        one, replica=0, signature=bytes(64))
    read = read_among({gist(one): None}, encode_message(other))
    assert read == (None if alike and other.view < 24 and other.replica < 24 else other)


@given(votes, votes)
def test_a_vote_whose_gist_is_known_is_read_as_any_other(one, other):
    """Only the voter and the signature are taken from its bytes."""
    said = {gist(one): (one.view, one.sequence, one.digest)}
    for vote in (one, other, dataclasses.replace(one, replica=other.replica)):
        assert read_among(said, encode_message(vote)) == vote
    if one.view < 24 and one.replica < 24:  # else the quick way is not taken
        foreign = {gist(one): (7, 8, b"x" * 32)}
        assert read_among(foreign, encode_message(one)).sequence == 8


@given(votes, st.data())
def test_no_byte_of_a_known_vote_goes_unread(vote, data):
    """One byte changed, cut or added: read and refused as `decode_message` does."""
    said = {gist(vote): (vote.view, vote.sequence, vote.digest)}
    good = encode_message(vote)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    for changed in (good[:at] + byte + good[at + 1:], good[:at], good[:at] + good[at + 1:],
                    good[:at] + byte + good[at:], good + byte):
        assert _outcome(partial(read_among, said), changed) == _outcome(decode_message, changed)


def _outcome(read, data):
    try:
        return read(data)
    except EncodingError:
        return None


@given(st.binary(max_size=200))
def test_junk_and_other_messages_say_nothing_that_votes_say(junk):
    said = dict.fromkeys(gists_of((0, 1, b"d" * 32)))
    proposal = PrePrepare(0, 1, b"d" * 32, junk, bytes(64))
    assert read_among(said, encode_message(proposal)) == proposal
    assert _outcome(partial(read_among, said), junk) is _outcome(decode_message, junk)


@given(st.integers(0, 300), st.lists(st.binary(max_size=300), max_size=30), st.data())
def test_the_quick_way_for_batches_reads_what_the_general_codec_reads(nonce, parts, data):
    """Good batches, and what is left of them with one byte changed, cut or added."""
    good = encode([nonce, *parts])
    assert read_batch(good) == decode(good) == [nonce, *parts]
    raw = bytearray(good)
    at = data.draw(st.integers(0, min(len(raw) - 1, 8)))
    raw[at] = data.draw(st.integers(0, 255))
    for changed in (bytes(raw), good[:at], good + b"\x00", b"\x80"):
        read = read_batch(changed)
        assert read is None or read == decode(changed)


def _busy(world, n):
    """Traffic with checkpoints, a silent primary, and a vote sent twice."""
    w = world(n=n)
    for timestamp in range(1, 7):
        w.submit("c0", b"%d" % timestamp)
        w.run(50)
    w.crash(0)
    w.submit("c1", b"x")
    w.run(2000)
    w.give(2, w.commit(1, w.replicas[2].view, w.replicas[2].executed, b"f" * 32))
    return w


@pytest.mark.parametrize("n", [4, 7])
def test_dropping_votes_after_the_quorum_unread_changes_nothing(world, monkeypatch, n):
    """With and without the quick ways: the same states, journals and messages."""
    quick = _busy(world, n)
    monkeypatch.setattr(replica_module, "read_among", lambda _, data: decode_message(data))
    plain = _busy(world, n)
    assert quick.replicas[1].view > 0
    assert quick.replicas[1].executed >= 7
    for i in range(n):
        assert quick.replicas[i].fingerprint() == plain.replicas[i].fingerprint()
    assert quick.journals == plain.journals
    assert quick.sent == plain.sent
    for told, expected in zip(quick.traces, plain.traces, strict=True):
        assert [e["event"] for e in told.events] == [e["event"] for e in expected.events]


def test_a_vote_after_the_quorum_is_not_even_decoded(world, monkeypatch):
    """Issue 5, point 5: votes after the quorum need no check."""
    w = world(checkpoint_interval=64, window=64)
    w.submit()
    w.run(50)
    read = []
    monkeypatch.setattr(replica_module, "read_among",
                        lambda said, data: read.append(read_among(said, data)) or read[-1])
    digest = w.decided[1][0][2].digest
    for late in (w.prepare(2, 0, 1, digest), w.commit(2, 0, 1, digest)):
        assert w.give(1, late) == []
        assert w.give(1, dataclasses.replace(late, signature=bytes(64))) == []
    assert read == [None] * 4
    other = w.commit(2, 0, 2, digest)
    w.give(1, other)
    assert read[4:] == [other]


def test_what_is_remembered_of_what_votes_say_goes_with_the_log(world):
    """Rule 11: bounded by the window; a stable checkpoint and a new view forget it."""
    w = world()
    for timestamp in range(1, 7):
        w.submit("c0", b"%d" % timestamp)
        w.run(50)
        assert all(len(r._core.said) <= 2 * w.cluster.window for r in w.replicas)
    assert len(w.replicas[1]._core.said) == 2 * (w.replicas[1].executed - w.replicas[1].low)
    w.crash(0)
    w.submit("c1", b"x")
    w.run(2000)
    assert w.replicas[1].view > 0
    assert len(w.replicas[1]._core.said) <= 2 * len(w.replicas[1]._core.log)
