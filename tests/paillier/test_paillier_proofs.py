"""Proofs: of shares, single and batched, and of plaintext knowledge."""

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import (
    batch,
    combine,
    deal,
    deal_from_primes,
    errors,
    numbers,
    threshold,
    verify_share,
)
from bdn.paillier.keys import derive_h
from bdn.paillier.numbers import product_of_powers, safe_prime
from bdn.randomness import SeededRandomness

KEY, SHARES = deal(5, 3, 256, SeededRandomness(b"proofs"))
C = KEY.encrypt(12, rng=SeededRandomness(1))
PART = SHARES[2].partially_decrypt(C, b"session", SeededRandomness(2))


# --- shares -------------------------------------------------------------------------------------


def test_a_right_share_is_accepted_and_makes_the_equation_of_section_6():
    """log_{c⁴}(c_i²) = log_v(v_i) = Δ s_i, computed here from the secret."""
    verify_share(KEY, C, PART, b"session")
    x = KEY.delta * SHARES[2].secret
    assert pow(C.value, 4 * x, KEY.N2) == PART.value**2 % KEY.N2
    assert pow(KEY.v, x, KEY.N2) == KEY.verification_keys[2]


@given(st.sampled_from(["challenge", "response"]), st.integers(1, 2**400), st.booleans())
def test_a_proof_with_any_field_changed_is_refused(name, by, down):
    changed = getattr(PART.proof, name) + (-by if down else by)
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
        verify_share(KEY, C, replace(PART, proof=replace(PART.proof, **{name: changed})),
                     b"session")


@given(st.integers(2, KEY.N2 - 2).filter(lambda x: x % KEY.N))
def test_a_share_changed_by_any_factor_is_refused(factor):
    with pytest.raises(errors.ShareError):
        verify_share(KEY, C, replace(PART, value=PART.value * factor % KEY.N2), b"session")


def test_even_a_changed_sign_needs_a_new_proof():
    """−c_i squares alike, but the challenge covers c_i itself."""
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
        verify_share(KEY, C, replace(PART, value=KEY.N2 - PART.value), b"session")


@pytest.mark.parametrize("replay", ["ciphertext", "key", "index", "session"])
def test_a_proof_replayed_elsewhere_is_refused_by_the_proof_itself(other, replay):
    """The core check, without the labels that would already tell."""
    key, index, c, session = KEY, 3, C.value, b"session"
    if replay == "ciphertext":
        c = KEY.encrypt(12).value
    elif replay == "key":
        key = other[0]
    elif replay == "index":
        index = 4
    else:
        session = b"another"
    threshold.check_proof(KEY, 3, C.value, PART.value, b"session", PART.proof)
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of") as caught:
        threshold.check_proof(key, index, c, PART.value % key.N2, session, PART.proof)
    assert caught.value.indices == (index,)


def test_the_challenge_covers_session_N_v_i_v_i_c_c_i_and_commitments():
    """Section 6's list: each of them changes e (Fiat–Shamir over the whole statement)."""
    key = {"N": 77, "v": 4, "verification_keys": (9, 16, 25, 36), "width": 2, "bits": 256}

    def challenge(change=None, index=3, c=4, c_i=9, session=b"", commitments=(16, 25)):
        stand_in = SimpleNamespace(**{**key, **(change or {})})
        return threshold._challenge(stand_in, index, c, c_i, session, commitments)

    keys = [{"N": 91}, {"v": 9}, {"verification_keys": (9, 16, 49, 36)}]
    variants = [challenge(), challenge(index=4), challenge(c=5), challenge(c_i=8),
                challenge(session=b"x"), challenge(commitments=(17, 25)),
                challenge(commitments=(16, 24)), *[challenge(change) for change in keys]]
    assert len(set(variants)) == len(variants)


def test_v_and_v_i_come_from_the_verifiers_key_never_from_the_proof():
    """A prover who chose v and v_i to fit a false share convinces nobody."""
    y = 12345
    c_i = int(pow(C.value, 2 * KEY.delta * y, KEY.N2))
    keys = list(KEY.verification_keys)
    keys[2] = int(pow(KEY.v, KEY.delta * y, KEY.N2))
    lie = replace(KEY, verification_keys=tuple(keys))
    proof = threshold.prove_share(lie, 3, y, C.value, c_i, b"", SeededRandomness(0))
    threshold.check_proof(lie, 3, C.value, c_i, b"", proof)
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
        threshold.check_proof(KEY, 3, C.value, c_i, b"", proof)
    assert {field.name for field in fields(threshold.ShareProof)} == {"challenge", "response"}


def test_responses_of_any_length_are_not_read():
    """z + k·(group order) would hold as well; beyond its bound a response is refused unread."""
    p, q = safe_prime(40, SeededRandomness(1)), safe_prime(40, SeededRandomness(2))
    key, shares = deal_from_primes(p, q, 3, 2)
    c = key.encrypt(1)
    part = shares[0].partially_decrypt(c)
    order = key.N * (p - 1) * (q - 1)
    longer = replace(part.proof, response=part.proof.response + (order << 500))
    with pytest.raises(errors.ShareError, match="too long"):
        verify_share(key, c, replace(part, proof=longer))
    fitting = replace(part.proof, response=part.proof.response + order)
    verify_share(key, c, replace(part, proof=fitting))  # who knows the order knows the key


class Longest:
    """A randomness source that notes the longest draw."""

    def __init__(self):
        self.longest = 0

    def bits(self, count):
        self.longest = max(self.longest, count)
        return SeededRandomness(7).bits(count)


def test_the_nonces_length_is_pinned(small, joint):
    """|ω| = |bound on Δ s_i| + |e| + 128, for dealt and for jointly made shares."""
    for share in (small[1][0], joint[1][0]):
        key = share.public_key
        source = Longest()
        threshold.prove_share(key, share.index, share.secret, 4, 16, b"", source)
        assert source.longest == key.share_bits + threshold.challenge_bits(key) + 128
        assert abs(key.delta * share.secret).bit_length() <= key.share_bits


def test_the_response_does_not_give_the_share_away(small, joint):
    """⌊z/(eΔ)⌋ is far from s_i: a published library draws ω too short and fails this."""
    for shares in (small[1], joint[1]):
        for share in shares:
            key = share.public_key
            c = key.encrypt(1)
            proof = share.partially_decrypt(c).proof
            guess = proof.response // (proof.challenge * key.delta)
            assert abs(guess - share.secret).bit_length() >= key.share_bits + 96 - 20


def test_the_challenge_is_shorter_than_p_prime_and_q_prime(big):
    """|e| = 256 at 2048 bits; on toy keys two bits less than half of |N|."""
    assert threshold.challenge_bits(big[0]) == 256
    for bits in (24, 64, 256, 512):
        key, _ = deal(3, 2, bits, SeededRandomness(bits))
        assert threshold.challenge_bits(key) < bits // 2 - 1
        part = SHARES[0].partially_decrypt(C)
        assert part.proof.challenge.bit_length() <= threshold.challenge_bits(KEY)


def test_a_small_order_in_the_group_weakens_proofs_but_not_opening():
    """Primes that are not safe: a share wrong by an element of order 7 passes when 7 | e.

    Robustness degrades, correctness does not: combining finds N ∤ c′ − 1 and takes others.
    """
    key, shares = deal_from_primes(
        1000231, 1000003, 3, 2, require_safe_primes=False, rng=SeededRandomness(1))
    order = key.N * (1000231 - 1) * (1000003 - 1) // 4
    twist = next(w for w in (pow(x, 4 * order // 7, key.N2) for x in range(2, 99)) if w != 1)
    c = key.encrypt(-7)
    honest = [share.partially_decrypt(c) for share in shares]
    value = honest[0].value * twist % key.N2
    for seed in range(200):  # the liar tries nonces until 7 divides the challenge
        proof = threshold.prove_share(
            key, 1, shares[0].secret, c.value, value, b"", SeededRandomness(seed))
        if proof.challenge % 7 == 0:
            break
    lie = replace(honest[0], value=value, proof=proof)
    verify_share(key, c, lie)
    with pytest.raises(errors.ShareError, match="of the shares open") as caught:
        combine(key, c, [lie, honest[1]])
    assert caught.value.indices == (1, 2)
    assert combine(key, c, [lie, honest[1], honest[2]]) == -7


# --- a vector of shares -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vector():
    ciphertexts, _ = batch.encrypt_many(KEY, range(-6, 6), SeededRandomness(3))
    parts = [threshold.partially_decrypt_many(share, ciphertexts, b"s", SeededRandomness(4), 1)
             for share in SHARES]
    return ciphertexts, parts


def test_a_vector_opens_with_any_t_parts(vector):
    ciphertexts, parts = vector
    for chosen in (parts[:3], parts[2:], parts[::2], parts):
        opened = threshold.combine_many(KEY, ciphertexts, chosen, b"s", as_signed=True)
        assert opened == list(range(-6, 6))
    assert threshold.combine_many(KEY, ciphertexts, parts[:3], b"s")[0] == KEY.N - 6


@given(position=st.integers(0, 11), factor=st.integers(2, KEY.N - 1))
def test_one_wrong_share_in_a_vector_spoils_its_proof(vector, position, factor):
    ciphertexts, parts = vector
    values = list(parts[1].values)
    values[position] = values[position] * factor % KEY.N2
    with pytest.raises(errors.ShareError) as caught:
        threshold.verify_vector(KEY, ciphertexts, replace(parts[1], values=tuple(values)), b"s")
    assert caught.value.indices == (2,)


def test_errors_that_cancel_in_the_product_do_not_cancel_in_the_proof(vector):
    """The combiners are 128 bits and hashed from all shares: swapping or balancing is seen."""
    ciphertexts, parts = vector
    for i, j, factor in ((0, 1, 4), (3, 9, 7**4)):
        values = list(parts[0].values)
        values[i] = values[i] * factor % KEY.N2
        values[j] = values[j] * pow(factor, -1, KEY.N2) % KEY.N2
        with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
            threshold.verify_vector(KEY, ciphertexts, replace(parts[0], values=tuple(values)), b"s")
    swapped = (parts[0].values[1], parts[0].values[0], *parts[0].values[2:])
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
        threshold.verify_vector(KEY, ciphertexts, replace(parts[0], values=swapped), b"s")


@pytest.mark.parametrize(("i", "j", "factor"), [(0, 1, 4), (3, 9, 7**4)])
def test_a_prover_who_makes_a_new_proof_for_balanced_errors_fails_too(vector, i, j, factor):
    """It knows the secret and hashes its false shares itself; only the combiners stop it."""
    ciphertexts, parts = vector
    values = list(parts[0].values)
    values[i] = values[i] * factor % KEY.N2
    values[j] = values[j] * pow(factor, -1, KEY.N2) % KEY.N2
    C, D, seed = threshold.combination(KEY, 1, ciphertexts, values, b"s")
    proof = threshold.prove_share(KEY, 1, SHARES[0].secret, C, D, seed, SeededRandomness(1))
    with pytest.raises(errors.ShareError, match=r"(proof|challenge|response) of"):
        threshold.verify_vector(
            KEY, ciphertexts, replace(parts[0], values=tuple(values), proof=proof), b"s")


def test_combiners_depend_on_every_ciphertext_and_every_share(vector):
    """Derived after all shares are fixed: each of them changes the seed."""
    ciphertexts, parts = vector
    values = parts[0].values

    def seed(c, v, index=1, session=b"s"):
        return threshold.combination(KEY, index, c, v, session)[2]

    seeds = {seed(ciphertexts, values), seed(ciphertexts, values, 2),
             seed(ciphertexts, values, 1, b"t")}
    for k in range(len(values)):
        seeds.add(seed(ciphertexts, (*values[:k], mpz(9), *values[k + 1 :])))
        seeds.add(seed([*ciphertexts[:k], mpz(9), *ciphertexts[k + 1 :]], values))
    assert len(seeds) == 3 + 2 * len(values)
    assert len(set(numbers.combiners(b"seed", 50))) == 50
    assert max(numbers.combiners(b"seed", 50)).bit_length() > 120


def test_a_vector_part_for_something_else_is_refused(vector, other):
    ciphertexts, parts = vector
    with pytest.raises(errors.ShareError, match="another session"):
        threshold.combine_many(KEY, ciphertexts, parts[:3], b"t")
    with pytest.raises(errors.ShareError, match="of another ciphertext"):
        threshold.combine_many(KEY, ciphertexts[::-1], parts[:3], b"s")
    with pytest.raises(errors.ShareError, match="another key"):
        threshold.combine_many(other[0], [c % other[0].N2 for c in ciphertexts], parts[:3], b"s")
    short = replace(parts[0], values=parts[0].values[:-1])
    with pytest.raises(errors.ShareError) as caught:
        threshold.combine_many(KEY, ciphertexts, [short, *parts[1:3]], b"s")
    assert caught.value.indices == (1,)
    assert threshold.combine_many(KEY, ciphertexts, [short, *parts[1:4]], b"s", True)[0] == -6
    with pytest.raises(errors.ShareError, match="two shares of party"):
        threshold.combine_many(KEY, ciphertexts, [parts[0], parts[0], parts[1]], b"s")


def test_an_empty_vector_is_a_vector(small):
    parts = [threshold.partially_decrypt_many(share, []) for share in small[1][:3]]
    assert threshold.combine_many(small[0], [], parts) == []
    proof = batch.prove_plaintexts(small[0], [], [], [], b"x")
    batch.verify_plaintexts(small[0], [], proof, b"x")


# --- plaintexts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed():
    plaintexts = [5, -3, KEY.N - 1, 0, KEY.N // 2, 1 << 100]
    ciphertexts, nonces = batch.encrypt_many(KEY, plaintexts, SeededRandomness(5))
    proof = batch.prove_plaintexts(
        KEY, ciphertexts, plaintexts, nonces, b"device 1", SeededRandomness(6))
    return ciphertexts, plaintexts, nonces, proof


def test_who_knows_the_plaintexts_convinces(sealed):
    ciphertexts, _, _, proof = sealed
    batch.verify_plaintexts(KEY, ciphertexts, proof, b"device 1")


def test_another_device_cannot_use_the_proof(sealed):
    """Bound to context; otherwise a device could resubmit another's update."""
    ciphertexts, _, _, proof = sealed
    with pytest.raises(errors.ProofError):
        batch.verify_plaintexts(KEY, ciphertexts, proof, b"device 2")


@given(st.sampled_from(["commitment", "z", "u"]), st.integers(1, 2**300), st.booleans())
def test_a_plaintext_proof_with_any_field_changed_is_refused(sealed, name, by, down):
    ciphertexts, _, _, proof = sealed
    changed = replace(proof, **{name: getattr(proof, name) + (-by if down else by)})
    with pytest.raises(errors.ProofError):
        batch.verify_plaintexts(KEY, ciphertexts, changed, b"device 1")


@given(position=st.integers(0, 5), by=st.integers(1, KEY.N - 1))
def test_a_proof_does_not_cover_a_changed_or_shifted_ciphertext(sealed, position, by):
    """Not even by a public amount: c·(1 + N)^by is another's ciphertext, slightly changed."""
    ciphertexts, _, _, proof = sealed
    changed = list(ciphertexts)
    changed[position] = changed[position] * (1 + KEY.N * by) % KEY.N2
    with pytest.raises(errors.ProofError):
        batch.verify_plaintexts(KEY, changed, proof, b"device 1")


def test_one_unknown_plaintext_among_many_cannot_be_hidden(sealed):
    """A copied ciphertext with a guessed plaintext or nonce makes the whole proof fail."""
    ciphertexts, plaintexts, nonces, _ = sealed
    stranger = mpz(KEY.encrypt(4242).value)
    vector = [*ciphertexts[:-1], stranger]
    for guess in ((0, 0), (4242, 0), (plaintexts[-1], nonces[-1])):
        proof = batch.prove_plaintexts(
            KEY, vector, [*plaintexts[:-1], guess[0]], [*nonces[:-1], guess[1]], b"d")
        with pytest.raises(errors.ProofError):
            batch.verify_plaintexts(KEY, vector, proof, b"d")


def test_knowing_only_the_sum_of_two_plaintexts_is_not_enough(sealed):
    """Plaintexts and nonces known in the wrong order: their sums are right, each is not."""
    ciphertexts, plaintexts, nonces, _ = sealed
    proof = batch.prove_plaintexts(
        KEY, ciphertexts, [plaintexts[1], plaintexts[0], *plaintexts[2:]],
        [nonces[1], nonces[0], *nonces[2:]], b"d")
    with pytest.raises(errors.ProofError):
        batch.verify_plaintexts(KEY, ciphertexts, proof, b"d")


def test_combiners_of_plaintexts_depend_on_everything(sealed):
    """Key, context, count, every ciphertext and the commitment: none can be chosen afterwards."""
    ciphertexts, *_ = sealed
    variants = [(ciphertexts, b"a", 4), (ciphertexts, b"b", 4), (ciphertexts, b"a", 5),
                (ciphertexts[:-1], b"a", 4)]
    for k in range(len(ciphertexts)):
        variants.append(([*ciphertexts[:k], mpz(2), *ciphertexts[k + 1 :]], b"a", 4))
    seeds = {batch._plaintext_seed(KEY, *variant) for variant in variants}
    seeds.add(batch._plaintext_seed(replace(KEY, seed=bytes(32)), ciphertexts, b"a", 4))
    assert len(seeds) == len(variants) + 1


def test_a_plaintext_proof_has_one_form():
    """z + N, A + N² and u ± φ(N) satisfy the same equation and are refused by their range."""
    p, q = safe_prime(40, SeededRandomness(1)), safe_prime(40, SeededRandomness(2))
    key, _ = deal_from_primes(p, q, 3, 2)
    order = (p - 1) * (q - 1)
    ciphertexts, nonces = batch.encrypt_many(key, [1, 2])
    proof = batch.prove_plaintexts(key, ciphertexts, [1, 2], nonces, b"")
    for change in ({"z": proof.z + key.N}, {"z": proof.z - key.N},
                   {"commitment": proof.commitment + key.N2},
                   {"commitment": proof.commitment - key.N2},
                   {"u": proof.u - (order << 400)}, {"u": proof.u + (order << 400)}):
        with pytest.raises(errors.ProofError, match="out of range"):
            batch.verify_plaintexts(key, ciphertexts, replace(proof, **change), b"")
    batch.verify_plaintexts(key, ciphertexts, proof, b"")


def test_two_transcripts_reveal_the_plaintext_as_the_extractor_says():
    """n = 1: M = (z − z′)/(ρ − ρ′) mod N even if c is multiplied by −1, an N-th residue."""
    N, M, a, y, w = KEY.N, 987654321, 1234567, 555, 777
    h = derive_h(N, KEY.seed)
    c = -(1 + M * N) * pow(h, a, KEY.N2) % KEY.N2
    A = (1 + y * N) * pow(h, w, KEY.N2) % KEY.N2
    answers = {}
    for rho in (2**127 + 2, 2**126 + 4):  # even combiners do not see the sign
        z, u = (y + rho * M) % N, w + rho * a
        assert (1 + z * N) * pow(h, u, KEY.N2) % KEY.N2 == A * pow(c, rho, KEY.N2) % KEY.N2
        answers[rho] = z
    (r1, z1), (r2, z2) = answers.items()
    assert (z1 - z2) * pow(r1 - r2, -1, N) % N == M


@pytest.mark.parametrize(("bad", "error"), [
    (0, errors.CiphertextError),
    (KEY.N2, errors.CiphertextError),
    (-1, errors.CiphertextError),
    (KEY.N * 5, errors.CiphertextError),
])
def test_values_that_are_no_ciphertexts_are_refused_before_any_proof(sealed, bad, error):
    ciphertexts, _, _, proof = sealed
    vector = [*ciphertexts[:-1], mpz(bad)]
    with pytest.raises(error, match="5"):
        batch.verify_plaintexts(KEY, vector, proof, b"device 1")
    with pytest.raises(error):
        threshold.partially_decrypt_many(SHARES[0], vector)


def test_masks_are_long_enough_to_hide(sealed):
    """z is uniform modulo N; u has 128 bits more than Σ ρ_j a_j can have."""
    ciphertexts, plaintexts, nonces, _ = sealed
    zs = set()
    for seed in range(20):
        proof = batch.prove_plaintexts(
            KEY, ciphertexts, plaintexts, nonces, b"", SeededRandomness(seed))
        zs.add(proof.z)
        assert proof.u.bit_length() > KEY.nonce_bits + 128 + 128 - 16
    assert len(zs) == 20


@given(st.lists(st.tuples(st.integers(1, KEY.N2 - 1),
                          st.integers(0, 2**130) | st.integers(-(2**136), 2**136)), max_size=40))
def test_products_of_powers_equal_plain_powers(pairs):
    """Pippenger's buckets against Python's own pow, for exponents of one sign and of both."""
    pairs = [(mpz(x), e) for x, e in pairs if x % KEY.N]
    expected = 1
    for x, e in pairs:
        expected = expected * pow(int(x), e, KEY.N2) % KEY.N2
    assert product_of_powers([x for x, _ in pairs], [e for _, e in pairs], KEY.N) == expected
