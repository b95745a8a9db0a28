"""Checks that are easy to lose: each was deleted once, and no other test noticed.

`mutations.py` deletes them again. Replica 3 is the one under test unless a test says otherwise.
"""

import dataclasses

from bdn.pbft.events import Broadcast, Send, SetTimer, Suspect, Timeout
from bdn.pbft.journal import compact
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    Commit,
    Fetch,
    NewView,
    Prepare,
    PrePrepare,
    Reply,
    Request,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.wire import decode_message, encode_message
from bdn.seal import COMMIT_DOMAIN, Seal, commit_statement


def messages(effects, kind):
    """Return the messages of one kind that a step sends, to whomever."""
    found = [decode_message(e.data) for e in effects if isinstance(e, (Send, Broadcast))]
    return [message for message in found if isinstance(message, kind)]


def timers(effects, name):
    return [e.after_ms for e in effects if isinstance(e, SetTimer) and e.name == name]


def state_of(w, i):
    return w.replicas[i].fingerprint()


def seal_of(w, sequence, digest, view=0):
    text = commit_statement(w.cluster.instance, view, sequence, digest)
    return Seal(view, sequence, digest, tuple(
        (i, w.signing(i).sign(COMMIT_DOMAIN, text)) for i in range(w.cluster.q)))


def decided(w, sender, sequence, payload):
    digest = w.digest(payload)
    seal = seal_of(w, sequence, digest)
    return w.sign(sender, State("decided", sequence, digest, payload, 0, seal.signatures, (),
                                sender, b""))


def status(w, i, view=0, active=True, stable=0, executed=0):
    return w.sign(i, Status(view, active, stable, executed, i, b""))


def ordered(w, count):
    """Let ``count`` requests be executed everywhere, one after the other."""
    for k in range(count):
        w.submit(operation=b"%d" % k)
        w.run(30)
    return w


def without_checkpoints(w, count):
    """As `ordered`, but replica 3 hears of nobody else's checkpoint."""
    w.drop = lambda source, to, message: to == 3 and isinstance(message, (Checkpoint, State))
    ordered(w, count)
    assert (w.replicas[3].executed, w.replicas[3].stable) == (count, 0)
    return w


# --- VIEW-CHANGE and NEW-VIEW -------------------------------------------------------------------


def test_a_view_change_shown_by_a_primary_is_not_believed_for_its_senders_name(world):
    """Replica 3 knows the VIEW-CHANGE of replica 2; the primary shows another, without P."""
    w = world()
    entry = w.certificate(0, 1, w.digest(w.payload(w.request())))
    w.give(3, w.view_change(2, 1, entry))
    forged = dataclasses.replace(w.view_change(2, 1, entry), prepared=())
    before = state_of(w, 3)
    assert not w.give(3, w.new_view(1, [w.view_change(0, 1), w.view_change(1, 1), forged]))
    assert state_of(w, 3) == before


def test_a_number_is_used_once_also_above_what_o_carries(world):
    """The primary of view 1 orders a new request above the prepared one."""
    w = world()
    carried = w.payload(w.request("c0"))
    entry = w.certificate(0, 1, w.digest(carried))
    w.give(1, w.pre_prepare(0, 1, carried))
    w.give(1, w.view_change(2, 1, entry))
    w.give(1, w.view_change(3, 1, entry))
    own = messages(w.give(1, w.request("c1"), "c1"), PrePrepare)
    assert [(m.view, m.sequence) for m in own] == [(1, 2)]


def test_a_request_that_o_carries_is_not_proposed_again(world):
    """The primary of view 1 has it waiting, and knows the body that it carries."""
    w = world()
    carried = w.payload(w.request("c0"))
    entry = w.certificate(0, 1, w.digest(carried))
    w.give(1, w.request("c0"), 0)
    w.give(1, w.pre_prepare(0, 1, carried))
    w.give(1, w.view_change(2, 1, entry))
    effects = w.give(1, w.view_change(3, 1, entry))
    assert messages(effects, NewView)
    assert not messages(effects, PrePrepare)


def test_a_request_proposed_in_vain_is_proposed_again_in_a_later_view(world):
    """Replica 0 is the primary of views 0 and 4; what it proposed in view 0 nobody heard."""
    w = world()
    w.drop = lambda *_: True
    w.give(0, w.request("c0"), "c0")
    w.step(0, Suspect(4))
    w.give(0, w.view_change(1, 4))
    assert [(m.view, m.sequence) for m in messages(w.give(0, w.view_change(2, 4)), PrePrepare)] == [
        (4, 1)]


def test_a_new_primary_begins_as_soon_as_it_joins(world):
    """Two VIEW-CHANGEs convince replica 1, and its own completes the quorum."""
    w = world()
    w.give(1, w.view_change(2, 1))
    assert messages(w.give(1, w.view_change(3, 1)), NewView)


def test_a_primary_shows_view_changes_to_its_own_view_only(world):
    """Two of three are no quorum, though a third replica is on its way to view 5."""
    w = world()
    w.step(1, Suspect(1))
    w.give(1, w.view_change(3, 5))
    assert not messages(w.give(1, w.view_change(2, 1)), NewView)


def test_no_suspicion_leads_back(world):
    """A suspicion of a view that is left or entered already changes nothing."""
    w = world()
    w.step(3, Suspect(2))
    before = state_of(w, 3)
    assert not w.step(3, Suspect(1))
    assert not w.step(3, Suspect(2))
    assert state_of(w, 3) == before


def test_what_belongs_to_the_beginning_of_a_view_that_began_is_past(world):
    """Neither its NEW-VIEW nor a late VIEW-CHANGE is taken a second time."""
    w = world()
    begun = w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 2)])
    w.give(3, begun)
    payload = w.payload(w.request())
    w.give(3, w.pre_prepare(1, 1, payload))
    before = state_of(w, 3)
    assert not w.give(3, begun)
    assert not w.give(3, w.view_change(2, 1))
    assert state_of(w, 3) == before


def test_a_liar_cannot_put_off_the_new_view_timer(world):
    """Each VIEW-CHANGE of replica 0 is to a later view; the running timer is not set again."""
    w = world()
    w.step(3, Suspect(2))
    w.give(3, w.view_change(1, 2))
    assert timers(w.give(3, w.view_change(0, 2)), "view") == [400]
    assert all(not timers(w.give(3, w.view_change(0, view)), "view") for view in (3, 4, 5))


def test_o_names_digests_and_carries_no_payloads(world):
    """A payload inside O would be kept without a look at its digest."""
    w = world()
    digest = w.digest(w.payload(w.request()))
    changes = [w.view_change(i, 1, w.certificate(0, 1, digest)) for i in (0, 1, 2)]
    proposal = w.pre_prepare(1, 1, w.payload(w.request("c1")), digest)
    forged = w.sign(1, NewView(1, tuple(changes), (proposal,), b""))
    assert not w.give(3, forged)
    assert w.replicas[3].view == 0


def test_a_replica_that_gave_a_view_up_does_not_pass_on_how_it_began(world):
    """Somebody in view 0 hears of the VIEW-CHANGE to 2, which it can join, not of view 1."""
    w = world()
    w.give(3, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 2)]))
    w.step(3, Suspect(2))
    effects = w.give(3, status(w, 0))
    assert [m.view for m in messages(effects, ViewChange)] == [2]
    assert not messages(effects, NewView)


# --- requests -----------------------------------------------------------------------------------


def test_a_batch_holds_requests_of_known_clients_under_their_own_keys(world):
    """A stranger signs with a key of its own, under its own name or another's."""
    w = world()
    stranger = w.identities[2]
    for name in ("c0", "nobody"):
        request = w.sign(2, Request(name, stranger.public_key, 1, b"a", b""))
        assert not w.give(3, w.pre_prepare(0, 1, w.payload(request)))
    assert w.replicas[3]._core.log.get(1) is None


def test_a_waiting_request_goes_to_the_primary_again_when_nothing_moves(world):
    """A lost relay is repeated at the next status timer."""
    w = world()
    w.drop = lambda *_: True
    w.give(3, w.request(), 0)
    assert messages(w.step(3, Timeout("status")), Request)


def test_a_restored_log_executes_nothing_twice(world):
    """What the snapshot holds was executed, whoever orders it again."""
    w = world()
    payload = w.payload(w.request())
    log, copy = w.application(0), w.application(3)
    log.execute(1, payload, seal_of(w, 1, w.digest(payload)))
    assert copy.restore(1, log.snapshot(), log.state_digest())
    assert copy.execute(2, payload, seal_of(w, 2, w.digest(payload))) == []
    assert len(copy.operations) == 1


# --- catching up --------------------------------------------------------------------------------


def test_an_unsigned_status_or_fetch_uses_up_no_answer(world):
    """Anybody could send it in a victim's name; the victim's own is answered all the same."""
    w = ordered(world(), 2)
    w.crash(0)
    genuine = status(w, 1)
    before = state_of(w, 3)
    assert not w.give(3, dataclasses.replace(genuine, signature=bytes(64)))
    ask = w.sign(1, Fetch("decided", 1, bytes(32), 1, b""))
    assert not w.give(3, dataclasses.replace(ask, signature=bytes(64)))
    assert state_of(w, 3) == before
    assert messages(w.give(3, ask), State)


def test_a_replica_that_is_ahead_is_sent_nothing_old(world):
    """In view 1, replica 3 helps nobody who is in view 2, nor sends votes for what is executed."""
    w = world()
    w.give(3, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 2)]))
    assert not messages(w.give(3, status(w, 0, view=2)), (NewView, ViewChange))
    payload = w.payload(w.request())
    w.give(3, w.pre_prepare(1, 1, payload))
    assert messages(w.give(3, status(w, 1, view=1)), Prepare)
    later = w.give(3, status(w, 2, view=1, executed=1))
    assert not messages(later, (PrePrepare, Prepare, Commit))


def test_a_replica_that_moves_fetches_nothing(world):
    """What it executed since the last status timer shows that votes lead on."""
    w = ordered(world(), 1)
    assert not messages(w.give(3, status(w, 1, executed=3)), Fetch)
    w.step(3, Timeout("status"))
    assert messages(w.give(3, status(w, 1, executed=3)), Fetch)


def test_who_answers_nothing_is_not_asked_again_at_once(world):
    """Replica 1 is the first to say that it is ahead, in each period; then it is silent."""
    w = world()
    asked = []
    for _ in range(2):
        w.step(3, Timeout("status"))
        for i in (1, 2):
            effects = w.give(3, status(w, i, executed=3))
            asked += [e.to for e in effects if isinstance(e, Send) and
                      isinstance(decode_message(e.data), Fetch)]
    assert asked == [1, 2]


def test_a_fetched_entry_is_the_next_one_within_the_window(world):
    """Neither one that is executed, nor a later one, nor one that lies beyond H."""
    w = world()
    payloads = [w.payload(w.request(timestamp=k)) for k in range(4)]
    w.give(3, decided(w, 0, 1, payloads[1]))
    before = state_of(w, 3)
    assert not w.give(3, decided(w, 0, 1, payloads[1]))
    assert not w.give(3, decided(w, 0, 3, payloads[3]))
    assert state_of(w, 3) == before
    w = world(checkpoint_interval=2, window=2)
    w.give(3, decided(w, 0, 1, payloads[1]))
    w.give(3, decided(w, 0, 2, payloads[2]))
    assert (w.replicas[3].executed, w.replicas[3].high) == (2, 2)
    assert not w.give(3, decided(w, 0, 3, payloads[3]))


def test_a_null_request_comes_without_a_body(world):
    """Data beside the null digest is not what a quorum committed to."""
    w = world()
    seal = seal_of(w, 1, NULL_DIGEST)
    lie = w.sign(0, State("decided", 1, NULL_DIGEST, b"x", 0, seal.signatures, (), 0, b""))
    assert not w.give(3, lie)
    assert w.replicas[3].executed == 0


def test_a_fetched_body_is_of_the_proposals_digest(world):
    """O names a digest whose body replica 3 lacks; the first answer is another batch."""
    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    w.give(3, w.new_view(1, [w.view_change(i, 1, w.certificate(0, 1, digest)) for i in (0, 1, 2)]))

    def answer(data):
        return w.sign(1, State("payload", 1, digest, data, 0, (), (), 1, b""))

    assert not w.give(3, answer(w.payload(w.request("c1"))))
    assert w.give(3, answer(payload))


def test_an_old_checkpoint_takes_nothing_back(world):
    """Replica 3 executed five numbers; the certified state after four cuts its log, no more."""
    w = without_checkpoints(world(), 5)
    core = w.replicas[0]._core
    w.give(3, w.sign(0, State("checkpoint", 4, core.stable_proof[0].digest, core.stable_snapshot,
                              0, (), core.stable_proof, 0, b"")))
    assert (w.replicas[3].stable, w.replicas[3].executed) == (4, 5)
    assert [sequence for sequence, _, _ in w.decided[3]] == [1, 2, 3, 4, 5]


def test_a_restored_checkpoint_moves_the_window(world):
    """After a state transfer h is the checkpoint, and the log holds nothing below it."""
    w = world()
    w.drop = lambda source, to, message: to == 3
    ordered(w, 5)
    core = w.replicas[0]._core
    w.give(3, w.sign(0, State("checkpoint", 4, core.stable_proof[0].digest, core.stable_snapshot,
                              0, (), core.stable_proof, 0, b"")))
    assert (w.replicas[3].executed, w.replicas[3].low) == (4, 4)


# --- after a restart ----------------------------------------------------------------------------


def test_failures_survive_a_restart(world):
    """Two views failed, so the timer of the second is doubled, restarted or not."""
    w = world()
    w.step(3, Suspect(1))
    w.step(3, Suspect(2))
    w.crash(3)
    w.restart(3)
    w.give(3, w.view_change(0, 2))
    assert timers(w.give(3, w.view_change(1, 2)), "view") == [800]


def test_a_vote_goes_on_counting_after_a_restart(world):
    """Its own PREPARE and one more are the q − 1 that make a certificate."""
    w = world()
    payload = w.payload(w.request())
    w.give(3, w.pre_prepare(0, 1, payload))
    w.crash(3)
    w.restart(3)
    assert messages(w.give(3, w.prepare(2, 0, 1, w.digest(payload))), Commit)


def test_a_commit_goes_on_counting_after_a_restart(world):
    """Its own COMMIT and two more are a seal."""
    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    w.give(3, w.pre_prepare(0, 1, payload))
    w.give(3, w.prepare(2, 0, 1, digest))
    w.crash(3)
    w.restart(3)
    for i in (1, 2):
        w.give(3, w.commit(i, 0, 1, digest))
    assert w.replicas[3].executed == 1


def test_the_certificate_of_the_highest_view_survives_a_restart(world):
    """One number was prepared in view 0 and again in view 1: P is of view 1."""
    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    w.give(3, w.pre_prepare(0, 1, payload))
    w.give(3, w.prepare(2, 0, 1, digest))
    w.give(3, w.new_view(1, [w.view_change(i, 1, w.certificate(0, 1, digest)) for i in (0, 1, 2)]))
    w.give(3, w.prepare(2, 1, 1, digest))
    w.crash(3)
    w.restart(3)
    assert w.replicas[3].prepared_certificates()[1].pre_prepare.view == 1


def test_its_own_checkpoint_goes_on_counting_after_a_restart(world):
    """Four numbers were executed before the crash; two CHECKPOINTs of others are enough then."""
    w = without_checkpoints(world(), 4)
    w.crash(3)
    w.restart(3)
    digest = w.replicas[0].stable_proof[0].digest
    for i in (0, 1):
        w.give(3, w.checkpoint(i, 4, digest))
    assert w.replicas[3].stable == 4


def test_a_view_given_up_stays_given_up_in_a_compacted_journal(world):
    """Rule 10e, after `compact`."""
    w = world()
    w.step(3, Suspect(2))
    w.crash(3)
    w.restart(3, compact(w.journals[3]))
    assert (w.replicas[3].view, w.replicas[3].active) == (2, False)


# --- clients ------------------------------------------------------------------------------------


def reply(w, i, timestamp, client="c0"):
    return encode_message(w.sign(i, Reply(0, client, timestamp, b"1", i, b"")))


def believes(w, timestamp, client):
    """Ask as c0 for a second time; tell whether f + 1 replies of another request are believed."""
    asking = w.clients["c0"]
    asking.submit(b"a", timestamp=1)
    asking._request = None
    asking.submit(b"b", timestamp=2)
    for i in (1, 2):
        asking.receive(reply(w, i, timestamp, client))
    return bool(asking.accepted)


def test_replies_to_an_older_request_are_not_believed(world):
    w = world()
    assert not believes(w, 1, "c0")


def test_replies_to_another_client_are_not_believed(world):
    w = world()
    assert not believes(w, 2, "c1")
