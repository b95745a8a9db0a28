"""Table 1 with the lab's outcomes and this run's own figures."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import AggregateTransaction, ShareTransaction, Store, UpdateTransaction
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.lab import Experiment
from bdn.report import (
    CHALLENGES,
    evidence,
    longest_ledger,
    read_facts,
    read_rounds,
    write_report,
)
from bdn.report.inputs import read_inputs
from bdn.report.page import render
from bdn.runfolder.findings import BEYOND, Finding, read_lab
from bdn.runfolder.findings import ROWS as TABLE_ROWS

ROWS = [challenge.name for challenge in CHALLENGES]


def finding(**changes: Any) -> dict[str, Any]:
    """A finding as `bdn lab all --into RUN` writes it."""
    return {
        "experiment": "crash-primary", "group": "crash", "row": ROWS[0],
        "title": "The primary crashes.", "tried": "Edge server 0 stops.",
        "happened": ["Sealed in views [0, 1].", "The model is the same."],
        "claimed": "Table 1: no central control.", "not_covered": "More than f of them.",
        "held": True, **changes,
    }


def lab(*findings: dict[str, Any]) -> dict[str, Any]:
    """A lab.json."""
    return {"machine": "two cores", "date": "2026-11-22", "key_bits": 2048,
            "findings": list(findings)}


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may write to."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def put(folder: Path, content: Any) -> Path:
    (folder / "lab.json").write_text(json.dumps(content))
    return folder


# --- what this run shows ------------------------------------------------------------------------


def test_the_rows_are_the_papers(shared: Path) -> None:
    """Each challenge is a row of Table 1 by its own name; the words are ours."""
    paper = (shared / "paper" / "blockdeepnet.md").read_text()
    table = paper[paper.index("Table 1. Qualitative"):paper.index("Privacy and security analysis")]
    for challenge in CHALLENGES:
        assert f"\n{challenge.name}\t" in table
        assert challenge.claim not in paper


def test_the_facts_are_the_ledgers(run_folder: Path) -> None:
    """Counted here from history and trace, there from the blocks."""
    history = json.loads((run_folder / "history.json").read_text())
    trace = [json.loads(line) for line in (run_folder / "trace.jsonl").read_text().splitlines()]
    with Store.open(longest_ledger(run_folder), read_only=True) as store:
        facts = read_facts(store)
    assert facts.blocks == len(history["blocks"])
    assert facts.views == tuple(sorted({block["view"] for block in history["blocks"]}))
    assert facts.fewest_signers == 3, "a quorum of four"
    assert facts.transactions == sum(block["transactions"] for block in history["blocks"])
    assert facts.aggregates == len(history["epochs"]) == 3
    assert facts.updates == sum(len(row["contributors"]) for row in history["epochs"])
    assert facts.fewest_contributors == min(len(row["contributors"]) for row in history["epochs"])
    sealed = {record["epoch"] for record in trace if record["event"] == "epoch-done"}
    assert sealed == {1, 2}
    assert facts.failed == 0


def test_a_replaced_primary_and_the_gain_are_told(run_folder: Path) -> None:
    """The fixture's run cuts its primary off once: blocks of views 0 and 1."""
    inputs = read_inputs(run_folder)
    with Store.open(inputs.ledger, read_only=True) as store:
        facts = read_facts(store)
    shown = evidence(inputs.history, facts)
    assert list(shown) == ROWS
    assert "views 0 and 1" in " ".join(shown[ROWS[0]])
    assert "2 of 4 key holders" in " ".join(shown[ROWS[1]])
    inputs.history["accuracy"] = 0.5
    for device, alone in zip(inputs.history["devices"], (0.1, 0.2, 0.3, 0.4), strict=True):
        device["accuracy_alone"] = alone
    gain = " ".join(evidence(inputs.history, facts)[ROWS[2]])
    assert "10.0 points above the best device alone (40.0%), +25.0 against the median" in gain
    inputs.history["accuracy"] = 0.3
    assert "10.0 points BELOW" in " ".join(evidence(inputs.history, facts)[ROWS[2]])
    inputs.history["refused"] = [{"event": "refused"}] * 2 + [{"event": "failed"}]
    assert "2 × refused and 1 × failed" in " ".join(evidence(inputs.history, facts)[ROWS[3]])


# --- the lab's findings -------------------------------------------------------------------------


def test_without_the_lab_the_section_says_how_to_fill_it(run_folder: Path) -> None:
    page = render(read_inputs(run_folder))
    assert "The attack lab has not been played" in page
    assert "bdn lab all --into run" in page
    for challenge in CHALLENGES:
        assert f"<h3>{challenge.name}</h3>" in page


@pytest.mark.parametrize(("date", "told"), [
    ("2026-11-22T23:10:43+00:00", "2026-11-22 23:10 UTC"), ("2026-11-22", "2026-11-22"),
    ("yesterday", "yesterday"),
])  # fmt: skip
def test_the_time_of_the_lab_is_told_for_people(tmp_path: Path, date: str, told: str) -> None:
    read = read_lab(put(tmp_path, {**lab(), "date": date}))
    assert read is not None
    assert read.date == told


def test_each_finding_stands_in_its_row(folder: Path) -> None:
    items = [finding(row=row, experiment=f"number-{i}", title=f"Title {i}")
             for i, row in enumerate([*ROWS, "Section 4.2"])]
    page = write_report(put(folder, lab(*items))).read_text()
    names = [*ROWS, BEYOND]
    places = [page.index(f"<h3>{name}</h3>") for name in names] + [page.index('id="ledger"')]
    for i, item in enumerate(items):
        assert places[i] < page.index(f"Title {i}") < places[i + 1], item["row"]
    assert "5 of 5 experiments came out as documented, with a 2048-bit key" in page


@pytest.mark.parametrize(("held", "prevented", "style", "verdict"), [
    (True, True, "ok", "held"), (False, True, "no", "DID NOT HOLD"),
    (True, False, "open", "not prevented, as documented"),
    (False, False, "no", "NOT AS DOCUMENTED"),
])  # fmt: skip
def test_a_verdict_is_not_kinder_than_its_finding(
    folder: Path, held: bool, prevented: bool, style: str, verdict: str
) -> None:
    """What is not prevented is never green, and what did not hold is red."""
    page = write_report(put(folder, lab(finding(held=held, prevented=prevented)))).read_text()
    assert f'<b class="{style}">{verdict}</b>' in page


def test_findings_are_text_not_markup(folder: Path) -> None:
    nasty = finding(title="<script>x</script>", happened=["<b>"], tried="a & b")
    page = write_report(put(folder, lab(nasty))).read_text()
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "<script>x" not in page
    assert "<li>&lt;b&gt;</li>" in page


@pytest.mark.parametrize("content", [
    "{", "[]", "null", json.dumps({"findings": []}), json.dumps(lab(finding(held="yes"))),
    json.dumps(lab(finding(happened="a"))), json.dumps(lab(finding(title=3))),
    json.dumps(lab({})), json.dumps({**lab(), "findings": 4}),
    json.dumps({**lab(), "key_bits": "x"}),
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + "\x00",
])  # fmt: skip
def test_a_damaged_lab_file_is_one_line(
    folder: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 from both; `show` shows the rest, and the page that was there stays."""
    before = (folder / "report.html")
    before.write_text("the old page")
    (folder / "lab.json").write_bytes(content.encode("latin-1"))
    for command in ("report", "show"):
        assert invoke([command, str(folder)]) == 2
        captured = capsys.readouterr()
        assert "lab.json is damaged" in captured.err
        assert "bdn lab all --into" in captured.err
        assert captured.err.count("\n") == 1
        assert ("device-1" in captured.out) == (command == "show")
    assert before.read_text() == "the old page"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["machine", "date", "key_bits", "findings", *finding()]), inner,
        max_size=9),
))  # fmt: skip
def test_any_json_is_a_lab_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab.json").write_text(json.dumps(content))
    with contextlib.suppress(UsageError):  # and no other class of error
        assert read_lab(folder) is not None


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("prevented", [True, False])
def test_what_the_lab_writes_is_what_the_report_reads(
    tmp_path: Path, held: bool, prevented: bool
) -> None:
    """Verdicts included."""

    def play(key_bits: int) -> Finding:
        """The primary crashes."""
        return Finding("tried", ("so", "and so"), "claimed", "not covered", held)

    for row in TABLE_ROWS:
        found = Experiment("crash", "crashes", row, play, prevented)(512)
        put(tmp_path, lab(found.to_plain()))
        read = read_lab(tmp_path)
        assert read is not None
        assert read.of(row) == (found,)
        assert (found.title, found.experiment) == ("The primary crashes.", "crash")
    assert list(TABLE_ROWS) == ROWS


def test_no_file_is_no_lab(tmp_path: Path) -> None:
    assert read_lab(tmp_path) is None


class FakeStore:
    """Just enough of a store for `read_rounds`: payloads by block."""

    def __init__(self, blocks: list[list[Any]]) -> None:
        self.blocks = blocks

    def height(self) -> int:
        return len(self.blocks) - 1

    def block(self, height: int) -> Any:
        return SimpleNamespace(
            envelopes=[SimpleNamespace(payload=item) for item in self.blocks[height]])


def update(epoch: int, phase: str = "weights") -> UpdateTransaction:
    return UpdateTransaction(epoch, phase, 1, 1, bytes(32), 1, 1)


def total(epoch: int, phase: str = "weights") -> AggregateTransaction:
    return AggregateTransaction(epoch, phase, bytes(32), 1, 1, (bytes(20),), 1)


def test_blocks_before_a_sum_belong_to_the_round_that_they_prepare() -> None:
    """A block of updates or shares before the sum is part of the sum's round."""
    share = ShareTransaction(1, "weights", 1, bytes(32), 1, 1)
    checked = [[], [], [update(1)], [share], [total(1)], [share], [update(1, "loss"),
                                                                  total(1, "loss")], [share]]
    rounds = read_rounds(FakeStore(checked))  # type: ignore[arg-type]  # it reads nothing else
    assert rounds.by_height == (-1, -1, 0, 0, 0, 0, 1, 1)
    assert [item.height for item in rounds.rounds] == [4, 6]
    assert [rounds.reaches_sum(0, height) for height in (2, 3, 4, 5)] == [False, False, True, True]
    plain = [[], [], [update(1), total(1)], [share], [update(2), total(2)]]
    assert read_rounds(FakeStore(plain)).by_height == (-1, -1, 0, 0, 1)  # type: ignore[arg-type]
    stopped = [[], [update(1), total(1)], [share], [update(2)]]
    assert read_rounds(FakeStore(stopped)).by_height == (-1, 0, 0, 0)  # type: ignore[arg-type]
