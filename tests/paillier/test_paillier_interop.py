"""Differential tests against python-paillier (phe), which uses the same g = N + 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import combine, errors, interop

phe = pytest.importorskip("phe", reason="python-paillier (extra `peers`) is not installed")

PUBLIC, PRIVATE = phe.generate_paillier_keypair(n_length=256)
KEY, SHARES = interop.deal_from_phe(PRIVATE, parties=3, threshold=2)
HALF = KEY.N // 2


def opened(c):
    return combine(c.public_key, c, [share.partially_decrypt(c) for share in SHARES[:2]])


@given(st.integers(-HALF // 2, HALF // 2), st.integers(1, KEY.N - 1).filter(lambda r: r % KEY.N))
def test_both_make_the_same_ciphertext_from_the_same_nonce(m, r):
    """(1 + N)^m r^N mod N², number for number."""
    assert KEY.encrypt(m, r=r).value == PUBLIC.raw_encrypt(m % KEY.N, r_value=r)


@given(st.integers(-HALF, HALF))
def test_phe_opens_ours_and_we_open_theirs(m):
    for c in (KEY.encrypt(m), KEY.encrypt(m, r=3)):
        assert PRIVATE.raw_decrypt(c.value) == m % KEY.N
    theirs = KEY.ciphertext(PUBLIC.raw_encrypt(m % KEY.N))
    assert opened(theirs) == m


SMALL = st.integers(-(2**60), 2**60)


@given(SMALL, SMALL, st.integers(-1000, 1000))
def test_arithmetic_agrees_with_phes(a, b, k):
    """The same expression on both sides, on exchanged ciphertexts."""
    x, y = PUBLIC.encrypt(a), PUBLIC.encrypt(b)
    c = interop.ciphertext_from_phe(KEY, x)
    d = interop.ciphertext_from_phe(KEY, y)
    for ours, theirs in [
        (c + d, x + y), (c - d, x - y), (c * k, x * k), (k * c, k * x),
        (c + k, x + k), (k + c, k + x), (c - k, x - k), (k - c, k - x),
    ]:
        assert opened(ours) == PRIVATE.decrypt(theirs)
        assert PRIVATE.decrypt(interop.ciphertext_to_phe(ours, PUBLIC)) == opened(ours)


def test_a_phe_public_key_can_be_imported_without_its_private_key():
    """An encryption-only key: seals and computes, and refuses to open."""
    key = interop.public_key_from_phe(PUBLIC)
    assert PUBLIC.n == key.N
    c = key.encrypt(20) * 2 + 2
    assert PRIVATE.raw_decrypt(c.value) == 42
    with pytest.raises(errors.ShareError, match=r"are needed|only encrypts"):
        combine(key, c, [])
    assert interop.public_key_to_phe(KEY) == PUBLIC


def test_what_cannot_be_exchanged_is_refused(small):
    with pytest.raises(errors.ParameterError):
        interop.ciphertext_from_phe(KEY, PUBLIC.encrypt(0.5))
    with pytest.raises(errors.ParameterError, match=r"another key|different keys|modulus"):
        interop.ciphertext_from_phe(small[0], PUBLIC.encrypt(1))
    with pytest.raises(errors.ParameterError, match=r"another key|different keys|modulus"):
        interop.ciphertext_to_phe(small[0].encrypt(1), PUBLIC)
    broken = phe.PaillierPublicKey(PUBLIC.n)
    broken.g = 2
    with pytest.raises(errors.ParameterError):
        interop.public_key_from_phe(broken)
