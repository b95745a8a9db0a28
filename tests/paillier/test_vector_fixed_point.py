"""Fixed point and slots: exact at the edge of the budget, loud beyond it."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import digest, encode
from bdn.errors import PeerError, UsageError
from bdn.paillier.errors import (
    OutOfRangeError,
    ParameterError,
    SpoiledSumError,
)
from bdn.paillier.vector.fixedpoint import (
    FixedPoint,
    pack_signed_slots,
    pack_slots,
    slots_in,
    unpack_signed_slots,
    unpack_slots,
)

value_bits = st.integers(2, 32)
clips = st.floats(1e-6, 1e6)


@given(bits=value_bits, clip=clips, parts=st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_quantising_rounds_to_the_nearest_level(bits, clip, parts):
    """|value − q·step| ≤ step/2 (in exact rationals, up to one rounding of the division)."""
    values = np.array(parts) * clip
    code = FixedPoint(len(values), clip, bits, 1)
    step = Fraction(clip) / ((1 << (bits - 1)) - 1)
    for value, level in zip(values.tolist(), code.quantise(values).tolist(), strict=True):
        assert abs(level) <= (1 << (bits - 1)) - 1
        assert abs(Fraction(value) - level * step) <= step * (Fraction(1, 2) + Fraction(1, 2**20))


@given(bits=value_bits, clip=clips)
def test_the_clips_themselves_are_levels(bits, clip):
    """±clip quantise to ±(2^(v−1) − 1), and m stays in [1, 2^v − 1]."""
    code = FixedPoint(3, clip, bits, 1)
    top = (1 << (bits - 1)) - 1
    assert code.quantise([clip, 0.0, -clip]).tolist() == [top, 0, -top]
    assert code.encode([clip, 0.0, -clip]).tolist() == [(1 << bits) - 1, 1 << (bits - 1), 1]


@given(clip=clips, at=st.integers(0, 4), sign=st.sampled_from([-1, 1]))
def test_one_ulp_beyond_the_clip_raises_and_names_the_entry(clip, at, sign):
    """Nothing saturates: the next float beyond the clip is refused."""
    code = FixedPoint(5, clip, 16, 1)
    values = np.zeros(5)
    values[at] = sign * np.nextafter(clip, math.inf)
    with pytest.raises(OutOfRangeError) as caught:
        code.quantise(values)
    assert (caught.value.index, caught.value.clip) == (at, clip)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(strange):
    """A NaN or infinity is no value, whatever the clip."""
    values = np.array([0.5, strange, 7.0])
    with pytest.raises(OutOfRangeError, match="entry 1"):
        FixedPoint(3, 1.0, 16, 1).quantise(values)


def test_each_entry_has_its_own_clip_and_the_worst_is_named():
    """Weights, gradients and the loss entry have clips of their own."""
    code = FixedPoint(3, np.array([1.0, 10.0, 100.0]), 8, 5)
    assert code.quantise([1.0, 10.0, -100.0]).tolist() == [127, 127, -127]
    assert code.step.shape == (3,)
    with pytest.raises(OutOfRangeError, match="entry 1"):
        code.quantise([1.5, 20.0, -150.0])


@given(
    bits=st.integers(2, 16),
    weights=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    data=st.data(),
)
def test_sums_decode_exactly(bits, weights, data):
    """Σ s_k q_k comes back from Σ s_k m_k with the weights that were included."""
    top = (1 << (bits - 1)) - 1
    levels = [data.draw(st.lists(st.integers(-top, top), min_size=3, max_size=3)) for _ in weights]
    code = FixedPoint(3, top, bits, sum(weights) + data.draw(st.integers(0, 50)))
    encoded = [code.encode(np.array(q, dtype=float)) for q in levels]
    sums = sum(s * m for s, m in zip(weights, encoded, strict=True))
    expected = [sum(s * q[i] for s, q in zip(weights, levels, strict=True)) for i in range(3)]
    assert code.decode_sums(sums, sum(weights)).tolist() == expected


@pytest.mark.parametrize(("sums", "entry"), [([8, 9], 0), ([9, 9 * 255 + 1], 1)])
def test_sums_that_no_honest_vectors_give_are_refused(sums, entry):
    """m ≥ 1 and m ≤ 2^v − 1, so sums with total weight 9 lie in [9, 9·255]."""
    code = FixedPoint(2, 1.0, 8, 20)
    with pytest.raises(SpoiledSumError) as caught:
        code.decode_sums(np.array(sums), 9)
    assert isinstance(caught.value, PeerError)
    assert caught.value.entries == (entry,)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 1.0, 16, 1), UsageError),
        ((3, [1.0, 2.0], 16, 1), ParameterError),
        ((3, 0.0, 16, 1), ParameterError),
        ((3, "wide", 16, 1), ParameterError),
        ((3, math.inf, 16, 1), ParameterError),
        ((3, 1e-320, 16, 1), ParameterError),
        ((3, 1.0, 1, 1), ParameterError),
        ((3, 1.0, 33, 1), ParameterError),
        ((3, 1.0, 32, 1 << 31), ParameterError),
        ((3, 1.0, 16, 0), UsageError),
    ],
)
def test_impossible_codes_are_refused(arguments, error):
    """Length, clip, value bits and total weight are checked when the code is made."""
    with pytest.raises(error):
        FixedPoint(*arguments)


def test_another_shape_is_refused():
    """A vector of another length or rank is the caller's mistake."""
    code = FixedPoint(3, 1.0, 16, 1)
    for wrong in (np.zeros(2), np.zeros((3, 1)), 0.0, ["a", "b", "c"], [[1.0], [2.0, 3.0]]):
        with pytest.raises(ParameterError):
            code.quantise(wrong)


@pytest.mark.parametrize("weights", [[0], [-1], [11], [5, 6], [1.5], [True]])
def test_weights_beyond_the_budget_are_refused(weights):
    """1 ≤ s_k, integers, and Σ s_k ≤ W."""
    with pytest.raises(UsageError):
        FixedPoint(1, 1.0, 16, 10).check_weights(weights)


# --- slots --------------------------------------------------------------------------------------


@given(width=st.integers(2, 62), per=st.integers(1, 9), data=st.data())
def test_unsigned_slots_round_trip(width, per, data):
    """unpack ∘ pack is the identity, and plaintexts stay within their slots."""
    top = (1 << width) - 1
    values = data.draw(st.lists(st.integers(0, top), min_size=1, max_size=30))
    packed = pack_slots(np.array(values, dtype=np.int64), width, per)
    assert len(packed) == -(-len(values) // per)
    assert all(0 <= p < 1 << (width * per) for p in packed)
    assert unpack_slots(packed, width, per, len(values)).tolist() == values


@given(width=st.integers(2, 40), per=st.integers(1, 9), count=st.integers(1, 7), data=st.data())
def test_sums_of_signed_slots_are_sums_of_their_contents(width, per, count, data):
    """As long as no sum leaves [−2^(w−1), 2^(w−1)), whatever the signs."""
    top = ((1 << (width - 1)) - 1) // count
    lists = st.lists(st.integers(-top, top), min_size=11, max_size=11)
    vectors = np.array([data.draw(lists) for _ in range(count)], dtype=np.int64)
    packed = [pack_signed_slots(vector, width, per) for vector in vectors]
    totals = [sum(column) for column in zip(*packed, strict=True)]
    opened = unpack_signed_slots(totals, width, per, 11)
    assert opened.tolist() == vectors.sum(axis=0).tolist()


def test_an_overfull_slot_carries_into_the_next():
    """As in a sum of integers: 2^w in one slot is 1 in its neighbour."""
    assert pack_slots(np.array([3 + (2 << 10), 5]), 10, 5) == [3 + (7 << 10)]


def test_a_signed_plaintext_is_the_plain_sum_of_its_shifted_contents():
    """Independent of the packing code: Σ x_i·2^(wi) over the integers, negative where it is."""
    (plaintext,) = pack_signed_slots(np.array([-3, 2, -1]), 10, 5)
    assert plaintext == -3 + 2 * 2**10 - 2**20


def test_a_plaintext_beyond_its_slots_is_refused():
    """A sum that outgrew the last slot cannot come from honest contributors."""
    for plaintext in (1 << 40, -1):
        with pytest.raises(SpoiledSumError):
            unpack_slots([plaintext], 10, 4, 4)


def test_slots_fit_below_half_of_the_modulus():
    """66 slots of 31 bits in a 2048-bit plaintext; none where even one is too wide."""
    assert slots_in(2048, 31) == 66
    assert 66 * 31 <= 2046 < 67 * 31
    assert slots_in(32, 31) == 0


# --- numbers at the edge of their types ---------------------------------------------------------


@given(bits=value_bits, clip=clips, kind=st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_vector_clipped_in_its_own_type_is_never_refused(bits, clip, kind):
    """np.float32(0.1) is a little above 0.1: whoever clips in float32 stays within the clip."""
    clip = min(clip, 6e4)  # the largest float16
    code = FixedPoint(3, clip, bits, 1)
    vector = np.clip(np.array([1e4, -1e4, 0]), -kind(clip), kind(clip)).astype(kind)
    top = (1 << (bits - 1)) - 1
    assert np.all(np.abs(code.quantise(vector)) <= top)
    if abs(float(kind(clip)) - clip) < clip / (4 * top) and clip < 1e4:
        assert code.quantise(vector).tolist() == [top, -top, 0]
    beyond = np.array([0, np.nextafter(kind(clip), kind(np.inf)), 0], dtype=kind)
    if np.isfinite(beyond[1]) and float(beyond[1]) > clip:
        with pytest.raises(OutOfRangeError):
            code.quantise(beyond)


def test_a_short_type_does_not_widen_a_clip_that_it_cannot_hold():
    """A clip of 1e300 is infinite in float32; infinities are still refused."""
    code = FixedPoint(1, 1e300, 16, 1)
    assert code.quantise(np.array([3e38], dtype=np.float32)).tolist() == [0]
    with pytest.raises(OutOfRangeError):
        code.quantise(np.array([np.inf], dtype=np.float32))


@pytest.mark.parametrize("vector", [
    [1j, 0.0], np.array([1, 1j]), np.array([1.0, 1j], dtype=object),
    np.ma.array([0.5, 0.5], mask=[False, True]), [10**400, 0], [-(10**400), 0.5],
    ["0.5", "0.5"], np.array(["0.5", 0.5], dtype=object), [b"0.5", b"0.5"], [None, 0.5],
    [True, False], np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"),
    np.array([(1.0,), (2.0,)], dtype=[("x", "f8")]), [[0.5], [0.5, 0.5]], {"a": 1}, object(),
], ids=range(16))
def test_what_is_not_a_vector_of_real_numbers_is_refused_where_it_is_given(vector):
    """Nothing loses an imaginary part, a mask or a type on its way into a float."""
    code = FixedPoint(2, 1.0, 16, 1)
    with pytest.raises(ParameterError) as caught:
        code.quantise(vector)
    assert len(str(caught.value)) < 200
    with pytest.raises(ParameterError):
        FixedPoint(2, vector, 16, 1)


@pytest.mark.parametrize("vector", [
    [Fraction(1, 2), Fraction(-1, 2)], np.ma.array([0.5, -0.5]), (0.5, -0.5),
    np.array([0.5, -0.5], dtype=np.float16), np.array([0.5, -0.5], dtype=np.longdouble),
    np.array([0.5, -0.5], dtype=">f8"), np.array([0.5, -0.5, 9])[:2], memoryview(
        np.array([0.5, -0.5]))], ids=range(8))
def test_any_real_numbers_make_a_vector(vector):
    assert FixedPoint(2, 1.0, 16, 1).quantise(vector).tolist() == [16384, -16384]


@given(bits=value_bits, weight=st.integers(1, 1 << 30), exponent=st.integers(900, 1023))
def test_an_accepted_clip_never_opens_to_infinity(bits, weight, exponent):
    clip = 2.0**exponent
    try:
        code = FixedPoint(1, clip, bits, weight)
    except ParameterError:
        assert clip * weight * 2 > np.finfo(np.float64).max / 4 or bits + 31 > 62
        return
    sums = np.array([code.max_level * weight])
    assert np.isfinite(code.to_values(sums)).all()


@pytest.mark.parametrize("wrong", [16.0, "16", None, True, 1 << 20_000, -1],
                         ids=["float", "text", "none", "truth", "huge", "negative"])
def test_counts_of_another_type_are_refused_where_they_are_given(wrong):
    code = FixedPoint(2, 1.0, 16, 9)
    calls = (lambda: FixedPoint(wrong, 1.0, 16, 9), lambda: FixedPoint(2, 1.0, wrong, 9),
             lambda: FixedPoint(2, 1.0, 16, wrong), lambda: code.check_weight(wrong))
    for at, call in enumerate(calls):
        if at == 0 and wrong == 1 << 20_000:
            continue  # a length is bounded by the memory for the vector
        with pytest.raises(UsageError) as caught:
            call()
        assert len(str(caught.value)) < 200
    for kind in (np.int8, np.uint64):
        assert FixedPoint(kind(2), 1.0, kind(16), kind(9)).fingerprint() == code.fingerprint()


def test_the_fingerprint_hashes_the_clip_by_segments() -> None:
    """One number and as many equal entries are one code; docs/format.md states the bytes."""
    expected = digest("bdn/fixed-point", encode([5, 12, 9]),
                      (3).to_bytes(8, "big") + struct.pack(">d", 0.5)
                      + (2).to_bytes(8, "big") + struct.pack(">d", 8.0))
    assert FixedPoint(5, [0.5, 0.5, 0.5, 8.0, 8.0], 12, 9).fingerprint() == expected
    assert FixedPoint(5, 0.5, 12, 9).fingerprint() == FixedPoint(5, [0.5] * 5, 12, 9).fingerprint()
    for other in ([0.5, 0.5, 8.0, 8.0, 8.0], [8.0, 8.0, 0.5, 0.5, 0.5], [0.5, 8.0, 0.5, 8.0, 8.0]):
        assert FixedPoint(5, other, 12, 9).fingerprint() != expected
