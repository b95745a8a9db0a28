"""Rules 1 to 4 and 9: ordering in the normal case (Castro–Liskov 4.2)."""

from collections import Counter

import pytest

from bdn.encoding import digest as digest_of
from bdn.errors import UsageError
from bdn.identity import Identity
from bdn.pbft import replica
from bdn.pbft.application import AppendLog, NotYet
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Broadcast, Poke, SendReply, SetTimer, Suspect
from bdn.pbft.messages import NULL_DIGEST, Commit, MessageError, Prepare, PrePrepare, Request
from bdn.pbft.normal import PENDING_PER_CLIENT
from bdn.pbft.signing import Ed25519Signing, HashSigning, signed
from bdn.pbft.wire import decode_message
from bdn.seal import SealError, quorum, verify_seal


def broadcasts(effects, kind):
    sent = [decode_message(e.data) for e in effects if isinstance(e, Broadcast)]
    return [message for message in sent if isinstance(message, kind)]


def test_four_replicas_execute_a_request_in_order_and_the_client_accepts_it(world):
    """4.2: REQUEST, PRE-PREPARE, PREPARE, COMMIT, REPLY; f + 1 replies convince the client."""
    w = world()
    for operation in (b"a", b"b", b"c"):
        w.submit(operation=operation)
        w.run(50)
    assert [w.operations(i) for i in range(4)] == [[b"a", b"b", b"c"]] * 4
    assert [a.result for a in w.clients["c0"].accepted] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 10, 13])
def test_any_number_of_replicas_makes_progress_with_f_silent(world, n):
    """Rule 3: f = ⌊(n−1)/3⌋ silent replicas do not stop n, whatever n is."""
    w = world(n)
    for i in range(1, 1 + w.cluster.f):
        w.crash(n - i)
    w.submit()
    w.run(100)
    assert all(w.operations(i) == [b"a"] for i in range(n - w.cluster.f))


def test_quorums_are_general_and_never_a_bare_2f_plus_1():
    """Rule 3: n = 5 → 4, 6 → 4, 8 → 6; two quorums share f + 1, the correct ones form one."""
    assert {n: quorum(n) for n in (4, 5, 6, 7, 8, 13)} == {4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 13: 9}
    for n in range(1, 60):
        c = Cluster(b"x", tuple(i.to_bytes(32, "big") for i in range(n)))
        assert 2 * c.q - n >= c.weak
        assert c.q <= n - c.f


def test_one_replica_of_five_cannot_be_missing_twice(world):
    """Rule 3: of n = 5 three are no quorum, although 2f + 1 = 3."""
    w = world(5)
    w.crash(4)
    w.crash(3)
    w.submit()
    w.run(100)
    assert all(w.operations(i) == [] for i in range(3))


def test_a_cluster_refuses_impossible_parameters():
    keys = tuple(Identity.generate().public_key for _ in range(4))
    for wrong in ({"window": 3}, {"batch_size": 0}, {"status_ms": 0}):
        with pytest.raises(UsageError):
            Cluster(b"x", keys, **{"checkpoint_interval": 4, **wrong})
    with pytest.raises(UsageError):
        Cluster(b"x", (keys[0], keys[0]))


# --- Rule 1: what a PRE-PREPARE must be ---------------------------------------------------------


def test_a_pre_prepare_needs_the_primarys_signature(world):
    """Rule 1a."""
    w = world()
    payload = w.payload(w.request())
    assert not broadcasts(w.give(1, w.pre_prepare(0, 1, payload, signer=2)), Prepare)
    assert broadcasts(w.give(1, w.pre_prepare(0, 1, payload)), Prepare)


def test_a_pre_prepare_needs_its_payloads_digest(world):
    """Rule 1b."""
    w = world()
    assert not w.give(1, w.pre_prepare(0, 1, w.payload(w.request()), b"x" * 32))


def test_a_second_digest_at_one_place_is_refused(world):
    """Rule 1c: an equivocating primary gets one PREPARE from each backup, not two."""
    w = world()
    first, second = (w.payload(w.request(), nonce=k) for k in (1, 2))
    w.give(1, w.pre_prepare(0, 1, first))
    before = w.replicas[1].fingerprint()
    assert not broadcasts(w.give(1, w.pre_prepare(0, 1, second)), Prepare)
    assert w.replicas[1].fingerprint() == before
    assert "another digest" in w.reasons(1)[-1]


def test_sequence_numbers_outside_the_window_are_refused(world):
    """Rule 1d: h < n ≤ H; within one window more they wait, unanswered."""
    w = world()
    payload = w.payload(w.request())
    assert not w.give(1, w.pre_prepare(0, 0, payload))
    assert not w.give(1, w.pre_prepare(0, 17, payload))
    for vote in (w.prepare(2, 0, 0, w.digest(payload)), w.commit(2, 0, 17, w.digest(payload))):
        w.give(1, vote)
    assert w.replicas[1].log_size() == 0
    assert not w.give(1, w.pre_prepare(0, 9, payload))
    assert len(w.replicas[1]._core.log) == 0
    assert w.give(1, w.pre_prepare(0, 8, payload))


def test_an_invalid_payload_gets_no_prepare(world):
    """Rule 1e: foreign requests, empty batches, the null request, forged requests."""
    w = world()
    forged = Request("c0", w.client_ids["c0"].public_key, 1, b"x", bytes(64))
    stranger = Request("c9", w.client_ids["c0"].public_key, 1, b"x", bytes(64))
    for payload in (w.payload(forged), w.payload(stranger), w.payload(), b"", b"junk",
                    w.payload(w.request(), w.request())):
        message = w.pre_prepare(0, 1, payload, digest_of("bdn/append-log/batch", payload))
        assert not w.give(1, message)
    assert not w.give(1, w.pre_prepare(0, 1, None, b"x" * 32))


def test_the_null_request_comes_from_o_alone(world):
    """Rule 1f: a primary that proposes nothing at all would look busy for ever."""

    class Lenient(AppendLog):
        def digest(self, payload):
            return super().digest(payload) if payload else NULL_DIGEST

    def make(w, index):
        keys = {c: i.public_key for c, i in w.client_ids.items()}
        return Lenient(b"test", keys, w.signing(index))

    w = world(make_application=make)
    assert not w.give(1, w.pre_prepare(0, 1, b"", NULL_DIGEST))


def test_the_primary_takes_no_proposal_of_its_own_view_from_elsewhere(world):
    """Rule 1: only its own hand proposes (a twin with its key does not)."""
    w = world()
    assert not w.give(0, w.pre_prepare(0, 1, w.payload(w.request())))


# --- Rule 2: prepared, committed, executed ------------------------------------------------------


def at_backup(w, payload=None):
    """A PRE-PREPARE at replica 1, its digest."""
    payload = payload or w.payload(w.request())
    w.give(1, w.pre_prepare(0, 1, payload))
    return w.digest(payload)


def test_prepared_needs_q_minus_1_matching_prepares_of_distinct_backups(world):
    """Rule 2a: its own and one more of four; the same one twice is one."""
    w = world(7)  # q = 5: four PREPAREs, its own among them
    digest = at_backup(w)
    for i in (2, 2, 3):
        assert not broadcasts(w.give(1, w.prepare(i, 0, 1, digest)), Commit)
    assert broadcasts(w.give(1, w.prepare(4, 0, 1, digest)), Commit)
    assert w.replicas[1].prepared_certificates()[1].pre_prepare.digest == digest


def test_nothing_is_prepared_without_its_payload(world):
    """Rule 2a: PREPAREs alone, even of a quorum, prepare nothing."""
    w = world()
    digest = w.digest(w.payload(w.request()))
    for i in (2, 3):
        assert not w.give(1, w.prepare(i, 0, 1, digest))
    assert w.replicas[1].prepared_certificates() == {}
    assert broadcasts(w.give(1, w.pre_prepare(0, 1, w.payload(w.request()))), Commit)


def test_a_primarys_prepare_counts_for_nothing(world):
    """Rule 2d: else a faulty primary would vote twice."""
    w = world()
    digest = at_backup(w)
    assert not broadcasts(w.give(1, w.prepare(0, 0, 1, digest)), Commit)


def test_prepares_and_commits_for_another_digest_do_not_count(world):
    """Rules 2e and 2f, before and after the proposal is known."""
    w = world()
    other = b"o" * 32
    w.give(1, w.prepare(2, 0, 1, other))
    w.give(1, w.commit(2, 0, 1, other))
    digest = at_backup(w)
    assert w.replicas[1].prepared_certificates() == {}
    assert not broadcasts(w.give(1, w.prepare(3, 0, 1, other)), Commit)
    w.give(1, w.prepare(3, 0, 1, digest))
    w.give(1, w.commit(0, 0, 1, other))
    w.give(1, w.commit(3, 0, 1, digest))
    assert w.replicas[1].executed == 0
    w.give(1, w.commit(2, 0, 1, digest))
    assert w.replicas[1].executed == 1


def test_committed_needs_prepared_and_q_commits(world):
    """Rule 2b: q − 1 COMMITs of others with one's own; and COMMITs alone commit nothing."""
    w = world()
    digest = at_backup(w)
    for i in (0, 2, 3):
        w.give(1, w.commit(i, 0, 1, digest))
    assert w.replicas[1].executed == 0, "not prepared yet"
    w.give(1, w.prepare(2, 0, 1, digest))
    assert w.replicas[1].executed == 1


def test_two_commits_of_four_are_too_few(world):
    """Rule 2b: its own and one more."""
    w = world()
    digest = at_backup(w)
    w.give(1, w.prepare(2, 0, 1, digest))
    w.give(1, w.commit(2, 0, 1, digest))
    w.give(1, w.commit(2, 0, 1, digest))
    assert w.replicas[1].executed == 0


def test_unsigned_votes_never_count(world):
    """Votes below the quorum are verified, each of them."""
    w = world()
    digest = at_backup(w)
    assert not w.give(1, Prepare(0, 1, digest, 2, bytes(64)))
    assert not w.give(1, Prepare(0, 1, digest, 9, bytes(64)))
    w.give(1, w.prepare(2, 0, 1, digest))
    for i in (0, 2, 3):
        w.give(1, Commit(0, 1, digest, i, bytes(64)))
    assert w.replicas[1].executed == 0


def test_execution_is_in_order_and_early_entries_wait(world):
    """Rule 2g: number 2 is committed first and executed second."""
    w = world()
    payloads = [w.payload(w.request("c0", 1, b"a")), w.payload(w.request("c1", 1, b"b"))]
    for sequence in (2, 1):
        payload = payloads[sequence - 1]
        digest = w.digest(payload)
        w.give(1, w.pre_prepare(0, sequence, payload))
        for i in (2, 3):
            w.give(1, w.prepare(i, 0, sequence, digest))
            w.give(1, w.commit(i, 0, sequence, digest))
        assert w.replicas[1].executed == (0 if sequence == 2 else 2)
    assert w.operations(1) == [b"a", b"b"]


def test_a_seal_is_a_quorum_of_commits_of_one_view(world):
    """The COMMITs of a decision form a `bdn.seal.Seal` (here with real Ed25519 signatures)."""
    w = world()
    w.signing = lambda i: Ed25519Signing(w.identities[i])
    w.replicas = [w.build(i) for i in range(4)]
    w.give(0, signed(w.request(), b"test", Ed25519Signing(w.client_ids["c0"])), "c0")
    w.run(50)
    for decided in w.decided:
        sequence, _, seal = decided[0]
        assert sequence == 1
        assert len(seal.signatures) == 3
        verify_seal(seal, b"test", w.cluster.public_keys)
        with pytest.raises(SealError):
            verify_seal(seal, b"other", w.cluster.public_keys)


# --- Rule 4: votes count only in their view -----------------------------------------------------


def test_votes_of_a_past_view_are_refused(world):
    """Rule 4a."""
    w = world()
    w.give(2, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3)]))
    assert w.replicas[2].view == 1
    payload = w.payload(w.request())
    before = w.replicas[2].fingerprint()
    w.give(2, w.pre_prepare(0, 1, payload))
    w.give(2, w.prepare(3, 0, 1, w.digest(payload)))
    assert w.replicas[2].fingerprint() == before


def test_votes_do_not_carry_over_into_the_next_view(world):
    """Rule 4a: PREPAREs of view 0 prepare nothing in view 1, for the same payload neither."""
    w = world(7)  # q = 5
    payload = w.payload(w.request())
    digest = w.digest(payload)
    w.give(2, w.pre_prepare(0, 1, payload))
    for i in (3, 4):
        w.give(2, w.prepare(i, 0, 1, digest))
    w.give(2, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3, 4, 5)]))
    assert not broadcasts(w.give(2, w.pre_prepare(1, 1, payload)), Commit)
    for i in (4, 5):
        assert not broadcasts(w.give(2, w.prepare(i, 1, 1, digest)), Commit)
    assert broadcasts(w.give(2, w.prepare(6, 1, 1, digest)), Commit)


def test_during_a_view_change_no_vote_is_taken(world):
    """Rule 4b: a proposal of the view that was left gets no PREPARE."""
    w = world()
    w.step(2, Suspect(1))
    assert not broadcasts(w.give(2, w.pre_prepare(0, 1, w.payload(w.request()))), Prepare)
    assert not broadcasts(w.give(2, w.pre_prepare(1, 1, w.payload(w.request()))), Prepare)
    assert w.replicas[2].status == "view-change"


# --- Rule 9: requests ---------------------------------------------------------------------------


def test_a_backup_relays_a_request_to_the_primary_and_starts_its_timer(world):
    """Rules 9c and 8a."""
    w = world()
    effects = w.give(2, w.request(), "c0")
    assert [type(m) for to, m in w.sent[2] if to == 0] == [Request]
    assert SetTimer("request", 200) in effects
    w.run(50)
    assert w.operations(3) == [b"a"]


def test_an_unsigned_request_and_a_stranger_are_refused(world):
    w = world()
    request = w.request()
    assert not w.give(0, Request("c0", request.public_key, 1, b"other", request.signature), "c0")
    assert not w.give(0, Request("c1", request.public_key, 1, b"a", request.signature), "c1")
    assert not w.give(0, Request("c9", request.public_key, 1, b"a", request.signature), "c9")


def test_a_repeated_request_gets_the_cached_reply_and_no_second_execution(world):
    """Rule 9b."""
    w = world()
    request = w.request()
    w.give(0, request, "c0")
    w.run(50)
    effects = w.give(0, request, "c0")
    assert [e.client for e in effects if isinstance(e, SendReply)] == ["c0"]
    assert not [e for e in effects if isinstance(e, Broadcast)]
    w.run(50)
    assert w.operations(0) == [b"a"]
    older = w.request(timestamp=0)
    assert not w.give(0, older, "c0")


def test_a_request_ordered_twice_is_executed_once(world):
    """Rule 9d: a lying primary puts one request at two numbers; at-most-once holds."""
    w = world()
    request = w.request()
    for sequence in (1, 2):
        payload = w.payload(request, w.request("c1", sequence, b"z"), nonce=sequence)
        w.give(1, w.pre_prepare(0, sequence, payload))
    for sequence in (1, 2):
        payload = w.payload(request, w.request("c1", sequence, b"z"), nonce=sequence)
        for i in (2, 3):
            w.give(1, w.prepare(i, 0, sequence, w.digest(payload)))
            w.give(1, w.commit(i, 0, sequence, w.digest(payload)))
    assert w.replicas[1].executed == 2
    assert w.operations(1) == [b"a", b"z", b"z"]


def test_requests_of_many_clients_share_a_batch(world):
    """What waits while proposals are in flight goes into one payload, up to ``batch_size``."""
    w = world(pipeline=1, batch_size=2)
    for timestamp in range(1, 4):
        for client in ("c0", "c1"):
            w.give(0, w.request(client, timestamp), client)
    w.run(100)
    assert len(w.operations(3)) == 6
    assert w.replicas[0].executed == 4  # the first alone, the five others in twos


def test_a_client_cannot_fill_a_replicas_memory(world):
    """Rule 11: at most PENDING_PER_CLIENT requests of one client wait."""
    w = world()
    for timestamp in range(1, PENDING_PER_CLIENT + 10):
        w.give(1, w.request("c0", timestamp), "c0")
    assert len(w.replicas[1].pending) == PENDING_PER_CLIENT
    w.give(1, w.request("c1", 1), "c1")
    assert len(w.replicas[1].pending) == PENDING_PER_CLIENT + 1


# --- deferring: NotYet, sequential --------------------------------------------------------------


def test_a_backup_that_cannot_tell_yet_votes_after_a_poke(world):
    """`NotYet`: the PRE-PREPARE is kept without a PREPARE and asked about again."""
    class Slow(AppendLog):
        ready = False

        def accepts(self, sequence, payload, carried):
            if not Slow.ready:
                raise NotYet("fetching")
            super().accepts(sequence, payload, carried)

    def make(w, index):
        keys = {c: i.public_key for c, i in w.client_ids.items()}
        return (Slow if index == 3 else AppendLog)(b"test", keys, w.signing(index))

    w = world(make_application=make)
    w.submit()
    w.run(40)
    assert "PREPARE" not in w.sent_types(3)
    assert w.reached("deferred") == 1
    Slow.ready = True
    w.poke()
    assert "PREPARE" in w.sent_types(3)


def test_a_deferred_proposal_that_turns_out_invalid_gets_no_prepare(world):
    """Rule 1e holds for deferred proposals too, and the place is free for a retransmission."""
    w = world(sequential=True)
    good, bad = w.payload(w.request()), w.payload(w.request(timestamp=2), nonce=5)
    w.give(1, w.pre_prepare(0, 2, bad))
    w.replicas[1].application.accepts = lambda *_: (_ for _ in ()).throw(MessageError("bad"))
    w.give(1, w.pre_prepare(0, 1, good))
    assert w.replicas[1].executed == 0
    w.step(1, Poke())
    assert "PREPARE" not in w.sent_types(1)
    del w.replicas[1].application.accepts
    w.give(1, w.pre_prepare(0, 1, good))
    assert "PREPARE" in w.sent_types(1)


def test_sequential_defers_until_the_predecessor_is_executed(world):
    """Section 5: with sequence = height a backup PREPAREs h + 1 only after it executed h."""
    w = world(sequential=True)
    payloads = [w.payload(w.request("c0", 1, b"a")), w.payload(w.request("c1", 1, b"b"))]
    assert not broadcasts(w.give(1, w.pre_prepare(0, 2, payloads[1])), Prepare)
    digest = w.digest(payloads[0])
    w.give(1, w.pre_prepare(0, 1, payloads[0]))
    w.give(1, w.prepare(2, 0, 1, digest))
    w.give(1, w.commit(2, 0, 1, digest))
    effects = w.give(1, w.commit(3, 0, 1, digest))
    assert [m.sequence for m in broadcasts(effects, Prepare)] == [2]


def test_sequential_has_one_proposal_in_flight(world):
    w = world(sequential=True, batch_size=1)
    for timestamp in (1, 2, 3):
        w.give(0, w.request("c0", timestamp), "c0")
    assert [m.sequence for _, m in w.sent[0] if isinstance(m, PrePrepare)] == [1, 1, 1]
    w.run(100)
    assert len(w.operations(2)) == 3


def test_nothing_is_decoded_signed_or_verified_twice(world, monkeypatch):
    """Each replica reads each message once, and checks no signature that it has checked."""
    w = world(4)
    done = []
    decode = replica.decode_message
    monkeypatch.setattr(replica, "decode_message",
                        lambda data, *rest: (done.append(("decode", data)), decode(data, *rest))[1])
    real_sign, real_verify = HashSigning.sign, HashSigning.verify

    def sign(self, domain, message):
        done.append((id(self), "sign", domain, message))
        return real_sign(self, domain, message)

    def verify(self, *claim):
        done.append((id(self), "verify", *claim))
        real_verify(self, *claim)

    monkeypatch.setattr(HashSigning, "sign", sign)
    monkeypatch.setattr(HashSigning, "verify", verify)
    w.submit("c0", b"one")
    w.run(50)
    assert w.replicas[0].executed == 1
    decoded = Counter(data for what, *(data, *_) in done if what == "decode")
    assert max(decoded.values()) <= 3  # a broadcast once by each of the three others
    others = Counter(claim for claim in done if claim[0] != "decode")
    assert len(others) > 20
    assert max(others.values()) == 1
