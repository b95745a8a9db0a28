"""The quick ways for batches and late votes change nothing but time (see also `straight`)."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import decode, decode_union, encode, encode_union
from bdn.errors import EncodingError
from bdn.pbft import replica as replica_module
from bdn.pbft.flat import read_batch
from bdn.pbft.messages import MESSAGES, Commit, Prepare, PrePrepare
from bdn.pbft.wire import decode_message, encode_message, is_vote_among, vote_gist

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


@given(votes, votes)
def test_a_vote_is_among_gists_only_if_it_says_the_same(one, other):
    """Kind, view, sequence and digest; who says it and the signature do not matter."""
    gists = {vote_gist(type(one), one.view, one.sequence, one.digest)}
    alike = dataclasses.replace(other, replica=0, signature=bytes(64)) == dataclasses.replace(
        one, replica=0, signature=bytes(64))
    assert is_vote_among(gists, encode_message(other)) == (
        alike and other.view < 24 and other.replica < 24)


@given(st.binary(max_size=200))
def test_junk_and_other_messages_are_among_no_gists(junk):
    gists = {vote_gist(cls, 0, 1, b"d" * 32) for cls in (Prepare, Commit)}
    for data in (junk, encode_message(PrePrepare(0, 1, b"d" * 32, junk, bytes(64)))):
        assert not is_vote_among(gists, data)


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
    """With and without the quick way: the same states, journals and messages."""
    quick = _busy(world, n)
    monkeypatch.setattr(replica_module, "is_vote_among", lambda *_: False)
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
    decoded = []
    monkeypatch.setattr(replica_module, "decode_message",
                        lambda data: decoded.append(data) or decode_message(data))
    digest = w.decided[1][0][2].digest
    for late in (w.prepare(2, 0, 1, digest), w.commit(2, 0, 1, digest)):
        assert w.give(1, late) == []
        assert w.give(1, dataclasses.replace(late, signature=bytes(64))) == []
    assert decoded == []
    w.give(1, w.commit(2, 0, 2, digest))
    assert len(decoded) == 1


def test_what_is_remembered_of_surplus_votes_goes_with_the_log(world):
    """Rule 11: bounded by the window; a stable checkpoint and a new view forget it."""
    w = world()
    for timestamp in range(1, 7):
        w.submit("c0", b"%d" % timestamp)
        w.run(50)
        assert all(len(r._core.surplus) <= 2 * w.cluster.window for r in w.replicas)
    assert len(w.replicas[1]._core.surplus) == 2 * (w.replicas[1].executed - w.replicas[1].low)
    w.crash(0)
    w.submit("c1", b"x")
    w.run(2000)
    assert w.replicas[1].view > 0
    assert len(w.replicas[1]._core.surplus) <= 2 * len(w.replicas[1]._core.log)
