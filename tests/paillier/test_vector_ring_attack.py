"""Edge-applied weights give both vectors away; ours give nothing."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.paillier import RingMaskedCipher, deal
from bdn.paillier.vector.ring_attack import attack, recover_secrets
from bdn.randomness import SeededRandomness

WEIGHTS = [(1, 2745), (2745, 1), (1372, 1373), (2744, 2745), (100, 101), (137, 143)]


@functools.cache
def setting():
    """A cipher with the paper's budget and two updates of 3,000 values."""
    public_key, _ = deal(parties=3, threshold=2, bits=512, rng=SeededRandomness(1))
    cipher = RingMaskedCipher(public_key, 3000, total_weight=27_450, contributors=10)
    rng = np.random.default_rng(4)
    return cipher, [rng.normal(0, 0.2, 3000).clip(-1, 1) for _ in range(2)]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_naive_form_loses_both_vectors_completely(weights):
    """Every level of both updates, exactly; and the attacker sees that it succeeded."""
    cipher, vectors = setting()
    found = attack(cipher, vectors, weights, "edge", SeededRandomness(5))
    assert found.exact == (1.0, 1.0)
    assert all(0.8 < noise < 1.2 for noise in found.noise)
    for vector, recovered in zip(vectors, found.vectors, strict=True):
        assert np.max(np.abs(vector - recovered)) <= float(cipher.step) / 2


@pytest.mark.parametrize("weights", [*WEIGHTS, (1, 1)])
def test_the_same_attack_learns_nothing_from_ours(weights):
    """No more exact levels than guessing among 2^16 finds; no correlation; and noise says so."""
    cipher, vectors = setting()
    found = attack(cipher, vectors, weights, "device", SeededRandomness(5))
    assert max(found.exact) < 0.002
    uniform = (1 << cipher.parameters.D_bits) ** 2 / 12 / cipher.parameters.sigma**2
    assert all(abs(noise / uniform - 1) < 0.1 for noise in found.noise)
    for vector, recovered in zip(vectors, found.vectors, strict=True):
        assert abs(np.corrcoef(vector, recovered)[0, 1]) < 0.1


@given(
    weights=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    x=st.lists(st.integers(-102, 102), min_size=5, max_size=5),
    y=st.lists(st.integers(-102, 102), min_size=5, max_size=5),
)
def test_the_shortest_solution_is_found(weights, x, y):
    """It solves s_1 x + s_2 y = T, and none is shorter than the true pair (which need not win)."""
    T = weights[0] * np.array(x) + weights[1] * np.array(y)
    a, b = recover_secrets(T, weights)
    assert (weights[0] * a + weights[1] * b == T).all()
    assert (a**2 + b**2 <= np.array(x) ** 2 + np.array(y) ** 2).all()


def test_the_attack_is_for_two():
    """With more it is a lattice problem of as many dimensions; this module shows the plain case."""
    cipher, vectors = setting()
    with pytest.raises(UsageError):
        attack(cipher, [*vectors, vectors[0]], (1, 2))
