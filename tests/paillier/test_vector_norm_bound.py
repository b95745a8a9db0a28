"""Vector ciphers with a norm bound: sealing, refusing, and opening within the proven range."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import decode_record, encode_record
from bdn.paillier import PackedCipher, RingMaskedCipher, deal
from bdn.paillier.errors import (
    NormBoundError,
    NormProofError,
    OutOfRangeError,
    ParameterError,
    ProofError,
    SealedFormError,
    SpoiledSumError,
)
from bdn.paillier.norm_proof import SLACK, forget_relations, protocol
from bdn.paillier.vector.cipher import SealingProof
from bdn.paillier.vector.ring_masked import RingParameters
from bdn.randomness import SeededRandomness

CIPHERS = {"packed": PackedCipher, "ring-masked": RingMaskedCipher}
BOTH = pytest.mark.parametrize("name", CIPHERS)
TOY = RingParameters(N=64, q_bits=40, D_bits=9, sigma=8.0, contributors=3)
CLIP = np.array([1.0] * 30 + [16.0])


@functools.cache
def keys():
    """A dealer's key for three parties, two of whom open."""
    return deal(parties=3, threshold=2, bits=512, rng=SeededRandomness(1))


def make(name, norm_bound=1.5, singles=1, value_bits=10, clip=CLIP, **options):
    """A cipher for thirty entries and a loss."""
    if name == "ring-masked":
        options.setdefault("parameters", TOY)
    return CIPHERS[name](keys()[0], len(clip), clip, value_bits, total_weight=20,
                         norm_bound=norm_bound, singles=singles, **options)


def vector(norm, loss=3.0, seed=0):
    """Thirty entries of this norm, and a loss."""
    direction = np.random.default_rng(seed).normal(size=30)
    return np.append(direction * norm / np.linalg.norm(direction), loss)


def opened(cipher, total):
    """The integers of a sum."""
    shares = [cipher.partially_decrypt(share, total) for share in keys()[1][:2]]
    return cipher.open_integers(total, shares)


@BOTH
def test_sums_of_bounded_vectors_are_exact(name):
    cipher = make(name)
    vectors, weights = [vector(1.3, seed=seed, loss=-9.0) for seed in range(3)], [3, 7, 10]
    sealed = [cipher.seal(v, w, SeededRandomness(w), b"context")
              for v, w in zip(vectors, weights, strict=True)]
    for item, weight in zip(sealed, weights, strict=True):
        again = cipher.sealed_from_leaves(item.leaves())
        cipher.verify(again, b"context", weight)
    total = cipher.weighted_sum(sealed, weights)
    expected = sum(w * cipher.quantise(v) for v, w in zip(vectors, weights, strict=True))
    assert np.array_equal(opened(cipher, total), expected)


@given(name=st.sampled_from(sorted(CIPHERS)), share=st.floats(1.02, 3), seed=st.integers(0, 9))
def test_what_is_too_long_is_refused_before_sealing(name, share, seed):
    cipher = make(name, norm_bound=0.9)
    with pytest.raises((NormBoundError, OutOfRangeError)):
        cipher.seal(vector(0.9 * share, seed=seed), 3)


@BOTH
def test_an_update_that_needs_no_proof_elsewhere_is_refused_here(name):
    """Without a proof, with one for another bound, weight or context."""
    cipher, free = make(name), make(name, norm_bound=None, singles=0)
    sealed = cipher.seal(vector(1.0), 3, SeededRandomness(1), b"a")
    cipher.verify(sealed, b"a", 3)
    proof = decode_record(SealingProof, sealed.proof)
    bare = dataclasses.replace(sealed, proof=encode_record(SealingProof(proof.plaintexts, None)))
    with pytest.raises(NormProofError, match="no norm proof"):
        cipher.verify(bare, b"a", 3)
    with pytest.raises((NormProofError, SealedFormError)):
        free.verify(sealed, b"a", 3)
    boosting = copy.copy(cipher)
    boosting.bound = dataclasses.replace(cipher.bound, norm=2 * cipher.bound.norm)
    boosted = boosting.seal(vector(1.5) * np.append(np.full(30, 1.2), 1), 3, None, b"a")
    with pytest.raises(ProofError):
        cipher.verify(boosted, b"a", 3)


@BOTH
def test_an_entry_as_large_as_the_proof_allows_opens(name):
    """A malicious sender may put the whole proven norm into one entry, far beyond its clip."""
    cipher = make(name, norm_bound=1.9)
    levels = np.zeros(31, dtype=np.int64)
    levels[4] = -cipher.bound.norm  # honest ones are clipped at 511
    assert cipher.bound.norm > cipher.code.max_level
    sealed = cipher.seal_encoded(levels + cipher.code.offset, 20, SeededRandomness(1), b"a")
    cipher.verify(sealed, b"a", 20)
    assert np.array_equal(opened(cipher, cipher.weighted_sum([sealed], [20])), 20 * levels)
    assert cipher.code.reach >= SLACK * cipher.bound.norm
    sums = np.full(31, 20 * cipher.code.offset) + 20 * cipher.code.reach
    cipher.code.decode_sums(sums, 20)
    with pytest.raises(SpoiledSumError, match="out of range"):
        cipher.code.decode_sums(sums + 1, 20)


def test_noise_that_the_proof_allows_is_no_accusation():
    """Low bits of u are the sender's own: with the proof they are within its bound."""
    cipher = make("ring-masked")
    noisy = copy.copy(cipher)
    noisy.parameters = cipher.parameters
    sealed = [cipher.seal(vector(0.5, seed=s), 5, SeededRandomness(s), b"a") for s in range(2)]
    total = cipher.weighted_sum(sealed, [5, 5])
    width = cipher.parameters.value_bytes
    values = np.frombuffer(total.ring, dtype=np.uint8).reshape(-1, width).copy()
    values[:20, 0] ^= 0x7F  # below D = 2^9
    loud = dataclasses.replace(total, ring=values.tobytes())
    assert np.abs(opened(cipher, loud) - opened(cipher, total)).max() <= 1
    free = make("ring-masked", norm_bound=None, singles=0)
    total = free.weighted_sum([free.seal(vector(0.5), 5, SeededRandomness(3))], [5])
    values = np.frombuffer(total.ring, dtype=np.uint8).reshape(-1, width).copy()
    values[:, 0] ^= 0xFF
    with pytest.raises(SpoiledSumError, match="noisy"):
        opened(free, dataclasses.replace(total, ring=values.tobytes()))


@BOTH
def test_a_loss_alone_has_a_bound_of_its_own(name):
    cipher = make(name, clip=np.array([16.0]))
    sealed = [cipher.seal([loss], 5, SeededRandomness(k), b"a") for k, loss in enumerate((2.5, 7))]
    for item in sealed:
        cipher.verify(item, b"a", 5)
    total = cipher.weighted_sum(sealed, [5, 5])
    assert opened(cipher, total)[0] == 5 * sum(int(cipher.quantise([x])[0]) for x in (2.5, 7))


@BOTH
def test_bounds_that_cannot_be_kept_are_refused_when_the_cipher_is_made(name):
    for wrong in (0.0, -1.0, 1e-6):
        with pytest.raises(ParameterError, match="norm bound"):
            make(name, norm_bound=wrong)
    with pytest.raises(ParameterError, match="one clip"):
        make(name, singles=0)
    with pytest.raises(ParameterError):
        make(name, norm_bound=1e30)


def test_q_grows_with_the_norm_bound():
    """q ≥ 5·2.46·D·W·B, and never less than without a bound."""
    rings = [RingMaskedCipher(keys()[0], 10, total_weight=27_450, contributors=10,
                              norm_bound=bound) for bound in (None, 0.5, 2.0, 10.0)]
    sizes = [cipher.parameters.q_bits for cipher in rings]
    assert sizes[:2] == [40, 46]
    assert sizes == sorted(sizes)
    for cipher in rings[1:]:
        p = cipher.parameters
        assert 1 << p.q_bits >= 5 * SLACK * (cipher.bound.norm * 27_450 << p.D_bits)
        assert 1 << p.q_bits >= 2 * (27_450 * cipher.code.reach << p.D_bits)


@BOTH
def test_a_bound_that_falls_leaves_the_form_and_still_binds(name):
    """All phases of a run have one form, chosen for the largest bound; each proof has its own."""
    first = make(name, norm_bound=1.9)
    later = make(name, norm_bound=0.3, largest_bound=1.9)
    for form in ("ring_bytes", "chunk_bytes", "ciphertext_count", "slot_bits", "most_proof_bytes"):
        assert getattr(later, form) == getattr(first, form)
    long, short = vector(1.2), vector(0.29)
    with pytest.raises(NormBoundError):
        later.seal(long, 3)
    careless = copy.copy(later)
    careless.bound = first.bound
    with pytest.raises(ProofError):
        later.verify(careless.seal(long, 3, SeededRandomness(1), b"a"), b"a", 3)
    sealed = later.seal(short, 3, SeededRandomness(1), b"a")
    later.verify(sealed, b"a", 3)
    assert np.array_equal(opened(later, later.weighted_sum([sealed], [3])),
                          3 * later.quantise(short))
    with pytest.raises(ParameterError, match="at most"):
        make(name, norm_bound=2.0, largest_bound=1.9)


@BOTH
def test_norm_proofs_verified_together_need_not_be_verified_again(name, monkeypatch):
    cipher = make(name)
    sealed = [cipher.seal(vector(1.2, seed=k), 2, SeededRandomness(k), bytes([k]))
              for k in range(4)]
    contexts = [bytes([k]) for k in range(4)]
    forget_relations()
    cipher.verify_norms(sealed, contexts)
    cipher.verify_norms([], [])
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_verify_equations", None)
        patch.setattr(protocol, "_commitments_open", None)
        for item, context in zip(sealed, contexts, strict=True):
            cipher.verify(item, context, weight=2)
    with pytest.raises(ProofError):
        cipher.verify(sealed[0], contexts[1], weight=2)
    forget_relations()
    contexts[2] = b"another"
    with pytest.raises(NormProofError) as caught:
        cipher.verify_norms(sealed, contexts)
    assert caught.value.positions == (2,)
    with pytest.raises(NormProofError, match="no norm proof"):
        cipher.verify_norms([bare(cipher, sealed[0])], contexts[:1])


def bare(cipher, sealed):
    """``sealed`` without its norm proof."""
    proof = dataclasses.replace(decode_record(SealingProof, sealed.proof), norm=None)
    return dataclasses.replace(sealed, proof=encode_record(proof))
