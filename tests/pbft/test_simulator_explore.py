"""Every order of delivery up to a depth, with one liar among four."""

from bdn.pbft.cluster import Cluster
from bdn.pbft.simulator import Explorer


class AnyTwo(Cluster):
    """PLANTED FAULT: two replicas count as a quorum."""

    @property
    def q(self) -> int:
        return 2


def test_no_order_of_delivery_lets_one_liar_split_the_others() -> None:
    """All orders of up to six deliveries, while replica 0 has told both stories to everyone."""
    explored = Explorer().explore(6)
    assert (explored.violation, explored.depth) == ("", 6)
    assert explored.states > 20_000
    assert explored.decided > 0, "some orders must go as far as executing"


def test_timers_that_run_out_at_any_point_do_not_help_the_liar() -> None:
    """All orders of up to four actions, one of them perhaps a timeout: only views change."""
    explored = Explorer(timeouts=1).explore(4)
    assert explored.violation == ""
    assert explored.views == 1


def test_a_planted_small_quorum_is_found_by_a_shortest_path() -> None:
    """A wrong quorum is found, and the path is one that a person can follow."""
    explored = Explorer(cluster_class=AnyTwo).explore(8)
    assert explored.violation.startswith("agreement")
    assert len(explored.path) == 4
    assert all("receives" in step for step in explored.path)


def test_two_liars_among_four_are_found() -> None:
    """More than f liars break agreement, and exploration says how."""
    explored = Explorer(byzantine=(0, 1)).explore(9)
    assert explored.violation.startswith("agreement")
    assert len(explored.path) == 8
