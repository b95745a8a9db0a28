"""Keys for the scheme's tests: seeded, so that every run has the same ones; none is secret."""

import pytest

from bdn.paillier import KeyShare, PublicKey, deal
from bdn.paillier.joint import Parameters, Party, Public, run_parties
from bdn.randomness import SeededRandomness

Key = tuple[PublicKey, list[KeyShare]]


@pytest.fixture(scope="session")
def small() -> Key:
    """A 3-of-5 key of 256 bits: its proofs have challenges of 126 bits."""
    return deal(5, 3, 256, SeededRandomness(b"small"))


@pytest.fixture(scope="session")
def other() -> Key:
    """Another 3-of-5 key of 256 bits."""
    return deal(5, 3, 256, SeededRandomness(b"other"))


@pytest.fixture(scope="session")
def big() -> Key:
    """A 2-of-3 key of 2048 bits."""
    return deal(3, 2, 2048, SeededRandomness(b"big 10"))


@pytest.fixture(scope="session")
def joint() -> tuple[list[Party], list[KeyShare], list[Public]]:
    """Three parties that made a key of 256 bits: (parties, shares, public transcript)."""
    parameters = Parameters(3, 2, 256)
    parties = [Party(i, parameters, SeededRandomness(f"party {i}".encode())) for i in (1, 2, 3)]
    return parties, *run_parties(parties, threads=1)
