"""Rules 5, and the status exchange of rule 10 (Castro–Liskov 4.3)."""

import dataclasses

import pytest

from bdn.encoding import decode_record, encode_record
from bdn.pbft.application import AppendLog
from bdn.pbft.events import Broadcast, Restored, Suspect, Timeout
from bdn.pbft.journal import Stable, decode_journal
from bdn.pbft.messages import Checkpoint, Commit, Fetch, Prepare, Snapshot, State, Status, type_name
from bdn.pbft.wire import checkpoint_digest, decode_message


def order(w, count, wait=20):
    """Have ``count`` requests executed, one batch each."""
    for _ in range(count):
        w.submit(operation=b"%d" % w.now)
        w.run(wait)


def cut_off(w, *replicas):
    w.drop = lambda source, to, _: source in replicas or to in replicas


def heal(w):
    w.drop = lambda *_: False


# --- checkpoints --------------------------------------------------------------------------------


def test_a_stable_checkpoint_cuts_the_log_and_moves_the_window(world):
    """Rule 5c: after q CHECKPOINTs at 4 nothing at or below 4 is kept, and H = 4 + 8."""
    w = world()
    order(w, 5)
    for replica in w.replicas:
        assert (replica.stable, replica.high, len(replica.stable_proof)) == (4, 12, 3)
        assert list(replica.prepared_certificates()) == [5]
        assert len(replica._core.log) == 1


def test_fewer_than_q_checkpoints_cut_nothing(world):
    """Rule 5a: the log stays until a quorum, not a weak certificate, has the state."""
    w = world()
    w.drop = lambda source, to, m: isinstance(m, Checkpoint) and source in (2, 3)
    order(w, 4)
    assert [r.stable for r in w.replicas] == [0, 0, 4, 4]


def test_checkpoints_that_disagree_make_nothing_stable(world):
    """Rule 5a: they must match."""
    w = world()
    for i in (2, 3):
        w.give(1, w.checkpoint(i, 4, bytes([i]) * 32))
    w.drop = lambda source, to, m: isinstance(m, Checkpoint)
    order(w, 4)
    assert w.replicas[1].stable == 0


def test_a_checkpoint_covers_the_last_replies(world):
    """Rule 5b: equal application states with different replies have different digests."""
    w = world()
    order(w, 4)
    snapshot = decode_record(Snapshot, w.replicas[0]._core.stable_snapshot)
    assert snapshot.replies == (("c0", 4, b"4"),)
    other = dataclasses.replace(snapshot, replies=(("c0", 4, b"5"),))
    assert checkpoint_digest(other) != checkpoint_digest(snapshot)
    assert checkpoint_digest(snapshot) == w.replicas[0].stable_proof[0].digest


def test_the_window_stops_a_primary_until_the_checkpoint(world):
    """Rules 1d and 5c: with CHECKPOINTs lost, L = 8 numbers are ordered and no more."""
    w = world(status_ms=100_000, request_timeout_ms=50_000)
    w.drop = lambda source, to, m: isinstance(m, Checkpoint)
    for timestamp in range(1, 13):
        w.give(0, w.request("c0", timestamp), "c0")
        w.run(10)
    assert [r.executed for r in w.replicas] == [8] * 4
    assert w.sent_types(0).count("PRE-PREPARE") == 3 * 8
    heal(w)
    for i in range(4):
        w.step(i, Timeout("status"))
    w.run(100)
    assert [len(w.operations(i)) for i in range(4)] == [12] * 4


def test_a_checkpoint_at_no_multiple_of_the_interval_is_refused(world):
    w = world()
    assert not w.give(1, w.checkpoint(2, 5))
    assert w.replicas[1].log_size() == 0


def test_a_diverging_replica_notices(world):
    """More than f faults, or a broken application: told, never papered over."""
    w = world()
    for i in (0, 2, 3):
        w.give(1, w.checkpoint(i, 4, b"z" * 32))
    w.drop = lambda source, to, m: isinstance(m, Checkpoint)
    order(w, 4)
    assert w.told(1, "diverged")
    assert w.replicas[1].stable == 0


# --- catching up --------------------------------------------------------------------------------


def test_a_replica_that_missed_decisions_fetches_them_with_their_seals(world):
    """Rule 10: what the others executed since the checkpoint arrives as sealed entries."""
    w = world()
    cut_off(w, 3)
    order(w, 3)
    heal(w)
    w.run(500)
    assert w.operations(3) == w.operations(0)
    assert w.told(3, "fetched-decided")


def test_a_replica_behind_a_checkpoint_fetches_the_state(world):
    """Rule 5: nothing below the checkpoint can be voted for any more; the state is fetched."""
    w = world()
    cut_off(w, 3)
    w.submit("c1")
    order(w, 6)
    heal(w)
    w.run(600)
    assert w.told(3, "state-transfer")
    assert w.operations(3) == w.operations(0)
    assert w.replicas[3].replies == w.replicas[0].replies
    assert w.replicas[3].stable == 4


def test_a_certified_checkpoint_beyond_the_window_starts_the_transfer(world):
    """Rule 5: q CHECKPOINTs above H suffice; no status is waited for."""
    w = world(status_ms=100_000)
    cut_off(w, 3)
    order(w, 11)
    heal(w)
    order(w, 1)
    w.run(50)
    assert w.told(3, "state-transfer")
    assert w.replicas[3].executed == 12


def laggard(w):
    """Replica 3 at 0, the others beyond checkpoint 4; their answer to a checkpoint FETCH."""
    cut_off(w, 3)
    order(w, 5)
    effects = w.give(0, w.sign(3, Fetch("checkpoint", 4, bytes(32), 3, b"")))
    return decode_message(effects[0].data)


def test_a_fetched_state_proves_itself(world):
    """Rule 5d: a snapshot that is not of the certified digest, or is uncertified, is refused."""
    w = world()
    good = laggard(w)
    snapshot = decode_record(Snapshot, good.data)
    lies = [
        dataclasses.replace(snapshot, replies=(("c0", 99, b"x"),)),
        dataclasses.replace(snapshot, state=b"s" * 32),
        dataclasses.replace(snapshot, application=b""),
    ]
    wrong = [dataclasses.replace(good, data=encode_record(lie)) for lie in lies]
    wrong += [dataclasses.replace(good, proof=good.proof[:2]),
              dataclasses.replace(good, sequence=8), dataclasses.replace(good, data=b"junk")]
    before = w.replicas[3].fingerprint()
    for message in [*wrong, dataclasses.replace(good, replica=1)]:
        w.give(3, w.sign(0, message))
        assert w.replicas[3].fingerprint() == before
    w.give(3, good)
    assert w.replicas[3].executed == 4


def test_a_fetched_decision_proves_itself(world):
    """Rule 2c: q COMMIT signatures of one view over the body's digest, or nothing."""
    w = world()
    cut_off(w, 3)
    order(w, 2)
    effects = w.give(0, w.sign(3, Fetch("decided", 1, bytes(32), 3, b"")))
    good = decode_message(effects[0].data)
    other = w.payload(w.request(timestamp=9))
    a, b, c = good.seal
    wrong = [
        dataclasses.replace(good, seal=(a, b)), dataclasses.replace(good, seal=(a, a, b)),
        dataclasses.replace(good, seal=(a, b, (3, bytes(64)))),
        dataclasses.replace(good, seal=(a, b, (9, c[1]))),
        dataclasses.replace(good, view=1), dataclasses.replace(good, sequence=2),
        dataclasses.replace(good, data=other),
        dataclasses.replace(good, data=other, digest=w.digest(other)),
    ]
    before = w.replicas[3].fingerprint()
    for message in [*wrong, dataclasses.replace(good, replica=1)]:
        w.give(3, w.sign(0, message))
        assert w.replicas[3].fingerprint() == before
    w.give(3, good)
    assert w.replicas[3].executed == 1


def test_a_liar_cannot_stop_a_replica_from_catching_up(world):
    """Whoever claims to be ahead and does not deliver is passed over after f + 1 attempts."""
    w = world()
    cut_off(w, 3)
    order(w, 6)
    w.drop = lambda source, to, m: (3 in (source, to) and not isinstance(m, (Status, Fetch))
                                    and source == 0)
    for _ in range(12):
        w.give(3, w.sign(0, Status(0, True, 400, 500, 0, b"")))
        w.run(100)
    assert w.operations(3) == w.operations(1)


def test_an_application_that_restores_by_itself_is_waited_for(world):
    """`restore` → False: nothing is executed until `Restored`, then the replica goes on."""

    class Remote(AppendLog):
        def restore(self, sequence, snapshot, digest):
            super().restore(sequence, snapshot, digest)
            return False

    def make(w, index):
        keys = {c: i.public_key for c, i in w.client_ids.items()}
        return (Remote if index == 3 else AppendLog)(b"test", keys, w.signing(index))

    w = world(make_application=make)
    cut_off(w, 3)
    order(w, 2)
    effects = w.give(0, w.sign(3, Fetch("decided", 1, bytes(32), 3, b"")))
    order(w, 4)
    heal(w)
    w.run(600)
    w.give(3, decode_message(effects[0].data))
    assert w.replicas[3].executed == 0
    voted = w.sent_types(3).count("PREPARE")
    w.give(3, w.pre_prepare(0, 8, w.payload(w.request(timestamp=99))))
    assert w.sent_types(3).count("PREPARE") == voted, "between two states nothing is judged"
    w.step(3, Restored(99))
    assert w.replicas[3].executed == 0
    effects = w.step(3, Restored(4))
    assert w.told(3, "state-transfer")
    assert type(decode_journal(effects[0].record)) is Stable
    w.run(600)
    assert w.replicas[3].executed == 6


def test_an_application_that_restored_more_than_the_checkpoint_is_done(world):
    """A ledger fetches several blocks at once, so its height may jump over the checkpoint's."""

    class Remote(AppendLog):
        def restore(self, sequence, snapshot, digest):
            return False  # the rest comes from elsewhere

    def make(w, index):
        keys = {c: i.public_key for c, i in w.client_ids.items()}
        return (Remote if index == 3 else AppendLog)(b"test", keys, w.signing(index))

    w = world(make_application=make)
    cut_off(w, 3)
    order(w, 6)
    heal(w)
    w.run(600)
    core = w.replicas[3]._core
    assert core.restoring is not None
    own, other = w.replicas[3].application, w.replicas[0].application
    assert AppendLog.restore(own, 6, other.snapshot(), other.state_digest())
    w.step(3, Restored(6))
    assert core.restoring is None
    assert w.replicas[3].executed == 4
    w.run(600)
    order(w, 3)
    assert w.operations(3) == w.operations(0)
    assert w.replicas[3].stable == w.replicas[0].stable == 8
    assert not w.told(3, "diverged")


# --- retransmission (Rule 10) -------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["PRE-PREPARE", "PREPARE", "COMMIT", "CHECKPOINT",
                                  "VIEW-CHANGE", "NEW-VIEW"])
def test_every_type_of_lost_message_is_replaced(world, lost):
    """Rule 10f: each message is lost once on every link, and everything is executed anyway."""
    w = world(request_timeout_ms=100_000)
    seen = set()

    def once(source, to, message):
        first = (source, to) not in seen and type_name(message) == lost
        seen.update([(source, to)] if first else [])
        return first

    w.drop = once
    if lost in ("VIEW-CHANGE", "NEW-VIEW"):
        w.crash(0)
        w.submit(to=[1, 2, 3])
        w.run(20)
        for i in (1, 2, 3):
            w.step(i, Suspect(1))
    else:
        order(w, 4, wait=500)
    w.run(3000)
    correct = (1, 2, 3)
    assert len({tuple(w.operations(i)) for i in correct}) == 1
    assert w.operations(1)
    assert {w.replicas[i].status for i in correct} == {"normal"}
    if lost == "CHECKPOINT":
        assert {w.replicas[i].stable for i in correct} == {4}


def test_a_status_brings_back_the_votes_that_were_lost(world):
    """Rule 10f: no decision exists anywhere, so only votes can help."""
    w = world(request_timeout_ms=100_000)
    w.drop = lambda source, to, m: isinstance(m, Commit)
    w.submit()
    w.run(50)
    assert all(r.executed == 0 for r in w.replicas)
    heal(w)
    w.run(200)
    assert all(r.executed == 1 for r in w.replicas)
    assert w.reached("retransmit")


def test_a_replica_in_an_old_view_is_brought_to_the_new_one(world):
    """Rule 10f: NEW-VIEW comes again, from anyone who has it."""
    w = world()
    w.submit()
    w.run(50)
    cut_off(w, 3)
    for i in (0, 1, 2):
        w.step(i, Suspect(1))
    w.run(50)
    heal(w)
    w.crash(1)  # the primary of view 1 cannot help
    w.run(300)
    assert (w.replicas[3].view, w.replicas[3].status) == (1, "normal")


def test_one_status_a_period_is_answered(world):
    """Rule 11c: asking often does not make a replica talk."""
    w = world(status_ms=100_000)
    w.drop = lambda source, to, m: isinstance(m, Commit)
    w.submit()
    w.run(50)
    status = w.sign(3, Status(0, True, 0, 0, 3, b""))
    assert w.give(2, status)
    assert not w.give(2, status)
    fetches = [w.sign(3, Fetch("payload", k, bytes(32), 3, b"")) for k in range(100)]
    for fetch in fetches:
        w.give(2, fetch)
    assert len(w.replicas[2]._core.served[3]) == 2 * w.cluster.window + 1
    assert len([r for r in w.reasons(2) if "asked enough" in r]) == 100 - 2 * w.cluster.window - 1
    w.step(2, Timeout("status"))
    assert w.give(2, status)


def test_a_restored_replica_prepares_nothing_old(world):
    """After a transfer the window begins at the checkpoint."""
    w = world()
    good = laggard(w)
    w.give(3, good)
    payload = w.payload(w.request(timestamp=50))
    effects = w.give(3, w.pre_prepare(0, 4, payload))
    assert not [e for e in effects if isinstance(e, Broadcast)
                and isinstance(decode_message(e.data), Prepare)]
    assert isinstance(good, State)
