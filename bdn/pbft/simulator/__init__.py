"""A deterministic world for `bdn.pbft`: it runs the real replicas and tries to break them.

One thread, virtual time, one seed. A scenario is a JSON file (``docs/simulator.md``); the same file
gives the same run, byte for byte::

    >>> from bdn.pbft.simulator import parse_scenario, simulate
    >>> outcome = simulate(parse_scenario({
    ...     "replicas": 4,
    ...     "requests": [{"client": "c0", "timestamp": 1, "operation": "a"}],
    ...     "crash": [{"replica": "0", "at_ms": 0}],
    ... }))
    >>> outcome.safe, outcome.live, outcome.views["1"], outcome.executed["1"], outcome.accepted
    (True, True, 1, ('a',), {'c0': ('a',)})

**The network.** Whatever a node sends passes `network`. There the rules of the file act, the
Byzantine ones lie (`byzantine`), and the network draws a delay from (seed, source, target, k-th
message) alone. Leaving one rule out therefore does not reshuffle the rest. ``heal_at_ms`` restores
the network only: a liar lies to the end, and the others must make progress all the same.

**The judges.** `checkers` looks at every step of every replica that is not Byzantine, from the wire
and the application, and at every result that a client accepts. Certificates are verified a second
time, and the same file keeps the account of progress. A judge that never convicts is worth nothing:
tests plant f + 1 liars and broken rules, and demand a verdict.

**The pictures.** `record` holds what was seen of a run and renders it as text, `chart` as SVG.

**The searches.** `generators` writes scenarios by the thousand; `search` runs them, counts what
they reach, and shrinks one that fails to a file worth reading. `explore` tries *every* order of
delivery up to a depth.

Where we differ
---------------
* A Byzantine replica is an honest one behind a lying wire, a twin, or one that lost its journal;
  equivocators collude. It cannot do everything that an adversary could; exploration, where liars
  play all their messages at once, covers one request's worth of that.
* Rules act when a message is sent. What is under way when a partition begins still arrives.
* ByzzFuzz counts rounds by communication step; our eight are message types of views 0 to 2.
"""

from bdn.pbft.simulator.chart import render_chart
from bdn.pbft.simulator.explore import Exploration, Explorer
from bdn.pbft.simulator.record import render_transcript
from bdn.pbft.simulator.scenario import Scenario, ScenarioError, parse_scenario, read_scenario
from bdn.pbft.simulator.search import SearchResult, search
from bdn.pbft.simulator.world import SimulationResult, World

__all__ = [
    "Exploration", "Explorer", "Scenario", "ScenarioError", "SearchResult", "SimulationResult",
    "parse_scenario", "read_scenario", "render_chart", "render_transcript", "search", "simulate",
]


def simulate(scenario: Scenario) -> SimulationResult:
    """Run one scenario with real signatures and a full record; deterministic."""
    return World(scenario).run()
