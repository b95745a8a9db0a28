"""`make docs` builds the site from the pages and docstrings, and every warning is an error."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed, reason="the site is built by Sphinx (extra docs)")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html",
         str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    for page in ("index", "tour", "glossary", "api", "guides/run"):
        assert (tmp_path / f"{page}.html").is_file()


def test_every_page_is_in_the_index() -> None:
    """The readable index links to each page, and each is in the site's table of contents."""
    docs = ROOT / "docs"
    readable, contents = ((docs / name).read_text("utf-8") for name in ("README.md", "index.md"))
    pages = {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    for page in sorted(pages - {"README", "index", "api"}):
        assert f"({page}.md)" in readable, page
        assert page in contents or page.startswith("guides/"), page
