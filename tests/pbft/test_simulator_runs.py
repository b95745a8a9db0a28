"""Whole runs of the real replicas: what must hold, and what must be seen to break."""

import doctest
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bdn.pbft.simulator
from bdn.pbft.core import BRANCHES
from bdn.pbft.simulator import (
    SimulationResult,
    parse_scenario,
    read_scenario,
    render_transcript,
    simulate,
)
from bdn.pbft.simulator.generators import GENERATORS
from bdn.pbft.simulator.record import Transmission
from bdn.pbft.simulator.search import run_quickly

ONE = [{"client": "c0", "timestamp": 1, "operation": "a"}]


def run(**sections: Any) -> SimulationResult:
    return simulate(parse_scenario({"replicas": 4, "requests": ONE, "limit_ms": 20_000,
                                    **sections}))


def test_the_guide_s_example_says_the_truth() -> None:
    """The doctest of `bdn.pbft.simulator`."""
    assert doctest.testmod(bdn.pbft.simulator).failed == 0


def test_the_normal_case_executes_everywhere_in_view_0() -> None:
    """No fault: one round trip, all replicas in view 0, the client answered."""
    outcome = run()
    assert (outcome.safe, outcome.live) == (True, True)
    assert outcome.to_plain()["executed"] == {name: ["a"] for name in "0123"}
    assert set(outcome.views.values()) == {0}
    assert outcome.accepted == {"c0": ("a",)}


def test_the_answer_has_exactly_the_keys_of_the_reference() -> None:
    """safe, live, violations, views, executed, accepted, reached; nothing else."""
    assert list(run().to_plain()) == [
        "safe", "live", "violations", "views", "executed", "accepted", "reached"]


def test_the_same_file_gives_the_same_run_byte_for_byte() -> None:
    """Determinism: outcome and every single message."""
    sections = {"network": {"loss": 0.1, "duplicate": 0.1}, "twins": ["2"], "seed": 3,
                "heal_at_ms": 500}
    first, second = run(**sections), run(**sections)
    assert first.to_plain() == second.to_plain()
    assert first.record == second.record
    assert run(**{**sections, "seed": 4}).record != first.record


@pytest.mark.parametrize("replicas", [4, 5, 6, 7, 8, 13])
def test_f_successive_crashed_primaries_are_replaced(replicas: int) -> None:
    """Liveness after f successive dead primaries, for general n."""
    f = (replicas - 1) // 3
    outcome = run(replicas=replicas, crash=[{"replica": str(i)} for i in range(f)])
    assert outcome.safe
    assert outcome.live, outcome.unmet
    assert all(outcome.views[str(i)] == f for i in range(f, replicas))


def test_a_hundred_replicas_replace_a_dead_primary() -> None:
    """n = 100, f = 33: 67 VIEW-CHANGEs begin view 1, and everybody executes."""
    outcome = run_quickly({"replicas": 100, "requests": ONE, "crash": [{"replica": "0"}]})
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    assert {outcome.views[str(i)] for i in range(1, 100)} == {1}


@pytest.mark.parametrize("replicas", [4, 7])
def test_f_successive_silent_primaries_are_replaced_within_the_bound(replicas: int) -> None:
    """After f silent primaries: executed before the request's and f views' doubled timeouts."""
    f = (replicas - 1) // 3
    silent = [{"replica": str(i)} for i in range(f)]
    outcome = run(replicas=replicas, silent=silent)
    assert outcome.live, outcome.unmet
    assert outcome.settled_at_ms is not None
    assert outcome.settled_at_ms < 200 + sum(400 * 2**i for i in range(f)) + 100


def test_more_than_f_crashed_replicas_stop_the_cluster_but_break_nothing() -> None:
    """f + 1 are gone: no progress, and no disagreement either."""
    outcome = run(crash=[{"replica": "2"}, {"replica": "3"}])
    assert (outcome.safe, outcome.live) == (True, False)
    assert outcome.unmet


def test_a_replica_resumes_from_its_journal() -> None:
    """Crash and restart: the replica executes what it missed, and contradicts nothing."""
    outcome = run(crash=[{"replica": "0", "at_ms": 12, "restart_ms": 300}],
                  requests=[*ONE, {"client": "c1", "operation": "b", "at_ms": 20}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    assert sorted(outcome.executed["0"]) == ["a", "b"]


def test_all_replicas_may_crash_at_once_and_lose_nothing() -> None:
    """Every memory is gone at 30 ms; what was executed is still there after the restart."""
    crash = [{"replica": str(i), "at_ms": 30, "restart_ms": 100} for i in range(4)]
    outcome = run(crash=crash, requests=[*ONE, {"client": "c0", "operation": "b", "at_ms": 200}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    assert outcome.executed["2"] == ("a", "b")


SPLIT_TWINS = {
    "twins": ["0", "1"],
    "partitions": [{"groups": [["0", "1", "2"], ["0'", "1'", "3"]]}],
    "requests": [{"client": "c0", "operation": "a", "to": ["0"]},
                 {"client": "c1", "operation": "b", "to": ["0'"]}],
}
EQUIVOCATORS = {"equivocate": [{"replica": name, "view": 0, "sequence": 1,
                                "groups": [["2"], ["3"]]} for name in ("0", "1")]}


@pytest.mark.parametrize("sections", [SPLIT_TWINS, EQUIVOCATORS], ids=["twins", "equivocators"])
def test_more_than_f_liars_are_seen_to_break_agreement(sections: dict[str, Any]) -> None:
    """A checker that cannot fail is no checker (f + 1 twins, f + 1 equivocators)."""
    outcome = run(**sections)
    assert not outcome.safe
    assert any(sentence.startswith("agreement:") for sentence in outcome.violations)


def lies(*names: str, kind: str, field: str = "digest", by: int = 1) -> dict[str, Any]:
    """A section in which each of ``names`` changes all its messages of a type, for ever."""
    return {"mutate": [{"type": kind, "from": name, "field": field, "by": by, "resign": True}
                       for name in names]}


IN_TURN = [{"client": "c0", "operation": "a"}, {"client": "c1", "operation": "b", "at_ms": 300}]
BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "twins part the states": ("state", SPLIT_TWINS),
    "liars make up a result": ("result", lies("2", "3", kind="REPLY")),
    "twins put a later request before an earlier one": ("real-time", {
        **SPLIT_TWINS, "requests": [
            {"client": "c0", "operation": "a", "to": ["0"]},
            {"client": "c1", "operation": "b", "to": ["0'"], "at_ms": 50}]}),
}


@pytest.mark.parametrize("what", BEYOND)
def test_more_than_f_liars_are_seen_to_break(what: str) -> None:
    """Each rule that f + 1 liars can break is seen to break, by the judge of that rule."""
    rule, sections = BEYOND[what]
    violations = run(**{"requests": IN_TURN, **sections}).violations
    assert rule in {sentence.split(":")[0] for sentence in violations}, violations


@pytest.mark.parametrize("sections", [
    {"silent": [{"replica": "2"}, {"replica": "3"}]},
    {**lies("2", "3", kind="COMMIT"), "drop": [
        {"type": kind, "from": ["2", "3"]} for kind in ("STATE", "REPLY")]},
], ids=["silent", "lying"])
def test_more_than_f_faults_are_seen_to_stop_the_others_even_after_healing(
    sections: dict[str, Any]
) -> None:
    """Healing restores the network, not the replicas: no progress, and no disagreement."""
    outcome = run(**{"heal_at_ms": 100, "limit_ms": 3000, **sections})
    assert (outcome.safe, outcome.live) == (True, False), outcome.violations


@pytest.mark.parametrize("kind", ["PRE-PREPARE", "COMMIT", "REPLY", "STATUS"])
def test_one_liar_that_never_stops_does_not_stop_the_others(kind: str) -> None:
    """A lying primary to the end: safe, and live after healing although it still lies."""
    field = "sequence" if kind == "STATUS" else "digest"
    outcome = run(**lies("0", kind=kind, field=field), heal_at_ms=100, requests=[
        *IN_TURN, {"client": "c2", "operation": "c", "at_ms": 400}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    late = [entry for entry in outcome.record.entries
            if isinstance(entry, Transmission) and entry.forged and entry.at > 100_000]
    assert late or kind == "PRE-PREPARE", "nobody asks a primary twice that lies about everything"


@pytest.mark.parametrize("groups", [[["1"], ["2", "3"]], [["1"], ["2"], ["3"]], None])
def test_one_equivocating_primary_harms_nothing(groups: list[list[str]] | None) -> None:
    """f equivocators: safe, and live after its view is given up."""
    rule = {"replica": "0", "view": 0, "sequence": 1}
    outcome = run(equivocate=[rule if groups is None else {**rule, "groups": groups}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)


def test_a_repeated_request_is_executed_once_and_answered_again() -> None:
    """Rule 9: once per (client, timestamp); the cached reply on repetition."""
    outcome = run(requests=[{"client": "c0", "timestamp": 1, "operation": "a"},
                            {"client": "c0", "timestamp": 1, "operation": "a", "at_ms": 100}])
    assert (outcome.safe, outcome.live) == (True, True)
    assert outcome.executed["3"] == ("a",)
    assert outcome.reached["reply-cached"] == 4


def test_two_requests_with_one_timestamp_are_never_both_executed() -> None:
    """A lying client signs two operations as one timestamp: at most one of them is executed."""
    requests = [{"client": "c0", "timestamp": 1, "operation": "a", "to": ["0"]},
                {"client": "c0", "timestamp": 1, "operation": "b", "to": ["1", "2", "3"]}]
    outcome = run(requests=requests)
    assert outcome.safe, outcome.violations
    assert all(len(executed) <= 1 for executed in outcome.executed.values())


def test_suspect_starts_a_view_change_out_of_the_blue() -> None:
    """One suspicion alone moves nobody else; f + 1 of them take all to the smallest view."""
    alone = run(suspect=[{"replica": "2", "at_ms": 40, "view": 3}], heal_at_ms=100)
    assert alone.safe
    assert alone.views["2"] == 3
    assert alone.views["0"] == 0
    joined = run(suspect=[{"replica": "2", "at_ms": 5, "view": 3},
                          {"replica": "1", "at_ms": 5, "view": 2}])
    assert (joined.safe, joined.live) == (True, True), joined.unmet
    assert joined.reached["join"] > 0


def test_an_old_message_may_be_replayed_without_effect() -> None:
    """A replayed PRE-PREPARE of a past view changes nothing."""
    outcome = run(
        silent=[{"replica": "0", "from_ms": 0, "to_ms": 700}],
        replay=[{"type": "PRE-PREPARE", "from": "0", "to": ["3"], "view": 0, "at_ms": 800}])
    assert (outcome.safe, outcome.live) == (True, True)
    assert "replayed" in render_transcript(outcome.record, ("0", "1", "2", "3"), ("c0",))


def test_a_cut_off_replica_that_never_heals_is_missed() -> None:
    """live asks all correct replicas, also the one behind a lasting partition."""
    outcome = run(partitions=[{"groups": [["0", "1", "2"], ["3"]]}], limit_ms=3000)
    assert (outcome.safe, outcome.live) == (True, False)
    assert any("replica 3" in sentence for sentence in outcome.unmet)


def test_lost_and_doubled_messages_do_not_stop_the_cluster() -> None:
    """A fifth of all messages lost, a fifth doubled, for ever: retransmission carries on."""
    outcome = run(network={"delay_ms": [1, 10], "loss": 0.2, "duplicate": 0.2},
                  requests=[{"client": f"c{i}", "operation": f"op{i}"} for i in range(6)])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)


def test_an_overtaken_request_is_dropped_and_never_executed() -> None:
    """Timestamps rise: what waits when a later one of its client is executed is forgotten."""
    outcome = run(requests=[{"client": "c0", "timestamp": 2, "operation": "b", "to": ["0"]},
                            {"client": "c0", "timestamp": 1, "operation": "a", "to": ["3"]}],
                  drop=[{"type": "REQUEST", "from": ["3"]}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    assert outcome.reached["dropped"] > 0
    assert set(outcome.executed.values()) == {("b",)}


UNREACHABLE = {"deferred", "diverged"}
"""An append log never defers a proposal, and states part only beyond f faults."""


def test_every_branch_of_the_core_is_sometimes_taken() -> None:
    """Coverage ("sometimes" assertions): 30 random scenarios and two made ones take them all."""
    reached: Counter[str] = Counter()
    scenarios = Path(__file__).parent / "scenarios"
    reached.update(simulate(read_scenario(scenarios / "null-request.json")).reached)
    for index in range(30):
        reached.update(run_quickly(GENERATORS["random"](4, 2, index)).reached)
    reached.update(run(requests=[{"client": "c0", "timestamp": 2, "operation": "b", "to": ["0"]},
                                 {"client": "c0", "timestamp": 1, "operation": "a", "to": ["3"]}],
                       drop=[{"type": "REQUEST", "from": ["3"]}]).reached)
    missing = {branch for branch in BRANCHES if not reached[branch]}
    assert missing <= UNREACHABLE, missing
