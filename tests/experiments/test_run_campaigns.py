"""A small sample of `kill_and_resume.py`: kills at random instants, and a crowd at one folder."""

from pathlib import Path

import pytest
from kill_and_resume import Campaign, crowd, kill_often

OPTIONS = ["--devices", "3", "--threshold", "2", "--epochs", "1", "--iterations", "2",
           "--batch-size", "8", "--samples", "20", "--key-bits", "512", "--seed", "3",
           "--model", "softmax"]


@pytest.mark.slow
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    kill_often(Campaign(tmp_path, OPTIONS), kills=2, seed=5)


@pytest.mark.slow
def test_a_small_crowd_leaves_one_run(tmp_path: Path) -> None:
    crowd(Campaign(tmp_path, OPTIONS), count=6, seed=5)
