"""What `PublicKey.check` finds in a key of another maker, and wrong types where they are given."""

from dataclasses import replace

import gmpy2
import numpy as np
import pytest

from bdn.errors import BdnError, UsageError
from bdn.paillier import PublicKey, deal, deal_from_primes, errors, lock_share, unlock_share
from bdn.paillier.keys import MAX_MODULUS_BITS, MAX_PARTIES
from bdn.randomness import SeededRandomness

KEY, SHARES = deal(5, 3, 256, SeededRandomness(b"check"))
PRIME = int(gmpy2.next_prime(1 << 255))


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (3, 1), (3, 2), (5, 5), (7, 4)])
@pytest.mark.parametrize("bits", [24, 64, 512])
def test_every_dealt_key_passes(parties, threshold, bits):
    key, _ = deal(parties, threshold, bits, SeededRandomness(bits))
    key.check(bits)
    PublicKey.encryption_only(key.N).check()


def test_a_jointly_made_key_passes(joint):
    joint[1][0].public_key.check(256)


@pytest.mark.parametrize(("change", "reason"), [
    ({"N": PRIME}, "prime"),
    ({"N": int(gmpy2.next_prime(1 << 127)) ** 2}, "power"),
    ({"N": 3 * PRIME}, "small factor 3"),
    ({"N": 65_521 * PRIME}, "small factor 65521"),
    ({"v": 1}, "small order"),
    ({"v": KEY.N + 1}, "small order"),
    ({"v": KEY.N2 - 1}, "small order"),
    ({"share_bits": 1}, "too short"),
    ({"threshold": 2}, "one secret"),
    ({"verification_keys": KEY.verification_keys[::-1]}, "one secret"),
    ({"verification_keys": (*KEY.verification_keys[:4], KEY.v)}, "one secret"),
    ({"verification_keys": (KEY.v,) * 5}, "one secret"),
])
def test_check_refuses(change, reason):
    """Each of these constructs, and would open nothing or give everything away."""
    small = {"theta": 1, "v": 4, "verification_keys": (4,) * 5} if "N" in change else {}
    key = replace(KEY, **small, **change)
    with pytest.raises(errors.PublicKeyError, match=reason):
        key.check()


def test_check_demands_a_length():
    with pytest.raises(errors.PublicKeyError, match="256 bits; 2048"):
        KEY.check(2048)


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [1.5, "3", b"3", None, True, 1 << 20_000, -(1 << 20_000)],
    ids=["float", "text", "bytes", "none", "truth", "huge", "huge negative"])
@pytest.mark.parametrize("call", [
    lambda x: deal(x, 2, 64), lambda x: deal(3, x, 64), lambda x: deal(3, 2, x),
    lambda x: deal_from_primes(x, 7, 3, 2), lambda x: deal_from_primes(7, x, 3, 2),
    lambda x: KEY.encrypt(x),
    lambda x: KEY.encrypt(1, r=0 if x is None or isinstance(x, int) else x),
    lambda x: KEY.ciphertext(x), lambda x: PublicKey.encryption_only(0 if x is True else x),
    lambda x: lock_share(SHARES[0], "secret", cost=x),
    lambda x: SeededRandomness(1.5 if isinstance(x, int | bytes) else x),
], ids="abcdefghijk")
def test_wrong_types_and_huge_numbers_are_refused_in_one_line(call, wrong):
    with pytest.raises(BdnError) as caught:
        call(wrong)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_numbers_of_other_libraries_are_numbers():
    """numpy and gmpy2 integers give the same as Python's own, and do not overflow."""
    number = np.int64
    assert deal(number(3), number(2), number(64), SeededRandomness(number(1))) == deal(
        3, 2, 64, SeededRandomness(1))
    p, q = 2_147_483_659, 2_147_483_777  # their product needs more than 63 bits
    ours = deal_from_primes(p, q, 3, 2, False, SeededRandomness(1))
    for kind in (np.int64, np.uint64, gmpy2.mpz):
        assert deal_from_primes(kind(p), kind(q), 3, 2, False, SeededRandomness(1)) == ours
    key = ours[0]
    for kind in (np.int16, np.uint8, gmpy2.mpz):
        c = key.encrypt(kind(7), r=kind(5))
        assert c == key.encrypt(7, r=5) == key.ciphertext(gmpy2.mpz(c.value))
        assert (c * kind(3)).value == (c * 3).value
        assert (c + kind(3)).value == (c + 3).value
        assert (c - kind(3)).value == (c - 3).value


def test_lengths_that_never_end_are_refused():
    for bits in (MAX_MODULUS_BITS + 2, 10**6):
        with pytest.raises(errors.ParameterError, match="bits must be even"):
            deal(3, 2, bits)
    with pytest.raises(errors.ParameterError, match="ℓ ≤ 500"):
        deal(MAX_PARTIES + 1, 2, 64)
    with pytest.raises(errors.PublicKeyError, match="N has"):
        PublicKey.encryption_only((1 << MAX_MODULUS_BITS) + 1)


# --- passphrases --------------------------------------------------------------------------------


def test_a_passphrase_is_the_same_however_its_accents_are_typed():
    composed, decomposed = "caf\u00e9 \u212b", "cafe\u0301 A\u030a"
    locked = lock_share(SHARES[0], composed, SeededRandomness(1), cost=4)
    assert unlock_share(locked, decomposed) == SHARES[0]
    with pytest.raises(errors.StoredShareError):
        unlock_share(locked, "cafe")


@pytest.mark.parametrize("wrong", [b"secret", None, 7, "\ud800"])
def test_a_passphrase_that_is_not_text_is_refused(wrong):
    locked = lock_share(SHARES[0], "secret", SeededRandomness(1), cost=4)
    with pytest.raises(UsageError, match="passphrase"):
        lock_share(SHARES[0], wrong, cost=4)
    with pytest.raises(UsageError, match="passphrase"):
        unlock_share(locked, wrong)
