"""Progress: who still owes what, and when a run may end (section 15, ``live``).

*Every request was executed by all correct replicas and accepted by its client within limit_ms.*
Correct here are the replicas that are not Byzantine, not crashed for good, and not silenced for
good. Nothing is owed to a request whose timestamp the same client had used or passed before.
"""

from collections.abc import Mapping

from bdn.pbft.application import AppendLog
from bdn.pbft.simulator.fates import micros
from bdn.pbft.simulator.nodes import ClientQueue
from bdn.pbft.simulator.scenario import FOREVER, Scenario


class Goal:
    """Keeps count of what is owed; told of every step, it costs a comparison of lengths."""

    def __init__(self, scenario: Scenario, queues: Mapping[str, ClientQueue]) -> None:
        self.settled_at: int | None = None
        self.views = dict.fromkeys(scenario.replica_names, 0)
        self.drain = 2 * micros(scenario.network.delay_ms[1]) + micros(1)
        """How long a run goes on after all is done, so that late messages are judged too."""
        self._queues = queues
        self._owed = _owed(queues)
        self._calm = micros(_last_instant(scenario))
        self._operations = dict.fromkeys(scenario.replica_names, -1)
        self._missing = {name: set(self._owed) for name in scenario.replica_names
                         if _is_correct(scenario, name)}

    def progressed(self, name: str, view: int, application: AppendLog | None) -> None:
        """``name`` made a step."""
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
                queue.waiting or queue.current for queue in self._queues.values()):
            return False
        self.settled_at = now
        return True

    def unmet(self) -> list[str]:
        """What is missing, one sentence a replica or client."""
        sentences = [f"replica {name} has not executed {_listed(missing)}"
                     for name, missing in self._missing.items() if missing]
        for queue in self._queues.values():
            rules = ([queue.current] if queue.current else []) + list(queue.waiting)
            missing = {(queue.name, rule.timestamp or 0) for rule in rules}
            if missing:
                sentences.append(f"client {queue.name} has no answer to {_listed(missing)}")
        return sentences


def _owed(queues: Mapping[str, ClientQueue]) -> set[tuple[str, int]]:
    return {(queue.name, rule.timestamp or 0) for queue in queues.values()
            for rule in queue.waiting}


def _is_correct(scenario: Scenario, name: str) -> bool:
    """Whether ``name`` must make progress."""
    return name not in scenario.faulty


def _last_instant(scenario: Scenario) -> float:
    """When the last fault begins or ends, in ms; what lasts to the end does not count."""
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
