"""Identities, seals, randomness, trace: the ground floor that all signs and draws from."""

import hashlib
import io
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.arguments import read_bounded
from bdn.encoding import transcript
from bdn.errors import SignatureError, UsageError
from bdn.identity import Identity, address_of, verify_signature
from bdn.randomness import SeededRandomness, SystemRandomness, as_randomness
from bdn.seal import Seal, SealError, fault_bound, quorum, sign_commit, verify_seal
from bdn.trace import DISCARD, Recorder, json_lines

# --- identity -----------------------------------------------------------------------------------


def test_ed25519_matches_rfc_8032_test_1() -> None:
    """RFC 8032, section 7.1, TEST 1: the public key of a published seed."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert Identity.from_secret(secret).public_key == public


def test_an_address_is_the_head_of_the_keys_digest() -> None:
    identity = Identity.from_secret(bytes(32))
    preimage = transcript("bdn/address", identity.public_key)
    assert identity.address == hashlib.sha256(preimage).digest()[:20]
    assert identity.address == address_of(identity.public_key)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_signature_holds_for_its_message_domain_and_key_only(a: bytes, b: bytes) -> None:
    alice, bob = Identity.from_secret(b"a" * 32), Identity.from_secret(b"b" * 32)
    signature = alice.sign("one", a)
    verify_signature(alice.public_key, "one", a, signature)
    refused = [
        (alice.public_key, "two", a, signature),
        (bob.public_key, "one", a, signature),
        (alice.public_key, "one", a + b"!", signature),
        (alice.public_key, "one", a, signature[:-1]),
        (alice.public_key[:-1], "one", a, signature),
    ]
    if a != b:
        refused.append((alice.public_key, "one", b, signature))
    for arguments in refused:
        with pytest.raises(SignatureError):
            verify_signature(*arguments)


def test_a_secret_is_not_printed() -> None:
    identity = Identity.from_secret(bytes(range(32)))
    assert identity.secret.hex() not in repr(identity)
    assert repr(identity.secret) not in repr(identity)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_transcripts_are_injective(a: list[bytes], b: list[bytes]) -> None:
    """Length prefixes: no two lists of parts give the same bytes."""
    assert (transcript("d", *a) == transcript("d", *b)) == (a == b)


# --- seals --------------------------------------------------------------------------------------


@given(st.integers(1, 400))
def test_two_quorums_share_an_honest_replica_and_honest_replicas_form_one(n: int) -> None:
    """Castro–Liskov 1999 for any n."""
    f, q = fault_bound(n), quorum(n)
    assert 3 * f + 1 <= n < 3 * f + 4
    assert q == math.ceil((n + f + 1) / 2)
    assert 2 * q - n >= f + 1
    assert q <= n - f


def test_quorums_of_the_design_page() -> None:
    assert [quorum(n) for n in (4, 5, 6, 7, 8)] == [3, 4, 4, 5, 6]


REPLICAS = [Identity.from_secret(bytes([i]) * 32) for i in range(4)]
KEYS = [replica.public_key for replica in REPLICAS]
DIGEST = b"d" * 32


def seal_of(signers: list[int], view: int = 2, signed_view: int = 2) -> Seal:
    """A seal at sequence 5 whose signatures are really of ``signed_view``."""
    signatures = [(i, sign_commit(REPLICAS[i % 4], b"chain", signed_view, 5, DIGEST))
                  for i in signers]
    return Seal(view, 5, DIGEST, tuple(signatures))


def test_a_quorum_of_commits_of_one_view_seals() -> None:
    verify_seal(seal_of([0, 1, 3]), b"chain", KEYS)
    verify_seal(seal_of([0, 1, 2, 3]), b"chain", KEYS)


@pytest.mark.parametrize(
    ("seal", "instance"),
    [
        (seal_of([0, 1]), b"chain"),
        (seal_of([0, 1, 1]), b"chain"),
        (seal_of([1, 0, 2]), b"chain"),
        (seal_of([0, 1, 4]), b"chain"),
        (seal_of([0, 1, -1]), b"chain"),
        (seal_of([0, 1, 2], view=3), b"chain"),
        (seal_of([0, 1, 2]), b"another chain"),
    ],
    ids=["too few", "duplicate", "unsorted", "foreign", "negative", "another view", "instance"],
)
def test_a_seal_that_proves_nothing_is_refused(seal: Seal, instance: bytes) -> None:
    with pytest.raises(SealError):
        verify_seal(seal, instance, KEYS)


# --- randomness ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3000), max_size=6))
def test_a_seeded_stream_does_not_depend_on_how_it_is_cut(cuts: list[int]) -> None:
    whole = SeededRandomness(7).bytes(sum(cuts))
    source = SeededRandomness(7)
    assert b"".join(source.bytes(count) for count in cuts) == whole


def test_substreams_are_independent_of_order_and_of_each_other() -> None:
    source = SeededRandomness(7)
    first = source.substream("a").bytes(16)
    source.bytes(100)
    assert source.substream("a").bytes(16) == first
    assert source.substream("b").bytes(16) != first
    assert SeededRandomness(8).substream("a").bytes(16) != first


@pytest.mark.parametrize(
    "make",
    [
        SystemRandomness,
        lambda: SeededRandomness(1),
        lambda: random.Random(1),
        lambda: np.random.default_rng(1),
    ],
)
def test_every_source_is_uniform_below_a_bound(make: Callable[[], random.Random]) -> None:
    """Chi-squared over 7 cells, 7,000 draws: 22.5 is passed by chance once in a thousand runs."""
    rng = as_randomness(make())
    counts = np.bincount([rng.below(7) for _ in range(7000)], minlength=7)
    assert len(counts) == 7
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 40
    assert all(0 <= rng.bits(5) < 32 for _ in range(100))
    assert len(rng.bytes(33)) == 33


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(UsageError, match="pass None"):
        as_randomness(42)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1"):
        SeededRandomness(1).below(0)


# --- trace --------------------------------------------------------------------------------------


def test_a_trace_tells_events_and_spans_also_when_the_body_raises() -> None:
    stream = io.StringIO()
    ticks = iter(range(100))
    trace = Recorder(json_lines(stream), clock=lambda: float(next(ticks)))
    trace.event("sealed", node="edge 0", digest=b"\x01")
    with pytest.raises(KeyError), trace.span("train", node="device 1"):
        raise KeyError
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["sealed", "train"]
    assert lines[0]["digest"] == "01"
    assert lines[1]["seconds"] == 1.0
    assert len(trace.events) == 2


def test_the_default_trace_discards() -> None:
    with DISCARD.span("x"):
        DISCARD.event("y", z=1)


# --- files --------------------------------------------------------------------------------------


def test_no_more_of_a_file_is_read_than_it_may_have(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bounded(path, 10) == bytes(10)
    with pytest.raises(UsageError, match="file has more than 9 bytes"):
        read_bounded(path, 9)
    with pytest.raises(OSError, match="No such file"):
        read_bounded(tmp_path / "none", 9)
