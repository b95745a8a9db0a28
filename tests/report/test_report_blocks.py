"""The block explorer's data holds against the ledger, and by other code than the page's."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import (
    LedgerError,
    Receipt,
    Store,
    decode_envelope,
    decode_header,
    decode_receipt,
    header_digest,
    merkle,
    transaction_digest,
)
from bdn.report import blocks as module
from bdn.report.blocks import read_blocks
from bdn.report.gas_profile import gas_by_line
from bdn.report.inputs import read_inputs


@pytest.fixture(scope="module")
def store(run_folder: Path) -> Iterator[Store]:
    with Store.open(read_inputs(run_folder).ledger, read_only=True) as store:
        yield store


@pytest.fixture(scope="module")
def explorer(store: Store) -> dict[str, Any]:
    return read_blocks(store)


def test_every_embedded_proof_is_the_ledgers(explorer: dict[str, Any]) -> None:
    """RFC 6962: leaves and paths lead to the roots of headers whose digests are the blocks'."""
    for block in explorer["blocks"]:
        header = decode_header(base64.b64decode(block["raw"]))
        assert header_digest(header).hex() == block["digest"]
        rows = block["transactions"]
        for position, row in enumerate(rows):
            leaf, outcome = base64.b64decode(row["raw"]), base64.b64decode(row["receipt_raw"])
            for data, path, root in ((leaf, row["path"], header.transactions_root),
                                     (outcome, row["receipt_path"], header.receipts_root)):
                merkle.verify_inclusion(merkle.leaf_hash(data), position, len(rows),
                                        [base64.b64decode(item) for item in path], root)
            assert transaction_digest(decode_envelope(leaf)).hex() == row["digest"]
            assert decode_receipt(outcome).gas_used == row["gas"]


def test_gas_by_line_adds_up_to_the_receipts(explorer: dict[str, Any]) -> None:
    """A block's lines and the flat price of its calls sum to its receipts' gas."""
    for block in explorer["blocks"]:
        lines = sum(gas for by_line in block["lines"].values() for gas in by_line.values())
        charged = sum(row["gas"] for row in block["transactions"])
        assert lines + block["calls_gas"] == charged
        assert 0 < block["calls_gas"] <= 250 * len(block["transactions"])


def test_the_heavy_lines_are_where_the_ciphertexts_are(explorer: dict[str, Any]) -> None:
    """Algorithm 2, lines 16 and 18: verification and the weighted product cost nearly all."""
    block = next(item for item in explorer["blocks"] if item["kind"] == "candidate")
    lines = block["lines"]["mining"]
    source = explorer["sources"]["mining"].splitlines()
    heavy = sorted(lines, key=lambda line: -lines[line])[:2]
    assert {name for line in heavy for name in ("verify_update(", "weighted_sum(")
            if name in source[line - 1]} == {"verify_update(", "weighted_sum("}


class Dearer(Store):
    """A store whose first candidate block charges one gas more than the contracts do."""

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """The receipts, the last one altered."""
        *rest, last = super().receipts(height)
        return (*rest, replace(last, gas_used=last.gas_used + (height == 4)))


def test_a_replay_that_disagrees_is_not_shown(run_folder: Path) -> None:
    with Dearer.open(read_inputs(run_folder).ledger, read_only=True) as store:
        with pytest.raises(LedgerError, match="block 4"):
            gas_by_line(store)
        explorer = read_blocks(store)
    assert "left out" in explorer["gas_note"]
    assert not any("lines" in block for block in explorer["blocks"])


def test_the_state_diff_ends_in_the_state(explorer: dict[str, Any], store: Store) -> None:
    """Each entry's before is the last after; the balances at the end are the contract's."""
    last: dict[str, str] = {}
    for block in explorer["blocks"]:
        assert len(block["changes"]) == len(store.writes(block["height"]))
        for slot, before, after in block["changes"]:
            assert before == last.get(slot, "")
            last[slot] = after
    balances = {slot: int(value) for slot, value in last.items()
                if slot.startswith("learning.balances[")}
    assert sum(balances.values()) == int(last["learning.supply"])
    assert "learning.balances[device-1]" in balances


def test_seals_name_view_and_signers(explorer: dict[str, Any]) -> None:
    """Q = 3 signatures of one view; the cut-off primary's is absent."""
    block = explorer["blocks"][4]
    assert block["seal"]["view"] == 1
    assert len(block["seal"]["signers"]) == 3
    assert "genesis" in explorer["blocks"][0]["seal"]["text"]


def test_what_exceeds_the_budget_goes_without_proof(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long runs keep every block, and only as many proofs as fit."""
    monkeypatch.setattr(module, "PROOF_BUDGET", 3_000)
    rows = [row for block in read_blocks(store)["blocks"] for row in block["transactions"]]
    assert "raw" in rows[0]
    assert "raw" not in rows[-1]
    assert all(row["digest"] for row in rows)
