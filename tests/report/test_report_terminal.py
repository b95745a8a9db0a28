"""`bdn show`: what the page has, for those who stay in the terminal."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bdn.chain import Store
from bdn.cli import invoke
from bdn.cli.blocks import check_inclusion, print_block
from bdn.cli.tables import BARS, sparkline
from bdn.report import describe_block, longest_ledger
from bdn.report.blocks import read_blocks


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, with its line breaks taken out."""
    assert invoke(["show", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_run_is_shown_with_all_that_the_page_has(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Curves, latency by stage, nodes, conserved tokens, blocks, the view change, Table 1."""
    history = json.loads((run_folder / "history.json").read_text())
    text = shown(capsys, str(run_folder))
    assert "4 devices · 4 edge servers" in text
    assert f"accuracy {sparkline([row['accuracy'] for row in history['epochs'][:2]])}" in text
    assert "By class" in text
    assert "median" in text
    assert "T training S sealing U upload and checks C consensus P shares O opening" in text
    assert f"genesis made {history['supply']}" in text
    assert "A primary was replaced in epoch 1" in text
    for block in history["blocks"]:
        assert f"│ {block['height']} │ {block['kind']}" in text
    for name in ("Single point of failure", "Privacy leak", "Training data insufficiency",
                 "Data poisoning attack"):
        assert name in text
    assert "bdn lab all --into" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("more", [[], ["4"], ["4", "--gas"], ["0"], ["--epoch", "1"]])
def test_lines_fit_the_terminal(
    run_folder: Path, more: list[str], width: int, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert invoke(["show", str(run_folder), *more]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_an_epoch_is_told_in_order_and_the_view_change_with_it(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sequence diagram as rows; the same stages as on the page."""
    text = shown(capsys, str(run_folder), "--epoch", "1")
    stages = ["Local training", "Sealed updates", "PRE-PREPARE", "VIEW-CHANGE",
              "View 1 begins", "NEW-VIEW", "sealed in view 1"]
    places = [text.index(stage) for stage in stages]
    assert places == sorted(places)
    assert "lost)" in text, "the primary was cut off"
    assert "Set-up" in shown(capsys, str(run_folder), "--epoch", "0")
    assert invoke(["show", str(run_folder), "--epoch", "77"]) == 2
    assert "no epoch 77" in capsys.readouterr().err


def test_a_block_is_told_with_names_events_gas_and_changes(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, str(run_folder), "4", "--gas")
    assert "AggregateTransaction from edge-" in text
    assert "learning.uploaded" in text
    assert "Sealed in view 1 by" in text
    assert "= total" in text
    assert "State: " in text
    assert "mining.contract: " in text
    count = text.count("✓ in the block")
    with Store.open(longest_ledger(run_folder), read_only=True) as store:
        assert count == len(store.block(4).envelopes)


def test_one_block_is_described_as_among_all(run_folder: Path) -> None:
    """describe_block = the explorer's block, gas by line aside; also the values before."""
    with Store.open(longest_ledger(run_folder), read_only=True) as store:
        everything = read_blocks(store)["blocks"]
        for height, block in enumerate(everything):
            alone = describe_block(store, height)
            block = {key: value for key, value in block.items()
                     if key not in ("lines", "calls_gas")}
            assert alone == block


@pytest.mark.parametrize("part", ["raw", "path", "receipt_raw", "receipt_path"])
def test_a_changed_byte_is_not_in_the_block(run_folder: Path, part: str) -> None:
    """Negative control: one bit of leaf or path, and the check names it."""
    with Store.open(longest_ledger(run_folder), read_only=True) as store:
        block = describe_block(store, 4)
    assert not any(check_inclusion(block, i) for i in range(len(block["transactions"])))
    row = block["transactions"][2]
    text = row[part][0] if part.endswith("path") else row[part]
    data = bytearray(base64.b64decode(text))
    data[5] ^= 1
    changed = base64.b64encode(data).decode()
    row[part] = [changed, *row[part][1:]] if part.endswith("path") else changed
    assert check_inclusion(block, 2).startswith(
        "receipt" if part.startswith("receipt") else "transaction")
    console = Console(width=100, record=True, quiet=True)
    assert print_block(block, console) is False


def test_what_a_program_reads_has_not_changed(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["show", str(run_folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"blocks", "history"}
    assert invoke(["show", str(run_folder), "4", "--json"]) == 0
    block = json.loads(capsys.readouterr().out)
    assert {"digest", "header", "seal", "size", "transactions"} <= set(block)


@pytest.mark.parametrize(("more", "says"), [
    (["--gas"], "HEIGHT"), (["4", "--gas", "--json"], "as text"),
    (["4", "--epoch", "1"], "without a HEIGHT"), (["99"], "no block 99"), (["-1"], "-1"),
])  # fmt: skip
def test_what_cannot_be_shown_is_one_line(
    run_folder: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["show", str(run_folder), *more]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""


def test_a_ledger_by_itself_and_an_unfinished_run_are_shown(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = longest_ledger(run_folder)
    assert "candidate" in shown(capsys, str(whole))
    shutil.copy(whole, tmp_path / "ledger.sqlite")
    assert "bdn resume" in shown(capsys, str(tmp_path))



@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=120))
def test_a_sparkline_shows_least_and_largest(values: list[float]) -> None:
    line = sparkline(values)
    assert len(line) == min(len(values), 40)
    assert set(line) <= set(BARS)
    if len(values) <= 40 and max(values) > min(values):
        assert line[values.index(max(values))] == BARS[-1]
        assert line[values.index(min(values))] == BARS[0]
