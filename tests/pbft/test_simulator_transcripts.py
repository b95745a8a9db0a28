"""Golden transcripts: teaching scenarios as text sequence charts, checked in and compared.

After a change that is meant to alter them, write them anew and read the difference::

    python tests/pbft/test_simulator_transcripts.py --rewrite
"""

import sys
from pathlib import Path

import pytest

from bdn.cli.simulate import draw
from bdn.pbft.simulator import (
    Scenario,
    SimulationResult,
    read_scenario,
    render_transcript,
    simulate,
)

HERE = Path(__file__).parent
SCENARIOS = HERE / "scenarios"
TRANSCRIPTS = HERE / "transcripts"
PICTURES = HERE.parents[1] / "docs" / "charts"
DRAWN = ("normal-case", "equivocating-primary")
"""Scenarios whose charts docs/simulator.md shows."""

TEACHES = {
    "normal-case": "One request, three phases. The primary gives it a number (PRE-PREPARE), the\n"
        "backups agree on the number (PREPARE), all agree that enough agree (COMMIT), and the\n"
        "client believes two equal replies (f + 1). Castro–Liskov 1999, section 4.2; rules 1, 2.",
    "crashed-primary": "A dead primary. The backups know the request, so each has a timer; when\n"
        "it runs out they ask for view 1 with VIEW-CHANGE, replica 1 shows a quorum of those in\n"
        "NEW-VIEW and goes on. Section 4.4; rules 7, 8, 9.",
    "unheard-client": "A request that reaches one backup only, whose relay is lost: unanswered,\n"
        "the client sends it to all. Section 4.1; rule 9.",
    "equivocating-primary": "The primary tells three backups three stories, all of them valid.\n"
        "No story finds a quorum of PREPAREs, so none is executed, and the view is given up.\n"
        "Section 4.2; rules 1, 2.",
    "prepared-survives": "The request is prepared everywhere, every COMMIT of view 0 is lost, and\n"
        "two replicas lose patience. The certificates in P carry the request into O of NEW-VIEW:\n"
        "it keeps its number. Section 4.4; rules 6, 7.",
    "null-request": "Number 1 is never heard of, number 2 is prepared. The new primary must fill\n"
        "the gap with the null request, which executes as nothing, and orders the lost request\n"
        "anew. Section 4.4; rule 7.",
    "early-votes": "NEW-VIEW reaches replica 3 late, after the votes of that view. It holds them\n"
        "back and takes them when the view has begun. Rules 4, 7.",
    "joining-two": "Two replicas suspect the primary, one towards view 3, one towards view 2.\n"
        "f + 1 = 2 of them convince the others, who take the smallest. Section 4.5.2; rule 8.",
    "two-dead-primaries": "Seven replicas, f = 2, the first two primaries are dead. The timer\n"
        "that waits for a new view doubles, and view 2 has a living primary. Rule 8.",
    "state-transfer": "Replica 3 is cut off while the others pass two checkpoints and cut their\n"
        "logs. No vote can bring it back; it fetches the state that a quorum signed. Section\n"
        "4.3; rule 5.",
    "lying-checkpoint": "Replica 2 sends 0 and 1 a wrong CHECKPOINT, and 3 the right one. Each\n"
        "keeps a sender's first vote, so 0 and 1 never count a quorum; but a certificate counts\n"
        "as a whole, and replica 3 sends it as one STATE. Section 4.3; rule 5.",
    "state-from-a-liar": "Only replica 2 has checkpoint 12 stable, and it gives replica 3 a wrong\n"
        "state whenever it is asked. The others certified that checkpoint, so they have its state\n"
        "too: 3 asks the holders in turn. Section 4.3; rules 5, 10.",
    "fetched-payload": "Replica 3 never got the PRE-PREPARE, but O of the new view names its\n"
        "digest. It fetches the payload of that digest and votes. Rule 7.",
    "harmless-twin": "Replica 0 runs twice with one key, and each half sees another half of the\n"
        "network. One liar among four can stop its side and mislead nobody. Section 3; rule 3.",
    "too-many-twins": "NOT SAFE, on purpose: two liars among four are more than f = 1. Both\n"
        "sides find a quorum, the replicas part, and the checkers say so. Section 3.",
    "lying-new-primary": "The primary of view 1 puts the null request in the place of a prepared\n"
        "one. Everybody recomputes O from V, refuses the NEW-VIEW, and goes on to view 2.\n"
        "Section 4.4; rule 7.",
    "forged-certificate": "Replica 2 claims in VIEW-CHANGE that something was prepared which\n"
        "never was. The certificate does not verify; the good VIEW-CHANGEs are not masked, and\n"
        "its next, honest one is taken. Rule 6.",
    "crash-and-restart": "Replica 2 loses its memory in the middle of a vote and comes back from\n"
        "its journal: it knows what it voted for, and fetches what it missed with its seal.\n"
        "Rule 10.",
    "asked-twice": "The same request again, after it was executed: every replica answers from\n"
        "memory, none executes it twice. Section 4.1; rule 9.",
}


def run(name: str) -> tuple[Scenario, SimulationResult]:
    scenario = read_scenario(SCENARIOS / f"{name}.json")
    return scenario, simulate(scenario)


def transcript(name: str) -> str:
    scenario, outcome = run(name)
    title = f"{name}\n\n{TEACHES[name]}\n\nscenarios/{name}.json"
    text = render_transcript(outcome.record, scenario.replica_names, scenario.clients, title)
    views = ", ".join(f"{replica}: {view}" for replica, view in outcome.views.items())
    return (f"{text}\nsafe: {outcome.safe}, live: {outcome.live}, views: {views}\n"
            + "".join(f"{sentence}\n" for sentence in (*outcome.violations, *outcome.unmet)))


def chart(name: str) -> str:
    scenario, outcome = run(name)
    return draw(outcome, scenario, name)


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture_in_the_docs_is_what_the_command_draws(name: str) -> None:
    """``bdn simulate FILE --chart``."""
    assert (PICTURES / f"{name}.svg").read_text(encoding="utf-8") == chart(name)


@pytest.mark.parametrize("name", TEACHES)
def test_the_transcript_is_the_one_that_was_read_and_checked_in(name: str) -> None:
    """Byte for byte, so that every change of behaviour is looked at."""
    golden = (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")
    assert transcript(name) == golden


def test_every_scenario_teaches_something_and_has_its_transcript() -> None:
    """No file is left over, and there are at least ten."""
    assert {path.stem for path in SCENARIOS.glob("*.json")} == set(TEACHES)
    assert {path.stem for path in TRANSCRIPTS.glob("*.txt")} == set(TEACHES)
    assert len(TEACHES) >= 10


SHOWS = {
    "null-request": "null-request", "joining-two": "join", "state-transfer": "state-transfer",
    "two-dead-primaries": "second-view-change", "fetched-payload": "fetched-payload",
    "early-votes": "buffered", "crash-and-restart": "restarted", "asked-twice": "reply-cached",
}


@pytest.mark.parametrize("name", SHOWS)
def test_the_scenario_reaches_the_branch_that_it_teaches(name: str) -> None:
    """A scenario about a rare branch takes it."""
    assert run(name)[1].reached[SHOWS[name]] > 0


if __name__ == "__main__":
    if sys.argv[1:] != ["--rewrite"]:
        sys.exit("usage: python tests/pbft/test_simulator_transcripts.py --rewrite")
    for path in TRANSCRIPTS.glob("*.txt"):
        path.unlink()
    for name in TEACHES:
        (TRANSCRIPTS / f"{name}.txt").write_text(transcript(name), encoding="utf-8")
    for name in DRAWN:
        (PICTURES / f"{name}.svg").write_text(chart(name), encoding="utf-8")
