"""Lists of ciphertexts: equal to the plain formulas, on any number of threads."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import batch, deal, errors, threshold
from bdn.paillier.keys import derive_h
from bdn.paillier.numbers import (
    FixedBase,
    _sieved,
    addition_sequence,
    pieces,
    power_each,
    run_sequence,
    safe_prime,
    small_primes,
    split,
)
from bdn.randomness import SeededRandomness

KEY, SHARES = deal(3, 2, 128, SeededRandomness(b"batch"))


@given(st.lists(st.integers(-(KEY.N // 2), KEY.N - 1), max_size=20))
def test_encrypt_many_is_the_fast_mode_with_the_nonces_it_returns(plaintexts):
    """c_j = (1 + N)^{M_j} h^{a_j} mod N² by Python's own pow; a_j < 2^⌈|N|/2⌉."""
    ciphertexts, nonces = batch.encrypt_many(KEY, plaintexts)
    h = derive_h(KEY.N, KEY.seed)
    for c, M, a in zip(ciphertexts, plaintexts, nonces, strict=True):
        assert c == (1 + M * KEY.N) * pow(h, a, KEY.N2) % KEY.N2
        assert 0 <= a < 1 << KEY.nonce_bits


def test_encrypting_in_other_processes_gives_the_same_ciphertexts():
    """An executor changes where the products are computed, and nothing else."""
    plaintexts = list(range(-20, 20))
    alone = batch.encrypt_many(KEY, plaintexts, SeededRandomness(8))
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        assert batch.encrypt_many(KEY, plaintexts, SeededRandomness(8), executor) == alone


@pytest.mark.parametrize("wrong", [KEY.N, -(KEY.N // 2) - 1])
def test_encrypt_many_refuses_what_is_out_of_range(wrong):
    with pytest.raises(errors.ParameterError, match="plaintext 1"):
        batch.encrypt_many(KEY, [0, wrong])


@given(st.data(), st.integers(1, 6), st.integers(1, 4))
def test_weighted_product_is_equation_5(data, senders, length):
    """∏ c_k^{s_k} at every position, and it opens to Σ s_k m_k (paper Eq. (5))."""
    weights = data.draw(st.lists(st.integers(0, 5000), min_size=senders, max_size=senders))
    plain = [[data.draw(st.integers(-1000, 1000)) for _ in range(length)] for _ in range(senders)]
    vectors = [batch.encrypt_many(KEY, row)[0] for row in plain]
    product = batch.weighted_product(KEY, vectors, weights)
    for j in range(length):
        expected = 1
        for vector, weight in zip(vectors, weights, strict=True):
            expected = expected * pow(int(vector[j]), weight, KEY.N2) % KEY.N2
        assert product[j] == expected
    parts = [threshold.partially_decrypt_many(share, product) for share in SHARES[:2]]
    sums = [sum(w * row[j] for w, row in zip(weights, plain, strict=True)) for j in range(length)]
    assert threshold.combine_many(KEY, product, parts, as_signed=True) == sums


@pytest.mark.parametrize(("vectors", "weights"), [
    ([], []), ([[mpz(1)]], [-1]), ([[mpz(1)]], [1, 2]), ([[mpz(1)], [mpz(1), mpz(2)]], [1, 1]),
])
def test_weighted_product_refuses_what_it_cannot_mean(vectors, weights):
    with pytest.raises(errors.ParameterError):
        batch.weighted_product(KEY, vectors, weights)


@given(st.lists(st.integers(0, 2**20), max_size=12))
def test_an_addition_sequence_computes_its_exponents(exponents):
    """de Rooij's method, run on the primes 2, 3, 5 … modulo a large prime."""
    modulus = mpz(2**127 - 1)
    bases = [mpz(p) for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)][: len(exponents)]
    expected = 1
    for base, exponent in zip(bases, exponents, strict=True):
        expected = expected * pow(int(base), exponent, int(modulus)) % modulus
    assert run_sequence(addition_sequence(exponents), bases, modulus) == expected


def test_an_addition_sequence_of_ten_12_bit_weights_is_short():
    """Fewer than 60 products where one power per ciphertext takes over 150."""
    weights = [2745 + 131 * k for k in range(10)]
    steps, _, power = addition_sequence(weights)
    assert sum(1 if k == 1 else 2 * k.bit_length() for *_, k in steps) + power.bit_length() < 60


@given(st.integers(0, 2**70 - 1), st.integers(0, 2**200))
def test_a_fixed_base_power_is_a_power(exponent, s):
    """The table of pairs against Python's own pow, also for an odd number of rows."""
    N = KEY.N
    table = FixedBase(7, N, 70)
    assert table.power(exponent, s) == pow(7, exponent, N * N) * (1 + s * N) % (N * N)


def test_a_fixed_base_table_refuses_what_it_does_not_reach():
    table = FixedBase(7, KEY.N, 70)
    for exponent in (-1, 1 << 70, 1 << 79, 1 << 900):
        with pytest.raises(errors.ParameterError):
            table.power(exponent)


@given(st.integers(1, KEY.N2 - 1).filter(lambda x: x % KEY.N))
def test_every_unit_splits_into_its_residue_and_a_power_of_g(x):
    u, s = split(mpz(x), mpz(KEY.N))
    assert 0 < u < KEY.N
    assert u * (1 + s * KEY.N) % KEY.N2 == x


@given(st.lists(st.integers(1, 10**9), max_size=9), st.integers(-50, 50), st.integers(1, 5))
def test_powers_on_any_number_of_threads_are_equal(bases, exponent, threads):
    modulus = 2**1279 - 1
    assert power_each(bases, exponent, modulus, threads) == [
        pow(base, exponent, modulus) for base in bases]


@given(st.integers(0, 50), st.integers(1, 9))
def test_pieces_cover_a_range_once(count, parts):
    covered = [k for piece in pieces(count, parts) for k in range(count)[piece]]
    assert covered == list(range(count))


def test_safe_primes_are_safe_and_of_full_length():
    """p and (p − 1)/2 prime by trial division; both top bits set."""
    primes = small_primes(1 << 16).tolist()
    for seed in range(10):
        p = safe_prime(30, SeededRandomness(seed))
        for number in (p, (p - 1) // 2):
            assert all(number % prime for prime in primes if prime * prime <= number)
        assert p >> 28 == 3


@given(st.integers(2**20, 2**60))
def test_the_sieve_strikes_exactly_what_has_a_small_factor(start):
    """Neither p′ nor 2p′ + 1 of a survivor has a small factor, and nothing else is struck."""
    start |= 1
    primes = small_primes(1 << 9).tolist()  # the sieve goes at least this far
    survivors = set(_sieved(start, 100))
    for k in range(100):
        half = start + 2 * k
        struck = any(n % prime == 0 for n in (half, 2 * half + 1) for prime in primes)
        if struck:
            assert k not in survivors
        elif gmpy2.is_prime(half) and gmpy2.is_prime(2 * half + 1):
            assert k in survivors


def test_primes_by_sieve():
    assert small_primes(30).tolist() == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert len(small_primes(10**6)) == 78498
