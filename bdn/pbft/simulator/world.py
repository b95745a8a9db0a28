"""The simulated world: virtual time, a queue of events, and everyone's messages.

One thread, one seed, no wall clock. An event is what happens at one node at one instant; what it
sends becomes later events through `bdn.pbft.simulator.network`. Ties are broken by the order of
scheduling, so that a file gives one run, byte for byte.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from bdn.pbft import events
from bdn.pbft.client import Accepted, Client, ClientEffect
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import BRANCHES
from bdn.pbft.messages import Request
from bdn.pbft.replica import Replica
from bdn.pbft.signing import signed
from bdn.pbft.simulator.byzantine import ByzantineSenders
from bdn.pbft.simulator.checkers import Checkers, ProgressAccount
from bdn.pbft.simulator.network import NetworkFaults, SimulatedNetwork
from bdn.pbft.simulator.nodes import (
    INSTANCE,
    BranchCounter,
    SimulatedClient,
    SimulatedReplica,
    WatchedLog,
    decode_once,
    make_clients,
    make_identities,
    make_signings,
)
from bdn.pbft.simulator.record import LocalEvent, RunRecord, describe_event
from bdn.pbft.simulator.scenario import FOREVER, MICROS, RequestRule, Scenario, micros
from bdn.pbft.wire import encode_message


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The answer to a scenario: what ``bdn simulate`` prints, and the record behind it.

    Attributes:
        safe: no checker complained.
        live: every request was executed by all correct replicas and accepted by its client.
        violations: the checkers' sentences, each beginning with the broken rule's name.
        views: the view that each replica (twins included) was in at the end.
        executed: the operations that each replica holds, in order.
        accepted: the operations that f + 1 replicas confirmed to each client, in order.
        reached: how often each branch of the protocol was taken, over all replicas.
        unmet: what is missing where ``live`` is false, one sentence each.
        ended_at_ms: virtual time when the run ended.
        settled_at_ms: virtual time when the last request was executed and accepted, or None.
        messages: how many messages were put on a link.
        record: what was seen, for transcripts and charts.
    """

    safe: bool
    live: bool
    violations: tuple[str, ...]
    views: Mapping[str, int]
    executed: Mapping[str, tuple[str, ...]]
    accepted: Mapping[str, tuple[str, ...]]
    reached: Mapping[str, int]
    unmet: tuple[str, ...] = ()
    ended_at_ms: float = 0
    settled_at_ms: float | None = None
    messages: int = 0
    record: RunRecord = field(default_factory=RunRecord)

    def to_plain(self) -> dict[str, Any]:
        """Return the object that ``bdn simulate`` prints; outside programs rely on its keys."""
        return {
            "safe": self.safe,
            "live": self.live,
            "violations": list(self.violations),
            "views": dict(self.views),
            "executed": {name: list(found) for name, found in self.executed.items()},
            "accepted": {name: list(found) for name, found in self.accepted.items()},
            "reached": dict(sorted(self.reached.items())),
        }


MOST_EVENTS = 3_000_000
"""A run with more events than this is stopped: something sends without end."""


class World:
    """One run of one scenario. Use `bdn.pbft.simulator.simulate`.

    Args:
        scenario: what happens.
        real_signatures: Ed25519, or the hash that protects nothing (searches).
        keep_record: whether messages are written down.
        stop_at_violation: end the run when a checker complains.
    """

    def __init__(self, scenario: Scenario, real_signatures: bool = True,
                 keep_record: bool = True, stop_at_violation: bool = False) -> None:
        self.now = 0
        self._scenario = scenario
        self._stop_at_violation = stop_at_violation
        self._real_signatures = real_signatures
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._handled = 0
        self._identities = make_identities(scenario)
        self._signings = make_signings(self._identities, real_signatures)
        self._cluster = make_cluster(scenario, self._identities)
        faults = NetworkFaults(scenario)
        self._record = RunRecord(keep_record)
        self._reached: Counter[str] = Counter(dict.fromkeys(BRANCHES, 0))
        self._nodes = {name: SimulatedReplica(name, int(name.rstrip("'")))
                       for name in scenario.replica_names}
        self._homes: defaultdict[int, list[SimulatedReplica]] = defaultdict(list)
        for node in self._nodes.values():
            self._homes[node.index].append(node)
        correct = tuple(n for n in scenario.replica_names if n not in scenario.byzantine)
        self._checkers = Checkers(self._cluster, self._signings["0"], correct, lambda: self.now)
        by_name = {name: self._signings[name.rstrip("'")] for name in scenario.replica_names}
        by_name |= {name: self._signings[f"client {name}"] for name in scenario.clients}
        liars = ByzantineSenders(scenario, faults, self._cluster, by_name,
                                 self._new_application())
        self._network = SimulatedNetwork(
            scenario, faults, liars.tell if scenario.equivocate or scenario.mutate else None,
            self._record, lambda at, *letter: self._at(at, self._arrive, *letter))
        self._clients = make_clients(scenario)
        self._machines = {name: self._new_client(name) for name in scenario.clients}
        self._progress = ProgressAccount(scenario, self._clients)

    # --- the run

    def run(self) -> SimulationResult:
        """Let everything happen, and return the result."""
        for node in self._nodes.values():
            self._at(0, self._boot, node)
        for client in self._clients.values():
            for rule in client.waiting:
                self._at(micros(rule.at_ms), self._ask, client)
            for rule in client.again:
                self._at(micros(rule.at_ms), self._ask_again, rule)
        self._schedule_faults()
        limit = micros(self._scenario.limit_ms)
        end = limit
        while self._queue and self._handled < MOST_EVENTS:
            at, _, act, arguments = heapq.heappop(self._queue)
            if at > end:
                break
            self.now = at
            self._handled += 1
            act(*arguments)
            if self._checkers.violations and self._stop_at_violation:
                break
            if self._progress.settle(self.now):
                end = min(limit, self.now + self._progress.drain)
        return self._outcome()

    def _outcome(self) -> SimulationResult:
        applications = {name: node.application for name, node in self._nodes.items()}
        unmet = self._progress.unmet()
        if self._handled >= MOST_EVENTS:
            unmet.append(f"the run was stopped after {MOST_EVENTS} events")
        return SimulationResult(
            safe=not self._checkers.violations,
            live=not unmet,
            violations=tuple(self._checkers.violations),
            views={name: self._progress.views[name] if node.replica is None else node.replica.view
                   for name, node in self._nodes.items()},
            executed={name: tuple(entry[2].decode() for entry in found.operations)
                      if found is not None else () for name, found in applications.items()},
            accepted={name: tuple(client.accepted) for name, client in self._clients.items()},
            reached=self._reached,
            unmet=tuple(unmet),
            ended_at_ms=self.now / MICROS,
            settled_at_ms=(None if self._progress.settled_at is None
                           else self._progress.settled_at / MICROS),
            messages=self._network.messages,
            record=self._record,
        )

    def _at(self, at: int, act: Callable[..., None], *arguments: Any) -> None:
        self._scheduled += 1
        heapq.heappush(self._queue, (at, self._scheduled, act, arguments))

    def _schedule_faults(self) -> None:
        """Schedule what strikes at an instant; healing calls it off for replicas not faulty."""
        heal = FOREVER if self._scenario.heal_at_ms is None else self._scenario.heal_at_ms
        faulty = self._scenario.faulty
        for suspect in self._scenario.suspect:
            if suspect.at_ms < heal or suspect.replica in faulty:
                self._at(micros(suspect.at_ms), self._suspect, suspect.replica, suspect.view)
        for crash in self._scenario.crash:
            end = FOREVER if crash.replica in faulty else heal
            if crash.at_ms < end:
                self._at(micros(crash.at_ms), self._crash, self._nodes[crash.replica])
                if crash.restart_ms is not None:
                    self._at(micros(min(end, crash.restart_ms)), self._restart,
                             self._nodes[crash.replica], crash.amnesia)
        for i, replay in enumerate(self._scenario.replay):
            self._at(micros(replay.at_ms), self._replay, i)

    # --- replicas

    def _new_application(self) -> WatchedLog:
        keys = {name: self._identities[f"client {name}"].public_key
                for name in self._scenario.clients}
        return WatchedLog(INSTANCE, keys, self._signings["0"], self._cluster.batch_size)

    def _boot(self, node: SimulatedReplica) -> None:
        """Start a fresh process on what the disk holds."""
        node.life += 1
        node.timers.clear()
        application = node.application = self._new_application()
        application.nonce = 2 * node.index + int(node.name.endswith("'"))
        trace = BranchCounter(self._reached, lambda name, details: self._told(node, name, details))
        original = node.name.rstrip("'")
        node.replica = Replica(
            node.index, self._cluster, self._identities[original], application,
            list(node.journal), trace, self._signings[original], node.name)
        if self._checkers.judges(node.name):
            name = node.name
            self._checkers.restarted(name, node.replica.executed, application)
            application.on_applied = lambda *entry: self._checkers.applied(name, *entry)
            application.on_executed = lambda sequence: self._checkers.executed(
                name, sequence, application)
            application.on_restored = lambda sequence: self._checkers.restored(
                name, sequence, application)
        self._step(node, events.Start())

    def _step(self, node: SimulatedReplica, event: events.Event) -> None:
        """Feed one event, carry out its effects in order, and let the judges look."""
        if node.replica is None:
            return
        replica, judged = node.replica, self._checkers.judges(node.name)
        try:
            effects = replica.step(event)
        except Exception as error:
            if not judged:
                raise
            self._checkers.raised(node.name, error)
            self._crash(node)
            return
        for effect in effects:
            self._carry_out(node, effect, judged)
        if judged:
            self._checkers.stepped(node.name, replica.view, replica.stable, replica.log_size())
        self._progress.progressed(node.name, replica.view, node.application)

    def _carry_out(self, node: SimulatedReplica, effect: events.Effect, judged: bool) -> None:
        match effect:
            case events.Broadcast() | events.Send() | events.SendReply():
                self._post(node, effect, judged)
            case events.SetTimer(name, after_ms):
                self._set_timer(node, name, after_ms)
            case events.CancelTimer(name):
                node.timers.pop(name, None)
            case events.Persist(record):
                node.journal.append(record)
                if judged:
                    self._checkers.persisted(node.name, record)
            case events.Decided():
                assert node.application is not None
                words = ", ".join(self._operations(node, effect.payload)) or "nothing"
                self._note(node.name, f"executes n{effect.sequence}: {words}")
                if judged:
                    self._checkers.decided(node.name, effect, node.application)
            case _:
                assert_never(effect)

    def _operations(self, node: SimulatedReplica, payload: bytes) -> list[str]:
        assert node.application is not None
        if not payload or not self._record.keep:
            return []
        return [f"{client}/{stamp}" for client, stamp in node.application.requests(payload)]

    def _set_timer(self, node: SimulatedReplica, name: str, after_ms: int) -> None:
        self._scheduled += 1
        setting = node.timers[name] = self._scheduled
        self._at(self.now + micros(after_ms), self._ring, node, name, setting, node.life)

    def _ring(self, node: SimulatedReplica, name: str, setting: int, life: int) -> None:
        if node.life == life and node.timers.get(name) == setting:
            del node.timers[name]
            self._told(node, f"timeout {name}", {})
            self._step(node, events.Timeout(name))

    def _told(self, node: SimulatedReplica, name: str, details: dict[str, Any]) -> None:
        if self._record.keep and (words := describe_event(name, details)):
            self._note(node.name, words)

    def _note(self, name: str, words: str) -> None:
        if self._record.keep:
            self._record.note(LocalEvent(self.now, name, words))

    # --- faults of replicas

    def _suspect(self, name: str, view: int | None) -> None:
        node = self._nodes[name]
        if node.replica is not None:
            wanted = node.replica.view + 1 if view is None else view
            self._note(name, f"suspects everyone below view {wanted}")
            self._step(node, events.Suspect(wanted))

    def _crash(self, node: SimulatedReplica) -> None:
        if node.replica is not None:
            self._progress.progressed(node.name, node.replica.view, node.application)
            self._note(node.name, "crashes")
            node.replica = None
            node.life += 1

    def _restart(self, node: SimulatedReplica, amnesia: bool) -> None:
        self._crash(node)
        self._note(node.name, "restarts" + (" with amnesia" if amnesia else ""))
        if amnesia:
            node.journal.clear()
        self._boot(node)

    def _replay(self, number: int) -> None:
        self._network.replay(self.now, number)

    # --- clients

    def _new_client(self, name: str) -> Client:
        identity = self._identities[f"client {name}"]
        return Client(name, identity, self._cluster, self._signings[f"client {name}"],
                      self._scenario.request_timeout_ms)

    def _ask(self, client: SimulatedClient) -> None:
        """Send the client's next request, if its time has come and none is outstanding."""
        if client.current is not None or not client.waiting:
            return
        if micros(client.waiting[0].at_ms) > self.now:
            return
        rule = client.current = client.waiting.popleft()
        operation = self._asked(rule)
        effects = self._machines[client.name].submit(operation, rule.timestamp)
        self._client_effects(client, effects, rule)

    def _ask_again(self, rule: RequestRule) -> None:
        """Send a request whose timestamp was used or passed already, signed by hand."""
        operation = self._asked(rule)
        name = f"client {rule.client}"
        bare = Request(rule.client, self._identities[name].public_key, rule.timestamp or 0,
                       operation, b"")
        request = signed(bare, INSTANCE, self._signings[name])
        self._network.spread(self.now, rule.client, self._first(rule),
                           encode_message(request), request)

    def _first(self, rule: RequestRule | None) -> tuple[str, ...]:
        """Return whom a client asks: whom the rule names, or everybody (Rule 9)."""
        return tuple(self._nodes) if rule is None or rule.to is None else rule.to

    def _asked(self, rule: RequestRule) -> bytes:
        operation = rule.operation.encode()
        self._checkers.asked(rule.client, rule.timestamp or 0, operation)
        self._note(rule.client, f"asks for {rule.operation} as {rule.client}/{rule.timestamp}")
        return operation

    def _client_effects(self, client: SimulatedClient, effects: Sequence[ClientEffect],
                        rule: RequestRule | None = None) -> None:
        """Carry out what a client wants; ``rule`` names whom it asks first."""
        for effect in effects:
            match effect:
                case events.Send(_, data) | events.Broadcast(data):
                    self._network.spread(self.now, client.name, self._first(rule), data,
                                       decode_once(data))
                case events.SetTimer(name, after_ms):
                    self._scheduled += 1
                    setting = client.timers[name] = self._scheduled
                    self._at(self.now + micros(after_ms), self._client_ring, client, name, setting)
                case events.CancelTimer(name):
                    client.timers.pop(name, None)
                case Accepted(timestamp, operation, result):
                    self._checkers.accepted(client.name, timestamp, operation, result)
                    client.accepted.append(operation.decode())
                    client.current = None
                    self._note(client.name, f"accepts {client.name}/{timestamp}")
                    self._ask(client)
                case _:
                    assert_never(effect)

    def _client_ring(self, client: SimulatedClient, name: str, setting: int) -> None:
        if client.timers.get(name) == setting:
            del client.timers[name]
            self._client_effects(client, self._machines[client.name].timeout())

    # --- messages

    def _post(self, node: SimulatedReplica,
              effect: events.Broadcast | events.Send | events.SendReply, judged: bool) -> None:
        """Put a replica's message on every link that it is meant for."""
        message = decode_once(effect.data)
        if judged:
            self._checkers.sent(node.name, message)
        if isinstance(effect, events.SendReply):
            targets = [effect.client] if effect.client in self._machines else []
        elif isinstance(effect, events.Send):
            targets = [home.name for home in self._homes[effect.to]]
        else:
            targets = [home.name for index in range(self._cluster.n) if index != node.index
                       for home in self._homes[index]]
        self._network.spread(self.now, node.name, targets, effect.data, message)

    def _arrive(self, source: str, target: str, data: bytes) -> None:
        if target in self._machines:
            client = self._clients[target]
            self._client_effects(client, self._machines[target].receive(data))
            return
        sender: str | int = self._nodes[source].index if source in self._nodes else source
        self._step(self._nodes[target], events.Receive(sender, data))


def make_cluster(scenario: Scenario, identities: dict[str, Any]) -> Cluster:
    """Return the cluster that the scenario describes."""
    return Cluster(
        INSTANCE, tuple(identities[str(i)].public_key for i in range(scenario.replicas)),
        checkpoint_interval=scenario.checkpoint_interval, window=scenario.window,
        request_timeout_ms=scenario.request_timeout_ms, view_timeout_ms=scenario.view_timeout_ms,
        status_ms=max(1, scenario.view_timeout_ms // 2),
    )
