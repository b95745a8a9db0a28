"""`make bench`: quick profiles that take seconds run to their end; all of them by that command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", ["pbft", "pbft_liveness", "contracts", "ledger"])
def test_the_quick_profile_runs_to_its_end_and_writes_rows(name: str, tmp_path: Path) -> None:
    """One command each, with JSON."""
    out = tmp_path / f"{name}.json"
    subprocess.run([sys.executable, FOLDER / f"{name}.py", "--quick", "--json", out], check=True,
                   capture_output=True)
    found = json.loads(out.read_text("utf-8"))
    assert found["quick"]
    assert found["rows"]
