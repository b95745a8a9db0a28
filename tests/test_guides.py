"""The packages' guides hold examples, and these run (STYLE, habit 2)."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import bdn

ROOT = Path(bdn.__file__).parent
GUIDES = ["bdn.experiments", "bdn.experiments.processes", "bdn.encoding"]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guides_example_runs(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_reading_guide_names_only_what_exists() -> None:
    """Every module, contract and page that `bdn.__doc__` names is there."""
    text = bdn.__doc__ or ""
    for name in set(re.findall(r"`(bdn(?:\.\w+)+)`", text)):
        importlib.import_module(name)
    for name in ("learning", "mining"):
        assert (ROOT / f"chain/contracts/sources/{name}.contract").is_file()
    for page in set(re.findall(r"docs/[\w-]+\.md", text)):
        assert (ROOT.parent / page).is_file(), page
