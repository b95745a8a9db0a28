"""Bytes from a stranger: every decoder refuses them in one short line, with work that is linear.

Work is counted, not timed: the lines of bdn that run while a decoder looks at the bytes.
"""

import functools
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.encoding import decode_record, encode_record
from bdn.errors import BdnError
from bdn.paillier import (
    Ciphertext,
    PartialDecryption,
    PublicKey,
    combine,
    deal,
    lock_share,
    threshold,
    unlock_share,
    vector_cipher,
    verify_share,
)
from bdn.paillier.batch import PlaintextProof
from bdn.paillier.threshold import PartialVector, ShareProof
from bdn.paillier.vector.cipher import SealingProof
from bdn.randomness import SeededRandomness

KEY, SHARES = deal(3, 2, 256, SeededRandomness(b"hostile"))
C = KEY.encrypt(7)
PARTS = [share.partially_decrypt(C) for share in SHARES]
HUGE = 1 << 20_000


@functools.cache
def sealed(name):
    """(cipher, sealed vector, sum, one share of it) of a small vector."""
    cipher = vector_cipher(name, KEY, 3, total_weight=10)
    vector = cipher.seal([0.1, 0.2, 0.3], 2, SeededRandomness(1), b"x")
    total = cipher.weighted_sum([vector, cipher.seal([1, 1, 1], 3)], [2, 3])
    return cipher, vector, total, cipher.partially_decrypt(SHARES[0], total)


def joined(leaves):
    """Leaves as one byte string, each after its length in four bytes."""
    return b"".join(len(leaf).to_bytes(4, "big") + leaf for leaf in leaves)


def split(data):
    leaves, at = [], 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        leaves.append(data[at + 4 : end])
        at = end
    return leaves


def decoders():
    """(name, honest bytes, what a receiver does with bytes)."""
    yield "key", KEY.to_bytes(), lambda b: PublicKey.from_bytes(b).check()
    yield "ciphertext", C.to_bytes(), lambda b: combine(KEY, Ciphertext.from_bytes(KEY, b), PARTS)
    yield "share", PARTS[0].to_bytes(), lambda b: verify_share(
        KEY, C, PartialDecryption.from_bytes(b))
    yield "share proof", PARTS[0].proof.to_bytes(), lambda b: verify_share(
        KEY, C, replace(PARTS[0], proof=ShareProof.from_bytes(b)))
    vector = threshold.partially_decrypt_many(SHARES[0], [C.value])
    yield "shares", vector.to_bytes(KEY), lambda b: threshold.verify_vector(
        KEY, [C.value], PartialVector.from_bytes(KEY, b))
    yield "stored share", lock_share(SHARES[0], "x", cost=1), lambda b: unlock_share(b, "x")
    proofs = sealed("packed")[1].proof
    yield "sealing proof", proofs, lambda b: decode_record(SealingProof, b)
    known = decode_record(SealingProof, proofs).plaintexts
    yield "plaintext proof", known.to_bytes(), PlaintextProof.from_bytes
    for name in ("packed", "ring-masked"):
        cipher, item, total, part = sealed(name)
        weight = item.weight or 2
        yield f"{name} vector", item.to_bytes(), lambda b, c=cipher, w=weight: c.verify(
            c.sealed_from_bytes(b), b"x", w)
        yield f"{name} leaves", joined(item.leaves()), lambda b, c=cipher, w=weight: c.verify(
            c.sealed_from_leaves(split(b)), b"x", w)
        yield f"{name} sum", total.to_bytes(), lambda b, c=cipher, p=part: c.verify_share(
            c.sum_from_bytes(b), p)
        yield f"{name} sum leaves", joined(total.leaves()), lambda b, c=cipher, p=part: (
            c.verify_share(c.sum_from_leaves(split(b)), p))
        yield f"{name} part", part.to_bytes(), lambda b, c=cipher, t=total: c.verify_share(
            t, c.share_from_bytes(b))


DECODERS = {name: (data, receive) for name, data, receive in decoders()}
every = pytest.mark.parametrize("name", DECODERS)


def refusal(receive, data):
    """(error or None, lines of bdn that ran)."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if "/bdn/" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        receive(data)
    except BdnError as error:
        return error, lines
    finally:
        sys.settrace(before)
    return None, lines


@functools.cache
def honest_lines(name):
    """What the honest bytes of a decoder take, once caches are filled."""
    data, receive = DECODERS[name]
    refusal(receive, data)
    return refusal(receive, data)[1]


def check(name, data):
    """Receive ``data``: a `BdnError` or nothing, and work in proportion to its length."""
    error, lines = refusal(DECODERS[name][1], data)
    allowed = 3 * honest_lines(name) + 2000 + len(data) // 8
    assert lines <= allowed, (lines, allowed)
    if error is not None:
        assert len(str(error)) < 600
        assert "\n" not in str(error)
    return error


@every
def test_what_is_honest_is_accepted(name):
    data, receive = DECODERS[name]
    assert refusal(receive, data)[0] is None


@every
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_changed_bytes_are_refused_or_accepted_in_linear_work(name, data):
    """Cut, lengthened, overwritten, with a length or a number that is far too large."""
    honest, _ = DECODERS[name]
    at = data.draw(st.integers(0, len(honest)), "at")
    piece = data.draw(st.one_of(
        st.binary(max_size=9),
        st.sampled_from([b"", b"\0" * 64, b"\xff" * 64, b"\x9b" + b"\xff" * 8,
                         b"\xc2\x59\x09\xc4" + b"\xff" * 2500, b"\xc3\x59\x09\xc4" + b"\xff" * 2500,
                         b"\x5a\x7f\xff\xff\xff", b"\x81" * 200])), "piece")
    cut = data.draw(st.sampled_from([0, 1, len(piece), len(honest)]), "cut")
    check(name, honest[:at] + piece + honest[at + cut :])


@every
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x81", b"\xa1"], ids=["0", "ff", "81", "a1"])
def test_a_megabyte_of_one_byte_is_refused_at_once(name, filler):
    """Zeros read as lengths of zero made a last leaf of a mebibyte cost 4.7 s."""
    honest, receive = DECODERS[name]
    for data in (filler * (1 << 20), honest + filler * (1 << 20)):
        error, lines = refusal(receive, data)
        assert error is not None
        assert lines < 3 * honest_lines(name) + 2000


@pytest.mark.parametrize("name", ["packed", "ring-masked"])
@pytest.mark.parametrize("size", [0, 7, 8, 2000, 1 << 20])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"], ids=["0", "ff"])
def test_a_hostile_last_leaf_is_refused_at_once(name, size, filler):
    cipher, item, total, _ = sealed(name)
    for parse, leaves in ((cipher.sealed_from_leaves, item.leaves()),
                          (cipher.sum_from_leaves, total.leaves())):
        honest = refusal(parse, leaves)[1]
        tail = leaves[-1]
        for last in (filler * size, tail + filler * size, tail[:-8] + filler * size):
            error, lines = refusal(parse, [*leaves[:-1], last])
            assert (error is None) <= (len(last) == len(tail))
            assert lines <= honest + 50


@pytest.mark.parametrize("name", ["packed", "ring-masked"])
def test_leaves_in_another_number_or_cut_otherwise_are_refused(name):
    cipher, item, total, _ = sealed(name)
    for parse, leaves in ((cipher.sealed_from_leaves, item.leaves()),
                          (cipher.sum_from_leaves, total.leaves())):
        moved = [leaves[0][:-1], leaves[0][-1:] + leaves[1], *leaves[2:]]
        for wrong in ([], leaves * 2, [b""] * 100_000, moved, [*leaves[:-1], b"", leaves[-1]]):
            error, lines = refusal(parse, wrong)
            assert error is not None
            assert lines <= refusal(parse, leaves)[1] + 50


# --- numbers that Python does not print ---------------------------------------------------------


@pytest.mark.parametrize("index", [0, 4, -1, HUGE, -HUGE], ids=["0", "4", "-1", "huge", "-huge"])
def test_a_share_of_an_impossible_party_is_named_and_left_out(index):
    """A share whose index is 2^20000 stopped whoever opened."""
    with pytest.raises(BdnError) as caught:
        combine(KEY, C, [replace(PARTS[0], index=index), *PARTS[1:]])
    assert len(str(caught.value)) < 200
    for name in ("packed", "ring-masked"):
        cipher, _, total, part = sealed(name)
        with pytest.raises(BdnError) as caught:
            cipher.verify_share(total, replace(part, index=index))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [HUGE, -HUGE, 0, -1, KEY.N2], ids=range(5))
def test_impossible_values_are_refused_in_a_short_line(value):
    honest = PARTS[0]
    for part in (replace(honest, value=value),
                 replace(honest, proof=replace(honest.proof, challenge=value + HUGE)),
                 replace(honest, proof=replace(honest.proof, response=value * HUGE + HUGE * HUGE))):
        with pytest.raises(BdnError) as caught:
            verify_share(KEY, C, part)
        assert len(str(caught.value)) < 200
    with pytest.raises(BdnError):
        KEY.ciphertext(value)
    with pytest.raises(BdnError):
        PublicKey(value, 1, 1, (), 0, bytes(32), 1).check()
    for field in ("theta", "v", "threshold", "share_bits"):
        changed = {field: value if value != 0 or field != "threshold" else -1}
        with pytest.raises(BdnError) as caught:
            replace(KEY, **changed)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("field", ["weight", "length", "ciphertext_bytes", "chunk_bytes"])
@pytest.mark.parametrize("name", ["packed", "ring-masked"])
def test_impossible_counts_of_a_sealed_vector_are_refused(name, field):
    cipher, item, _, _ = sealed(name)
    for value in (HUGE, -HUGE, -1, (1 << 64) - 1):
        with pytest.raises(BdnError) as caught:
            cipher.verify(replace(item, **{field: value}), b"x")
        assert len(str(caught.value)) < 200


def test_what_is_encoded_can_be_decoded():
    """The bounds of decoding hold for every key that can be made: nothing is written in vain."""
    for parties, needed, bits in ((100, 50, 128), (1, 1, 24)):
        key, shares = deal(parties, needed, bits, SeededRandomness(bits))
        assert PublicKey.from_bytes(key.to_bytes()) == key
        part = shares[-1].partially_decrypt(key.encrypt(1))
        assert PartialDecryption.from_bytes(encode_record(part)) == part
        assert unlock_share(lock_share(shares[0], "x", cost=1), "x") == shares[0]
