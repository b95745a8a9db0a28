"""Messages on the wire: one message has one encoding, and a signature covers all of it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import decode_union, encode, encode_union
from bdn.errors import EncodingError, PeerError, SignatureError
from bdn.identity import Identity, verify_signature
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    MESSAGES,
    TYPE_NAMES,
    Checkpoint,
    Commit,
    Fetch,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    Request,
    State,
    Status,
    ViewChange,
    type_name,
)
from bdn.pbft.signing import Ed25519Signing, HashSigning, NullSigning
from bdn.pbft.wire import (
    decode_message,
    encode_message,
    signed,
    signer_of,
    statement,
    verify_message,
)
from bdn.seal import verify_commit

numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
digests = st.binary(min_size=32, max_size=32)
signatures = st.one_of(st.binary(min_size=64, max_size=64), st.binary(max_size=70))
names = st.text(max_size=20)
exact = st.binary(min_size=64, max_size=64)
prepares = st.builds(Prepare, numbers, numbers, digests, numbers, exact)
commits = st.builds(Commit, numbers, numbers, digests, numbers, exact)
pre_prepares = st.builds(PrePrepare, numbers, numbers, digests,
                         st.none() | st.binary(max_size=50), signatures)
checkpoints = st.builds(Checkpoint, numbers, digests, numbers, signatures)


def tuples(items):
    return st.lists(items, max_size=2).map(tuple)


view_changes = st.builds(
    ViewChange, numbers, numbers, tuples(checkpoints),
    tuples(st.builds(Prepared, pre_prepares, tuples(prepares))), numbers, signatures)
kinds = st.sampled_from(["payload", "decided", "checkpoint"])
texts = st.binary(max_size=50)
by_type = {
    Prepare: prepares, Commit: commits, PrePrepare: pre_prepares, Checkpoint: checkpoints,
    ViewChange: view_changes,
    Request: st.builds(Request, names, digests, numbers, texts, signatures),
    Reply: st.builds(Reply, numbers, names, numbers, texts, numbers, signatures),
    NewView: st.builds(NewView, numbers, tuples(view_changes), tuples(pre_prepares), signatures),
    Status: st.builds(Status, numbers, st.booleans(), numbers, numbers, numbers, signatures),
    Fetch: st.builds(Fetch, kinds, numbers, digests, numbers, signatures),
    State: st.builds(State, kinds, numbers, digests, texts, numbers,
                     tuples(st.tuples(numbers, signatures)), tuples(checkpoints), numbers,
                     signatures),
}
messages = st.one_of(list(by_type.values()))


@given(messages)
def test_every_message_survives_the_wire(message):
    assert decode_message(encode_message(message)) == message


@given(messages)
def test_the_hand_laid_votes_are_the_general_encoding(message):
    """Both codecs write the same bytes and read them alike."""
    data = encode_message(message)
    assert data == encode_union(message)
    assert decode_union(MESSAGES, data) == decode_message(data)


@given(commits | prepares, st.data())
def test_both_vote_codecs_refuse_the_same_bytes(vote, data):
    """A changed, cut or longer vote is read by both alike, or refused by both."""
    raw = bytearray(encode_message(vote))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    for changed in (bytes(raw), bytes(raw[:at]), bytes(raw) + b"\x00"):
        try:
            general = decode_union(MESSAGES, changed)
        except EncodingError:
            general = None
        try:
            fast = decode_message(changed)
        except EncodingError:
            fast = None
        if fast is None and isinstance(general, (Prepare, Commit)):
            # the fast codec also refuses votes whose signature cannot be an Ed25519 one
            assert len(general.signature) != 64
        else:
            assert fast == general


@given(st.binary(max_size=200))
def test_junk_is_refused_with_an_encoding_error(junk):
    with pytest.raises(EncodingError):
        decode_message(junk)


def test_numbers_and_digests_out_of_range_are_refused():
    with pytest.raises(ValueError, match="outside"):
        Commit(1 << 63, 0, bytes(32), 0, b"")
    with pytest.raises(ValueError, match="32 bytes"):
        Prepare(0, 0, bytes(31), 0, b"")
    with pytest.raises(ValueError, match="fetch"):
        Fetch("everything", 0, bytes(32), 0, b"")
    with pytest.raises(EncodingError):
        decode_message(encode(["Status", {"view": -1, "active": True, "stable": 0, "executed": 0,
                                          "replica": 0, "signature": b""}]))


def test_every_type_has_the_papers_name():
    assert set(TYPE_NAMES) == set(MESSAGES)
    assert type_name(Prepare(0, 0, bytes(32), 0, b"")) == "PREPARE"
    assert sorted(TYPE_NAMES.values()) == sorted(
        ["REQUEST", "PRE-PREPARE", "PREPARE", "COMMIT", "REPLY", "CHECKPOINT", "VIEW-CHANGE",
         "NEW-VIEW", "STATUS", "FETCH", "STATE"])


@given(messages, st.data())
def test_a_signature_covers_every_field_and_the_instance(message, data):
    """Changing any field but the signature changes the statement; so does another cluster.

    Exempt, and why: a PRE-PREPARE's payload (its digest is covered), a vote's replica and a
    request's key (they choose the key that verifies), a seal part's replica likewise.
    """
    exempt = {PrePrepare: {"payload"}, Prepare: {"replica"}, Commit: {"replica"},
              Checkpoint: {"replica"}, Request: {"public_key"}}
    assert statement(b"one", message) != statement(b"two", message)
    other = data.draw(by_type[type(message)])
    for field in dataclasses.fields(message):
        if field.name == "signature" or field.name in exempt.get(type(message), set()):
            continue
        value = getattr(other, field.name)
        if value != getattr(message, field.name):
            changed = dataclasses.replace(message, **{field.name: value})
            assert statement(b"one", changed) != statement(b"one", message)


def test_a_signature_for_one_type_is_none_for_another():
    """Domains: a PREPARE can never be shown as a COMMIT or PRE-PREPARE of the same numbers."""
    d = bytes(32)
    same = [Prepare(0, 4, d, 0, b""), Commit(0, 4, d, 0, b""), PrePrepare(0, 4, d, None, b""),
            Checkpoint(4, d, 0, b""), ViewChange(0, 4, (), (), 0, b""), NewView(0, (), (), b""),
            Status(0, True, 4, 4, 0, b""), Fetch("payload", 4, d, 0, b""),
            State("payload", 4, d, b"", 0, (), (), 0, b""), Reply(0, "c", 4, b"", 0, b""),
            Request("c", d, 4, b"", b"")]
    assert {type(m) for m in same} == set(MESSAGES)
    assert len({statement(b"x", m)[0] for m in same}) == len(MESSAGES)


def test_signatures_are_the_identitys_and_a_commit_is_a_seals():
    who = Identity.generate()
    cluster = Cluster(b"x", (who.public_key,))
    signing = Ed25519Signing(who)
    commit = signed(Commit(3, 4, b"d" * 32, 0, b""), b"x", signing)
    verify_commit(who.public_key, b"x", 3, 4, b"d" * 32, commit.signature)
    prepare = signed(Prepare(3, 4, b"d" * 32, 0, b""), b"x", signing)
    verify_message(prepare, cluster, signing)
    verify_signature(who.public_key, *statement(b"x", prepare), prepare.signature)
    for wrong in (dataclasses.replace(prepare, view=4),
                  dataclasses.replace(prepare, signature=b"short")):
        with pytest.raises(SignatureError):
            verify_message(wrong, cluster, signing)
    with pytest.raises(PeerError):
        signer_of(dataclasses.replace(prepare, replica=1), cluster)


def test_the_stand_ins_for_signatures_do_what_they_say():
    """`HashSigning` covers the contents; `NullSigning` covers nothing."""
    key = bytes(range(32))
    hashed = HashSigning(key)
    hashed.verify(key, "a", b"m", hashed.sign("a", b"m"))
    with pytest.raises(SignatureError):
        hashed.verify(key, "a", b"n", hashed.sign("a", b"m"))
    NullSigning().verify(key, "a", b"n", NullSigning().sign("a", b"m"))
