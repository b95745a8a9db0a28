"""Thousands of generated scenarios, what they reached, and the smallest one that failed.

``bdn simulate --search twins|byzzfuzz|random --count N --seed S``. Searches sign with a keyed hash
instead of Ed25519 (`bdn.pbft.signing.HashSigning`): no fault here forges another's signature, and
a changed message is refused either way.

A failing scenario is shrunk greedily: leave out whole sections, then single rules, then single
members of rules, as long as the run still breaks the same rule first. Because a message's fate
depends on nothing but (seed, source, target, k), leaving a rule out does not reshuffle the rest.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from bdn.pbft.simulator.generators import GENERATORS, Plain
from bdn.pbft.simulator.scenario import ScenarioError, parse_scenario
from bdn.pbft.simulator.world import SimulationResult, World


@dataclass(slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        runs: scenarios that were run.
        reached: over all runs, in how many a branch was taken at least once.
        messages: messages put on links, over all runs.
        slowest_ms: the longest virtual time from healing to the last answer, and whose it was.
        failure: the broken rule of the first failing scenario, or "".
        scenario: that scenario, shrunk, or None.
        violations: what its shrunk run said.
        seconds: wall-clock time.
    """

    runs: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    slowest_ms: float = 0.0
    slowest_index: int = 0
    failure: str = ""
    scenario: Plain | None = None
    violations: tuple[str, ...] = ()
    seconds: float = 0.0


def run_quickly(scenario: Plain) -> SimulationResult:
    """Run once without a record and without Ed25519; the first violation ends the run."""
    return World(parse_scenario(scenario), real_signatures=False, keep_record=False,
                 stop_at_violation=True).run()


def search(mode: str, count: int, seed: int, replicas: int = 4, start: int = 0,
           progress: Callable[[SearchResult], None] | None = None) -> SearchResult:
    """Run ``count`` generated scenarios; stop at the first that fails, and shrink it.

    Args:
        mode: ``twins``, ``byzzfuzz`` or ``random``.
        count: how many; 16,384 are all Twins scenarios of four replicas.
        seed: with the index, it makes the scenario.
        replicas: n.
        start: the first index.
        progress: called after every run.
    """
    found, generate = SearchResult(), GENERATORS[mode]
    begun = time.perf_counter()
    for index in range(start, start + count):
        scenario = generate(replicas, seed, index)
        outcome = run_quickly(scenario)
        _count(found, index, scenario, outcome)
        found.seconds = time.perf_counter() - begun
        if progress is not None:
            progress(found)
        failure = failure_of(outcome)
        if failure:
            found.failure = failure
            found.scenario = shrink(scenario, _alike(failure))
            last = run_quickly(found.scenario)
            found.violations = last.violations or last.unmet
            break
    found.seconds = time.perf_counter() - begun
    return found


def _alike(failure: str) -> Callable[[Plain], bool]:
    return lambda candidate: failure_of(run_quickly(candidate)) == failure


def _count(found: SearchResult, index: int, scenario: Plain, outcome: SimulationResult) -> None:
    found.runs += 1
    found.messages += outcome.messages
    for name, times in outcome.reached.items():
        found.reached[name] += times > 0
    if outcome.settled_at_ms is not None:
        late = outcome.settled_at_ms - scenario["heal_at_ms"]
        if late > found.slowest_ms:
            found.slowest_ms, found.slowest_index = late, index


# --- shrinking ------------------------------------------------------------------------------------


RULES = ("twins", "silent", "equivocate", "partitions", "drop", "slow", "replay", "mutate",
         "suspect", "crash", "requests")
MOST_RUNS = 600
"""A shrink gives up after so many runs and keeps what it has."""


def failure_of(outcome: SimulationResult) -> str:
    """Return the kind of a failure: the first broken rule, ``live``, or "" for none."""
    if outcome.violations:
        return outcome.violations[0].split(":")[0]
    return "" if outcome.live else "live"


def shrink(scenario: Plain, fails: Callable[[Plain], bool], runs: int = MOST_RUNS) -> Plain:
    """Return a scenario no larger than ``scenario`` for which ``fails`` still holds.

    Args:
        scenario: the plain object of a scenario file, for which ``fails`` holds.
        fails: runs a candidate and tells whether it still fails alike.
        runs: the most candidates to run.
    """
    best = deepcopy(scenario)
    progress = True
    while progress and runs > 0:
        progress = False
        for candidate in _smaller(best):
            if runs <= 0:
                break
            runs -= 1
            if _still_fails(candidate, fails):
                best, progress = candidate, True
                break
    return best


def _still_fails(candidate: Plain, fails: Callable[[Plain], bool]) -> bool:
    try:
        return fails(candidate)
    except ScenarioError:
        return False  # a rule was left out that another one names


def _smaller(scenario: Plain) -> Iterator[Plain]:
    """Yield candidates, the boldest cuts first."""
    for key in RULES:
        if key != "requests" and scenario.get(key):
            yield _without(scenario, key)
    if "network" in scenario:
        yield _without(scenario, "network")
    for key in RULES:
        for i in range(len(scenario.get(key, ()))):
            candidate = deepcopy(scenario)
            del candidate[key][i]
            yield candidate
    for key in RULES:
        for i, rule in enumerate(scenario.get(key, ())):
            if isinstance(rule, dict):
                yield from _smaller_rules(scenario, key, i, rule)


def _smaller_rules(scenario: Plain, key: str, i: int, rule: dict[str, Any]) -> Iterator[Plain]:
    """Yield the scenario with one member fewer in one list of ``rule``."""
    for name in ("from", "to"):
        members = rule.get(name)
        if not isinstance(members, list) or len(members) < 2:
            continue
        for j in range(len(members)):
            candidate = deepcopy(scenario)
            del candidate[key][i][name][j]
            yield candidate


def _without(scenario: Plain, key: str) -> Plain:
    return deepcopy({name: value for name, value in scenario.items() if name != key})


def to_json(scenario: Plain) -> str:
    """Return the scenario as the text of a file, empty sections left out."""
    kept = {key: value for key, value in scenario.items()
            if value not in ([], {}) or key == "requests"}
    lines = []
    for key, value in kept.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n   ".join(json.dumps(item, ensure_ascii=False) for item in value)
            lines.append(f'"{key}": [\n   {items}]')
        else:
            lines.append(f'"{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{" + ",\n ".join(lines) + "}\n"
