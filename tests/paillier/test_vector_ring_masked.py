"""The traps of the ring-masked cipher, each held by a test."""

import dataclasses
import functools
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import RingMaskedCipher, deal
from bdn.paillier.errors import (
    ParameterError,
    SealedFormError,
    ShareError,
    SpoiledSumError,
)
from bdn.paillier.vector import ring, ring_masked, sampling
from bdn.paillier.vector.fixedpoint import FixedPoint, pack_signed_slots
from bdn.paillier.vector.ring_masked import (
    RINGS,
    SIGMA,
    RingParameters,
    choose_parameters,
    contributors_for,
    largest_D_bits,
    noise_limit,
)
from bdn.randomness import SeededRandomness

LENGTH = 5000


@functools.cache
def keys():
    """A dealer's key for three parties, two of whom open."""
    return deal(parties=3, threshold=2, bits=512, rng=SeededRandomness(1))


def make(length=LENGTH, **options):
    """A cipher in the standard ring under the small key."""
    return RingMaskedCipher(keys()[0], length, **{"total_weight": 27_450, **options})


def opened(cipher, sealed, total=None):
    """The integers of the sum of ``sealed``."""
    total = total or cipher.weighted_sum(sealed, [item.weight for item in sealed])
    shares = [cipher.partially_decrypt(share, total) for share in keys()[1][:2]]
    return cipher.open_integers(total, shares)


def secret_of(cipher, sealed):
    """σ_k, as t parties would see it if they opened one device's sealing (which they must not)."""
    seen = []

    def spy(plaintexts, *rest):
        seen.append(unpack(plaintexts, *rest))
        return seen[-1]

    unpack = ring_masked.unpack_signed_slots
    ring_masked.unpack_signed_slots = spy
    try:
        opened(cipher, [sealed])
    finally:
        ring_masked.unpack_signed_slots = unpack
    return seen[0]


# --- parameters and budget ----------------------------------------------------------------------


def test_the_papers_budget_gives_the_parameters_of_the_design():
    """N = 2048, q = 2^40, D = 2^9, σ = 8 for 16 bits, Σ s_k ≤ 27,450 and ten devices; 1.27 MB."""
    cipher = RingMaskedCipher(keys()[0], 252_398, total_weight=27_450)
    p = cipher.parameters
    assert (p.N, 1 << p.q_bits, 1 << p.D_bits, p.sigma) == (2048, 2**40, 2**9, 8)
    assert (p.contributors, p.secret_slot_bits, p.value_bytes) == (10, 11, 5)
    assert (cipher.chunks, cipher.ring_bytes) == (124, 1_261_990)


budgets = st.tuples(st.integers(2, 24), st.integers(1, 1 << 24), st.integers(1, 3000))


@given(budget=budgets)
def test_chosen_parameters_obey_both_rules(budget):
    """(W(2^v − 1) + 1)·D ≤ q and D ≥ 20σ√n, by the formulas; else `ParameterError`."""
    value_bits, total_weight, contributors = budget
    code = FixedPoint(1, 1.0, value_bits, total_weight)
    try:
        p = choose_parameters(code, 3, contributors)
    except ParameterError:
        largest = RINGS[-1][1]
        D = 2 ** math.ceil(math.log2(20 * SIGMA * math.sqrt(contributors)))
        assert (total_weight * (2**value_bits - 1) + 1) * D > 2**largest
        return
    D, q = 2**p.D_bits, 2**p.q_bits
    assert p.contributors == contributors
    assert (total_weight * (2**value_bits - 1) + 1) * D <= q
    assert (total_weight * (2**value_bits - 1) + 1) * 2 * D > q
    assert math.sqrt(contributors) * 20 * p.sigma <= D
    assert 2 ** (p.secret_slot_bits - 1) > contributors * p.secret_bound


@pytest.mark.parametrize(
    ("value_bits", "total_weight", "contributors", "ring_shape"),
    [
        (16, 27_450, 10, (2048, 40)),
        (16, 27_450, 11, (2048, 46)),
        (16, 28_000, 1000, (2048, 46)),
        (16, 2_745_000, 1000, (4096, 56)),
        (24, 27_450, 10, (4096, 56)),
    ],
)
def test_larger_budgets_take_larger_rings(value_bits, total_weight, contributors, ring_shape):
    """q ≤ 2^46 at N = 2048, else N = 4096."""
    p = choose_parameters(FixedPoint(1, 1.0, value_bits, total_weight), 3, contributors)
    assert (p.N, p.q_bits) == ring_shape


def test_without_a_declared_number_all_parties_may_contribute():
    """By default at least ℓ, at most W, and up to twenty where the cheapest ring admits them."""
    def count(total_weight, parties):
        return choose_parameters(FixedPoint(1, 1.0, 16, total_weight), parties).contributors

    assert count(27_450, 3) == count(27_450, 10) == 10
    assert count(10_000, 3) == 20
    assert count(10_000, 50) == 50
    assert count(7, 50) == 7


def test_one_contributor_more_than_the_noise_budget_raises():
    """D ≥ 20σ√n holds for ten, not for eleven."""
    assert contributors_for(9, 8.0) == 10
    cipher = make(3, contributors=2)
    sealed = [cipher.seal(np.zeros(3), 1) for _ in range(3)]
    with pytest.raises(ParameterError, match="3 contributors"):
        cipher.weighted_sum(sealed, [1, 1, 1])
    with pytest.raises(ParameterError):
        make(3, contributors=1000, value_bits=32)


@pytest.mark.parametrize("shape", [(0, 40, 9), (3, 40, 9), (8, 57, 9), (8, 9, 9), (8, 20, 0)])
def test_impossible_rings_are_refused(shape):
    """N a power of two, 0 < D < q ≤ 2^56."""
    with pytest.raises(ParameterError):
        RingParameters(*shape, 1.0, 1)


def core_svp_bits(N, q_bits, sigma):
    """0.292·β of the primal attack (Alkim et al. 2016), for the cheapest number of samples."""
    def succeeds(beta):
        delta = ((math.pi * beta) ** (1 / beta) * beta / (2 * math.pi * math.e)) ** (
            1 / (2 * (beta - 1)))
        return any(
            math.log2(sigma * math.sqrt(beta))
            <= (2 * beta - N - m - 2) * math.log2(delta) + q_bits * m / (N + m + 1)
            for m in range(N // 2, 2 * N, 64)
        )

    low, high = 100, 2000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return 0.292 * high


@pytest.mark.parametrize(("shape", "bits"), list(zip(RINGS, (164, 134, 254), strict=True)))
def test_the_rings_resist_the_primal_attack_after_a_sum_is_revealed(shape, bits):
    """At width σ/2 = 4, which hint-RLWE reduces to; the docstring's figures."""
    assert core_svp_bits(*shape, SIGMA / 2) == pytest.approx(bits, abs=1)
    assert bits >= 128


def test_the_reduced_width_is_above_the_smoothing_parameter():
    """σ_0 = σ/2 ≥ √(ln(2d(1 + 1/ε)))/π for d = 125·2048, ε = 2^−128 (docstring: 3.21)."""
    needed = math.sqrt(math.log(2 * 125 * 2048 * (1 + 2.0**128))) / math.pi
    assert needed == pytest.approx(3.21, abs=0.01)
    assert needed <= SIGMA / 2


# --- a secret is never used twice ---------------------------------------------------------------


def test_no_method_takes_or_returns_a_secret():
    """By construction: what seals draws its own σ, and what is sealed holds only its encryption."""
    assert list(inspect.signature(RingMaskedCipher.seal).parameters) == [
        "self", "vector", "weight", "rng", "context"]
    cipher = make(3)
    cipher.seal(np.zeros(3), 1)
    assert not any(isinstance(value, np.ndarray) for value in vars(cipher).values())


def test_every_sealing_has_its_own_secret():
    """Also of the same vector, by the same cipher."""
    cipher = make(3)
    secrets = {secret_of(cipher, cipher.seal(np.zeros(3), 1)).tobytes() for _ in range(4)}
    assert len(secrets) == 4


@pytest.mark.parametrize(
    "change",
    [{"vector": [0.1, 0.2, 0.31]}, {"weight": 3}, {"context": b"device 2"}, {"seed": b"epoch 2"}],
    ids=str,
)
def test_repeated_randomness_still_never_repeats_a_secret(change):
    """A restored snapshot or a reused seed: other content or another phase, another σ."""
    def seal(vector=(0.1, 0.2, 0.3), weight=2, context=b"device 1", seed=b"epoch 1"):
        cipher = make(3, seed=seed)
        return cipher, cipher.seal(np.array(vector), weight, SeededRandomness(7), context)

    cipher, sealed = seal()
    other_cipher, other = seal(**change)
    one, two = secret_of(cipher, sealed), secret_of(other_cipher, other)
    assert np.mean(one == two) < 0.1
    assert sealed.ciphertexts != other.ciphertexts


def test_the_same_sealing_again_gives_the_same_bytes():
    """A retransmission is byte-identical, through the wire and through a repetition."""
    cipher = make(3)
    once, again = (cipher.seal(np.ones(3), 2, SeededRandomness(7), b"c") for _ in range(2))
    assert once.to_bytes() == again.to_bytes()
    assert cipher.sealed_from_bytes(once.to_bytes()).to_bytes() == once.to_bytes()


def test_the_secret_has_the_bounded_gaussian_that_was_promised():
    """What is encrypted is what masks: |σ_i| ≤ 102, deviation 8."""
    secret = secret_of(make(3), make(3).seal(np.zeros(3), 1, SeededRandomness(1)))
    assert np.max(np.abs(secret)) <= 102
    assert 7 < secret.std() < 9


def test_the_masked_values_look_uniform():
    """Of an all-zero vector too: mean, and bits top and bottom."""
    sealed = make().seal(np.zeros(LENGTH), 1, SeededRandomness(3))
    values = ring.from_bytes(sealed.ring, 5)
    for bit in (0, 1, 9, 25, 39):
        ones = np.count_nonzero(values >> np.uint64(bit) & np.uint64(1))
        assert abs(ones - LENGTH / 2) < 5 * math.sqrt(LENGTH) / 2


def test_every_chunk_and_every_phase_has_its_own_public_polynomial():
    """Equal plaintext chunks never look alike; another seed masks otherwise."""
    a = ring.public_cache(b"phase 1", 2048, 40, 3).residues
    b = ring.public_cache(b"phase 2", 2048, 40, 3).residues
    assert len({row.tobytes() for row in (*a, *b)}) == 6


# --- tampering ----------------------------------------------------------------------------------


def replaced_noise(cipher, total, chunk):
    """``total`` with chunk ``chunk`` masked by something else."""
    start, stop = chunk * cipher.chunk_bytes, (chunk + 1) * cipher.chunk_bytes
    garbage = np.random.default_rng(chunk).bytes(len(total.ring[start:stop]))
    return dataclasses.replace(total, ring=total.ring[:start] + garbage + total.ring[stop:])


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_a_replaced_chunk_shows_as_noise(chunk):
    """Every chunk, the partial last one too: the energy below D tells which."""
    cipher = make()
    sealed = [cipher.seal(np.full(LENGTH, 0.5), 2745) for _ in range(2)]
    total = cipher.weighted_sum(sealed, [2745, 2745])
    with pytest.raises(SpoiledSumError, match="too noisy") as caught:
        opened(cipher, sealed, replaced_noise(cipher, total, chunk))
    assert caught.value.entries == (chunk,)


def test_a_share_is_bound_to_the_ring_part_too():
    """Shares of a sum whose Paillier part is the same, but whose chunks are not, are refused."""
    cipher = make(10)
    sealed = [cipher.seal(np.zeros(10), 5) for _ in range(2)]
    total = cipher.weighted_sum(sealed, [5, 5])
    altered = dataclasses.replace(total, ring=bytes([total.ring[0] ^ 1]) + total.ring[1:])
    share = cipher.partially_decrypt(keys()[1][0], altered)
    with pytest.raises(ShareError, match="another session"):
        cipher.verify_share(total, share)


def with_secret(cipher, sealed, change):
    """``sealed`` with its encrypted secret changed; unproven, as `verify` would notice."""
    secret = change(secret_of(cipher, sealed))
    plaintexts = pack_signed_slots(secret, cipher.slot_bits, cipher.slots)
    values = [keys()[0].encrypt(int(p)).value for p in plaintexts]
    width = cipher.ciphertext_bytes
    return dataclasses.replace(
        sealed, ciphertexts=b"".join(value.to_bytes(width, "big") for value in values))


def bump(position, by):
    """A change of one coefficient."""
    def change(secret):
        secret = secret.copy()
        secret[position] += by
        return secret
    return change


@pytest.mark.parametrize("by", [1, -1, 50])
def test_encrypting_another_secret_than_the_one_that_masks_shows_as_noise(by):
    """Off by one in a single coefficient of 2,048: every chunk turns into noise."""
    cipher = make()
    sealed = [cipher.seal(np.zeros(LENGTH), 5) for _ in range(2)]
    sealed[1] = with_secret(cipher, sealed[1], bump(77, by))
    with pytest.raises(SpoiledSumError, match="too noisy") as caught:
        opened(cipher, sealed)
    assert caught.value.entries == (0, 1, 2)


def test_an_inner_slot_overflow_shows_only_as_noise_and_is_noticed():
    """A coefficient as large as its slot carries into the neighbour: in range, yet wrong."""
    cipher = make(contributors=10)
    sealed = [cipher.seal(np.zeros(LENGTH), 5) for _ in range(10)]
    secret = secret_of(cipher, sealed[0])
    plaintext = pack_signed_slots(secret, cipher.slot_bits, cipher.slots)[0]
    one_slot_full = (1 << cipher.slot_bits) << (3 * cipher.slot_bits)  # carries 1 into slot 4
    value = keys()[0].encrypt(int(plaintext + one_slot_full)).value
    width = cipher.ciphertext_bytes
    sealed[0] = dataclasses.replace(
        sealed[0], ciphertexts=value.to_bytes(width, "big") + sealed[0].ciphertexts[width:])
    with pytest.raises(SpoiledSumError, match="too noisy"):
        opened(cipher, sealed)


def test_a_secret_out_of_range_is_refused():
    """|S| ≤ n·B for honest contributors."""
    cipher = make(contributors=10)
    sealed = cipher.seal(np.zeros(LENGTH), 5)
    with pytest.raises(SpoiledSumError, match="no Gaussian secret"):
        opened(cipher, [with_secret(cipher, sealed, bump(9, 300))])


def test_a_value_that_is_not_below_q_is_refused():
    """46 bits in six bytes: two spare bits must be zero, or one value had four encodings."""
    cipher = make(10, contributors=1000)
    assert cipher.parameters.q_bits == 46
    sealed = cipher.seal(np.zeros(10), 1)
    cipher.verify(sealed)
    for at in range(5, 60, 6):
        assert sealed.ring[at] < 0x40
        content = bytearray(sealed.ring)
        content[at] |= 0x40
        with pytest.raises(SealedFormError, match="not below q"):
            cipher.verify(dataclasses.replace(sealed, ring=bytes(content)))


def test_larger_rings_open_exactly_too():
    """The 46- and 56-bit rings, with sums at both ends of their range."""
    for options in ({"contributors": 1000, "total_weight": 28_000},
                    {"value_bits": 24, "total_weight": 27_450}):
        cipher = make(2050, **options)
        weights = [options["total_weight"] - 5, 5]
        for sign in (-1.0, 1.0):
            vectors = [np.full(2050, sign), np.full(2050, sign)]
            sealed = [cipher.seal(v, w) for v, w in zip(vectors, weights, strict=True)]
            expected = sign * cipher.code.max_level * options["total_weight"]
            assert (opened(cipher, sealed) == expected).all()


# --- the noise check ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 8, 494, 2048])
def test_the_noise_limit_is_chernoffs_bound(count):
    """n(δ − ln(1 + δ))/2 = 100·ln 2 at the limit, so honest noise trips it with 2^−100."""
    delta = noise_limit(count) / count - 1
    assert count / 2 * (delta - math.log1p(delta)) == pytest.approx(100 * math.log(2))


def test_honest_noise_stays_well_inside_and_uniform_noise_outside():
    """Measured: the energy of ten honest errors, and of values uniform below D = 512."""
    gaussian = sampling.discrete_gaussian(SIGMA)
    stream = sampling.KeyStream(bytes(32))
    limit = noise_limit(2048) * 10 * SIGMA**2
    for _ in range(20):
        honest = sum(gaussian.sample(2048, stream) for _ in range(10))
        assert np.sum(honest.astype(float) ** 2) < 0.85 * limit
    uniform = np.random.default_rng(1).integers(-256, 256, 2048).astype(float)
    assert np.sum(uniform**2) > 10 * limit


def test_the_smallest_scale_that_a_budget_leaves():
    """log₂ D = log₂ q − |W(2^v − 1)|, the largest power of two that the rule allows."""
    for value_bits, total_weight in ((16, 27_450), (2, 1), (8, 255), (8, 256)):
        code = FixedPoint(1, 1.0, value_bits, total_weight)
        D = 2 ** largest_D_bits(code, 40)
        top = total_weight * (2**value_bits - 1) + 1
        assert top * D <= 2**40 < top * 2 * D
