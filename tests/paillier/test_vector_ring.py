"""Ring arithmetic and sampling: the fast forms equal the plain ones."""

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.paillier.vector import ring, sampling
from bdn.paillier.vector.ring_masked import RINGS, SIGMA
from bdn.randomness import Randomness

B = int(sampling.TAIL * SIGMA)


def schoolbook(a, s, q_bits):
    """a·s in Z_q[X]/(X^N + 1) by the definition: X^N = −1."""
    N = len(a)
    result = [0] * N
    for i, x in enumerate(a):
        for j, y in enumerate(s):
            sign = 1 if i + j < N else -1
            result[(i + j) % N] += sign * int(x) * int(y)
    return [value % (1 << q_bits) for value in result]


rings = st.tuples(st.sampled_from([2, 4, 8, 16]), st.integers(4, 56))


@given(shape=rings, bound=st.sampled_from([1, 100, 70_000]), data=st.data())
def test_kronecker_is_the_definition(shape, bound, data):
    """Kronecker substitution equals schoolbook multiplication modulo X^N + 1 and q."""
    N, q_bits = shape
    a = data.draw(st.lists(st.integers(0, (1 << q_bits) - 1), min_size=N, max_size=N))
    s = data.draw(st.lists(st.integers(-bound, bound), min_size=N, max_size=N))
    fast = ring.kronecker_product(np.array(a, dtype=np.uint64), np.array(s, dtype=np.int64), q_bits)
    assert fast.tolist() == schoolbook(a, s, q_bits)


@pytest.mark.parametrize(("N", "q_bits"), RINGS)
@pytest.mark.parametrize("bound", [1, B, 10 * B, 1 << 17])
def test_the_fft_product_is_the_kronecker_product(N, q_bits, bound):
    """For every ring in use, and secrets up to the sum of a thousand."""
    polynomials = ring.PublicPolynomials(b"test", N, q_bits, 2)
    s = np.random.default_rng(bound).integers(-bound, bound + 1, N)
    product = polynomials.times(s)
    for row, a in zip(product, polynomials.residues, strict=True):
        assert (row == ring.kronecker_product(a, s, q_bits)).all()


@pytest.mark.parametrize(("N", "q_bits"), RINGS)
@pytest.mark.parametrize("signs", ["equal", "alternating"])
def test_the_fft_product_is_exact_in_the_worst_case(N, q_bits, signs):
    """All coefficients at their extremes, where every product of a limb has its largest value."""
    polynomials = ring.PublicPolynomials(b"", N, q_bits, 1)
    polynomials.residues[:] = np.uint64((1 << q_bits) - 1)
    s = np.full(N, B, dtype=np.int64)
    if signs == "alternating":
        s[1::2] *= -1
    product = polynomials.times(s, B * math.sqrt(N))
    assert (product[0] == ring.kronecker_product(polynomials.residues[0], s, q_bits)).all()


@given(shape=rings, seed=st.binary(max_size=8), data=st.data())
def test_small_rings_too(shape, seed, data):
    """The toy rings of tests and docs use the same code."""
    N, q_bits = shape
    s = np.array(data.draw(st.lists(st.integers(-50, 50), min_size=N, max_size=N)), dtype=np.int64)
    polynomials = ring.PublicPolynomials(seed, N, q_bits, 3)
    for row, a in zip(polynomials.times(s), polynomials.residues, strict=True):
        assert row.tolist() == schoolbook(a, s, q_bits)


def test_the_rounding_error_is_far_below_its_bound():
    """The bound that decides the number of limbs is a bound: measured against exact integers."""
    N, bits = 2048, 20
    rng = np.random.default_rng(5)
    limb = rng.integers(0, 1 << bits, N)
    s = rng.integers(-B, B + 1, N)
    product = ring.backward(ring.forward(limb.astype(float)) * ring.forward(s.astype(float)))
    exact = ring.kronecker_product(limb.astype(np.uint64), s, 60).astype(np.int64)
    exact -= (exact >= 1 << 59) * (1 << 60)
    error = np.max(np.abs(product - exact))
    bound = ring.rounding_error(N) * np.linalg.norm(limb) * np.linalg.norm(s)
    assert error < bound / 20
    assert bound < ring.MARGIN


def test_a_secret_too_long_for_doubles_is_refused():
    """Rather than rounded wrongly."""
    with pytest.raises(UsageError):
        ring.limb_count(2048, 40, 2.0**40)


@given(width=st.integers(1, 8), data=st.data())
def test_residues_have_canonical_little_endian_bytes(width, data):
    """Five bytes a value for q = 2^40, whatever the machine's own order."""
    values = data.draw(st.lists(st.integers(0, (1 << (8 * width)) - 1), max_size=20))
    encoded = ring.to_bytes(np.array(values, dtype=np.uint64), width)
    assert encoded == b"".join(value.to_bytes(width, "little") for value in values)
    assert ring.from_bytes(encoded, width).tolist() == values


def test_public_polynomials_differ_by_seed_ring_and_chunk_and_do_not_depend_on_the_count():
    """a_j is a function of (seed, ring, j): a vector's length changes nothing."""
    few = ring.public_polynomials(b"s", 2048, 40, 2)
    many = ring.public_polynomials(b"s", 2048, 40, 5)
    assert (few == many[:2]).all()
    rows = [*many, *ring.public_polynomials(b"t", 2048, 40, 2)]
    assert len({row.tobytes() for row in rows}) == 7
    narrow = ring.public_polynomials(b"s", 2048, 46, 1)
    assert not (narrow[0] & np.uint64((1 << 40) - 1) == few[0]).any()
    assert 0.49 < many.mean() / 2**40 < 0.51
    assert int(many.max()) < 1 << 40


# --- sampling -----------------------------------------------------------------------------------


def test_the_key_stream_is_aes_256_in_counter_mode():
    """Block k is AES-256 of the counter k, checked with ECB, and with the all-zero known answer."""
    key = bytes(range(32))
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    blocks = b"".join(ecb.update(k.to_bytes(16, "big")) for k in range(4))
    stream = sampling.KeyStream(key)
    assert stream.bytes(7) + stream.bytes(57) == blocks
    known = "dc95c078a2408989ad48a21492842087"
    assert sampling.KeyStream(bytes(32)).bytes(16).hex() == known


def test_the_key_stream_is_a_source_of_randomness():
    """It serves wherever a `Randomness` is asked for; substreams do not move it."""
    stream = sampling.KeyStream(bytes(32))
    assert isinstance(stream, Randomness)
    stream.substream("x").bytes(9)
    assert stream.bytes(2).hex() == "dc95"
    assert all(stream.below(5) < 5 for _ in range(50))
    assert {stream.bits(1) for _ in range(50)} == {0, 1}
    with pytest.raises(UsageError):
        sampling.KeyStream(b"short")


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.2, 8.0])
def test_the_cumulative_distribution_is_the_discrete_gaussian(sigma):
    """P(X = x) ∝ exp(−x²/2σ²), against the formula in doubles; symmetric in its exact integers."""
    gaussian = sampling.DiscreteGaussian(sigma)
    table = gaussian.cumulative
    xs = np.arange(-gaussian.bound, gaussian.bound + 1)
    weights = np.exp(-(xs**2) / (2 * sigma**2))
    expected = weights / weights.sum()
    found = np.diff([0, *table]).astype(float) / 2.0**144
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-40)
    assert table[-1] == 1 << 144
    assert all(abs(a + b - (1 << 144)) <= 2
               for a, b in zip(table, reversed(table[:-1]), strict=False))


def test_the_tail_that_is_cut_off_is_below_2_to_the_minus_122():
    """B = 102 for σ = 8, by the sum of the tail itself."""
    gaussian = sampling.discrete_gaussian(SIGMA)
    assert gaussian.bound == B == 102
    tail = 2 * math.fsum(math.exp(-x * x / 128) for x in range(103, 200))
    assert tail / (8 * math.sqrt(2 * math.pi)) < 2.0**-122
    assert 10 * B < 1 << 10


class Replay(sampling.KeyStream):
    """A stream of chosen bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def bytes(self, count):
        taken, self._data = self._data[:count], self._data[count:]
        assert len(taken) == count
        return taken


def test_sampling_inverts_the_distribution_at_every_boundary():
    """For uniforms just below and at each step of the cumulative table, through the fast path."""
    gaussian = sampling.discrete_gaussian(SIGMA)
    for x, boundary in enumerate(gaussian.cumulative[:-1], start=-gaussian.bound):
        for uniform, expected in ((boundary - 1, x), (boundary, x + 1)):
            coarse = (uniform >> 128).to_bytes(2, "little")
            fine = (uniform & ((1 << 128) - 1)).to_bytes(16, "big")
            (sample,) = gaussian.sample(1, Replay(coarse + fine)).tolist()
            assert sample == gaussian.exact(uniform) == expected


def test_samples_have_the_distribution():
    """χ² of 200,000 samples against the exact probabilities, and the moments."""
    gaussian = sampling.discrete_gaussian(SIGMA)
    samples = gaussian.sample(200_000, sampling.KeyStream(bytes(range(32))))
    xs = np.arange(-25, 26)
    weights = np.exp(-(xs**2) / 128)
    total = math.fsum(math.exp(-x * x / 128) for x in range(-102, 103))
    counts = np.array([np.count_nonzero(samples == x) for x in xs])
    expected = 200_000 * weights / total
    chi2 = float(np.sum((counts - expected) ** 2 / expected))
    assert chi2 < 51 + 5 * math.sqrt(2 * 51)
    assert abs(samples.mean()) < 5 * 8 / math.sqrt(200_000)
    assert abs(samples.var() / 64 - 1) < 0.02


def test_a_strange_sigma_is_refused():
    """σ outside the range for which tables make sense."""
    for sigma in (0.1, 1e6):
        with pytest.raises(UsageError):
            sampling.DiscreteGaussian(sigma)
