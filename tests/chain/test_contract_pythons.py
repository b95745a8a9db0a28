"""Every Python gives the same ledger for the same calls, however odd they are."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import fixed_ledger
import pytest
from fixed_ledger import NAMES, build, environment, interpreters

PYTHONS = dict(interpreters())


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    """The digests under this Python."""
    return build()


def test_the_ledger_is_fixed(ours: dict[str, str]) -> None:
    """Built twice it is the same, and it holds failures of many kinds."""
    assert build() == ours
    assert len({what.partition(": ")[2] for what in ours}) > 20
    assert any(unicodedata.category(name[0]) == "Cn" for name in NAMES if name) or (
        sys.version_info >= (3, 13))


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in (11, 12, 13)])
def test_every_python_builds_the_same_ledger(
    version: str, ours: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Receipts once held the `repr` of what a sender chose, and Pythons disagree on what prints.
    Environments are kept in pytest's cache, where there is one."""
    if version not in PYTHONS:
        pytest.skip(f"there is no Python {version} here")
    cache = getattr(request.config, "cache", None)
    folder = tmp_path if cache is None else Path(cache.mkdir("pythons"))
    python = environment(version, PYTHONS[version], folder)
    if python is None:
        pytest.skip(f"the packages for Python {version} cannot be had here")
    done = subprocess.run([python, fixed_ledger.__file__], capture_output=True, text=True,
                          check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert json.loads(done.stdout) == ours
