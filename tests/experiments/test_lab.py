"""Every experiment of the lab comes out as documented, and says what it should."""

import doctest
import re
from pathlib import Path

import pytest

from bdn.errors import UsageError
from bdn.experiments import lab
from bdn.experiments.runner import StalledError

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(lab.EXPERIMENTS))
def test_an_experiment_comes_out_as_documented(name: str) -> None:
    """Each prints what was tried, what happened, the claim, and what is not covered."""
    played = lab.experiment(name)
    finding = played(512)
    assert finding.held, finding.happened
    assert all((finding.tried, finding.happened, finding.not_covered))
    assert "Table 1" in finding.claimed or "Section" in finding.claimed
    if not played.prevented:
        assert any("ot prevented" in line for line in finding.happened), "it says so"


def test_every_experiment_has_a_name_a_title_and_a_row_of_its_own() -> None:
    """Table 1's four rows are each answered by some experiment."""
    titles = [each.title for each in lab.EXPERIMENTS.values()]
    assert all(title.endswith(".") and len(title) < 100 for title in titles)
    assert len(set(titles)) == len(titles)
    assert {each.row for each in lab.EXPERIMENTS.values()} == set(lab.ROWS)
    with pytest.raises(UsageError, match="edge-weights"):
        lab.experiment("nothing")


def test_the_documented_experiments_are_all_there() -> None:
    """The list that docs/lab.md promises."""
    assert {
        "crash-edge", "crash-primary", "crash-f", "crash-too-many", "lying-primary",
        "withholding-primary", "eavesdropper", "colluding-holders", "decryption-oracle",
        "boosted-device", "device-at-the-bound", "label-flipped", "nan-update",
        "overflowing-device",
        "forged-transaction", "replayed-transaction", "wrong-share", "tampered-ledger",
        "edge-weights",
    } <= lab.EXPERIMENTS.keys()


def test_the_guides_example_runs() -> None:
    """STYLE, habit 2."""
    results = doctest.testmod(lab)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_page_names_every_experiment_and_no_other() -> None:
    """docs/lab.md: the table's first column."""
    text = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert named == list(lab.EXPERIMENTS)


def test_a_run_that_stalls_unexpectedly_has_not_held() -> None:
    """The other experiments of ``bdn lab all`` are still played."""
    def stalls(_key_bits: int) -> lab.Finding:
        """It stalls."""
        raise StalledError("no message is left")

    finding = lab.Experiment("stalls", "none", lab.ROWS[0], stalls)(512)
    assert not finding.held
    assert "no message is left" in finding.happened[0]
