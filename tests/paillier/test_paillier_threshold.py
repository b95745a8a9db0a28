"""Opening together: subsets, refusals, Lagrange, and t − 1 shares."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import (
    Ciphertext,
    batch,
    combine,
    deal,
    deal_from_primes,
    errors,
    threshold,
    verify_share,
)
from bdn.paillier.numbers import safe_prime
from bdn.paillier.threshold import lagrange_at_zero, open_shares
from bdn.randomness import SeededRandomness


def parts_of(key, c, session=b""):
    return [share.partially_decrypt(c, session, SeededRandomness(share.index)) for share in key[1]]


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (2, 2), (3, 1), (4, 3), (5, 3), (5, 5)])
def test_every_subset_in_every_order_opens_to_the_same_value(parties, threshold):
    """Any t of ℓ, odd and even ℓ, t = 1 and t = ℓ."""
    key = deal(parties, threshold, 64, SeededRandomness(parties))
    c = key[0].encrypt(-123456)
    parts = parts_of(key, c)
    for subset in itertools.permutations(parts, threshold):
        assert combine(key[0], c, subset) == -123456


def test_more_shares_than_needed_open_too(small):
    c = small[0].encrypt(99)
    assert combine(small[0], c, parts_of(small, c)) == 99


def test_too_few_duplicate_foreign_and_zero_shares_are_refused(small):
    """Each with its own class, and the party named by index."""
    key = small[0]
    c = key.encrypt(5)
    parts = parts_of(small, c)
    with pytest.raises(errors.ShareError, match=r"are needed|only encrypts"):
        combine(key, c, parts[:2])
    with pytest.raises(errors.ShareError, match=r"are needed|only encrypts"):
        combine(key, c, [])
    with pytest.raises(errors.ShareError, match="two shares of party") as caught:
        combine(key, c, [parts[0], parts[1], parts[1], parts[2]])
    assert caught.value.indices == (2,)
    with pytest.raises(errors.ShareError, match="is none of") as caught:
        combine(key, c, [*parts[:2], replace(parts[2], index=6)])
    assert caught.value.indices == (6,)
    with pytest.raises(errors.ShareError, match="is none of"):
        combine(key, c, [*parts[:2], replace(parts[2], index=-1)])
    with pytest.raises(errors.ShareError, match="index 0") as caught:
        combine(key, c, [*parts[:2], replace(parts[2], index=0)])
    assert caught.value.indices == (0,)


def test_a_share_for_another_ciphertext_key_or_session_is_refused(small, other):
    key = small[0]
    c, d = key.encrypt(5), key.encrypt(5)
    good = parts_of(small, c, b"here")
    with pytest.raises(errors.ShareError, match="of another ciphertext") as caught:
        combine(key, c, [*good[:2], parts_of(small, d, b"here")[3]], b"here")
    assert caught.value.indices == (4,)
    with pytest.raises(errors.ShareError, match="another session") as caught:
        combine(key, c, [*good[:2], parts_of(small, c, b"there")[4]], b"here")
    assert caught.value.indices == (5,)
    foreign = parts_of(other, other[0].encrypt(5), b"here")
    with pytest.raises(errors.ShareError, match="another key") as caught:
        combine(key, c, [*good[:2], foreign[2]], b"here")
    assert caught.value.indices == (3,)


def test_wrong_labels_are_not_what_a_share_is_judged_by(small):
    """A share relabelled for this ciphertext still fails by its proof."""
    key = small[0]
    c, d = key.encrypt(5), key.encrypt(5)
    good, stray = parts_of(small, c), parts_of(small, d)[2]
    relabelled = replace(stray, label=good[2].label)
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of") as caught:
        combine(key, c, [*good[:2], relabelled])
    assert caught.value.indices == (3,)


def test_bad_shares_are_left_out_while_enough_good_ones_remain(small):
    key = small[0]
    c = key.encrypt(-5)
    parts = parts_of(small, c)
    bad = replace(parts[0], value=parts[0].value * 4 % key.N2)
    assert combine(key, c, [bad, *parts[1:]]) == -5
    outside = replace(parts[1], value=0)
    assert combine(key, c, [bad, outside, *parts[2:]]) == -5
    with pytest.raises(errors.ShareError, match="right shares") as caught:
        combine(key, c, [bad, outside, *parts[2:4]])
    assert caught.value.indices == (1, 2)


def test_two_shares_that_fail_alike_give_their_own_class(small):
    key = small[0]
    c = key.encrypt(-5)
    parts = parts_of(small, c)
    bad = [replace(part, value=part.value * 4 % key.N2) for part in parts[:2]]
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of") as caught:
        combine(key, c, [*bad, parts[2]])
    assert caught.value.indices == (1, 2)


@pytest.mark.parametrize("value", [0, -1])
def test_a_share_outside_the_group_is_refused(small, value):
    key = small[0]
    c = key.encrypt(1)
    part = parts_of(small, c)[0]
    for wrong in (value, key.N2, key.N * 2):
        with pytest.raises(errors.ShareError, match=r"share of party .*(outside|factor)") as caught:
            verify_share(key, c, replace(part, value=wrong))
        assert caught.value.indices == (1,)


def test_shares_that_do_not_fit_together_raise_even_if_proofs_hold(small, monkeypatch):
    """Combining still checks N | c′ − 1, and tries other subsets."""
    key = small[0]
    c = key.encrypt(321)
    parts = parts_of(small, c)
    bad = replace(parts[0], value=parts[0].value * 4 % key.N2)
    monkeypatch.setattr("bdn.paillier.threshold.check_proof", lambda *_: None)
    with pytest.raises(errors.ShareError, match="of the shares open") as caught:
        combine(key, c, [bad, *parts[1:3]])
    assert caught.value.indices == (1, 2, 3)
    assert combine(key, c, [bad, *parts[1:]]) == 321


def test_what_is_no_ciphertext_is_not_opened(small):
    """A Ciphertext made without its check is still checked before any share of it."""
    key = small[0]
    parts = parts_of(small, key.encrypt(1))
    for value in (0, key.N2 + 1, key.N * 2):
        with pytest.raises(errors.CiphertextError):
            combine(key, Ciphertext(key, value), parts)
        with pytest.raises(errors.CiphertextError):
            small[1][0].partially_decrypt(Ciphertext(key, value))


def test_a_sign_on_a_share_changes_nothing(small):
    """c_i and −c_i have one square: both pass and open alike, as the proof says no more."""
    key, _ = small
    c = key.encrypt(8)
    values = [part.value for part in parts_of(small, c)]
    signed = {i: [(-1) ** i * value % key.N2] for i, value in enumerate(values[:3], 1)}
    assert open_shares(key, signed) == [8]


# --- wrong shares whose proofs nevertheless hold ------------------------------------------------


@pytest.mark.parametrize(("parties", "threshold"), [(20, 10), (7, 3), (5, 2), (4, 2)])
def test_every_single_and_every_pair_of_bad_shares_is_left_out(parties, threshold):
    """Whichever one or two parties are wrong, t of the others open."""
    key, shares = deal(parties, threshold, 64, SeededRandomness(parties))
    c = key.encrypt(-5)
    right = {share.index: [share.partially_decrypt(c).value] for share in shares}
    singles, pairs = (itertools.combinations(right, count) for count in (1, 2))
    for bad in (*singles, *pairs):
        wrong = {index: [right[index][0] * (2 + index) % key.N2] for index in bad}
        assert open_shares(key, {**right, **wrong}) == [key.N - 5], bad


def test_a_search_over_a_vector_looks_at_one_combination_of_it(monkeypatch):
    """A try costs t powers, however long the vector is; only the subset that opens costs more."""
    key, shares = deal(6, 3, 64, SeededRandomness(b"search"))
    ciphertexts, _ = batch.encrypt_many(key, range(50))
    parts = {share.index: threshold.partially_decrypt_many(share, ciphertexts).values
             for share in shares}
    for bad in (1, 2):
        parts[bad] = (*parts[bad][:-1], parts[bad][-1] * (2 + bad) % key.N2)
    lengths = []
    power_each = threshold.power_each
    monkeypatch.setattr(threshold, "power_each", lambda values, *rest: (
        lengths.append(len(values)) or power_each(values, *rest)))
    assert open_shares(key, parts) == list(range(50))
    assert sum(length == 50 for length in lengths) == 2 * key.threshold
    assert set(lengths) == {1, 50}


@given(st.integers(1, 8), st.data())
def test_every_subset_comes_once_and_those_without_few_come_early(count, data):
    size = data.draw(st.integers(1, count))
    indices = sorted(data.draw(st.sets(st.integers(1, 30), min_size=count, max_size=count)))
    found = list(threshold.subsets_leaving_out(indices, size))
    assert sorted(found) == list(itertools.combinations(indices, size))
    bad = data.draw(st.sets(st.sampled_from(indices), max_size=count - size))
    first = next(at for at, subset in enumerate(found) if not bad & set(subset))
    assert first < sum(math.comb(count, k) for k in range(len(bad) + 1))


# --- Lagrange over the integers -----------------------------------------------------------------


@given(st.data(), st.integers(1, 9))
def test_integer_lagrange_is_exact_for_any_indices(data, parties):
    """Σ λ_i f(i) = Δ f(0) for every f of degree below t, with gaps, in any order."""
    indices = data.draw(st.lists(st.integers(1, parties), min_size=1, unique=True))
    coefficients = data.draw(
        st.lists(st.integers(-(10**6), 10**6), min_size=len(indices), max_size=len(indices)))
    values = [sum(a * i**k for k, a in enumerate(coefficients)) for i in indices]
    weights = lagrange_at_zero(indices, parties)
    assert sum(w * f for w, f in zip(weights, values, strict=True)) == (
        math.factorial(parties) * coefficients[0])


@given(st.sets(st.integers(1, 5), min_size=2, max_size=2), st.integers(0, 2**64))
def test_any_t_minus_1_shares_fit_every_secret(indices, secret):
    """Perfect hiding: for t − 1 shares and any other f(0) there is a polynomial of degree t − 1."""
    rng = SeededRandomness(b"hiding")
    p, q = safe_prime(20, rng), safe_prime(20, rng)
    key, shares = deal_from_primes(p, q, 5, 3, rng=rng)
    order = key.N * (p - 1) * (q - 1) // 4
    known = {0: secret % order, **{i: shares[i - 1].secret for i in indices}}
    coefficients = _interpolate(known, order)
    assert len(coefficients) == key.threshold
    for x, y in known.items():
        assert sum(a * x**k for k, a in enumerate(coefficients)) % order == y % order


def _interpolate(points, modulus):
    """The coefficients of the polynomial through ``points``, by Lagrange's basis."""
    result = [0] * len(points)
    for i, y in points.items():
        basis, scale = [1], y
        for j in points:
            if j != i:
                basis = [(a - j * b) % modulus
                         for a, b in zip([0, *basis], [*basis, 0], strict=True)]
                scale = scale * pow(i - j, -1, modulus) % modulus
        result = [(a + scale * b) % modulus for a, b in zip(result, basis, strict=True)]
    return result


def test_t_minus_1_shares_open_nothing(small):
    """Two of three shares combined as if t were two do not open."""
    key, shares = small
    c = key.encrypt(77)
    weak = replace(key, threshold=2)
    label = parts_of(small, c)
    parts = [replace(part, label=replace(part.label, key=weak.digest)) for part in label[:2]]
    with pytest.raises(errors.ShareError, match="of the shares open"):
        combine(weak, weak.ciphertext(c.value), parts)
    assert shares[0].public_key == key
