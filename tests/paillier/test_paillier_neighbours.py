"""What went wrong in other libraries, by their public reports, and what happens here instead."""

import math

import gmpy2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.errors import BdnError, UsageError
from bdn.paillier import PackedCipher, PublicKey, combine, deal, deal_from_primes, errors, interop
from bdn.paillier.dealer import PRODUCTION_BITS
from bdn.randomness import SeededRandomness

phe = pytest.importorskip("phe")

PRIVATE = phe.PaillierPrivateKey(*(
    lambda p, q: (phe.PaillierPublicKey(p * q), p, q))(
        int(gmpy2.next_prime(1 << 127)), int(gmpy2.next_prime(3 << 126))))
KEY, SHARES = interop.deal_from_phe(PRIVATE, 3, 2, SeededRandomness(1))


def opened(c, session=b""):
    return combine(KEY, c, [share.partially_decrypt(c, session) for share in SHARES[:2]], session)


numbers = st.integers(-(1 << 60), 1 << 60)
operations = st.lists(st.one_of(
    st.tuples(st.sampled_from(["+c", "-c", "c-", "+", "-", "r-"]), numbers),
    st.tuples(st.sampled_from(["*"]), st.integers(-1000, 1000)),
    st.tuples(st.just("neg"), st.just(0)),
), max_size=8)


@given(numbers, operations)
@settings(max_examples=40, deadline=None)
def test_any_calculation_gives_what_phe_gives(start, steps):
    """Sums, differences, multiples, negations: libhcs #5 and jspaillier #5 lost negative sums."""
    ours, theirs, plain = KEY.encrypt(start), PRIVATE.public_key.encrypt(start), start
    for name, operand in steps:
        if name == "+c":
            ours, theirs, plain = (ours + KEY.encrypt(operand),
                                   theirs + PRIVATE.public_key.encrypt(operand), plain + operand)
        elif name == "-c":
            ours, theirs, plain = (ours - KEY.encrypt(operand),
                                   theirs - PRIVATE.public_key.encrypt(operand), plain - operand)
        elif name == "c-":
            ours, theirs, plain = (KEY.encrypt(operand) - ours,
                                   PRIVATE.public_key.encrypt(operand) - theirs, operand - plain)
        elif name == "+":
            ours, theirs, plain = ours + operand, theirs + operand, plain + operand
        elif name == "-":
            ours, theirs, plain = ours - operand, theirs - operand, plain - operand
        elif name == "r-":
            ours, theirs, plain = operand - ours, operand - theirs, operand - plain
        elif name == "*":
            ours, theirs, plain = ours * operand, theirs * operand, plain * operand
        else:
            ours, theirs, plain = -ours, theirs * -1, -plain
    assert opened(ours) == plain == PRIVATE.decrypt(theirs)
    assert PRIVATE.decrypt(interop.ciphertext_to_phe(ours)) == plain
    assert opened(interop.ciphertext_from_phe(KEY, theirs)) == plain


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.intp])
def test_every_numpy_integer_can_be_sealed(kind):
    """phe #116: numpy's integers overflowed while they were encoded."""
    for number in (np.iinfo(kind).min, np.iinfo(kind).max, 0):
        assert opened(KEY.encrypt(kind(number))) == number
        assert opened(KEY.encrypt(0) + kind(number)) == number


def test_a_nonce_that_shares_a_factor_with_n_is_refused():
    """phe #77: such a nonce decrypts to another number and gives the key away."""
    for r in (0, PRIVATE.p, 3 * PRIVATE.q, KEY.N, -PRIVATE.p):
        with pytest.raises(errors.CiphertextError):
            KEY.encrypt(2, r=r)


@pytest.mark.parametrize("wrong", [1.5, 1.0, np.float64(2), "7", b"7", [7], None, True, 1j])
def test_what_is_not_an_integer_is_never_rounded(wrong):
    """LightPHE #21: a float was cut to an integer, and the sum was wrong without a word."""
    with pytest.raises(UsageError):
        KEY.encrypt(wrong)


def test_shares_of_anything_else_never_open():
    """HoneyBadgerBFT #60: threshold decryption succeeded whatever the shares were."""
    c, other = KEY.encrypt(5), KEY.encrypt(6)
    foreign_key, foreign = interop.deal_from_phe(PRIVATE, 3, 2, SeededRandomness(2))
    right = [share.partially_decrypt(c, b"s") for share in SHARES]
    for parts in (
        [right[0], right[0]], [right[0]], [], [right[0], SHARES[1].partially_decrypt(other, b"s")],
        [right[0], SHARES[1].partially_decrypt(c, b"t")],
        [right[0], foreign[1].partially_decrypt(foreign_key.ciphertext(c.value), b"s")],
    ):
        with pytest.raises(errors.ShareError):
            combine(KEY, c, parts, b"s")
    assert combine(KEY, c, right[:2], b"s") == 5


def test_zero_opens_as_zero_and_everything_else_does_not():
    """libhcs #3: every threshold decryption gave 0."""
    for number in (0, 1, -1, 100, KEY.N // 2, -(KEY.N // 2)):
        assert opened(KEY.encrypt(number)) == number


def test_every_encryption_is_blinded():
    """javallier #3: a number was encrypted without its random factor until somebody looked."""
    values = {KEY.encrypt(7).value for _ in range(20)}
    assert len(values) == 20
    assert not any((value - 1) % KEY.N == 0 for value in values)


def test_a_modulus_with_small_factors_is_refused():
    """tss-lib #281 (CVE-2023-33241): a malicious modulus of small primes leaks other keys."""
    primes = [int(gmpy2.next_prime(1 << 15 | k << 10)) for k in range(17)]
    N = math.prod(primes)
    with pytest.raises(errors.PublicKeyError, match="small factor"):
        PublicKey.encryption_only(N).check()


def test_the_length_of_a_foreign_key_can_be_demanded():
    """Alpha-Rays (tss-lib #214): nobody asked how long the other party's modulus was."""
    with pytest.raises(errors.PublicKeyError, match="255 bits"):
        KEY.check(PRODUCTION_BITS)
    with pytest.raises(errors.PublicKeyError, match="255 bits"):
        PublicKey.from_bytes(KEY.to_bytes(), bits=PRODUCTION_BITS)


@pytest.mark.parametrize("value", [0, KEY.N, KEY.N2, -1, PRIVATE.p, PRIVATE.q * 12])
def test_only_units_are_partially_decrypted(value):
    """tss-lib #135: ciphertexts outside Z*_{N²} were decrypted."""
    with pytest.raises(errors.CiphertextError):
        SHARES[0].partially_decrypt(type(KEY.encrypt(1))(KEY, value))


def test_a_sum_that_would_overflow_is_refused_before_it_is_made():
    """phe #110 and #74: after some steps the result was out of range, noticed at the very end."""
    key, _ = deal(3, 2, 256, SeededRandomness(3))
    cipher = PackedCipher(key, 2, total_weight=3)
    sealed = [cipher.seal([1.0, -1.0], 2), cipher.seal([1.0, -1.0], 2)]
    with pytest.raises(errors.ParameterError, match="add up to 4"):
        cipher.weighted_sum(sealed, [2, 2])


def test_primes_that_are_none_or_equal_make_no_key():
    """A square, or a modulus of three primes, decrypts wrongly or not at all."""
    p, q = PRIVATE.p, PRIVATE.q
    for pair in ((p, p), (p * q, q), (1, q), (2, q), (-p, q), (p, 0)):
        with pytest.raises(BdnError):
            deal_from_primes(*pair, 3, 2, require_safe_primes=False)
