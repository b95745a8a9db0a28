"""The norm proof's parts: projections, exact products, squares, the slack, and what is revealed."""

import functools
import itertools
import math

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import deal
from bdn.paillier.keys import djn_table
from bdn.paillier.norm_proof import HEADROOM, RANGE, SLACK, NormBound, PackedStatement, protocol
from bdn.paillier.norm_proof.commitments import PLACES, CommitmentKey, four_squares
from bdn.paillier.norm_proof.projection import (
    ROWS,
    Projection,
    TransposedMasks,
    limbs_to_integers,
)
from bdn.paillier.norm_proof.statements import rows_bound2
from bdn.paillier.vector import ring
from bdn.randomness import SeededRandomness

CONSTANT = 27.917
"""a of the package's docstring: ‖R u‖² > a·‖u‖² except with probability 2^−128."""


# --- integers -----------------------------------------------------------------------------------


@given(st.integers(0, 1 << 90) | st.integers(0, 200), st.integers(0, 9))
def test_every_integer_is_a_sum_of_four_squares(n, seed):
    assert sum(root**2 for root in four_squares(n, SeededRandomness(seed))) == n


N = 10007 * 10009


@functools.cache
def bases(seed=b"seed", count=20):
    """A commitment key modulo ``N``."""
    return CommitmentKey(N, seed, count)


@given(st.lists(st.integers(-(1 << 90), 1 << 90) | st.integers(-9, 9), max_size=20),
       st.integers(0, 1 << 90))
def test_commitments_equal_plain_powers(exponents, r):
    expected = math.prod(pow(int(g), e, N) for g, e in zip(bases().G, exponents, strict=False))
    w = [mpz(e) for e in exponents]
    assert bases().commit(w, r) == expected * pow(int(bases().H), r, N) % N


@given(st.lists(st.integers(-(1 << 90), 1 << 90), min_size=20, max_size=20), st.integers(2, 13),
       st.integers(1, PLACES + 3))
def test_buckets_give_plain_powers_for_all_digits_and_tables(exponents, width, places):
    key = bases()
    rows = [[pow(g, 1 << (width * k), N) for g in key.G] for k in range(places)]
    expected = math.prod(pow(int(g), e, N) for g, e in zip(key.G, exponents, strict=True)) % N
    assert key._by_buckets(rows, [mpz(e) for e in exponents], width) == expected


@given(st.integers(1, 400), st.integers(2, 13))
def test_signed_digits_reach_both_ends_of_every_length(bits, width):
    for exponent in ((1 << bits) - 1, -(1 << bits) + 1, 1 << (bits - 1), 0):
        assert bases().product([mpz(exponent)]) == pow(int(bases().G[0]), exponent, N)
        powers = bases()._by_buckets([bases().G], [mpz(exponent)], width)
        assert powers == pow(int(bases().G[0]), exponent, N)


def test_bases_are_squares_that_depend_on_key_and_seed_alone():
    G, H = bases().G, bases().H
    for prime in (10007, 10009):
        assert all(pow(int(g), (prime - 1) // 2, prime) == 1 for g in [*G, H])
    shorter = bases(count=5)
    assert G[:5] == shorter.G
    assert shorter.H == H
    assert bases(b"seed 2").G[0] != G[0]
    assert len({*G, H}) == 21


# --- projections --------------------------------------------------------------------------------


def test_rows_have_the_probabilities_of_the_argument():
    """¼, ½, ¼, and no correlation between neighbours in any direction."""
    R = Projection(b"k" * 32, 3000).dense()
    counts = np.array([(value == R).sum() for value in (-1, 0, 1)])
    expected = R.size * np.array([0.25, 0.5, 0.25])
    assert float(((counts - expected) ** 2 / expected).sum()) < 20  # χ² with 2 degrees
    for left, right in ((R[:, 1:], R[:, :-1]), (R[1:], R[:-1]), (R[16:], R[:-16])):
        assert abs(float((left * right).mean())) < 5 * 0.5 / math.sqrt(left.size)
    assert (Projection(b"l" * 32, 3000).dense() != R).any()


@given(st.integers(1, 400), st.integers(0, 5))
def test_projections_and_combinations_equal_the_dense_matrix(columns, seed):
    projection, rng = Projection(bytes([seed]) * 32, columns), np.random.default_rng(seed)
    R = projection.dense().astype(int)
    small = rng.integers(-(1 << 30), 1 << 30, columns)
    large = rng.integers(-(1 << 61) // columns, (1 << 61) // columns, columns)
    for x, y in zip((small, large), projection.times(small, large), strict=True):
        assert np.array_equal(y, R @ x)
    weights = [int(rng.integers(0, 1 << 62)) << 66 | int(rng.integers(0, 1 << 62))
               for _ in range(ROWS)]
    expected = [sum(w * int(r) for w, r in zip(weights, column, strict=True)) for column in R.T]
    assert limbs_to_integers(projection.combine(weights)) == expected


def test_projections_go_on_over_blocks_of_columns(monkeypatch):
    x = np.arange(1000)
    whole = Projection(b"k" * 32, 1000).times(x)[0]
    monkeypatch.setattr("bdn.paillier.norm_proof.projection.BLOCK", 128)
    cut = Projection(b"k" * 32, 1000)
    assert np.array_equal(cut.times(x)[0], cut.dense() @ x)
    assert not np.array_equal(cut.times(x)[0], whole), "the layout is part of the definition"


@given(st.sampled_from([16, 64]), st.integers(1, 40), st.sampled_from([20, 40, 46]),
       st.integers(0, 9))
def test_transposed_products_are_exact(N, length, q_bits, seed):
    rng = np.random.default_rng(seed)
    chunks = -(-length // N)
    polynomials = ring.public_cache(bytes([seed]), N, q_bits, chunks)
    limbs = rng.integers(-(1 << 50), 1 << 50, (3, length))
    residues = rng.integers(0, 1 << q_bits, length).astype(np.uint64)
    w = limbs_to_integers(limbs)
    b, inner = TransposedMasks(polynomials).times(limbs, residues)
    assert inner == sum(x * int(c) for x, c in zip(w, residues, strict=True))
    for column in {0, 1, N - 1}:
        secret = np.zeros(N, dtype=np.int64)
        secret[column] = 1
        low, high, shift = polynomials.integer_product(secret, 1.0)
        masks = [int(a) + (int(h) << shift)
                 for a, h in zip(low.reshape(-1), high.reshape(-1), strict=True)]
        assert b[column] == sum(x * m for x, m in zip(w, masks, strict=False))


# --- the slack ----------------------------------------------------------------------------------


def psi(t, ratio, a):
    """ψ of the package's docstring with U = 1 and q = ``ratio``, for every a in an array."""
    width = t * ratio**2
    k = np.arange(-int(4 * math.sqrt(width)) - 3, int(4 * math.sqrt(width)) + 4)
    g = math.sqrt(math.pi / width) * np.exp(-(np.pi * k) ** 2 / width)
    cosines = np.abs(np.cos(np.pi * np.outer(a, k) / ratio))
    return (cosines ** (2 * np.maximum(1, 1 / a**2))[:, None]) @ g


def test_the_slack_is_what_the_argument_gives():
    """sup ψ = 0.54965, so that 256 rows are short with probability 2^−128 at most."""
    t, worst = 2.31, 0.0
    for ratio in (RANGE, 6, 10, 30, 100):
        a = np.concatenate([np.geomspace(0.02, 1, 300), np.linspace(1, ratio / 2, 300)])
        worst = max(worst, float(psi(t, ratio, a).max()))
    assert worst < 0.549_651
    assert t * CONSTANT / math.log(2) + ROWS * math.log2(worst) <= -128 + 0.001
    assert math.sqrt(HEADROOM * ROWS / 2 / CONSTANT) <= SLACK + 0.0005
    beta = 10**9
    assert rows_bound2(beta) <= CONSTANT * (SLACK + 0.0005) ** 2 * beta**2


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=6), st.floats(5, 40))
def test_the_bound_holds_for_every_vector_by_enumeration(shape, ratio):
    """E exp(−t·y²) ≤ sup ψ, over all 3^n rows, for any u of norm at least U = 1, modulo q."""
    u = np.array(shape) * ratio
    if np.linalg.norm(u) < 1:
        u = u / max(np.linalg.norm(u), 1e-9)
        if not np.isclose(np.linalg.norm(u), 1):
            return
    rows = np.array(list(itertools.product((-1, 0, 1), repeat=len(u))))
    chances = 0.5 ** np.count_nonzero(rows, axis=1) * 0.5 ** len(u)
    y = (rows @ u + ratio / 2) % ratio - ratio / 2
    assert float(chances @ np.exp(-2.31 * y**2)) <= 0.549_651 + 1e-6


def test_honest_norms_fail_as_rarely_as_an_independent_simulation_says():
    """‖R x‖² over its mean: ours beside numpy's own signs; the tail beside χ² with 256 degrees."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1000, 300).astype(np.int64)
    mean = 128 * float(x @ x)
    ours = np.array([float(np.sum(Projection(bytes([i, j]) * 16, 300).times(x)[0] ** 2)) / mean
                     for i in range(4) for j in range(25)])
    signs = (rng.integers(0, 2, (100, ROWS, 300), dtype=np.int8)
             - rng.integers(0, 2, (100, ROWS, 300), dtype=np.int8))
    theirs = np.square(signs.astype(float) @ x).sum(axis=1) / mean
    deviation = math.sqrt(2 / ROWS)
    for sample in (ours, theirs):
        assert abs(sample.mean() - 1) < 5 * deviation / math.sqrt(100)
        assert abs(sample.std() / deviation - 1) < 0.35
    assert ours.max() < HEADROOM
    tail = (rng.chisquare(ROWS, 2_000_000) / ROWS > HEADROOM).mean()
    assert 1 / 3000 < tail < 1 / 1500


# --- what is revealed ---------------------------------------------------------------------------


def small_packed():
    """(statement, levels, nonces) of a vector of four entries, one of them single."""
    public_key, _ = deal(parties=2, threshold=1, bits=256, rng=SeededRandomness(4))
    bound = NormBound(3, 50, (20,))
    levels, offset = np.array([10, -20, 30, 7]), 100
    plaintexts = [sum((int(x) + offset) << (84 * i) for i, x in enumerate(levels[:3])),
                  int(levels[3]) + offset]
    nonces = [5, 6]
    ciphertexts = [djn_table(public_key).power(a, M)
                   for a, M in zip(nonces, plaintexts, strict=True)]
    return PackedStatement(public_key, 84, bound, offset, ciphertexts, b""), levels, nonces


@pytest.mark.parametrize("w", [0, 1])
def test_responses_are_uniform_whatever_they_hide(w, monkeypatch):
    """With three spare bits, so that the ends of the range are drawn often and must be redrawn."""
    monkeypatch.setattr(protocol, "SPARE_BITS", 3)
    length, x_bits = 11, 8  # |x·w| < 2^8
    rng = np.random.default_rng(3)
    kept = []
    while len(kept) < 20_000:
        mask, x = int(rng.integers(1 << length)), int(rng.integers(1 << x_bits))
        answer = mpz(mask + x * w * (-1) ** len(kept))
        if protocol._is_well_inside(answer, length):
            kept.append(int(answer))
    low, high = 1 << x_bits, (1 << length) - (1 << x_bits)
    assert min(kept) >= low
    assert max(kept) < high
    counts = np.histogram(kept, bins=24, range=(low, high))[0]
    expected = len(kept) / 24
    assert float(((counts - expected) ** 2 / expected).sum()) < 60  # χ² with 23 degrees


def test_real_responses_have_uniform_leading_bits():
    """Of one proof, over all its responses, for a witness that is anything but uniform."""
    statement, levels, nonces = small_packed()
    leading = []
    for seed in range(4):
        witness = statement.witness(levels, nonces)
        proof = protocol.prove(statement, witness, SeededRandomness(seed))
        sizes, at = protocol.Sizes.of(statement), 0
        for length in sizes.responses:
            end = at + (length + 7) // 8
            leading.append(int.from_bytes(proof.responses[at:end], "big") >> (length - 4))
            at = end
    counts = np.bincount(leading, minlength=16)
    expected = len(leading) / 16
    assert len(counts) == 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 45  # χ² with 15 degrees


def test_a_prover_draws_masks_again_until_its_responses_are_inside(monkeypatch):
    monkeypatch.setattr(protocol, "SPARE_BITS", 11)
    statement, levels, nonces = small_packed()
    draws = []
    real = protocol._is_well_inside
    monkeypatch.setattr(protocol, "_is_well_inside",
                        lambda answer, length: draws.append(real(answer, length)) or draws[-1])
    for seed in range(5):
        witness = statement.witness(levels, nonces)
        proof = protocol.prove(statement, witness, SeededRandomness(seed))
        protocol.verify(statement, proof)
    assert not all(draws), "with eleven spare bits some attempts must have been thrown away"
