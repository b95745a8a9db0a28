"""Shared by the learning tests: the embedded digits, loaded once."""

import pytest

from bdn.learning import Data, load


@pytest.fixture(scope="session")
def digits() -> Data:
    return load("digits")
