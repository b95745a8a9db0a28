"""The nodes of a simulated cluster: replicas that crash and come back, clients that wait."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bdn.encoding import decode
from bdn.identity import Identity
from bdn.pbft.application import AppendLog, Result
from bdn.pbft.messages import Request
from bdn.pbft.replica import Replica
from bdn.pbft.signing import CachedSigning, Claim, Ed25519Signing, HashSigning, Signing
from bdn.pbft.simulator.scenario import RequestRule, Scenario
from bdn.pbft.wire import decode_message
from bdn.randomness import SeededRandomness
from bdn.seal import Seal

INSTANCE = b"bdn simulate"

Applied = Callable[[int, str, int, bytes], None]
"""Hears of each operation executed: (place in the log, client, timestamp, operation)."""
Executed = Callable[[int], None]
"""Hears of each sequence number, once its payload is executed or its checkpoint restored."""


class WatchedLog(AppendLog):
    """`AppendLog` that tells what it does, so that judges need not ask the replica.

    Every replica, and every twin, proposes under a ``nonce`` of its own: no two proposers ever
    propose the same payload, so that what a view change should have carried over and did not, or
    what two halves of a twin got agreed, is seen to differ.
    """

    nonce = 0
    on_applied: Applied | None = None
    on_executed: Executed | None = None
    on_restored: Executed | None = None

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:
        """As `AppendLog.propose`, under this log's nonce."""
        payload = super().propose(sequence, pending)
        if payload is None or self.nonce == 0:
            return payload
        return self.variant(payload, self.nonce)

    def variant(self, payload: bytes, number: int) -> bytes:
        """Return another valid payload with the same requests; one for each ``number`` above 0."""
        nonce: int = decode(payload)[0]
        return self.payload_of(list(self._batch(payload).values()), nonce + number)

    def execute(self, sequence: int, payload: bytes, seal: Seal) -> list[Result]:
        """As `AppendLog.execute`."""
        before = len(self.operations)
        results = super().execute(sequence, payload, seal)
        if self.on_applied is not None:
            for place, entry in enumerate(self.operations[before:], start=before + 1):
                self.on_applied(place, *entry)
        if self.on_executed is not None:
            self.on_executed(sequence)
        return results

    def restore(self, sequence: int, snapshot: bytes, digest: bytes) -> bool:
        """As `AppendLog.restore`."""
        done = super().restore(sequence, snapshot, digest)
        if self.on_restored is not None:
            self.on_restored(sequence)
        return done


decode_once = lru_cache(maxsize=4096)(decode_message)
"""`decode_message`, once for all that looks on: messages are immutable."""


class BranchCounter:
    """A trace that counts the core's events by name: the branches that a run reached."""

    def __init__(self, reached: Counter[str], heard: Callable[[str, dict[str, Any]], None]) -> None:
        self._reached = reached
        self._heard = heard

    def event(self, name: str, /, **details: Any) -> None:
        """Count it."""
        self._reached[name] += 1
        self._heard(name, details)

    def span(self, name: str, /, **details: Any) -> AbstractContextManager[None]:  # noqa: ARG002 - protocol
        """Spans measure time, which does not pass here."""
        return nullcontext()


def make_identities(scenario: Scenario) -> dict[str, Identity]:
    """Return an identity per replica and client; names make the keys, so runs share them."""
    keys = SeededRandomness(b"bdn simulate")
    names = (*map(str, range(scenario.replicas)), *(f"client {c}" for c in scenario.clients))
    return {name: _identity(keys, name) for name in names}


_known: dict[str, Identity] = {}


def _identity(keys: SeededRandomness, name: str) -> Identity:
    if name not in _known:
        _known[name] = Identity.generate(keys.substream(name))
    return _known[name]


def make_signings(identities: Mapping[str, Identity], real: bool) -> dict[str, Signing]:
    """Everyone's signing: Ed25519, or the hash that protects nothing and is quick."""
    memory: dict[Claim, None] = {}
    return {name: CachedSigning(Ed25519Signing(identity), memory) if real
            else HashSigning(identity.public_key) for name, identity in identities.items()}


@dataclass(slots=True)
class SimulatedClient:
    """The requests of one client that are still to be sent or answered, in order of time.

    Attributes:
        name: the client.
        waiting: the rules not yet begun, soonest first, with rising timestamps.
        again: rules whose timestamp does not rise; they are sent when their time comes, without
            waiting for anything, and nothing is owed to them.
        current: the rule whose request is outstanding, if any.
        accepted: the operations that f + 1 replicas confirmed, in order.
        timers: as for a replica.
    """

    name: str
    waiting: deque[RequestRule]
    again: list[RequestRule]
    current: RequestRule | None = None
    accepted: list[str] = field(default_factory=list)
    timers: dict[str, int] = field(default_factory=dict)


def make_clients(scenario: Scenario) -> dict[str, SimulatedClient]:
    """Return every client's requests; a timestamp left out is one above the client's highest."""
    queues = {}
    for client in scenario.clients:
        rules = sorted((rule for rule in scenario.requests if rule.client == client),
                       key=lambda rule: rule.at_ms)
        highest, queue = 0, SimulatedClient(client, deque(), [])
        for rule in rules:
            stamp = highest + 1 if rule.timestamp is None else rule.timestamp
            stamped = RequestRule(rule.client, rule.operation, stamp, rule.at_ms, rule.to)
            (queue.waiting if stamp > highest else queue.again).append(stamped)
            highest = max(highest, stamp)
        queues[client] = queue
    return queues


@dataclass(slots=True)
class SimulatedReplica:
    """One replica's process: what survives a crash, and what does not.

    Attributes:
        name, index: ``1'`` and 1 for the twin of replica 1.
        journal: the disk.
        replica, application: memory; the replica is None while crashed.
        timers: the running ones, each with the number of its latest setting.
        life: counts restarts, so that timers of a former life do not fire.
    """

    name: str
    index: int
    journal: list[bytes] = field(default_factory=list)
    replica: Replica | None = None
    application: WatchedLog | None = None
    timers: dict[str, int] = field(default_factory=dict)
    life: int = 0
