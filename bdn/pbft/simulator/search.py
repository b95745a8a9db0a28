"""Thousands of generated scenarios, what they reached, and the smallest that failed.

``bdn simulate --search twins|byzzfuzz|random --count N --seed S``. Searches sign with a keyed hash
instead of Ed25519 (`bdn.pbft.signing.HashSigning`): no fault here forges another's signature, and
a changed message is refused either way.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bdn.pbft.simulator.generators import GENERATORS, Plain
from bdn.pbft.simulator.outcome import Outcome
from bdn.pbft.simulator.scenario import parse_scenario
from bdn.pbft.simulator.shrink import failure_of, shrink
from bdn.pbft.simulator.world import World


@dataclass(slots=True)
class Found:
    """What a search came to.

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


def run_quickly(scenario: Plain) -> Outcome:
    """One run without a record and without Ed25519, ended by the first violation."""
    return World(parse_scenario(scenario), real_signatures=False, keep_record=False,
                 stop_at_violation=True).run()


def search(mode: str, count: int, seed: int, replicas: int = 4, start: int = 0,
           progress: Callable[[Found], None] | None = None) -> Found:
    """Run ``count`` generated scenarios; stop at the first that fails, and shrink it.

    Args:
        mode: ``twins``, ``byzzfuzz`` or ``random``.
        count: how many; 16,384 are all Twins scenarios of four replicas.
        seed: with the index, it makes the scenario.
        replicas: n.
        start: the first index.
        progress: called after every run.
    """
    found, generate = Found(), GENERATORS[mode]
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


def _count(found: Found, index: int, scenario: Plain, outcome: Outcome) -> None:
    found.runs += 1
    found.messages += outcome.messages
    for name, times in outcome.reached.items():
        found.reached[name] += times > 0
    if outcome.settled_at_ms is not None:
        late = outcome.settled_at_ms - scenario["heal_at_ms"]
        if late > found.slowest_ms:
            found.slowest_ms, found.slowest_index = late, index
