"""A small sample of `kill_and_resume.py`: kills at random instants, and a crowd at one folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

OPTIONS = ["--devices", "3", "--threshold", "2", "--epochs", "1", "--iterations", "2",
           "--batch-size", "8", "--samples", "20", "--key-bits", "512", "--seed", "3"]


@pytest.fixture(scope="module")
def campaigns() -> ModuleType:
    """The command beside this file."""
    path = Path(__file__).with_name("kill_and_resume.py")
    spec = importlib.util.spec_from_file_location("kill_and_resume", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_few_kills_lose_nothing(campaigns: ModuleType, tmp_path: Path) -> None:
    campaigns.kill_often(campaigns.Campaign(tmp_path, OPTIONS), kills=2, seed=5)


@pytest.mark.slow
def test_a_small_crowd_leaves_one_run(campaigns: ModuleType, tmp_path: Path) -> None:
    campaigns.crowd(campaigns.Campaign(tmp_path, OPTIONS), count=6, seed=5)
