"""A deterministic world for `bdn.pbft`: it runs the real replicas and tries to break them.

One thread, virtual time, one seed (DESIGN.md, sections 10 and 15). A scenario is a JSON file; the
same file gives the same run, byte for byte::

    >>> from bdn.pbft.simulator import parse_scenario, simulate
    >>> outcome = simulate(parse_scenario({
    ...     "replicas": 4,
    ...     "requests": [{"client": "c0", "timestamp": 1, "operation": "a"}],
    ...     "crash": [{"replica": "0", "at_ms": 0}],
    ... }))
    >>> outcome.safe, outcome.live, outcome.views["1"], outcome.executed["1"], outcome.accepted
    (True, True, 1, ('a',), {'c0': ('a',)})

**The wire.** Whatever a node sends passes `links`; there the rules of the file act (`faults`), the
Byzantine ones lie (`forgery`, `mutations`), and the network draws a fate from (seed, source,
target, k-th message) alone (`fates`). Leaving one rule out therefore does not reshuffle the rest.

**The judges.** `checkers` look after every step at every replica that is not Byzantine, from the
wire and the application, with certificates verified a second time by `audit`. `goal` keeps the
account of progress. A judge that never convicts is worth nothing: tests plant f + 1 liars and
broken rules, and demand a verdict.

**The pictures.** One `record` of a run, two renderings: `transcript` (text) and `chart` (SVG).

**The searches.** `generators` write scenarios by the thousand, `search` runs them and counts what
they reach, `shrink` reduces a failing one to a file worth reading. `explore` tries *every* order
of delivery up to a depth.

Where we differ
---------------
* A Byzantine replica is an honest one behind a lying wire, a twin, or one that lost its journal;
  equivocators collude. It cannot do everything that an adversary could; exploration, where liars
  play all their messages at once, covers one request's worth of that.
* Rules act when a message is sent. What is under way when a partition begins still arrives.
* ByzzFuzz counts rounds by communication step; our eight are message types of views 0 to 2.
"""

from bdn.pbft.simulator.chart import render_chart
from bdn.pbft.simulator.explore import Explored, Explorer
from bdn.pbft.simulator.fields import ScenarioError
from bdn.pbft.simulator.outcome import Outcome
from bdn.pbft.simulator.scenario import Scenario, parse_scenario, read_scenario
from bdn.pbft.simulator.search import Found, search
from bdn.pbft.simulator.transcript import render_transcript
from bdn.pbft.simulator.world import World

__all__ = [
    "Explored", "Explorer", "Found", "Outcome", "Scenario", "ScenarioError", "parse_scenario",
    "read_scenario", "render_chart", "render_transcript", "search", "simulate",
]


def simulate(scenario: Scenario) -> Outcome:
    """Run one scenario with real signatures and a full record; deterministic."""
    return World(scenario).run()
