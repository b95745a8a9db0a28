"""Work that is shared, or done by worker processes, leaves the ledger as it is."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.run import Run, opened_run

Tiny = Callable[..., RunConfig]

def head(run: Run, index: int) -> bytes:
    ledger = run.edges[index].ledger
    return ledger.store.block(ledger.height).digest


def outcome(
    config: RunConfig, listen: Callable[[dict[str, Any]], None] | None = None
) -> tuple[bytes, dict[str, Any]]:
    """The head that all edge servers have, and the history."""
    with opened_run(config, listen=listen) as run:
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


def test_the_ledger_is_the_same_with_worker_processes_though_one_of_them_is_killed(
    finished: Run, tiny: Tiny
) -> None:
    killed: list[int | None] = []

    def kill(record: dict[str, Any]) -> None:
        if record["event"] == "work" and record["kind"] == "seal" and not killed:
            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid)
            worker.kill()

    ahead: list[dict[str, Any]] = []

    def listen(record: dict[str, Any]) -> None:
        kill(record)
        if record.get("ahead"):
            ahead.append(record)

    config = tiny(executor="processes:2", baseline=False)
    in_workers, history = outcome(config, listen)
    assert in_workers == head(finished, 0)
    assert killed
    updates = config.devices * (config.epochs + 1)
    assert len(ahead) == updates  # each was verified where it was sealed, and nowhere else
    assert history["shared_work"]["verify-update"]["computed"] == updates


@pytest.mark.slow
def test_the_ledger_is_the_same_where_a_dask_cluster_trains_and_seals(
    finished: Run, tiny: Tiny
) -> None:
    distributed = pytest.importorskip("distributed", reason="extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        config = tiny(executor=f"dask:{cluster.scheduler_address}", baseline=False)
        on_cluster, _ = outcome(config)
    assert on_cluster == head(finished, 0)
