"""The group key: wrapped to each member, bound to its place, closed to everybody else."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import pack_blob
from bdn.errors import PeerError
from bdn.nodes.ciphers import Ciphers, key_in
from bdn.nodes.device.keyring import Keyring
from bdn.nodes.device.opening import HeldShare, holder_context, open_held
from bdn.nodes.group_key import (
    ExchangeKey,
    GroupError,
    open_for_group,
    seal_for_group,
    unwrap,
    wrap,
)
from bdn.paillier import deal
from bdn.paillier.errors import PublicKeyError
from bdn.randomness import SeededRandomness

ALICE = ExchangeKey.from_secret(b"a" * 32)
BOB = ExchangeKey.from_secret(b"b" * 32)
KEY = b"k" * 32


def rng() -> SeededRandomness:
    return SeededRandomness(1)


def test_x25519_matches_rfc_7748_section_6_1() -> None:
    """RFC 7748, section 6.1: Alice's published key pair."""
    secret = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert ExchangeKey.from_secret(secret).public_key == public


def test_the_recipient_unwraps_and_nobody_else() -> None:
    wrapped = wrap(KEY, ALICE.public_key, b"context", rng())
    assert unwrap(wrapped, ALICE, b"context") == KEY
    for own, context in ((BOB, b"context"), (ALICE, b"another")):
        with pytest.raises(GroupError):
            unwrap(wrapped, own, context)


@given(position=st.integers(0, 79), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_wrap_is_refused(position: int, flip: int) -> None:
    wrapped = bytearray(wrap(KEY, ALICE.public_key, b"context", rng()))
    assert len(wrapped) == 80
    wrapped[position] ^= flip
    # also the top bit of the ephemeral point, which X25519 itself ignores: it is bound into the
    # key derivation
    with pytest.raises(GroupError):
        unwrap(bytes(wrapped), ALICE, b"context")


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_an_unusable_public_key_is_refused(point: bytes) -> None:
    """RFC 7748, section 6.1: an all-zero shared secret means a point of small order."""
    with pytest.raises(GroupError):
        wrap(KEY, point, b"context", rng())


@given(plaintext=st.binary(max_size=200), position=st.integers(0, 10_000),
       flip=st.integers(1, 255))
def test_a_share_opens_for_its_context_only(plaintext: bytes, position: int, flip: int) -> None:
    sealed = seal_for_group(KEY, plaintext, b"epoch 1", rng())
    assert len(sealed) == len(plaintext) + 28
    assert open_for_group(KEY, sealed, b"epoch 1") == plaintext
    changed = bytearray(sealed)
    changed[position % len(changed)] ^= flip
    for key, data, context in (
        (b"x" * 32, sealed, b"epoch 1"), (KEY, sealed, b"epoch 2"),
        (KEY, bytes(changed), b"epoch 1"), (KEY, sealed[:20], b"epoch 1"), (KEY, b"", b"epoch 1"),
    ):
        with pytest.raises(GroupError):
            open_for_group(key, data, context)


def test_secrets_are_not_printed() -> None:
    assert "secret" not in repr(ALICE)


# --- whose a share is -----------------------------------------------------------------------------

HOLDERS = (b"1" * 20, b"2" * 20, b"3" * 20)
SESSION = b"epoch 1, weights"


@dataclass(frozen=True)
class Part:
    """A share as `open_held` sees it: an index, and what nobody reads here."""

    index: int


def decode(plain: bytes) -> Part:
    if len(plain) != 1:
        raise PeerError("no share")
    return Part(plain[0])


def held(index: int, sealed_as: int, part: int) -> HeldShare:
    """Holder ``index`` submits ``part``'s share, sealed in the name of ``sealed_as``."""
    context = holder_context(SESSION, sealed_as, HOLDERS[sealed_as - 1])
    blob = pack_blob([seal_for_group(KEY, bytes([part]), context, rng())])
    return HeldShare(index, HOLDERS[index - 1], blob)


def test_a_share_opens_only_as_its_senders() -> None:
    """Section 4.2: a copy, and a copy sealed anew under another name, are named and left out."""
    honest = held(1, 1, 1)
    copied, resealed, moved = held(2, 1, 1), held(3, 3, 1), held(3, 2, 3)
    parts, strange = open_held(KEY, [honest, copied, resealed], SESSION, decode)
    assert parts == [Part(1)]
    assert [text.partition(":")[0] for text in strange] == [
        "the share of key holder 2", "the share of key holder 3"]
    assert "share of key holder 1" in strange[1]
    assert open_held(KEY, [moved], SESSION, decode)[0] == []
    assert open_held(KEY, [honest], b"another sum", decode)[0] == []


@pytest.mark.parametrize("blob", [b"", b"\x80", b"\x81\x40", b"no blob", pack_blob([bytes(40)])])
def test_what_is_no_share_is_left_out(blob: bytes) -> None:
    parts, strange = open_held(KEY, [HeldShare(2, HOLDERS[1], blob), held(3, 3, 3)], SESSION,
                               decode)
    assert parts == [Part(3)]
    assert strange[0].startswith("the share of key holder 2")


# --- the key that is registered -----------------------------------------------------------------


def test_a_key_that_gives_everything_away_is_neither_registered_nor_used() -> None:
    """`PublicKey.check` is asked by whoever registers a key and by whoever first uses one."""
    good, _ = deal(3, 2, 256, SeededRandomness(4))
    settings = cast(Any, SimpleNamespace(threshold=2, key_holders=3))
    for changed in (replace(good, v=1), replace(good, share_bits=1),
                    replace(good, verification_keys=(good.v,) * 3)):
        bad = changed.to_bytes()
        with pytest.raises(PublicKeyError):
            Keyring(bytes(32), bad, SeededRandomness(1)).register([], settings, SeededRandomness(2))
        blob = pack_blob([bad])
        with pytest.raises(PublicKeyError):
            Ciphers(bytes(32), settings, key_in({bytes(32): blob}.get)).public_key(bytes(32))
    blob = Keyring(bytes(32), good.to_bytes(), SeededRandomness(1)).register(
        [], settings, SeededRandomness(2))[1]
    reader = key_in({bytes(32): blob}.__getitem__)
    assert Ciphers(bytes(32), settings, reader).public_key(bytes(32)) == good
