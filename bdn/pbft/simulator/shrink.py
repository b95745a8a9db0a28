"""The smallest scenario that still fails in the same way.

Greedy: leave out whole sections, then single rules, then single members and keys of rules, as long
as the run still breaks the same rule first. Because a link's fate depends on nothing but
(seed, source, target, k), leaving a rule out does not reshuffle the rest of the run.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from bdn.pbft.simulator.fields import ScenarioError
from bdn.pbft.simulator.generators import Plain
from bdn.pbft.simulator.outcome import Outcome

RULES = ("twins", "silent", "equivocate", "partitions", "drop", "slow", "replay", "mutate",
         "suspect", "crash", "requests")
MOST_RUNS = 600
"""A shrink gives up after so many runs and keeps what it has."""


def failure_of(outcome: Outcome) -> str:
    """What kind of failure an outcome is: the first broken rule, ``live``, or "" for none."""
    if outcome.violations:
        return outcome.violations[0].split(":")[0]
    return "" if outcome.live else "live"


def shrink(scenario: Plain, fails: Callable[[Plain], bool], runs: int = MOST_RUNS) -> Plain:
    """A scenario no larger than ``scenario`` for which ``fails`` still holds.

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
    """Candidates, the boldest cuts first."""
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
    """``rule`` with one member fewer in one of its lists."""
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
    """The scenario as the text of a file, empty sections left out."""
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
