"""The judges: what must hold after every step of every replica that is not Byzantine.

=============  ====================================================================================
agreement      no two replicas execute different payloads at one sequence number
order          a replica executes 1, 2, 3, … without a gap, or jumps to a certified checkpoint
validity       what is executed was asked for by a client, and each operation is the client's
at-most-once   no replica executes a (client, timestamp) twice
result         a result that a client accepts is its operation's place in the correct replicas' log
real-time      what is asked after another operation was accepted stands behind it in the log
state          replicas that executed the same number are in the same state
vote           no replica votes for two digests at one (view, sequence), restarts included
durable        what a replica votes stood in its journal before the vote left (Rule 10)
certificate    every seal, checkpoint proof, VIEW-CHANGE and NEW-VIEW is verified once more
monotone       view, stable checkpoint and last execution never go back, restarts included
bounded        the log holds no more than the window allows
crash          no message makes a replica raise
=============  ====================================================================================

The judges see the wire, the applications and what clients accept. They share no code with the core
but the messages and their signed statements; certificates are verified by the definitions of
Castro–Liskov 1999, section 4.4. Letters: q the quorum, h a stable checkpoint, V and O as in
NEW-VIEW, P and C as in VIEW-CHANGE.

``result`` and ``real-time`` together say that the log is linearizable: an append-only log whose
operations return their places is linearizable exactly if each place is the operation's own and
places never contradict the order in real time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bdn.errors import PeerError
from bdn.pbft.application import AppendLog
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import Decided
from bdn.pbft.journal import Voted, decode_journal
from bdn.pbft.messages import (
    NULL_DIGEST,
    Commit,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    ViewChange,
)
from bdn.pbft.signing import Signing, verify_message
from bdn.pbft.simulator.nodes import SimulatedClient
from bdn.pbft.simulator.scenario import FOREVER, Scenario, micros
from bdn.seal import COMMIT_DOMAIN, Seal, commit_statement

MOST_VIOLATIONS = 20
"""One broken rule breaks at every step from then on; more than this teach nothing."""


@dataclass(slots=True)
class ReplicaHistory:
    """What the judges remember of one replica, its restarts included."""

    executed: int = 0
    view: int = 0
    stable: int = 0
    applied: set[tuple[str, int]] = field(default_factory=set)
    votes: dict[tuple[type, int, int], bytes] = field(default_factory=dict)
    journal: set[tuple[type, int, int, bytes]] = field(default_factory=set)


class Checkers:
    """One run's judges. ``violations`` fills up with sentences that begin with the rule's name.

    Args:
        cluster: the parameters and keys.
        signing: verifies signatures; its key is not used.
        names: the replicas to judge.
        now: tells the virtual time in µs.
    """

    def __init__(self, cluster: Cluster, signing: Signing, names: tuple[str, ...],
                 now: Callable[[], int]) -> None:
        self.violations: list[str] = []
        self._cluster = cluster
        self._signing = signing
        self._now = now
        self._judged = {name: ReplicaHistory() for name in names}
        self._asked: dict[tuple[str, int], set[bytes]] = {}
        self._decided: dict[int, tuple[str, bytes]] = {}
        self._states: dict[int, tuple[str, bytes]] = {}
        self._places: dict[int, tuple[str, int, bytes]] = {}
        self._last_accepted = 0
        self._accepted_before: dict[tuple[str, int], int] = {}

    def judges(self, name: str) -> bool:
        """Whether the replica is held to the rules at all."""
        return name in self._judged

    # --- what the world tells

    def asked(self, client: str, timestamp: int, operation: bytes) -> None:
        """Note that a client signed this request."""
        self._asked.setdefault((client, timestamp), set()).add(operation)
        self._accepted_before.setdefault((client, timestamp), self._last_accepted)

    def accepted(self, client: str, timestamp: int, operation: bytes, result: bytes) -> None:
        """Judge that a client believes its operation to have the place ``result`` in the log.

        Together the two rules say that the log is linearizable: each accepted operation stands at
        the place that its client was told, and places never contradict real time.
        """
        place = int(result) if len(result) < 20 and result.isdigit() else 0
        stands = self._places.get(place)
        if stands is None or stands[:2] != (client, timestamp) or (
                operation != stands[2] and len(self._asked[client, timestamp]) == 1):
            self.blame(f"result: {client} was told that its {timestamp} is number "
                       f"{result[:20]!r} of the log, where the correct replicas have "
                       f"{'nothing' if stands is None else f'{stands[0]}/{stands[1]}'}")
        before = self._accepted_before[client, timestamp]
        if 0 < place <= before:
            self.blame(f"real-time: {client}/{timestamp} is number {place} of the log, but it was "
                       f"asked after number {before} had been accepted")
        self._last_accepted = max(self._last_accepted, place)

    def applied(self, name: str, place: int, client: str, timestamp: int,
                operation: bytes) -> None:
        """Judge that ``name`` executed one operation as number ``place`` of its log."""
        self._places.setdefault(place, (client, timestamp, operation))
        if operation not in self._asked.get((client, timestamp), ()):
            self.blame(f"validity: replica {name} executed {operation!r}, which {client} never "
                       f"asked for as {timestamp}")
        judged = self._judged[name]
        if (client, timestamp) in judged.applied:
            self.blame(f"at-most-once: replica {name} executed {client}/{timestamp} twice")
        judged.applied.add((client, timestamp))

    def decided(self, name: str, effect: Decided, application: AppendLog) -> None:
        """Judge that ``name`` executed a sequence number."""
        judged, sequence = self._judged[name], effect.sequence
        if sequence != judged.executed + 1:
            self.blame(f"order: replica {name} executed {sequence} after {judged.executed}")
        judged.executed = max(judged.executed, sequence)
        digest = effect.seal.digest
        first, other = self._decided.setdefault(sequence, (name, digest))
        if other != digest:
            self.blame(f"agreement: at {sequence} replica {first} executed {other.hex()[:8]} "
                       f"and replica {name} {digest.hex()[:8]}")
        expected = application.digest(effect.payload) if effect.payload else NULL_DIGEST
        if expected != digest or effect.seal.sequence != sequence:
            self.blame(f"certificate: replica {name}'s seal at {sequence} is not the payload's")
        self._audit(name, f"seal at {sequence}",
                    lambda: audit_seal(effect.seal, self._cluster, self._signing))

    def executed(self, name: str, sequence: int, application: AppendLog) -> None:
        """Judge the state of ``name``, which is the one after ``sequence`` now."""
        state = application.state_digest()
        first, other = self._states.setdefault(sequence, (name, state))
        if other != state:
            self.blame(f"state: after {sequence} the states of replicas {first} and {name} differ")

    def restored(self, name: str, sequence: int, application: AppendLog) -> None:
        """Judge that ``name`` jumped to the state after ``sequence``, fetched from others."""
        judged = self._judged[name]
        if sequence < judged.executed:
            self.blame(f"order: replica {name} went back from {judged.executed} to {sequence}")
        judged.executed = max(judged.executed, sequence)
        judged.applied = {entry[:2] for entry in application.operations}
        for place, entry in enumerate(application.operations, start=1):
            self._places.setdefault(place, entry)
        self.executed(name, sequence, application)

    def restarted(self, name: str, executed: int, application: AppendLog) -> None:
        """Note that ``name`` came back from its journal and executes from ``executed`` on."""
        judged = self._judged[name]
        judged.executed = executed
        judged.applied = {entry[:2] for entry in application.operations}

    def stepped(self, name: str, view: int, stable: int, log_size: int) -> None:
        """Judge the values of the accessors of ``name`` after one more event."""
        judged = self._judged[name]
        if view < judged.view:
            self.blame(f"monotone: replica {name} went back from view {judged.view} to {view}")
        if stable < judged.stable:
            self.blame(f"monotone: replica {name}'s stable checkpoint went back from "
                       f"{judged.stable} to {stable}")
        judged.view, judged.stable = view, stable
        if log_size > self._log_bound:
            self.blame(f"bounded: replica {name}'s log holds {log_size} entries, more than "
                       f"the {self._log_bound} that the window allows")

    def persisted(self, name: str, data: bytes) -> None:
        """Note that ``name`` wrote a record into its journal."""
        record = decode_journal(data)
        entry: tuple[type, int, int, bytes]
        match record:
            case Voted(proposal) | Prepared(proposal):
                entry = (type(record), proposal.view, proposal.sequence, proposal.digest)
            case ViewChange() | NewView():
                entry = (type(record), record.view, 0, b"")
            case _:
                return
        self._judged[name].journal.add(entry)

    def sent(self, name: str, message: Message) -> None:
        """Judge a message that ``name`` sent."""
        self._recorded(name, message)
        match message:
            case PrePrepare() | Prepare() | Commit():
                self._voted(name, message)
            case ViewChange():
                self._audit(name, f"VIEW-CHANGE to {message.view}",
                            lambda: audit_view_change(message, self._cluster, self._signing))
            case NewView():
                self._audit(name, f"NEW-VIEW of {message.view}",
                            lambda: audit_new_view(message, self._cluster, self._signing))
            case _:
                pass

    def raised(self, name: str, error: Exception) -> None:
        """Judge that a step of ``name`` raised instead of answering."""
        self.blame(f"crash: replica {name} raised {type(error).__name__}: {error}")

    def blame(self, sentence: str) -> None:
        """Write a violation down."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(f"{sentence} (at {self._now() / 1000:.3f} ms)")

    # --- the rules that need some lines

    @property
    def _log_bound(self) -> int:
        """Allow L slots, and per replica 3L held-back votes, a VIEW-CHANGE and CHECKPOINTs."""
        window = self._cluster.window
        from_each = 3 * window + window // self._cluster.checkpoint_interval + 3
        return window + self._cluster.n * from_each

    def _recorded(self, name: str, message: Message) -> None:
        """Whether the journal already knows of what ``message`` binds its sender to."""
        match message:
            case PrePrepare() | Prepare():
                entry: tuple[type, int, int, bytes] = (
                    Voted, message.view, message.sequence, message.digest)
            case Commit():
                entry = (Prepared, message.view, message.sequence, message.digest)
            case ViewChange() | NewView():
                entry = (type(message), message.view, 0, b"")
            case _:
                return
        if entry not in self._judged[name].journal:
            self.blame(f"durable: replica {name} sent {type(message).__name__} of view "
                       f"{message.view} without a record in its journal")

    def _voted(self, name: str, vote: PrePrepare | Prepare | Commit) -> None:
        votes = self._judged[name].votes
        kind = Prepare if isinstance(vote, PrePrepare) else type(vote)
        if isinstance(vote, PrePrepare) and (
                self._cluster.primary(vote.view) != int(name.rstrip("'"))):
            return  # it passes on what the primary signed
        first = votes.setdefault((kind, vote.view, vote.sequence), vote.digest)
        if first != vote.digest:
            self.blame(f"vote: replica {name} sent {type(vote).__name__} for {first.hex()[:8]} "
                       f"and {vote.digest.hex()[:8]} at view {vote.view}, {vote.sequence}")

    def _audit(self, name: str, what: str, audit: Callable[[], None]) -> None:
        try:
            audit()
        except PeerError as error:
            self.blame(f"certificate: replica {name}'s {what}: {error}")


# --- certificates, verified a second time ---------------------------------------------------------


class AuditError(PeerError):
    """A certificate that does not prove what it claims."""


def audit_seal(seal: Seal, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless q replicas committed to the seal's values in its one view."""
    signers = [index for index, _ in seal.signatures]
    _demand(len(set(signers)) == len(signers) >= cluster.q, "fewer than a quorum signed")
    text = commit_statement(cluster.instance, seal.view, seal.sequence, seal.digest)
    for index, signature in seal.signatures:
        signing.verify(cluster.public_keys[index], COMMIT_DOMAIN, text, signature)


def audit_view_change(message: ViewChange, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless C proves h and every entry of P was prepared below the view."""
    verify_message(message, cluster, signing)
    signers = {checkpoint.replica for checkpoint in message.proof}
    digests = {checkpoint.digest for checkpoint in message.proof}
    if message.stable:
        _demand(len(signers) >= cluster.q and len(digests) == 1, "C proves no checkpoint")
    for checkpoint in message.proof:
        _demand(checkpoint.sequence == message.stable, "C is of another checkpoint")
        verify_message(checkpoint, cluster, signing)
    sequences = [entry.pre_prepare.sequence for entry in message.prepared]
    _demand(sequences == sorted(set(sequences)), "P is not ascending")
    for entry in message.prepared:
        _demand(entry.pre_prepare.view < message.view, "an entry of P is not below the view")
        _demand(0 < entry.pre_prepare.sequence - message.stable <= cluster.window,
                "an entry of P is outside the window")
        audit_prepared(entry, cluster, signing)


def audit_prepared(entry: Prepared, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless q − 1 backups and the primary stand behind one digest."""
    proposal = entry.pre_prepare
    verify_message(proposal, cluster, signing)
    backups = {vote.replica for vote in entry.prepares} - {cluster.primary(proposal.view)}
    _demand(len(backups) >= cluster.q - 1, "fewer than q − 1 backups prepared")
    for vote in entry.prepares:
        _demand((vote.view, vote.sequence, vote.digest)
                == (proposal.view, proposal.sequence, proposal.digest), "votes do not match")
        verify_message(vote, cluster, signing)


def audit_new_view(message: NewView, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless V is a quorum and O is exactly what V makes of it."""
    verify_message(message, cluster, signing)
    senders = {change.replica for change in message.view_changes}
    _demand(len(senders) >= cluster.q, "V is no quorum")
    for change in message.view_changes:
        _demand(change.view == message.view, "V holds a VIEW-CHANGE to another view")
        audit_view_change(change, cluster, signing)
    stated = {entry.sequence: entry.digest for entry in message.pre_prepares}
    _demand(stated == expected_proposals(message), "O is not what V makes of it")
    for entry in message.pre_prepares:
        _demand(entry.view == message.view, "O holds a proposal of another view")
        verify_message(entry, cluster, signing)


def expected_proposals(message: NewView) -> dict[int, bytes]:
    """Return O by its definition: from min-s to max-s the digest of highest view, else null."""
    low = max((change.stable for change in message.view_changes), default=0)
    best: dict[int, tuple[int, bytes]] = {}
    for change in message.view_changes:
        for entry in change.prepared:
            proposal = entry.pre_prepare
            if proposal.sequence > low:
                best[proposal.sequence] = max(best.get(proposal.sequence, (-1, b"")),
                                              (proposal.view, proposal.digest))
    return {sequence: best[sequence][1] if sequence in best else NULL_DIGEST
            for sequence in range(low + 1, max(best, default=low) + 1)}


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AuditError(otherwise)


# --- progress -------------------------------------------------------------------------------------


class ProgressAccount:
    """Keeps count of what is owed, and says when a run may end.

    The JSON answer's ``live``: every request was executed by all correct replicas and accepted by
    its client within ``limit_ms``. Correct are the replicas whose faults do not last
    (`Scenario.faulty`). Nothing is owed to a request whose timestamp the same client had used or
    passed before. Told of every step, it costs a comparison of lengths.
    """

    def __init__(self, scenario: Scenario, clients: Mapping[str, SimulatedClient]) -> None:
        self.settled_at: int | None = None
        self.views = dict.fromkeys(scenario.replica_names, 0)
        self.drain = 2 * micros(scenario.network.delay_ms[1]) + micros(1)
        """How long a run goes on after all is done, so that late messages are judged too."""
        self._clients = clients
        self._owed = _owed(clients)
        self._calm = micros(_last_instant(scenario))
        self._operations = dict.fromkeys(scenario.replica_names, -1)
        self._missing = {name: set(self._owed) for name in scenario.replica_names
                         if name not in scenario.faulty}

    def progressed(self, name: str, view: int, application: AppendLog | None) -> None:
        """Count what ``name`` has executed after a step."""
        self.views[name] = view
        if name not in self._missing or application is None:
            return
        if len(application.operations) != self._operations[name]:
            self._operations[name] = len(application.operations)
            done = {entry[:2] for entry in application.operations}
            self._missing[name] = self._owed - done

    def settle(self, now: int) -> bool:
        """Whether all is done and no fault is still to come; True only the first time."""
        if self.settled_at is not None or now < self._calm:
            return False
        if any(self._missing.values()) or any(
                client.waiting or client.current for client in self._clients.values()):
            return False
        self.settled_at = now
        return True

    def unmet(self) -> list[str]:
        """Return what is missing, one sentence per replica or client."""
        sentences = [f"replica {name} has not executed {_listed(missing)}"
                     for name, missing in self._missing.items() if missing]
        for client in self._clients.values():
            rules = ([client.current] if client.current else []) + list(client.waiting)
            missing = {(client.name, rule.timestamp or 0) for rule in rules}
            if missing:
                sentences.append(f"client {client.name} has no answer to {_listed(missing)}")
        return sentences


def _owed(clients: Mapping[str, SimulatedClient]) -> set[tuple[str, int]]:
    return {(client.name, rule.timestamp or 0) for client in clients.values()
            for rule in client.waiting}


def _last_instant(scenario: Scenario) -> float:
    """Return when the last fault begins or ends, in ms; what lasts to the end does not count."""
    healed = FOREVER if scenario.heal_at_ms is None else scenario.heal_at_ms
    instants: list[float] = [0.0 if scenario.heal_at_ms is None else scenario.heal_at_ms]
    for windows in (scenario.silent, scenario.partitions, scenario.drop, scenario.slow,
                    scenario.mutate):
        for window in windows:
            instants += [min(healed, at) for at in (window.from_ms, window.to_ms)]
    instants += [min(healed, suspect.at_ms) for suspect in scenario.suspect]
    instants += [replay.at_ms for replay in scenario.replay]
    for crash in scenario.crash:
        instants += [min(healed, at) for at in (crash.at_ms, crash.restart_ms or 0)]
    instants += [request.at_ms for request in scenario.requests]
    return max(at for at in instants if at != FOREVER)


def _listed(requests: set[tuple[str, int]]) -> str:
    return ", ".join(f"{client}/{stamp}" for client, stamp in sorted(requests))
