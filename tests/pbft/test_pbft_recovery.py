"""Rule 10: what is said is written first, and survives a crash."""

import random
from types import MappingProxyType

import pytest

from bdn.pbft.application import AppendLog
from bdn.pbft.events import Broadcast, Persist, Receive, Send, Start, Suspect
from bdn.pbft.journal import Executed, JournalError, Voted, compact, decode_journal
from bdn.pbft.messages import (
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    ViewChange,
)
from bdn.pbft.wire import decode_message, encode_message


def said(effects):
    """(record or message class) in the order of the effects."""
    kinds = []
    for effect in effects:
        if isinstance(effect, Persist):
            kinds.append(type(decode_journal(effect.record)))
        elif isinstance(effect, (Send, Broadcast)):
            kinds.append(type(decode_message(effect.data)))
    return kinds


def test_every_vote_is_written_before_it_is_sent(world):
    """Rule 10: Persist stands before the message that it is for, for all five kinds."""
    w = world()
    effects = w.give(0, w.request(), "c0")
    assert said(effects) == [Voted, PrePrepare]
    payload = w.payload(w.request())
    digest = w.digest(payload)
    assert said(w.give(1, w.pre_prepare(0, 1, payload))) == [Voted, Prepare]
    assert said(w.give(1, w.prepare(2, 0, 1, digest))) == [Prepared, Commit]
    assert said(w.step(1, Suspect(1))) == [ViewChange, ViewChange]
    w.give(1, w.view_change(2, 1))
    assert said(w.give(1, w.view_change(3, 1)))[:2] == [NewView, NewView]


def test_a_restarted_backup_never_contradicts_its_prepare(world):
    """Rule 10c: the primary equivocates after the crash and gets nothing."""
    w = world()
    first, second = (w.payload(w.request(), nonce=k) for k in (1, 2))
    w.give(1, w.pre_prepare(0, 1, first))
    w.crash(1)
    w.restart(1)
    assert not w.give(1, w.pre_prepare(0, 1, second))
    assert w.replicas[1]._core.log.get(1).pre_prepare.digest == w.digest(first)


def test_a_restarted_primary_never_uses_a_number_twice(world):
    """Rule 10b."""
    w = world()
    w.drop = lambda *_: True
    w.give(0, w.request("c0"), "c0")
    w.crash(0)
    w.restart(0)
    w.give(0, w.request("c1"), "c1")
    numbers = [(m.sequence, m.digest) for to, m in w.sent[0]
               if isinstance(m, PrePrepare) and to == 1]
    assert len(numbers) == len({n for n, _ in numbers}) == 2


def test_p_survives_a_restart(world):
    """Rule 10d: what was prepared before the crash is in the VIEW-CHANGE after it."""
    w = world()
    payload = w.payload(w.request())
    w.give(1, w.pre_prepare(0, 1, payload))
    w.give(1, w.prepare(2, 0, 1, w.digest(payload)))
    w.crash(1)
    w.restart(1)
    w.step(1, Suspect(1))
    sent = [m for _, m in w.sent[1] if isinstance(m, ViewChange)][-1]
    assert [e.pre_prepare.digest for e in sent.prepared] == [w.digest(payload)]


def test_a_given_up_view_stays_given_up(world):
    """Rule 10e: a VIEW-CHANGE to 3 forbids votes below view 3, after a restart too."""
    w = world()
    w.step(1, Suspect(3))
    w.crash(1)
    w.restart(1)
    assert (w.replicas[1].view, w.replicas[1].status) == (3, "view-change")
    assert not w.give(1, w.pre_prepare(0, 1, w.payload(w.request())))
    assert w.sent_types(1).count("VIEW-CHANGE") == 6, "it says so again"


def test_an_entered_view_is_entered_after_a_restart(world):
    w = world()
    w.give(2, w.new_view(1, [w.view_change(i, 1) for i in (0, 1, 3)]))
    w.crash(2)
    w.restart(2)
    assert (w.replicas[2].view, w.replicas[2].status) == (1, "normal")


def test_executed_entries_and_replies_survive(world):
    w = world()
    for k in range(6):
        w.submit(operation=b"%d" % k)
        w.run(30)
    before = w.replicas[2]
    w.crash(2)
    w.restart(2)
    after = w.replicas[2]
    assert (after.executed, after.stable, after.replies) == (6, 4, before.replies)
    assert w.operations(2) == w.operations(0)
    assert after.prepared_certificates() == before.prepared_certificates()


def test_the_last_replies_are_restored_with_the_checkpoint(world):
    """Rule 5b: a restarted or restored replica still refuses what was executed."""
    w = world()
    for _ in range(4):
        w.submit()
        w.run(30)
    w.crash(2)
    w.restart(2, compact(w.journals[2]))
    assert w.replicas[2].replies["c0"] == (4, b"4")


@pytest.mark.parametrize("moment", range(1, 60, 4))
def test_a_crash_at_any_record_loses_nothing_that_was_said(world, moment):
    """Rule 10: replica 1's journal is cut after ``moment`` records; it still agrees afterwards."""
    w = world()
    for k in range(9):
        w.submit(operation=b"%d" % k)
        w.run(30)
    w.crash(1)
    w.restart(1, w.journals[1][:moment])
    w.submit(operation=b"last")
    w.run(1500)
    assert len(w.operations(1)) == 10
    assert len({tuple(w.operations(i)) for i in range(4)}) == 1


def test_a_compacted_journal_restores_the_same_replica(world):
    """`compact` drops what the stable checkpoint covers, and nothing that matters."""
    w = world()
    for view in (0, 1):
        for k in range(5):
            w.submit(operation=b"%d" % k)
            w.run(60)
        for i in range(4):
            w.step(i, Suspect(view + 1))
        w.run(60)
    whole, short = w.journals[3], compact(w.journals[3])
    assert len(short) < len(whole) / 2
    one, other = w.build(3, whole), w.build(3, short)
    for replica in (one, other):
        replica.step(Start())
    assert one.view == other.view == 2
    assert one.executed == other.executed
    assert one.prepared_certificates() == other.prepared_certificates()
    assert one.application.operations == other.application.operations
    assert one.replies == other.replies


def test_the_whole_cluster_restarts_at_once(world):
    """All crash; all come back from their journals and go on in the same view."""
    w = world()
    w.crash(0)
    for k in range(3):
        w.submit(operation=b"%d" % k)
        w.run(600)
    for i in range(1, 4):
        w.crash(i)
    w.queue.clear()
    for i in range(4):
        w.restart(i)
    w.submit(operation=b"after")
    w.run(2000)
    assert [w.operations(i) for i in range(4)] == [[b"0", b"1", b"2", b"after"]] * 4


def test_a_durable_application_is_not_asked_to_execute_twice(world):
    """A durable application ahead of the journal gives the same results again, changing nothing."""
    kept = {}

    class Durable(AppendLog):
        done = MappingProxyType({})

        def execute(self, sequence, payload, seal):
            if sequence <= self.height():
                return self.done[sequence]
            self.done = {**self.done, sequence: super().execute(sequence, payload, seal)}
            return self.done[sequence]

    def make(w, index):
        if index not in kept:
            keys = {c: i.public_key for c, i in w.client_ids.items()}
            kept[index] = Durable(b"test", keys, w.signing(index))
        return kept[index]

    w = world(make_application=make, sequential=True)
    for k in range(6):
        w.submit(operation=b"%d" % k)
        w.run(30)
    w.crash(2)
    w.restart(2, w.journals[2][:-1])  # the last execution was not written down any more
    assert (w.replicas[2].executed, w.replicas[2].application.height()) == (5, 6)
    w.submit(operation=b"next")
    w.run(600)
    assert w.operations(2) == [b"0", b"1", b"2", b"3", b"4", b"5", b"next"]
    assert w.replicas[2].replies == w.replicas[0].replies


def test_foreign_and_broken_journals_are_refused(world):
    w = world()
    w.step(1, Suspect(1))
    with pytest.raises(JournalError):
        w.build(2, w.journals[1])
    with pytest.raises(JournalError):
        w.build(1, [b"junk"])
    w.submit()
    w.run(30)
    only_execution = [r for r in w.journals[0] if type(decode_journal(r)).__name__ == "Executed"]
    with pytest.raises(JournalError):
        w.build(0, only_execution)


def test_an_execution_that_cannot_be_done_yet_waits_and_is_tried_again(world, monkeypatch):
    """`NotYet` from `execute`: nothing is executed, nothing is lost, the next step tries again."""
    from bdn.pbft.application import NotYet
    from bdn.pbft.events import Decided, Poke

    w = world()
    payload = w.payload(w.request())
    digest = w.digest(payload)
    application = w.replicas[1].application
    execute = application.execute

    def not_yet(*_):
        raise NotYet("a blob is missing")

    monkeypatch.setattr(application, "execute", not_yet)
    w.give(1, w.pre_prepare(0, 1, payload))
    for replica in (2, 3):
        w.give(1, w.prepare(replica, 0, 1, digest))
    for replica in (0, 2, 3):
        w.give(1, w.commit(replica, 0, 1, digest))
    assert w.replicas[1].executed == 0
    monkeypatch.setattr(application, "execute", execute)
    effects = w.step(1, Poke())
    assert any(isinstance(effect, Decided) for effect in effects)
    assert w.replicas[1].executed == 1


def essence(replica):
    """What a restarted replica must know, however its journal was kept."""
    core = replica._core
    return (replica.view, replica.active, replica.executed, replica.stable, replica.stable_proof,
            core.stable_snapshot, replica.prepared_certificates(), replica.replies,
            replica.application.operations, core.next_sequence, core.new_view,
            core.view_changes.get(replica.index),
            {slot.sequence: (slot.pre_prepare, slot.voted, slot.committing, slot.seal, slot.bodies)
             for slot in core.log})


def restless(world, seed):
    """Journals full of checkpoints, view changes and executions that overtake one another."""
    rng = random.Random(seed)
    w = world(status_ms=60, request_timeout_ms=150)
    for step in range(14):
        w.drop = lambda source, to, m, step=step: rng.random() < 0.1 or (
            isinstance(m, Checkpoint) and step % 4 == 1)
        for client in ("c0", "c1"):
            if w.clients[client].outstanding is None:
                w.submit(client, b"%d" % step)
        w.run(rng.randrange(20, 120))
        if step % 5 == 4:
            for i in rng.sample(range(4), rng.randrange(1, 4)):
                w.step(i, Suspect(w.replicas[i].view + 1))
    return w


@pytest.mark.parametrize("seed", range(4))
def test_a_compacted_journal_of_any_length_is_read_and_means_the_same(world, seed):
    """`compact` of every prefix: also where an execution precedes the stable checkpoint, where a
    view was given up, or where the last checkpoint's snapshot was not written."""
    w = restless(world, seed)
    shorter = 0
    for i in range(4):
        journal = w.journals[i]
        for length in range(0, len(journal) + 1, 3):
            whole = w.build(i, journal[:length])
            short = compact(journal[:length])
            assert essence(w.build(i, short)) == essence(whole)
            assert compact(short) == short
            shorter += len(short) < length
    assert shorter > 20


def test_a_compacted_journal_still_gives_up_the_view(world):
    """Rule 10e: the VIEW-CHANGE stays, else the replica would vote in a view that it has left."""
    w = world()
    for k in range(5):
        w.submit(operation=b"%d" % k)
        w.run(60)
    w.drop = lambda *_: True
    w.step(1, Suspect(3))
    again = w.build(1, compact(w.journals[1]))
    assert (again.view, again.status) == (3, "view-change")
    assert not again.step(Receive(0, encode_message(w.pre_prepare(0, 6, w.payload(w.request())))))


def test_a_durable_application_that_is_ahead_signs_no_past_state(world):
    """Rule 5: a CHECKPOINT is for the state at its number; a later state is not that one."""

    class Durable(AppendLog):
        """Keeps what it executed, and answers for it again."""

        def execute(self, sequence, payload, seal):
            if sequence <= self._height:
                return []
            return super().execute(sequence, payload, seal)

    kept = {}

    def make(w, index):
        if index not in kept:
            keys = {c: i.public_key for c, i in w.client_ids.items()}
            kept[index] = Durable(b"test", keys, w.signing(index))
        return kept[index]

    w = world(make_application=make)
    w.drop = lambda source, to, m: isinstance(m, Checkpoint)
    for k in range(6):
        w.submit(operation=b"%d" % k)
        w.run(60)
    cut = next(k for k, data in enumerate(w.journals[1])
               if isinstance(decode_journal(data), Executed)
               and decode_journal(data).seal.sequence == 3)
    w.crash(1)
    w.restart(1, w.journals[1][:cut])
    assert (w.replicas[1].executed, w.replicas[1].application.height()) == (2, 6)
    w.run(600)
    assert w.replicas[1].executed == 6
    w.drop = lambda *_: False
    for k in range(6):
        w.submit(operation=b"%d" % k)
        w.run(300)
    assert not w.reached("diverged")
    assert w.replicas[1].stable == w.replicas[0].stable == 12
    assert w.operations(1) == w.operations(0)
