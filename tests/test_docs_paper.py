"""docs/paper.md covers the paper: each place has code and a test, and both exist."""

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "paper.md").read_text("utf-8")


def test_every_place_of_the_paper_has_code_and_a_test(checker: ModuleType, page: str) -> None:
    """Complete for every equation, algorithm line, component, figure and table row."""
    assert checker.gaps(page, checker.PLACES) == []


def test_the_list_of_places_is_the_papers(checker: ModuleType, shared: Path) -> None:
    """What is numbered is read from the paper itself; the list in the checker is only a copy."""
    paper = (shared / "paper" / "blockdeepnet.md").read_text("utf-8")
    assert checker.places_of(paper) == list(checker.NUMBERED)


def test_a_place_more_in_the_paper_would_be_missed_here(checker: ModuleType, shared: Path) -> None:
    paper = (shared / "paper" / "blockdeepnet.md").read_text("utf-8")
    longer = paper.replace("18:  End", "18:  End\n19:  Report $w^{(f)}$")
    assert checker.places_of(longer) != list(checker.NUMBERED)
    assert "Alg. 1, line 19" in checker.places_of(longer)


# --- the checker itself -------------------------------------------------------------------------


def test_any_row_taken_away_is_a_gap(checker: ModuleType, page: str) -> None:
    for place in checker.PLACES:
        without = "\n".join(line for line in page.splitlines()
                            if not line.startswith(f"| {place} |"))
        assert without != page.rstrip("\n")
        assert checker.gaps(without, [place])[0] == f"{place}: no row"


FEDERATED = "tests/learning/test_learning_federated.py"
EQ_1 = ("| Eq. (1) | the loss | `bdn.learning.global_loss` | "
        f"`{FEDERATED}::test_equation_1_weights_each_loss_by_its_samples` |")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("global_loss", "globel_loss", "no such code"),
        ("bdn.learning.global_loss", "bdn.lerning.global_loss", "no such code"),
        ("bdn.learning.global_loss", "mining.contract:agregate", "no such code"),
        ("bdn.learning.global_loss", "benchmarks/nothing.py", "no such code"),
        ("bdn.learning.global_loss", "benchmarks/sealing.py:nothing", "no such code"),
        ("`bdn.learning.global_loss`", "the loss", "no code"),
        ("test_equation_1_weights", "test_equation_7_weights", "no such test"),
        ("test_learning_federated.py", "test_learning.py", "no such test"),
        ("::test_equation_1_weights_each_loss_by_its_samples", "", "no such test"),
        ("`tests/", "tests/", "no test"),
        ("the loss", "", "does not say"),
        ("| the loss ", "", "other cells than four"),
        ("`bdn.learning.global_loss`", "none: because", "no reason"),
        ("Eq. (1)", "Eq. (6)", "no row"),
        ("Eq. (1)", "Eq. (6)", "not a place"),
    ],
)
def test_a_broken_row_is_a_gap(checker: ModuleType, old: str, new: str, says: str) -> None:
    assert checker.gaps(EQ_1, ["Eq. (1)"]) == []
    found = checker.gaps(EQ_1.replace(old, new), ["Eq. (1)"])
    assert any(says in gap for gap in found), found


def test_a_row_twice_is_a_gap(checker: ModuleType) -> None:
    assert checker.gaps(f"{EQ_1}\n{EQ_1}", ["Eq. (1)"]) == ["Eq. (1): two rows"]


def test_contracts_and_methods_are_found(checker: ModuleType) -> None:
    for name in ("mining.contract:aggregate", "mining.contract:TREASURY", "benchmarks/sealing.py",
                 "bdn.nodes.device.device.Device._open",
                 "bdn.chain.UpdateTransaction.local_ms"):
        assert checker.code_exists(name), name


# --- the other pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(source: str) -> None:
    """To a file that is there, or that a command on the same page writes."""
    text = (ROOT / "docs" / source).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        written = f"> docs/{target}\n" in text
        assert (ROOT / "docs" / target).exists() or written, f"{source} links to {target}"


def test_the_readmes_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:\s]+)\)", text):
        assert (ROOT / target).exists(), target
