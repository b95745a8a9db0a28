"""The package's guide holds what it says (STYLE 2)."""

import doctest
import inspect

import bdn.chain


def test_the_guide_s_example_runs() -> None:
    """Propose, seal, commit, believe, verify."""
    result = doctest.testmod(bdn.chain)
    assert result.attempted > 10
    assert result.failed == 0


def test_everything_offered_is_documented() -> None:
    """STYLE 8: public things have docstrings."""
    for name in bdn.chain.__all__:
        thing = getattr(bdn.chain, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name
