"""The package's guide is true: its example runs, and what it names exists."""

import ast
import doctest
from pathlib import Path

import bdn.pbft
from bdn.pbft.core import BRANCHES


def test_the_guides_example_runs():
    result = doctest.testmod(bdn.pbft)
    assert result.attempted > 5
    assert result.failed == 0


def test_every_event_told_to_the_trace_is_listed():
    """`BRANCHES` is complete, so that a branch that nothing reached shows as zero."""
    told = set()
    for path in Path(bdn.pbft.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "tell"):
                told.update(n.value for n in ast.walk(node.args[0])
                            if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value)
    assert told == set(BRANCHES)


def test_the_core_never_imports_the_simulator():
    """The simulator stands on the core, never the other way."""
    for path in Path(bdn.pbft.__file__).parent.glob("*.py"):
        assert "pbft.simulator" not in path.read_text(encoding="utf-8")
