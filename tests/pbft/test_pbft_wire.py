"""Messages on the wire: one message has one encoding, and a signature covers all of it."""

import dataclasses
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import decode, digest, encode, encode_record, encode_union, to_plain, transcript
from bdn.errors import EncodingError, PeerError, SignatureError
from bdn.identity import Identity, verify_signature
from bdn.pbft.cluster import Cluster
from bdn.pbft.journal import Executed, JournalError, Stable, Voted, decode_journal, encode_journal
from bdn.pbft.messages import (
    MAX_NAME,
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
    Snapshot,
    State,
    Status,
    ViewChange,
    type_name,
)
from bdn.pbft.signing import (
    Ed25519Signing,
    HashSigning,
    NullSigning,
    signed,
    signer_of,
    statement,
    verify_message,
)
from bdn.pbft.wire import (
    checkpoint_digest,
    decode_as,
    decode_message,
    encode_as,
    encode_message,
)
from bdn.seal import Seal, verify_commit

numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
digests = st.binary(min_size=32, max_size=32)
signatures = st.one_of(st.binary(min_size=64, max_size=64), st.binary(max_size=64))
names = st.text(max_size=20)
prepares = st.builds(Prepare, numbers, numbers, digests, numbers, signatures)
commits = st.builds(Commit, numbers, numbers, digests, numbers, signatures)
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
def test_the_bytes_are_those_of_the_general_codec(message):
    """RFC 8949, section 4.2: one message, one encoding."""
    data = encode_message(message)
    assert data == encode_union(message)
    assert decode(data) == [type(message).__name__, to_plain(message)]


@given(messages, st.data())
def test_whatever_is_read_is_the_only_encoding_of_it(message, data):
    """A changed, cut, inserted or added byte: refused, or another message's only encoding."""
    good = encode_message(message)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = bytes([data.draw(st.integers(0, 255) | st.sampled_from(HEADS))])
    for changed in (good[:at] + byte + good[at + 1:], good[:at], good[:at] + good[at + 1:],
                    good[:at] + byte + good[at:], good + byte, b""):
        try:
            read = decode_message(changed)
        except EncodingError:
            continue
        assert encode_message(read) == changed == encode_union(read)


HEADS = (0x17, 0x18, 0x19, 0x20, 0x38, 0x57, 0x58, 0x59, 0x5F, 0x78, 0x9F, 0xC2, 0xD8, 0xF6, 0xFF)
"""First bytes at which CBOR's rules turn: short and long heads, negative numbers, tags, ends."""


@pytest.mark.parametrize("message", [
    Request("c" * 23, bytes(32), 24, b"o" * 24, bytes(64)),
    PrePrepare(3, 300, bytes(32), b"p" * 256, bytes(64)),
    Commit(255, 2**40, bytes(32), 256, bytes(64)),
    State("decided", 1, bytes(32), b"", 0, ((7, bytes(64)),), (), 0, bytes(64)),
], ids=type_name)
def test_a_number_or_length_in_more_bytes_than_it_needs_is_refused(message):
    """At every place where a head may stand; what does not stand for a head is refused as well."""
    good = encode_message(message)
    for at, byte in enumerate(good):
        major, low = byte & 0xE0, byte & 0x1F
        for longer in (bytes([major + 24, low]), bytes([major + 25, 0, low]),
                       bytes([major + 26, 0, 0, 0, low]), bytes([major + 27, *bytes(7), low])):
            changed = good[:at] + longer + good[at + 1:]
            with suppress(EncodingError):
                assert encode_message(decode_message(changed)) == changed  # a place inside bytes


HUGE = 10 ** 5000
"""Python refuses to print it (sys.set_int_max_str_digits)."""


def holes(value, path=()):
    """Where in a plain value an integer, bytes or text stands."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from holes(item, (*path, key))
    elif value is not None:
        yield path, value


def filled(value, path, new):
    """``value`` with ``new`` at ``path``."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = filled(value[path[0]], path[1:], new)
    return copy


def written(value):
    """Another library's encoding, which knows no bounds."""
    return cbor2.dumps(value, canonical=True)


WRONG = {
    bool: (0, 1, None, b"", "true"),
    int: (-1, 2**63, 2**64, -2**63, HUGE, -HUGE, True, None, b"1", "1", [], {}),
    bytes: (None, 0, "x", [], {}, HUGE),
    str: (None, 0, b"x", "x" * 129, "ü" * 65, [], {}, HUGE),
}


@given(messages)
def test_every_field_at_every_depth_is_checked_by_type_and_range(message):
    """A value of another type or out of its range is refused wherever it stands."""
    plain = to_plain(message)
    for path, value in holes(plain):
        for wrong in WRONG[type(value)]:
            if wrong is None and path[-1] == "payload":
                continue  # the only field that may be absent
            with pytest.raises(EncodingError) as caught:
                decode_message(written([type(message).__name__, filled(plain, path, wrong)]))
            assert len(str(caught.value)) < 200
        sizes = {"digest": (0, 31, 33), "public_key": (0, 31, 33), "signature": (65, 5000)}
        for size in sizes.get(path[-1], ()):
            with pytest.raises(EncodingError):
                decode_message(written([type(message).__name__, filled(plain, path, bytes(size))]))


def test_a_snapshots_fields_are_checked_like_a_messages():
    """A timestamp in the replies that no client can have signed, or one that cannot be printed."""
    good = Snapshot(b"state", bytes(32), (("alice", 7, b"result"),))
    assert decode_as(Snapshot, encode_as(Snapshot, good)) == good
    plain = to_plain(good)
    for path, value in holes(plain):
        for wrong in WRONG[type(value)]:
            with pytest.raises(EncodingError):
                decode_as(Snapshot, written(filled(plain, path, wrong)))


@pytest.mark.parametrize("data", [
    cbor2.dumps(["x" * 5_000_000, {}]), cbor2.dumps(["Status" * 1_000_000, {}]),
    cbor2.dumps([b"x" * 5_000_000, {}]), b"\x82\x7a\x00\x4c\x4b\x40" + b"x" * 5_000_000])
def test_a_huge_class_name_makes_a_short_complaint(data):
    with pytest.raises(EncodingError) as caught:
        decode_message(data)
    assert len(str(caught.value)) < 200


def test_numbers_and_digests_out_of_range_are_not_written_either():
    for wrong in (Commit(1 << 63, 0, bytes(32), 0, b""), Commit(0, -1, bytes(32), 0, b""),
                  Prepare(0, 0, bytes(31), 0, b""), Fetch("everything", 0, bytes(32), 0, b""),
                  Reply(0, "c" * 129, 0, b"", 0, b""), Reply(0, "ü" * 65, 0, b"", 0, b""),
                  Reply(0, "\ud800", 0, b"", 0, b""),
                  Request("c", b"", 0, b"", b""), Status(0, True, 0, 0, 0, bytes(65))):
        with pytest.raises(EncodingError):
            encode_message(wrong)


@given(st.text(st.sampled_from("cü€😀"), min_size=20, max_size=140))
def test_both_codecs_bound_a_name_by_its_bytes(name):
    """A name is written, and read, by both or by neither: the bound counts bytes of UTF-8."""
    message = Reply(0, name, 0, b"", 0, b"")
    plain = [type(message).__name__, to_plain(message)]
    if len(name.encode()) <= MAX_NAME:
        assert encode_message(message) == encode_union(message)
        assert decode_message(written(plain)) == message
    else:
        for encode_it in (encode_message, encode_union):
            with pytest.raises(EncodingError):
                encode_it(message)
        with pytest.raises(EncodingError):
            decode_message(written(plain))


@given(st.binary(max_size=200))
def test_junk_is_refused_with_an_encoding_error(junk):
    with pytest.raises(EncodingError):
        decode_message(junk)


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


# --- journal records and snapshots


seals = st.builds(Seal, numbers, numbers, digests, tuples(st.tuples(numbers, signatures)))
records = st.one_of(
    st.builds(Voted, pre_prepares, st.none() | texts, st.booleans()),
    st.builds(Prepared, pre_prepares, tuples(prepares)), view_changes, by_type[NewView],
    st.builds(Executed, seals, st.none() | texts),
    st.builds(Stable, numbers, digests, st.none() | texts, tuples(checkpoints)))


@given(records)
def test_every_journal_record_survives_the_disk(record):
    data = encode_journal(record)
    assert data == encode_union(record)
    assert decode_journal(data) == record


@given(st.binary(max_size=100))
def test_a_journal_of_other_bytes_is_refused(junk):
    with pytest.raises(JournalError):
        decode_journal(junk)


@given(texts, digests, st.lists(st.tuples(names, numbers, texts), max_size=30))
def test_a_snapshot_is_the_general_encoding(application, state, replies):
    """Also the part of it that a CHECKPOINT's digest covers (Rule 5b)."""
    snapshot = Snapshot(application, state, tuple(replies))
    assert encode_as(Snapshot, snapshot) == encode_record(snapshot)
    assert checkpoint_digest(snapshot) == digest("bdn/pbft/checkpoint", state, encode(replies))


@given(texts, names, numbers, numbers, texts, numbers)
def test_what_clients_and_replies_sign_are_transcripts(
    instance, client, view, timestamp, content, replica
):
    """Length prefixes make a statement injective (`bdn.encoding.transcript`)."""
    def eight(number):
        return number.to_bytes(8, "big")

    request = Request(client, bytes(32), timestamp, content, b"")
    assert statement(instance, request)[1] == transcript(
        "", instance, client.encode(), eight(timestamp), content)
    reply = Reply(view, client, timestamp, content, replica, b"")
    assert statement(instance, reply)[1] == transcript(
        "", instance, client.encode(), eight(view), eight(timestamp), content, eight(replica))


@given(messages)
def test_other_statements_are_the_general_encoding_without_the_signature(message):
    """As any implementation can compute it."""
    if type(message) in (Request, Reply, PrePrepare, Prepare, Commit, Checkpoint):
        return
    plain = to_plain(message)
    del plain["signature"]
    assert statement(b"x", message)[1] == transcript("", b"x", encode(plain))
