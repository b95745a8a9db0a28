"""Who takes part in an epoch: drawn from the ledger, by everybody alike, and fairly."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bdn.chain import BlockError, ShareTransaction, UpdateTransaction, device_numbers
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.run import Run, opened_run
from bdn.nodes.participation import draw, draw_cell, is_drawn
from bdn.nodes.settings import WEIGHTS

VECTOR = np.array([0.5, -0.25, 1.0, 2.0])

CONFIG = RunConfig(model="softmax", devices=6, edges=1, threshold=2, epochs=3, iterations=1,
                   batch_size=4, samples=8, key_bits=512, deterministic=True, seed=3,
                   norm_bound=None, participation=0.5)


def by_hand(seed: bytes, devices: list[bytes], count: int) -> set[bytes]:
    """The draw by its definition: the least SHA-256 of domain, seed and address, one by one."""
    left, drawn = list(devices), set()
    for _ in range(count):
        best = left[0]
        for device in left:
            if (hashlib.sha256(b"bdn/participation" + seed + device).hexdigest()
                    < hashlib.sha256(b"bdn/participation" + seed + best).hexdigest()):
                best = device
        left.remove(best)
        drawn.add(best)
    return drawn


def test_every_set_of_devices_is_drawn_as_often() -> None:
    """χ² over all 20 sets of 3 of 6 devices in 8,000 draws: 19 degrees of freedom, 5 σ."""
    devices = [bytes([k]) * 20 for k in range(6)]
    counts = Counter(draw(number.to_bytes(32, "big"), devices, 3) for number in range(8000))
    sets = [frozenset(chosen) for chosen in itertools.combinations(devices, 3)]
    statistic = sum((counts[chosen] - 400) ** 2 / 400 for chosen in sets)
    assert sum(counts.values()) == 8000
    assert abs(statistic - 19) < 5 * (2 * 19) ** 0.5


@pytest.fixture(scope="module")
def run() -> Any:
    """A finished run in which three of six devices are drawn for each epoch."""
    with opened_run(CONFIG) as run:
        run.complete()
        yield run


def test_each_draw_follows_from_the_block_before_and_nobody_else_contributes(run: Run) -> None:
    """Recomputed from the blocks alone: the contributors are the drawn devices, phase by phase."""
    ledger = run.edges[0].ledger
    devices = list(run.material.common.device_addresses)
    blocks = [ledger.store.block(height) for height in range(1, ledger.height + 1)]
    seeds = {}
    for block in blocks:
        for envelope in block.transactions:
            payload = envelope.payload
            if isinstance(payload, ShareTransaction) and payload.phase == WEIGHTS:
                seeds.setdefault(payload.epoch + 1, block.header.parent)
    confirmed = next(block for block, before in zip(blocks[1:], blocks, strict=False)
                     if any(isinstance(e.payload, UpdateTransaction) for e in block.transactions))
    seeds[1] = ledger.store.block(confirmed.header.height - 1).header.parent
    found = {}
    for block in blocks:
        if block.aggregate is not None:
            at = block.aggregate.payload
            turn = at.epoch + (at.phase == "loss")
            found[turn] = {devices[k] for k in device_numbers(at.contributors)}
    assert sorted(found) == [1, 2, 3, 4]
    for turn, contributors in found.items():
        assert contributors == by_hand(seeds[turn], devices, 3)
        assert contributors == draw(seeds[turn], devices, 3)
    assert len({frozenset(contributors) for contributors in found.values()}) > 1


def test_only_contributors_are_paid(run: Run) -> None:
    """Data rewards: a token per sample and epoch in which the device was drawn."""
    earned = Counter(run.material.device_names[k]
                     for record in run.devices[0].progress.history if not record.closing
                     for k in device_numbers(record.contributors))
    for name, address in zip(run.material.device_names, run.material.common.device_addresses,
                             strict=True):
        assert run.edges[0].ledger.call("learning", "balance_of", address) == 8 * earned[name]


def test_an_update_of_a_device_that_was_not_drawn_is_refused(mini: Callable[..., Any]) -> None:
    """By the contract, so that no block with it in Tx_co is valid and `bdn verify` refuses it."""
    chain = mini(drawn=2)
    chain.make_key()
    drawn = [k for k, device in enumerate(chain.devices)
             if chain.call("is_drawn", 1, WEIGHTS, device.address)]
    assert len(drawn) == 2
    (left_out,) = {0, 1, 2} - set(drawn)
    assert set(chain.call("awaited")["who"]) == {chain.devices[k].address for k in drawn}
    update = chain.update(left_out, VECTOR, 5)
    assert "not drawn for epoch 1" in str(chain.put(update)[0].error)
    with pytest.raises(BlockError, match="Tx_co failed"):
        chain.aggregate([chain.update(k, VECTOR, 5) for k in (left_out, drawn[0])])
    assert chain.aggregate([chain.update(k, VECTOR, 5) for k in drawn])[-1].ok


def test_an_edge_server_lets_no_such_update_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that insists is told why."""
    monkeypatch.setattr("bdn.nodes.device.device.is_drawn", lambda _cell, _device: True)
    with opened_run(replace(CONFIG, epochs=1)) as insisting:
        history = insisting.complete()
    reasons = {item["reason"] for item in history["refused"] if "reason" in item}
    assert any("was not drawn for epoch 1" in reason for reason in reasons)
    assert all(len(row["contributors"]) == 3 for row in history["epochs"])


def test_a_cell_that_is_no_draw_draws_nobody() -> None:
    assert not is_drawn(b"\x01", b"a" * 20)
    assert draw_cell(1) != draw_cell(2)


def test_too_small_a_part_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert RunConfig(devices=30, threshold=2, participation=0.1).drawn == 3
    with pytest.raises(UsageError, match="draws 2, and 3 must contribute"):
        replace(CONFIG, participation=0.3)
    assert invoke(["run", "--participation", "0"]) == 2
    assert "--participation must lie between" in capsys.readouterr().err
