"""The package's guide is run, so it stays true."""

import doctest

import bdn.paillier


def test_the_guides_example_runs_as_printed():
    results = doctest.testmod(
        bdn.paillier, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert results.attempted >= 6
    assert results.failed == 0
