"""Every judge can convict: each rule is broken once, and the right one complains."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bdn.identity import Identity
from bdn.pbft.application import AppendLog
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Decided
from bdn.pbft.journal import Voted, encode_journal
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Request,
    ViewChange,
)
from bdn.pbft.signing import HashSigning, signed
from bdn.pbft.simulator.checkers import MOST_VIOLATIONS, Checkers
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, commit_statement

KEYS = [Identity.generate(SeededRandomness(i)) for i in range(5)]
SIGNING = [HashSigning(key.public_key) for key in KEYS]
CLUSTER = Cluster(b"judges", tuple(key.public_key for key in KEYS[:4]), 2, 4)
LOG = AppendLog(b"judges", {"c": KEYS[4].public_key}, SIGNING[4])
REQUEST = signed(Request("c", KEYS[4].public_key, 1, b"a", b""), b"judges", SIGNING[4])
PAYLOAD = LOG.payload_of([REQUEST])
OTHER = LOG.payload_of([REQUEST], 1)
D = LOG.digest(PAYLOAD)


def by(index: int, message: Message) -> Message:
    return signed(message, b"judges", SIGNING[index])


def sealed(payload: bytes, sequence: int = 1, signers: tuple[int, ...] = (0, 1, 2)) -> Decided:
    digest = LOG.digest(payload) if payload else NULL_DIGEST
    text = commit_statement(b"judges", 0, sequence, digest)
    signatures = tuple((i, SIGNING[i].sign("bdn/commit", text)) for i in signers)
    return Decided(sequence, payload, Seal(0, sequence, digest, signatures))


def prepared(view: int = 0, sequence: int = 1, backups: tuple[int, ...] = (2, 3)) -> Prepared:
    first = by(CLUSTER.primary(view), PrePrepare(view, sequence, D, None, b""))
    assert isinstance(first, PrePrepare)
    votes = [by(i, Prepare(view, sequence, D, i, b"")) for i in backups]
    return Prepared(first, tuple(vote for vote in votes if isinstance(vote, Prepare)))


def change(index: int = 2, view: int = 2, stable: int = 0, proof: tuple[Checkpoint, ...] = (),
           entries: tuple[Prepared, ...] = ()) -> ViewChange:
    message = by(index, ViewChange(view, stable, proof, entries, index, b""))
    assert isinstance(message, ViewChange)
    return message


def new_view(changes: tuple[ViewChange, ...], *digests: bytes) -> NewView:
    proposals = tuple(by(2, PrePrepare(2, i + 1, digest, None, b""))
                      for i, digest in enumerate(digests))
    message = by(2, NewView(2, changes, proposals, b""))  # type: ignore[arg-type]  # PRE-PREPAREs
    assert isinstance(message, NewView)
    return message


def proof(*signers: int) -> tuple[Checkpoint, ...]:
    votes = (by(i, Checkpoint(2, D, i, b"")) for i in signers)
    return tuple(vote for vote in votes if isinstance(vote, Checkpoint))


@pytest.fixture
def judges() -> Checkers:
    found = Checkers(CLUSTER, SIGNING[0], ("0", "1", "2", "3"), lambda: 0)
    found.asked("c", 1, b"a")
    return found


def send(judges: Checkers, name: str, message: Message) -> None:
    """``name`` writes what it is about to say into its journal, and says it."""
    match message:
        case PrePrepare() | Prepare():
            proposal = PrePrepare(message.view, message.sequence, message.digest, None, b"")
            judges.persisted(name, encode_journal(Voted(proposal, None, carried=False)))
        case Commit():
            proposal = PrePrepare(message.view, message.sequence, message.digest, None, b"")
            judges.persisted(name, encode_journal(Prepared(proposal, ())))
        case ViewChange() | NewView():
            judges.persisted(name, encode_journal(message))
    judges.sent(name, message)


V3 = tuple(change(i, entries=(prepared(),) if i == 3 else ()) for i in (1, 2, 3))

CRIMES: dict[str, tuple[str, Callable[[Checkers], object]]] = {
    "two payloads at one number": ("agreement", lambda j: (
        j.decided("0", sealed(PAYLOAD), LOG), j.decided("1", sealed(OTHER), LOG))),
    "a gap": ("order", lambda j: j.decided("0", sealed(PAYLOAD, 2), LOG)),
    "a number twice": ("order", lambda j: (
        j.decided("0", sealed(PAYLOAD), LOG), j.decided("0", sealed(PAYLOAD), LOG))),
    "back to an old checkpoint": ("order", lambda j: (
        j.restarted("0", 4, LOG), j.restored("0", 2, LOG))),
    "an operation nobody asked for": ("validity", lambda j: j.applied("0", 1, "c", 1, b"z")),
    "a request twice": ("at-most-once", lambda j: (
        j.applied("0", 1, "c", 1, b"a"), j.applied("0", 1, "c", 1, b"a"))),
    "a result that is another operation's place": ("result", lambda j: (
        j.asked("d", 1, b"b"), j.applied("0", 1, "c", 1, b"a"), j.applied("0", 2, "d", 1, b"b"),
        j.accepted("d", 1, b"b", b"1"))),
    "a result that nobody executed": ("result", lambda j: j.accepted("c", 1, b"a", b"1")),
    "a result that is no place": ("result", lambda j: (
        j.applied("0", 1, "c", 1, b"a"), j.accepted("c", 1, b"a", b"9" * 5000))),
    "another operation accepted than was asked": ("result", lambda j: (
        j.applied("0", 1, "c", 1, b"a"), j.accepted("c", 1, b"z", b"1"))),
    "a later request placed before one that was accepted": ("real-time", lambda j: (
        j.applied("0", 2, "c", 1, b"a"), j.accepted("c", 1, b"a", b"2"),
        j.asked("d", 1, b"b"), j.applied("0", 1, "d", 1, b"b"), j.accepted("d", 1, b"b", b"1"))),
    "two states at one number": ("state", lambda j: (
        j.executed("0", 1, LOG), j.executed("1", 1, _other_log()))),
    "two PREPAREs": ("vote", lambda j: (
        send(j, "1", by(1, Prepare(0, 1, D, 1, b""))),
        send(j, "1", by(1, Prepare(0, 1, NULL_DIGEST, 1, b""))))),
    "two COMMITs": ("vote", lambda j: (
        send(j, "1", by(1, Commit(0, 1, D, 1, b""))),
        send(j, "1", by(1, Commit(0, 1, NULL_DIGEST, 1, b""))))),
    "two proposals": ("vote", lambda j: (
        send(j, "0", by(0, PrePrepare(0, 1, D, None, b""))),
        send(j, "0", by(0, PrePrepare(0, 1, NULL_DIGEST, None, b""))))),
    "a seal short of a quorum": ("certificate", lambda j: j.decided(
        "0", sealed(PAYLOAD, 1, (0, 1)), LOG)),
    "a signer twice in a seal": ("certificate", lambda j: j.decided(
        "0", sealed(PAYLOAD, 1, (0, 1, 1)), LOG)),
    "a seal of another payload": ("certificate", lambda j: j.decided(
        "0", replace(sealed(PAYLOAD), payload=OTHER), LOG)),
    "a checkpoint proof short of a quorum": ("certificate", lambda j: send(j,
        "2", change(stable=2, proof=proof(0, 1)))),
    "an entry of P with too few votes": ("certificate", lambda j: send(j,
        "2", change(entries=(prepared(backups=(2,)),)))),
    "an entry of P whose primary prepared": ("certificate", lambda j: send(j,
        "2", change(entries=(prepared(backups=(0, 2)),)))),
    "an entry of P of the target view": ("certificate", lambda j: send(j,
        "2", change(entries=(prepared(2, backups=(1, 3)),)))),
    "an entry of P outside the window": ("certificate", lambda j: send(j,
        "2", change(entries=(prepared(0, 5),)))),
    "a NEW-VIEW short of a quorum": ("certificate", lambda j: send(j, "2", new_view(V3[:2]))),
    "a NEW-VIEW that forgets O": ("certificate", lambda j: send(j, "2", new_view(V3))),
    "a NEW-VIEW with the null request instead": ("certificate", lambda j: send(j,
        "2", new_view(V3, NULL_DIGEST))),
    "back to an old view": ("monotone", lambda j: (
        j.stepped("0", 2, 0, 0), j.stepped("0", 1, 0, 0))),
    "back to an old stable checkpoint": ("monotone", lambda j: (
        j.stepped("0", 0, 4, 0), j.stepped("0", 0, 2, 0))),
    "a vote before its record": ("durable", lambda j: j.sent(
        "1", by(1, Prepare(0, 1, D, 1, b"")))),
    "a COMMIT after the record of the PREPARE only": ("durable", lambda j: (
        send(j, "1", by(1, Prepare(0, 1, D, 1, b""))),
        j.sent("1", by(1, Commit(0, 1, D, 1, b""))))),
    "a VIEW-CHANGE before its record": ("durable", lambda j: j.sent("2", change())),
    "a log without bound": ("bounded", lambda j: j.stepped("0", 0, 0, 10_000)),
    "an exception": ("crash", lambda j: j.raised("0", ValueError("x"))),
}


def _other_log() -> AppendLog:
    other = LOG.clone()
    other.execute(1, PAYLOAD, sealed(PAYLOAD).seal)
    return other


@pytest.mark.parametrize("crime", CRIMES)
def test_the_rule_that_is_broken_is_the_one_that_complains(judges: Checkers, crime: str) -> None:
    """A checker that cannot fail is no checker."""
    rule, commit = CRIMES[crime]
    commit(judges)
    assert [sentence.split(":")[0] for sentence in judges.violations] == [rule]


def test_the_honest_are_acquitted(judges: Checkers) -> None:
    """The same deeds, done right, give no complaint."""
    judges.applied("0", 1, "c", 1, b"a")
    judges.asked("d", 1, b"b")  # while c's request is under way, so either order is right
    judges.applied("0", 2, "d", 1, b"b")
    judges.accepted("d", 1, b"b", b"2")
    judges.accepted("c", 1, b"a", b"1")
    judges.decided("0", sealed(PAYLOAD), LOG)
    judges.decided("0", sealed(b"", 2), LOG)
    send(judges, "1", by(1, Prepare(0, 1, D, 1, b"")))
    send(judges, "1", by(1, Prepare(1, 1, NULL_DIGEST, 1, b"")))
    send(judges, "2", change(stable=2, proof=proof(0, 1, 3), entries=(prepared(0, 3),)))
    send(judges, "2", new_view(V3, D))
    judges.stepped("0", 1, 2, 10)
    assert judges.violations == []


def test_complaints_are_bounded(judges: Checkers) -> None:
    """One broken rule breaks at every step from then on; the list stays readable."""
    for _ in range(100):
        judges.stepped("0", 0, 0, 10_000)
    assert len(judges.violations) == MOST_VIOLATIONS
