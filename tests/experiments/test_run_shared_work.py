"""Work that is shared leaves the ledger as it is."""

from collections.abc import Callable
from typing import Any

from bdn.experiments.config import RunConfig
from bdn.experiments.run import Run, opened_run

Tiny = Callable[..., RunConfig]

def head(run: Run, index: int) -> bytes:
    ledger = run.edges[index].ledger
    return ledger.store.block(ledger.height).digest


def outcome(config: RunConfig) -> tuple[bytes, dict[str, Any]]:
    """The head that all edge servers have, and the history."""
    with opened_run(config) as run:
        history = run.complete()
        heads = {head(run, index) for index in range(config.edges)}
    assert len(heads) == 1
    return heads.pop(), history


def test_the_ledger_is_the_same_without_shared_work_and_without_baselines(
    finished: Run, tiny: Tiny
) -> None:
    config = tiny(shared_work=False, baseline=False)
    without, history = outcome(config)
    assert without == head(finished, 0)
    assert (history["shared_work"], "baseline" in history["phases"]) == (None, False)
    assert {row["accuracy_alone"] for row in history["devices"]} == {None}
    assert finished.work is not None
    tallies, rounds = finished.work.tallies(), config.epochs + 1  # the last for the closing loss
    verified, opened = tallies["verify-update"], tallies["open"]
    assert verified["computed"] == config.devices * rounds
    assert verified["nodes"] == config.edges * verified["computed"]
    assert (opened["computed"], opened["nodes"]) == (rounds, config.devices * rounds)
