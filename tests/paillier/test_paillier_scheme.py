"""The scheme: encryption, arithmetic, and what is refused."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import BdnError, EncodingError, PeerError, UsageError
from bdn.paillier import Ciphertext, PublicKey, combine, deal, deal_from_primes, errors
from bdn.paillier.keys import derive_h
from bdn.randomness import SeededRandomness

TOY = deal(3, 2, 64, SeededRandomness(b"toy"))
HALF = TOY[0].N // 2
plaintexts = st.one_of(
    st.integers(-HALF, HALF),
    st.sampled_from([0, 1, -1, HALF, -HALF, HALF - 1, 1 - HALF]),
)


def opened(c, key=TOY):
    """The plaintext, by the last t shares."""
    public_key, shares = key
    parts = [share.partially_decrypt(c) for share in shares[-public_key.threshold :]]
    return combine(public_key, c, parts)


def as_signed(value, N=TOY[0].N):
    """An independent definition of the signed residue."""
    value %= N
    return value if value <= (N - 1) // 2 else value - N


def test_known_vector_of_python_paillier():
    """N = 293·433, M = 10100, r = 74384 gives c = 935906717."""
    public_key, shares = deal_from_primes(293, 433, 3, 2, require_safe_primes=False)
    c = public_key.encrypt(10100, r=74384)
    assert c.value == 935906717
    assert opened(c, (public_key, shares)) == 10100


def test_every_plaintext_of_the_smallest_key_opens_in_both_modes():
    """N = 7·11: decrypt∘encrypt is the identity on all of (−N/2, N/2)."""
    key = deal_from_primes(7, 11, 3, 2, rng=SeededRandomness(1))
    for m in range(-38, 39):
        assert opened(key[0].encrypt(m), key) == m
        assert opened(key[0].encrypt(m, r=2), key) == m


@given(plaintexts)
def test_decryption_inverts_encryption_up_to_the_edges_of_the_range(m):
    assert opened(TOY[0].encrypt(m)) == m
    assert opened(TOY[0].encrypt(m, r=5)) == m


@given(plaintexts, plaintexts, st.integers(-(10**30), 10**30))
def test_all_homomorphisms_hold_modulo_N_and_read_as_signed(a, b, k):
    """E(a) ± E(b), E(a) ± b, b − E(a), k·E(a), −E(a)."""
    key = TOY[0]
    c, d = key.encrypt(a), key.encrypt(b)
    for expression, plain in [
        (c + d, a + b), (c - d, a - b), (-c, -a), (c * k, a * k), (k * c, a * k),
        (c + b, a + b), (b + c, a + b), (c - b, a - b), (b - c, b - a), (c + k, a + k),
    ]:
        assert opened(expression) == as_signed(plain)


def test_numpy_integers_are_integers_and_floats_are_not():
    key = TOY[0]
    assert opened(key.encrypt(np.int64(-3)) * np.int64(5) + np.int32(1)) == -14
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError):
            key.encrypt(1) + wrong
        with pytest.raises(TypeError):
            key.encrypt(1) * wrong
    with pytest.raises(UsageError):
        key.encrypt(1.0)


def test_at_2048_bits_the_range_ends_where_it_should(big):
    key, _ = big
    assert key.bits == 2048
    edge = key.N // 2
    for m in (edge, -edge):
        assert opened(key.encrypt(m, rng=SeededRandomness(m)), big) == m


def test_encryption_is_randomised_and_repeats_only_with_its_seed():
    key = TOY[0]
    assert key.encrypt(1) != key.encrypt(1)
    assert key.encrypt(1, rng=SeededRandomness(3)) == key.encrypt(1, rng=SeededRandomness(3))
    assert key.encrypt(1, rng=random.Random(3)) == key.encrypt(1, rng=random.Random(3))


def test_h_follows_from_the_seed_alone_and_is_minus_a_square_to_the_N():
    """h = (−x²)^N mod N²: an N-th residue, different for every seed."""
    key = TOY[0]
    h = derive_h(key.N, key.seed)
    assert opened(Ciphertext(key, h)) == 0
    assert h != derive_h(key.N, bytes(32))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [HALF + 1, -HALF - 1, 1 << 80])
def test_a_plaintext_out_of_range_is_refused(m):
    with pytest.raises(errors.ParameterError, match="plaintext") as caught:
        TOY[0].encrypt(m)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("offset", [0, -1, 5])
def test_a_ciphertext_outside_the_group_is_refused(offset):
    """c ∉ [1, N²), and gcd(c, N) ≠ 1, each with its own class."""
    key = TOY[0]
    for value in (offset if offset < 1 else key.N2, key.N2 + abs(offset)):
        with pytest.raises(errors.CiphertextError, match="outside") as caught:
            key.ciphertext(value)
        assert isinstance(caught.value, PeerError)
    with pytest.raises(errors.CiphertextError, match=r"factor|unit"):
        key.ciphertext(key.N * 3)
    assert key.ciphertext(key.N2 - 1).value == key.N2 - 1
    assert key.ciphertext(1).value == 1


def test_a_nonce_that_is_no_unit_is_refused():
    with pytest.raises(errors.CiphertextError, match=r"factor|unit"):
        TOY[0].encrypt(1, r=TOY[0].N)


def test_ciphertexts_of_two_keys_do_not_mix(small, other):
    c, d = small[0].encrypt(1), other[0].encrypt(1)
    with pytest.raises(errors.ParameterError, match=r"another key|different keys|modulus"):
        c + d
    with pytest.raises(errors.ParameterError, match=r"another key|different keys|modulus"):
        small[1][0].partially_decrypt(d)
    with pytest.raises(errors.ParameterError, match=r"another key|different keys|modulus"):
        combine(small[0], d, [])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"N": TOY[0].N + 1}, errors.PublicKeyError),
        ({"N": 9}, errors.PublicKeyError),
        ({"theta": 0}, errors.PublicKeyError),
        ({"v": TOY[0].N}, errors.PublicKeyError),
        ({"threshold": 4}, errors.PublicKeyError),
        ({"threshold": 0}, errors.PublicKeyError),
        ({"verification_keys": (1, 0, 1)}, errors.PublicKeyError),
        ({"verification_keys": (1, TOY[0].N2, 1)}, errors.PublicKeyError),
        ({"seed": b""}, errors.PublicKeyError),
        ({"share_bits": 0}, errors.PublicKeyError),
        ({"share_bits": 1 << 40}, errors.PublicKeyError),
    ],
)
def test_a_public_key_that_is_none_is_refused(change, error):
    """N of the wrong length or parity, and fields that contradict it."""
    key = TOY[0]
    fields = {name: getattr(key, name) for name in PublicKey.__slots__}
    with pytest.raises(error):
        PublicKey(**{**fields, **change})


def test_a_key_of_another_length_than_demanded_is_refused():
    data = TOY[0].to_bytes()
    assert PublicKey.from_bytes(data, bits=64) == TOY[0]
    with pytest.raises(errors.PublicKeyError):
        PublicKey.from_bytes(data, bits=2048)


@pytest.mark.parametrize(
    ("p", "q", "parties", "threshold", "safe"),
    [
        (7, 7, 3, 2, True),           # equal
        (7, 9, 3, 2, True),           # composite
        (7, 13, 3, 2, True),          # prime but not safe
        (5, 7, 5, 2, True),           # p ≤ ℓ
        (11, 23, 3, 2, True),         # 11 divides 22: gcd(N, φ(N)) ≠ 1
        (7, 43, 3, 2, False),         # 7 divides 42
        (7, 11, 3, 4, True),          # t > ℓ
        (7, 11, 3, 0, True),          # t = 0
        (7, 11, 0, 0, True),          # nobody
    ],
)
def test_parameters_that_make_no_key_are_refused(p, q, parties, threshold, safe):
    with pytest.raises(errors.ParameterError):
        deal_from_primes(p, q, parties, threshold, require_safe_primes=safe)


@pytest.mark.parametrize("bits", [22, 65, 0])
def test_lengths_that_make_no_key_are_refused(bits):
    with pytest.raises(errors.ParameterError):
        deal(3, 2, bits)


def test_a_production_key_needs_primes_longer_than_the_challenge(big):
    """|e| < |min(p′, q′)| is enforced from 2048 bits on."""
    long_prime = (1 << 2203) - 1
    with pytest.raises(errors.ParameterError, match="too short"):
        deal_from_primes(101, long_prime, 3, 2, require_safe_primes=False)


def test_misuse_and_misbehaviour_are_different_errors_under_one_root():
    classes = [cls for cls in vars(errors).values()
               if isinstance(cls, type) and issubclass(cls, errors.PaillierError)]
    assert len(classes) > 5
    for cls in classes:
        assert issubclass(cls, BdnError)
        assert not issubclass(cls, UsageError) or not issubclass(cls, PeerError)


# --- dealing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [24, 26, 40, 64, 100, 256])
def test_a_dealt_key_has_exactly_the_length_asked_for(bits):
    for seed in range(5):
        public_key, shares = deal(3, 2, bits, SeededRandomness(seed))
        assert public_key.N.bit_length() == bits
        assert len(shares) == public_key.parties == 3


def test_dealing_repeats_with_its_seed():
    assert deal(3, 2, 64, SeededRandomness(9)) == deal(3, 2, 64, SeededRandomness(9))
    assert deal(3, 2, 64)[0] != deal(3, 2, 64)[0]


def test_primes_that_are_not_safe_still_open(small):
    """m = φ(N)/4 serves where the primes are not safe; p ≡ 1 mod 4 too."""
    for p, q in itertools.combinations([293, 433, 401, 557, 613], 2):
        key = deal_from_primes(p, q, 5, 3, require_safe_primes=False, rng=SeededRandomness(p))
        for m in (-30000, 0, 12345):
            assert opened(key[0].encrypt(m), key) == m


def test_a_ciphertext_of_the_wrong_width_is_refused():
    key = TOY[0]
    c = key.encrypt(7)
    assert len(c.to_bytes()) == key.width == 16
    assert Ciphertext.from_bytes(key, c.to_bytes()) == c
    for data in (c.to_bytes() + b"\0", c.to_bytes()[1:], b""):
        with pytest.raises(EncodingError):
            Ciphertext.from_bytes(key, data)
