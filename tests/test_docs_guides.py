"""The guides' code runs as it stands: docs/guides/README.md says how a page is read."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
PAGES = sorted(path.stem for path in GUIDES.glob("*.md") if path.stem != "README")
NEEDS = {"pytorch": "torch", "flower": "flwr"}
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


def program(page: str) -> tuple[dict[str, str], str]:
    """The files of a page, and all its other blocks as one program."""
    files, lines = {}, ["from bdn.cli import invoke"]
    for kind, code in BLOCK.findall(page):
        named = FILE.match(code)
        if kind == "sh":
            lines += [f"assert invoke({shlex.split(line)[1:]!r}) == 0"
                      for line in code.splitlines()]
        elif named:
            files[named[1]] = code
        else:
            lines.append(code)
    return files, "\n".join(lines)


@pytest.mark.parametrize("name", PAGES)
def test_a_guides_code_runs(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    files, code = program((GUIDES / f"{name}.md").read_text(encoding="utf-8"))
    assert "invoke([" in code or "bdn.run(" in code
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "page.py").write_text(code)
    ran = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True,
                         check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_every_guide_is_listed() -> None:
    listed = re.findall(r"\((\S+)\.md\)", (GUIDES / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == PAGES
