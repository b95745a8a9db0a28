"""Serialisation in the strict encoding, shares at rest, and what public objects hold."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn import encoding
from bdn.errors import EncodingError, IntegrityError
from bdn.paillier import (
    KeyShare,
    PartialDecryption,
    PublicKey,
    batch,
    combine,
    deal,
    errors,
    keys,
    lock_share,
    threshold,
    unlock_share,
)
from bdn.paillier.batch import PlaintextProof
from bdn.paillier.storage import StoredShare
from bdn.paillier.threshold import ShareProof
from bdn.randomness import SeededRandomness

KEY, SHARES = deal(3, 2, 128, SeededRandomness(b"encoding"))
C = KEY.encrypt(3)
PART = SHARES[0].partially_decrypt(C)
VECTOR, NONCES = batch.encrypt_many(KEY, [1, 2, 3])
PART_VECTOR = threshold.partially_decrypt_many(SHARES[0], VECTOR)
LOCKED = lock_share(SHARES[1], "correct horse", SeededRandomness(1), cost=4)


def test_public_objects_survive_the_wire():
    assert PublicKey.from_bytes(KEY.to_bytes()) == KEY
    assert PartialDecryption.from_bytes(PART.to_bytes()) == PART
    assert threshold.PartialVector.from_bytes(KEY, PART_VECTOR.to_bytes(KEY)) == PART_VECTOR
    assert keys.unpack_values(KEY, keys.pack_values(KEY, VECTOR)) == VECTOR
    proof = batch.prove_plaintexts(KEY, VECTOR, [1, 2, 3], NONCES, b"")
    assert PlaintextProof.from_bytes(proof.to_bytes()) == proof
    assert ShareProof.from_bytes(PART.proof.to_bytes()) == PART.proof


def test_what_was_sent_still_opens(small):
    """Bytes out, bytes in, at every step."""
    key = PublicKey.from_bytes(small[0].to_bytes())
    c = key.ciphertext(int.from_bytes(key.encrypt(-9).to_bytes(), "big"))
    parts = [PartialDecryption.from_bytes(share.partially_decrypt(c).to_bytes())
             for share in small[1][1:4]]
    assert combine(small[0], c, parts) == -9


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_a_public_key_is_refused_or_another_key(position, flip):
    data = bytearray(KEY.to_bytes())
    data[position % len(data)] ^= flip
    try:
        key = PublicKey.from_bytes(bytes(data))
    except (EncodingError, errors.PaillierError):
        return
    assert key != KEY
    assert key.digest != KEY.digest


@pytest.mark.parametrize("data", [b"", b"\xa0", KEY.to_bytes() + b"\0", KEY.to_bytes()[:-1]])
def test_bytes_that_are_no_object_are_refused(data):
    for decode in (PublicKey.from_bytes, PartialDecryption.from_bytes, ShareProof.from_bytes,
                   PlaintextProof.from_bytes,
                   lambda b: threshold.PartialVector.from_bytes(KEY, b)):
        with pytest.raises(EncodingError):
            decode(data)


def test_a_broken_list_of_ciphertexts_is_refused():
    with pytest.raises(EncodingError):
        keys.unpack_values(KEY, bytes(KEY.width + 1))


# --- what public objects hold -------------------------------------------------------------------


def test_a_public_key_holds_section_6s_fields_and_nothing_else():
    """N, θ, v, all v_i (so ℓ), t, the seed of h, the bound on Δ s_i. A public m factors N."""
    names = {"N", "theta", "v", "verification_keys", "threshold", "seed", "share_bits"}
    assert {field.name for field in fields(PublicKey)} == names
    assert set(encoding.decode(KEY.to_bytes())) == names
    assert not hasattr(KEY, "__dict__")


def test_no_public_number_helps_to_factor_N():
    """No field of the key, nor of what parties publish, is m, φ(N), a prime, or shares one."""
    from math import gcd, isqrt

    key, shares = deal(3, 2, 40, SeededRandomness(b"factor"))
    p = next(d for d in range(3, isqrt(key.N) + 1, 2) if key.N % d == 0)
    q = key.N // p
    c = key.encrypt(5)
    part = shares[0].partially_decrypt(c)
    numbers = [key.N, key.theta, key.v, *key.verification_keys, key.share_bits, part.value,
               part.proof.challenge, part.proof.response, c.value]
    m = (p - 1) * (q - 1) // 4
    for number in numbers:
        assert gcd(number, key.N) in (1, key.N)
        assert number % m or number == 0


def test_a_share_never_prints_its_secret_and_has_no_plain_encoding():
    assert str(SHARES[0].secret) not in repr(SHARES[0])
    assert not hasattr(KeyShare, "to_bytes")


@pytest.mark.parametrize("index", [0, -1, 4])
def test_a_share_of_nobody_is_refused(index):
    with pytest.raises(errors.ParameterError):
        KeyShare(KEY, index, 1)


# --- at rest ------------------------------------------------------------------------------------


def test_a_locked_share_opens_with_its_passphrase_only():
    assert unlock_share(LOCKED, "correct horse") == SHARES[1]
    with pytest.raises(errors.StoredShareError) as caught:
        unlock_share(LOCKED, "battery staple")
    assert isinstance(caught.value, IntegrityError)


def test_a_jointly_made_share_may_be_negative_and_is_stored_too(joint):
    share = replace(joint[1][0], secret=-joint[1][0].secret)
    assert unlock_share(lock_share(share, "π", cost=4), "π") == share


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_a_locked_share_is_refused(position, flip):
    data = bytearray(LOCKED)
    data[position % len(data)] ^= flip
    with pytest.raises(errors.StoredShareError):
        unlock_share(bytes(data), "correct horse")


def test_the_clear_header_of_a_stored_share_is_authenticated(small):
    """Another index or public key before the same locked secret is refused."""
    stored = encoding.decode_record(StoredShare, LOCKED)
    for change in ({"index": 1}, {"public_key": small[0].to_bytes()}):
        data = encoding.encode(encoding.to_plain(replace(stored, **change)))
        with pytest.raises(errors.StoredShareError, match="passphrase"):
            unlock_share(data, "correct horse")


def test_the_secret_does_not_lie_in_the_stored_bytes():
    secret = SHARES[1].secret.to_bytes((SHARES[1].secret.bit_length() + 7) // 8, "big")
    for k in range(len(secret) - 7):
        assert secret[k : k + 8] not in LOCKED
    again = lock_share(SHARES[1], "correct horse", cost=4)
    assert again != LOCKED  # a fresh salt and nonce every time


def test_limits_on_what_is_stored():
    stored = encoding.decode_record(StoredShare, LOCKED)
    for change in ({"cost": 40}, {"cost": 0}, {"index": -1}, {"index": 1 << 70},
                   {"salt": b""}, {"nonce": b""}):
        data = encoding.encode(encoding.to_plain(replace(stored, **change)))
        with pytest.raises(errors.StoredShareError):
            unlock_share(data, "correct horse")
    for passphrase, cost in (("", 4), ("x", 0), ("x", 21)):
        with pytest.raises(errors.ParameterError):
            lock_share(SHARES[0], passphrase, cost=cost)
