"""What one faulty replica, or none, must not be able to stop.

Each test is an example of a kind: the cluster was safe, and stood still or changed its view for
nothing. A fault persists here until the end of the test.
"""

import random

import pytest

from bdn.pbft.events import Receive, Suspect, Timeout
from bdn.pbft.messages import (
    Checkpoint,
    Commit,
    Fetch,
    NewView,
    Prepared,
    PrePrepare,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.simulator import parse_scenario, simulate
from bdn.pbft.wire import decode_message, encode_message


def order(w, count, client="c0", wait=100):
    for _ in range(count):
        w.submit(client, b"x")
        w.run(wait)


def answers(effects):
    return [decode_message(e.data) for e in effects if hasattr(e, "to")]


# --- checkpoints --------------------------------------------------------------------------------


def misled(w, *victims, liar=2):
    """``victims`` executed 4 and hold another digest of the liar's; replica 3 has no vote yet."""
    w.drop = lambda source, to, m: 3 in (source, to) or (
        source == liar and isinstance(m, Checkpoint))
    order(w, 4)
    for victim in victims:
        w.give(victim, w.checkpoint(liar, 4, b"!" * 32))
        assert w.replicas[victim].executed == 4
        assert w.replicas[victim].stable == 0
    good = {i: w.replicas[i]._core.checkpoints[4][i] for i in (0, 1)}
    return (good[0], good[1], w.checkpoint(liar, 4, good[0].digest))


def state_of(w, proof, data=b"", sender=3):
    return w.sign(sender, State("checkpoint", 4, proof[0].digest, data, 0, (), proof, sender, b""))


def test_a_checkpoint_that_a_new_view_proves_is_taken_from_it(world):
    """Rule 5a: also by a replica that had none of its VIEW-CHANGEs before."""
    w = world()
    proof = misled(w, 0, 1)
    parts = [w.view_change(1, 1), w.view_change(2, 1), w.view_change(3, 1, stable=4, proof=proof)]
    w.give(0, w.new_view(1, parts))
    assert (w.replicas[0].view, w.replicas[0].stable) == (1, 4)
    assert w.replicas[0].stable_proof == proof


def test_a_certificate_in_a_state_counts_as_a_whole(world):
    """Rule 5a: the liar's vote is part of a valid proof, though it sent another digest first."""
    w = world()
    proof = misled(w, 0, 1)
    w.give(0, state_of(w, proof))
    assert w.replicas[0].stable_proof == proof


def test_a_certificate_in_a_view_change_counts_as_a_whole(world):
    """Rule 5a: in the same way."""
    w = world()
    proof = misled(w, 0, 1)
    w.give(0, w.view_change(3, 1, stable=4, proof=proof))
    assert w.replicas[0].stable_proof == proof


def test_a_proof_is_verified_before_it_counts(world):
    """Nothing that is not a quorum's makes a checkpoint stable, whoever brings it."""
    w = world()
    a, b, c = misled(w, 0)
    wrong = [(a, b), (a, b, w.checkpoint(2, 4, b"!" * 32)), (a, b, b), (a, c, b),
             (a, b, w.checkpoint(3, 8, a.digest))]
    for proof in wrong:
        w.give(0, state_of(w, proof))
        w.give(0, w.view_change(3, 1, stable=4, proof=proof))
        assert w.replicas[0].stable == 0


@pytest.mark.parametrize("liar", range(4))
@pytest.mark.parametrize("seed", range(2))
def test_a_lying_checkpoint_sender_stops_nobody(world, liar, seed):
    """It tells two replicas another digest, at every checkpoint and to the end, and the truth to
    the one that was away and takes the state instead of executing."""
    rng = random.Random(seed)
    late = rng.choice([i for i in range(4) if i != liar])
    w = world(status_ms=60)
    relay = w.post

    def lie(source, to, data):
        message = decode_message(data)
        if source == liar and isinstance(message, Checkpoint) and to != late:
            data = encode_message(w.checkpoint(liar, message.sequence, bytes([to]) * 32))
        relay(source, to, data)

    w.post = lie
    w.drop = lambda source, to, m: ((w.now % 1200 < 700 and late in (source, to))
                                    or rng.random() < 0.03)
    for k in range(24):
        if w.clients["c0"].outstanding is None:
            w.submit(operation=b"%d" % k)
        w.run(120)
    w.run(4000)
    correct = [i for i in range(4) if i != liar]
    assert w.clients["c0"].outstanding is None
    assert len({tuple(w.operations(i)) for i in correct}) == 1
    assert all(w.replicas[i].executed - w.replicas[i].stable <= 4 for i in correct)


def test_those_who_certified_a_checkpoint_give_its_state(world):
    """Rule 5e: the goal is certified, yet stable at the liar alone, which answers with junk."""
    w = world()
    w.drop = lambda source, to, m: 3 in (source, to) or (
        isinstance(m, Checkpoint) and source == 2)
    order(w, 4)
    assert (w.replicas[0].stable, w.replicas[2].stable) == (0, 4)
    fetch = w.sign(3, Fetch("checkpoint", 4, bytes(32), 3, b""))
    [answer] = answers(w.give(0, fetch))
    assert (answer.sequence, answer.proof) == (4, ())
    w.give(3, answer)
    assert w.replicas[3].executed == 0, "without a certificate a state proves nothing"
    for vote in w.replicas[2].stable_proof:
        w.give(3, vote)
    w.give(3, answer)
    assert w.replicas[3].executed == w.replicas[3].stable == 4
    assert w.replicas[3].stable_proof == w.replicas[2].stable_proof
    assert w.operations(3) == w.operations(0)


def asked_for_the_goal(w, liar=None):
    """Whom replica 3 asks in twelve periods; a liar says before anyone how far it is."""
    w.drop = lambda source, to, m: 3 in (source, to)
    order(w, 12)
    proof = w.replicas[0].stable_proof
    asked = []

    def note(source, to, m):
        if source == 3 and isinstance(m, Fetch):
            asked.append(to)
        return True

    w.drop = note
    for vote in proof:
        w.give(3, vote)
    for _ in range(12):
        if liar is not None:
            w.give(3, w.sign(liar, Status(0, True, 12, 12, liar, b"")))
        w.run(100)
    return [asked.count(i) for i in (0, 1, 2)]


def test_every_holder_of_the_goal_is_asked_in_turn(world):
    """A liar that is always the first to say how far it is gets no more turns than others."""
    for liar in (0, 1, 2):
        assert max(asked_for_the_goal(world(status_ms=100), liar)) <= 5


def test_holders_are_asked_again_when_all_were_asked(world):
    """Their answers may have been lost."""
    assert min(asked_for_the_goal(world(status_ms=100))) >= 4


# --- views that change for nothing --------------------------------------------------------------


def test_a_request_may_be_ordered_again_after_its_execution(world):
    """A correct new primary that does not know the carried body proposes the request again."""
    w = world(request_timeout_ms=100_000)
    order(w, 1)
    again = w.payload(w.request(), nonce=5)
    effects = w.give(1, w.pre_prepare(0, 2, again))
    assert effects, "voted for"
    for i in (2, 3):
        w.give(i, w.pre_prepare(0, 2, again))
    w.run(50)
    assert w.replicas[1].executed == 2
    assert w.operations(1) == [b"x"], "and executed once"


def test_a_new_primary_without_a_carried_body_blocks_no_view(world):
    """One PRE-PREPARE is lost for 50 ms, two replicas lose patience; view 1 must do."""
    w = world(request_timeout_ms=400)
    w.drop = lambda source, to, m: to == 1 and isinstance(m, (PrePrepare, State)) and w.now < 50
    w.submit(to=[0, 1, 2, 3])
    w.run(10)
    for i in (2, 3):
        w.step(i, Suspect(1))
    w.run(30)
    assert w.replicas[1].view == 1
    order(w, 3, client="c1", wait=300)
    assert w.replicas[2].view == 1
    assert {len(w.operations(i)) for i in range(4)} == {4}


@pytest.mark.parametrize("seed", range(2))
def test_requests_alone_never_change_the_view(seed):
    """300 requests of 20 clients, 1 ms apart, with a window as long as the pipeline: a primary is
    ahead of a backup by the CHECKPOINTs under way, and what it proposes then waits there."""
    requests = [{"client": f"c{i % 20}", "at_ms": i, "operation": f"{i}"} for i in range(300)]
    outcome = simulate(parse_scenario({
        "replicas": 4, "seed": seed, "limit_ms": 60_000, "requests": requests}))
    assert outcome.safe
    assert outcome.live
    assert set(outcome.views.values()) == {0}


def test_what_lies_one_window_above_waits_and_what_lies_further_is_refused(world):
    """Rule 1d, 11d: it is counted as soon as the window moves; memory stays bounded."""
    w = world()
    high = w.replicas[1].high
    w.give(1, w.prepare(2, 0, high + 1, b"d" * 32))
    w.give(1, w.prepare(2, 0, 2 * high, b"d" * 32))
    assert [m.sequence for m in w.replicas[1]._core.buffer[2]] == [high + 1, 2 * high]
    w.give(1, w.prepare(2, 0, 2 * high + 1, b"d" * 32))
    assert len(w.replicas[1]._core.buffer[2]) == 2
    order(w, 4)
    assert w.replicas[1].low == 4
    assert [m.sequence for m in w.replicas[1]._core.buffer.get(2, [])] == [2 * high]
    assert 2 in w.replicas[1]._core.log.get(high + 1).prepares


# --- what a third replica sends again -----------------------------------------------------------


def test_an_old_status_sent_again_uses_up_no_answer(world):
    """Rule 11h: STATUSes are signed but carry no time; a later one shows which are old."""
    w = world(status_ms=100_000)
    order(w, 1)
    w.drop = lambda source, to, m: isinstance(m, Commit)
    w.submit()
    w.run(50)
    old = [Status(0, True, 0, 0, 3, b""), Status(0, False, 0, 1, 3, b"")]
    new = w.sign(3, Status(0, True, 0, 1, 3, b""))
    assert answers(w.give(0, new))
    for _ in range(3):
        w.step(0, Timeout("status"))
        for status in old:
            assert not answers(w.give(0, w.sign(3, status), source=2))
        assert answers(w.give(0, new)), "the latest one is answered in every period"


def test_a_replica_that_lost_its_disk_is_helped_again(world):
    """What a STATUS told is not held against its sender for ever."""
    w = world(status_ms=100_000)
    order(w, 2)
    w.give(0, w.sign(3, Status(0, True, 0, 2, 3, b"")))
    lost = w.sign(3, Status(0, True, 0, 0, 3, b""))
    for _ in range(3):
        w.step(0, Timeout("status"))
    w.give(0, lost)
    assert 3 in w.replicas[0]._core.answered


def test_a_fetch_sent_again_uses_up_no_answer(world):
    """Rule 11h: the same question is answered once in a period, and costs nothing after that."""
    w = world(status_ms=100_000, checkpoint_interval=16, window=16)
    order(w, 10)
    ask = [w.sign(3, Fetch("decided", k, bytes(32), 3, b"")) for k in range(1, 11)]
    assert answers(w.give(0, ask[0]))
    for _ in range(100):
        assert not answers(w.give(0, ask[0], source=2))
    assert all(answers(w.give(0, fetch)) for fetch in ask[1:])
    w.step(0, Timeout("status"))
    w.give(0, w.sign(3, Status(0, True, 0, 10, 3, b"")))
    for fetch in ask:
        assert not answers(w.give(0, fetch, source=2)), "it has executed these"
    assert not w.replicas[0]._core.served.get(3)


def test_every_period_a_replica_may_ask_anew(world):
    """Rule 11c: what was served is forgotten with the period, as an answer may be lost."""
    w = world(status_ms=100_000)
    order(w, 2)
    fetch = w.sign(3, Fetch("decided", 1, bytes(32), 3, b""))
    for _ in range(4):
        assert answers(w.give(0, fetch))
        assert not answers(w.give(0, fetch))
        w.step(0, Timeout("status"))


# --- the view change of many --------------------------------------------------------------------


class Counting:
    """A signing that counts what it is asked to check."""

    def __init__(self, inner):
        self.inner = inner
        self.checks = 0

    def sign(self, domain, message):
        return self.inner.sign(domain, message)

    def verify(self, *claim):
        self.checks += 1
        self.inner.verify(*claim)


@pytest.mark.parametrize("n", [7, 31])
def test_a_view_change_checks_each_vote_once(world, n):
    """n VIEW-CHANGEs show nearly the same PREPAREs: n of them a number, not n(q − 1)."""
    w = world(n=n, window=16, checkpoint_interval=16)
    w.drop = lambda *_: True
    numbers, digest, rng = 15, b"d" * 32, random.Random(n)
    replica = w.replicas[0]
    proposals = {s: w.pre_prepare(0, s, None, digest) for s in range(1, numbers + 1)}
    votes = {(i, s): w.prepare(i, 0, s, digest) for i in range(1, n) for s in proposals}

    def shown(i):
        return [Prepared(proposals[s], tuple(
            votes[j, s] for j in sorted(rng.sample(range(1, n), w.cluster.q - 1))))
            for s in proposals]

    parts = [w.view_change(i, 2, *shown(i)) for i in range(1, n)]
    core = replica._core
    core.certificate_signing._signing = counting = Counting(core.signing)
    for part in parts:
        w.give(0, part)
    assert core.view == 2
    assert counting.checks <= (n - 1) + numbers * n
    before = counting.checks
    w.give(0, w.new_view(2, parts[:w.cluster.q]))
    assert core.active
    assert counting.checks == before, "a NEW-VIEW shows what was checked already"
    again = w.view_change(1, 5, *parts[0].prepared)
    w.give(0, again)
    assert counting.checks == before + 1, "the same certificates at another view cost one check"
    assert isinstance(parts[0], ViewChange)


def test_a_wrong_vote_is_refused_however_often_it_comes(world):
    """Only what verified is remembered."""
    w = world()
    good = w.certificate(0, 1, b"d" * 32)
    first, second = good.prepares
    forged = type(good)(good.pre_prepare, (first, w.prepare(1, 0, 1, b"d" * 32)))
    forged = type(good)(good.pre_prepare, (first, type(second)(0, 1, b"d" * 32, 2, bytes(64))))
    for view in (1, 2, 3):
        w.give(0, w.view_change(3, view, forged))
        assert 3 not in w.replicas[0]._core.view_changes
    w.give(0, w.view_change(3, 4, good))
    assert 3 in w.replicas[0]._core.view_changes


def test_a_new_view_is_verified_where_its_view_changes_are_unknown(world):
    """A VIEW-CHANGE that came with the same sender and another content is not taken on trust."""
    w = world()
    known = [w.view_change(i, 1) for i in (1, 2, 3)]
    for part in known[1:]:
        w.give(0, part)
    forged = type(known[1])(1, 0, (), (w.certificate(0, 1, b"d" * 32),), 2, bytes(64))
    w.step(0, Receive(1, encode_message(w.new_view(1, [known[0], forged, known[2]]))))
    assert w.replicas[0].status != "normal" or w.replicas[0].view == 0
    assert w.reasons(0)
    assert not [m for m in w.sent[0] if isinstance(m[1], NewView)]
