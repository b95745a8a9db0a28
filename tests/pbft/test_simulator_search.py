"""Searches and shrinking: sampled here; whole by their own commands (docs/simulator.md)."""

from typing import Any

import pytest

import bdn.pbft.replica
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import Slot
from bdn.pbft.simulator import parse_scenario, search, simulate
from bdn.pbft.simulator.generators import GENERATORS, TWINS_TOTAL, twins_scenario
from bdn.pbft.simulator.scenario import FOREVER
from bdn.pbft.simulator.search import failure_of, run_quickly, shrink, to_json

SAMPLES = [("twins", 4, 6000, 10), ("byzzfuzz", 4, 0, 12), ("random", 4, 0, 8),
           *((mode, n, 0, 1) for mode in GENERATORS for n in (5, 6, 7, 8)),
           ("random", 13, 0, 1)]


@pytest.mark.parametrize(("mode", "replicas", "start", "count"), SAMPLES)
def test_a_sample_of_the_search_finds_no_violation(
    mode: str, replicas: int, start: int, count: int
) -> None:
    """Safe, and live after healing while the liars still lie; also n = 5, 6, 7, 8, 13."""
    found = search(mode, count, seed=1, replicas=replicas, start=start)
    assert (found.failure, found.runs) == ("", count), (found.violations, found.scenario)


def test_all_twins_scenarios_of_four_replicas_are_different() -> None:
    """4 twins · 16³ splits = 16,384; the index counts them through."""
    assert TWINS_TOTAL == 16_384
    seen = {(tuple(s["twins"]), str(s["partitions"])) for s in
            (twins_scenario(4, 0, index) for index in range(TWINS_TOTAL))}
    assert len(seen) == TWINS_TOTAL


@pytest.mark.parametrize("mode", GENERATORS)
def test_a_generated_scenario_is_a_function_of_seed_and_index(mode: str) -> None:
    """The same twice, another one for another index, and what is written down reads the same."""
    first = GENERATORS[mode](7, 3, 8)
    assert first == GENERATORS[mode](7, 3, 8) != GENERATORS[mode](7, 3, 9)
    assert parse_scenario(to_json(first)) == parse_scenario(first)


@pytest.mark.parametrize("replicas", [4, 7])
@pytest.mark.parametrize("mode", GENERATORS)
def test_up_to_f_liars_lie_to_the_end(mode: str, replicas: int) -> None:
    """At most f replicas are faulty, in most scenarios some rule of theirs has no end, and requests
    come after the healing."""
    lasting = 0
    for index in range(40):
        scenario = parse_scenario(GENERATORS[mode](replicas, 1, index))
        liars = {name.rstrip("'") for name in scenario.faulty}
        assert len(liars) <= (replicas - 1) // 3
        assert scenario.heal_at_ms is not None
        late = [r for r in scenario.requests if r.at_ms >= (scenario.heal_at_ms or 0)]
        assert len(late) == 9
        lasting += any(rule.to_ms == FOREVER and rule.count is None and rule.sources is not None
                       and scenario.faulty.issuperset(rule.sources)
                       for rule in (*scenario.mutate, *scenario.drop, *scenario.slow))
    assert lasting >= 15


@pytest.mark.parametrize("mode", GENERATORS)
def test_a_quick_run_ends_like_the_one_with_real_signatures(mode: str) -> None:
    """Hash instead of Ed25519, decoding shared, no record: the same answer, message for message."""
    for index in (6000, 6001):
        scenario = GENERATORS[mode](4, 1, index)
        real, quick = simulate(parse_scenario(scenario)), run_quickly(scenario)
        assert real.to_plain() == quick.to_plain()
        assert real.messages == quick.messages


BROKEN: dict[str, Any] = {
    "replicas": 4, "seed": 3, "limit_ms": 2000, "heal_at_ms": 500,
    "requests": [{"client": "c0", "timestamp": 1, "operation": "a", "to": ["0"]},
                 {"client": "c1", "timestamp": 1, "operation": "b", "to": ["0'"]},
                 {"client": "c2", "timestamp": 1, "at_ms": 90, "operation": "c"}],
    "twins": ["0", "1"],
    "partitions": [{"groups": [["0", "1", "2"], ["0'", "1'", "3"]]},
                   {"from_ms": 300, "groups": [["0"], ["3"]]}],
    "slow": [{"type": "STATE", "add_ms": 30}],
    "suspect": [{"replica": "3", "at_ms": 400, "view": 2}],
}


def test_a_violation_is_shrunk_to_what_it_needs() -> None:
    """The shrunk file fails in the same way, and no rule of it could be left out."""
    failure = failure_of(run_quickly(BROKEN))
    assert failure in ("agreement", "state")

    def fails(candidate: dict[str, Any]) -> bool:
        return failure_of(run_quickly(candidate)) == failure

    small = shrink(BROKEN, fails)
    assert fails(small)
    assert "suspect" not in small
    assert "slow" not in small
    assert len(small["partitions"]) == 1
    assert parse_scenario(to_json(small)) == parse_scenario(small)


def test_a_search_stops_at_a_failure_and_hands_back_its_scenario(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A generator that plants f + 1 twins is caught, and the file replays what was found."""
    monkeypatch.setitem(GENERATORS, "twins", lambda n, seed, index: BROKEN)
    found = search("twins", 5, 0)
    assert found.runs == 1
    assert found.scenario is not None
    assert failure_of(run_quickly(found.scenario)) == found.failure != ""


def _forget_certificates(self: Slot) -> None:
    """PLANTED FAULT (rule 7): P does not survive the view in which it was made."""
    _leave_view(self)
    self.certificate = None


_leave_view = Slot.leave_view
PLANTED: dict[str, tuple[str, object, str, object]] = {
    "two are a quorum": ("twins", Cluster, "q", property(lambda _: 2)),
    "P is forgotten at a view change": ("twins", Slot, "leave_view", _forget_certificates),
    "the journal is not read": ("random", bdn.pbft.replica, "replay", lambda *_: None),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_planted_in_the_core_is_found(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that cannot fail is no search: 60 scenarios are enough for each of these."""
    mode, owner, name, broken = PLANTED[fault]
    monkeypatch.setattr(owner, name, broken)
    found = search(mode, 60, seed=1, start=6000)
    assert found.failure not in ("", "live"), found.runs
    assert found.scenario is not None
