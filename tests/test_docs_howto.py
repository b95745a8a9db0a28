"""The how-to pages and the pages with worked numbers are true: their examples run."""

import doctest
import re
import shlex
import shutil
from pathlib import Path

import pytest

from bdn.cli import invoke

DOCS = Path(__file__).parents[1] / "docs"
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each ``$ bdn …`` line in the page's console blocks."""
    lines = "".join(CONSOLE.findall(page.read_text("utf-8"))).splitlines()
    return [shlex.split(line.removeprefix("$ bdn ")) for line in lines if line.startswith("$ bdn ")]


@pytest.mark.parametrize("name", ["by-hand.md", "how-to/extend.md"])
def test_the_python_of_a_page_gives_what_stands_there(name: str) -> None:
    results = doctest.testfile(str(DOCS / name), module_relative=False, encoding="utf-8")
    assert results.attempted > 10
    assert results.failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["how-to/run.md", "how-to/extend.md"])
def test_the_commands_of_a_page_end_well(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page exits with status 0, in the order of the page."""
    monkeypatch.chdir(tmp_path)
    for contract in DOCS.parent.glob("bdn/chain/contracts/sources/*.contract"):
        shutil.copy(contract, tmp_path)
    found = commands(DOCS / name)
    assert found
    for arguments in found:
        assert invoke(arguments) == 0, arguments


def test_a_link_between_pages_leads_somewhere() -> None:
    """Every relative link of every page is a file of the repository, and its heading is there."""
    checked = 0
    for page in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text("utf-8")):
            path, _, heading = target.partition("#")
            file = (page.parent / path) if path else page
            assert file.exists(), f"{page.name}: {target}"
            if heading and file.suffix == ".md":
                assert heading in headings(file), f"{page.name}: {target}"
            checked += 1
    assert checked > 100


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the page's headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in found)
    return {heading.strip().replace(" ", "-") for heading in plain}
