"""The package's guide holds an example, and it runs (STYLE, habit 2)."""

import doctest
import importlib
from pathlib import Path

import pytest

import bdn.ethereum


@pytest.mark.usefixtures("extra")
def test_the_guides_example_runs() -> None:
    results = doctest.testmod(bdn.ethereum)
    assert (results.attempted > 10, results.failed) == (True, 0)


def test_importing_the_package_and_its_modules_needs_no_extra() -> None:
    """Lazily imported; `extra.py` is the only place that loads web3."""
    for path in Path(bdn.ethereum.__file__).parent.glob("*.py"):
        importlib.import_module(f"bdn.ethereum.{path.stem}".removesuffix(".__init__"))
        for name in ("web3", "eth_tester", "eth_abi", "eth_utils", "eth_account", "rlp"):
            assert f"import {name}" not in path.read_text()
            assert f"from {name}" not in path.read_text()
