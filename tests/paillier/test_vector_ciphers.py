"""Both vector ciphers behind one protocol (Eq. (5)): exact, checked, equal."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import PackedCipher, RingMaskedCipher, deal, vector_cipher
from bdn.paillier.errors import OutOfRangeError, ParameterError
from bdn.paillier.vector.ring_masked import RingParameters
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
    with pytest.raises(ParameterError):
        RingParameters(64, q_bits, D_bits - 1, 8.0, contributors)
    too_small = RingParameters(64, q_bits - 1, D_bits, 8.0, contributors)
    with pytest.raises(ParameterError):
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


@both
def test_a_sum_is_the_same_however_many_vectors_are_added_at_once(name, monkeypatch):
    cipher = make(name, 5)
    rng = SeededRandomness(3)
    sealed = [cipher.seal(np.full(5, k / 10), 2, rng.substream(str(k))) for k in range(5)]
    whole = cipher.weighted_sum(sealed, [2] * 5)
    for group in (1, 2, 4):
        monkeypatch.setattr("bdn.paillier.vector.cipher.ADDED_AT_ONCE", group)
        assert cipher.weighted_sum(sealed, [2] * 5) == whole


def exact_sum(cipher, vectors, weights):
    """The oracle: Σ s_k q_k in Python integers."""
    levels = [cipher.quantise(vector).tolist() for vector in vectors]
    return [sum(s * q[i] for s, q in zip(weights, levels, strict=True))
            for i in range(cipher.length)]


# --- Eq. (5) ------------------------------------------------------------------------------------

entries = st.one_of(st.sampled_from([-1.0, 1.0, 0.0]), st.floats(-1, 1))


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


def test_the_papers_model_under_a_key_of_2048_bits(big):
    """252,398 values, ten devices of 2,745 samples: exact, twelve ciphertexts, below 1.4 MB."""
    public_key, shares = big
    cipher = RingMaskedCipher(public_key, 252_398, total_weight=27_450, contributors=10)
    rng = np.random.default_rng(8)
    vectors = [rng.uniform(-1, 1, 252_398) for _ in range(10)]
    sealed = [cipher.seal(vector, 2745) for vector in vectors]
    assert cipher.ciphertext_count == 12
    assert len(sealed[0].to_bytes()) < 1_400_000
    total = cipher.weighted_sum(sealed, [2745] * 10)
    parts = [cipher.partially_decrypt(share, total) for share in shares[1:]]
    expected = 2745 * sum(cipher.quantise(vector) for vector in vectors)
    assert (cipher.open_integers(total, parts) == expected).all()


@both
def test_entries_with_clips_of_their_own(name):
    """The sealed loss has another scale than the weights."""
    clip = np.array([1.0, 1.0, 50.0])
    vectors, weights = [[0.5, -1.0, 42.0], [-0.25, 1.0, 3.5]], [4, 6]
    cipher = make(name, 3, clip=clip, value_bits=20)
    _, total, shares = aggregate(cipher, vectors, weights)
    expected = 4 * np.array(vectors[0]) + 6 * np.array(vectors[1])
    assert np.all(np.abs(cipher.open(total, shares, b"epoch 1") - expected) <= 5 * cipher.step)


@both
def test_only_the_weights_that_were_included_count(name):
    """W is what was declared; opening subtracts the offset of the weights included."""
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
        with pytest.raises(ParameterError):
            cipher.seal([0.0, 0.0], weight)
    sealed = [cipher.seal([0.0, 0.0], weight) for weight in (5, 5, 1)]
    cipher.weighted_sum(sealed[:2], [5, 5])
    with pytest.raises(ParameterError, match="add up to 11"):
        cipher.weighted_sum(sealed, [5, 5, 1])
    with pytest.raises(ParameterError):
        cipher.weighted_sum(sealed, [5, 5])
    with pytest.raises(ParameterError):
        cipher.weighted_sum([], [])


def test_a_key_with_no_room_for_one_slot_is_refused():
    """Small keys work as long as a slot fits, and say so when none does."""
    public_key, _ = deal(parties=3, threshold=2, bits=32, rng=SeededRandomness(2))
    with pytest.raises(ParameterError, match="32-bit key"):
        PackedCipher(public_key, 3, value_bits=16, total_weight=1 << 20)
    assert PackedCipher(public_key, 3, value_bits=8, total_weight=10).slots == 2
    with pytest.raises(ParameterError, match="none of the rings"):
        RingMaskedCipher(public_key, 3, value_bits=32, total_weight=1 << 25)


# --- repeated entropy ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    {"vector": [0.1, 0.2, 0.31]}, {"context": b"device 2"}, {"clip": 2.0}, {"seed": b"epoch 2"},
], ids=str)
@pytest.mark.parametrize("name", ["packed", "ring-masked"])
def test_repeated_entropy_never_repeats_a_nonce(name, change):
    """Two ciphertexts with one nonce differ by (1 + N)^d: anybody reads off the difference d."""
    def seal(vector=(0.1, 0.2, 0.3), context=b"device 1", clip=1.0, seed=b"epoch 1"):
        cipher = vector_cipher(name, keys()[0], 3, clip=clip, seed=seed, total_weight=10)
        return cipher.seal(np.array(vector), 2, SeededRandomness(7), context).ciphertexts

    if name == "packed" and "seed" in change:
        return  # a packed vector has no public seed; its context names the phase
    N, width = keys()[0].N, keys()[0].width
    one, other = (
        [int.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]
        for data in (seal(), seal(**change)))
    for c, d in zip(one, other, strict=True):
        assert (c * pow(d, -1, N) - 1) % N != 0
    assert seal() == seal()
