"""What the vector ciphers refuse, and the canonical bytes of what travels."""

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import BdnError, PeerError, UsageError
from bdn.paillier import KeyShare, PublicKey, combine, deal, unlock_share, vector_cipher
from bdn.paillier.errors import (
    CiphertextError,
    ParameterError,
    ProofError,
    SealedFormError,
    ShareError,
    SpoiledSumError,
)
from bdn.paillier.vector.packed import PIECE
from bdn.randomness import SeededRandomness

NAMES = ("packed", "ring-masked")
both = pytest.mark.parametrize("name", NAMES)


@functools.cache
def keys(bits=512, seed=1):
    """A dealer's key for three parties, two of whom open."""
    return deal(parties=3, threshold=2, bits=bits, rng=SeededRandomness(seed))


def make(name, length, **options):
    """A cipher of either name under the small key."""
    options = {"total_weight": 10, **options}
    return vector_cipher(name, keys()[0], length, **options)


def aggregate(cipher, vectors, weights, session=b"epoch 1"):
    """Seal, add, and all three parties' shares."""
    sealed = [cipher.seal(vector, weight) for vector, weight in zip(vectors, weights, strict=True)]
    total = cipher.weighted_sum(sealed, weights)
    return sealed, total, [cipher.partially_decrypt(share, total, session) for share in keys()[1]]


def seal_spoiled(cipher, entry, excess, weight, context=b""):
    """A vector of zeros whose ``entry`` holds ``excess`` levels more than zero, unchecked.

    It verifies like any other, because the sender knows what it seals: form, membership and proof
    are right.
    """
    levels = np.full(cipher.length, cipher.code.offset, dtype=np.int64)
    levels[entry] += excess
    return cipher.seal_encoded(levels, weight, None, context)


# --- refusals -----------------------------------------------------------------------------------


@both
def test_a_sealed_vector_verifies_for_its_own_context_only(name):
    """Another device, epoch or phase cannot submit it again."""
    cipher = make(name, 3)
    sealed = cipher.seal([0.1, 0.2, 0.3], 2, context=b"device 1, epoch 1")
    cipher.verify(sealed, b"device 1, epoch 1")
    for other in (b"device 2, epoch 1", b"", b"device 1, epoch 11"):
        with pytest.raises(ProofError):
            cipher.verify(sealed, other)


@both
def test_a_proof_for_another_code_does_not_hold(name):
    """Clip, value bits and total weight are bound: sums mix only what means the same."""
    sealed = make(name, 3, clip=1.0).seal([0.1, 0.2, 0.3], 2)
    with pytest.raises(PeerError):
        make(name, 3, clip=2.0).verify(sealed)


@both
@given(data=st.data())
def test_any_changed_byte_of_a_sealed_vector_is_caught(name, data):
    """Bit flips in ciphertexts, ring part or proof: no altered vector verifies."""
    cipher, sealed = _sealed_once(name)
    field = data.draw(st.sampled_from(["ciphertexts", "proof"] + ["ring"] * bool(sealed.ring)))
    content = bytearray(getattr(sealed, field))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PeerError):
        cipher.verify(dataclasses.replace(sealed, **{field: bytes(content)}), b"c")


@functools.cache
def _sealed_once(name):
    cipher = make(name, 40)
    return cipher, cipher.seal(np.linspace(-1, 1, 40), 2, context=b"c")


@both
@pytest.mark.parametrize(
    "change",
    [
        {"cipher": "other"},
        {"length": 41},
        {"weight": 11},
        {"ciphertext_bytes": 64},
        {"chunk_bytes": 7},
        {"ciphertexts": b""},
        {"ring": b"12345"},
        {"proof": b"\x00"},
    ],
)
def test_a_sealed_vector_of_another_shape_is_refused(name, change):
    """Each field of the record is checked, when it is decoded and when it is verified."""
    cipher, sealed = _sealed_once(name)
    wrong = dataclasses.replace(sealed, **change)
    with pytest.raises(SealedFormError):
        cipher.verify(wrong, b"c")
    if "proof" not in change:
        with pytest.raises(SealedFormError):
            cipher.sealed_from_bytes(wrong.to_bytes())
        with pytest.raises((SealedFormError, ParameterError)):
            cipher.weighted_sum([wrong], [wrong.weight or 1])


@both
@pytest.mark.parametrize("value", [0, "N", "N^2", "2^width - 1"])
def test_a_value_that_is_no_ciphertext_is_refused(name, value):
    """c outside [1, N²) or with a factor of N ."""
    cipher, sealed = _sealed_once(name)
    N = keys()[0].N
    number = {0: 0, "N": N, "N^2": N * N, "2^width - 1": (1 << 8 * cipher.ciphertext_bytes) - 1}
    width = cipher.ciphertext_bytes
    wrong = number[value].to_bytes(width, "big") + sealed.ciphertexts[width:]
    with pytest.raises(CiphertextError):
        cipher.verify(dataclasses.replace(sealed, ciphertexts=wrong), b"c")


@both
def test_a_share_for_another_sum_session_or_party_is_refused(name):
    """Shares are bound to the whole sum, the session and their maker, who is named."""
    cipher = make(name, 3)
    _, total, shares = aggregate(cipher, [[0.1, 0.2, 0.3]], [4])
    _, other, _ = aggregate(cipher, [[0.1, 0.2, 0.3], [0.0, 0.0, 0.1]], [4, 1])
    with pytest.raises(ShareError, match="another session"):
        cipher.verify_share(total, shares[0], b"epoch 2")
    with pytest.raises(ShareError) as caught:
        cipher.verify_share(other, shares[1], b"epoch 1")
    assert caught.value.indices == (2,)
    renamed = dataclasses.replace(shares[1], index=3)
    with pytest.raises(ShareError, match=r"decode|holds one of") as caught:
        cipher.verify_share(total, renamed, b"epoch 1")
    assert caught.value.indices == (3,)
    with pytest.raises(ShareError, match=r"are needed|only encrypts"):
        cipher.open(total, shares[:1], b"epoch 1")
    stranger = deal(parties=3, threshold=2, bits=512, rng=SeededRandomness(9))[1][0]
    with pytest.raises(ParameterError, match=r"another key|different keys|modulus"):
        cipher.partially_decrypt(stranger, total)


@both
def test_bad_shares_are_left_out_while_enough_good_ones_remain(name):
    """Misbehaving parties are named only where they prevent the opening."""
    cipher = make(name, 3)
    _, total, shares = aggregate(cipher, [[0.1, 0.2, 0.3]], [4])
    expected = cipher.open_integers(total, shares[:2], b"epoch 1").tolist()
    broken = dataclasses.replace(shares[2], partial=b"\x00")
    lying = cipher.partially_decrypt(keys()[1][2], total, b"another session")
    for bad in (broken, lying):
        opened = cipher.open_integers(total, [*shares[:2], bad], b"epoch 1")
        assert opened.tolist() == expected
        with pytest.raises(ShareError) as caught:
            cipher.open_integers(total, [shares[0], bad], b"epoch 1")
        assert caught.value.indices == (3,)


@both
def test_a_sender_that_leaves_its_slots_is_noticed_when_the_sum_is_opened(name):
    """Its vector verifies, for it knows what it sealed; the sum that is out of range is refused."""
    cipher = make(name, 3)
    spoiled = seal_spoiled(cipher, 1, 3 << 18, weight=1, context=b"device 1")
    cipher.verify(spoiled, b"device 1", 1)
    total = cipher.weighted_sum([spoiled, cipher.seal([0.1, 0.1, 0.1], 5)], [1, 5])
    shares = [cipher.partially_decrypt(share, total) for share in keys()[1][:2]]
    with pytest.raises(SpoiledSumError) as caught:
        cipher.open(total, shares)
    assert caught.value.entries == (1,)


def test_a_packed_slot_that_is_overfilled_by_exactly_one_spoils_its_neighbour():
    """The spoiled sum stays in range, as the module says."""
    cipher = make("packed", 3)
    honest = cipher.seal([0.1, 0.1, 0.1], 5)
    spoiled = seal_spoiled(cipher, 1, (1 << cipher.slot_bits) * 7, weight=2)
    total = cipher.weighted_sum([spoiled, honest], [2, 5])
    shares = [cipher.partially_decrypt(share, total) for share in keys()[1][:2]]
    expected = 5 * cipher.quantise([0.1, 0.1, 0.1]) + np.array([0, 0, 2 * 7])
    assert cipher.open_integers(total, shares).tolist() == expected.tolist()


@both
def test_a_declared_weight_must_be_the_sealed_one(name):
    """Where the device applies the weight, `verify` and `weighted_sum` compare it."""
    cipher = make(name, 2)
    sealed = cipher.seal([0.1, 0.2], 3, context=b"x")
    cipher.verify(sealed, b"x", weight=3)
    if cipher.applies_weight == "device":
        with pytest.raises(SealedFormError, match="weight"):
            cipher.verify(sealed, b"x", weight=4)
        with pytest.raises(SealedFormError, match="weight"):
            cipher.weighted_sum([sealed], [4])
        relabelled = dataclasses.replace(sealed, weight=4)
        with pytest.raises(ProofError):
            cipher.verify(relabelled, b"x", weight=4)
    else:
        cipher.verify(sealed, b"x", weight=4)
        assert cipher.weighted_sum([sealed], [4]).total_weight == 4


# --- bytes --------------------------------------------------------------------------------------


@both
def test_everything_that_travels_round_trips_and_is_canonical(name):
    """Bytes in, equal bytes out; trailing or missing bytes are refused."""
    cipher = make(name, 2100)
    sealed, total, shares = aggregate(cipher, [np.zeros(2100), np.ones(2100)], [3, 4])
    for item, parse in (
        (sealed[0], cipher.sealed_from_bytes),
        (total, cipher.sum_from_bytes),
        (shares[0], cipher.share_from_bytes),
    ):
        data = item.to_bytes()
        assert parse(data) == item
        assert parse(data).to_bytes() == data
        for wrong in (data[:-1], data + b"\x00", b"", b"\xa0", sealed[1].to_bytes() + data):
            with pytest.raises(PeerError):
                parse(wrong)
    assert cipher.weighted_sum(sealed, [3, 4]).to_bytes() == total.to_bytes()
    assert cipher.sealed_from_leaves(sealed[0].leaves()) == sealed[0]
    assert cipher.sum_from_leaves(total.leaves()) == total


@both
def test_the_leaves_cover_every_byte(name):
    """Any change of a sealed vector changes a leaf, and so the update's Merkle root."""
    cipher, sealed = _sealed_once(name)
    leaves = sealed.leaves()
    width = cipher.ciphertext_bytes
    assert leaves[: cipher.ciphertext_count] == [
        sealed.ciphertexts[at : at + width] for at in range(0, len(sealed.ciphertexts), width)]
    for field in ("ciphertexts", "ring", "proof"):
        content = getattr(sealed, field)
        for at in range(0, len(content), max(1, len(content) // 7)):
            changed = bytes(b ^ (k == at) for k, b in enumerate(content))
            assert dataclasses.replace(sealed, **{field: changed}).leaves() != leaves
    assert dataclasses.replace(sealed, weight=7).leaves() != leaves
    for wrong in (leaves[:-1], leaves[1:], [*leaves, b""], [], leaves[::-1]):
        with pytest.raises(SealedFormError):
            cipher.sealed_from_leaves(wrong)


@both
def test_the_factory_makes_both_and_refuses_others(name):
    """Genesis records a name; both classes have the same methods ."""
    cipher = make(name, 3, seed=b"phase")
    assert cipher.name == name
    assert cipher.applies_weight == {"packed": "contract", "ring-masked": "device"}[name]
    assert cipher.min_honest == 2
    with pytest.raises(UsageError):
        vector_cipher("plain", keys()[0], 3, total_weight=1)


def test_a_packed_vector_sealed_on_an_executor_is_the_same():
    """More cores change the time, not the bytes."""
    length = 8 * PIECE + 100  # slots of 61 bits, eight in a plaintext: two pieces
    vector = np.linspace(-1, 1, length)
    plain = make("packed", length, value_bits=32, total_weight=1 << 28)
    assert PIECE < plain.ciphertext_count < 2 * PIECE
    with ThreadPoolExecutor(2) as pool:
        pooled = make("packed", length, value_bits=32, total_weight=1 << 28, executor=pool)
        here, there = (c.seal(vector, 3, SeededRandomness(5)) for c in (plain, pooled))
    assert here == there
    plain.verify(there)


# --- wrong types --------------------------------------------------------------------------------


@both
def test_wrong_types_are_refused_where_they_are_given(name):
    """One line that names the argument, not a failure somewhere below."""
    public_key, shares = keys()
    cipher = make(name, 2)
    sealed, total, parts = aggregate(cipher, [[0.1, 0.2]], [1])
    c = public_key.encrypt(1)
    calls = {
        "context": (lambda: cipher.seal([0.1, 0.2], 1, context="x"),
                    lambda: cipher.verify(sealed[0], context="x")),
        "session": (lambda: shares[0].partially_decrypt(c, session="x"),
                    lambda: combine(public_key, c, [s.partially_decrypt(c) for s in shares], "x"),
                    lambda: cipher.partially_decrypt(shares[0], total, "x"),
                    lambda: cipher.open(total, parts, "x")),
        "public_key": (lambda: vector_cipher(name, None, 2, total_weight=3),
                       lambda: KeyShare(None, 1, 5)),
        "randomness": (lambda: cipher.seal([0.1, 0.2], 1, rng=7),),
        "c must be a Ciphertext": (lambda: combine(public_key, 5, []),
                                   lambda: shares[0].partially_decrypt(5)),
        "part must be a Partial": (lambda: combine(public_key, c, parts),),
        "sealed vector must be": (lambda: cipher.verify(total),
                                  lambda: cipher.weighted_sum([5], [1])),
        "total must be": (lambda: cipher.open(sealed[0], parts),),
        "share must be": (lambda: cipher.open(total, [sealed[0]] * 3),),
        "index": (lambda: KeyShare(public_key, 1.0, 5),),
        "secret": (lambda: KeyShare(public_key, 1, "5"),),
        "weight": (lambda: cipher.weighted_sum(sealed, [1.0]), lambda: cipher.seal([0, 0], 1.0),
                   lambda: cipher.weighted_sum(sealed, "1")),
        "bytes": (lambda: cipher.sealed_from_bytes("x"), lambda: PublicKey.from_bytes("x"),
                  lambda: unlock_share("x", "y")),
        "bits must be": (lambda: PublicKey.from_bytes(public_key.to_bytes(), bits="512"),),
    }
    if name == "ring-masked":
        calls["seed"] = (lambda: make(name, 2, seed="phase"),)
        calls["contributors"] = (lambda: make(name, 2, contributors=1.5),)
    for what, tries in calls.items():
        for attempt in tries:
            with pytest.raises(BdnError, match=what):
                attempt()


@both
def test_numpy_numbers_count_as_numbers(name):
    """Lengths, weights, budgets and buffers from arrays give the same bytes."""
    kind = np.int64
    options = {"contributors": kind(4)} if name == "ring-masked" else {}
    plain = make(name, 2, **{key: int(value) for key, value in options.items()})
    other = make(name, kind(2), total_weight=kind(10), value_bits=kind(16), **options)
    here = plain.seal([0.1, 0.2], 3, SeededRandomness(1), b"x")
    there = other.seal(np.array([0.1, 0.2]), kind(3), SeededRandomness(kind(1)), bytearray(b"x"))
    assert here.to_bytes() == there.to_bytes()
    other.verify(there, memoryview(b"x"), kind(3))
    sums = [cipher.weighted_sum([here], weights).to_bytes()
            for cipher, weights in ((plain, [3]), (other, np.array([3])))]
    assert sums[0] == sums[1]
