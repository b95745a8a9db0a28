"""docs/tour.md is true: every line of Python on it is run, and gives what stands there."""

import doctest
import re
from pathlib import Path

from bdn.cli import COMMANDS

PAGE = Path(__file__).parents[1] / "docs" / "tour.md"


def test_the_tour_of_one_epoch_is_true() -> None:
    """A guided tour of one epoch, executed. Messages of errors are compared too."""
    results = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 60
    assert results.failed == 0


def test_the_commands_to_try_next_are_there() -> None:
    text = PAGE.read_text("utf-8")
    named = set(re.findall(r"^bdn (\w+)", text, re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_the_files_to_read_next_are_there() -> None:
    text = PAGE.read_text("utf-8")
    files = set(re.findall(r"`((?:bdn|docs|tests)/[\w/.]+)`", text))
    assert len(files) > 15
    missing = [name for name in files if not (PAGE.parents[1] / name).is_file()]
    assert missing == []
