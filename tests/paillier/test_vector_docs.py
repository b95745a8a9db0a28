"""The worked example of docs/ring-masked.md is run, so that the page cannot lie."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_ring_masked_page_is_true():
    """Every line of Python on the page gives what the page says."""
    failures, tried = doctest.testfile(
        str(DOCS / "ring-masked.md"), module_relative=False, encoding="utf-8"
    )
    assert tried > 25
    assert failures == 0
