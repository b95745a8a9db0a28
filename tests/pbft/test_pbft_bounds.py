"""What peers can never do: change a replica by refused input, fill its memory, or stop its step."""

import dataclasses
import hashlib
import random
from typing import get_args

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import to_plain
from bdn.errors import EncodingError, SignatureError
from bdn.identity import Identity
from bdn.pbft import events
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import MAX_BODIES, Slot
from bdn.pbft.events import Receive, Restored, Suspect, Timeout
from bdn.pbft.journal import Executed, Stable, Voted, compact
from bdn.pbft.messages import (
    MESSAGES,
    Checkpoint,
    Commit,
    Fetch,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Request,
    Snapshot,
    State,
    Status,
    ViewChange,
    type_name,
)
from bdn.pbft.signing import CachedSigning, Ed25519Signing
from bdn.pbft.wire import decode_message, encode_message
from bdn.randomness import SeededRandomness


def lively(world, seed):
    """A world in the middle of things: some loss, a suspicion, a few requests; and its wire."""
    rng = random.Random(seed)
    w = world(status_ms=60)
    w.drop = lambda *_: rng.random() < 0.2
    for _ in range(3):
        if w.clients["c0"].outstanding is None:
            w.submit(operation=b"%d" % rng.randrange(9))
        w.run(rng.randrange(120))
        if rng.random() < 0.5:
            target = rng.randrange(4)
            w.step(target, Suspect(w.replicas[target].view + 1))
    return w, [m for source in list(w.sent) for _, m in w.sent[source]]


def corrupted(rng: random.Random, w, message: Message) -> Message:
    """The message with one field changed, sometimes signed again by its (Byzantine) sender."""
    names = [f.name for f in dataclasses.fields(message)]
    name = rng.choice(names)
    value = getattr(message, name)
    match value:
        case bool():
            changed = not value
        case int():
            changed = max(0, value + rng.choice((-1, 1, 7, 1 << 40)))
        case bytes():
            changed = bytes(len(value)) if rng.random() < 0.5 else value[::-1]
        case str():
            changed = "payload" if type(message).__name__ in ("Fetch", "State") else value + "x"
        case tuple():
            changed = value[:-1] if rng.random() < 0.5 else value + value[-1:]
        case _:
            changed = b"?"
    changed = dataclasses.replace(message, **{name: changed})
    if rng.random() < 0.5 and getattr(changed, "replica", 9) == 3:
        return w.sign(3, changed)
    return changed


def test_nothing_changes_a_message_event_or_record_once_it_is_made(world, monkeypatch):
    """They are not frozen, for the sake of speed; here each field takes one value and no other."""

    def set_once(self, name, value):
        assert not hasattr(self, name), f"{type(self).__name__}.{name} is changed"
        object.__setattr__(self, name, value)

    kinds = (*MESSAGES, Snapshot, Prepared, Voted, Executed, Stable,
             *get_args(events.Event), *get_args(events.Effect))
    for kind in kinds:
        monkeypatch.setattr(kind, "__setattr__", set_once)
    with pytest.raises(AssertionError, match=r"Suspect\.view is changed"):
        Suspect(1).view = 2
    made = set()
    for seed in range(3):
        w, messages = lively(world, seed)
        w.drop = lambda *_: False
        w.crash(1)
        w.restart(1)
        w.run(3000)
        made.update(map(type, messages))
    assert {Request, PrePrepare, Prepare, Commit, ViewChange, NewView} <= made


@given(st.integers(0, 2**32))
def test_refused_input_changes_nothing_and_has_no_effect(world, seed):
    """STYLE 9: after "rejected" the replica's whole state equals the one before."""
    w, wire = lively(world, seed)
    rng = random.Random(seed)
    refused = 0
    for _ in range(60):
        i = rng.randrange(3)
        message = corrupted(rng, w, rng.choice(wire))
        before = w.replicas[i].fingerprint()
        told = len(w.told(i, "rejected"))
        effects = w.replicas[i].step(Receive(3, encode_message(message)))
        if len(w.told(i, "rejected")) > told and not effects:
            refused += 1
            assert w.replicas[i].fingerprint() == before, type_name(message)
    assert refused


@given(st.integers(0, 2**32), st.binary(max_size=60))
def test_junk_and_idle_events_change_nothing(world, seed, junk):
    w, _ = lively(world, seed)
    for event in (Receive(2, junk), Timeout("nonsense"), Restored(5), Suspect(0)):
        before = w.replicas[0].fingerprint()
        assert w.replicas[0].step(event) == []
        assert w.replicas[0].fingerprint() == before


def test_a_clone_is_equal_and_independent(world):
    """`clone` and `fingerprint` are what explorers stand on."""
    w, wire = lively(world, 5)
    original = w.replicas[1]
    twin = original.clone(original.application.clone())
    assert twin.fingerprint() == original.fingerprint()
    before = original.fingerprint()
    for message in wire:
        twin.step(Receive(0, encode_message(message)))
    twin.step(Suspect(99))
    assert twin.fingerprint() != before
    assert original.fingerprint() == before


def flood(w, count):
    """What one Byzantine replica with a valid key can send that asks to be remembered."""
    rng = random.Random(1)
    for k in range(count):
        view, sequence = rng.randrange(1 << 30), rng.randrange(1 << 30)
        digest = rng.randbytes(32)
        yield w.prepare(3, view, sequence, digest)
        yield w.commit(3, view, 1 + k % 8, digest)
        yield w.commit(3, 0, sequence, digest)
        yield w.prepare(3, 0, 1 + k % 8, digest)
        yield w.pre_prepare(4 * view + 3, sequence, b"x", digest)
        yield w.checkpoint(3, 4 * sequence, digest)
        yield w.checkpoint(3, 4 * (1 + k % 2), digest)
        yield w.view_change(3, 1 + k)
        yield w.sign(3, Fetch("payload", sequence, digest, 3, b""))
        yield w.sign(3, Status(view, True, sequence, sequence, 3, b""))


def test_a_flooding_peer_fills_bounded_memory(world):
    """Rule 11: the log never exceeds what a window and a buffer of one sender hold."""
    w = world()
    w.drop = lambda *_: True
    window = w.cluster.window
    for message in flood(w, 300):
        w.give(1, message)
    replica = w.replicas[1]
    assert replica.log_size() <= window + 3 * window + 1 + window // 4 + 1
    core = replica._core
    assert max(map(len, core.buffer.values())) == 3 * window
    assert len(core.far_checkpoints) == 1
    assert len(core.view_changes) == 1
    assert len(core.log) <= window
    assert all(len(slot.prepares) <= 1 and len(slot.commits) <= 1 for slot in core.log)


def test_a_flooded_replica_still_works(world):
    """The flood of one costs the others nothing."""
    w = world()
    for message in flood(w, 50):
        w.replicas[1].step(Receive(3, encode_message(message)))
    w.crash(3)
    w.submit()
    w.run(300)
    assert [w.operations(i) for i in (0, 1, 2)] == [[b"a"]] * 3


def test_held_back_messages_go_when_their_view_is_passed(world):
    """Rule 11: what waited for a view that never came is forgotten."""
    w = world()
    for sequence in range(1, 9):
        w.give(1, w.prepare(3, 2, sequence, b"d" * 32))
    assert w.replicas[1].log_size() == 8
    w.step(1, Suspect(3))
    assert w.replicas[1].log_size() == 1


def test_bodies_of_a_slot_are_bounded(world):
    """Rule 11: primaries of many views cannot pile up payloads in one slot."""
    w = world()
    slot = Slot(1)
    for view in range(30):
        slot.propose(w.pre_prepare(view, 1, b"%d" % view, bytes([view]) * 32), carried=False)
        if view == 3:
            slot.certificate = w.certificate(3, 1, bytes([3]) * 32)
    assert len(slot.bodies) == MAX_BODIES
    assert slot.body(bytes([3]) * 32) == b"3", "P's body stays"
    assert slot.body(bytes([29]) * 32) == b"29"


def test_forged_votes_do_not_take_the_place_of_real_ones(world):
    """A vote is stored after its signature is verified, never before."""
    w = world()
    digest = w.digest(w.payload(w.request()))
    for kind in (Prepare, Commit):
        w.give(1, kind(0, 1, digest, 2, bytes(64)))
        w.give(1, kind(5, 1, digest, 2, bytes(64)))
    w.give(1, Checkpoint(4, b"d" * 32, 2, bytes(64)))
    w.give(1, PrePrepare(7, 1, digest, None, bytes(64)))
    assert w.replicas[1].log_size() == 0


def test_payloads_and_requests_that_wait_are_bounded_in_bytes(world):
    """Rules 11d, 11f, 11g: not only how many things wait for one sender, but also how long."""
    w = world(max_payload=10_000)
    core = w.replicas[1]._core
    w.drop = lambda *_: True
    for k in range(1, 9):
        w.give(1, w.pre_prepare(3, k, bytes(3000), bytes([k]) * 32))  # a view to come
    assert sum(len(m.payload) for m in core.buffer[3]) == 9000
    for k in range(1, 9):
        w.give(1, w.request(timestamp=k, operation=bytes(3000)))
    assert sum(len(r.operation) for r in core.pending.values()) == 9000
    w.give(1, w.request("c1", operation=bytes(3000)))
    assert len(core.pending) == 4, "each client has its own share"
    long = w.payload(w.request(operation=bytes(20_000)))
    w.give(1, w.pre_prepare(0, 1, long))
    w.give(1, w.sign(2, State("payload", 1, w.digest(long), long, 0, (), (), 2, b"")))
    assert len(core.log) == 0
    assert len([r for r in w.reasons(1) if "max_payload" in r]) == 7


@given(st.lists(st.integers(0, 12_000), min_size=1, max_size=60))
def test_no_clients_waiting_requests_are_longer_than_a_payload_in_any_order(world, sizes):
    """Rule 11f: the bound is exact, for long requests first and short ones after them too."""
    w = world(max_payload=10_000)
    core = w.replicas[1]._core
    w.drop = lambda *_: True
    for k, size in enumerate([9_990, *[10_000 // 256] * 5, *sizes], start=1):
        before = sum(len(r.operation) for r in core.pending.values())
        w.give(1, w.request(timestamp=k, operation=bytes(size)))
        after = sum(len(r.operation) for r in core.pending.values())
        assert after == (before + size if before + size <= 10_000 else before)


def test_a_wire_full_of_nothing_makes_short_reasons(world):
    """A refusal is one short line in the trace, whatever it quotes."""
    w = world()
    for data in (b"\x82\x7a\x00\x4c\x4b\x40" + b"x" * 5_000_000, b"\xff" * 100_000,
                 encode_message(w.request("c0", operation=bytes(100_000)))[:-1]):
        w.replicas[1].step(Receive("x" * 1000, data))
    assert len(w.reasons(1)) == 3
    assert all(len(reason) <= 300 for reason in w.reasons(1))


@pytest.mark.parametrize("n", [4, 7, 100])
def test_the_longest_honest_messages_fit_and_longer_ones_are_not_decoded(n):
    """Rule 11g: a VIEW-CHANGE of megabytes would cost seconds before its signature is checked."""
    keys = tuple(bytes([i]) * 32 for i in range(n))
    cluster = Cluster(b"x", keys, window=4, checkpoint_interval=4)
    most, digest, signature = 2**63 - 1, bytes(32), bytes(64)
    proposal = PrePrepare(most, most, digest, None, signature)
    part = ViewChange(
        most, most, (Checkpoint(most, digest, most, signature),) * n,
        (Prepared(proposal, (Prepare(most, most, digest, most, signature),) * (n - 1)),) * 4,
        most, signature)
    whole = NewView(most, (part,) * n, (proposal,) * 4, signature)
    for message in (part, whole):
        data = encode_message(message)
        assert decode_message(data, cluster.longest_messages) == message
        long = data[:-1] + bytes(cluster.longest_messages[type(message).__name__.encode()])
        with pytest.raises(EncodingError, match="are taken"):
            decode_message(long, cluster.longest_messages)


def test_lists_longer_than_any_cluster_are_refused_at_their_head():
    """Rule 11g: whatever is announced."""
    vote = Checkpoint(4, bytes(32), 1, bytes(64))
    state = State("checkpoint", 4, bytes(32), b"", 0, (), (vote,) * 1024, 0, bytes(64))
    data = encode_message(state)
    assert decode_message(data) == state
    with pytest.raises(EncodingError, match="at most 1024"):
        decode_message(data.replace(b"proof\x99\x04\x00", b"proof\x99\x04\x01"))


HUGE = 10 ** 5000
"""Python refuses to print it."""


@pytest.mark.parametrize("sender", [0, 3, 99])
def test_a_number_that_cannot_be_printed_stops_nobody(world, sender):
    """A bare exception in `Replica.step` would end an edge server; 29 bytes would do."""
    w = world()
    state = to_plain(State("decided", 1, bytes(32), b"", 0, (), (), sender, bytes(64)))
    state["seal"] = [[HUGE, bytes(64)]]
    wrong = [cbor2.dumps(["State", state], canonical=True)]
    snapshot = cbor2.dumps(
        {"state": bytes(32), "replies": [["c0", -5, b""]], "application": b""}, canonical=True)
    proof = w.proof(4, b"d" * 32)
    wrong.append(encode_message(w.sign(3, State(
        "checkpoint", 4, b"d" * 32, snapshot, 0, (), proof, 3, b""))))
    before = w.replicas[0].fingerprint()
    for data in wrong:
        assert w.replicas[0].step(Receive(sender, data)) == []
    assert w.replicas[0].fingerprint() == before


def test_a_state_of_nobody_is_not_even_looked_at(world):
    """STATE is verified before it is used: its body is not judged, its proof not counted."""
    w = world()
    state = State("decided", 1, bytes(32), b"junk", 0, ((1, bytes(64)),), (), 2, bytes(64))
    w.give(0, state)
    w.give(0, dataclasses.replace(state, replica=77))
    assert "signature" in w.reasons(0)[0]
    assert "none of the 4" in w.reasons(0)[1]


def test_the_journal_of_a_growing_log_grows_linearly(world):
    """Snapshots take at most half of it, although the state of an `AppendLog` never shrinks."""
    def journal(requests):
        w = world(status_ms=100_000)
        for k in range(requests):
            w.submit(operation=b"%050d" % k)
            w.run(20)
        assert w.replicas[1].executed == requests
        again = w.build(1, w.journals[1])
        assert again.application.operations == w.replicas[1].application.operations
        assert again.stable == w.replicas[1].stable
        short = w.build(1, compact(w.journals[1]))
        assert short.application.operations == again.application.operations
        return sum(map(len, w.journals[1])), sum(map(len, compact(w.journals[1])))

    (once, short), (twice, shorter) = journal(80), journal(320)
    assert twice < 5 * once
    assert shorter < 5 * short + once


def test_what_verified_is_remembered_in_few_bytes_however_long_it_was() -> None:
    """One bad replica can sign VIEW-CHANGEs of tens of kilobytes without end."""
    identity, memory = Identity.generate(SeededRandomness(1)), {}
    signing = CachedSigning(Ed25519Signing(identity), memory)
    for number in range(20):
        message = number.to_bytes(2) + bytes(60_000)
        signing.verify(identity.public_key, "d", message, signing.sign("d", message))
    assert len(memory) == 20
    parts = [part for claim in memory for part in claim if isinstance(part, bytes)]
    assert sum(map(len, parts)) < 20 * 700
    short = hashlib.sha256(bytes(60_000)).digest()
    signature = signing.sign("d", bytes(60_000))
    signing.verify(identity.public_key, "d", bytes(60_000), signature)
    with pytest.raises(SignatureError):  # a digest in a message's place is another message
        signing.verify(identity.public_key, "d", short, signature)
