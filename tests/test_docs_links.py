"""The page with worked numbers is true, and links between pages lead somewhere."""

import doctest
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_worked_numbers_are_right() -> None:
    results = doctest.testfile(str(DOCS / "by-hand.md"), module_relative=False, encoding="utf-8")
    assert results.attempted > 30
    assert results.failed == 0


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
