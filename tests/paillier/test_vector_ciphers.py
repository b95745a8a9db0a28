"""Both vector ciphers behind one protocol (DESIGN.md section 7; Eq. (5)): exact, checked, equal."""

import dataclasses
import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.errors import PeerError, UsageError
from bdn.paillier import PackedCipher, RingMaskedCipher, deal, vector_cipher
from bdn.paillier.errors import (
    CiphertextError,
    KeyMismatchError,
    PlaintextProofError,
    ShareError,
    TooFewSharesError,
    WrongSessionError,
)
from bdn.paillier.packed import PIECE
from bdn.paillier.ring_parameters import RingParameters
from bdn.paillier.vector_errors import (
    BudgetError,
    OutOfRangeError,
    SealedFormError,
    SealedWeightError,
    ShareFormError,
    SpoiledSumError,
    VectorShapeError,
)
from bdn.randomness import SeededRandomness

NAMES = ("packed", "ring-masked")
both = pytest.mark.parametrize("name", NAMES)


@functools.cache
def keys(bits=512, seed=1):
    """A dealer's key for three parties, two of whom open."""
    return deal(parties=3, threshold=2, bits=bits, rng=SeededRandomness(seed))


def tight_ring(length, value_bits, total_weight, contributors):
    """A ring-masked cipher in 64 dimensions with the smallest D and q that both budgets allow."""
    D_bits = math.ceil(math.log2(20 * 8 * math.sqrt(contributors)))
    q_bits = D_bits + (total_weight * ((1 << value_bits) - 1)).bit_length()
    options = {"total_weight": total_weight, "value_bits": value_bits}
    with pytest.raises(BudgetError):
        RingParameters(64, q_bits, D_bits - 1, 8.0, contributors)
    too_small = RingParameters(64, q_bits - 1, D_bits, 8.0, contributors)
    with pytest.raises(BudgetError):
        RingMaskedCipher(keys()[0], length, **options, parameters=too_small)
    parameters = RingParameters(64, q_bits, D_bits, 8.0, contributors)
    return RingMaskedCipher(keys()[0], length, **options, parameters=parameters)


def make(name, length, **options):
    """A cipher of either name under the small key."""
    options = {"total_weight": 10, **options}
    return vector_cipher(name, keys()[0], length, **options)


def aggregate(cipher, vectors, weights, parties=(0, 2), session=b"epoch 1"):
    """Seal, verify, add, share and check: the sum and its shares."""
    rng = SeededRandomness(len(vectors))
    sealed = []
    for k, (vector, weight) in enumerate(zip(vectors, weights, strict=True)):
        item = cipher.seal(vector, weight, rng.substream(str(k)), context=b"device %d" % k)
        cipher.verify(item, b"device %d" % k, weight)
        sealed.append(item)
    total = cipher.weighted_sum(sealed, weights)
    shares = [cipher.partially_decrypt(keys()[1][i], total, session) for i in parties]
    for share in shares:
        cipher.verify_share(total, share, session)
    return sealed, total, shares


def exact_sum(cipher, vectors, weights):
    """The oracle: Σ s_k q_k in Python integers."""
    levels = [cipher.quantise(vector).tolist() for vector in vectors]
    return [sum(s * q[i] for s, q in zip(weights, levels, strict=True))
            for i in range(cipher.length)]


# --- Eq. (5) ------------------------------------------------------------------------------------

entries = st.one_of(st.sampled_from([-1.0, 1.0, 0.0]), st.floats(-1, 1))


@settings(deadline=None)
@given(
    value_bits=st.integers(2, 16),
    weights=st.lists(st.integers(1, 2745), min_size=1, max_size=10),
    length=st.sampled_from([1, 3, 130]),
    spare=st.sampled_from([0, 0, 1, 1000]),
    data=st.data(),
)
def test_opened_sums_are_exact_up_to_the_edge_of_the_budget_and_the_ciphers_agree(
    value_bits, weights, length, spare, data
):
    """W = Σ s_k (or a little more), entries at ±clip and between, one to ten devices.

    The ring is the tightest: D or q one bit smaller raises.
    """
    total_weight = sum(weights) + spare
    vectors = []
    for _ in weights:
        head = data.draw(st.lists(entries, min_size=min(length, 4), max_size=min(length, 4)))
        vectors.append(np.resize(np.array(head), length))
    ciphers = [
        PackedCipher(keys()[0], length, 1.0, value_bits, total_weight=total_weight),
        tight_ring(length, value_bits, total_weight, len(weights)),
    ]
    opened = []
    for cipher in ciphers:
        _, total, shares = aggregate(cipher, vectors, weights)
        opened.append(cipher.open_integers(total, shares, b"epoch 1").tolist())
        assert opened[-1] == exact_sum(cipher, vectors, weights)
    assert opened[0] == opened[1]


@both
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_all_entries_at_the_clip_with_the_papers_budget(name, sign):
    """16-bit values, ten devices of 2,745 samples: the largest sum of all is exact (2048-dim ring).

    The budget is tight: 27,450·65,535·512 < 2^40 < 27,450·65,535·1,024.
    """
    cipher = make(name, 5, total_weight=27_450)
    if name == "ring-masked":
        assert (cipher.parameters.N, cipher.parameters.q_bits, cipher.parameters.D_bits) == (
            2048, 40, 9)
    vectors, weights = [np.full(5, sign)] * 10, [2745] * 10
    _, total, shares = aggregate(cipher, vectors, weights)
    assert cipher.open_integers(total, shares, b"epoch 1").tolist() == [sign * 27_450 * 32_767] * 5
    assert cipher.open(total, shares, b"epoch 1").tolist() == pytest.approx([sign * 27_450] * 5)


@both
@pytest.mark.parametrize("length", [1, 2047, 2048, 2049, 5000])
def test_any_length_works_the_last_chunk_being_partial(name, length):
    """Whole rings, one less, one more, and a single entry."""
    rng = np.random.default_rng(length)
    vectors, weights = [rng.uniform(-1, 1, length) for _ in range(3)], [1, 2, 7]
    cipher = make(name, length)
    _, total, shares = aggregate(cipher, vectors, weights)
    opened = cipher.open(total, shares, b"epoch 1")
    assert opened.dtype == np.float64
    assert opened.shape == (length,)
    assert cipher.open_integers(total, shares, b"epoch 1").tolist() == exact_sum(
        cipher, vectors, weights)
    plain = sum(s * v for s, v in zip(weights, vectors, strict=True))
    assert np.max(np.abs(opened - plain)) <= 10 * float(cipher.step) / 2 * (1 + 1e-9)


@both
def test_entries_with_clips_of_their_own(name):
    """The sealed loss has another scale than the weights (section 3, line 13 of Algorithm 1)."""
    clip = np.array([1.0, 1.0, 50.0])
    vectors, weights = [[0.5, -1.0, 42.0], [-0.25, 1.0, 3.5]], [4, 6]
    cipher = make(name, 3, clip=clip, value_bits=20)
    _, total, shares = aggregate(cipher, vectors, weights)
    expected = 4 * np.array(vectors[0]) + 6 * np.array(vectors[1])
    assert np.all(np.abs(cipher.open(total, shares, b"epoch 1") - expected) <= 5 * cipher.step)


@both
def test_only_the_weights_that_were_included_count(name):
    """W is what was declared; opening subtracts the offset of the weights included (section 7)."""
    cipher = make(name, 2, total_weight=1000)
    _, total, shares = aggregate(cipher, [[0.5, -0.5]], [3])
    assert (total.total_weight, total.contributors) == (3, 1)
    assert cipher.open_integers(total, shares, b"epoch 1").tolist() == exact_sum(
        cipher, [[0.5, -0.5]], [3])


@both
def test_every_pair_of_parties_opens_to_the_same_sum(name):
    """t = 2 of 3, in every choice and order, and with a share more than needed."""
    cipher = make(name, 3)
    _, total, shares = aggregate(cipher, [[0.1, 0.2, 0.3]], [4], parties=(0, 1, 2))
    expected = cipher.open_integers(total, shares, b"epoch 1").tolist()
    for chosen in ((0, 1), (1, 0), (0, 2), (2, 1)):
        some = [shares[i] for i in chosen]
        assert cipher.open_integers(total, some, b"epoch 1").tolist() == expected


# --- one step beyond ----------------------------------------------------------------------------


@both
def test_a_value_beyond_its_clip_raises_and_names_the_worst_entry(name):
    """Never clipped: the caller hears which entry, its value and its clip."""
    cipher = make(name, 3, clip=[1.0, 2.0, 3.0])
    with pytest.raises(OutOfRangeError, match=r"entry 1 is 2\.5") as caught:
        cipher.seal([1.1, 2.5, -3.1], 1)
    assert caught.value.index == 1
    for strange in (np.nan, np.inf):
        with pytest.raises(OutOfRangeError):
            cipher.seal([0.0, strange, 0.0], 1)


@both
def test_weights_beyond_the_declared_total_raise(name):
    """One beyond W when sealing, and one beyond it in sum when adding."""
    cipher = make(name, 2, total_weight=10)
    for weight in (0, 11, -1):
        with pytest.raises(BudgetError):
            cipher.seal([0.0, 0.0], weight)
    sealed = [cipher.seal([0.0, 0.0], weight) for weight in (5, 5, 1)]
    cipher.weighted_sum(sealed[:2], [5, 5])
    with pytest.raises(BudgetError, match="add up to 11"):
        cipher.weighted_sum(sealed, [5, 5, 1])
    with pytest.raises(VectorShapeError):
        cipher.weighted_sum(sealed, [5, 5])
    with pytest.raises(VectorShapeError):
        cipher.weighted_sum([], [])


def test_a_key_with_no_room_for_one_slot_is_refused():
    """Small keys work as long as a slot fits, and say so when none does."""
    public_key, _ = deal(parties=3, threshold=2, bits=32, rng=SeededRandomness(2))
    with pytest.raises(BudgetError, match="32-bit key"):
        PackedCipher(public_key, 3, value_bits=16, total_weight=1 << 20)
    assert PackedCipher(public_key, 3, value_bits=8, total_weight=10).slots == 2
    with pytest.raises(BudgetError, match="none of the rings"):
        RingMaskedCipher(public_key, 3, value_bits=32, total_weight=1 << 25)


# --- refusals -----------------------------------------------------------------------------------


@both
def test_a_sealed_vector_verifies_for_its_own_context_only(name):
    """Another device, epoch or phase cannot submit it again (section 5, step 1)."""
    cipher = make(name, 3)
    sealed = cipher.seal([0.1, 0.2, 0.3], 2, context=b"device 1, epoch 1")
    cipher.verify(sealed, b"device 1, epoch 1")
    for other in (b"device 2, epoch 1", b"", b"device 1, epoch 11"):
        with pytest.raises(PlaintextProofError):
            cipher.verify(sealed, other)


@both
def test_a_proof_for_another_code_does_not_hold(name):
    """Clip, value bits and total weight are bound: sums mix only what means the same."""
    sealed = make(name, 3, clip=1.0).seal([0.1, 0.2, 0.3], 2)
    with pytest.raises(PeerError):
        make(name, 3, clip=2.0).verify(sealed)


@both
@settings(max_examples=15)
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
        with pytest.raises((SealedFormError, BudgetError)):
            cipher.weighted_sum([wrong], [wrong.weight or 1])


@both
@pytest.mark.parametrize("value", [0, "N", "N^2", "2^width - 1"])
def test_a_value_that_is_no_ciphertext_is_refused(name, value):
    """c outside [1, N²) or with a factor of N (section 6, "Refuse")."""
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
    _, total, shares = aggregate(cipher, [[0.1, 0.2, 0.3]], [4], parties=(0, 1, 2))
    _, other, _ = aggregate(cipher, [[0.1, 0.2, 0.3], [0.0, 0.0, 0.1]], [4, 1])
    with pytest.raises(WrongSessionError):
        cipher.verify_share(total, shares[0], b"epoch 2")
    with pytest.raises(ShareError) as caught:
        cipher.verify_share(other, shares[1], b"epoch 1")
    assert caught.value.indices == (2,)
    renamed = dataclasses.replace(shares[1], index=3)
    with pytest.raises(ShareFormError) as caught:
        cipher.verify_share(total, renamed, b"epoch 1")
    assert caught.value.indices == (3,)
    with pytest.raises(TooFewSharesError):
        cipher.open(total, shares[:1], b"epoch 1")
    stranger = deal(parties=3, threshold=2, bits=512, rng=SeededRandomness(9))[1][0]
    with pytest.raises(KeyMismatchError):
        cipher.partially_decrypt(stranger, total)


@both
def test_bad_shares_are_left_out_while_enough_good_ones_remain(name):
    """Misbehaving parties are named only where they prevent the opening."""
    cipher = make(name, 3)
    _, total, shares = aggregate(cipher, [[0.1, 0.2, 0.3]], [4], parties=(0, 1, 2))
    expected = cipher.open_integers(total, shares[:2], b"epoch 1").tolist()
    broken = dataclasses.replace(shares[2], partial=b"\x00")
    lying = cipher.partially_decrypt(keys()[1][2], total, b"another session")
    for bad in (broken, lying):
        opened = cipher.open_integers(total, [*shares[:2], bad], b"epoch 1")
        assert opened.tolist() == expected
        with pytest.raises(ShareError) as caught:
            cipher.open_integers(total, [shares[0], bad], b"epoch 1")
        assert caught.value.indices == (3,)


def test_a_packed_sender_that_leaves_its_slots_is_noticed_when_the_sum_is_opened():
    """Honest neighbours are spoiled (section 7 says so), but never silently out of range."""
    cipher = make("packed", 3)
    code = cipher.code
    genuine = code.encode
    code.encode = lambda vector: genuine(vector) + np.array([0, 3 << 18, 0])
    spoiled = cipher.seal([0.0, 0.0, 0.0], 1)
    code.encode = genuine
    cipher.verify(spoiled)
    total = cipher.weighted_sum([spoiled, cipher.seal([0.1, 0.1, 0.1], 5)], [1, 5])
    shares = [cipher.partially_decrypt(share, total) for share in keys()[1][:2]]
    with pytest.raises(SpoiledSumError) as caught:
        cipher.open(total, shares)
    assert caught.value.entries == (1,)


@both
def test_a_declared_weight_must_be_the_sealed_one(name):
    """Where the device applies the weight, `verify` and `weighted_sum` compare it."""
    cipher = make(name, 2)
    sealed = cipher.seal([0.1, 0.2], 3, context=b"x")
    cipher.verify(sealed, b"x", weight=3)
    if cipher.applies_weight == "device":
        with pytest.raises(SealedWeightError):
            cipher.verify(sealed, b"x", weight=4)
        with pytest.raises(SealedWeightError):
            cipher.weighted_sum([sealed], [4])
        relabelled = dataclasses.replace(sealed, weight=4)
        with pytest.raises(PlaintextProofError):
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
    """Genesis records a name; both classes have the same methods (section 15)."""
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
