"""The wire's rules, one by one: who hears whom, and what is changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.pbft.simulator.network import (
    Delivery,
    MessageSummary,
    NetworkFaults,
    draw_delivery,
    link_key,
)
from bdn.pbft.simulator.scenario import NetworkRule, parse_scenario

COMMIT = MessageSummary("COMMIT", 0, 1)
REQUESTS = [{"client": "c0", "operation": "a"}]


def faults(**sections: object) -> NetworkFaults:
    scenario = {"replicas": 4, "requests": REQUESTS, "twins": ["1"], **sections}
    return NetworkFaults(parse_scenario(scenario))


def test_a_fate_depends_on_seed_link_and_number_alone() -> None:
    """A link's fate is drawn from (seed, source, target, k-th message)."""
    network = NetworkRule((1, 10), 0.5, 0.5)
    fate = draw_delivery(network, link_key(7, "0", "1"), 3)
    assert fate == draw_delivery(network, link_key(7, "0", "1"), 3)
    others = [draw_delivery(network, link_key(*link), k)
              for link, k in (((8, "0", "1"), 3), ((7, "1", "0"), 3), ((7, "0", "2"), 3),
                              ((7, "0", "1"), 4))]
    assert all(fate != other for other in others)


@given(st.integers(0, 2**40), st.integers(0, 2**20))
def test_a_delay_stays_within_its_bounds(seed: int, k: int) -> None:
    """delay_ms [low, high] bounds both copies; loss and duplicate 0 mean never."""
    fate = draw_delivery(NetworkRule((2, 5), 0.0, 1.0), link_key(seed, "0", "1"), k)
    assert not fate.lost
    assert fate.again is not None
    assert 2000 <= fate.delay <= 5000
    assert 2000 <= fate.again <= 5000


def test_loss_is_as_frequent_as_the_file_says() -> None:
    """loss 0.3 loses about three of ten (4,000 draws, five standard deviations)."""
    key = link_key(0, "0", "1")
    lost = sum(draw_delivery(NetworkRule(loss=0.3), key, k).lost for k in range(4000))
    assert abs(lost - 1200) < 5 * (4000 * 0.3 * 0.7) ** 0.5
    assert isinstance(draw_delivery(NetworkRule(), key, 0), Delivery)


@pytest.mark.parametrize(("source", "target", "cut"), [
    ("0", "1", ""), ("0", "2", "partition"), ("2", "0", "partition"), ("1", "1'", "partition"),
    ("c0", "0", "partition"), ("c0", "2", ""), ("3", "0", ""), ("2", "3", ""),
])
def test_a_partition_cuts_groups_apart_and_spares_who_stands_in_none(
    source: str, target: str, cut: str
) -> None:
    """A node that stands in no group is cut off from nobody (here replica 3)."""
    split = [{"from_ms": 10, "to_ms": 20, "groups": [["0", "1"], ["1'", "2", "clients"]]}]
    assert faults(partitions=split).cut(15_000, source, target, COMMIT) == cut


def test_a_node_in_two_groups_hears_both() -> None:
    """Overlapping groups make a bridge."""
    rules = faults(partitions=[{"groups": [["0", "1"], ["1", "2"]]}])
    assert rules.cut(0, "0", "1", COMMIT) == rules.cut(0, "1", "2", COMMIT) == ""
    assert rules.cut(0, "0", "2", COMMIT) == "partition"


def test_rules_hold_from_their_beginning_to_just_before_their_end() -> None:
    """from_ms ≤ t < to_ms."""
    rules = faults(silent=[{"replica": "0", "from_ms": 10, "to_ms": 20}])
    assert [rules.cut(at, "0", "1", COMMIT) for at in (9_999, 10_000, 19_999, 20_000)] == [
        "", "silent", "silent", ""]


def test_a_drop_rule_matches_every_key_it_states_and_no_other() -> None:
    """A key left out matches everything; one stated must match."""
    rule = {"type": "COMMIT", "from": ["0"], "to": ["1", "2"], "view": 0, "sequence": 1}
    rules = faults(drop=[rule])
    assert rules.cut(0, "0", "1", COMMIT) == "drop"
    assert rules.cut(0, "0", "3", COMMIT) == rules.cut(0, "1", "2", COMMIT) == ""
    assert rules.cut(0, "0", "1", MessageSummary("PREPARE", 0, 1)) == ""
    assert rules.cut(0, "0", "1", MessageSummary("COMMIT", 1, 1)) == ""
    assert rules.cut(0, "0", "1", MessageSummary("COMMIT", 0, 2)) == ""
    assert faults(drop=[{}]).cut(0, "c0", "3", MessageSummary("REQUEST")) == "drop"


def test_count_is_per_link() -> None:
    """count 1 takes the first message of each link."""
    rules = faults(drop=[{"from": ["0"], "count": 1}])
    assert [rules.cut(0, "0", to, COMMIT) for to in ("1", "1", "2", "2")] == [
        "drop", "", "drop", ""]


def test_healing_restores_the_network() -> None:
    """From heal_at_ms on, nothing is cut or slowed between replicas that are not faulty."""
    rules = faults(heal_at_ms=50, silent=[{"replica": "0", "to_ms": 900}], drop=[{}],
                   partitions=[{"groups": [["0"], ["2"]]}], slow=[{"add_ms": 9}])
    assert rules.cut(49_999, "0", "2", COMMIT) == "silent"
    assert rules.cut(50_000, "0", "2", COMMIT) == ""
    assert rules.slowed(49_999, "2", "0", COMMIT) == 9_000
    assert rules.slowed(50_000, "2", "0", COMMIT) == 0


def test_what_a_faulty_replica_does_outlasts_healing() -> None:
    """A liar (replica 1, with its twin) goes on leaving unsaid and delaying; so does a silent one.

    The partition is over for everybody.
    """
    rules = faults(heal_at_ms=50, silent=[{"replica": "3"}],
                   drop=[{"from": ["1"], "to": ["0"]}, {"from": ["1", "2"], "to": ["3"]}],
                   slow=[{"from": ["1"], "add_ms": 9}], partitions=[{"groups": [["1"], ["2"]]}])
    assert rules.cut(90_000, "1", "0", COMMIT) == "drop"
    assert rules.cut(90_000, "1", "3", COMMIT) == "", "replica 2 is honest, so this rule heals"
    assert rules.cut(90_000, "1", "2", COMMIT) == ""
    assert rules.slowed(90_000, "1", "2", COMMIT) == 9_000
    assert rules.cut(90_000, "3", "2", COMMIT) == "silent"
