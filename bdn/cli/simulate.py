"""``bdn simulate``: one scenario, or a search through thousands (``docs/simulator.md``).

Exit status 0: safe and live. 1: a rule was broken or progress is missing. 2: a bad file.
"""

import json
import sys
from pathlib import Path

import click

from bdn.errors import UsageError
from bdn.pbft.simulator import Scenario, SearchResult, SimulationResult, read_scenario, search
from bdn.pbft.simulator.chart import render_chart
from bdn.pbft.simulator.explore import Exploration, Explorer
from bdn.pbft.simulator.generators import GENERATORS
from bdn.pbft.simulator.record import render_transcript
from bdn.pbft.simulator.scenario import MAX_REPLICAS
from bdn.pbft.simulator.search import to_json
from bdn.pbft.simulator.world import World

BAD_FILE = 2


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--chart", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the message sequence chart of FILE's run as SVG.")
@click.option("--transcript", is_flag=True, help="Print the run as text on standard error.")
@click.option("--search", "mode", type=click.Choice(sorted(GENERATORS)),
              help="Generate scenarios instead of reading FILE.")
@click.option("--explore", type=click.IntRange(1, 60), metavar="DEPTH",
              help="Try every order of delivery up to DEPTH, with one liar among four.")
@click.option("--timeouts", type=click.IntRange(0, 10), default=0, show_default=True,
              help="With --explore: how many timers may run out on the way.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True,
              help="With --search: how many scenarios (16,384 are all splits of Twins at n = 4).")
@click.option("--seed", type=click.IntRange(0, 2**62), default=0, show_default=True,
              help="With --search: what the scenarios are drawn from.")
@click.option("--start", type=click.IntRange(0), default=0, show_default=True,
              help="With --search: the first scenario's number.")
@click.option("--replicas", type=click.IntRange(4, MAX_REPLICAS), default=4, show_default=True,
              help="With --search: the size of the cluster.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="With --search: where the shrunk failing scenario goes "
                   "[default: violation-MODE-SEED.json].")
def simulate(file: Path | None, chart: Path | None, transcript: bool, mode: str | None,
             explore: int | None, timeouts: int, count: int, seed: int, start: int,
             replicas: int, out: Path | None) -> None:
    """Run PBFT in a simulated network: a scenario FILE, or a --search through many.

    Prints one JSON object. Exit status 0: safe and live; 1: not; 2: a bad file or option.
    """
    chosen = [name for name, given in (("FILE", file), ("--search", mode), ("--explore", explore))
              if given is not None]
    if len(chosen) != 1:
        _refuse("give exactly one of FILE, --search and --explore"
                + (f", not {' and '.join(chosen)}" if chosen else ""))
    if chart is not None and file is None:
        _refuse("--chart draws the run of a FILE; a search has no chart")
    if file is not None:
        sys.exit(_run_file(file, chart, transcript))
    if explore is not None:
        sys.exit(_explore(explore, timeouts))
    assert mode is not None
    sys.exit(_search(mode, count, seed, start, replicas, out))


def _run_file(file: Path, chart: Path | None, transcript: bool) -> int:
    try:
        scenario = read_scenario(file)
        world = World(scenario, keep_record=transcript or chart is not None)
    except UsageError as error:
        _refuse(str(error))
    outcome = world.run()
    if chart is not None:
        try:
            chart.write_text(draw(outcome, scenario, file.stem), encoding="utf-8")
        except OSError as error:
            _refuse(f"cannot write {chart}: {error.strerror}")
    if transcript:
        click.echo(render_transcript(outcome.record, scenario.replica_names, scenario.clients,
                                     file.stem), err=True)
    click.echo(json.dumps(outcome.to_plain(), ensure_ascii=False))
    for sentence in (*outcome.violations, *outcome.unmet):
        click.echo(sentence, err=True)
    return 0 if outcome.safe and outcome.live else 1


def draw(outcome: SimulationResult, scenario: Scenario, title: str) -> str:
    """Return the chart of a run, with each replica's view and log under its lane."""
    counters = {name: f"view {outcome.views[name]}, {len(outcome.executed[name])} executed"
                for name in scenario.replica_names}
    counters |= {name: f"{len(accepted)} accepted"
                 for name, accepted in outcome.accepted.items()}
    return render_chart(outcome.record, scenario.replica_names, scenario.clients, title, counters)


def _search(mode: str, count: int, seed: int, start: int, replicas: int, out: Path | None) -> int:
    every = max(1, count // 20)

    def tell(found: SearchResult) -> None:
        if found.runs % every == 0:
            click.echo(f"{found.runs} of {count} after {found.seconds:.0f} s", err=True)

    found = search(mode, count, seed, replicas, start, tell)
    answer = {
        "search": mode, "replicas": replicas, "seed": seed, "runs": found.runs,
        "failure": found.failure or None, "seconds": round(found.seconds, 1),
        "messages": found.messages, "slowest_recovery_ms": round(found.slowest_ms, 3),
        "slowest_index": found.slowest_index, "reached": dict(sorted(found.reached.items())),
    }
    if found.scenario is not None:
        out = out or Path(f"violation-{mode}-{seed}.json")
        out.write_text(to_json(found.scenario), encoding="utf-8")
        answer["scenario"] = str(out)
        for sentence in found.violations:
            click.echo(sentence, err=True)
    click.echo(json.dumps(answer))
    return 1 if found.failure else 0


def _explore(depth: int, timeouts: int) -> int:
    explored: Exploration = Explorer(timeouts=timeouts).explore(depth)
    click.echo(json.dumps({
        "explored": True, "depth": explored.depth, "states": explored.states,
        "steps": explored.steps, "local_steps": explored.local_steps,
        "states_with_execution": explored.decided, "highest_view": explored.views,
        "violation": explored.violation or None, "path": list(explored.path),
    }))
    return 1 if explored.violation else 0


def _refuse(why: str) -> None:
    """Say why in one line on standard error, and exit with status 2."""
    click.echo(f"bdn simulate: {why}", err=True)
    sys.exit(BAD_FILE)
