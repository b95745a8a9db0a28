"""Rules 6 to 8: VIEW-CHANGE, NEW-VIEW, timers (Castro–Liskov 4.4)."""

import dataclasses

import pytest

from bdn.pbft.application import AppendLog
from bdn.pbft.certificates import compute_order
from bdn.pbft.events import Broadcast, SetTimer, Suspect, Timeout
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    Commit,
    MessageError,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    ViewChange,
)
from bdn.pbft.wire import decode_message


def broadcasts(effects, kind):
    sent = [decode_message(e.data) for e in effects if isinstance(e, Broadcast)]
    return [message for message in sent if isinstance(message, kind)]


def timer(effects, name):
    return [e.after_ms for e in effects if isinstance(e, SetTimer) and e.name == name]


def stored(w, i):
    return {m.replica: m for m in w.replicas[i]._core.view_changes.values()}


def prepare_at(w, i, payload, sequence=1, view=0):
    """Make replica ``i`` prepared for ``payload``."""
    digest = w.digest(payload)
    w.give(i, w.pre_prepare(view, sequence, payload))
    for j in range(w.n):
        if j not in (i, view % w.n):
            w.give(i, w.prepare(j, view, sequence, digest))
    return digest


# --- the whole story ----------------------------------------------------------------------------


def test_a_silent_primary_is_replaced_and_the_request_executed(world):
    """4.4: timers run out, a quorum changes view, the new primary orders the request."""
    w = world()
    w.crash(0)
    w.submit()
    w.run(1000)
    assert [w.operations(i) for i in (1, 2, 3)] == [[b"a"]] * 3
    assert {w.replicas[i].view for i in (1, 2, 3)} == {1}
    assert w.clients["c0"].accepted


@pytest.mark.parametrize("n", [4, 7, 10])
def test_f_silent_primaries_in_a_row_are_passed(world, n):
    """Rule 8d: each failed view doubles the wait, and the (f + 1)-th primary is correct."""
    w = world(n)
    for i in range(w.cluster.f):
        w.crash(i)
    w.submit()
    w.run(8000)
    assert all(w.operations(i) == [b"a"] for i in range(w.cluster.f, n))


def test_what_was_prepared_survives_a_failed_view_change(world):
    """Rule 7f: prepared in view 0, view 1 never begins, view 2 proposes it again."""
    w = world()
    payload = w.payload(w.request())
    digest = prepare_at(w, 2, payload)
    w.step(2, Suspect(1))
    w.step(2, Suspect(2))
    last = [m for _, m in w.sent[2] if isinstance(m, ViewChange)][-1]
    assert last.view == 2
    assert [e.pre_prepare.digest for e in last.prepared] == [digest]


def test_an_executed_entry_runs_the_phases_again_but_not_the_execution(world):
    """Rule 7e."""
    w = world()
    w.submit()
    w.run(50)
    for i in range(4):
        w.step(i, Suspect(1))
    w.run(100)
    assert {r.view for r in w.replicas} == {1}
    assert all(r.status == "normal" for r in w.replicas)
    assert [m.view for _, m in w.sent[2] if isinstance(m, Commit)][-1] == 1
    assert [w.operations(i) for i in range(4)] == [[b"a"]] * 4


def test_a_gap_is_filled_with_the_null_request(world):
    """Rule 7b: number 2 was prepared, number 1 was not: O is null at 1."""
    w = world()
    payload = w.payload(w.request())
    entry = w.certificate(0, 2, w.digest(payload))
    for i in (1, 2, 3):
        w.give(i, w.pre_prepare(0, 2, payload))
    message = w.new_view(1, [w.view_change(0, 1), w.view_change(2, 1, entry),
                             w.view_change(3, 1)])
    for i in range(4):
        w.give(i, message)
    w.run(300)
    assert message.pre_prepares[0].digest == NULL_DIGEST
    assert w.reached("null-request") == 4
    assert [w.operations(i) for i in range(4)] == [[b"a"]] * 4


# --- Rule 6: VIEW-CHANGE ------------------------------------------------------------------------


def test_a_view_change_tells_target_checkpoint_and_p(world):
    """Rule 6: what a correct replica sends is what a correct replica accepts."""
    w = world()
    for k in range(5):
        w.submit(operation=b"%d" % k)
        w.run(50)
    w.step(1, Suspect(1))
    sent = next(m for _, m in w.sent[1] if isinstance(m, ViewChange))
    assert (sent.view, sent.stable, len(sent.proof)) == (1, 4, 3)
    assert [(e.pre_prepare.sequence, len(e.prepares)) for e in sent.prepared] == [(5, 2)]
    w.run(5)
    assert stored(w, 2)[1] == sent


def refused_view_change(w, message):
    before = w.replicas[1].fingerprint()
    w.give(1, message)
    assert w.replicas[1].fingerprint() == before
    return w.reasons(1)[-1]


def test_a_view_change_needs_its_senders_signature(world):
    w = world()
    honest = w.view_change(2, 1)
    refused_view_change(w, dataclasses.replace(honest, replica=3))


def test_a_view_change_needs_a_proof_of_its_checkpoint(world):
    """Rule 6a: too few, repeated, disagreeing or foreign CHECKPOINTs prove nothing."""
    w = world()
    good = w.proof(4)
    wrong = [(), good[:2], (good[0], good[0], good[1]),
             (*good[:2], w.checkpoint(2, 4, b"e" * 32)), (*good[:2], w.checkpoint(2, 8)),
             (*good[:2], dataclasses.replace(good[2], signature=bytes(64)))]
    for proof in wrong:
        refused_view_change(w, w.view_change(2, 1, stable=4, proof=proof))
    refused_view_change(w, w.view_change(2, 1, stable=0, proof=good))
    w.give(1, w.view_change(2, 1, stable=4, proof=good))
    assert 2 in stored(w, 1)


def test_p_entries_lie_above_h_within_the_window_and_once(world):
    """Rule 6b."""
    w = world()
    digest = b"d" * 32
    at = {n: w.certificate(0, n, digest) for n in (0, 4, 5, 12, 13)}
    for entries in ((at[4],), (at[13],), (at[5], at[5]), (at[12], at[5])):
        refused_view_change(w, w.view_change(2, 1, *entries, stable=4, proof=w.proof(4)))
    w.give(1, w.view_change(2, 1, at[5], at[12], stable=4, proof=w.proof(4)))
    assert 2 in stored(w, 1)


def test_p_entries_are_of_views_below_the_target(world):
    """Rule 6c."""
    w = world()
    for view in (1, 2):
        refused_view_change(w, w.view_change(2, 1, w.certificate(view, 1, b"d" * 32)))
    w.give(1, w.view_change(2, 3, w.certificate(2, 1, b"d" * 32)))
    assert 2 in stored(w, 1)


def test_p_entries_are_fully_verified(world):
    """Rule 6d: a PRE-PREPARE of the primary and q − 1 matching PREPAREs of distinct backups."""
    w = world()
    digest = b"d" * 32
    good = w.certificate(0, 1, digest)
    a, b = good.prepares
    wrong = [
        dataclasses.replace(good, prepares=(a,)),
        dataclasses.replace(good, prepares=(a, a)),
        dataclasses.replace(good, prepares=(w.prepare(0, 0, 1, digest), a)),
        dataclasses.replace(good, prepares=(a, w.prepare(b.replica, 0, 1, b"e" * 32))),
        dataclasses.replace(good, prepares=(a, w.prepare(b.replica, 0, 2, digest))),
        dataclasses.replace(good, prepares=(a, dataclasses.replace(b, signature=bytes(64)))),
        Prepared(w.pre_prepare(0, 1, None, digest, signer=3), good.prepares),
    ]
    for entry in wrong:
        refused_view_change(w, w.view_change(2, 1, entry))
    w.give(1, w.view_change(2, 1, good))
    assert 2 in stored(w, 1)


def test_one_bad_view_change_does_not_mask_a_good_one(world):
    """Rule 6e: a bad one is not stored, so the same sender's good one still counts."""
    w = world()
    w.step(1, Suspect(1))
    forged = dataclasses.replace(w.certificate(0, 1, b"d" * 32), prepares=())
    w.give(1, w.view_change(3, 9, forged))
    w.give(1, w.view_change(2, 1))
    effects = w.give(1, w.view_change(3, 1))
    assert broadcasts(effects, NewView)


def test_only_the_highest_view_change_of_each_sender_is_kept(world):
    """Rule 11a."""
    w = world()
    for view in (2, 5, 3, 4):
        w.give(1, w.view_change(2, view))
    assert {i: m.view for i, m in stored(w, 1).items()} == {2: 5}


# --- Rule 7: NEW-VIEW ---------------------------------------------------------------------------


def test_o_takes_the_highest_views_digest_and_null_elsewhere():
    """Rule 7b: `compute_order` against a hand-written case."""
    def entry(view, sequence, letter):
        return Prepared(PrePrepare(view, sequence, letter * 32, None, b""), ())

    proof = (Checkpoint(4, b"d" * 32, 0, b""),)
    parts = [
        ViewChange(3, 0, (), (entry(0, 4, b"x"), entry(1, 6, b"a")), 0, b""),
        ViewChange(3, 4, proof, (entry(2, 6, b"b"), entry(0, 8, b"c")), 1, b""),
        ViewChange(3, 0, (), (entry(0, 6, b"z"),), 2, b""),
    ]
    best, order = compute_order(parts)
    assert best.stable == 4
    assert order == [(5, NULL_DIGEST), (6, b"b" * 32), (7, NULL_DIGEST), (8, b"c" * 32)]
    with pytest.raises(MessageError):
        compute_order([])


def refused_new_view(w, message, i=2):
    before = w.replicas[i].fingerprint()
    w.give(i, message)
    assert w.replicas[i].fingerprint() == before


def test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes(world):
    """Rule 7a."""
    w = world()
    a, b, c = (w.view_change(i, 1) for i in (0, 1, 3))
    bad = dataclasses.replace(c, signature=bytes(64))
    for parts in ((a, b), (a, a, b), (a, b, bad), (b, a, c), (a, b, w.view_change(3, 2))):
        refused_new_view(w, w.new_view(1, parts))
    refused_new_view(w, dataclasses.replace(w.new_view(1, (a, b, c)), signature=bytes(64)))
    w.give(2, w.new_view(1, (a, b, c)))
    assert (w.replicas[2].view, w.replicas[2].status) == (1, "normal")


def test_a_new_view_must_propose_exactly_what_follows(world):
    """Rule 7b: omitted, nulled, changed and added proposals are refused."""
    w = world()
    digest = w.digest(w.payload(w.request()))
    parts = (w.view_change(0, 1), w.view_change(1, 1, w.certificate(0, 1, digest)),
             w.view_change(3, 1))
    for order in ([], [(1, NULL_DIGEST)], [(1, b"e" * 32)], [(1, digest), (2, NULL_DIGEST)],
                  [(2, digest)]):
        refused_new_view(w, w.new_view(1, parts, order))
    unsigned = w.new_view(1, parts)
    forged = dataclasses.replace(unsigned.pre_prepares[0], signature=bytes(64))
    refused_new_view(w, w.sign(1, dataclasses.replace(unsigned, pre_prepares=(forged,))))
    w.give(2, w.new_view(1, parts))
    assert w.replicas[2].view == 1


def test_a_new_view_of_a_past_view_is_refused(world):
    w = world()
    w.give(2, w.new_view(5, [w.view_change(i, 5) for i in (0, 1, 3)]))
    refused_new_view(w, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3)]))


def test_a_replica_that_sent_no_view_change_accepts_a_new_view(world):
    """Rule 7c."""
    w = world()
    w.give(3, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 2)]))
    assert (w.replicas[3].view, w.replicas[3].status) == (1, "normal")
    assert "VIEW-CHANGE" not in w.sent_types(3)


def test_messages_of_a_view_wait_for_its_new_view(world):
    """Rule 7d: a PRE-PREPARE and PREPAREs that overtake the NEW-VIEW are used when it comes."""
    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    assert not broadcasts(w.give(2, w.pre_prepare(1, 1, payload)), Prepare)
    w.give(2, w.prepare(3, 1, 1, digest))
    effects = w.give(2, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3)]))
    assert broadcasts(effects, Prepare)
    assert broadcasts(effects, Commit)


def test_a_missing_body_is_fetched(world):
    """Rule 7g: O names a digest whose payload this replica never saw."""
    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    for i in (1, 2):
        prepare_at(w, i, payload)
    w.queue.clear()
    parts = [w.view_change(0, 1), w.view_change(1, 1, w.certificate(0, 1, digest)),
             w.view_change(2, 1)]
    for i in range(4):
        w.give(i, w.new_view(1, parts))
    w.run(60)  # before the first status
    assert [w.operations(i) for i in (1, 2, 3)] == [[b"a"]] * 3
    assert w.told(3, "fetched-payload")


def test_a_carried_payload_is_not_judged_by_clock_or_proposer(world):
    """Rule 10: `accepts` hears that O carries the payload over."""
    heard = []

    def make(w, index):
        class Hears(AppendLog):
            def accepts(self, sequence, payload, carried):
                heard.append((index, carried))
                super().accepts(sequence, payload, carried)

        return Hears(b"test", {c: i.public_key for c, i in w.client_ids.items()},
                     w.signing(index))

    w = world(make_application=make)
    payload = w.payload(w.request())
    prepare_at(w, 2, payload)
    parts = [w.view_change(0, 1), w.view_change(2, 1, w.certificate(0, 1, w.digest(payload))),
             w.view_change(3, 1)]
    w.give(2, w.new_view(1, parts))
    assert heard == [(2, False), (2, True)]


# --- Rule 8: timers and joining -----------------------------------------------------------------


def test_the_request_timer_runs_while_a_request_waits_and_stops_after(world):
    """Rule 8a."""
    w = world()
    payload = w.payload(w.request())
    assert timer(w.give(1, w.request(), 0), "request") == [200]
    assert timer(w.give(1, w.request("c1"), 0), "request") == [], "not anew at each request"
    digest = prepare_at(w, 1, payload)
    for i in (0, 2):
        effects = w.give(1, w.commit(i, 0, 1, digest))
    assert timer(effects, "request") == [200], "c1 still waits: anew after progress"
    other = w.payload(w.request("c1"))
    digest = prepare_at(w, 1, other, sequence=2)
    for i in (0, 2):
        w.give(1, w.commit(i, 0, 2, digest))
    assert (1, "request") not in w.timers


def test_executing_what_nobody_waits_for_does_not_restart_the_timer(world):
    """Rule 8a: a faulty primary cannot keep a request waiting by ordering others for itself."""
    w = world()
    w.give(1, w.request("c1"), 0)
    digest = prepare_at(w, 1, w.payload(w.request("c0")))
    for i in (0, 2):
        effects = w.give(1, w.commit(i, 0, 1, digest))
    assert w.replicas[1].executed == 1
    assert timer(effects, "request") == []


def test_the_request_timer_suspects_the_primary(world):
    """Rule 8b."""
    w = world()
    w.give(1, w.request(), 0)
    effects = w.step(1, Timeout("request"))
    assert [m.view for m in broadcasts(effects, ViewChange)] == [1]
    assert not w.step(1, Timeout("request")), "a timer that does not run says nothing"


def test_the_primary_runs_no_request_timer(world):
    """4.4: backups watch the primary."""
    w = world()
    assert timer(w.give(0, w.request(), "c0"), "request") == []


def test_the_view_timer_starts_only_after_a_quorum(world):
    """Rule 8c: one impatient replica does not run ahead through the views."""
    w = world()
    assert timer(w.step(2, Suspect(1)), "view") == []
    assert timer(w.give(2, w.view_change(3, 1)), "view") == []
    assert timer(w.give(2, w.view_change(0, 1)), "view") == [400]


def test_replicas_spread_over_views_do_not_wait_for_one_another(world):
    """Rule 8c: who is further on counts for the timer."""
    w = world()
    w.step(2, Suspect(1))
    w.give(2, w.view_change(3, 1))
    assert timer(w.give(2, w.view_change(0, 2)), "view") == [400]


def test_timeouts_double_with_each_failed_view_and_are_short_after_progress(world):
    """Rules 8d and 8e."""
    w = world()
    seen = []
    w.step(0, Suspect(1))
    for view in (1, 2, 3):
        for i in (1, 2):
            effects = w.give(0, w.view_change(i, view))
            seen += timer(effects, "view")
        if view < 3:
            w.step(0, Timeout("view"))
    assert seen == [400, 800, 1600]
    w.give(0, w.new_view(3, [w.view_change(i, 3) for i in (1, 2, 3)]))
    assert timer(w.give(0, w.request(), 1), "request") == [200 << 3]
    payload = w.payload(w.request())
    digest = prepare_at(w, 0, payload, view=3)
    for i in (1, 2, 3):
        w.give(0, w.commit(i, 3, 1, digest))
    assert timer(w.give(0, w.request(timestamp=2), 1), "request") == [200]


def test_f_plus_1_higher_views_are_joined_at_the_smallest(world):
    """Rule 8f."""
    w = world()
    assert not broadcasts(w.give(3, w.view_change(1, 7)), ViewChange)
    effects = w.give(3, w.view_change(2, 5))
    assert [m.view for m in broadcasts(effects, ViewChange)] == [5]
    assert w.told(3, "join")


def test_a_single_faulty_replica_cannot_force_a_view_change(world):
    """Rule 8f: f VIEW-CHANGEs move nobody, in whatever number they come."""
    w = world()
    for view in range(1, 20):
        w.give(3, w.view_change(1, view))
    assert (w.replicas[3].view, w.replicas[3].status) == (0, "normal")


def test_timers_stop_when_a_view_begins(world):
    w = world()
    w.give(2, w.request(), 0)
    w.step(2, Suspect(1))
    assert (2, "request") not in w.timers
    for i in (0, 3):
        w.give(2, w.view_change(i, 1))
    assert (2, "view") in w.timers
    w.give(2, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3)]))
    assert (2, "view") not in w.timers
    assert (2, "request") in w.timers, "the request still waits"
