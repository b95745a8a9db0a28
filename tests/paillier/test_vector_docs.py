"""The examples of docs/ring-masked.md and `bdn.paillier.vector` are run: they cannot lie."""

import doctest
from pathlib import Path

from bdn.paillier import vector

DOCS = Path(__file__).parents[2] / "docs"


def test_the_ring_masked_page_is_true():
    """Every line of Python on the page gives what the page says."""
    failures, tried = doctest.testfile(
        str(DOCS / "ring-masked.md"), module_relative=False, encoding="utf-8"
    )
    assert tried > 25
    assert failures == 0


def test_the_example_of_the_vector_ciphers_is_true():
    """Both ciphers, the same lines, the same sums."""
    failures, tried = doctest.testmod(vector)
    assert tried == 3
    assert failures == 0
