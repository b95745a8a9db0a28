"""An edge server that was cut off: it fetches sealed blocks, and its replica follows its ledger."""

from dataclasses import replace

import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.pbft.replica import Replica

CONFIG = RunConfig(norm_bound=None, devices=4, threshold=2, epochs=3, iterations=1, batch_size=8,
                   samples=12, model="softmax", key_bits=512, deterministic=True, seed=5)


@pytest.mark.parametrize("healed_at", [5, 6, 9])
def test_a_replica_follows_a_ledger_that_ran_ahead_of_the_checkpoint(healed_at: int) -> None:
    """Blocks come eight at a time: the ledger may pass the height that the replica waits for."""
    heights = [0]

    def network(source: str, target: str, _data: bytes, _now: int) -> int | None:
        lost = "edge-3" in (source, target) and source.startswith("edge") and (
            target.startswith("edge")) and heights[0] < healed_at
        return None if lost else 1

    config = replace(CONFIG, epochs=4)
    with opened_run(config, network=network) as run:
        def is_over() -> bool:
            heights[0] = run.edges[0].ledger.height
            return run.is_over()

        run.runner.run(is_over)
        late, first = run.edges[3], run.edges[0]
        replica = late.agreement
        assert isinstance(replica, Replica)
        run.runner.run(lambda: late.ledger.height == first.ledger.height
                       and replica.executed == first.ledger.height)
        assert late.ledger.head == first.ledger.head
