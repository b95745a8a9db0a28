"""Shared work: done once, charged to each node, the same result as without."""

import pytest

from bdn.errors import PeerError
from bdn.nodes.shared_work import KEPT, OPEN, VERIFY_UPDATE, SharedWork


def test_the_first_node_works_and_every_other_one_owes_what_it_took() -> None:
    work, done = SharedWork(), []

    def compute() -> str:
        done.append(1)
        return "opened"

    assert work.get("device 0", OPEN, b"name", compute) == "opened"
    assert work.take_owed() == 0
    work.put(OPEN, b"name", "opened", 1.5)  # as if it had taken so long
    for node in ("device 1", "device 2", "device 1"):
        assert work.get(node, OPEN, b"name", compute) == "opened"
    assert (len(done), work.take_owed(), work.take_owed()) == (1, 3.0, 0.0)
    assert work.tallies()[OPEN]["charged"] == 3.0


def test_another_name_is_other_work_and_another_kind_too() -> None:
    work = SharedWork()
    assert work.get("a", OPEN, b"one", lambda: 1) == 1
    assert work.get("a", OPEN, b"two", lambda: 2) == 2
    assert work.get("a", VERIFY_UPDATE, b"one", lambda: 3) == 3


def test_what_raises_is_done_again_by_everybody() -> None:
    work, done = SharedWork(), []

    def refuse() -> None:
        done.append(1)
        raise PeerError("a bad proof")

    for node in ("edge 0", "edge 1"):
        with pytest.raises(PeerError):
            work.get(node, VERIFY_UPDATE, b"name", refuse)
    assert len(done) == 2


def test_the_oldest_results_go_first() -> None:
    work = SharedWork()
    for number in range(KEPT[OPEN] + 1):
        work.get("a", OPEN, number, lambda number=number: number)  # type: ignore[misc]
    assert not work.has("a", OPEN, 0)
    assert work.has("a", OPEN, 1)
